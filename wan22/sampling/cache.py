"""Step caching: the blocks of a network are left out at a step, and what they added when they last ran is added again.

Neighbouring steps ask the network nearly the same. A `StepCache` stands around the blocks of one expert in one clip. A
rule says how much has changed since they last ran; below the threshold they are left out. The rules are

    first-block   how much what the first block adds has changed (ParaAttention; Diffusers' FirstBlockCacheConfig)
    teacache      the sum of changes of the time modulation from call to call (Liu et al. 2024, arXiv:2411.19108)
    magcache      the sum of |1 - ratio| of the magnitudes of what the blocks add (Ma et al. 2025, arXiv:2506.09045)

The first call of an expert and the last step of a clip always run, and at most `MAX_SKIPS` calls in a row are left out.
The branch of the prompt decides, and the other one follows, so that guidance never subtracts a new answer from an old
one. `first-block` needs one number on the host for each call with a decision; the others know theirs beforehand.

It knows no network: only tokens, and an iterator that runs a block each time it is asked. To add a rule: a class of the
protocol, and a row in CACHES.
"""

import math
from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float
from torch import Tensor

from wan22.catalog import Calibration
from wan22.errors import OptionError, choose
from wan22.sampling.schedule import Schedule
from wan22.types import Level

MAX_SKIPS = 3
"""Calls in a row that may be left out; Diffusers' max_skip_steps."""

MIN_STEPS = 5
"""Steps from which a cache may be asked for: of fewer, each changes too much."""

Walk = Generator[Float[Tensor, "b l d"]]
"""The tokens before the first block and after each; a block runs when what follows it is asked for."""


Mean = Callable[[Tensor], Tensor]
"""The mean of all tokens' numbers, from those of the tokens that are here."""


class Rule(Protocol):
    """How much has changed since the blocks last ran. `head` blocks always run, to be looked at."""

    head: int

    def change(self, level: Level, grown: Tensor | None) -> float:
        """The change at a level; `grown` is what the first `head` blocks added to the prompt's tokens."""
        ...

    def ran(self, level: Level, grown: Tensor | None) -> None:
        """Note that the blocks run at this level."""
        ...


class FirstBlock:
    """The relative L1 distance of what the first block adds from what it added when all blocks last ran."""

    head = 1

    def __init__(self, mean: Mean = Tensor.mean) -> None:
        self._relative = relative if mean is Tensor.mean else partial(relative, mean=mean)
        self._kept: Tensor | None = None

    def change(self, level: Level, grown: Tensor | None) -> float:
        """One number from the device: the only synchronisation of the step."""
        assert grown is not None
        return math.inf if self._kept is None else float(self._relative(grown, self._kept))

    def ran(self, level: Level, grown: Tensor | None) -> None:
        """Keep what the first block added."""
        self._kept = grown


class TeaCache:
    """The sum of the relative L1 changes of the time modulation from call to call.

    `modulation` is the network's, by timestep. `polynomial` (the highest power first) makes of each change that of the
    output; without one that was fitted to the model, the plain changes are summed.
    """

    head = 0

    def __init__(self, modulation: Mapping[float, Tensor], polynomial: tuple[float, ...] = ()) -> None:
        self._modulation, self._polynomial = modulation, polynomial
        self._before: Tensor | None = None
        self._sum = 0.0

    def change(self, level: Level, grown: Tensor | None) -> float:
        """The sum with this call's change."""
        assert self._before is not None
        now = self._modulation[level.timestep]
        step = float(relative(now, self._before))
        if self._polynomial:
            step = abs(sum(c * step**i for i, c in enumerate(reversed(self._polynomial))))
        self._before, self._sum = now, self._sum + step
        return self._sum

    def ran(self, level: Level, grown: Tensor | None) -> None:
        """Begin the sum anew."""
        self._before, self._sum = self._modulation[level.timestep], 0.0


class MagCache:
    """The sum of |1 - m / m'| over the calls since the blocks last ran, where the magnitude was m'.

    `magnitude(timestep)` is that of what the blocks add, relative to any level: measured, see `Calibration`.
    """

    head = 0

    def __init__(self, magnitude: Callable[[float], float]) -> None:
        self._magnitude = magnitude
        self._kept, self._error = math.nan, 0.0

    def change(self, level: Level, grown: Tensor | None) -> float:
        """The sum with this call's error."""
        self._error += abs(1 - self._magnitude(level.timestep) / self._kept)
        return self._error

    def ran(self, level: Level, grown: Tensor | None) -> None:
        """Begin the sum anew."""
        self._kept, self._error = self._magnitude(level.timestep), 0.0


def relative(now: Tensor, before: Tensor, mean: Mean = Tensor.mean) -> Tensor:
    """The mean absolute difference of two tensors, relative to the mean magnitude of the second."""
    return mean((now - before).float().abs()) / mean(before.float().abs())


def _no_rule_without(calibration: Calibration | None) -> Calibration:
    if calibration is None:
        raise OptionError("magcache needs the calibration of every expert")
    return calibration


