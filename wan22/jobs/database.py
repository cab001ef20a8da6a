"""One sqlite file, safe to open from many threads and processes. It knows no job.

Each thread has a connection of its own: WAL, every commit on the disk before it is answered, 30 s of patience with
other writers. What sqlite refuses becomes a StoreError that says what is the matter and what works.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from wan22.atomic import written
from wan22.errors import OutputError
from wan22.jobs import schema
from wan22.jobs.job import StoreError, Trouble

SYNCHRONOUS = "FULL"  # a commit is on the disk when it returns
PATIENCE = 30.0  # seconds that a connection waits for another's transaction
_MAGIC = b"SQLite format 3\0"

_WRITABLE = "it cannot be written. Make the file and its folder writable, or choose another folder"
_TRY_AGAIN = "another process holds it. Try again; if that lasts, end the process that hangs"
_TROUBLES: dict[int, tuple[Trouble, str]] = {
    sqlite3.SQLITE_FULL: ("full", "the disk is full. Make room, then try again: nothing that was stored is lost"),
    sqlite3.SQLITE_READONLY: ("read_only", _WRITABLE),
    sqlite3.SQLITE_PERM: ("read_only", _WRITABLE),
    sqlite3.SQLITE_CANTOPEN: ("unreadable", "it cannot be opened. Its folder must exist, and be readable and writable"),
    sqlite3.SQLITE_BUSY: ("locked", _TRY_AGAIN),
    sqlite3.SQLITE_LOCKED: ("locked", _TRY_AGAIN),
    sqlite3.SQLITE_CORRUPT: ("damaged", "the file is damaged"),
    sqlite3.SQLITE_NOTADB: ("damaged", "the file is damaged, or no database"),
    sqlite3.SQLITE_IOERR: ("unreadable", "the disk refuses to read or write it"),
}  # fmt: skip


def _mend(path: Path) -> str:
    return (
        f"Put a backup in its place, or run `python -m wan22.jobs.rebuild {path.parent}`, "
        "which keeps it under another name"
    )


class Database:
    """A database file: connections by thread, transactions, backup."""

    def __init__(self, path: Path, *, check: bool = True) -> None:
        """Open or make it, and bring it to the newest schema; the file as it was is kept beside it.

        check: look through the whole file for damage.
        Raises StoreError if it is damaged, newer, another program's, cannot be written, or has no room.
        """
        self.path = Path(path)
        self._local = threading.local()
        self._turn = threading.Lock()
        self._held: weakref.WeakSet[_Held] = weakref.WeakSet()
        try:
            with self._translated():
                self._prepare(check)
        except BaseException:
            self.close()
            raise

    def _prepare(self, check: bool) -> None:
        if self.path.is_dir():
            raise StoreError(f"{self.path} is a folder, not a database.", code="not_a_database")
        try:
            with self.path.open("rb") as file:
                start = file.read(len(_MAGIC))
        except FileNotFoundError:
            start = b""
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}.", code="unreadable") from error
        if start and start != _MAGIC:
            raise StoreError(
                f"{self.path} is not a database, or its start is damaged. {_mend(self.path)}.", code="damaged"
            )
        found = self._check_schema() if start else 0
        if check and found:
            said = self.read("PRAGMA quick_check(1)")[0][0]
            if said != "ok":
                raise StoreError(
                    f"{self.path}: the file is damaged ({said}). {_mend(self.path)}.", code="damaged"
                )
        if 0 < found < schema.newest():
            self._keep(found)
        with self.write() as transaction:  # also says at once if nothing can be written
            if schema.version(transaction) < schema.newest():
                schema.migrate(transaction)

    def _check_schema(self) -> int:
        """The schema of the file. Raises StoreError if it is not ours to write, before anything is written."""
        with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as connection:
            connection.execute(
                "BEGIN"
            )  # all that is read is of one moment: another process may be making the tables
            found = schema.version(connection)
            program = connection.execute("PRAGMA application_id").fetchone()[0]
            empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if program != schema.APPLICATION and not (empty and not program and not found):
            raise StoreError(
                f"{self.path} is another program's database. Choose another folder.", code="foreign"
            )
        if found > schema.newest():
            raise StoreError(
                f"{self.path} was made by a newer version of wan22 (schema {found}; this one knows "
                f"{schema.newest()}). Update wan22, or choose another folder.",
                code="newer",
            )
        return found

    def _keep(self, number: int) -> None:
        kept = self.path.with_name(f"{self.path.name}.schema{number}")
        try:
            self.backup(kept)
        except StoreError:
            if not kept.exists():  # else another process was quicker, or the last try ended after it
                raise

    @property
    def _connection(self) -> sqlite3.Connection:
        held = getattr(self._local, "held", None)
        if held is None or held.process != os.getpid():
            held = _Held(_connect(self.path))
            self._local.held = held
            self._held.add(held)
        return held.connection

    def read(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one query. Raises StoreError."""
        with self._translated():
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """One transaction, on the disk when it ends; undone if something is raised in it. Raises StoreError.

        The threads of a process take turns by a lock: sqlite lets those that wait sleep for ever longer, and wake in
        any order, so that of many some would wait for long.
        """
        with self._translated(), self._in_turn():
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _in_turn(self) -> Generator[None]:
        if not self._turn.acquire(timeout=PATIENCE):
            raise StoreError(f"{self.path}: {_TRY_AGAIN}.", code="locked")
        try:
            yield
        finally:
            self._turn.release()

    @property
    def version(self) -> int:
        """A number that rises whenever something was written, by whomever. It is this thread's: compare within one."""
        with self._translated():
            connection = self._connection
            return int(connection.execute("PRAGMA data_version").fetchone()[0]) + connection.total_changes

    def backup(self, target: Path) -> None:
        """Copy the database as it is now, while others write. Raises StoreError, also if `target` is there."""
        try:
            with (
                written(target, replace=False) as part,
                self._translated(),
                closing(sqlite3.connect(part)) as copy,
            ):
                self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, without companions
        except OutputError as error:
            raise StoreError(str(error), code="output") from error

    def close(self) -> None:
        """Close the connections of all threads."""
        for held in list(self._held):
            held.close()
        self._local = threading.local()

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _trouble(self.path, error) from error


class _Held:
    """A thread's connection. It is closed when its thread is gone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.process = os.getpid()
        self.connection = connection

    def close(self) -> None:
        if self.process == os.getpid():  # a connection of the parent's is not ours to close
            self.connection.close()

    __del__ = close


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        _configure(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
    until = time.monotonic() + PATIENCE
    while True:
        try:  # sqlite does not wait by itself when two processes change the mode of a new file at once
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise StoreError(
            f"{path} lies on a file system without shared memory (a network's?), on which a database is not safe. "
            "Choose a folder on a disk of this machine.",
            code="no_wal",
        )


def _trouble(path: Path, error: sqlite3.Error) -> StoreError:
    number = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    code, text = _TROUBLES.get(number, ("unreadable", f"the database refuses: {error}"))
    mend = f". {_mend(path)}" if code == "damaged" else ""
    return StoreError(f"{path}: {text}{mend} ({error}).", code=code)
