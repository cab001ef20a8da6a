"""From noise to latents: noise levels, solvers and guidance. It knows a denoise function, and no network.

A solver is a generator `solver(denoise, x, schedule)` that yields a Step after each step, so the caller owns progress,
preview and cancelling; a sample that is sent back takes the place of the step's `x` (`denoise.replaced`). Stochastic
ones take a seed besides. To add one: a generator, a line in SOLVERS or STOCHASTIC, and a name in types.Solver.
"""

from collections.abc import Callable, Generator
from typing import Protocol

from torch import Tensor

from wan22.sampling.denoise import Denoise, hold, hold_noisy, velocity_to_x0
from wan22.sampling.dpmpp import dpmpp
from wan22.sampling.euler import euler
from wan22.sampling.guidance import by_expert, cfg, rescale
from wan22.sampling.heun import heun
from wan22.sampling.multistep import dpmpp_2m, res_multistep
from wan22.sampling.noise import add_noise, draw_noise
from wan22.sampling.schedule import (
    SCHEDULE_NAMES,
    Schedule,
    distilled,
    explicit,
    high_noise_steps,
    levels,
    own_schedule,
    start_at,
)
from wan22.sampling.stochastic import dpmpp_2m_sde, euler_ancestral, lcm
from wan22.sampling.uni_pc import uni_pc, uni_pc_bh2
from wan22.sampling.unipc import unipc
from wan22.types import Step

Steps = Generator[Step, Tensor | None]
Solver = Callable[[Denoise, Tensor, Schedule], Steps]


class _Stochastic(Protocol):
    def __call__(self, denoise: Denoise, x: Tensor, schedule: Schedule, seed: int = 0) -> Steps: ...


STOCHASTIC: dict[str, _Stochastic] = {
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "euler_ancestral": euler_ancestral,
    "lcm": lcm,
}

SOLVERS: dict[str, Solver] = {
    "unipc": unipc,
    "dpm++": dpmpp,
    "euler": euler,
    "distilled": euler,  # the same walk along its own schedule
    "uni_pc": uni_pc,
    "uni_pc_bh2": uni_pc_bh2,
    "dpmpp_2m": dpmpp_2m,
    "res_multistep": res_multistep,
    "heun": heun,
    **STOCHASTIC,
}


def solve(name: str, denoise: Denoise, x: Tensor, schedule: Schedule, *, seed: int) -> Steps:
    """Begin the walk of the solver of that name; `seed` is for those that add noise."""
    if name in STOCHASTIC:
        return STOCHASTIC[name](denoise, x, schedule, seed)
    return SOLVERS[name](denoise, x, schedule)


__all__ = [
    "SCHEDULE_NAMES",
    "SOLVERS",
    "STOCHASTIC",
    "Denoise",
    "Schedule",
    "Solver",
    "Steps",
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
    "own_schedule",
    "rescale",
    "solve",
    "start_at",
    "velocity_to_x0",
]
