"""The coordinator: what workers on other machines have in place of the store and the data folder.

It is a process on the server's machine, beside the store. It knows no Ray: see `cluster.py`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22.atomic import put, sync, temporary_name
from wan22.errors import MediaError, OutputError, RequestError, Wan22Error
from wan22.fleet.placement import Placement, UnknownFit
from wan22.jobs.attempt import WORK, LocalFiles, sweep
from wan22.jobs.folder import DESCRIPTION, RESULT, Folder
from wan22.jobs.job import ENDED, Claim, Job, Kind, StoreError
from wan22.jobs.media_known import media_of
from wan22.jobs.operator import FILE as OPERATOR

CHUNK = 8 << 20
"""Bytes of a file that are passed at once."""

NAME = re.compile(r"[a-z0-9-]+-[0-9a-f]{6}-[a-z0-9-]+")
"""A worker of a fleet: machine, node of Ray, device."""

ERRORS: dict[str, type[Wan22Error]] = {"output": OutputError, "media": MediaError, "request": RequestError}
"""What a worker raises again as it was raised here; anything else is an OutputError."""

_QUEUE = ("heartbeat", "record", "complete", "fail", "release", "recover")
_UP = 10.0  # seconds since its last report for which a worker counts as there
_INPUT = re.compile(r"in_[a-z0-9]{24}")


@dataclass(frozen=True)
class Answer:
    """What came of a question: a value, or an error as its kind ("store", or of `ERRORS`), message and code."""

    value: Any = None
    error: tuple[str, str, Any] | None = None


@dataclass(frozen=True)
class Question:
    """In place of a claim: can the worker's device hold this job? `media` is what is known of its files."""

    job: Job
    media: dict[str, dict[str, Any]]


