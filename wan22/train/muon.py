"""Muon: momentum whose direction is made orthogonal, for the matrices of a network; AdamW for the rest.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon); the size of an update is matched to AdamW's, so that one
learning rate serves both (Liu et al. 2025, arXiv:2502.16982, section 2.2).
"""

from collections.abc import Iterable

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest orthogonal matrix, roughly: all singular values near 1, by a quintic Newton-Schulz iteration."""
    a, b, c = _QUINTIC
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon on parameters of two or more axes (the first against all others), without state for anything else."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along the orthogonalised Nesterov momentum."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("momentum", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                ahead = p.grad.lerp(average, group["momentum"])
                update = orthogonal(ahead.flatten(1)).view_as(p)
                size = 0.2 * max(p.shape[0], p[0].numel()) ** 0.5
                p.add_(update, alpha=-group["lr"] * size)
