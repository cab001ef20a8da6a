"""Convolutions of the video VAE: causal in time, and of an image that is doubled first.

Causal: a frame sees itself and the frames before it, never one that follows. Each has one definition, and for
float32 inference on the CPU a second way to the same numbers (but for rounding) that is faster there.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from wan22.ops.linear import cpu_inference, linear


def causal_conv3d(
    x: Float[Tensor, "b c t h w"],
    weight: Float[Tensor, "o c kt kh kw"],
    bias: Float[Tensor, " o"],
    history: Float[Tensor, "b c m h w"] | None = None,
) -> Float[Tensor, "b o t h w"]:
    """Convolve with kt - 1 frames of history on the left: those given, else zeros.

    Spatially the padding is symmetric zeros (spec: vae, section 3).
    """
    if cpu_inference(x):
        return _by_frames(x, weight, bias, history)
    kt, kh, kw = weight.shape[2:]
    if kt > 1:
        if history is None:
            history = x.new_zeros(*x.shape[:2], kt - 1, *x.shape[3:])
        x = torch.cat([history, x], dim=2)
    return F.conv3d(x, weight, bias, padding=(0, kh // 2, kw // 2))


def _by_frames(x: Tensor, weight: Tensor, bias: Tensor, history: Tensor | None) -> Tensor:
    """The same as a sum of 2-D convolutions, one for each tap in time.

    PyTorch computes small 3-D convolutions on the CPU by a slow kernel (a fifth of the rate); 2-D ones seldom. And
    the zeros before a video need not be convolved: a single image costs a third.
    """
    taps = weight.unbind(2)
    before = 0 if history is None else history.shape[2]
    video = x if history is None else torch.cat([history, x], dim=2)
    y = _each_frame(x, taps[-1], bias)
    for back in range(1, len(taps)):
        start = max(back - before, 0)  # frames that see a zero `back` frames ago
        if start < x.shape[2]:
            past = video[:, :, before + start - back : video.shape[2] - back]
            y[:, :, start:] += _each_frame(past, taps[-1 - back], None)
    return y


def _each_frame(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if weight.shape[2:] == (1, 1):
        return linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
    weight = weight.contiguous(memory_format=torch.channels_last)  # and so is everything after it
    frames = F.conv2d(rearrange(x, "b c t h w -> (b t) c h w"), weight, bias, padding="same")
    return rearrange(frames, "(b t) c h w -> b c t h w", b=x.shape[0])


def doubled_conv2d(
    x: Float[Tensor, "b c h w"], weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b o 2*h 2*w"]:
    """Double rows and columns by repetition, then convolve with zero padding."""
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    if cpu_inference(x) and positions >= 1024:  # below, preparing the kernel costs more
        return _transposed(x, weight, bias)
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest-exact"), weight, bias, padding=1)


def _transposed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same as one transposed convolution, at 4/9 of the products and without the doubled image.

    Repetition is a transposed convolution with four ones; after it a 3x3 kernel is a 4x4 one: itself, turned,
    at four places.
    """
    turned = weight.flip(2, 3).transpose(0, 1)
    rows = F.pad(turned, (0, 0, 0, 1)) + F.pad(turned, (0, 0, 1, 0))
    kernel = F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)
