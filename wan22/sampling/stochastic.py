"""Solvers that add noise at every step: `euler_ancestral`, `dpmpp_2m_sde` and `lcm`, for a flow model, as in ComfyUI.

Each takes a seed after what every solver takes. The noise of a step is drawn on the CPU from seed and step alone
(`step_noise`), so it is the same on every device; it is not the noise that another program draws.
"""

import math
from collections.abc import Generator

from jaxtyping import Float
from torch import Tensor

from wan22.sampling.denoise import Denoise
from wan22.sampling.noise import step_noise
from wan22.sampling.schedule import Schedule
from wan22.sampling.walk import walked
from wan22.types import Step


def lcm(
    denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule, seed: int = 0
) -> Generator[Step, Tensor | None]:
    """Walk by consistency sampling: noise each x0 anew, (1 - sigma') x0 + sigma' noise (Luo et al. 2023,
    arXiv:2310.04378). The last step gives x0 itself; the state is the sample, float32.
    """
    sigmas = schedule.sigmas.tolist()

    def update(i: int, x: Tensor, x0: Tensor, _: Tensor | None) -> Tensor:
        after = sigmas[i + 1]
        return (1 - after) * x0 + after * _noise(x, seed, i)

    return walked(denoise, x, schedule, update)


def euler_ancestral(
    denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule, seed: int = 0
) -> Generator[Step, Tensor | None]:
    """Walk `x` by Euler's steps to a lower level, and noise it up to the next one.

    Of a step from sigma to sigma', the straight line goes down to sigma'' = sigma'^2 / sigma. The sample there is
    scaled by (1 - sigma') / (1 - sigma''), so that its x0 has the share of sigma', and gets as much noise as the
    variance of sigma' lacks. The last step gives x0 itself; the state is the sample, float32.
    """
    sigmas = schedule.sigmas.tolist()

    def update(i: int, x: Tensor, x0: Tensor, _: Tensor | None) -> Tensor:
        now, after = sigmas[i], sigmas[i + 1]
        down = after**2 / now
        scale = (1 - after) / (1 - down)
        lacking = math.sqrt(max(after**2 - (scale * down) ** 2, 0.0))
        return scale * (x0 + down / now * (x - x0)) + lacking * _noise(x, seed, i)

    return walked(denoise, x, schedule, update)


def dpmpp_2m_sde(
    denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule, seed: int = 0
) -> Generator[Step, Tensor | None]:
    """Walk `x` by SDE-DPM-Solver++(2M), midpoint, in lambda = ln((1 - sigma) / sigma) (Lu et al. 2022, equation 15):

        x <- (sigma' / sigma) e^-h x + (1 - sigma') (1 - e^-2h) (x0 + (x0 - x0_before) / 2r)
             + sigma' sqrt(1 - e^-2h) noise

    From sigma 1, lambda is -inf: the first step is pure noising and the second one first order. (ComfyUI moves such a
    first level down by a hundredth of a percent.) The last step gives x0 itself; the state is float32.
    """
    sigmas = schedule.sigmas.tolist()
    lam = [-math.inf if s == 1 else math.log((1 - s) / s) for s in sigmas[:-1]]

    def update(i: int, x: Tensor, x0: Tensor, before: Tensor | None) -> Tensor:
        now, after = sigmas[i], sigmas[i + 1]
        h = lam[i + 1] - lam[i]
        gain = -math.expm1(-2 * h)
        towards = x0 if before is None else x0 + h / (lam[i] - lam[i - 1]) / 2 * (x0 - before)
        x = after / now * math.exp(-h) * x + (1 - after) * gain * towards
        return x + after * math.sqrt(gain) * _noise(x, seed, i)

    return walked(denoise, x, schedule, update)


def _noise(x: Tensor, seed: int, step: int) -> Tensor:
    return step_noise(tuple(x.shape), seed, step).to(x.device, non_blocking=True)
