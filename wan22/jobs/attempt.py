"""The files of one attempt at a job: its folder made ready, what it made put in place, and the rest cleared away."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from wan22.atomic import put, swept, write_text
from wan22.errors import OutputError, Wan22Error
from wan22.jobs.folder import RESULT, Folder
from wan22.jobs.given import GIVEN, bring
from wan22.jobs.job import Claim
from wan22.jobs.store import Store

WORK = "work-"
"""Before the token, in the name of the folder of an attempt."""

ERROR = "error.txt"


class JobFiles(Protocol):
    """The files of jobs as a worker sees them: here in the data folder, or there through a coordinator.

    All raise OutputError for what cannot be written.
    """

    def begin(self, claim: Claim) -> Path:
        """Make an attempt ready; return its folder, with what the attempt before left in its own.

        Raises MediaError if what another job was to make for it is gone.
        """
        ...

    def keep(self, claim: Claim) -> None:
        """Bring to safety what was written since the last time; before an event says that it is there."""
        ...

    def publish(self, claim: Claim, result: dict[str, Any]) -> None:
        """Give the files of a result their names in the job's folder, with what is said of them."""
        ...

    def leave(self, claim: Claim) -> None:
        """The attempt ends before the job does: what it computed stays."""
        ...

    def clear(self, claim: Claim) -> None:
        """Remove what was only needed to make the job, which has ended."""
        ...

    def explain(self, claim: Claim, text: str) -> None:
        """Keep the traceback of a defect where a person finds it."""
        ...


class LocalFiles:
    """The files of jobs in a data folder that this process writes to itself."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def begin(self, claim: Claim) -> Path:
        place = self._folder.job(claim.job.id)
        work = place / f"{WORK}{claim.token}"
        _prepare(place, work)
        self._folder.describe(claim.job)
        bring(self._folder, claim.job)
        return work

    def keep(self, claim: Claim) -> None:
        """It is where it must be."""

    def publish(self, claim: Claim, result: dict[str, Any]) -> None:
        place = self._folder.job(claim.job.id)
        work = place / f"{WORK}{claim.token}"
        try:
            for file in (*result["files"], *result.get("stills", ())):
                part, target = work / file["name"], place / file["name"]
                if part.exists() or not target.exists():  # else it was published, and the answer was lost
                    put(part, target)
            write_text(place / RESULT, json.dumps(result))
        except OSError as error:
            raise OutputError(f"{place} cannot be written: {error.strerror}") from error

    def leave(self, claim: Claim) -> None:
        with suppress(OSError):  # it is not empty
            (self._folder.job(claim.job.id) / f"{WORK}{claim.token}").rmdir()

    def clear(self, claim: Claim) -> None:
        _clear(self._folder.job(claim.job.id))

    def explain(self, claim: Claim, text: str) -> None:
        write_text(self._folder.job(claim.job.id) / ERROR, text)


def _prepare(place: Path, work: Path) -> None:
    """Make the folder of this attempt, with what the one before left: a copy, for that one may still be at it."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        swept(place)
        former = sorted(place.glob(f"{WORK}*"), key=lambda path: path.stat().st_mtime)
        former = [
            path for path in former if path != work
        ]  # it is there if this was begun, and ended half way
        if former:
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(former[-1], work, ignore=shutil.ignore_patterns("*.part", "*.old"))
            for folder in former:
                shutil.rmtree(folder, ignore_errors=True)
        else:
            work.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror}") from error


def _clear(place: Path) -> None:
    """Last goes what `sweep` looks for, if this process dies meanwhile."""
    for folder in (place / "journal", place / GIVEN, *place.glob(f"{WORK}*")):
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Folder, store: Store) -> None:
    """Remove what a worker that died after a job was complete had no time to remove."""
    for path in (folder.path / "jobs").glob(f"*/{WORK}*"):
        try:
            if store.job(path.parent.name).state == "completed":
                _clear(path.parent)
        except Wan22Error:
            continue  # the store does not know it: not ours to remove
