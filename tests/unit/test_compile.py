"""Compiled blocks: the numbers of the others, one compilation for all, and every way in which weights come to them.

The compiler's graphs are run as they are ("aot_eager" without its last stage), for writing programs takes it long.
"""

import copy
import weakref
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from test_attention import forget  # noqa: F401 - what was found of this machine is forgotten
from tiny import write_tiny

import wan22
from wan22 import assembly
from wan22.errors import OptionError
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.ops import attention
from wan22.types import Latents, Request

pytestmark = pytest.mark.slow

ASK = Request(prompt="a red ball rolls left", steps=1, frames=5)
GRAPHS = []


def backend(graph, inputs):
    GRAPHS.append(graph)
    return graph.forward


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A compiler that stops at the graph; nothing stays of it."""
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **_: whole(function, backend=backend))
    assembly.compiled.cache_clear()
    GRAPHS.clear()
    yield
    assembly.compiled.cache_clear()
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny")


def latents(engine, request=ASK):
    with torch.random.fork_rng():
        return next(e for e in engine.generate(request) if isinstance(e, Latents)).tensors["latents"]


def test_a_compiled_engine_draws_the_same(folder):
    """Here with blocks whose weights come and go, and a backend of attention that was named."""
    plain = latents(wan22.load(folder, device="cpu"))
    engine = wan22.load(folder, device="cpu", memory="stream", attention="sdpa", compile=True)
    torch.testing.assert_close(latents(engine), plain, rtol=1e-4, atol=1e-4)
    assert GRAPHS
    assert engine.recipe(ASK)["compile"] is True
    assert "compile" not in wan22.load(folder, device="cpu").recipe(ASK)


def network(layers):
    arch = replace(TINY, layers=layers)
    torch.manual_seed(0)
    made = WanDiT(arch, torch.compiler.disable(attention.sdpa)).eval()
    for block in made.blocks:
        block.__class__ = assembly.compiled(type(block))
    return made


TINY = wan22.arch.DiTArch(4, 4, 24, 32, heads=2, layers=1, text_dim=8, text_len=8, freq_dim=8)


@torch.inference_mode()
def run(net, tokens=2):
    text = net.read_text([torch.ones(3, 8)])
    return net(torch.ones(1, 4, 1, 2 * tokens, 2), NoiseLevels.uniform(torch.tensor([500.0])), text)


def test_one_compilation_serves_all_blocks_and_copies():
    """A part that rests on the host is copied to the device; one that leaves the device leaves no memory behind."""
    first = network(2)
    run(first)
    compiled = len(GRAPHS)
    second = copy.deepcopy(first)
    run(second)
    run(network(4))
    assert len(GRAPHS) == compiled > 0
    assert first.state_dict().keys() == WanDiT(replace(TINY, layers=2)).state_dict().keys()
    gone = weakref.ref(second)
    del second
    assert gone() is None


def test_without_a_compiler_it_is_refused(folder, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(OptionError, match=r"compile cannot be used: .*no-such-compiler is not installed"):
        wan22.load(folder, device="cpu", compile=True)


def test_the_backend_of_attention_is_an_option_of_the_engine(folder, monkeypatch):
    calls = []
    real = attention.sdpa
    backend = attention.Backend(lambda *a: calls.append(1) or real(*a), lambda *_: None, biased=True)
    monkeypatch.setitem(attention.ATTENTION, "sdpa", backend)
    engine = wan22.load(folder, device="cpu", attention="sdpa")
    assert latents(engine).isfinite().all() and calls
    assert engine.recipe(ASK)["attention"] == "sdpa"
    assert "attention" not in wan22.load(folder, device="cpu").recipe(ASK)


@pytest.mark.parametrize(("name", "said"), [("xformers", "Known: auto, flash"), ("sage", "not installed")])
def test_a_backend_that_is_not_here_is_refused_before_anything_is_read(folder, name, said):
    with pytest.raises(OptionError, match=said):
        wan22.load(folder, device="cpu", attention=name)


def test_a_compiled_engine_takes_loras_and_caches(folder, tmp_path):
    options = {"memory": "stream", "quantize": "int8-weights"}
    path = tmp_path / "style.safetensors"
    drawn = torch.Generator().manual_seed(0)
    module = "blocks.0.self_attn.q"
    shapes = {f"{module}.lora_A.weight": (2, 24), f"{module}.lora_B.weight": (24, 2)}
    save_file({name: torch.randn(shape, generator=drawn) for name, shape in shapes.items()}, path)
    request = replace(ASK, steps=6, cache="first-block:0.000000001")
    plain = wan22.load(folder, device="cpu", **options)
    engine = wan22.load(folder, device="cpu", compile=True, **options)
    before = latents(plain, request)
    torch.testing.assert_close(latents(engine, request), before, rtol=1e-4, atol=1e-4)
    plain.use_loras([path])
    engine.use_loras([path])
    changed = latents(plain, request)
    assert not torch.equal(changed, before)
    torch.testing.assert_close(latents(engine, request), changed, rtol=1e-4, atol=1e-4)
    assert GRAPHS
