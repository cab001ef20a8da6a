"""Validation loss by noise band: the flow matching loss on held-out videos, at fixed noise levels, with fixed noise.

The same videos, levels and seeds give the same inputs to every network, in whatever pieces they are worked on: so two
networks differ by what they know, not by luck. The loss itself is `train.losses.velocity_errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from wan22.catalog import Variant
from wan22.errors import OptionError
from wan22.models.dit import WanDiT
from wan22.train.evaluation.recipe import SIGMAS, check_bands
from wan22.train.losses import Batch, velocity_errors

_AT_ONCE = 8


@torch.inference_mode()
def band_losses(
    network: WanDiT, held: Batch, variant: Variant, *, sigmas: Sequence[float] = SIGMAS, seeds: int = 1
) -> Tensor:
    """The loss of every video at every level, the mean over `seeds` noises, float64 (levels, b), on the CPU.

    Raises OptionError for a level outside 0 to 1, less than one seed, or no video.
    """
    check_bands(sigmas, seeds)
    if not len(held.videos):
        raise OptionError("validation loss needs at least one held-out video")
    pieces = []
    for start in range(0, len(held.videos), _AT_ONCE):
        piece = _piece(held, start, start + _AT_ONCE)
        found = torch.zeros(len(sigmas), len(piece.videos), dtype=torch.float64)
        for seed in range(seeds):
            rows = range(start, start + len(piece.videos))
            noise = torch.stack([fixed_noise(held.videos.shape[1:], seed, row) for row in rows]).to(
                held.videos
            )
            for i, sigma in enumerate(sigmas):
                level = torch.full((len(rows),), sigma, device=held.videos.device)
                found[i] += velocity_errors(network, piece, variant, level, noise).double().cpu()
        pieces.append(found / seeds)
    return torch.cat(pieces, dim=1)


def fixed_noise(shape: Sequence[int], seed: int, row: int) -> Tensor:
    """The noise (c, t, h, w) of held-out video `row`: a function of its arguments alone."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(1_000_003 * (seed + 1) + row))


def expert_at(sigma: float, variant: Variant) -> str:
    """The network that works at a noise level, as the engine chooses it."""
    if variant.boundary is None or sigma >= variant.boundary:
        return variant.experts[0]
    return variant.experts[-1]


def _piece(held: Batch, start: int, end: int) -> Batch:
    def cut(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[start:end]

    return replace(
        held,
        videos=held.videos[start:end],
        texts=held.texts[start:end],
        channels=cut(held.channels),
        reference=cut(held.reference),
        audio=cut(held.audio),
        motion=cut(held.motion),
    )
