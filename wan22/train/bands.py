"""Validation loss by noise band: the flow matching loss on held-out films, at fixed noise levels, with fixed noise.

    x = (1 - sigma) film + sigma noise        loss = mean squared error of the velocity noise - film

The same films, levels and seeds give the same inputs to every network, in whatever order and batch: so two networks
differ by what they know, not by luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wan22.catalog import Variant
from wan22.errors import OptionError
from wan22.models.dit import PATCH, NoiseLevels

SIGMAS = tuple(round((i + 0.5) / 20, 4) for i in range(20))
"""The middles of twenty equal bands of noise."""


@dataclass(frozen=True)
class HeldOut:
    """Films that no training saw, as a network is given them: normalised latents (n, c, t, h, w), the prompt of each
    as a context (s_i, d), and what is told beside the noise (n, y, t, h, w), if the model is told so. `first_known`:
    the first latent frame is given clean, at noise level zero, and carries no loss.
    """

    films: Tensor
    contexts: Sequence[Tensor]
    channels: Tensor | None = None
    first_known: bool = False

    def __post_init__(self) -> None:
        if len(self.films) != len(self.contexts) or not len(self.films):
            raise OptionError(
                f"validation needs films and a prompt for each, not {len(self.films)} and {len(self.contexts)}"
            )


@torch.inference_mode()
def band_losses(
    network: nn.Module, held: HeldOut, *, sigmas: Sequence[float], seeds: int = 1, batch: int = 8
) -> Tensor:
    """The loss of every film at every level, the mean over `seeds` noises, float64 (levels, n), on the CPU.

    Raises OptionError for a level outside 0 to 1 or less than one seed.
    """
    check_bands(sigmas, seeds)
    found = torch.zeros(len(sigmas), len(held.films), dtype=torch.float64)
    for start in range(0, len(held.films), batch):
        rows = slice(start, min(start + batch, len(held.films)))
        memory = network.read_text(list(held.contexts[rows]))
        for seed in range(seeds):
            noise = torch.stack([fixed_noise(held.films.shape[1:], seed, row) for row in range(rows.start, rows.stop)])
            for i, sigma in enumerate(sigmas):
                found[i, rows] += _loss(network, held, rows, noise.to(held.films), sigma, memory)
    return found / seeds


def fixed_noise(shape: Sequence[int], seed: int, row: int) -> Tensor:
    """The noise (c, t, h, w) of film `row` of the held-out ones; a function of its arguments alone."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(1_000_003 * (seed + 1) + row))


def check_bands(sigmas: Sequence[float], seeds: int) -> None:
    """Raise OptionError if these are no noise levels and number of noises."""
    if not sigmas or not all(0 < sigma <= 1 for sigma in sigmas):
        raise OptionError(f"noise levels lie above 0 and up to 1; got {list(sigmas)}")
    if seeds < 1:
        raise OptionError(f"at least one noise seed is needed, not {seeds}")


def _loss(
    network: nn.Module, held: HeldOut, rows: slice, noise: Tensor, sigma: float, memory: tuple
) -> Tensor:
    films = held.films[rows]
    x = (1 - sigma) * films + sigma * noise
    timestep = torch.full((len(films),), 1000.0 * sigma, device=films.device)
    levels, first = NoiseLevels.uniform(timestep), 0
    if held.first_known:
        x[:, :, :1], first = films[:, :, :1], 1
        tokens = films.shape[3] // PATCH[1] * (films.shape[4] // PATCH[2])
        index = (torch.arange(films.shape[2], device=films.device) > 0).long().repeat_interleave(tokens)
        levels = NoiseLevels(torch.stack([torch.zeros_like(timestep), timestep], dim=1), index)
    beside = None if held.channels is None else held.channels[rows]
    velocity = network(x, levels, memory, beside).float()
    error = (velocity - (noise - films))[:, :, first:].square()
    return error.mean(dim=(1, 2, 3, 4)).double().cpu()


def expert_at(sigma: float, variant: Variant) -> str:
    """The network that works at a noise level, as the engine chooses it."""
    if variant.boundary is None or sigma >= variant.boundary:
        return variant.experts[0]
    return variant.experts[-1]
