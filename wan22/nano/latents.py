"""Videos as latents: every clip encoded once, so that training sees the VAE no more.

A set holds, for each clip, its normalised latents and those of its last image held still (what a model that is
told its last image is given, see conditioning/image.py).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from wan22.errors import CheckpointError
from wan22.models.vae import WanVAE
from wan22.nano.clips import ClipSet
from wan22.stage.labels import Shot, sample
from wan22.weights.writer import write_tensors


@dataclass(frozen=True)
class LatentSet:
    """`videos` float16 (n, c, t, h, w), and `lasts` float16 (m, c, h, w) of the first m <= n of them, both
    normalised; and the shots of the n videos. `captions` (n, k, s) are ids of k captions of each, if they were composed
    ahead (captions.py); they stay on the CPU.
    """

    videos: Tensor
    lasts: Tensor
    shots: list[Shot]
    captions: Tensor | None = None

    def to(self, device: torch.device) -> "LatentSet":
        """The same with its latents on `device`."""
        return replace(self, videos=self.videos.to(device), lasts=self.lasts.to(device))


@torch.inference_mode()
def encode_clips(vae: WanVAE, clips: ClipSet, path: Path, *, lasts_of: float = 0.2, batch: int = 8) -> None:
    """Encode a clip set into `path` on the VAE's device, the last images of the first share `lasts_of` of it.

    Latents are as the VAE gives them, before its mean and deviation are known.
    """
    device = next(vae.parameters()).device
    videos, lasts = [], []
    held = 1 + vae.arch.stride_time
    with torch.autocast(device.type, torch.bfloat16):
        for start in range(0, len(clips.shots), batch):
            pixels = torch.from_numpy(clips.pixels[start : start + batch].copy()).to(device)
            video = pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
            videos.append(vae.encode(video, chunk=1).half().cpu())
            if start < lasts_of * len(clips.shots):
                still = video[:, :, -1:].repeat(1, 1, held, 1, 1)
                lasts.append(vae.encode(still)[:, :, -1].half().cpu())
    write_tensors(path, {"videos": torch.cat(videos), "lasts": torch.cat(lasts)})


def statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every latent channel over a set, float32 (c,)."""
    with safe_open(path, "pt") as file:
        videos = file.get_tensor("videos").float()
    return videos.mean(dim=(0, 2, 3, 4)), videos.std(dim=(0, 2, 3, 4))


def latent_set(
    path: Path, *, mean: Tensor, std: Tensor, count: int, seed: int, split: str = "train"
) -> LatentSet:
    """Read a set and normalise it; `count`, `seed` and `split` are those with which its clips were rendered.

    Raises CheckpointError if mean and deviation are not this set's.
    """
    shape = (1, -1, 1, 1, 1)
    with safe_open(path, "pt") as file:
        videos = (file.get_tensor("videos").float() - mean.view(shape)) / std.view(shape)
        lasts = (file.get_tensor("lasts").float() - mean.view(shape[:-1])) / std.view(shape[:-1])
    spread = videos.std(dim=(0, 2, 3, 4))
    if not 0.4 < spread.min() or not spread.max() < 2.5:
        raise CheckpointError(
            f"the latents of {path} deviate by {spread.min():.2f} to {spread.max():.2f} once normalised, and should by "
            "about 1: they are normalised twice, or by the figures of another VAE"
        )
    return LatentSet(videos.half(), lasts.half(), sample(count, seed=seed, split=split))
