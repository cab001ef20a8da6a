"""What stands between the matrix products of the networks: norms, modulation, rotation, gates, activations.

Each function is one pass over memory where a kernel does it (a read and a write of the stream): those of the same names
in triton_block.py and triton_vae.py, taken as kernels.py says. Here is the reference in plain PyTorch, whose roundings
are the official release's. Norms are float32 inside; `dtype` is what comes out.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wan22.ops.kernels import with_kernel
from wan22.ops.norm import channel_norm, layer_norm, rms_norm
from wan22.ops.rope import Rotation, rotate
from wan22.ops.rows import Rows

_BLOCK, _VAE = "wan22.ops.triton_block", "wan22.ops.triton_vae"


@with_kernel(_BLOCK)
def norm_modulate(
    x: Float[Tensor, "b l d"], shift: Rows, scale: Rows, eps: float, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "b l d"]:
    """Layer norm, rounded to x's dtype, times (1 + scale), plus shift (spec: transformer, section 5)."""
    normed = layer_norm(x, eps=eps).to(x.dtype)
    return torch.addcmul(shift.spread(), normed.float(), 1 + scale.spread()).to(dtype)


@with_kernel(_BLOCK)
def norm_rotate(
    x: Float[Tensor, "b l n e"], gain: Float[Tensor, " n*e"], table: Rotation | None, eps: float
) -> Float[Tensor, "b l n e"]:
    """RMS norm over all heads jointly, times gain, then turned by the tokens' positions (no `table`: not turned).

    The norm is rounded to x's dtype before the gain, and the whole at the end.
    """
    normed = rms_norm(x.flatten(2), gain, eps).view(x.shape)
    return (normed if table is None else rotate(normed, table)).to(x.dtype)


@with_kernel(_BLOCK)
def gated_add(
    x: Float[Tensor, "b l d"], y: Float[Tensor, "b l d"], gate: Rows | None = None, out: Tensor | None = None
) -> Float[Tensor, "b l d"]:
    """x + y gate, float32 with a gate; without one, x + y. It is written to `out`, which may be x, where no gradient
    is asked.
    """
    change = y if gate is None else y * gate.spread()
    return x + change if out is None else torch.add(x, change, out=out)


@with_kernel(_BLOCK)
def gated_add_norm(
    x: Float[Tensor, "b l d"],
    y: Float[Tensor, "b l d"],
    gate: Rows,
    weight: Float[Tensor, " d"],
    bias: Float[Tensor, " d"],
    eps: float,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b l d"]]:
    """Return x + y gate (in `out`, see `gated_add`), and its affine layer norm."""
    x = gated_add(x, y, gate, out)
    return x, layer_norm(x, weight, bias, eps).to(dtype)


@with_kernel(_BLOCK)
def add_norm_modulate(
    x: Float[Tensor, "b l d"],
    y: Float[Tensor, "b l d"],
    shift: Rows,
    scale: Rows,
    eps: float,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b l d"]]:
    """Return x + y (in `out`, see `gated_add`), and its modulated layer norm."""
    x = gated_add(x, y, out=out)
    return x, norm_modulate(x, shift, scale, eps, dtype)


@with_kernel(_VAE)
def norm_silu(x: Float[Tensor, "b c *grid"], gamma: Float[Tensor, " c *ones"]) -> Float[Tensor, "b c *grid"]:
    """The VAE's norm over channels, then SiLU."""
    return F.silu(channel_norm(x, gamma), inplace=True)
