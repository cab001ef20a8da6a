"""Rows of the store as values, and values as rows."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from wan22.errors import RequestError
from wan22.jobs.job import Event, Input, Job

_PLAIN = (
    "id", "kind", "state", "created", "priority", "seq", "parent", "started", "ended", "trashed", "worker", "attempts",
    "step", "fraction", "spent", "signal",
)  # fmt: skip
_JSON = ("request", "meta", "result", "error", "after")
_NEEDS = "SELECT needs FROM dependency WHERE dependency.job = job.id"
_TEXT = {
    "request": "request", "meta": "meta", "result": "coalesce(result, 'null')", "error": "coalesce(error, 'null')",
    "after": f"iif(EXISTS ({_NEEDS}), (SELECT json_group_array(needs) FROM ({_NEEDS} ORDER BY rowid)), '[]')",
}  # fmt: skip
_LONG, _LEFT_OUT = "('render', 'group')", "'$.document', '$.script', '$.shots'"
"""Parts of requests that lists go without: timelines and scripts."""
_REALS = ("started", "ended", "trashed")
_FORMATS = {
    **dict.fromkeys(("id", "kind", "state", "signal"), '"%s"'),
    **dict.fromkeys(("priority", "seq", "attempts", "step"), "%d"),
    **dict.fromkeys(("created", "fraction", "spent"), "%!.17g"),
}
"""How columns are written that are never null, and whose words need no escapes. With 17 digits a number is read back
as it is."""
JOB = f"{', '.join(f'job.{name}' for name in _PLAIN)}, {', '.join(_TEXT[name] for name in _JSON)}"


def _as_text(name: str) -> str:
    """A column's JSON, which may be null. `json_quote` cuts a number to 15 digits."""
    if name in _REALS:
        return f"iif(job.{name} IS NULL, 'null', printf('%!.17g', job.{name}))"
    if name == "request":
        return f"iif(kind IN {_LONG}, json_remove(request, {_LEFT_OUT}), request)"
    return _TEXT.get(name) or f"json_quote(job.{name})"


JOB_TEXT = (
    "printf('{"
    + ",".join(f'"{name}":{_FORMATS.get(name, "%s")}' for name in (*_PLAIN, *_JSON))
    + f"}}', {', '.join(f'job.{name}' if name in _FORMATS else _as_text(name) for name in (*_PLAIN, *_JSON))})"
)
"""A job as JSON, written by the database: for long lists, of which Python would read and write every value. Timelines
and scripts, which requests of renders and storyboards hold, are left out."""
INPUT = "id, name, type, bytes, sha256, created, width, height, frames, fps, seconds"


def job_of(row: tuple[Any, ...]) -> Job:
    """A row of `JOB`."""
    return jobs_of([row])[0]


def jobs_of(rows: list[tuple[Any, ...]]) -> list[Job]:
    """Rows of `JOB`. All their JSON is read in one go, which takes half the time, as does to fill the values in."""
    count, jobs = len(_PLAIN), []
    parts = json.loads("[" + ",".join([f"[{','.join(row[count:])}]" for row in rows]) + "]")
    for row, part in zip(rows, parts, strict=True):
        job = Job.__new__(Job)
        values = job.__dict__
        values.update(zip(_PLAIN, row[:count], strict=True))
        values.update(zip(_JSON, part, strict=True))
        values["after"] = tuple(values["after"])
        jobs.append(job)
    return jobs


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


def searchable(request: dict[str, Any], meta: dict[str, Any]) -> str:
    """What a text is looked for in: the prompts of a request, and the name of the job."""
    return folded("\n".join([*_texts(request.get("prompt")), *_texts(meta.get("name"))]))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []
