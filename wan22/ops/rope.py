"""Rotary positions on three axes (RoFormer, Su et al. 2021, section 3.2; the axis split is Wan's).

A head's channels are pairs (2j, 2j+1). Of the e/2 pairs the first belong to the frame, the next to the row, the
last to the column; each axis counts its frequencies over its own width (spec: transformer, section 4).
"""

from functools import lru_cache

import torch
from jaxtyping import Float, Num
from torch import Tensor

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine, each float32 (l, 1, e/2)."""


def axis_widths(head: int) -> tuple[int, int, int]:
    """Channels of a head given to frame, row and column."""
    side = 2 * (head // 6)
    return head - 2 * side, side, side


def angles(positions: Float[Tensor, "l axes"], head: int) -> Rotation:
    """The rotation of tokens at (frame, row, column) positions, whole numbers that may be negative.

    Angles in float64, kept in float32. `positions` float64 on the CPU.
    """
    parts = []
    for at, width in zip(positions.unbind(1), axis_widths(head), strict=True):
        frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        parts.append(at[:, None] * frequency)
    table = torch.cat(parts, dim=-1).unsqueeze(1)
    return table.cos().float(), table.sin().float()


def grid_positions(
    frames: Num[Tensor, " t"], rows: Num[Tensor, " h"], columns: Num[Tensor, " w"]
) -> Float[Tensor, "l axes"]:
    """The (frame, row, column) of every token of a grid, columns fastest."""
    return torch.cartesian_prod(frames.double(), rows.double(), columns.double())


@lru_cache(maxsize=8)
def rotation(grid: tuple[int, int, int], head: int, device: torch.device) -> Rotation:
    """The rotation of every token of a (frames, rows, columns) grid, float32 on the device."""
    with torch.inference_mode(False):  # the table outlives the call that asked first
        frames, rows, columns = (torch.arange(count, dtype=torch.float64) for count in grid)
        cos, sin = angles(grid_positions(frames, rows, columns), head)
        return cos.to(device), sin.to(device)


def rotate(x: Float[Tensor, "b l n e"], table: Rotation) -> Float[Tensor, "b l n e"]:
    """Turn every channel pair by its token's angle, in float32."""
    cos, sin = table
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
