"""Say how far the work is and what came of it: to a person at a terminal, to a log, or to a machine.

Three reports with the same calls. People read progress on stderr and results on stdout; with --json stdout holds one
object a line for everything (docs/json.md), and stderr only an error.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from wan22.clock import WorkProgress, duration
from wan22.production.events import EventSink

if TYPE_CHECKING:
    from wan22.types import Event, Progress

PHASES = {
    "upload": "sending",
    "queue": "waiting for its turn",
    "text": "reading the prompt",
    "condition": "preparing",
    "load": "loading weights",
    "denoise": "denoising",
    "decode": "decoding",
    "finish": "finishing",
    "download": "fetching",
}


class Report(EventSink, Protocol):
    """An event sink that is a context manager: leaving it gives the terminal back."""

    def log(self, said: str) -> None:
        """Take what work that makes no video says on its way."""
        ...

    def result(self, values: dict[str, Any], lines: Iterable[str]) -> None:
        """Take the answer of a command: as values for machines, as lines for people."""
        ...

    def __enter__(self) -> Report: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def choose(machine: bool) -> Report:
    """The report that fits work: JSON if asked, a live one at a terminal, else plain lines."""
    if machine:
        return JsonReport()
    return LiveReport() if sys.stderr.isatty() else LineReport()


def answer(machine: bool) -> Report:
    """The report that fits a question, which is answered at once: JSON if asked, else plain lines."""
    return JsonReport() if machine else LineReport()


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

    def _seldom(self, text: str, anyway: bool, every: float = 1) -> None:
        if anyway or time.monotonic() - self._last >= every:
            self._last = time.monotonic()
            self.note(text)

    def log(self, said: str) -> None:
        self._seldom(said, not isinstance(said, WorkProgress) or said.lasting, every=10)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def compared(self, source: str, differences: list[str] | None) -> None:
        self.note(comparison(source, differences))

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        print(path, flush=True)

    def result(self, values: dict[str, Any], lines: Iterable[str]) -> None:
        for line in lines:
            print(line)
        sys.stdout.flush()

    def __enter__(self) -> LineReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stderr.flush()


class JsonReport(LineReport):
    """One JSON object per event on stdout; nothing on stderr but errors."""

    def event(self, event: Event) -> None:
        from wan22.types import ClipDone, Frames, Latents, Notice, Phase, Playable, Progress

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
                    reused=event.reused,
                )
            case Latents():
                self._print(event="latents")
            case Playable():
                self._print(
                    event="playable", path=str(event.path), frames=event.frames, total=event.total,
                    seconds=event.frames / event.fps,
                )  # fmt: skip
            case Frames():
                self._print(event="frames", done=event.start + len(event.frames), total=event.total)

    def log(self, said: str) -> None:
        if not isinstance(said, WorkProgress):
            self.note(said)
            return
        self._print(
            event="progress",
            what=said.what,
            step=said.step,
            steps=said.steps,
            left=said.left,
            text=str(said),
            **said.numbers,
        )

    def note(self, text: str) -> None:
        self._print(event="notice", text=text)

    def compared(self, source: str, differences: list[str] | None) -> None:
        self._print(
            event="compared", source=source, identical=differences is None, differences=differences or []
        )

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        self._print(event="finished", path=path, recipe=recipe)

    def result(self, values: dict[str, Any], lines: Iterable[str]) -> None:
        self._print(**{**values, "event": "result"})

    @staticmethod
    def _print(**values: Any) -> None:
        print(json.dumps(_finite(values), default=str), flush=True)  # ASCII, whatever the stream can write


def _finite(value: Any) -> Any:
    """A value without the numbers that JSON does not know; null stands for them."""
    match value:
        case dict():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case float():
            return value if math.isfinite(value) else None
    return value


class LiveReport(LineReport):
    """A line that moves: the phase, a bar, the step, the expert, seconds a step, time left."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None, detail="")

    def event(self, event: Event) -> None:
        from wan22.types import Frames, Notice, Phase, Progress

        match event:
            case Phase(name, detail):
                self._begin(PHASES.get(name, name), detail)
            case Notice(text):
                self.note(f"note: {text}")
            case Progress():
                self._show(event.index, event.steps, _step(event))
            case Frames():
                done = event.start + len(event.frames)
                self._show(done, event.total, f"frame {done} of {event.total}")

    def log(self, said: str) -> None:
        if not isinstance(said, WorkProgress):
            self.note(said)
            return
        if said.lasting:
            self.note(said)
        self._bar.update(self._task, description="")
        self._show(said.step, said.steps, f"{duration(said.left)} left" if said.lasting else said)

    def _begin(self, what: str, detail: str) -> None:
        self._bar.start()
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=None, detail=detail)

    def _show(self, done: int, total: int, detail: str) -> None:
        self._bar.start()
        self._bar.update(self._task, total=total, completed=done, detail=detail)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        self._bar.stop()  # the next event starts it again
        super().made(path, recipe)

    def result(self, values: dict[str, Any], lines: Iterable[str]) -> None:
        self._bar.stop()  # the next event starts it again
        super().result(values, lines)

    def __enter__(self) -> LiveReport:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _step(event: Progress) -> str:
    """Step, expert (a model's only network needs no name), pace, and time left."""
    expert = {"high": "high-noise expert, ", "low": "low-noise expert, "}.get(event.expert, "")
    clip = f"clip {event.clip} of {event.clips}, " if event.clips > 1 else ""
    pace = f"{expert}{event.seconds:.2f} s/step, {duration(event.left)} left"
    return f"{clip}step {event.index} of {event.steps}, {pace}"


def _phase(name: str, detail: str) -> str:
    words = PHASES.get(name, name)
    return f"{words}: {detail}" if detail else words
