"""From noise to latents: noise levels, solvers and guidance. It knows a denoise function, and no network.

A solver is a generator `solver(denoise, x, schedule)` that yields a Step after each call of the model, so the
caller owns progress, preview and cancelling; a sample that is sent back takes the place of the step's `x`
(`denoise.replaced`). To add one: a file with one generator, and a line in SOLVERS.
"""

from collections.abc import Callable, Generator

from torch import Tensor

from wan22.sampling.denoise import Denoise, hold, hold_noisy, velocity_to_x0
from wan22.sampling.dpmpp import dpmpp
from wan22.sampling.euler import euler
from wan22.sampling.guidance import by_expert, cfg, rescale
from wan22.sampling.noise import add_noise, draw_noise
from wan22.sampling.schedule import Schedule, distilled, explicit, high_noise_steps, levels, start_at
from wan22.sampling.unipc import unipc
from wan22.types import Step

Solver = Callable[[Denoise, Tensor, Schedule], Generator[Step, Tensor | None]]

SOLVERS: dict[str, Solver] = {
    "unipc": unipc,
    "dpm++": dpmpp,
    "euler": euler,
    "distilled": euler,  # the same walk along its own schedule
}

__all__ = [
    "SOLVERS",
    "Denoise",
    "Schedule",
    "Solver",
    "add_noise",
    "by_expert",
    "cfg",
    "distilled",
    "draw_noise",
    "explicit",
    "high_noise_steps",
    "hold",
    "hold_noisy",
    "levels",
    "rescale",
    "start_at",
    "velocity_to_x0",
]
