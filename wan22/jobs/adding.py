"""New jobs as rows: what is checked of them, their place in the queue, and the keys that keep one from coming twice."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from sqlite3 import Connection
from typing import Any

from wan22.errors import RequestError, choose
from wan22.jobs import metadata, references
from wan22.jobs.job import (
    ENDED,
    KINDS,
    Child,
    KeyConflictError,
    NotFoundError,
    State,
    StateError,
    is_id,
    new_id,
)
from wan22.jobs.rows import as_json, searchable
from wan22.jobs.transitions import change, say

GAP = 1 << 20  # between the places of two jobs that were added one after the other
MAX_PRIORITY = 1_000_000


@dataclass(frozen=True)
class Key:
    """An idempotency key, and the hash of the body that came with it."""

    text: str
    body: str

    @classmethod
    def of(cls, text: str | None, body: object) -> Key | None:
        """The key, if one was given; `body` is whatever tells one request from another."""
        if text is None:
            return None
        content = body if isinstance(body, str) else as_json(body, "the request")
        return cls(
            text.encode("utf-8", "replace").decode(),
            hashlib.sha256(content.encode("utf-8", "replace")).hexdigest(),
        )


@dataclass(frozen=True)
class New:
    """A job that is about to be added."""

    kind: str
    request: dict[str, Any]
    priority: int = 0
    parent: str | None = None
    after: tuple[str, ...] = ()
    state: State = "queued"
    meta: dict[str, Any] = field(default_factory=dict)
    more: bool = False
    """It may be one more of a group that has ended."""

    def body(self) -> list[Any]:
        """What tells this job from another that came with the same key."""
        return [self.kind, self.request, self.priority, self.parent, self.after]


def check_priority(priority: int) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
        raise RequestError(
            f"priority {priority!r} must be a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}"
        )
    return priority


def add(c: Connection, new: New, children: Sequence[Child] = (), *, key: Key | None = None) -> str:
    """Insert a job and its children; return the id, or that of the job that came with the same key."""
    found = None if key is None else _by_key(c, key)
    if found is not None:
        return found
    id = _insert(c, new, key)
    _insert_children(c, replace(new, parent=id), children)
    change(c, [], groups=[id] if new.parent is None else [id, new.parent])
    return id


def add_children(c: Connection, group: str, children: Sequence[Child], *, key: Key | None = None) -> None:
    """Add jobs to a group, also to one that has ended, which goes on then; nothing, if the key was used for them.

    Raises StateError for what is no group, or in the trash.
    """
    if key is not None and _by_key(c, key) is not None:
        return
    kind, state, _, trashed = _look(c, group, "the group")
    if kind != "group" or trashed is not None:
        what = "in the trash: restore it first" if kind == "group" else f"of kind {kind}, not a group"
        raise StateError(f"job {group} is {what}")
    priority = c.execute("SELECT priority FROM job WHERE id = ?", (group,)).fetchone()[0]
    _insert_children(
        c, New("group", {}, priority, group, state="paused" if state == "paused" else "queued"), children, key
    )
    change(c, [], groups=[group])


def _insert_children(c: Connection, of: New, children: Sequence[Child], key: Key | None = None) -> None:
    """Insert jobs of a group, with its priority and state; the first has the key."""
    ids: list[str] = []
    for each in children:
        if any(not 0 <= place < len(ids) for place in each.after):
            raise RequestError(f"job {len(ids)} of a group can come only after jobs before it in the list")
        after = tuple(ids[place] for place in each.after)
        request = references.named(each.request, ids)
        child = New(each.kind, request, of.priority, of.parent, after, of.state, each.meta, more=True)
        ids.append(_insert(c, child, None if ids else key))


def _by_key(c: Connection, key: Key) -> str | None:
    row = c.execute("SELECT id, body FROM job WHERE key = ?", (key.text,)).fetchone()
    if row is None:
        return None
    if row[1] != key.body:
        raise KeyConflictError(
            f"the key {key.text!r} was used for another request, job {row[0]}. Use a new key."
        )
    return row[0]


def _insert(c: Connection, new: New, key: Key | None = None) -> str:
    choose("kind", new.kind, KINDS)
    if new.state not in ("queued", "paused"):
        raise RequestError(f"a new job is queued or paused, not {new.state!r}")
    needed = [said.job for _, said in references.of_request(new.request)]
    state, after = new.state, list(dict.fromkeys([*new.after, *needed]))
    if new.parent is not None:
        parent_state, inherited = _check_parent(c, new)
        state = "paused" if parent_state == "paused" else state
        after += [each for each in inherited if each not in after]
    for each in after:
        _check_needed(c, each)
    id = new_id("job")
    model = new.request.get("model")
    c.execute(
        """INSERT INTO job (id, kind, state, request, meta, model, search, created, priority, seq, parent, key, body)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(seq), 0) + ? FROM job), ?, ?, ?)""",
        (
            id, new.kind, state, as_json(new.request, "the request"), as_json(new.meta, "meta"),
            model if isinstance(model, str) else None, searchable(new.request, new.meta), time.time(),
            check_priority(new.priority), GAP, new.parent, key and key.text, key and key.body,
        ),
    )  # fmt: skip
    c.executemany("INSERT INTO dependency (job, needs) VALUES (?, ?)", [(id, each) for each in after])
    if new.meta:
        metadata.index(c, id, new.meta)
    say(c, id, {"type": "state", "state": state})
    return id


def _look(c: Connection, id: str, what: str) -> tuple[str, State, str | None, float | None]:
    """Kind, state, parent and when it was trashed, of a job that a new one names."""
    row = None
    if is_id(id, "job"):
        row = c.execute("SELECT kind, state, parent, trashed FROM job WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no job {id!r}, which was given as {what}")
    return row


def _check_parent(c: Connection, new: New) -> tuple[State, list[str]]:
    """The state of the parent, and what it waits for itself."""
    kind, state, parent, _ = _look(c, str(new.parent), "parent")
    if (state in ENDED and not (new.more and kind == "group")) or (state == "running" and kind != "group"):
        raise StateError(f"job {new.parent} is {state}: it can get no more children. Add a new group.")
    above = [new.parent]
    while parent is not None:
        above.append(parent)
        parent = _look(c, parent, "parent")[2]
    if set(above) & set(new.after):
        raise RequestError("a job cannot come after the group or job that it is a part of")
    if kind != "group":
        return state, []
    return state, [
        row[0]
        for row in c.execute("SELECT needs FROM dependency WHERE job = ? ORDER BY rowid", (new.parent,))
    ]


def _check_needed(c: Connection, id: str) -> None:
    _, state, _, trashed = _look(c, id, "one that must be complete before")
    if state in ("failed", "cancelled"):
        raise StateError(f"job {id} is {state}: nothing can come after it. Retry it first.")
    if trashed is not None:
        raise StateError(f"job {id} is in the trash: nothing can come after it. Restore it first.")
