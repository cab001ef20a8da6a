"""A frozen base whose blocks pass through the device: the same gradients, two blocks at a time."""

import gc
import tomllib
from dataclasses import replace

import pytest
import torch
from unit.test_stream import Streams
from unit.tiny import random_weights, tiny_variant
from unit.train.small import SMALL

from wan22.errors import OptionError
from wan22.memory.stream import CopyLane, HostLane
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.train.adapt import attach, checkpoint_blocks
from wan22.train.int8 import freeze_int8
from wan22.train.losses import for_training, trainable
from wan22.train.recipe import parse_recipe
from wan22.train.streaming import stream_base

ARCH = replace(tiny_variant().dit, layers=4)
CPU = torch.device("cpu")


def network(base, streamed=None):
    """An adapted network whose factors do something; with its base on the way, if a lane is given."""
    made = WanDiT(ARCH)
    made.load_state_dict(random_weights(made, torch.Generator().manual_seed(0)))
    net = for_training(made.to(torch.bfloat16 if base == "bf16" else torch.float32), CPU)
    if base == "int8":
        freeze_int8(net)
    adapters = attach(net, rank=2, alpha=2.0)
    draw = torch.Generator().manual_seed(2)
    adapters.load(
        {k: (a, torch.randn(b.shape, generator=draw) * 0.2) for k, (a, b) in adapters.factors().items()}
    )
    stream = None if streamed is None else stream_base(net, CPU, streamed)
    checkpoint_blocks(net)
    return net, stream


def run(net):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2, ARCH.in_channels, 2, 4, 4, generator=draw)
    texts = [torch.randn(n, ARCH.text_dim, generator=draw) for n in (3, 5)]
    with torch.autocast("cpu", torch.bfloat16, enabled=net.blocks[0].ffn[0].dtype == torch.bfloat16):
        return net(x, NoiseLevels.uniform(torch.tensor([900.0, 300.0])), net.read_text(texts))


def steps(net, count=2):
    """Outputs and factors of some steps of descent."""
    outs = []
    for _ in range(count):
        net.zero_grad()
        out = run(net)
        out.float().square().mean().backward()
        outs.append(out.detach().clone())
        with torch.no_grad():
            for p in trainable(net).values():
                p.sub_(p.grad, alpha=0.5)
    return outs, {name: p.detach().clone() for name, p in trainable(net).items()}


@pytest.mark.parametrize("base", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("lane", [HostLane, lambda: CopyLane(CPU, Streams())], ids=["host", "copies"])
def test_steps_are_those_of_a_base_on_the_device(base, lane):
    outs, factors = steps(network(base)[0])
    net, stream = network(base, lane())
    found, learned = steps(net)
    assert factors.keys() == learned.keys() and all(
        torch.equal(a, b) for a, b in zip(outs, found, strict=True)
    )
    for name, value in factors.items():
        assert torch.equal(value, learned[name]), name
    with torch.no_grad():
        assert torch.equal(run(net), run(net))
    stream.release()
    assert sum(p.numel() for n, p in net.blocks.named_parameters() if not p.requires_grad) == 0
    assert torch.equal(run(net), run(net))  # it comes again


def test_two_blocks_are_there_and_each_is_brought_in_the_direction_of_the_work(monkeypatch):
    net, stream = network("fp32", CopyLane(CPU, Streams()))
    brought, fetched, most = [], [], 0
    fetch, bring = stream._fetch, stream.bring
    monkeypatch.setattr(stream, "_fetch", lambda i: fetched.append(i) or fetch(i))

    def noting(i):
        nonlocal most
        new = stream._here is None or stream._here[0] != i
        block = bring(i)
        brought.extend([i] if new else [])
        full = sum(any(p.numel() and not p.requires_grad for p in b.parameters()) for b in net.blocks)
        most = max(most, full)
        return block

    monkeypatch.setattr(stream, "bring", noting)
    steps(net, 2)
    assert most == 1  # and one on its way
    once = [0, 1, 2, 3, 0, 1, 2, 3, 2, 1, 0, 3, 2, 1, 0]  # text, blocks, their gradients, those of the text
    assert brought == [*once, *once[1:]]
    assert len(fetched) <= len(brought) + 6  # few come for nothing


def test_the_host_keeps_a_block_once():
    net, stream = network("fp32", HostLane())
    steps(net, 1)
    stream.release()
    gc.collect()
    held = {t.untyped_storage().data_ptr() for kept in stream._kept.values() for t in kept.values()}
    assert len(stream._kept) == 4 and stream._read.__self__ == {}
    assert held


@pytest.mark.parametrize(
    "more, said",
    [
        ("[memory]\nstream_base = true\n", "a base that is frozen"),
        ("[adapter]\n[memory]\nstream_base = true\n", "gradient_checkpointing = true"),
        (
            "[adapter]\n[memory]\nstream_base = true\ngradient_checkpointing = true\ncompile = true\n",
            "exclude one another",
        ),
    ],
)
def test_a_recipe_says_what_streaming_needs(more, said):
    with pytest.raises(OptionError, match=said):
        parse_recipe(tomllib.loads(SMALL + more))
