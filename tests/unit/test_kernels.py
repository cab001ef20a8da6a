"""When a fused function takes its Triton kernel, what the kernels compute, and that they compile for every card."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wan22.ops import fused, kernels

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    kernels.importlib.util.find_spec("triton") is None,
    reason="Triton is not installed here (pip install triton)",
)


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parents[1],
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_triton
def test_every_kernel_is_its_reference_in_the_interpreter(tmp_path):
    said = run(
        "pytest", "-n", "0", "-p", "no:cacheprovider", str(HERE / "interpreted_kernels.py"),
        TRITON_INTERPRET="1", TRITON_CACHE_DIR=str(tmp_path),
    )  # fmt: skip
    assert "passed" in said and "skipped" not in said


@needs_triton
def test_kernels_compile_for_a_card_that_is_not_here(tmp_path):
    """One of each for one generation; without options the command compiles all for all."""
    names = ("gated_add_norm 3072", "norm_rotate 3072 True", "norm_silu 96 bf16")
    options = ("--aot", "--capability", "90", "--only", *names)
    said = run("bench.kernels", *options, TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    sizes = dict(line.strip("| ").split(" | ") for line in said if line.startswith("| "))
    assert set(names) < set(sizes)
    assert all(int(sizes[name].replace(",", "")) > 1000 for name in names)


class OnGPU(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    device = torch.device("cuda:0")


def test_why_a_kernel_is_not_taken(monkeypatch):
    with torch.inference_mode():
        assert "not for cpu" in kernels.why_not(torch.zeros(1))
        assert "OnGPU holds no numbers" in kernels.why_not(torch.zeros(1).as_subclass(OnGPU))
    there = type("There", (), {"device": torch.device("cuda:0"), "dtype": torch.float64})()
    monkeypatch.setattr(kernels, "Tensor", type(there))
    monkeypatch.setattr(kernels, "why_no_triton", lambda device: None)
    assert "no gradient" in kernels.why_not(there)
    with torch.inference_mode():
        assert "not torch.float64" in kernels.why_not(there)
        there.dtype = torch.bfloat16
        assert kernels.why_not(there) is None


def test_why_triton_is_not_taken(monkeypatch):
    """It is tried once; without a GPU, its driver fails, and that is the reason."""
    gpu = torch.device("cuda:0")

    def answer():
        kernels.why_no_triton.cache_clear()
        why = kernels.why_no_triton(gpu)
        kernels.why_no_triton.cache_clear()
        return why

    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    assert "pip install triton" in answer()
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "8.0, and this GPU has 7.5" in answer()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch, "ones", lambda *shape, device: torch.zeros(shape) + 1)
    for result, why in ((2.0, "None"), (3.0, "computes wrongly"), (None, "fails here: no C compiler")):

        def add(x, y, result=result):
            if result is None:
                raise RuntimeError("no C compiler\nat all")
            return torch.full(x.shape, result)

        module = type("Kernels", (), {"gated_add": staticmethod(add)})
        monkeypatch.setattr(kernels.importlib, "import_module", lambda name, module=module: module)
        assert why in str(answer())


def test_a_fused_function_takes_its_kernel_where_nothing_is_against_it(monkeypatch):
    kernel = type("Kernels", (), {"gated_add": staticmethod(lambda x, y, gate=None: (x, y, gate))})
    monkeypatch.setattr(kernels, "why_not", lambda x: None)
    monkeypatch.setattr(kernels.importlib, "import_module", {"wan22.ops.triton_block": kernel}.__getitem__)
    x, y = torch.zeros(1, 2, 4), torch.ones(1, 2, 4)
    assert fused.gated_add(x, y) == (x, y, None)


@needs_triton
def test_every_fused_function_has_a_kernel_of_its_arguments():
    import inspect

    from wan22.ops import triton_block, triton_vae

    names = [
        name
        for name, f in vars(fused).items()
        if hasattr(f, "__wrapped__") and f.__module__ == fused.__name__
    ]
    assert {"norm_modulate", "norm_rotate", "gated_add_norm", "norm_silu"} <= set(names)
    for name in names:
        kernel = getattr(triton_block, name, None) or getattr(triton_vae, name)
        assert str(inspect.signature(kernel)) == str(inspect.signature(getattr(fused, name)))
