"""Rows of the store as values, and values as rows."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from wan22.errors import RequestError
from wan22.jobs.job import Event, Input, Job

JOB = (
    "id, kind, state, request, created, priority, seq, parent, meta, started, ended, trashed, worker, attempts, step, "
    "fraction, spent, signal, result, error, "
    "(SELECT json_group_array(needs) FROM (SELECT needs FROM dependency WHERE job = job.id ORDER BY rowid))"
)
INPUT = "id, name, type, bytes, sha256, created, width, height, frames, fps, seconds"


def job_of(row: tuple[Any, ...]) -> Job:
    """A row of `JOB`."""
    (id, kind, state, request, created, priority, seq, parent, meta, started, ended, trashed, worker, attempts, step,
     fraction, spent, signal, result, error, after) = row  # fmt: skip
    return Job(
        id, kind, state, json.loads(request), created, priority, seq, parent,
        () if after == "[]" else tuple(json.loads(after)),
        {} if meta == "{}" else json.loads(meta),
        started, ended, trashed, worker, attempts, step, fraction, spent, signal,
        None if result is None else json.loads(result),
        None if error is None else json.loads(error),
    )  # fmt: skip


def event_of(row: tuple[Any, ...]) -> Event:
    """A row of n, job, at, data."""
    return Event(row[0], row[1], row[2], json.loads(row[3]))


def input_of(row: tuple[Any, ...]) -> Input:
    """A row of `INPUT`."""
    return Input(*row)


def as_json(value: Any, what: str) -> str:
    """The text of a value. Raises RequestError if JSON has none for it."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"{what} cannot be stored as JSON: {error}.") from error


def folded(text: str) -> str:
    """A text as it is searched: one form of each letter, without case."""
    return unicodedata.normalize("NFKC", text).casefold().encode("utf-8", "replace").decode()


def searchable(request: dict[str, Any]) -> str:
    """What a text is looked for in: the prompts of a request."""
    return folded("\n".join(_texts(request.get("prompt"))))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []
