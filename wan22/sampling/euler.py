"""Euler's method, first order. With the schedule of a distilled model it is the few-step sampler."""

from collections.abc import Generator

from jaxtyping import Float
from torch import Tensor

from wan22.sampling.denoise import Denoise, replaced
from wan22.sampling.schedule import Schedule
from wan22.types import Step


def euler(denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule) -> Generator[Step, Tensor | None]:
    """Walk `x` along the straight line to each prediction: x <- x0 + (sigma_next / sigma) (x - x0).

    The last step gives x0 itself. To cancel, stop iterating: no work is ahead of the last Step.
    """
    for i, level in enumerate(schedule):
        x0 = denoise(x, level)
        x = (x0 + schedule.sigmas[i + 1] / level.sigma * (x - x0)).to(x.dtype)
        x = replaced((yield Step(i, x, x0, level)), x)