def _magnitude(calibration: Calibration, timestep: float) -> float:
    """Between measured timesteps, the logarithm is a straight line."""
    rising = calibration.timesteps[::-1], np.log(calibration.magnitudes[::-1])
    return float(np.exp(np.interp(timestep, *rising)))


Modulation = Callable[[], Mapping[float, Tensor]]
"""Makes the time modulation of each timestep of the walk, by timestep."""


class Kind(NamedTuple):
    """A row of CACHES: the threshold if none is named, the share of first steps that always run, and the rule."""

    threshold: float
    retained: float
    rule: Callable[[Modulation, Calibration | None, Mean], Rule]


CACHES: dict[str, Kind] = {
    "first-block": Kind(0.1, 0.0, lambda modulation, calibration, mean: FirstBlock(mean)),
    "teacache": Kind(
        0.2,
        0.0,
        lambda modulation, found, mean: TeaCache(modulation(), found.teacache if found is not None else ()),
    ),
    "magcache": Kind(
        0.06,
        0.2,
        lambda modulation, calibration, mean: MagCache(partial(_magnitude, _no_rule_without(calibration))),
    ),
}
"""The retained share of magcache is its paper's."""


@dataclass(frozen=True)
class CacheChoice:
    """A cache by name, and its threshold."""

    name: str
    threshold: float

    def __str__(self) -> str:
        return f"{self.name}:{self.threshold:g}"


def read_cache(text: object) -> CacheChoice:
    """Read "first-block" or "first-block:0.1". Raises OptionError for an unknown name or an impossible threshold."""
    if not isinstance(text, str):
        raise OptionError(f"cache must be a name such as first-block:0.1, not {text!r}")
    name, colon, said = text.partition(":")
    choose("cache", name, tuple(CACHES))
    if not colon:
        return CacheChoice(name, CACHES[name].threshold)
    try:
        threshold = float(said)
    except ValueError:
        threshold = math.nan
    if not 0 < threshold <= 1:
        raise OptionError(
            f"the threshold of a cache must be a number above 0 and at most 1, such as {name}:"
            f"{CACHES[name].threshold:g}; not {said!r}"
        )
    return CacheChoice(name, threshold)


class StepCache:
    """The cache of one expert in one clip: what its blocks last added, for each branch of guidance.

    agree: of several processes that share the work, all must decide alike: what they decide, from this one's decision.
    """

    def __init__(
        self, choice: CacheChoice, rule: Rule, schedule: Schedule, agree: Callable[[bool], bool] = bool
    ) -> None:
        self._choice, self._rule, self._schedule, self._agree = choice, rule, schedule, agree
        self._retained = math.ceil(CACHES[choice.name].retained * len(schedule))
        self._added: dict[Hashable, Tensor] = {}
        self._level: Level | None = None
        self._skip: bool | None = None  # None: the call's first branch has not come yet
        self._skips = 0

    @property
    def skipped(self) -> bool:
        """Whether the blocks were left out at the last call."""
        return bool(self._skip)

    def begin(self, level: Level) -> None:
        """Say that a call of all branches begins, at this level."""
        self._level, self._skip = level, None

    def skip(self, level: Level) -> None:
        """Note a call at this level that was left out before; no other decision is made."""
        self._level, self._skip = level, True
        if not self._rule.head:
            self._rule.change(level, None)
        self._skips += 1

    def around(self, branch: Hashable, walk: Walk, own: int) -> Float[Tensor, "b l d"]:
        """The first `own` tokens after all blocks, or nearly. The prompt's are the first of the first branch.

        What is kept has the dtype and size of the tokens before the blocks, for each branch; `first-block` keeps one
        sample more.
        """
        tokens = next(walk)[:, :own]  # the first block leaves them as they are
        dtype, deciding = tokens.dtype, self._skip is None
        before = tokens[:1] if deciding else None
        for tokens in islice(walk, self._rule.head):  # noqa: B007
            pass
        tokens = tokens[:, :own]
        if before is not None:
            self._skip = self._decide((tokens[:1] - before).to(dtype) if self._rule.head else None)
            before = None
        if self._skip:
            walk.close()
            return tokens + self._added[branch]
        self._added.pop(branch, None)
        start = tokens.to(dtype, copy=self._rule.head > 0)
        for tokens in walk:  # noqa: B007
            pass
        self._added[branch] = (tokens[:, :own] - start).to(dtype)
        return tokens[:, :own]

    def _decide(self, grown: Tensor | None) -> bool:
        assert self._level is not None
        must = not self._added or self._skips == MAX_SKIPS or self._always(float(self._level.sigma))
        # What is not finite is no small change.
        skip = not must and self._agree(self._rule.change(self._level, grown) < self._choice.threshold)
        if skip:
            self._skips += 1
        else:
            self._rule.ran(self._level, grown)
            self._skips = 0
        return skip

    def _always(self, sigma: float) -> bool:
        sigmas = self._schedule.sigmas
        early = self._retained > 0 and sigma >= float(sigmas[self._retained - 1])
        return early or sigma <= float(sigmas[-2])
