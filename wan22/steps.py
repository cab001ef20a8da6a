"""How a job walks from noise to latents: solver, noise levels, and where the experts change.

It resolves the fields of a request that say so, with the model's defaults, and refuses what cannot be. It knows the
catalogue's numbers and the schedules, no network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from typing import Any

from wan22 import fields
from wan22.catalog import Fast, Variant
from wan22.errors import OptionError, choose
from wan22.sampling import SCHEDULE_NAMES, SOLVERS, Schedule, explicit, levels, start_at
from wan22.sampling.cache import MIN_STEPS, CacheChoice, read_cache
from wan22.types import Level, Request

FEW = 8
"""Steps up to which a model, or a run, counts as distilled to few steps."""

OF_FAST = ("steps", "solver", "shift", "guidance", "guidance_rescale")
"""Fields whose values are those of the adapters for few steps, if these are asked for."""


@dataclass(frozen=True)
class Walk:
    """`schedule` is what is walked: with a video to start from, the end of the whole one. `steps` count the whole one.

    `boundary` is the timestep fraction at and above which the first expert works. `switch_sigma`, if one is given,
    stands in its place: the first expert works above this sigma. `guided` are the sigmas of guidance: it works at most
    at the first and above the second. `recipe` makes the walk again, as fields of a request.
    """

    solver: str
    steps: int
    shift: float
    schedule: Schedule
    strength: float
    boundary: float | None
    switch_sigma: float | None
    guided: tuple[float, float]
    cache: CacheChoice | None
    recipe: dict[str, Any]
    notices: tuple[str, ...] = field(default=())

    def is_high(self, level: Level) -> bool:
        """Whether the expert of high noise works at a level, of a model with two."""
        if self.switch_sigma is not None:
            return float(level.sigma) > self.switch_sigma
        return self.boundary is not None and level.timestep >= self.boundary * 1000

    def is_guided(self, level: Level) -> bool:
        """Whether guidance works at a level."""
        first, end = self.guided
        return end < float(level.sigma) <= first


def resolve_walk(request: Request, variant: Variant) -> Walk:
    """Fill in the model's defaults and check everything; raises OptionError."""
    fast = _fast(request, variant)
    sigmas = _check_sigmas(request) if request.sigmas is not None else _distilled(request, variant)
    if fast is not None:
        solver, steps, shift, whole = "euler", fast.steps, variant.defaults.shift, explicit(fast.sigmas)
    else:
        solver, steps, shift, whole = _schedule(request, variant, sigmas)
    strength = variant.defaults.strength if request.strength is None else float(request.strength)
    boundary, switch_sigma = _split(request, variant, whole)
    recipe: dict[str, Any] = {"solver": solver}
    if sigmas is None:
        recipe |= {"steps": steps, "shift": shift}
    if sigmas is not None:
        recipe["sigmas"] = list(sigmas)
    elif fast is not None:
        recipe["sigmas"] = whole.sigmas[:-1].tolist()
    asked = {name: getattr(request, name) for name in ("schedule", "boundary", "switch_step")}
    if sigmas is None and fast is None:
        asked["schedule"] = _named_schedule(request, variant)
    recipe |= {name: value for name, value in asked.items() if value is not None}
    schedule = start_at(whole, strength) if request.video is not None else whole
    interval = _interval(request)
    if interval is not None:
        recipe["guidance_interval"] = list(interval)
    cache = _cache(request, variant, schedule)
    if cache is not None:
        recipe["cache"] = str(cache)
    return Walk(
        solver=solver,
        steps=len(whole) if sigmas is not None else steps,
        shift=shift,
        schedule=schedule,
        strength=strength,
        boundary=boundary,
        switch_sigma=switch_sigma,
        guided=_guided(interval or (0.0, 1.0), schedule),
        cache=cache,
        recipe=recipe,
        notices=(
            *_strength_notice(request, whole, schedule, strength),
            *_schedule_notices(request, variant, whole, solver),
        ),
    )


