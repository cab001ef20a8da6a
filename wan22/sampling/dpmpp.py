"""DPM-Solver++(2M), midpoint, as the official release runs it (Lu et al. 2022, arXiv:2211.01095)."""

from collections.abc import Generator

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.sampling.denoise import Denoise, replaced
from wan22.sampling.schedule import Schedule
from wan22.types import Step


def dpmpp(denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule) -> Generator[Step, Tensor | None]:
    """Walk `x` with one call of the model for a step, first order at the first and the last step.

    With alpha = 1 - sigma, lambda = ln alpha - ln sigma, h = lambda_{i+1} - lambda_i, r = h_{i-1} / h:
        x <- (sigma_{i+1} / sigma_i) x - alpha_{i+1} (e^-h - 1) (x0_i + (x0_i - x0_{i-1}) / 2r)
    A schedule that starts at sigma 1 has lambda_0 = -inf; its second step is then first order, without NaN.
    The state is float32. To cancel, stop iterating: no work is ahead of the last Step.
    """
    sigma = schedule.sigmas
    alpha = 1 - sigma
    lam = torch.log(alpha) - torch.log(sigma)
    x = x.float()
    previous: Tensor | None = None
    last = len(schedule) - 1
    for i, level in enumerate(schedule):
        x0 = denoise(x, level)
        h = lam[i + 1] - lam[i]
        factor = alpha[i + 1] * (torch.exp(-h) - 1.0)
        x = (sigma[i + 1] / sigma[i]) * x - factor * x0
        if previous is not None and i < last:
            r = (lam[i] - lam[i - 1]) / h
            x = x - 0.5 * factor * ((1.0 / r) * (x0 - previous))
        x = replaced((yield Step(i, x, x0, level)), x)
        previous = x0
