"""From decoded pixels to the frames that were asked for: levels, size, length.

The VAE gives what the network drew; a canvas says what the person gets. Frames stream through; only a film that must
be spread over more frames than were drawn (the small models) is held whole.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wan22.canvas import Canvas, fit
from wan22.catalog import Variant
from wan22.errors import CheckpointError
from wan22.types import Clip, Event, Frames


def deliver(stream: Iterator[Tensor], canvas: Canvas) -> Iterator[Event]:
    """Cut or scale decoded parts (3, T, H, W) in [-1, 1] to the canvas, and yield them as Frames."""
    if canvas.stretched:
        stream = iter([_stretch(torch.cat(list(stream), dim=1), canvas.frames)])
    done = 0
    for decoded in stream:
        part = decoded[:, : canvas.frames - done]
        if part.shape[1] == 0:
            continue  # frames beyond those asked complete the last latent frame
        yield Frames(done, canvas.frames, to_frames(_resize(part, canvas)))
        done += part.shape[1]


def to_frames(pixels: Tensor) -> np.ndarray:
    """Float (3, T, H, W) in [-1, 1] to uint8 (T, H, W, 3), rounded (the official code truncates: quirk 44)."""
    levels = pixels.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 3, 0).contiguous().cpu().numpy()


def spread(clip: Clip, canvas: Canvas) -> np.ndarray:
    """The pictures of a clip at the times of the canvas's drawn frames; a short clip holds its last one."""
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
    ends = "last_image" in (recipe.get("inputs") or {})
    return fit(variant, size=size, frames=frames, seconds=None, fps=fps, ends=ends)


def check_latents(tensors: Mapping[str, Tensor], canvas: Canvas, variant: Variant) -> Tensor:
    """The latents (c, t, h, w) among `tensors`; CheckpointError if they are not those of this canvas and model."""
    wanted = (variant.vae.z, *canvas.latent)
    if "latents" not in tensors:
        raise CheckpointError(f"there is no tensor 'latents'; there are: {', '.join(tensors) or 'none'}")
    found = tuple(tensors["latents"].shape)
    if found != wanted:
        raise CheckpointError(
            f"the latents are {found}, but {variant.name} draws this film as {wanted}: they are another model's, or "
            "the recipe is another film's"
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


def _stretch(pixels: Tensor, frames: int) -> Tensor:
    """Spread drawn frames evenly over another number of frames, blending the two nearest."""
    at = torch.linspace(0, pixels.shape[1] - 1, frames, device=pixels.device)
    before = at.floor().long().clamp(max=max(0, pixels.shape[1] - 2))
    after = (before + 1).clamp(max=pixels.shape[1] - 1)
    share = (at - before).view(1, -1, 1, 1)
    return torch.lerp(pixels[:, before], pixels[:, after], share)
