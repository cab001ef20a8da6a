"""From decoded pixels to the frames that were asked for: levels, size, length.

The VAE gives what the network drew; a canvas says what the person gets. Frames stream through, a few at a time; only
a video that must be spread over more frames than were drawn (the small models) is held whole, at the size it was drawn.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from wan22.canvas import Canvas, fit
from wan22.catalog import Variant
from wan22.conditioning.clips import ClipCondition
from wan22.errors import CheckpointError
from wan22.memory.device import wait
from wan22.memory.transfer import to_host
from wan22.types import Clip, Events, Frames

_PIXELS_AT_ONCE = 2**23
"""Pixels that are scaled together: about 400 MB in work, however long and large the video is."""


SEAM = 4
"""Frames over which what is left of a seam between two clips is faded out."""


def own_frames(stream: Iterator[Tensor], condition: ClipCondition) -> Iterator[Tensor]:
    """What is a clip's own of its decoded parts (3, T, H, W): without the frames that show its past, and with the
    difference to what was shown of the past faded out.
    """
    skip, shown = condition.drop, 0
    left: Tensor | None = None
    for part in stream:
        if skip and condition.seam is not None and part.shape[1] >= skip:
            left = condition.seam.to(part.device) - part[:, skip - 1]
        own = part[:, skip:]
        skip = max(0, skip - part.shape[1])
        if own.shape[1] == 0:
            continue
        if left is not None and shown < SEAM:
            at = torch.arange(shown + 1, shown + 1 + own.shape[1], device=own.device)
            own = own + left[:, None] * (1 - at / (SEAM + 1)).clamp(min=0).view(1, -1, 1, 1)
        shown += own.shape[1]
        yield own


def repeat_first_frame(stream: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """Show the first frame of decoded parts `count` times more."""
    for part in stream:
        yield torch.cat([part[:, :1].expand(-1, count, -1, -1), part], dim=1) if count else part
        count = 0


def deliver(stream: Iterator[Tensor], canvas: Canvas, clip: int = 0) -> Events:
    """Cut or scale decoded parts (3, T, H, W) in [-1, 1] of a clip to the canvas, and yield them as Frames."""
    if canvas.scaled or canvas.stretched:
        stream = (part.cpu() for part in stream)  # small videos; not every device can scale with antialiasing
    if canvas.stretched:
        stream = _stretch(torch.cat(list(stream), dim=1), canvas.frames)
    done, end = canvas.span(clip)
    for levels in to_host(_delivered(stream, canvas, end - done)):
        yield Frames(done, canvas.frames, levels.numpy())
        done += len(levels)


def _delivered(stream: Iterator[Tensor], canvas: Canvas, count: int) -> Iterator[Tensor]:
    """The first `count` frames at the size of the canvas, in levels, on the device; some at a time."""
    few = max(1, _PIXELS_AT_ONCE // math.prod(canvas.out))
    for decoded in stream:
        # Frames beyond those asked complete the last latent frame.
        for part in decoded[:, :count].split(few, dim=1):
            if part.shape[1] > 0:
                yield to_levels(_resize(part, canvas))
        count = max(count - decoded.shape[1], 0)


def to_levels(pixels: Float[Tensor, "3 T H W"]) -> UInt8[Tensor, "T H W 3"]:
    """Pixels in [-1, 1] to uint8, rounded (the official code truncates: quirk 44)."""
    levels = pixels.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 3, 0).contiguous()


def to_frames(pixels: Float[Tensor, "3 T H W"]) -> np.ndarray:
    """Pixels in [-1, 1] to uint8 (T, H, W, 3) on the host."""
    return to_levels(pixels).cpu().numpy()


def resample_frames(clip: Clip, canvas: Canvas) -> np.ndarray:
    """The images of a clip at the times of the canvas's drawn frames; a short clip holds its last one."""
    span = canvas.frames / canvas.drawn_frames if canvas.stretched else 1.0
    times = np.arange(canvas.drawn_frames) * span / canvas.fps
    index = np.minimum(np.floor(times * clip.fps + 1e-6).astype(int), len(clip.frames) - 1)
    return clip.frames[index]


def canvas_of(recipe: dict[str, Any], variant: Variant) -> Canvas:
    """The canvas of a recipe, computed anew from what it says was asked."""
    try:
        size, frames, fps = tuple(recipe["size"]), recipe["frames"], recipe["fps"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the recipe does not say what was asked: {error} is missing") from error
    inputs = recipe.get("inputs") or {}
    ends, chain = "last_image" in inputs, "video" not in inputs
    return fit(variant, size=size, frames=frames, seconds=None, fps=fps, ends=ends, chain=chain)


def check_latents(tensors: Mapping[str, Tensor], canvas: Canvas, variant: Variant) -> Tensor:
    """The latents (c, t, h, w) among `tensors`; CheckpointError if they are not those of this canvas and model."""
    wanted = (variant.vae.z, *canvas.latent)
    if "latents" not in tensors:
        raise CheckpointError(f"there is no tensor 'latents'; there are: {', '.join(tensors) or 'none'}")
    found = tuple(tensors["latents"].shape)
    if found != wanted:
        raise CheckpointError(
            f"the latents are {found}, but {variant.name} draws this video as {wanted}: they are another model's, or "
            "the recipe is another video's"
        )
    return tensors["latents"]


def _resize(pixels: Tensor, canvas: Canvas) -> Tensor:
    """Cut the centre, or, for a model kept to its trained sizes, scale until `out` is covered and cut."""
    width, height = canvas.out
    if canvas.scaled:
        scale = max(width / canvas.draw[0], height / canvas.draw[1])
        size = (max(height, round(canvas.draw[1] * scale)), max(width, round(canvas.draw[0] * scale)))
        frames = pixels.transpose(0, 1)
        pixels = F.interpolate(frames, size=size, mode="bicubic", antialias=True).transpose(0, 1)
    top, left = (pixels.shape[2] - height) // 2, (pixels.shape[3] - width) // 2
    return pixels[:, :, top : top + height, left : left + width]


def _stretch(pixels: Tensor, frames: int) -> Iterator[Tensor]:
    """Spread drawn frames evenly over another number of frames, one by one, blending the two nearest."""
    last = pixels.shape[1] - 1
    for at in torch.linspace(0, last, frames):
        before = min(int(at), max(0, last - 1))
        after = min(before + 1, last)
        yield torch.lerp(pixels[:, before], pixels[:, after], at - before)[:, None]


class LastFrames:
    """Remembers the last frames of a stream of parts (3, T, H, W), on the CPU."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: list[Tensor] = []
        self._device = torch.device("cpu")

    def __call__(self, stream: Iterator[Tensor]) -> Iterator[Tensor]:
        for part in stream:
            self._device = part.device
            self._parts.append(part[:, -self._count :].to("cpu", non_blocking=True))
            while sum(p.shape[1] for p in self._parts[1:]) >= self._count:
                self._parts.pop(0)
            yield part

    def frames(self) -> Tensor:
        """The last frames, as many as there were of them."""
        wait(self._device)
        return torch.cat(self._parts, dim=1)[:, -self._count :].float()
