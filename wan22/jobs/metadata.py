"""What people say of jobs: name, rating, boards, note, lock. It is kept in `meta`, and what is searched, in columns."""

from __future__ import annotations

from collections.abc import Mapping
from sqlite3 import Connection
from typing import Any

from wan22.errors import RequestError
from wan22.jobs.database import Database
from wan22.jobs.job import Job
from wan22.jobs.rows import as_json, searchable
from wan22.jobs.transitions import say

SAID = ("name", "rating", "boards", "note", "locked")
"""The entries of `meta` that a client may change."""
MAX_RATING = 5


def index(c: Connection, id: str, meta: Mapping[str, Any]) -> None:
    """Bring what is searched by in line with a job's `meta`: its rating and its boards."""
    c.execute("UPDATE job SET rating = ? WHERE id = ?", (_rating(meta), id))
    c.execute("DELETE FROM board WHERE job = ?", (id,))
    boards = meta.get("boards")
    names = dict.fromkeys(boards if isinstance(boards, list) else ())
    c.executemany("INSERT INTO board (name, job) VALUES (?, ?)", [(name, id) for name in names])


def _rating(meta: Mapping[str, Any]) -> int | None:
    """The rating, 0 to 5; None without one. Raises RequestError for what is none."""
    rating = meta.get("rating")
    if rating is None:
        return None
    if isinstance(rating, bool) or not isinstance(rating, int) or not 0 <= rating <= MAX_RATING:
        raise RequestError(f"rating must be a whole number from 0 to {MAX_RATING}, not {rating!r}")
    return rating


def change(c: Connection, job: Job, changes: Mapping[str, Any]) -> None:
    """Change entries of a job's `meta`; None removes one. Those who listen are told their names."""
    meta = {name: value for name, value in (job.meta | dict(changes)).items() if value is not None}
    if meta == job.meta:
        return
    c.execute(
        "UPDATE job SET meta = ?, search = ? WHERE id = ?",
        (as_json(meta, "meta"), searchable(job.request, meta), job.id),
    )
    index(c, job.id, meta)
    changed = [name for name in changes if meta.get(name) != job.meta.get(name)]
    say(c, job.id, {"type": "meta", "changed": changed})


def boards(database: Database) -> list[tuple[str, int]]:
    """The boards and how many jobs each has, without the trash."""
    rows = database.read(
        """SELECT board.name, count(*) FROM board JOIN job ON job.id = board.job WHERE job.trashed IS NULL
           GROUP BY board.name ORDER BY board.name"""
    )
    return [(name, count) for name, count in rows]
