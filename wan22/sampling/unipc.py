"""UniPC, the official default: order 2, B(h) = e^h - 1, predicting x0 (Zhao et al. 2023, arXiv:2302.04867).

The arithmetic keeps the order of operations of the official release, so float32 results on the CPU are equal
to the last bit. Steps are counted, never looked up by their timestep.
"""

from collections.abc import Generator

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.sampling.denoise import Denoise, replaced
from wan22.sampling.schedule import Schedule
from wan22.types import Step


def unipc(denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule) -> Generator[Step, Tensor | None]:
    """Walk `x` with one call of the model for a step: predict, ask the model, correct, predict.

    The model sees the prediction, and x0 comes from it; the correction replaces it only as the start of the
    next prediction. Every update is rounded to x's dtype. To cancel, stop iterating: no work is ahead of the
    last Step.
    """
    steps = len(schedule)
    corrected = x
    history: list[Tensor] = []  # x0 of the last two steps, the newer one last
    for i, level in enumerate(schedule):
        x0 = denoise(x, level)
        if i > 0:
            corrected = _correct(schedule.sigmas, i, corrected, x0, history)
        else:
            corrected = x
        history = [*history[-1:], x0]
        # The last step is first order: from there lambda goes to infinity.
        x = _predict(schedule.sigmas, i, corrected, history if i < steps - 1 else [x0])
        x = replaced((yield Step(i, x, x0, level)), x)


def _lambda(sigma: Tensor) -> Tensor:
    """Half the logarithm of the signal-to-noise ratio."""
    return torch.log(1 - sigma) - torch.log(sigma)


def _predict(sigmas: Tensor, i: int, x: Tensor, history: list[Tensor]) -> Tensor:
    """Return x at level i + 1 from the corrected x at level i; the order is the length of `history`."""
    now, after = sigmas[i], sigmas[i + 1]
    x0 = history[-1]
    h = _lambda(after) - _lambda(now)
    b = torch.expm1(-h)
    result = after / now * x - (1 - after) * b * x0
    if len(history) == 2:
        r = (_lambda(sigmas[i - 1]) - _lambda(now)) / h
        slope = (history[0] - x0) / r
        result = result - (1 - after) * b * (0.5 * slope)
    return result.to(x.dtype)


def _correct(sigmas: Tensor, i: int, x: Tensor, x0: Tensor, history: list[Tensor]) -> Tensor:
    """Return x at level i from the corrected x at level i - 1, now that x0 at level i is known."""
    before, now = sigmas[i - 1], sigmas[i]
    h = _lambda(now) - _lambda(before)
    b = torch.expm1(-h)
    base = now / before * x - (1 - now) * b * history[-1]
    change = x0 - history[-1]
    if len(history) == 1:
        return (base - (1 - now) * b * (0.5 * change)).to(x.dtype)
    r = (_lambda(sigmas[i - 2]) - _lambda(before)) / h
    slope = (history[0] - history[-1]) / r
    if torch.isinf(r):  # level i - 2 was pure noise: its slope is 0, and the system has no finite solution
        return (base - (1 - now) * b * (_phi2(h) / b * change)).to(x.dtype)
    rho = _weights(h, r).to(x.dtype)
    return (base - (1 - now) * b * (rho[0] * slope + rho[1] * change)).to(x.dtype)


def _weights(h: Tensor, r: Tensor) -> Tensor:
    """Solve the order conditions of the second-order corrector: [[1, 1], [r, 1]] rho = b."""
    hh = -h
    b = torch.expm1(hh)
    phi1 = _phi2(h)
    phi2 = phi1 / hh - 0.5
    system = torch.stack([torch.ones_like(r), torch.ones_like(r), r, torch.ones_like(r)]).view(2, 2)
    return torch.linalg.solve(system, torch.stack([phi1 / b, phi2 * 2 / b]))


def _phi2(h: Tensor) -> Tensor:
    """(1 - e^-h) / h - 1."""
    return torch.expm1(-h) / -h - 1
