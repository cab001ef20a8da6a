"""What is known of a video before it is drawn: images, and how a network is told of them.

It knows pixels and latents, no network: encoding is a function that it is given. There are two ways to tell
(`Variant.image`): "channels" beside the noisy ones (I2V-A14B), or "known" latent frames at noise level zero (TI2V-5B).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image as PIL
from torch import Tensor

from wan22.canvas import Canvas
from wan22.types import Image

Encode = Callable[[Float[Tensor, "1 3 T H W"]], Float[Tensor, "1 c t h w"]]
"""Pixels in [-1, 1] to normalised latents."""


@dataclass(frozen=True)
class ImageCondition:
    """What the network is told besides text, noise level and the noisy latents.

    `channels` (y, t, h, w) go beside the noisy ones. Or `latents` (c, t, h, w) are given at noise level zero
    wherever `frames` (t,) says so; if `noisy`, they are given at the noise level of the moment instead. All None:
    nothing is known.
    """

    channels: Float[Tensor, "y t h w"] | None = None
    latents: Float[Tensor, "c t h w"] | None = None
    frames: Bool[Tensor, " t"] | None = None
    noisy: bool = False


def to_pixels(image: Image) -> Float[Tensor, "3 H W"]:
    """uint8 (H, W, 3) to float32 in [-1, 1], in the order of operations of the official release."""
    x = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
    return (x - 0.5) / 0.5


def cover(image: Image, size: tuple[int, int]) -> Image:
    """Scale (Lanczos) until `size` (width, height) is covered, and cut its centre (spec: sampling, section 8)."""
    height, width = image.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    scaled = PIL.fromarray(image).resize(
        (round(width * scale), round(height * scale)), PIL.Resampling.LANCZOS
    )
    left, top = (scaled.width - size[0]) // 2, (scaled.height - size[1]) // 2
    return np.asarray(scaled.crop((left, top, left + size[0], top + size[1])))


def cut_to_shape(image: Image, size: tuple[int, int]) -> Image:
    """Cut the largest centred part that has the shape of `size` (width, height)."""
    height, width = image.shape[:2]
    wide = min(width, max(1, round(height * size[0] / size[1])))
    high = min(height, max(1, round(width * size[1] / size[0])))
    left, top = (width - wide) // 2, (height - high) // 2
    return image[top : top + high, left : left + wide]


def channels(
    first: Image | None, last: Image | None, canvas: Canvas, encode: Encode, *, exact_shape: bool
) -> ImageCondition:
    """Tell images by channels: four of mask, then the latents of a video that is grey where nothing is known.

    The images are stretched to the canvas by bicubic interpolation without antialiasing or clamping, as the
    official release does (spec: sampling, section 7); `exact_shape` cuts them to the canvas's shape before. The
    last one stands from the last frame that is delivered to the last that is drawn.
    """
    width, height = canvas.draw
    total = canvas.drawn_frames
    end = total if canvas.stretched else min(canvas.frames, total)
    shown = {}
    for image, begin, count in ((first, 0, 1), (last, end - 1, total - end + 1)):
        if image is not None:
            shaped = cut_to_shape(image, canvas.draw) if exact_shape else image
            stretched = F.interpolate(to_pixels(shaped)[None], size=(height, width), mode="bicubic")
            shown[begin] = stretched[0, :, None].expand(-1, count, -1, -1)
    return channels_of(shown, canvas, encode)


def channels_of(
    shown: Mapping[int, Float[Tensor, "3 _ H W"]], canvas: Canvas, encode: Encode
) -> ImageCondition:
    """Tell pieces of a video by channels; `shown` has their frames by the number of the first."""
    width, height = canvas.draw
    video = torch.zeros(3, canvas.drawn_frames, height, width)
    mask = torch.zeros(canvas.drawn_frames)
    for begin, pixels in shown.items():
        video[:, begin : begin + pixels.shape[1]] = pixels
        mask[begin : begin + pixels.shape[1]] = 1
    latents = encode(video[None])[0].cpu()
    told = pack_mask(mask[:, None, None].expand(-1, *latents.shape[2:]), canvas.stride_time)
    return ImageCondition(channels=torch.cat([told, latents]))


def pack_mask(mask: Float[Tensor, "T h w"], group: int) -> Float[Tensor, "g t h w"]:
    """A mask of pixel frames as channels of latent frames, `group` pixel frames in each.

    The first pixel frame stands for as many as the others have in a latent frame.
    """
    return torch.cat([mask[:1].expand(group, -1, -1), mask[1:]]).unflatten(0, (-1, group)).transpose(0, 1)


def frames(first: Image | None, last: Image | None, canvas: Canvas, encode: Encode) -> ImageCondition:
    """Tell images as latent frames that are known from the start.

    A first image is the first latent frame, encoded alone. A last one, which no official model was trained for, is
    the latent frame of a video that stands still on it.
    """
    t, h, w = canvas.latent
    latents, known = None, torch.zeros(t, dtype=torch.bool)
    for image, at in ((first, 0), (last, t - 1)):
        if image is None:
            continue
        held = 1 if at == 0 else 1 + canvas.stride_time
        still = to_pixels(cover(image, canvas.draw))[None, :, None].repeat(1, 1, held, 1, 1)
        latent = encode(still)[0, :, -1].cpu()
        latents = latent.new_zeros(latent.shape[0], t, h, w) if latents is None else latents
        latents[:, at] = latent
        known[at] = True
    return ImageCondition(latents=latents, frames=known)
