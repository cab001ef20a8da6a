"""Heun's method, second order, with two calls of the model for a step.

Karras et al. 2022 (arXiv:2206.00364), algorithm 1, for a flow model.
"""

from collections.abc import Generator

from jaxtyping import Float
from torch import Tensor

from wan22.sampling.denoise import Denoise
from wan22.sampling.schedule import Schedule
from wan22.sampling.walk import walked
from wan22.types import Step


def heun(denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule) -> Generator[Step, Tensor | None]:
    """Walk `x` along the mean of the slopes (x - x0) / sigma at both ends of a step; the last step gives x0 itself.

    Both calls of a step are made before its Step is yielded, so by the expert that is in charge at its beginning, as in
    ComfyUI. The state is the sample, float32.
    """
    sigmas = schedule.sigmas.tolist()

    def update(i: int, x: Tensor, x0: Tensor, _: Tensor | None) -> Tensor:
        now, after = sigmas[i], sigmas[i + 1]
        slope = (x - x0) / now
        there = x + (after - now) * slope
        slope = (slope + (there - denoise(there, schedule[i + 1]).float()) / after) / 2
        return x + (after - now) * slope

    return walked(denoise, x, schedule, update)
