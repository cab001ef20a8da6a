"""Muon: momentum whose direction is made orthogonal, for the matrices of a network; AdamW for the rest.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon); the size of an update is matched to AdamW's, so that one
learning rate serves both (Liu et al. 2025, arXiv:2502.16982, section 2.2).
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)
_TOGETHER = 1 << 20
"""Elements up to which matrices of one shape are iterated together: many small products are mostly waiting."""


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest orthogonal matrix, roughly: all singular values near 1, by a quintic Newton-Schulz iteration.

    matrix: (m, n), or as many of them (b, m, n).
    """
    a, b, c = _QUINTIC
    x = matrix.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon on parameters of two or more axes (the first against all others), without state for anything else.

    A matrix is made orthogonal as a whole. Where it lies on several devices, `whole` gives all of a tensor, and `part`
    what lies here of a whole one that is held as the other is (train/world.py).
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        *,
        whole: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        part: Callable[[Tensor, Tensor], Tensor] = lambda whole, like: whole,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self._whole, self._part = whole, part

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along the orthogonalised Nesterov momentum."""
        for group in self.param_groups:
            for some in _alike(p for p in group["params"] if p.grad is not None):
                ahead = torch.stack([self._whole(self._ahead(p, group["momentum"])).flatten(1) for p in some])
                size = 0.2 * max(ahead.shape[1:]) ** 0.5
                for p, update in zip(some, orthogonal(ahead), strict=True):
                    p.add_(self._part(update.view(p.shape), p), alpha=-group["lr"] * size)

    def _ahead(self, p: Tensor, momentum: float) -> Tensor:
        """The Nesterov momentum of a parameter."""
        assert p.grad is not None
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        average = state["momentum"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(average, momentum)


def _alike(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters in groups of one shape, of no more elements than are worth stacking; a large one is alone."""
    groups: dict[tuple[int, int], list[Tensor]] = {}
    for p in parameters:
        groups.setdefault((len(p), p.numel() // len(p)), []).append(p)
    for shape, all_ in groups.items():
        count = max(1, _TOGETHER // (shape[0] * shape[1]))
        yield from (all_[i : i + count] for i in range(0, len(all_), count))
