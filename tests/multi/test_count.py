"""What is counted with ranks that are not there equals what ranks that are there send; and what many ranks come to."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from launch import run
from networks import case

from wan22.arch import DiTArch
from wan22.errors import ParallelError
from wan22.memory import workload
from wan22.models.dit import WanDiT
from wan22.parallel import count, links
from wan22.parallel.divided import Divided
from wan22.parallel.layout import Layout
from wan22.parallel.mesh import Mesh

NAMES = ("dit_t2v", "s2v_transformer")
DEEP = 5
"""Layers, more than are counted one by one."""


def sent(rank: int, layout: Layout) -> dict[str, tuple[Counter, Counter]]:
    """What this rank sends in a call of each network, and of a deeper one."""
    found = {}
    for name in (*NAMES, "deep"):
        network, told = case("dit_t2v" if name == "deep" else name)
        if name == "deep":
            network = WanDiT(replace(network.arch, layers=DEEP))
            told["text"] = network.read_text([torch.ones(3, network.arch.text_dim)])
        mesh = Mesh.make(layout, torch.device("cpu"))
        divided = Divided(mesh)
        with torch.inference_mode():
            divided.join(divided.call(network)(**told))
        found[name] = tuple(dict(part) for part in mesh.sent())
    return found


def counted(layout: Layout, rank: int) -> dict[str, tuple[dict, dict]]:
    found = {}
    for name in (*NAMES, "deep"):
        network, told = case("dit_t2v" if name == "deep" else name)
        arch = replace(network.arch, layers=DEEP) if name == "deep" else network.arch
        one = count.forward(
            arch, workload.Forward(tuple(told["x"].shape[2:]), prompt=4), torch.float32, layout, rank
        )
        found[name] = dict(one.traffic), dict(one.calls)
    return found


def check(layout: Layout) -> None:
    measured = run(layout.ranks, sent, layout)
    for rank in range(layout.ranks):
        assert measured[rank] == counted(layout, rank % layout.context)
    assert sum(measured[0]["deep"][0].values()) > 0


@pytest.mark.parametrize(
    "layout", [Layout(context=2), Layout(context=2, ring=2), Layout(guidance=2)], ids=str
)
def test_counted_bytes_are_those_that_two_ranks_send(layout):
    check(layout)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [Layout(context=4, ring=2), Layout(guidance=2, context=2)], ids=str)
def test_counted_bytes_are_those_that_four_ranks_send(layout):
    check(layout)


ARCH = DiTArch(16, 16, 320, 640, heads=40, layers=6, text_dim=16, text_len=8, freq_dim=8)
CALL = workload.Forward((4, 64, 64), prompt=8)


@pytest.mark.parametrize("ranks", [2, 4, 8, 16, 64])
def test_many_ranks_share_the_products_and_the_memory(ranks):
    layout = Layout.pick(ranks, ARCH.heads)
    one = workload.forward(ARCH, CALL, torch.bfloat16, "cuda")
    found = count.forward(ARCH, CALL, torch.bfloat16, layout)
    attention, whole = (
        sum(n for (kind, _), n in counts.flops.items() if kind == "attention")
        for counts in (found.counts, one)
    )
    assert attention == pytest.approx(whole / layout.context, rel=0.02)
    if layout.context > 1:
        assert found.counts.peak < one.peak
        # Queries, keys, values and answers: all but this rank's own part, of its share of the tokens.
        own = 4096 // layout.context * ARCH.dim * 2 * ARCH.layers
        assert found.traffic["exchange"] == 4 * own * (layout.ulysses - 1) // layout.ulysses
        assert found.traffic.get("shift", 0) == 2 * own * (layout.ring - 1)


def test_more_ranks_than_heads_are_refused_before_anything_is_counted():
    with pytest.raises(ParallelError, match="the model has 40; take ring=2"):
        count.forward(ARCH, CALL, torch.bfloat16, Layout(context=64))


def test_ranks_wait_for_what_is_sent_and_a_ring_only_for_what_is_not_hidden():
    link = links.Link("a link", bandwidth=4 / links.REACHED, latency=1.0)
    assert links.of_all(link, {"exchange": 8}, {"exchange": 1}, hidden=9.0) == 8 / 4 + 1
    ring = {"shift": 8}
    assert links.of_all(link, ring, {"shift": 1}, hidden=2.0) == 1.0
    assert links.of_all(link, ring, {"shift": 1}, hidden=9.0) == 0.0
