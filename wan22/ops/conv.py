"""Convolutions of the video VAE: causal in time, and of an image that is doubled first.

Causal: a frame sees itself and the frames before it, never one that follows. Each has one definition, and for
float32 inference on the CPU a second way to the same numbers (but for rounding) that is faster there.
"""

from collections.abc import Sequence

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
    history: Sequence[Float[Tensor, "b c _ h w"]] = (),
    *,
    halo: bool = False,
) -> Float[Tensor, "b o t h w"]:
    """Convolve with kt - 1 frames on the left: those of `history`, in pieces, the oldest first; else zeros.

    Spatially the padding is symmetric zeros (spec: vae, section 3). With `halo` all frames have the kh // 2 rows above
    and below already, which the result has not.
    """
    padding = 0 if halo else weight.shape[3] // 2, weight.shape[4] // 2
    if cpu_inference(x):
        return _by_frames(x, weight, bias, history, padding)
    if x.shape[2] == 1:
        seen = torch.cat([frame for piece in (*history, x) for frame in piece.unbind(2)], dim=1)
        del history  # so that the device has it for no longer
        return _one_frame(seen, weight, bias, padding)
    kt = weight.shape[2]
    missing = kt - 1 - sum(piece.shape[2] for piece in history)
    before = [x.new_zeros(*x.shape[:2], missing, *x.shape[3:])] if missing else []
    seen = torch.cat([*before, *history, x], dim=2) if kt > 1 else x
    return F.conv3d(seen, weight, bias, padding=(0, *padding))


def _one_frame(seen: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int]) -> Tensor:
    """The last frame of those seen, (b, t * c, h, w), by one 2-D convolution: the frames are side by side as channels.

    So a single frame takes the kernels that are best kept: cuDNN's 3-D convolutions have neither TF32 nor bfloat16
    in some of its versions. Zeros before a video are left out. All is channels last, which these kernels want.
    """
    taps = weight[:, :, -(seen.shape[1] // weight.shape[1]) :]
    kernel = taps.permute(0, 3, 4, 2, 1).flatten(3).permute(0, 3, 1, 2)  # (o, t * c, kh, kw) in one copy
    return F.conv2d(seen, kernel, bias, padding=padding)[:, :, None]


def _by_frames(
    x: Tensor, weight: Tensor, bias: Tensor, history: Sequence[Tensor], padding: tuple[int, int]
) -> Tensor:
    """The same as a sum of 2-D convolutions, one for each tap in time.

    PyTorch computes small 3-D convolutions on the CPU by a slow kernel (a fifth of the rate); 2-D ones seldom. The
    zeros before a video need not be convolved (a single image costs a third), and nothing is joined.
    """
    taps, total = weight.unbind(2)[::-1], x.shape[2]
    y = _each_frame(x, taps[0], bias, padding)
    begin = -sum(piece.shape[2] for piece in history)
    for piece in (*history, x):
        for back, tap in enumerate(
            taps[1:], 1
        ):  # frame i of the piece is `back` frames before y's begin + i + back
            start, stop = max(begin + back, 0), min(begin + back + piece.shape[2], total)
            if start < stop:
                y[:, :, start:stop] += _each_frame(
                    piece[:, :, start - back - begin : stop - back - begin], tap, None, padding
                )
        begin += piece.shape[2]
    return y


def _each_frame(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    if weight.shape[2:] == (1, 1):
        return linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
    weight = weight.contiguous(memory_format=torch.channels_last)  # and so is everything after it
    frames = F.conv2d(rearrange(x, "b c t h w -> (b t) c h w"), weight, bias, padding=padding)
    return rearrange(frames, "(b t) c h w -> b c t h w", b=x.shape[0])


def doubled_conv2d(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "o c 3 3"],
    bias: Float[Tensor, " o"],
    *,
    halo: bool = False,
) -> Float[Tensor, "b o _ 2*w"]:
    """Double rows and columns by repetition, then convolve with zero padding: 2 h rows. With `halo` x has the row above
    and the row below already, which the result has not: 2 h - 4.
    """
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    if cpu_inference(x) and positions >= 1024:  # below, preparing the kernel costs more
        return _transposed(x, weight, bias, (3 if halo else 1, 1))
    doubled = F.interpolate(x, scale_factor=2.0, mode="nearest-exact")
    return F.conv2d(doubled[:, :, 1:-1] if halo else doubled, weight, bias, padding=(0 if halo else 1, 1))


def _transposed(x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int]) -> Tensor:
    """The same as one transposed convolution, at 4/9 of the products and without the doubled image.

    Repetition is a transposed convolution with four ones; after it a 3x3 kernel is a 4x4 one: itself, turned,
    at four places.
    """
    turned = weight.flip(2, 3).transpose(0, 1)
    rows = F.pad(turned, (0, 0, 0, 1))
    rows[:, :, 1:] += turned
    del turned  # a wide layer's kernels take more than its frames
    kernel = F.pad(rows, (0, 1))
    kernel[..., 1:] += rows
    del rows
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=padding)
