"""From the events of a production to those of a job: few enough to store, with a fraction that never falls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wan22.jobs.task import Task
    from wan22.types import Event, Progress

EVERY = 0.1  # seconds between events of steps and frames
_BEGUN = {"text": 0.01, "condition": 0.03, "load": 0.04}
"""How much of a video counts as done when a phase begins, before the first step."""
_FIRST, _STEPS, _FRAMES = 0.05, 0.75, 0.17
"""Shares of a video: what comes before the steps, the steps, the frames. The rest is finishing the file."""


class Fraction:
    """How much of a job is done, 0..1, over all its phases, clips and takes. It never falls.

    videos: how many are made one after another (takes). last: what was done already when the job went on.
    """

    def __init__(self, videos: int = 1, last: float = 0.0) -> None:
        self._videos, self._made, self.value = videos, 0, last
        self._steps = self._frames = self._begun = 0.0

    def phase(self, name: str) -> None:
        self._begun = max(self._begun, _BEGUN.get(name, 0.0))
        self._update()

    def step(self, event: Progress) -> None:
        self._begun = _FIRST
        self._steps = (event.clip - 1 + event.index / event.steps) / event.clips
        self._update()

    def frames(self, done: int, total: int) -> None:
        self._begun, self._frames = _FIRST, done / max(total, 1)
        self._update()

    def finished(self) -> None:
        """One video is complete; another may follow."""
        self._made = min(self._made + 1, self._videos)
        self._steps = self._frames = self._begun = 0.0
        self._update()

    def _update(self) -> None:
        whole = _FIRST + _STEPS + _FRAMES
        video = min(whole, self._begun + _STEPS * self._steps + _FRAMES * self._frames)
        self.value = max(self.value, min(whole, (self._made * whole + video) / self._videos))


class Reporter:
    """An event sink that tells a task what happens. It raises KeyboardInterrupt when the task is to stop.

    preview: called with each step, before it is told; returns the event of a new preview, if there is one.
    """

    def __init__(
        self,
        task: Task,
        *,
        videos: int = 1,
        preview: Callable[[Progress], dict[str, Any] | None] = lambda _: None,
    ) -> None:
        self._task, self._preview = task, preview
        self._fraction = Fraction(videos, task.job.fraction)
        self._said, self._phase, self._since = 0.0, "", time.monotonic()
        self.phases: dict[str, float] = {}
        self.recipe: dict[str, Any] = {}
        self.path = ""

    def event(self, event: Event) -> None:
        from wan22.types import Finished, Frames, Notice, Phase, Playable, Progress

        match event:
            case Phase(name, detail):
                self._begin(name)
                self._fraction.phase(name)
                self._task.stepping = name == "denoise"
                self._say({"type": "phase", "name": name, "detail": detail})
            case Notice(text):
                self.note(text)
            case Progress():
                self._step(event)
            case Frames():
                done = event.start + len(event.frames)
                self._fraction.frames(done, event.total)
                data = {"type": "frames", "done": done, "total": event.total}
                self._seldom(data, anyway=done == event.total)
            case Playable():
                seconds = round(event.frames / event.fps, 3)
                data = {"type": "playable", "frames": event.frames, "total": event.total, "seconds": seconds}
                self._task.say(data | {"media_type": event.type})
            case Finished():
                self._fraction.finished()
                self._begin("finish")
                self._task.check()
            case _:
                self._task.check()

    def _step(self, event: Progress) -> None:
        self._begin("denoise")  # it may have waited for weights
        self._fraction.step(event)
        self._task.stepping = event.index < event.steps
        if (seen := self._preview(event)) is not None:
            self._task.say(seen)
        data = {
            "type": "progress",
            "step": event.index,
            "steps": event.steps,
            "expert": event.expert,
            "sigma": event.sigma,
            "clip": event.clip,
            "clips": event.clips,
            "seconds": event.seconds,
            "left": event.left,
            "reused": event.reused,
        }
        self._seldom(
            data, anyway=event.index == event.steps, step=(event.clip - 1) * event.steps + event.index
        )

    def _begin(self, phase: str) -> None:
        now = time.monotonic()
        if self._phase:
            self.phases[self._phase] = self.phases.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    def end(self) -> dict[str, float]:
        """The last phase is over; return the seconds of each."""
        self._begin("")
        return {name: round(seconds, 3) for name, seconds in self.phases.items()}

    def _seldom(self, data: dict[str, Any], *, anyway: bool, step: int | None = None) -> None:
        if anyway or time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            self._say(data, step)
        else:
            self._task.check()

    def _say(self, data: dict[str, Any], step: int | None = None) -> None:
        self._task.say(data | {"fraction": round(self._fraction.value, 4)}, step=step)

    def note(self, text: str) -> None:
        self._task.say({"type": "note", "text": text})

    def compared(self, source: str, differences: list[str] | None) -> None:
        del source, differences  # a job is never made from a recipe's file

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        self.path, self.recipe = path, recipe
