"""How long work takes, and how long the rest of it will. It knows no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def duration(seconds: float) -> str:
    """Write a duration: 0:07, 12:30, 2:05:00."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class WorkProgress(str):
    """A line for people, with its numbers: `step` of `steps` is done of `what`; `left` seconds are expected.

    `numbers` are what else is known, such as a loss. If `lasting`, the line is worth keeping on the screen.
    """

    what: str
    step: int
    steps: int
    left: float
    lasting: bool
    numbers: Mapping[str, Any]

    def __new__(
        cls,
        line: str,
        *,
        what: str,
        step: int,
        steps: int,
        left: float,
        lasting: bool = False,
        numbers: Mapping[str, Any] | None = None,
    ) -> WorkProgress:
        self = super().__new__(cls, line)
        self.what, self.step, self.steps, self.left = what, step, steps, left
        self.lasting, self.numbers = lasting, numbers or {}
        return self


class StepCounter:
    """Counts steps of work, and says how many are done and how long the rest will take if it takes as long.

    It says so at most once in `every` seconds, beside what is worth keeping; `shown` writes a number of steps.
    """

    def __init__(
        self,
        steps: int,
        what: str,
        log: Callable[[WorkProgress], object] | None,
        *,
        every: float = 3.0,
        shown: Callable[[int], str] = str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._what, self._log = steps, what, log
        self._every, self._shown, self._now = every, shown, now
        self._done, self._began = 0, now()
        self._said = self._began

    def step(self, count: int = 1, detail: str = "") -> None:
        """`count` more steps are done; `detail` is said of them in any case."""
        self._done += count
        now = self._now()
        if self._log is None or not (detail or now - self._said >= self._every):
            return
        self._said = now
        left = (now - self._began) / max(self._done, 1) * (self._steps - self._done)
        line = f"{self._what} {self._shown(self._done)} of {self._shown(self._steps)}, {duration(left)} left"
        self._log(
            WorkProgress(
                f"{line}: {detail}" if detail else line,
                what=self._what,
                step=self._done,
                steps=self._steps,
                left=left,
                lasting=bool(detail),
            )
        )


class Clock:
    """Times steps and tells how long the rest of the video will take. Within a clip, what lies between steps (an
    expert's loading, the caller's own work) is not counted, and the first one's warm-up does not spoil the estimate;
    later clips are expected to take as long as those before them, all in all.
    """

    def __init__(self, steps: int, clips: int) -> None:
        self.steps, self.clips = steps, clips
        self._began = 0.0
        self._taken: list[float] = []
        self._repeated = 0
        self._clip_began = time.monotonic()
        self._clip_seconds: list[float] = []

    @property
    def done(self) -> int:
        """Steps of this clip that are done."""
        return self._repeated + len(self._taken)

    @property
    def last(self) -> float:
        """Seconds of the last step; 0 of one that was made before."""
        return self._taken[-1] if self._taken else 0.0

    def repeat(self) -> None:
        """A step is done that was made before: it says nothing of those that follow."""
        self._repeated += 1

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._taken.append(time.monotonic() - self._began)

    def next_clip(self) -> None:
        """A clip is finished."""
        now = time.monotonic()
        self._clip_seconds.append(now - self._clip_began)
        self._clip_began = now
        self._taken, self._repeated = [], 0

    def left(self, clip: int) -> float:
        """Seconds that are left, in clip `clip` (from 0) and in those after it."""
        recent = self._taken[1:][-5:] or self._taken
        step = sum(recent) / max(len(recent), 1)
        whole = self._clip_seconds[-5:] or [step * self.steps]
        later = (self.clips - clip - 1) * sum(whole) / len(whole)
        return step * (self.steps - self.done) + later
