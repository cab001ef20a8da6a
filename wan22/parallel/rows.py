"""The VAE on several ranks: each has some rows of every frame, and sees what its convolutions look at beyond them.

The numbers are those of one process but for rounding: a convolution gets the rows around a share from the neighbours,
the attention of the middle gets everyone's keys and values, and nothing else in the network looks past a row. Shares
are cut by rows of latents, so that every level halves or doubles whole ones; they differ by at most one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wan22.parallel.ranks import Ranks, share, shares


@dataclass(frozen=True)
class Absent:
    """Ranks of which only this one is there: what would come from the others has a shape, and no numbers."""

    size: int
    rank: int = 0

    def divided(self, count: int) -> Absent:
        """So many of them."""
        return Absent(count)

    def gather(self, x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
        """As `Ranks.gather`, with the copies that it makes."""
        mine, longest = x.movedim(dim, 0).contiguous(), max(sizes)
        if len(mine) < longest:
            mine = torch.cat([mine, mine.new_empty(longest - len(mine), *mine.shape[1:])])
        found = mine.new_empty(longest * self.size, *mine.shape[1:])
        if len(set(sizes)) > 1:
            found = torch.cat([part[:n] for part, n in zip(found.split(longest), sizes, strict=True)])
        return found.movedim(0, dim)

    def halo(self, x: Tensor, dim: int, above: int, below: int) -> tuple[Tensor | None, Tensor | None]:
        """As `Ranks.halo`, with the copies that it makes."""
        first, last = self.rank == 0, self.rank == self.size - 1
        give = [*([] if first else [x.narrow(dim, 0, below)]), *([] if last else [x.narrow(dim, 0, above)])]
        mine = torch.cat([part.contiguous().view(-1) for part in give])
        shapes = [(*x.shape[:dim], rows, *x.shape[dim + 1 :]) for rows in (above, below)]
        sizes = [0 if first else math.prod(shapes[0]), 0 if last else math.prod(shapes[1])]
        found = mine.new_empty(sum(sizes)).split(sizes)
        return None if first else found[0].view(shapes[0]), None if last else found[1].view(shapes[1])


@dataclass(frozen=True)
class RowShare:
    """This rank's rows of videos whose latents have `rows` of them: `models.vae.Neighbours`."""

    ranks: Ranks | Absent
    rows: int

    def mine(self, x: Tensor) -> Tensor:
        """This rank's rows of a whole video (b, c, t, h, w), pixels or latents."""
        each = x.shape[3] // self.rows
        some = share(self.rows, self.ranks.size, self.ranks.rank)
        return x[:, :, :, some.start * each : some.stop * each]

    def around(self, x: Tensor, above: int, below: int) -> Tensor:
        """x (b, c, t, h, w) with rows of the ranks above and below; zeros where the frame ends."""
        before, after = self.ranks.halo(x, 3, above, below)
        wide = F.pad(x, (0, 0, above, below))
        if before is not None:
            wide[:, :, :, :above] = before
        if after is not None:
            wide[:, :, :, above + x.shape[3] :] = after
        return wide

    def all(self, x: Tensor, dim: int) -> Tensor:
        """Everyone's x joined along an axis of rows, at any level of the network, or of positions row by row."""
        counts = shares(self.rows, self.ranks.size)
        each = x.shape[dim] // counts[self.ranks.rank]
        return self.ranks.gather(x, dim, [count * each for count in counts])


class RowSplit:
    """Splits videos over ranks. Where there are more ranks than rows, groups of them do the same work: as many ranks as
    have a row each share it, and none waits for another group.
    """

    def __init__(self, ranks: Ranks) -> None:
        """`ranks` are all there are."""
        self.ranks: Ranks | Absent = ranks

    def of(self, rows: int) -> RowShare | None:
        """The share of videos whose latents have so many rows; None if each rank has them all. All ranks must ask."""
        size = self.ranks.size
        count = next(n for n in range(min(rows, size), 0, -1) if size % n == 0)
        return None if count == 1 else RowShare(self.ranks.divided(count), rows)


class CountedRows(RowSplit):
    """The rank that has most to do of `size` that are not there, for counting on the meta device."""

    def __init__(self, size: int) -> None:
        self.ranks = Absent(size)

    def of(self, rows: int) -> RowShare | None:
        """As `RowSplit.of`: the share of a rank with most rows, between two neighbours if one of those is."""
        found = super().of(rows)
        if found is None:
            return None
        size, each = found.ranks.size, shares(rows, found.ranks.size)
        return RowShare(
            Absent(size, max(range(size), key=lambda rank: (each[rank], 0 < rank < size - 1))), rows
        )
