"""Previews while a video is made: the predicted clean latents as a small animation, through a linear map to colours.

For every VAE the map is fitted once, by least squares, to what the VAE makes of clips of the film set, and is kept in
the data folder. It costs no decoding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from wan22.atomic import written
from wan22.media.provenance import marks_of_stills

if TYPE_CHECKING:
    from wan22.engine import Engine
    from wan22.types import Progress

FILE = "preview.webp"
EVERY = 2.0
"""Seconds between previews."""

_SIDE = 256  # of an animation, at most
_QUALITY = 60
_CLIPS, _FRAMES, _HEIGHT, _WIDTH = 12, 5, 64, 96
_RIDGE = 1e-4  # of the variance of latents, which is about 1: channels that say nothing get no colour


class Preview:
    """Writes the preview of a job at most every two seconds.

    colours: (c + 1, 3), what `fit` gave. fps: of the video.
    """

    def __init__(
        self, colours: Tensor, path: Path, fps: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._colours, self._path, self._now = colours, path, now
        self._milliseconds = round(4000 / fps)  # a latent frame stands for four
        self._last, self._number = -math.inf, 0

    def __call__(self, event: Progress) -> dict[str, Any] | None:
        """Write the preview of a step if it is time; return its event. Raises OutputError."""
        now = self._now()
        if now - self._last < EVERY:
            return None
        self._last, self._number = now, self._number + 1
        write_preview(paint(event.x0, self._colours), self._path, self._milliseconds)
        return {"type": "preview", "file": FILE, "n": self._number}


def paint(latents: Tensor, colours: Tensor) -> Tensor:
    """Latents (c, t, h, w) as colours, uint8 (t, h, w, 3), on the CPU."""
    weights, bias = colours[:-1].to(latents.device), colours[-1].to(latents.device)
    rgb = torch.einsum("cthw,cd->thwd", latents.float(), weights) + bias
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def write_preview(frames: Tensor, path: Path, milliseconds: int) -> None:
    """Write frames, uint8 (t, h, w, 3), as an animated WebP, enlarged to what a person can see."""
    height, width = frames.shape[1:3]
    scale = max(1.0, _SIDE / max(height, width))
    size = round(width * scale), round(height * scale)
    images = [Image.fromarray(frame.numpy()).resize(size, Image.Resampling.BICUBIC) for frame in frames]
    with written(path) as part:
        images[0].save(
            part, "WEBP", save_all=True, append_images=images[1:], duration=milliseconds, loop=0,
            quality=_QUALITY, method=0, **marks_of_stills(),
        )  # fmt: skip


def kept_colours(engine: Engine, folder: Path) -> Path:
    """The file that keeps the map of an engine's VAE."""
    return folder / f"{engine.weights['vae'].rpartition(':')[2]}.safetensors"


def colours_of(engine: Engine, folder: Path) -> Tensor:
    """The map of an engine's VAE (c + 1, 3), the last row being the bias: kept in `folder`, or fitted now."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    path = kept_colours(engine, folder)
    channels = engine.variant.vae.z
    try:
        kept = load_file(path)["colours"]
        if kept.shape == (channels + 1, 3):
            return kept
    except (OSError, SafetensorError, KeyError):
        pass  # it is not there, or damaged: it is fitted anew
    colours = fit(engine.encode_pixels)
    with written(path) as part:
        save_file({"colours": colours}, part)
    return colours


def fit(encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Fit the map from latents to colours 0..1, (c + 1, 3), float32, for a VAE.

    encode: pixels (1, 3, T, H, W) in [-1, 1] to latents (1, c, t, h, w).
    """
    from wan22.stage.labels import sample
    from wan22.stage.render import render

    clips = render(sample(_CLIPS, seed=0), height=_HEIGHT, width=_WIDTH, frames=_FRAMES)
    rows, asked = [], []
    for clip in clips:
        pixels = clip.float().div(255).permute(3, 0, 1, 2)
        latents = encode(pixels[None] * 2 - 1)[0].cpu()
        small = latent_frames(pixels, latents.shape[1:])
        rows.append(latents.flatten(1).T.double())
        asked.append(small.flatten(1).T.double())
    x, y = torch.cat(rows), torch.cat(asked)
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    ridge = _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    ridge[-1, -1] = 0  # the bias is free
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y).float().contiguous()


def latent_frames(pixels: Tensor, shape: torch.Size) -> Tensor:
    """Pixels (3, T, H, W) as means over what a latent of `shape` (t, h, w) stands for: the first frame, then fours."""
    first, rest = pixels[:, :1], pixels[:, 1:]
    means = rest.unflatten(1, (shape[0] - 1, -1)).mean(dim=2) if shape[0] > 1 else rest
    frames = torch.cat([first, means], dim=1)
    return F.adaptive_avg_pool2d(frames.transpose(0, 1), tuple(shape[1:])).transpose(0, 1)
