"""ComfyUI's values as the engine takes them, and back: IMAGE, MASK, AUDIO, VIDEO and LATENT.

IMAGE: float (b, h, w, c), 0..1. MASK: float (b, h, w), 0..1. AUDIO: {"waveform": float (b, channels, n),
"sample_rate"}. VIDEO: an object with `get_components()`. LATENT: {"samples": float (b, c, t, h, w)}, as the VAE gives
them: the networks see (samples - mean) / std, which the latent formats Wan21 and Wan22 of ComfyUI do in `process_in`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wan22.errors import OptionError
from wan22.types import Audio, Clip

from . import host

if TYPE_CHECKING:
    from wan22.arch import VAEArch

RECIPE = "wan22"
"""The key of a LATENT that holds the recipe of its video: its size, frames and rate. Other nodes keep it."""


def image(images: Tensor, what: str) -> np.ndarray:
    """The one image of an IMAGE, uint8 (h, w, 3). Raises OptionError for several."""
    if images.ndim != 4 or len(images) != 1:
        raise OptionError(
            f"{what} must be one image, not IMAGE {tuple(images.shape)}; take one with ImageFromBatch"
        )
    return frames(images)[0]


def frames(images: Tensor) -> np.ndarray:
    """An IMAGE as uint8 (t, h, w, 3); a fourth channel is left out."""
    levels = images[..., :3].detach().float().clamp(0, 1).mul(255).round()
    return np.ascontiguousarray(levels.to(torch.uint8).cpu().numpy())


def masks(mask: Tensor) -> np.ndarray:
    """A MASK as uint8 (t, h, w, 3), 255 where it is 1."""
    return frames(mask[..., None].expand(*mask.shape, 3))


def images(pixels: np.ndarray) -> Tensor:
    """Frames, uint8 (t, h, w, 3), as an IMAGE."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).float().div(255)


def clip(video: Any) -> Clip:
    """A VIDEO as a Clip."""
    parts = video.get_components()
    return Clip(frames(parts.images), float(parts.frame_rate))


def audio(given: dict[str, Any], rate: int) -> Audio:
    """An AUDIO as one channel at `rate` samples a second: the mean of its channels. Raises OptionError for several."""
    from wan22.media.audio import resample

    waveform = given["waveform"].detach().float().cpu()
    if waveform.ndim != 3 or len(waveform) != 1:
        raise OptionError(f"audio must be one AUDIO (1, channels, samples), not {tuple(waveform.shape)}")
    samples = waveform[0].mean(dim=0).numpy()
    if not len(samples):
        raise OptionError("the audio is empty; give one of at least a frame of the video")
    return resample(Audio(np.ascontiguousarray(samples, np.float32), int(given["sample_rate"])), rate)


def audio_until(given: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The beginning of an AUDIO."""
    return {**given, "waveform": given["waveform"][..., : math.ceil(seconds * given["sample_rate"])]}


def latent(z: Tensor, arch: VAEArch, recipe: dict[str, Any]) -> dict[str, Any]:
    """Normalised latents (c, t, h, w) as a LATENT."""
    mean, std = _scale(arch)
    return {"samples": (z.detach().float().cpu() * std + mean)[None], RECIPE: recipe}


def normalised(samples: dict[str, Any], arch: VAEArch) -> Tensor:
    """A LATENT as normalised latents (b, c, t, h, w), float32. Raises OptionError for another VAE's."""
    raw = samples["samples"].detach().float().cpu()
    if raw.ndim != 5 or raw.shape[1] != arch.z:
        raise OptionError(
            f"this LATENT has the shape {tuple(raw.shape)}, and the model's VAE decodes (b, {arch.z}, t, h, w): decode "
            "it with the VAE of the model that made it"
        )
    mean, std = _scale(arch)
    return (raw - mean) / std


def _scale(arch: VAEArch) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(row).view(-1, 1, 1, 1) for row in (arch.mean, arch.std))
    return mean, std


def video(pixels: np.ndarray, fps: float, under: dict[str, Any] | None = None) -> tuple[Tensor, Any]:
    """Frames, uint8 (t, h, w, 3), as an IMAGE and as a VIDEO that shares its memory."""
    shown = images(pixels)
    return shown, host.video_of(shown, fps, under)
