"""Train the causal video VAE on clips: reconstruction, edges, and a small pull towards a unit normal."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wan22.models.vae import VAEArch, WanVAE
from wan22.nano.state import CPU, Optimiser, TrainState, walk
from wan22.train.flow_matching import draw_noise
from wan22.train.log import Log


@dataclass(frozen=True)
class VAERecipe:
    """What makes a VAE. `shapes` are (batch, frames, height, width, share) of the crops that steps draw from.

    For the last `freeze` of the steps the encoder is frozen and the decoder learns on the final latents.
    """

    arch: VAEArch
    optimiser: Optimiser
    shapes: tuple[tuple[int, int, int, int, float], ...]
    kl: float = 1e-6
    edges: float = 1.0
    squares: float = 2.0
    freeze: float = 0.2
    seed: int = 22
    bfloat16: bool = True


def draw(
    pixels: np.ndarray, recipe: VAERecipe, generator: torch.Generator, device: torch.device = CPU
) -> Tensor:
    """A batch of random crops in time and space, float32 (b, 3, T, H, W) in [-1, 1], half of them mirrored."""
    shares = torch.tensor([s[-1] for s in recipe.shapes])
    batch, frames, height, width, _ = recipe.shapes[int(torch.multinomial(shares, 1, generator=generator))]

    def at(limit: int) -> int:
        return int(torch.randint(limit + 1, (1,), generator=generator))

    count, total, full_height, full_width, _ = pixels.shape
    crops = []
    for _ in range(batch):
        i, t, y, x = at(count - 1), at(total - frames), at(full_height - height), at(full_width - width)
        crop = torch.from_numpy(pixels[i, t : t + frames, y : y + height, x : x + width].copy())
        crops.append(crop.flip(2) if at(1) else crop)
    return torch.stack(crops).to(device).permute(0, 4, 1, 2, 3).contiguous().float().div_(127.5).sub_(1)


def forward(vae: WanVAE, video: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Encode, sample the posterior, decode: (reconstruction, mean, log-variance)."""
    mean, log_variance = vae.moments(video).float().chunk(2, dim=1)
    log_variance = log_variance.clamp(-20, 10)
    z = mean + noise * (0.5 * log_variance).exp()
    y, _ = vae.decode_chunk(vae.conv2(z), None)
    return y.float(), mean, log_variance


def _settle(vae: WanVAE, state: TrainState) -> None:
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if name.startswith(("encoder.", "conv1.")):
                parameter.copy_(state.average[name])


def edges(x: Tensor) -> Tensor:
    """Differences along rows, columns and time, joined flat."""
    return torch.cat([x.diff(dim=axis).flatten() for axis in (2, 3, 4)])


def reconstruction_loss(y: Tensor, video: Tensor, recipe: VAERecipe) -> Tensor:
    """Absolute and squared error, and the absolute error of edges."""
    loss = F.l1_loss(y, video) + recipe.squares * F.mse_loss(y, video)
    return loss + recipe.edges * F.l1_loss(edges(y), edges(video))


def train_vae(
    recipe: VAERecipe,
    pixels: np.ndarray,
    folder: Path,
    *,
    log: Log,
    start: dict[str, Tensor] | None = None,
    minutes: float | None = None,
    device: torch.device = CPU,
) -> TrainState:
    """Train until the recipe's steps are done, or `minutes` have passed (run again to continue).

    start: parameters to begin from.
    """
    torch.manual_seed(recipe.seed)
    vae = WanVAE(recipe.arch)
    if start is not None:
        vae.load_state_dict(start)
    vae.to(device)
    state = TrainState(vae, recipe.optimiser, folder, {"seed": recipe.seed, "recipe": repr(recipe)})
    frozen_from = int(recipe.optimiser.steps * (1 - recipe.freeze))
    errors: list[float] = []

    def loss_of() -> Tensor:
        generator = state.generator()
        video = draw(pixels, recipe, generator, device)
        shape = (video.shape[0], recipe.arch.z, (video.shape[2] - 1) // recipe.arch.stride_time + 1)
        shape += (video.shape[3] // recipe.arch.stride_space, video.shape[4] // recipe.arch.stride_space)
        noise = draw_noise(shape, generator, device)
        frozen = state.step >= frozen_from
        if state.step == frozen_from:
            # From here on the latents are final: those of the averaged encoder, which is what is shipped.
            _settle(vae, state)
        vae.encoder.requires_grad_(not frozen)
        vae.conv1.requires_grad_(not frozen)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16):
            y, mean, log_variance = forward(vae, video, noise)
        errors.append(F.mse_loss(y.detach(), video).item() / 4)
        loss = reconstruction_loss(y, video, recipe)
        if not frozen:
            kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
            loss = loss + recipe.kl * kl
        return loss

    walk(state, loss_of, log=log, minutes=minutes, more=lambda: f"  {_decibels(errors):.2f} dB")
    vae.requires_grad_(True)
    return state


def _decibels(errors: list[float]) -> float:
    """The peak signal-to-noise ratio of the latest 50 steps, in dB."""
    return float(-10 * np.log10(np.mean(errors[-50:])))


@torch.inference_mode()
def psnr_per_frame(vae: WanVAE, clips: np.ndarray, batch: int = 8) -> Tensor:
    """Peak signal-to-noise ratio in dB of every frame index, over uint8 clips (n, T, H, W, 3).

    The mean squared error is averaged over clips first, which is stricter than averaging decibels.
    """
    total = torch.zeros(clips.shape[1], dtype=torch.float64)
    for start in range(0, len(clips), batch):
        video = (
            torch.from_numpy(clips[start : start + batch].copy()).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        )
        back = vae.decode(vae.encode(video))
        total += ((back - video) / 2).square().mean(dim=(1, 3, 4)).sum(dim=0).double()
    return -10 * torch.log10(total / len(clips))
