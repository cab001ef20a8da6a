"""The VAE on several ranks: each has some rows of every frame, and sees what its convolutions look at beyond them.

The numbers are those of one process but for rounding: a convolution gets the rows around a share from the neighbours,
the attention of the middle gets everyone's keys and values, and nothing else in the network looks past a row. Shares
are cut by rows of latents, so that every level halves or doubles whole ones; they differ by at most one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from wan22.parallel.ranks import Ranks, share, shares


@dataclass(frozen=True)
class RowShare:
    """This rank's rows of videos whose latents have `rows` of them: `models.vae.Neighbours`."""

    ranks: Ranks
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
        self.ranks = ranks

    def of(self, rows: int) -> RowShare | None:
        """The share of videos whose latents have so many rows; None if each rank has them all. All ranks must ask."""
        size = self.ranks.size
        count = next(n for n in range(min(rows, size), 0, -1) if size % n == 0)
        return None if count == 1 else RowShare(self.ranks.divided(count), rows)