def _schedule(
    request: Request, variant: Variant, sigmas: Sequence[float] | None
) -> tuple[str, int, float, Schedule]:
    """Solver, steps, shift, and the levels that they come to, or those that are given."""
    defaults = variant.defaults
    solver = defaults.solver if request.solver is None else request.solver
    choose("solver", solver, tuple(SOLVERS))
    if request.schedule is not None:
        choose("schedule", request.schedule, SCHEDULE_NAMES)
    if sigmas is not None:
        return solver, len(sigmas) - 1, defaults.shift, explicit(sigmas)
    steps = defaults.steps if request.steps is None else request.steps
    shift = defaults.shift if request.shift is None else number("shift", request.shift)
    if isinstance(steps, bool):
        raise OptionError(f"steps must be a whole number, not {steps}")
    return solver, steps, shift, levels(solver, steps, shift, _named_schedule(request, variant))


def _named_schedule(request: Request, variant: Variant) -> str | None:
    """The schedule that is asked for, or the model's own if its solver is not changed; None is the solver's."""
    defaults = variant.defaults
    own = defaults.schedule if request.solver in (None, defaults.solver) else None
    return own if request.schedule is None else request.schedule


def _distilled(request: Request, variant: Variant) -> tuple[float, ...] | None:
    """The levels of a model that is distilled to them, unless other steps than its defaults are asked for."""
    defaults = variant.defaults
    asked = {name: getattr(request, name) for name in ("steps", "solver", "shift")}
    usual = all(value in (None, getattr(defaults, name)) for name, value in asked.items())
    own = defaults.sigmas if usual and request.schedule is None and not request.fast else ()
    return (*own, 0.0) if own else None


def _check_sigmas(request: Request) -> tuple[float, ...]:
    """The levels that are given, or OptionError: they fall from at most 1 to 0, and nothing else names levels."""
    for name in ("steps", "shift", "schedule"):
        if (value := getattr(request, name)) is not None:
            raise OptionError(
                f"sigmas are every level of the walk, so {name} ({value}) can't be said beside them"
            )
    given = request.sigmas
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise OptionError(f"sigmas must be numbers that fall from at most 1 to 0, not {given!r}")
    sigmas = tuple(number("a sigma", sigma) for sigma in given)
    shown = ",".join(f"{sigma:g}" for sigma in sigmas)
    if len(sigmas) < 2 or sigmas[0] > 1 or sigmas[-1] != 0:
        raise OptionError(
            f"sigmas must be two or more numbers that fall from at most 1 to 0, such as 1,0.94,0.83,0.63,0; not {shown}"
        )
    for earlier, later in pairwise(sigmas):
        if not later < earlier:
            raise OptionError(f"sigmas must fall, and {later:g} follows {earlier:g} in {shown}")
    return sigmas


def _split(request: Request, variant: Variant, whole: Schedule) -> tuple[float | None, float | None]:
    """The boundary and the sigma of the switch, or OptionError."""
    asked = [name for name in ("boundary", "switch_step") if getattr(request, name) is not None]
    if not asked:
        return variant.boundary, None
    if len(variant.experts) == 1:
        raise OptionError(
            f"{variant.name} is one network, so no {asked[0]} can be asked for; that is for t2v-A14B, i2v-A14B and nano"
        )
    if len(asked) == 2:
        raise OptionError(
            f"boundary ({request.boundary}) and switch_step ({request.switch_step}) both say where the low-noise "
            "expert begins; give one of them"
        )
    if request.boundary is not None:
        boundary = float(fields.check("boundary", request.boundary))
        return boundary, None
    step = request.switch_step
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= len(whole):
        raise OptionError(
            f"switch_step must be a whole number from 0 to the number of steps, {len(whole)}, not {step!r}: so many "
            "steps are the high-noise expert's"
        )
    return variant.boundary, float(whole.sigmas[step])


def _interval(request: Request) -> tuple[float, float] | None:
    """The part of the steps that has guidance, as it is asked for, or OptionError; None is all steps."""
    asked = request.guidance_interval
    if asked is None:
        return None
    if isinstance(asked, str) or not isinstance(asked, Sequence) or len(asked) != 2:
        raise OptionError(
            f"guidance_interval must be START,STOP, fractions of the steps such as 0.2,0.8; not {asked!r}"
        )
    start, stop = (float(fields.check("guidance_interval", value)) for value in asked)
    if not start < stop:
        raise OptionError(
            f"guidance_interval must begin before it ends, and {start:g},{stop:g} does not; for no guidance at all "
            "take guidance 1"
        )
    return start, stop


