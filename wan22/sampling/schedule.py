"""Which noise levels a video passes through, from noise to clean. It knows no solver formula and no network.

Every schedule is a row of sigmas, shifted towards noise: s(sigma) = shift sigma / (1 + (shift - 1) sigma).
The solver works with the sigma; the network gets the timestep, which the official schedules truncate to an
integer (spec: sampling, section 3). The schedules that ComfyUI knows by name are in comfy.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wan22.errors import OptionError, choose
from wan22.fields import MAX_STEPS
from wan22.sampling.comfy import SCHEDULES
from wan22.types import Level, ScheduleName, Solver

TRAIN_STEPS = 1000
SHIFTS = (0.01, 100.0)

# The official UniPC keeps its highest base sigma, 0.999, in float32 and reads it back as a Python float.
UNIPC_SIGMA_MAX = float(np.float32(0.999))

SCHEDULE_NAMES: tuple[str, ...] = get_args(ScheduleName)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The levels of n steps. `schedule[i]` is the Level at which step i (0..n-1) asks the model.

    `sigmas` are n + 1 float32 numbers on the CPU, strictly falling; the last one, 0, is the finished video.
    `timesteps` are n numbers in 0..1000 for the network.
    """

    sigmas: Float[Tensor, " n_plus_1"]
    timesteps: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.timesteps)

    def __getitem__(self, index: int) -> Level:
        if not 0 <= index < len(self):
            raise IndexError(f"step {index} of a schedule of {len(self)} steps")
        return Level(sigma=self.sigmas[index], timestep=self.timesteps[index])


def levels(solver: Solver, steps: int, shift: float, schedule: str | None = None) -> Schedule:
    """Return the schedule that `solver` walks in `steps` steps (1..1000) with `shift` (0.01..100).

    `schedule` is a name of SCHEDULE_NAMES, or None for the solver's own (`own_schedule`):

    - "official" for "unipc", which starts just below sigma 1, and for "dpm++" and "euler", which start at 1; timesteps
      are truncated to whole numbers, as in the release;
    - evenly spaced levels with fractional timesteps for "distilled" (see `distilled`), which takes no other;
    - "simple" for the solvers that are ComfyUI's.

    A named schedule has sigmas and fractional timesteps as in ComfyUI. It may have fewer steps than asked, where two of
    its levels would be equal.

    Raises:
        OptionError: an unknown solver or schedule, steps or shift out of range, or another schedule for "distilled".
    """
    choose("solver", solver, get_args(Solver))
    if not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise OptionError(f"steps {steps!r} is not a whole number in 1..{MAX_STEPS}.")
    check_shift(shift)
    if schedule is not None:
        choose("schedule", schedule, SCHEDULE_NAMES)
    if solver == "distilled":
        if schedule is not None:
            raise OptionError(
                f"the solver distilled has a schedule of its own; for the schedule {schedule} take the solver euler."
            )
        return distilled(shift, [TRAIN_STEPS * (steps - i) / steps for i in range(steps)])
    name = own_schedule(solver) if schedule is None else schedule
    if name == "official":
        start = UNIPC_SIGMA_MAX if solver == "unipc" else 1.0
        sigmas = _shifted(np.linspace(start, 0.0, steps + 1)[:-1], shift)
        return _schedule(sigmas, np.trunc(TRAIN_STEPS * sigmas))
    # ComfyUI makes one level more for UniPC and leaves out the last one before 0.
    short = solver in ("uni_pc", "uni_pc_bh2")
    sigmas = SCHEDULES[name](steps + short, shift)
    sigmas = sigmas[: len(sigmas) - short].astype(np.float32).astype(np.float64)
    sigmas = sigmas[np.append(True, np.diff(sigmas) < 0)]
    return _schedule(sigmas, TRAIN_STEPS * sigmas)


def own_schedule(solver: str) -> str:
    """The name of the schedule that a solver walks if none is asked for."""
    return {"unipc": "official", "dpm++": "official", "euler": "official", "distilled": "distilled"}.get(
        solver, "simple"
    )


def distilled(shift: float, indices: Sequence[float] = (1000, 750, 500, 250)) -> Schedule:
    """Return the few-step schedule of a distilled model (spec: sampling, section 11).

    `indices` name the levels before the shift, in thousandths, falling: 1000 is pure noise. The timesteps are
    1000 sigma and stay fractional.

    Raises:
        OptionError: indices that do not fall within 1000..1, or a shift out of range.
    """
    base = np.asarray(indices, dtype=np.float64) / TRAIN_STEPS
    if base.size == 0 or base[0] > 1 or base[-1] < 1 / TRAIN_STEPS or (np.diff(base) >= 0).any():
        raise OptionError(f"levels {list(indices)} do not fall from at most {TRAIN_STEPS} to at least 1.")
    sigmas = _shifted(base, shift)
    return _schedule(sigmas, TRAIN_STEPS * sigmas)


def explicit(sigmas: Sequence[float]) -> Schedule:
    """Return the schedule of exactly these sigmas, falling from at most 1; the 0 at the end may be left out.

    The timesteps are 1000 sigma and stay fractional. Raises OptionError for sigmas that do not fall so.
    """
    row = np.asarray(sigmas, dtype=np.float64)
    row = row[:-1] if row.size > 1 and row[-1] == 0 else row
    if row.size == 0 or not 0 < row[-1] <= row[0] <= 1 or (np.diff(row) >= 0).any():
        raise OptionError(f"sigmas {list(sigmas)} do not fall from at most 1 to above 0.")
    return _schedule(row, TRAIN_STEPS * row)


def high_noise_steps(schedule: Schedule, boundary: float) -> int:
    """Return how many steps, from the first, belong to the high-noise expert: timestep >= 1000 boundary.

    `boundary` is a fraction of the 1000 timesteps, 0.875 for T2V-A14B.
    """
    return sum(timestep >= boundary * TRAIN_STEPS for timestep in schedule.timesteps)


def start_at(schedule: Schedule, strength: float) -> Schedule:
    """Return the end of `schedule` that takes existing latents back to noise by `strength` and forth again.

    It begins at the level whose sigma is nearest to strength times the first sigma (the noisier one of two
    equally near), so that a strength means the same share of noise whatever the steps and shift are.
    Strength 1 is the whole schedule; the smallest strength keeps the last step alone. Start the solver from
    `add_noise(latents, noise, result[0])`.

    Raises:
        OptionError: `strength` is not in 0 < strength <= 1.
    """
    if not 0 < strength <= 1:
        raise OptionError(f"strength {strength} is not above 0 and at most 1. 0.7 changes much, 0.3 little.")
    distance = (schedule.sigmas[:-1] - strength * schedule.sigmas[0]).abs()
    first = int(distance.argmin())
    return Schedule(schedule.sigmas[first:], schedule.timesteps[first:])


def check_shift(shift: float) -> None:
    """Raise OptionError for a shift that is not in 0.01..100."""
    low, high = SHIFTS
    if not (math.isfinite(shift) and low <= shift <= high):
        raise OptionError(f"shift {shift} is not in {low}..{high}. The official releases use 3 to 12.")


def _shifted(base: np.ndarray, shift: float) -> np.ndarray:
    check_shift(shift)
    return shift * base / (1 + (shift - 1) * base)


def _schedule(sigmas: np.ndarray, timesteps: np.ndarray) -> Schedule:
    with_end = torch.from_numpy(np.append(sigmas, 0.0).astype(np.float32))
    return Schedule(with_end, tuple(float(t) for t in timesteps))
