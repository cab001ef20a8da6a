"""The data folder of a server: where things lie, and the names of jobs and inputs.

    DATA/jobs.sqlite          the store
    DATA/lock                 held by the one server that uses the folder
    DATA/token                the server's token, for its owner alone
    DATA/inputs/INPUT         an upload that was checked
    DATA/jobs/JOB/            everything of one job: job.json, result files, previews, journal/
    DATA/derived/ID/          what was made of an input's or a job's file for people: peaks, small images
    DATA/orphans/             folders of jobs that the store does not know; nothing here is ever deleted

No name in it comes from a client.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from wan22.atomic import put, swept, temporary_file, write_text
from wan22.errors import OutputError
from wan22.jobs.job import Job, StoreError, checked, is_id
from wan22.jobs.store import Store

DESCRIPTION, RESULT = "job.json", "result.json"
"""What a job's folder says of it: what was asked, and how it ended. `rebuild` reads them."""

TOKEN = 32  # the least characters of a token


class Folder:
    """A data folder. It is made if it is not there; raises OutputError if it cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.path / "jobs", self.path / "inputs"):
                folder.mkdir(mode=0o700, exist_ok=True)  # what people asked for is nobody else's business
        except OSError as error:
            raise OutputError(f"the data folder {self.path} cannot be made: {error.strerror}.") from error

    @property
    def database(self) -> Path:
        return self.path / "jobs.sqlite"

    @property
    def previews(self) -> Path:
        return self.path / "previews.json"

    def job(self, id: str) -> Path:
        """The folder of a job; it need not be there yet."""
        return self._inside("jobs", id, "job")

    def input(self, id: str) -> Path:
        """The file of an input."""
        return self._inside("inputs", id, "in")

    def derived(self, id: str) -> Path:
        """The folder of what was made of a file of a job or an input, to be made again where it is missing."""
        return self.path / "derived" / checked(id, "in" if id.startswith("in_") else "job")

    def forget_input(self, id: str) -> None:
        """Delete the file of an input that the store has forgotten, and what was made of it."""
        self.input(id).unlink(missing_ok=True)
        shutil.rmtree(self.derived(id), ignore_errors=True)

    def journal(self, id: str) -> Path:
        """The folder of what was already computed of a job."""
        return self.job(id) / "journal"

    def _inside(self, part: str, id: str, kind: str) -> Path:
        return self.path / part / checked(id, kind)

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold the folder: one server uses it. It is free again when the process is gone, however it ended.

        Raises StoreError if another has it.
        """
        lock = FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise StoreError(
                f"another server uses {self.path}. Stop it, or choose another folder.", code="in_use"
            ) from None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be locked: {error.strerror}.", code="read_only") from error
        try:
            yield
        finally:
            lock.release()

    def token(self) -> str:
        """The server's token: 256 bits, made once, in a file that only its owner can read."""
        path = self.path / "token"
        if not path.exists():
            with temporary_file(path) as part, suppress(FileExistsError):  # another process was quicker
                with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                    file.write(secrets.token_urlsafe(32) + "\n")
                put(part, path, replace=False)
        try:
            path.chmod(0o600)
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"{path} cannot be read: {error}. Delete it for a new token.") from error
        if len(token) < TOKEN:
            raise OutputError(
                f"{path} has a token of {len(token)} characters; {TOKEN} is the least. Delete it for a new one."
            )
        return token

    def describe(self, job: Job) -> None:
        """Write into the job's folder what was asked, so that the store can be made anew from the folders."""
        write_text(self.job(job.id) / DESCRIPTION, json.dumps(asdict(job), indent=1) + "\n")

    def remove(self, ids: Iterable[str]) -> None:
        """Delete the folders of jobs that were purged."""
        for id in ids:
            shutil.rmtree(self.job(id), ignore_errors=True)
            shutil.rmtree(self.derived(id), ignore_errors=True)

    def open_store(self, *, check: bool = True) -> Store:
        """Open the folder's store, or make it in a new folder. Raises StoreError, also where a store is missing."""
        there = self.database.exists() and self.database.stat().st_size
        if not there and any((self.path / "jobs").iterdir()):
            raise StoreError(
                f"{self.database} is missing or empty, and there are folders of jobs. Put a backup in its "
                f"place, or run `python -m wan22.jobs.rebuild {self.path}`, which makes it from the folders.",
                code="missing",
            )
        return Store(self.database, check=check)

    def sweep(self, store: Store) -> list[Path]:
        """Clear what killed processes left: half-written files go, what has no row in the store moves to `orphans`.

        For the start, before there are workers. Returns the new places of what was moved.
        """
        moved = []
        swept(self.path)
        for part, kind, known in (("jobs", "job", store.ids()), ("inputs", "in", store.input_ids())):
            swept(self.path / part)
            for entry in sorted((self.path / part).iterdir()):
                if entry.name in known:
                    for folder in (entry, entry / "journal"):
                        swept(folder)
                elif is_id(entry.name, kind):
                    moved.append(self._set_aside(entry))
        known = store.ids() | store.input_ids()
        for entry in self._derived():
            if entry.name not in known:
                shutil.rmtree(entry, ignore_errors=True)
        return moved

    def _derived(self) -> list[Path]:
        folder = self.path / "derived"
        return list(folder.iterdir()) if folder.is_dir() else []

    def _set_aside(self, entry: Path) -> Path:
        target = self.path / "orphans" / entry.name
        if target.exists():
            target = target.with_name(f"{entry.name}.{secrets.token_hex(4)}")
        target.parent.mkdir(exist_ok=True)
        return entry.rename(target)

    def check_space(self, bytes: int) -> None:
        """Raise OutputError unless the disk has room for so many bytes."""
        free = shutil.disk_usage(self.path).free
        if free < bytes:
            raise OutputError(
                f"the disk of {self.path} has {free / 1e6:.0f} MB free; {bytes / 1e6:.0f} MB are needed. Make room, "
                "or choose another folder."
            )
