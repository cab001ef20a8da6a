"""What each of many ranks takes, counted here: the real code on tensors without memory, with ranks that are not there.

torch's fake process group answers every collective at once. What a rank sends is counted where it is sent
(ranks.py), memory and products by the Meter.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wan22.arch import DiTArch, VAEArch
from wan22.errors import ParallelError
from wan22.memory import workload
from wan22.memory.meter import Counts, metered
from wan22.models.dit import WanDiT
from wan22.models.meta import meta_module
from wan22.parallel.divided import Divided
from wan22.parallel.layout import Layout
from wan22.parallel.mesh import Mesh
from wan22.parallel.ranks import shares
from wan22.parallel.rows import RowSplit

Decoder = Callable[[torch.device, RowSplit, nn.Module, Tensor], Iterator[Tensor]]


@dataclass(frozen=True)
class RankCounts:
    """Of one call on one rank: memory and products; bytes that it sends, and collectives, by kind."""

    counts: Counts
    traffic: Mapping[str, int]
    calls: Mapping[str, int]


@contextmanager
def fake(layout: Layout, rank: int) -> Generator[Mesh]:
    """The mesh as a rank of it sees it, where no other is there; its tensors are on the meta device."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        raise ParallelError(
            "ranks are counted in a process that is none itself; run `wan22 plan` without torchrun"
        )
    hook = sys.excepthook  # torch puts the rank before every error from now on
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=layout.ranks)
    try:
        yield Mesh.make(layout, torch.device("meta"))
    finally:
        dist.destroy_process_group()
        sys.excepthook = hook


def decode(
    arch: VAEArch, latent: tuple[int, int, int], dtype: torch.dtype, layout: Layout, codec: Decoder
) -> RankCounts:
    """A VAE that decodes latents (t, h, w) by rows, on a rank that has neighbours above and below. codec: decodes on a
    device with rows split.
    """
    sent: dict[int, tuple[Counter[str], Counter[str]]] = {}

    def at(frames: int) -> Counts:
        network = meta_module(arch)
        with fake(layout, layout.ranks // 2) as mesh, metered("cuda") as meter:
            meter.place(network, dtype)
            for pixels in codec(
                meter.device, RowSplit(mesh.world), network, meter.empty(1, arch.z, frames, *latent[1:])
            ):
                del pixels
            sent[frames] = mesh.sent()
            return meter.counts

    counts = workload.of_frames(at, latent[0])
    return RankCounts(counts, *_extrapolated(sent, latent[0]))


def busiest(layout: Layout, heads: int, tokens: int) -> int:
    """The rank that has most to do: of those with most heads, one with most tokens."""
    of_heads, of_tokens = shares(heads, layout.ulysses), shares(tokens, layout.context)
    return max(range(layout.context), key=lambda rank: (of_heads[rank % layout.ulysses], of_tokens[rank]))


@lru_cache(maxsize=64)
def forward(
    arch: DiTArch,
    call: workload.Forward,
    dtype: torch.dtype | workload.DtypeOf,
    layout: Layout,
    rank: int | None = None,
) -> RankCounts:
    """One call of the network on a rank (None: the busiest), and what joins the branches of guidance.

    Raises ParallelError if the layout shares more heads than the network has.
    """
    layout.check(layout.ranks, arch.heads)
    if rank is None:
        t, h, w = call.grid
        rank = busiest(layout, arch.heads, t * h * w // 4)
    sent: dict[int, tuple[Counter[str], Counter[str]]] = {}

    def around(network: WanDiT) -> Callable[..., Tensor]:
        def joined(*told: object) -> Tensor:
            with fake(layout, rank) as mesh:
                divided = Divided(mesh)
                velocity = divided.join(divided.call(network)(*told))
                sent[len(network.blocks)] = mesh.sent()
            return velocity

        return joined

    counts = workload.forward(arch, call, dtype, "cuda", around)
    return RankCounts(counts, *_extrapolated(sent, arch.layers))


def _extrapolated(sent: Mapping[int, Sequence[Mapping[str, int]]], number: int) -> list[dict[str, int]]:
    """What so many layers or frames send, from what two numbers of them did that differ by one."""
    if number in sent:
        return [dict(part) for part in sent[number]]
    few, more = sorted(sent)
    times = (number - few) // (more - few)
    return [
        {kind: a.get(kind, 0) + times * (b[kind] - a.get(kind, 0)) for kind in b}
        for a, b in zip(sent[few], sent[more], strict=True)
    ]
