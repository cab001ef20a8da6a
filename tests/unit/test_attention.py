"""The backends of attention: which is chosen, why one cannot be used, and what each is called with.

No GPU and no package of another is needed: packages that are not here are played by modules that write down their call
and compute by `sdpa`.
"""

import sys
from types import ModuleType

import pytest
import torch

from wan22.errors import OptionError
from wan22.ops import attention, flash, flex, gpu, sage
from wan22.ops.attention import ATTENTION, attend, attention_names, open_attention, sdpa

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
HALF = torch.bfloat16


def qkv(length=6, heads=2, e=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(1, length, heads, e, generator=generator).to(dtype) for _ in range(3))


@pytest.fixture(autouse=True)
def forget():
    """What was found of this machine is no answer for another test."""
    for function in (gpu.why_no_package, gpu.why_fails, flex._compiled):
        function.cache_clear()
    yield
    for function in (gpu.why_no_package, gpu.why_fails, flex._compiled):
        function.cache_clear()


@pytest.fixture
def hopper(monkeypatch):
    return card(monkeypatch, (9, 0))


def card(monkeypatch, capability):
    """A GPU of this capability, on which everything works that is there."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    for module in (attention, flash, sage):
        monkeypatch.setattr(module, "why_fails", lambda *_: None)
    return GPU


def package(monkeypatch, name, function):
    """A package with one function, which is written down and computes by `sdpa`."""
    calls = []

    def play(q, k, v, **options):
        calls.append(((q.shape, q.dtype), options))
        return sdpa(q, k, v)

    module = ModuleType(name)
    setattr(module, function, play)
    monkeypatch.setitem(sys.modules, name, module)
    return calls


@pytest.mark.parametrize(
    ("name", "module", "function", "options"),
    [
        ("flash2", "flash_attn", "flash_attn_func", {}),
        ("flash3", "flash_attn_interface", "flash_attn_func", {}),
        ("sage", "sageattention", "sageattn", {"tensor_layout": "NHD", "is_causal": False}),
    ],
)
def test_packages_are_called_as_they_want(monkeypatch, hopper, name, module, function, options):
    calls = package(monkeypatch, module, function)
    q, k, v = qkv(dtype=HALF)
    run = open_attention(name, GPU, HALF, 16)
    assert torch.equal(run(q, k, v), sdpa(q, k, v))
    assert calls == [((q.shape, HALF), options)]
    bias = torch.zeros(1, 1, 1, 6)
    bias[..., -1] = -torch.inf
    assert torch.equal(run(q, k, v, bias), sdpa(q, k, v, bias))  # a bias goes where one is taken
    assert len(calls) == 1


def test_flash_3_of_old_gives_a_pair(monkeypatch):
    package(monkeypatch, "flash_attn_interface", "flash_attn_func")
    played = sys.modules["flash_attn_interface"].flash_attn_func
    monkeypatch.setattr(
        sys.modules["flash_attn_interface"], "flash_attn_func", lambda q, k, v: (played(q, k, v), 0)
    )
    q, k, v = qkv()
    assert torch.equal(ATTENTION["flash3"](q, k, v), sdpa(q, k, v))


def test_sage_gets_its_last_axis_contiguous(monkeypatch):
    module = ModuleType("sageattention")
    module.sageattn = lambda q, k, v, **_: q * (q.stride(-1) == k.stride(-1) == v.stride(-1) == 1)
    monkeypatch.setitem(sys.modules, "sageattention", module)
    q, k, v = (a.transpose(1, 3).contiguous().transpose(1, 3) for a in qkv())
    assert torch.equal(ATTENTION["sage"](q, k, v), q)


@pytest.mark.parametrize("kernel", ["FLASH_ATTENTION", "MATH"])
def test_a_kernel_of_pytorch_is_forced(kernel):
    q, k, v = qkv()
    torch.testing.assert_close(attention.forced(kernel, q, k, v), sdpa(q, k, v))


def test_a_kernel_that_is_not_here_fails_and_is_not_replaced():
    q, k, v = qkv()
    with pytest.raises(RuntimeError, match="No viable backend"):
        attention.forced("EFFICIENT_ATTENTION", q, k, v)


@pytest.mark.slow
def test_flex_is_compiled_and_computes_the_same(monkeypatch):
    whole, seen = torch.compile, []

    def compiled(function, **options):
        seen.append(function.__name__)
        return whole(function, backend="eager", **options)  # the compiler itself takes long

    monkeypatch.setattr(torch, "compile", compiled)
    q, k, v = qkv()
    with torch.inference_mode():
        torch.testing.assert_close(ATTENTION["flex"](q, k, v), sdpa(q, k, v))
        ATTENTION["flex"](q, k, v)
    assert seen == ["flex_attention"]


@pytest.mark.parametrize(
    ("capability", "packages", "chosen"),
    [
        ((9, 0), ("flash_attn_interface", "flash_attn"), ("flash3", "flash3")),
        ((9, 0), ("flash_attn",), ("auto", "flash2")),
        ((8, 9), ("flash_attn_interface", "flash_attn"), ("auto", "flash2")),
        ((12, 0), (), ("auto", "sdpa_flash")),
    ],
)
def test_which_is_chosen_on_a_gpu(monkeypatch, capability, packages, chosen):
    card(monkeypatch, capability)
    for name in packages:
        package(monkeypatch, name, "flash_attn_func")
    named = {**ATTENTION, "auto": attend}
    assert open_attention("auto", GPU, HALF, 128) is named[chosen[0]]
    assert open_attention("flash", GPU, HALF, 128) is named[chosen[1]]


def test_auto_never_rounds_to_eight_bits(monkeypatch, hopper):
    package(monkeypatch, "sageattention", "sageattn")
    assert open_attention("auto", GPU, HALF, 128) is attend


def test_on_a_cpu():
    assert open_attention("auto", CPU, torch.float32, 128) is attend
    q, k, v = qkv(length=300)
    with torch.inference_mode():
        for name in ("sdpa", "blocked"):
            run = open_attention(name, CPU, torch.float32, 16)
            torch.testing.assert_close(run(q, k, v), sdpa(q, k, v))
            bias = torch.zeros(1, 1, 1, 300)
            torch.testing.assert_close(run(q, k, v, bias), sdpa(q, k, v))


@pytest.mark.parametrize("name", ["flash", "flash2", "flash3", "sdpa_flash", "cudnn", "efficient", "sage"])
def test_what_needs_a_gpu_is_refused_on_a_cpu(name, monkeypatch):
    for module, function in (
        ("flash_attn", "flash_attn_func"),
        ("flash_attn_interface", "flash_attn_func"),
        ("sageattention", "sageattn"),
    ):
        package(monkeypatch, module, function)
    with pytest.raises(OptionError, match=r"not on cpu.*What can, for cpu and float32: auto, sdpa, blocked"):
        open_attention(name, CPU, torch.float32, 128)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(OptionError, match=r"backend 'flsh'. Did you mean 'flash'.*sage, flex"):
        open_attention("flsh", CPU, torch.float32, 128)
    assert {"auto", "sdpa", "blocked", "flash", "flash2", "flash3", "cudnn", "sage", "flex"} <= set(
        attention_names()
    )


@pytest.mark.parametrize(
    ("name", "capability", "dtype", "head", "reason"),
    [
        ("sage", (9, 0), HALF, 128, "the package sageattention is not installed"),
        ("flash3", (9, 0), HALF, 128, "the package flash_attn_interface is not installed"),
        ("sdpa_flash", (9, 0), torch.float32, 128, "bfloat16 and float16, not in float32"),
        ("sdpa_flash", (7, 5), HALF, 128, "needs compute capability 8.0, and this GPU has 7.5"),
        ("cudnn", (9, 0), HALF, 256, "at most 128 wide, not 256"),
        ("blocked", (9, 0), HALF, 128, "made for CPUs, not for cuda"),
    ],
)
def test_why_one_cannot_be_used(monkeypatch, name, capability, dtype, head, reason):
    card(monkeypatch, capability)
    with pytest.raises(OptionError, match=rf"{name}' cannot be used: .*{reason}.*What can, for cuda"):
        open_attention(name, GPU, dtype, head)


def test_flash_3_is_for_hopper_alone(monkeypatch):
    package(monkeypatch, "flash_attn_interface", "flash_attn_func")
    card(monkeypatch, (12, 0))
    with pytest.raises(
        OptionError, match=r"made for Hopper \(9.0\), and this GPU has compute capability 12.0"
    ):
        open_attention("flash3", GPU, HALF, 128)


def test_a_package_that_cannot_be_imported_says_why(monkeypatch, hopper, tmp_path):
    (tmp_path / "flash_attn.py").write_text("raise ImportError('undefined symbol: _ZN3c10')")
    (tmp_path / "sageattention.py").write_text("import another_one_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionError, match="flash_attn cannot be imported: undefined symbol"):
        open_attention("flash2", GPU, HALF, 128)
    with pytest.raises(OptionError, match="sageattention cannot be imported: No module named 'another_one"):
        open_attention("sage", GPU, HALF, 128)


def test_a_kernel_that_fails_when_it_is_tried_says_why():
    def broken(q, k, v):
        raise ValueError("Unsupported CUDA architecture: sm100\nmore")

    state = torch.get_rng_state()
    assert gpu.why_fails(broken, CPU, HALF, 128) == "it fails here: Unsupported CUDA architecture: sm100"
    assert "not finite" in gpu.why_fails(lambda q, k, v: q * torch.nan, CPU, HALF, 128)
    assert gpu.why_fails(sdpa, CPU, HALF, 128) is None
    assert torch.equal(state, torch.get_rng_state())  # what is drawn later is as it was


def test_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(OptionError, match="C\\+\\+ compiler, and no-such-compiler is not installed"):
        open_attention("flex", CPU, torch.float32, 64)
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    assert "triton" in gpu.why_no_compiler(GPU)
    assert "mps" in gpu.why_no_compiler(torch.device("mps"))
