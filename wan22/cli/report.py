"""Say how far the work is: to a person at a terminal, to a log, or to a machine.

Three reports with the same calls. People read stderr; stdout holds the path of what was made, or, with --json,
one object per event.
"""

from __future__ import annotations

import json
import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from wan22.production.events import EventSink

if TYPE_CHECKING:
    from wan22.types import Event, Progress

PHASES = {
    "text": "reading the prompt",
    "condition": "preparing",
    "load": "loading weights",
    "denoise": "denoising",
    "decode": "decoding",
    "finish": "finishing",
}


class Report(EventSink, Protocol):
    """An event sink that is a context manager: leaving it gives the terminal back."""

    def __enter__(self) -> Report: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def choose(machine: bool) -> Report:
    """The report that fits: JSON if asked, a live one at a terminal, else plain lines."""
    if machine:
        return JsonReport()
    return LiveReport() if sys.stderr.isatty() else LineReport()


def clock(seconds: float) -> str:
    """Write a duration: 0:07, 12:30, 2:05:00."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def comparison(source: str, differences: list[str] | None) -> str:
    """Put the outcome of --from into words."""
    if differences is None:
        return f"identical: every frame has the same bits as in {source}"
    return f"not identical to {source}: {'; '.join(differences)}"


class LineReport:
    """Plain lines on stderr, for logs and pipes; at most one a second of the steps and frames."""

    def __init__(self) -> None:
        self._last = -math.inf

    def event(self, event: Event) -> None:
        from wan22.types import Frames, Notice, Phase, Progress

        match event:
            case Phase(name, detail):
                self.note(_phase(name, detail))
            case Notice(text):
                self.note(f"note: {text}")
            case Progress():
                self._seldom(_step(event), event.index == event.steps)
            case Frames():
                done = event.start + len(event.frames)
                self._seldom(f"frame {done} of {event.total}", done == event.total)

    def _seldom(self, text: str, anyway: bool) -> None:
        if anyway or time.monotonic() - self._last >= 1:
            self._last = time.monotonic()
            self.note(text)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def compared(self, source: str, differences: list[str] | None) -> None:
        self.note(comparison(source, differences))

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        print(path, flush=True)

    def __enter__(self) -> LineReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stderr.flush()


class JsonReport(LineReport):
    """One JSON object per event on stdout; nothing on stderr but errors."""

    def event(self, event: Event) -> None:
        from wan22.types import ClipDone, Frames, Latents, Notice, Phase, Progress

        match event:
            case ClipDone():
                self._print(event="clip", clip=event.clip, clips=event.clips)
            case Phase(name, detail):
                self._print(event="phase", name=name, detail=detail)
            case Notice(text):
                self._print(event="notice", text=text)
            case Progress():
                self._print(
                    event="progress",
                    step=event.index,
                    steps=event.steps,
                    expert=event.expert,
                    sigma=event.sigma,
                    seconds=event.seconds,
                    left=event.left,
                    clip=event.clip,
                    clips=event.clips,
                )
            case Latents():
                self._print(event="latents")
            case Frames():
                self._print(event="frames", done=event.start + len(event.frames), total=event.total)

    def note(self, text: str) -> None:
        self._print(event="notice", text=text)

    def compared(self, source: str, differences: list[str] | None) -> None:
        self._print(
            event="compared", source=source, identical=differences is None, differences=differences or []
        )

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        self._print(event="finished", path=path, recipe=recipe)

    @staticmethod
    def _print(**values: Any) -> None:
        print(json.dumps(values), flush=True)


class LiveReport(LineReport):
    """A line that moves: the phase, a bar, the step, the expert, seconds a step, time left."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, detail="")

    def event(self, event: Event) -> None:
        from wan22.types import Frames, Notice, Phase, Progress

        self._progress.start()
        match event:
            case Phase(name, detail):
                self._progress.remove_task(self._task)
                self._task = self._progress.add_task(PHASES.get(name, name), total=None, detail=detail)
            case Notice(text):
                self.note(f"note: {text}")
            case Progress():
                self._progress.update(
                    self._task, total=event.steps, completed=event.index, detail=_step(event)
                )
            case Frames():
                done = event.start + len(event.frames)
                detail = f"frame {done} of {event.total}"
                self._progress.update(self._task, total=event.total, completed=done, detail=detail)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        self._progress.stop()  # the next event starts it again
        super().made(path, recipe)

    def __enter__(self) -> LiveReport:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def _step(event: Progress) -> str:
    """Step, expert (a model's only network needs no name), pace, and time left."""
    expert = {"high": "high-noise expert, ", "low": "low-noise expert, "}.get(event.expert, "")
    clip = f"clip {event.clip} of {event.clips}, " if event.clips > 1 else ""
    return f"{clip}step {event.index} of {event.steps}, {expert}{event.seconds:.2f} s/step, {clock(event.left)} left"


def _phase(name: str, detail: str) -> str:
    words = PHASES.get(name, name)
    return f"{words}: {detail}" if detail else words
