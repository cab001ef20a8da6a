"""Make a store anew from what is left: `python -m wan22.jobs.rebuild FOLDER`.

Rows that can still be read in the damaged file are taken first; then jobs that only their folders tell of (job.json,
result.json), and uploads. The damaged file is kept under another name. What was queued and never begun has no folder:
it is lost if the file cannot be read at all, and there is no backup. No server may run meanwhile.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from wan22.atomic import put, sync, temporary_folder
from wan22.errors import MediaError, Wan22Error
from wan22.jobs import metadata, schema
from wan22.jobs.database import Database
from wan22.jobs.documents import DOCUMENT_KINDS
from wan22.jobs.folder import DESCRIPTION, RESULT, Folder
from wan22.jobs.job import ENDED, KINDS, STATES, Job, StoreError, is_id
from wan22.jobs.rows import as_json, searchable
from wan22.jobs.transitions import change
from wan22.media.file_types import AUDIO, IMAGES, audio_file_type, file_type

_TABLES = ("job", "dependency", "board", "event", "input", "document", "total")
_JSON = ("request", "meta", "result", "error", "data")
_CONTAINERS = {
    "mov": "video/mp4",
    "matroska": "video/x-matroska",
    "avi": "video/x-msvideo",
    "mp3": "audio/mpeg",
}


@dataclass(frozen=True)
class Rebuilt:
    """What came of it. kept: the damaged file, if there was one. rows: jobs that it still had. folders: jobs that only
    their folders told of; those that were not complete are paused. inputs: uploads, likewise. unknown: folders without
    a readable job.json, which stay where they are until the next start moves them to `orphans`.
    """

    kept: Path | None
    rows: int
    folders: int
    inputs: int
    unknown: int


def rebuild(folder: Folder) -> Rebuilt:
    """Make the folder's store from what is left of it. It may be run again at any time; nothing is deleted.

    Raises StoreError if a server uses the folder, or the new file cannot be written.
    """
    with folder.lock(), temporary_folder(folder.database) as scratch:
        new = scratch / "new.sqlite"
        with _closing(Database(new)) as database, database.write() as c:
            rows = _salvage(c, folder.database, scratch)
            folders, unknown = _from_folders(c, folder)
            inputs = _inputs(c, folder)
            _number_events(c)
            _tie(c)
        with closing(sqlite3.connect(new)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, which can be renamed
        kept = _keep(folder.database)
        for path in _files(folder.database)[1:]:
            path.unlink(missing_ok=True)
        put(new, folder.database)
        return Rebuilt(kept, rows, folders, inputs, unknown)


@contextmanager
def _closing(database: Database) -> Generator[Database]:
    try:
        yield database
    finally:
        database.close()


def _number_events(c: sqlite3.Connection) -> None:
    """Number new events beyond all former ones, so that a client that asks for those after its last gets them."""
    c.execute("DELETE FROM sqlite_sequence WHERE name = 'event'")
    c.execute("INSERT INTO sqlite_sequence VALUES ('event', ?)", (int(time.time()),))


def _tie(c: sqlite3.Connection) -> None:
    """Drop what points to rows that are lost, and bring groups into the states of their children."""
    c.execute("UPDATE job SET parent = NULL WHERE parent NOT IN (SELECT id FROM job)")
    c.execute(
        "DELETE FROM dependency WHERE job NOT IN (SELECT id FROM job) OR needs NOT IN (SELECT id FROM job)"
    )
    c.execute("DELETE FROM board WHERE job NOT IN (SELECT id FROM job)")
    groups = [row[0] for row in c.execute("SELECT id FROM job WHERE kind = 'group'")]
    change(c, [], groups=groups)


def _files(database: Path) -> list[Path]:
    """A database's file, and those that belong to it."""
    return [database, *(database.with_name(database.name + end) for end in ("-wal", "-shm"))]


def _keep(database: Path) -> Path | None:
    """Copy the files aside; the copy's place."""
    if not database.exists():
        return None
    kept = database.with_name(
        f"{database.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000:03}"
    )
    for path, target in zip(_files(database), _files(kept), strict=True):
        if path.exists():
            shutil.copyfile(path, target)
            sync(target)
    sync(kept.parent)
    return kept


def _salvage(c: sqlite3.Connection, database: Path, scratch: Path) -> int:
    """Take over what a damaged file still has; how many jobs."""
    for path, target in zip(_files(database), _files(scratch / "old.sqlite"), strict=True):
        if path.exists():
            shutil.copyfile(path, target)
    with closing(sqlite3.connect(scratch / "old.sqlite", isolation_level=None)) as old:
        old.text_factory = lambda data: data.decode("utf-8", "replace")
        with suppress(sqlite3.Error):
            old.execute("BEGIN")
            schema.migrate(old)  # an older file: it is a copy
        for table in _TABLES:
            known = [row[1] for row in c.execute(f"PRAGMA table_info({table})")]
            for row in _rows(old, table):
                values = {name: row[name] for name in known if name in row}
                if _is_sound(table, values):
                    names, marks = ", ".join(values), ", ".join("?" * len(values))
                    with suppress(sqlite3.Error):  # a row that damage has made impossible
                        c.execute(
                            f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})",
                            tuple(values.values()),
                        )
    return c.execute("SELECT count(*) FROM job").fetchone()[0]


