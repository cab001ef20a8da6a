"""The ranks of one video, by what they share: a `Ranks` for each axis of the layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from wan22.parallel.layout import Layout
from wan22.parallel.ranks import Ranks, new_group


@dataclass(frozen=True)
class Mesh:
    """The groups that this rank is in.

    Rank r computes branch r // context (all of them if guidance = 1) of share r % context of the tokens. Neighbouring
    ranks share heads, for that is what sends most.

    world: all ranks. guidance: those with this one's tokens. context: those with its branch; of these, `ulysses` share
    heads and `ring` pass keys on. control: all ranks, on the CPU, for what is no tensor of the device.
    """

    layout: Layout
    world: Ranks
    guidance: Ranks
    context: Ranks
    ulysses: Ranks
    ring: Ranks
    control: Ranks

    @classmethod
    def make(cls, layout: Layout, device: torch.device) -> Mesh:
        """The mesh of all ranks of an initialised torch.distributed, all of which must call this.

        Raises ParallelError if the layout takes another number of ranks.
        """
        layout.check(dist.get_world_size())
        place = torch.arange(layout.ranks).view(layout.guidance, layout.ring, layout.ulysses)

        def along(rows: torch.Tensor, on: torch.device = device, backend: str | None = None) -> Ranks:
            return Ranks(_mine(rows.tolist(), backend), on)

        return cls(
            layout,
            world=Ranks(None, device),
            guidance=along(place.flatten(1).T),
            context=along(place.flatten(1)),
            ulysses=along(place.flatten(0, 1)),
            ring=along(place.movedim(1, 2).flatten(0, 1)),
            control=along(place.view(1, -1), torch.device("cpu"), _control()),
        )

    def sent(self) -> tuple[Counter[str], Counter[str]]:
        """Bytes that this rank sent by kind of collective, but for control; and how many collectives."""
        groups = (self.world, self.guidance, self.context, self.ulysses, self.ring)
        return sum((g.traffic for g in groups), Counter()), sum((g.calls for g in groups), Counter())


def _control() -> str:
    """Gloo, but where the ranks only seem to be there."""
    return "fake" if dist.get_backend() == "fake" else "gloo"


def _mine(groups: Iterable[list[int]], backend: str | None) -> dist.ProcessGroup:
    """Make all groups, which every rank must do, and return the one that this rank is in."""
    rank, mine = dist.get_rank(), None
    for members in groups:
        group = new_group(members, backend)
        if rank in members:
            mine = group
    assert mine is not None
    return mine
