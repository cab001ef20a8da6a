"""Outlines with soft edges: how much of a pixel a margin covers, and how wide something round is."""

from __future__ import annotations

import torch
from torch import Tensor


def edge(margin: Tensor, footprint: Tensor) -> Tensor:
    """Share of a pixel that is covered, for a margin and the pixel's size in the same unit."""
    return (0.5 + margin / footprint).clamp(0, 1)


def arc(squared: Tensor) -> Tensor:
    """Half-width of a round outline, and nothing at all above and below it."""
    return torch.where(squared > 0, squared.clamp(min=0).sqrt(), -1.0)
