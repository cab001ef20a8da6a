"""Rotary positions on three axes (RoFormer, Su et al. 2021, section 3.2; the axis split is Wan's).

A head's channels are pairs (2j, 2j+1). Of the e/2 pairs the first belong to the frame, the next to the row, the
last to the column; each axis counts its frequencies over its own width (spec: transformer, section 4).
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine, each float32 (l, 1, e/2)."""


def axis_widths(head: int) -> tuple[int, int, int]:
    """Channels of a head given to frame, row and column."""
    side = 2 * (head // 6)
    return head - 2 * side, side, side


@lru_cache(maxsize=8)
def rotation(grid: tuple[int, int, int], head: int, device: torch.device) -> Rotation:
    """The rotation of every token of a (frames, rows, columns) grid; angles in float64, kept in float32."""
    with torch.inference_mode(False):  # the table outlives the call that asked first
        angles = []
        for axis, (count, width) in enumerate(zip(grid, axis_widths(head), strict=True)):
            frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            angle = torch.arange(count, dtype=torch.float64)[:, None] * frequency
            shape = [1, 1, 1, width // 2]
            shape[axis] = count
            angles.append(angle.view(shape).expand(*grid, width // 2))
        table = torch.cat(angles, dim=-1).flatten(0, 2).unsqueeze(1)
        return table.cos().float().to(device), table.sin().float().to(device)


def rotate(x: Float[Tensor, "b l n e"], table: Rotation) -> Float[Tensor, "b l n e"]:
    """Turn every channel pair by its token's angle, in float32."""
    cos, sin = table
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
