"""A job in work: what a runner gets, and what it must be. It knows no engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from wan22.errors import OptionError
from wan22.jobs.folder import Folder
from wan22.jobs.job import DEVICE_KINDS, Job, Kind

Asked = Literal["cancel", "pause", "lost", "shutdown"]
"""Why a job is to stop. `lost`: another worker has it; `shutdown`: this worker is to end."""


@dataclass
class Task:
    """What a runner has of its job.

    folder: the data folder. work: a folder of this attempt alone, for files on their way; what an earlier attempt left
    in its own is copied here. record: stores an event and the number of steps done.
    stepping: the runner is at work on a step and looks at `asked` when it is done; otherwise it is interrupted.
    news, steps: how often something was done, and a step. They show that the worker is well.
    """

    job: Job
    folder: Folder
    work: Path
    record: Callable[[dict[str, Any], int | None], None]
    stepping: bool = False
    asked: Asked | None = None
    news: int = 0
    steps: int = 0

    def say(self, data: dict[str, Any], *, step: int | None = None) -> None:
        """Store an event. Raises KeyboardInterrupt if the job is to stop."""
        self.check()
        self.record(data, step)
        self.steps += step is not None
        self.check()

    def check(self) -> None:
        """Something is done: raise KeyboardInterrupt if the job is to stop, else go on."""
        self.news += 1
        if self.asked is not None:
            raise KeyboardInterrupt


class Runner(Protocol):
    """Makes jobs, one at a time, and may keep a model between them.

    It may have `kinds`, those of the jobs that it makes; without, it makes all that need a device. It may have
    `why_not(job, media)`: see below.
    """

    @property
    def loaded(self) -> str | None:
        """The `model` of the requests that it can begin at once."""
        ...

    def run(self, task: Task) -> dict[str, Any]:
        """Make a job; return its result, of which `files` (and `stills`) name files in `task.work`.

        KeyboardInterrupt, from `task.say` or at any moment, ends it; what was checkpointed stays.
        """
        ...

    def drop(self) -> None:
        """Forget what it keeps: it was interrupted at an unknown place, or has failed."""
        ...


def kinds_of(runner: Runner) -> tuple[Kind, ...]:
    """The kinds of jobs that a runner makes."""
    return getattr(runner, "kinds", DEVICE_KINDS)


def why_not(runner: Runner, job: Job, media: dict[str, dict[str, Any]]) -> str:
    """Why the runner's device cannot hold a job; "" if it can, or the runner does not know.

    media: of the job's files, by field, what is known of them.
    """
    ask = getattr(runner, "why_not", None)
    return "" if ask is None else ask(job, media)


def open_runner(name: str, folder: Folder, device: str) -> Runner:
    """Call `module:function` with the data folder and the device. Raises what it raises if the device cannot work."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise OptionError(f"a runner is named MODULE:FUNCTION, such as {DEFAULT}, not {name!r}")
    return getattr(import_module(module), function)(folder, device)


DEFAULT = "wan22.jobs.runner:open_production"
MEDIA = "wan22.jobs.media:open_media"
"""The runner of the worker that puts timelines together and measures videos."""
