"""What a solver is given: a function from a noisy sample and its level to the clean sample.

It knows the flow-matching convention and latents that are known beforehand. It knows nothing of networks,
guidance or solvers.

    x_sigma = (1 - sigma) x0 + sigma noise        velocity = noise - x0        x0 = x_sigma - sigma velocity
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from wan22.types import Level

Denoise = Callable[[Tensor, Level], Tensor]
"""`denoise(x, level)` -> x0, of x's shape: the clean sample that the model sees in `x`."""


def replaced(given: Tensor | None, x: Tensor) -> Tensor:
    """The sample that a solver goes on with: `given`, which its caller sent back for a step, or else its own `x`."""
    return x if given is None else given.to(x)


def velocity_to_x0(
    x: Float[Tensor, "*shape"], velocity: Float[Tensor, "*shape"], level: Level
) -> Float[Tensor, "*shape"]:
    """Return the clean sample: x - sigma velocity (spec: sampling, section 1)."""
    return x - level.sigma * velocity


def hold_noisy(
    denoise: Denoise, known: Float[Tensor, "..."], where: Bool[Tensor, "..."], noise: Float[Tensor, "..."]
) -> Denoise:
    """As `hold`, for a model that knows one noise level only: it sees `known` with `noise`, at that level."""

    def held(x: Tensor, level: Level) -> Tensor:
        noisy = (1 - level.sigma) * known + level.sigma * noise
        clean = denoise(torch.where(where, noisy.to(x.dtype), x), level)
        return torch.where(where, known.to(clean.dtype), clean)

    return held


def hold(denoise: Denoise, known: Float[Tensor, "..."], where: Bool[Tensor, "..."]) -> Denoise:
    """Return a denoise that sees, and gives back, the latents `known` wherever `where` is true.

    The official TI2V loop overwrites the known latents in the noise and again after every solver step. This
    is the same video, bit for bit: a solver's update is elementwise, so what it does to a known element
    reaches no other one; the model never sees it; and the last step of every solver returns x0 itself.
    `known` and `where` broadcast to x; values at places where `where` is false are ignored.
    """

    def held(x: Tensor, level: Level) -> Tensor:
        clean = denoise(torch.where(where, known.to(x.dtype), x), level)
        return torch.where(where, known.to(clean.dtype), clean)

    return held