class Coordinator:
    """Serves the workers of a fleet. One object serves many threads."""

    def __init__(self, data: Path) -> None:
        self._folder = Folder(data)
        self._store = self._folder.open_store(check=False)
        self._files = LocalFiles(self._folder)
        self._placement = Placement()
        self._reports: dict[str, tuple[float, dict[str, Any]]] = {}
        self._parts: dict[tuple[str, str], Path] = {}
        self._given: dict[str, Claim] = {}
        self._noted: set[str] = set()
        self._leaving = False
        sweep(self._folder, self._store)

    def close(self) -> None:
        self._store.close()

    def ask(self, name: str, *args: Any, **more: Any) -> Answer:
        """Call a method by its name. Errors that workers know come as values: not all can be sent as they are."""
        target = self._store if name in _QUEUE else self
        try:
            return Answer(getattr(target, name)(*args, **more))
        except StoreError as error:
            return Answer(error=("store", str(error), error.code))
        except (OSError, Wan22Error) as error:
            kind = next((name for name, each in ERRORS.items() if isinstance(error, each)), "output")
            return Answer(error=(kind, str(error), None))

    # The queue

    def version(self) -> int:
        """The number of the newest event: unlike the store's own version it is the same in all threads."""
        return self._store.last_event()

    def claim(
        self, worker: str, loaded: str | None, lease: float, kinds: list[Kind]
    ) -> Claim | Question | None:
        """The next job for a worker, or first a question, to be answered by `fits`.

        A worker that asks has no job. What was claimed for it, and did not reach it, is given back.
        """
        if (former := self._given.pop(worker, None)) is not None:
            self._store.release(former)
        may = self._placement.may(worker, loaded)
        try:
            claim = self._store.claim(worker, loaded=loaded, lease=lease, kinds=kinds, may=may)
        except UnknownFit as unknown:
            job = self._store.job(unknown.id)
            return Question(job, media_of(self._store, job.request))
        if claim is not None:
            self._placement.took(worker)
            self._given[worker] = claim
        return claim

    def fits(self, worker: str, id: str, why_not: str) -> None:
        """Whether a worker's device can hold a job ("": it can). When none of the fleet can, the job says so, once."""
        self._placement.fits(worker, id, why_not)
        now = time.monotonic()
        up = [name for name, (at, _) in self._reports.items() if now - at < _UP]
        if why_not and id not in self._noted and self._placement.refused(id, up):
            self._noted.add(id)
            self._store.note(
                id,
                f"no machine of the fleet can hold this job; it waits for one that can. {worker}: {why_not}",
            )

    # Workers as they are

    def report(self, worker: str, state: dict[str, Any]) -> bool:
        """A worker says how it is; return whether it is to give its job back and end."""
        self._reports[worker] = time.monotonic(), state
        return self._leaving

    def reports(self) -> dict[str, tuple[float, dict[str, Any]]]:
        """Of each worker, seconds since its last report, and the report."""
        now = time.monotonic()
        return {name: (now - at, state) for name, (at, state) in self._reports.items()}

    def leave(self) -> None:
        """All workers are to give their jobs back and end."""
        self._leaving = True

    def gone(self, worker: str) -> None:
        """A worker died, or its machine left: its job is queued again."""
        self._reports.pop(worker, None)
        self._store.recover(worker)

    def begin_fleet(self) -> None:
        """The workers of an earlier fleet of this folder are gone: their jobs are queued again."""
        for job in self._store.jobs(states=["running"], limit=100_000):
            if job.worker is not None and NAME.fullmatch(job.worker):
                self._store.recover(job.worker)

    # Files

    def operator(self) -> str | None:
        """What the operator says of models, LoRAs and memory; None if nothing is said."""
        path = self._folder.path / OPERATOR
        return path.read_text(encoding="utf-8") if path.exists() else None

    def begin(self, claim: Claim) -> tuple[str, list[str], list[str]]:
        """Make an attempt ready: the name of its folder, the files of the job's folder, the inputs that it needs."""
        self._check(claim)
        work = self._files.begin(claim)
        place = work.parent
        files = [
            str(path.relative_to(place))
            for path in place.rglob("*")
            if path.is_file() and _is_passed(path.relative_to(place), work.name)
        ]
        inputs = sorted(
            {id for id in _INPUT.findall(str(claim.job.request)) if self._folder.input(id).exists()}
        )
        return work.name, files, inputs

    def read(self, claim: Claim, name: str, offset: int) -> tuple[bytes, bool]:
        """Bytes of a file of the job's folder, or of an input, and whether they are the last."""
        path = self._folder.input(name) if _INPUT.fullmatch(name) else self._inside(claim, name)
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(CHUNK)
            return data, not file.read(1)

    def write(self, claim: Claim, name: str, offset: int, data: bytes, last: bool) -> bool:
        """Bytes of a file of the job's folder; the file is there, whole, after the last. False: begin it anew."""
        self._check(claim)
        target, key = self._inside(claim, name), (claim.token, name)
        if offset == 0:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._parts[key] = temporary_name(target)
        part = self._parts.get(key)
        if part is None or (part.stat().st_size if part.exists() else 0) != offset:
            return False
        with part.open("ab") as file:
            file.write(data)
        if last:
            put(part, target)
            del self._parts[key]
        return True

    def remove(self, claim: Claim, names: list[str]) -> None:
        """Files of the job's folder that the worker no longer has."""
        self._check(claim)
        for name in names:
            self._inside(claim, name).unlink(missing_ok=True)

    def publish(self, claim: Claim, result: dict[str, Any]) -> None:
        self._check(claim)
        self._files.publish(claim, result)

    def left(self, claim: Claim) -> None:
        self._files.leave(claim)

    def clear(self, claim: Claim) -> None:
        if self._store.job(claim.job.id).state in ENDED:
            self._files.clear(claim)

    def explain(self, claim: Claim, text: str) -> None:
        self._check(claim)
        self._files.explain(claim, text)

    def prove(self, name: str, text: str) -> None:
        """Write a file into the data folder, by which a machine sees whether it shares the folder."""
        path = self._folder.path / "fleet" / Path(name).name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sync(path)

    def proved(self, name: str) -> None:
        (self._folder.path / "fleet" / Path(name).name).unlink(missing_ok=True)

    def _check(self, claim: Claim) -> None:
        """Another worker may have the job by now: nothing is written for one that has lost it."""
        if self._store.heartbeat(claim) == "lost":
            raise OutputError(f"job {claim.job.id} is no longer {claim.worker}'s")

    def _inside(self, claim: Claim, name: str) -> Path:
        path = Path(name)
        if path.is_absolute() or not path.parts or any(part.startswith(".") for part in path.parts):
            raise OutputError(f"{name!r} is no file of a job's folder")
        return self._folder.job(claim.job.id) / path


def _is_passed(path: Path, work: str) -> bool:
    """Whether a file of a job's folder is of use to the next attempt, whose own folder is `work`."""
    first = path.parts[0]
    if any(part.startswith(".") for part in path.parts) or path.name in (DESCRIPTION, RESULT):
        return False
    return first == work or not first.startswith(WORK)
