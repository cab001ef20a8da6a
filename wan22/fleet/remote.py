"""The queue and the files as a worker on another machine has them: questions to the coordinator."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wan22.errors import OutputError, Wan22Error
from wan22.fleet.coordinator import CHUNK, ERRORS, Answer, Question
from wan22.jobs.folder import Folder
from wan22.jobs.job import Claim, Kind, Signal, StoreError
from wan22.jobs.task import Runner, why_not

_PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds before a coordinator that cannot be reached is asked again


class UnreachableError(Wan22Error):
    """The coordinator does not answer: it is started again, or the net is down."""


class Link:
    """The way to the coordinator. `call` takes the name of its method and arguments, or raises UnreachableError."""

    def __init__(self, call: Callable[..., Answer], pauses: Sequence[float] = _PAUSES) -> None:
        self._call, self._pauses = call, pauses

    def once(self, name: str, *args: Any, **more: Any) -> Any:
        """Ask; raise StoreError if nobody answers, or for what the coordinator's store raises, else one of `ERRORS`."""
        try:
            answer = self._call(name, *args, **more)
        except UnreachableError as error:
            raise StoreError(str(error), code="locked") from error
        if answer.error is None:
            return answer.value
        kind, message, code = answer.error
        raise StoreError(message, code=code) if kind == "store" else ERRORS[kind](message)

    def ask(self, name: str, *args: Any, **more: Any) -> Any:
        """As `once`, until somebody answers: what a worker has to say must not get lost."""
        tries = 0
        while True:
            try:
                return self.once(name, *args, **more)
            except StoreError as error:
                if not isinstance(error.__cause__, UnreachableError):
                    raise
            time.sleep(self._pauses[min(tries, len(self._pauses) - 1)])
            tries += 1


class RemoteQueue:
    """See `wan22.jobs.queue.Queue`. `runner` says which jobs its device can hold."""

    def __init__(self, link: Link, runner: Runner) -> None:
        self._link, self._runner = link, runner
        self._version = 0

    @property
    def version(self) -> int:
        try:
            self._version = self._link.once("version")
        except StoreError:
            pass  # nobody knows; the next claim says why
        return self._version

    def claim(
        self, worker: str, *, loaded: str | None = None, lease: float = 10.0, kinds: Sequence[Kind] = ()
    ) -> Claim | None:
        while True:
            found = self._link.once("claim", worker, loaded, lease, list(kinds))
            if not isinstance(found, Question):
                return found
            self._link.once("fits", worker, found.job.id, why_not(self._runner, found.job, found.media))

    def heartbeat(self, claim: Claim) -> Signal:
        return self._link.once("heartbeat", claim)

    def record(self, claim: Claim, data: dict[str, Any], *, step: int | None = None) -> bool:
        return self._link.ask("record", claim, data, step=step)

    def complete(self, claim: Claim, result: dict[str, Any]) -> bool:
        return self._link.ask("complete", claim, result)

    def fail(self, claim: Claim, code: str, message: str) -> bool:
        return self._link.ask("fail", claim, code, message)

    def release(self, claim: Claim, *, signal: Signal | None = None) -> bool:
        return self._link.ask("release", claim, signal=signal)

    def recover(self, worker: str) -> int:
        return self._link.ask("recover", worker)


class RemoteFiles:
    """The files of jobs in a folder of this machine, which the coordinator's folder follows.

    `folder` is this worker's alone. Of a job it holds what the job's folder holds, while the job is made here.
    """

    def __init__(self, folder: Folder, link: Link) -> None:
        self._folder, self._link = folder, link
        self._sent: dict[str, tuple[int, int]] = {}

    def begin(self, claim: Claim) -> Path:
        self._empty()
        name, files, inputs = self._link.ask("begin", claim)
        place = self._folder.job(claim.job.id)
        work = place / name
        try:
            work.mkdir(parents=True)
            for each in files:
                self._fetch(claim, each, place / each)
            for each in inputs:
                self._fetch(claim, each, self._folder.input(each))
            self._sent = _files(place)
        except OSError as error:
            raise OutputError(f"{place} cannot be written: {error.strerror}") from error
        return work

    def _fetch(self, claim: Claim, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            last = False
            while not last:
                data, last = self._link.ask("read", claim, name, file.tell())
                file.write(data)

    def keep(self, claim: Claim) -> None:
        """Send what is new, the oldest first, then remove what is gone: at every moment a journal can be read there."""
        place = self._folder.job(claim.job.id)
        found = _files(place)
        for name in sorted(found, key=found.__getitem__):
            if self._sent.get(name) != found[name]:
                self._send(claim, name, place / name)
                self._sent[name] = found[name]
        if gone := [name for name in self._sent if name not in found]:
            self._link.ask("remove", claim, gone)
            for name in gone:
                del self._sent[name]

    def _send(self, claim: Claim, name: str, path: Path) -> None:
        done = False
        while not done:
            with path.open("rb") as file:
                data, offset = file.read(CHUNK), 0
                while True:
                    following = file.read(CHUNK)
                    done = self._link.ask("write", claim, name, offset, data, not following)
                    if not done or not following:
                        break
                    offset, data = offset + len(data), following

    def publish(self, claim: Claim, result: dict[str, Any]) -> None:
        self.keep(claim)
        self._link.ask("publish", claim, result)

    def leave(self, claim: Claim) -> None:
        with suppress(OSError, Wan22Error):  # if it is lost, another has it from the last event on
            self.keep(claim)
            self._link.ask("left", claim)
        self._empty()

    def clear(self, claim: Claim) -> None:
        with suppress(Wan22Error):  # it is cleared when the coordinator starts again
            self._link.ask("clear", claim)
        self._empty()

    def explain(self, claim: Claim, text: str) -> None:
        self._link.ask("explain", claim, text)

    def _empty(self) -> None:
        self._sent = {}
        for part in ("jobs", "inputs"):
            for path in (self._folder.path / part).iterdir():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _files(place: Path) -> dict[str, tuple[int, int]]:
    """When each file of a job's folder was last changed, and its size; without what is half written."""
    found = {}
    for path in place.rglob("*"):
        name = path.relative_to(place)
        if any(part.startswith(".") for part in name.parts):
            continue
        with suppress(FileNotFoundError):
            if path.is_file():
                stat = path.stat()
                found[str(name)] = stat.st_mtime_ns, stat.st_size
    return found