def _rows(old: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table from its start to the first damage, and from its end back to the last."""
    for order in ("", " DESC"):
        with suppress(sqlite3.Error):
            place = "name" if table == "total" else "rowid"
            cursor = old.execute(f"SELECT * FROM {table} ORDER BY {place}{order}")
            names = [each[0] for each in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))


def _is_sound(table: str, values: dict[str, Any]) -> bool:
    """Whether a row can be one of ours."""
    try:
        for name in _JSON:
            if values.get(name) is not None:
                json.loads(values[name])
        if table == "job":
            return is_id(values["id"], "job") and values["state"] in STATES and values["kind"] in KINDS
        if table == "document":
            return is_id(values["id"], "doc") and values["kind"] in DOCUMENT_KINDS
        return table != "input" or is_id(values["id"], "in")
    except (KeyError, TypeError, ValueError):
        return False


def _from_folders(c: sqlite3.Connection, folder: Folder) -> tuple[int, int]:
    """Add the jobs that only their folders tell of, in their order; how many, and how many folders say nothing."""
    known = {row[0] for row in c.execute("SELECT id FROM job")}
    found, unknown = [], 0
    for place in (folder.path / "jobs").iterdir():
        if not is_id(place.name, "job") or place.name in known:
            continue
        try:
            found.append(_described(place))
        except (OSError, TypeError, ValueError, KeyError):
            unknown += 1
    known |= {job.id for job in found}
    for job in sorted(found, key=lambda job: job.created):
        _insert(c, job, known)
    return len(found), unknown


def _described(place: Path) -> Job:
    """The job that a folder tells of: complete if its result is there, as it ended, or paused."""
    said = json.loads((place / DESCRIPTION).read_text(encoding="utf-8"))
    job = Job(**{each.name: said[each.name] for each in fields(Job) if each.name in said})
    if job.id != place.name or job.kind not in KINDS or job.state not in STATES:
        raise ValueError("not this folder's")
    result = job.result
    with suppress(OSError, ValueError):
        result = json.loads((place / RESULT).read_text(encoding="utf-8"))
    state = "completed" if result is not None else job.state if job.state in ENDED else "paused"
    changes = {
        "result": result,
        "state": state,
        "ended": job.ended or (job.created if state in ENDED else None),
    }
    return Job(**{each.name: getattr(job, each.name) for each in fields(Job)} | changes)


def _insert(c: sqlite3.Connection, job: Job, known: set[str]) -> None:
    model = job.request.get("model")
    values = {
        "id": job.id, "kind": job.kind, "state": job.state, "request": as_json(job.request, "it"),
        "meta": as_json(job.meta, "it"), "model": model if isinstance(model, str) else None,
        "search": searchable(job.request, job.meta), "created": job.created, "started": job.started, "ended": job.ended,
        "trashed": job.trashed, "priority": job.priority, "seq": job.seq,
        "parent": job.parent if job.parent in known else None, "step": job.step, "fraction": job.fraction,
        "spent": job.spent, "result": None if job.result is None else as_json(job.result, "it"),
        "error": None if job.error is None else as_json(job.error, "it"),
    }  # fmt: skip
    c.execute(
        f"INSERT INTO job ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
        tuple(values.values()),
    )
    needs = [(job.id, each) for each in job.after if each in known]
    c.executemany("INSERT INTO dependency (job, needs) VALUES (?, ?)", needs)
    metadata.index(c, job.id, job.meta)


def _inputs(c: sqlite3.Connection, folder: Folder) -> int:
    """Add the uploads whose rows are lost; their names are, too."""
    known = {row[0] for row in c.execute("SELECT id FROM input")}
    found = [
        path
        for path in (folder.path / "inputs").iterdir()
        if is_id(path.name, "in") and path.name not in known
    ]
    for path in sorted(found, key=lambda path: path.stat().st_mtime):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size, created = path.stat().st_size, path.stat().st_mtime
        c.execute(
            "INSERT INTO input (id, name, type, bytes, sha256, created) VALUES (?, ?, ?, ?, ?, ?)",
            (path.name, path.name, _media_type(path), size, digest, created),
        )
    return len(found)


def _media_type(path: Path) -> str:
    for tell in (file_type, audio_file_type):
        with suppress(MediaError):
            kind = tell(path)
            part = "image" if kind in IMAGES else "audio" if kind in AUDIO else "video"
            return _CONTAINERS.get(kind, f"{part}/{kind}")
    return "application/octet-stream"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m wan22.jobs.rebuild", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("folder", type=Path, help="the data folder of a server that is stopped")
    path = parser.parse_args(words).folder
    try:
        if not path.is_dir():
            raise StoreError(f"there is no folder {path}", code="missing")
        made = rebuild(Folder(path))
    except Wan22Error as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    said = f"{made.rows} jobs from the store, {made.folders} from folders, {made.inputs} uploads from files"
    print(said + (f"; the former store is {made.kept}" if made.kept else ""))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
