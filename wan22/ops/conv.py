"""Causal convolution in time: a frame sees itself and the frames before it, never one that follows."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def causal_conv3d(
    x: Float[Tensor, "b c t h w"],
    weight: Float[Tensor, "o c kt kh kw"],
    bias: Float[Tensor, " o"],
    history: Float[Tensor, "b c m h w"] | None = None,
) -> Float[Tensor, "b o t h w"]:
    """Convolve with kt - 1 frames of history on the left: those given, else zeros.

    Spatially the padding is symmetric zeros (spec: vae, section 3).
    """
    kt, kh, kw = weight.shape[2:]
    if kt > 1:
        if history is None:
            history = x.new_zeros(*x.shape[:2], kt - 1, *x.shape[3:])
        x = torch.cat([history, x], dim=2)
    return F.conv3d(x, weight, bias, padding=(0, kh // 2, kw // 2))
