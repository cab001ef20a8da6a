"""Two-step exponential integrators in lambda = -ln sigma: `dpmpp_2m` and `res_multistep`, as ComfyUI runs them.

The path dx/dsigma = (x - x0) / sigma has the exact solution

    x(lambda + h) = e^-h x + integral of e^(s - h) x0(lambda + s) ds over s in 0..h

(no alpha appears: x0 and sigma are all that the equation knows). Both take x0 as a line through its last two values and
differ in how exactly they integrate it. The release's "dpm++" does the same in lambda = ln((1 - sigma) / sigma).
"""

import math
from collections.abc import Callable, Generator

from jaxtyping import Float
from torch import Tensor

from wan22.sampling.denoise import Denoise
from wan22.sampling.schedule import Schedule
from wan22.sampling.walk import walked
from wan22.types import Step


def dpmpp_2m(
    denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule
) -> Generator[Step, Tensor | None]:
    """Walk `x` by DPM-Solver++(2M), midpoint: the slope of x0 counts with (1 - e^-h) / 2 (Lu et al. 2022, algorithm 2).

    One call of the model for a step. The state is float32.
    """
    return _two_step(denoise, x, schedule, lambda h: -math.expm1(-h) / 2)


def res_multistep(
    denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule
) -> Generator[Step, Tensor | None]:
    """Walk `x` by the refined exponential solver: the slope of x0 is integrated exactly (Zhang et al. 2023,
    arXiv:2308.02157), so it counts with h phi_2(-h) = 1 - (1 - e^-h) / h.

    One call of the model for a step. The state is float32.
    """
    return _two_step(denoise, x, schedule, lambda h: 1 + math.expm1(-h) / h)


def _two_step(
    denoise: Denoise, x: Tensor, schedule: Schedule, weight: Callable[[float], float]
) -> Generator[Step, Tensor | None]:
    """The state is the sample and the x0 of the step before; the first and the last step are first order."""
    sigmas = schedule.sigmas.tolist()

    def update(i: int, x: Tensor, x0: Tensor, before: Tensor | None) -> Tensor:
        h = math.log(sigmas[i] / sigmas[i + 1])
        x = math.exp(-h) * x - math.expm1(-h) * x0
        if before is None:
            return x
        ratio = h / math.log(sigmas[i - 1] / sigmas[i])
        return x + weight(h) * ratio * (x0 - before)

    return walked(denoise, x, schedule, update)
