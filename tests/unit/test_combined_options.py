"""Options that change how a network works, together: step caches with quantised, streamed and adapted weights."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tiny import write_tiny

import wan22
from wan22.types import Latents, Progress, Request

ASK = Request(prompt="a red ball rolls left", size=(32, 32), frames=5, steps=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny", layers=3)


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    path = tmp_path_factory.mktemp("lora") / "style.safetensors"
    drawn = torch.Generator().manual_seed(0)
    module = "blocks.1.self_attn.q"
    shapes = {f"{module}.lora_A.weight": (2, 24), f"{module}.lora_B.weight": (24, 2)}
    save_file({name: torch.randn(shape, generator=drawn) for name, shape in shapes.items()}, path)
    return path


def made(engine, cache=None):
    """The latents, and how many steps left the blocks out."""
    events = list(engine.generate(replace(ASK, cache=cache)))
    latents = next(event for event in events if isinstance(event, Latents)).tensors["latents"]
    return latents, sum(event.reused for event in events if isinstance(event, Progress))


WAYS = {
    "quantised": {"quantize": "int8-weights"},
    "quantised, adapted and streamed": {"quantize": "int8-weights", "loras": True, "memory": "stream"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_cache_works_with_every_way_to_keep_weights(folder, lora, way):
    options = dict(WAYS[way])
    if options.pop("loras", False):
        options["loras"] = [lora]
    engine = wan22.load(folder, device="cpu", **options)
    plain, _ = made(engine)
    careful, reused = made(engine, "first-block:0.000000001")
    assert reused == 0
    torch.testing.assert_close(careful, plain, rtol=1e-5, atol=1e-5)
    bold, reused = made(engine, "first-block:1")
    assert reused > 0
    assert torch.isfinite(bold).all() and not torch.equal(bold, plain)
    again, _ = made(engine)
    assert torch.equal(again, plain)  # nothing stays of the cache


def test_a_lora_changes_quantised_streamed_weights_as_it_changes_whole_ones(folder, lora):
    def difference(**options):
        with_it = made(wan22.load(folder, device="cpu", loras=[lora], **options))[0]
        return with_it - made(wan22.load(folder, device="cpu", **options))[0]

    whole = difference()
    rough = difference(quantize="int8-weights", memory="stream")
    assert (rough - whole).norm() < 0.2 * whole.norm()
