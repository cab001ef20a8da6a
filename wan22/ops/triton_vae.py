"""The fused function of the VAE (ops/fused.py) as a Triton kernel: one program for a few neighbouring positions.

It takes both layouts as they are: channels first (positions lie side by side in memory) and channels last.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from wan22.ops.triton_block import launch

_NUMBERS = 8192
"""How many numbers a program holds: the channels of as many positions as there is room for."""


def tile(block: int) -> int:
    """Positions of a program whose channels fill `block`; eight at least, to read whole sectors of memory."""
    return max(_NUMBERS // block, 8)


@triton.jit
def norm_silu_kernel(
    x, gamma, out, positions, tiles, x_b, x_c, x_p, eps,
    C: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """silu(x / max(|x|, eps) * gamma * sqrt(C)), |x| over the channels of a position."""
    program = tl.program_id(0).to(tl.int64)
    b = program // tiles
    position = (program % tiles) * TILE + tl.arange(0, TILE)
    channel = tl.arange(0, BLOCK)
    mask = (channel < C)[:, None] & (position < positions)[None, :]
    at = b * x_b + channel.to(tl.int64)[:, None] * x_c + position[None, :] * x_p
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    length = tl.maximum(tl.sqrt(tl.sum(v * v, 0)), eps)
    by = tl.load(gamma + channel, mask=channel < C, other=0.0).to(tl.float32) * tl.sqrt(C * 1.0)
    v = v / length[None, :] * by[:, None]
    tl.store(out + at, (v / (1.0 + tl.exp(-v))).to(out.dtype.element_ty), mask=mask)


def norm_silu(x: Float[Tensor, "b c *grid"], gamma: Float[Tensor, " c *ones"]) -> Float[Tensor, "b c *grid"]:
    """As `fused.norm_silu`; the result has x's layout."""
    b, c, *grid = x.shape
    last = torch.channels_last_3d if len(grid) == 3 else torch.channels_last
    if len(grid) in {2, 3} and x.is_contiguous(memory_format=last):
        steps = 1, c
    else:
        x = x.contiguous()
        steps = x[0, 0].numel(), 1
    positions, block = x[0, 0].numel(), triton.next_power_of_2(c)
    tiles = triton.cdiv(positions, tile(block))
    out = torch.empty_like(x, dtype=torch.result_type(x, gamma))
    launch(
        norm_silu_kernel, b * tiles, x, gamma.flatten().contiguous(), out, positions, tiles,
        c * positions, *steps, 1e-12,
        C=c, BLOCK=block, TILE=tile(block),
    )  # fmt: skip
    return out
