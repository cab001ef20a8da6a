"""Normalisations of the Wan networks: the reference maths, without weights of their own."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def layer_norm(
    x: Float[Tensor, "*rest d"],
    weight: Float[Tensor, " d"] | None = None,
    bias: Float[Tensor, " d"] | None = None,
    eps: float = 1e-6,
) -> Float[Tensor, "*rest d"]:
    """Normalise the last axis in float32, and return float32 (spec: transformer, section 5)."""
    affine = (None, None) if weight is None or bias is None else (weight.float(), bias.float())
    return F.layer_norm(x.float(), x.shape[-1:], affine[0], affine[1], eps)


def rms_norm(
    x: Float[Tensor, "*rest d"], weight: Float[Tensor, " d"], eps: float = 1e-6
) -> Float[Tensor, "*rest d"]:
    """Divide by the root mean square over the last axis, in float32, then multiply by `weight`.

    The quotient is rounded to x's dtype before the product, as the official release does (quirk 4): the
    result is float32 if the weight is stored so, else x's dtype.
    """
    if x.dtype == weight.dtype == torch.float32:
        return F.rms_norm(x, x.shape[-1:], weight, eps)
    return F.rms_norm(x.float(), x.shape[-1:], None, eps).to(x.dtype) * weight


def channel_norm(
    x: Float[Tensor, "b c *grid"], gamma: Float[Tensor, " c *ones"]
) -> Float[Tensor, "b c *grid"]:
    """Scale every position's channel vector to length sqrt(c), then by gamma (the VAE's "RMS_norm")."""
    return F.normalize(x, dim=1) * (gamma * x.shape[1] ** 0.5)