def _guided(interval: tuple[float, float], schedule: Schedule) -> tuple[float, float]:
    """The sigma of the first step with guidance, and that of the first one after them (Kynkäänniemi et al. 2024,
    arXiv:2404.07724, section 3, where an interval is one of noise levels).
    """
    first, end = (round(fraction * len(schedule)) for fraction in interval)
    if first == end:
        start, stop = interval
        raise OptionError(
            f"no step of {len(schedule)} lies from {start:g} to {stop:g} of them; guidance_interval must be wider, or "
            "take guidance 1"
        )
    return float(schedule.sigmas[first]), float(schedule.sigmas[end])


def _cache(request: Request, variant: Variant, schedule: Schedule) -> CacheChoice | None:
    """The step cache that is asked for, or OptionError."""
    if request.cache is None:
        return None
    cache = read_cache(request.cache)
    if len(schedule) < MIN_STEPS:
        raise OptionError(
            f"cache {request.cache} has nothing to leave out in {len(schedule)} steps; it needs {MIN_STEPS} or more"
        )
    if cache.name == "magcache" and not variant.calibration:
        raise OptionError(
            f"magcache needs magnitudes that were measured with {variant.name}: {fields.called('calibrate')} FILE "
            f"measures them along with a video, and {fields.called('calibration')} FILE gives them; or take "
            "first-block, which needs none"
        )
    return cache


def _fast(request: Request, variant: Variant) -> Fast | None:
    """The few steps of the model, if they are asked for; OptionError if it has none, or what is asked is not theirs."""
    if not request.fast:
        return None
    fast = variant.fast
    if fast is None:
        raise OptionError(
            f"{variant.name} ships no adapters for few steps, so it cannot be asked to be fast. Give it ones that were "
            "made for it: --lora FILE@high --lora FILE@low --steps 4 --shift 5 --guidance 1 --solver distilled"
        )
    own = dict(zip(OF_FAST, (fast.steps, "euler", variant.defaults.shift, fast.guidance, 0.0), strict=True))
    own |= dict.fromkeys(("schedule", "sigmas", "boundary", "switch_step", "guidance_interval", "cache"))
    for name, value in own.items():
        asked = getattr(request, name)
        if asked is not None and asked != value:
            said = "is fixed" if value is None else f"is {value}"
            raise OptionError(
                f"{name} {said} in the {fast.steps} steps of {variant.name}'s adapters, and {asked} is asked for; "
                f"leave {name} away, or fast"
            )
    return fast


def _strength_notice(
    request: Request, whole: Schedule, schedule: Schedule, strength: float
) -> tuple[str, ...]:
    """One step of few hardly changes a video: say so, and what strength takes two."""
    if request.video is None or len(schedule) > 1 or len(whole) == 1:
        return ()
    two = math.ceil(float(whole.sigmas[-3] / whole.sigmas[0]) * 100) / 100
    return (
        f"strength {strength:g} takes 1 of the {len(whole)} steps, which changes the video little; "
        f"strength {two:g} takes 2",
    )


def _schedule_notices(request: Request, variant: Variant, whole: Schedule, solver: str) -> tuple[str, ...]:
    notices = []
    defaults = variant.defaults
    if request.schedule == "linear_quadratic" and request.shift is not None:
        notices.append(f"the schedule linear_quadratic has no shift, so {request.shift:g} changes nothing")
    if solver == "distilled" and len(whole) <= FEW and request.shift is None and defaults.shift > 5:
        timesteps = ", ".join(f"{timestep:.0f}" for timestep in whole.timesteps)
        notices.append(
            f"{variant.name}'s own shift, {defaults.shift:g}, asks at the timesteps {timesteps}; adapters for few "
            "steps are mostly made for --shift 5"
        )
    if (
        defaults.sigmas
        and request.sigmas is None
        and not request.fast
        and _distilled(request, variant) is None
    ):
        shown = ", ".join(f"{sigma:g}" for sigma in defaults.sigmas)
        notices.append(
            f"{variant.name} is distilled to the noise levels {shown}, and others are walked; leave steps, solver, "
            "shift and schedule away"
        )
    elif defaults.steps <= FEW and not request.fast and len(whole) > 2 * defaults.steps:
        notices.append(
            f"{variant.name} is distilled to {defaults.steps} steps; {len(whole)} of them are slower and rarely better"
        )
    return tuple(notices)


def number(name: str, value: object) -> float:
    """A finite number as a float, or OptionError."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise OptionError(f"{name} must be a number, not {value!r}")
    return float(value)
