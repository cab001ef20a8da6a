"""How jobs pass from state to state, and what follows for those that depend on them.

Functions on an open transaction: whatever they do is done together, or not at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from sqlite3 import Connection
from typing import Any

from wan22.jobs.job import ENDED, State
from wan22.jobs.rows import as_json
from wan22.jobs.uptime import boot, uptime

OPEN = "('queued', 'running', 'paused')"
"""The states that are not ended, in SQL."""

KEEP_PROGRESS = 3600.0  # seconds for which every event of a job that ended is kept
_THIN = "('progress', 'preview', 'frames')"
_HANDS_OFF = (
    "worker = NULL, token = NULL, boot = NULL, begun = NULL, lease = NULL, term = NULL, signal = 'run'"
)

_NEEDS = """id IN (SELECT job FROM dependency WHERE needs = :id UNION SELECT parent FROM job WHERE id = :id)
    AND kind != 'group'"""
"""A job that cannot begin before job :id is complete. (A plus keeps sqlite from going through all of a state.)"""

MOST_ATTEMPTS = 3  # begins without a new step, after which a job is given up


def poison(most: int) -> dict[str, Any]:
    """The error of a job that ends its workers."""
    return {
        "code": "poison",
        "message": f"Its worker died {most} times without a new step. The server's log says more.",
    }


EXPIRED = """state = 'running' AND kind != 'group'
    AND (boot != :boot OR lease < :now OR lease > :now + term)"""
"""A worker's job whose lease is over: it passed, or is of another start of the machine."""


def say(c: Connection, id: str, data: dict[str, Any]) -> None:
    """Store an event of a job."""
    c.execute(
        "INSERT INTO event (job, at, type, data) VALUES (?, ?, ?, ?)",
        (id, time.time(), data.get("type"), as_json(data, "an event")),
    )


Change = tuple[str, State, dict[str, Any] | None]
"""A job, the state that it comes into, and the error that says why."""


def to_state(c: Connection, id: str, state: State, error: dict[str, Any] | None = None) -> None:
    """Bring a job into a state in which no worker has it, and do what follows from it."""
    change(c, [(id, state, error)])


def change(c: Connection, changes: Iterable[Change], *, groups: Iterable[str] = ()) -> None:
    """Bring jobs into states in which no worker has them; then those that need them, and the groups around them.

    groups: more of which a child has changed.
    """
    todo, groups = list(changes), set(groups)
    while todo or groups:
        for id, state, error in todo:
            _write_state(c, id, state, error)
            groups.update(_parent(c, id))
        failed = [(id, state) for id, state, _ in todo]
        if not todo:
            id = groups.pop()
            new = _regroup(c, id)
            failed = [] if new is None else [(id, new)]
            groups.update([] if new is None else _parent(c, id))
        needing = {each: (id, state) for id, state in failed for each in _needing(c, id, state)}
        todo = [(each, "failed", _unmet(id, state)) for each, (id, state) in needing.items()]
    _thin(c)


def _write_state(c: Connection, id: str, state: State, error: dict[str, Any] | None) -> None:
    _add_time(c, id)
    ended = time.time() if state in ENDED else None
    c.execute(
        f"UPDATE job SET state = ?, ended = ?, error = ?, passed = NULL, thinned = 0, {_HANDS_OFF} WHERE id = ?",
        (state, ended, None if error is None else json.dumps(error), id),
    )
    _say_state(c, id, state, error)


def _say_state(c: Connection, id: str, state: State, error: dict[str, Any] | None) -> None:
    say(c, id, {"type": "state", "state": state} | ({} if error is None else {"error": error}))
    if state in ENDED:
        count(c, state, 1)
    if error is not None and error["code"] == "poison":
        count(c, "poison", 1)


def _unmet(id: str, state: State) -> dict[str, Any]:
    return {"code": "dependency_failed", "message": f"It needs {id}, which is {state}.", "job": id}


def count(c: Connection, name: str, value: float) -> None:
    """Add to a total."""
    c.execute(
        "INSERT INTO total VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        (name, value),
    )


def _add_time(c: Connection, id: str) -> None:
    """Add the time since the claim to what the job took, if that is known."""
    row = c.execute("SELECT begun FROM job WHERE id = ? AND boot = ?", (id, boot())).fetchone()
    spent = 0.0 if row is None or row[0] is None else max(0.0, uptime() - row[0])
    if spent:
        c.execute("UPDATE job SET spent = spent + ? WHERE id = ?", (spent, id))
        count(c, "seconds", spent)


def _parent(c: Connection, id: str) -> list[str]:
    rows = c.execute("SELECT parent FROM job WHERE id = ? AND parent IS NOT NULL", (id,))
    return [row[0] for row in rows]


def waiting_for(c: Connection, id: str) -> list[str]:
    """Jobs, not ended, that need this one: what comes after it, and its parent unless that is a group."""
    rows = c.execute(f"SELECT id FROM job WHERE {_NEEDS} AND +state IN {OPEN} ORDER BY n", {"id": id})
    return [row[0] for row in rows]


def _needing(c: Connection, id: str, state: State) -> list[str]:
    """Jobs that fail because this one ended without being complete."""
    return waiting_for(c, id) if state in ENDED and state != "completed" else []


def _regroup(c: Connection, id: str) -> State | None:
    """Bring a group into the state that follows from its children's; the new state, if it changed."""
    row = c.execute("SELECT state FROM job WHERE id = ? AND kind = 'group'", (id,)).fetchone()
    sql = "SELECT state, count(*) FROM job WHERE parent = ? AND trashed IS NULL GROUP BY state"
    states = dict(
        c.execute(sql, (id,)).fetchall() or c.execute(sql.replace(" AND trashed IS NULL", ""), (id,))
    )
    if row is None or not states:
        return None
    order: tuple[State, ...] = ("running", "queued", "paused", "failed", "cancelled", "completed")
    state = next(each for each in order if each in states)
    refresh_fraction(c, id)
    if state == row[0]:
        return None
    error = None
    if state == "failed":
        error = {"code": "child_failed", "message": f"{states[state]} of {sum(states.values())} jobs failed."}
    c.execute(
        """UPDATE job SET state = :state, error = :error, signal = CASE WHEN :ended IS NULL THEN signal ELSE 'run' END,
           ended = :ended, started = coalesce(started, CASE WHEN :state = 'running' THEN :now END) WHERE id = :id""",
        {"id": id, "state": state, "error": None if error is None else json.dumps(error), "now": time.time(),
         "ended": time.time() if state in ENDED else None},
    )  # fmt: skip
    _say_state(c, id, state, error)
    return state


def refresh_fraction(c: Connection, id: str | None) -> None:
    """Give a group, and the groups around it, the mean fraction of their children."""
    while id is not None:
        c.execute(
            "UPDATE job SET fraction = (SELECT coalesce(avg(fraction), 0) FROM job WHERE parent = :id) "
            "WHERE id = :id AND kind = 'group'",
            {"id": id},
        )
        id = next(iter(_parent(c, id)), None)


def give_back(c: Connection, id: str, most: int) -> None:
    """A job whose worker died: as it was asked to stop, else queued again, or failed if it was begun `most` times."""
    signal, attempts = c.execute("SELECT signal, attempts FROM job WHERE id = ?", (id,)).fetchone()
    if signal == "cancel":
        to_state(c, id, "cancelled")
    elif attempts >= most:
        to_state(c, id, "failed", poison(most))
    else:
        to_state(c, id, "paused" if signal == "pause" else "queued")


def revive(c: Connection, ids: Iterable[str]) -> None:
    """Queue again what failed because these jobs had, or groups that they are in; and so on."""
    todo, groups = list(ids), set[str]()
    while todo or groups:
        if not todo:
            change(c, [], groups=groups)
            todo, groups = list(groups), set()
        id = todo.pop()
        groups.update(_parent(c, id))
        for dependent in _given_up(c, id):
            unmet = unmet_needs(c, dependent)
            if unmet:
                error = json.dumps(_unmet(*unmet[0]))
                c.execute("UPDATE job SET error = ? WHERE id = ?", (error, dependent))
            else:
                _write_state(c, dependent, "queued", None)
                todo.append(dependent)


def _given_up(c: Connection, id: str) -> list[str]:
    """Jobs that need this one, and failed because they could not get what they need."""
    rows = c.execute(
        f"""SELECT id FROM job WHERE {_NEEDS} AND +state = 'failed' AND trashed IS NULL
            AND json_extract(error, '$.code') = 'dependency_failed' ORDER BY n""",
        {"id": id},
    )
    return [row[0] for row in rows]


def unmet_needs(c: Connection, id: str) -> list[tuple[str, State]]:
    """What this job needs, and will not get: jobs that failed or were cancelled."""
    return c.execute(
        """SELECT id, state FROM job WHERE +state IN ('failed', 'cancelled') AND id IN (
               SELECT needs FROM dependency WHERE job = :id
               UNION SELECT child.id FROM job AS child JOIN job AS own ON child.parent = own.id
               WHERE own.id = :id AND own.kind != 'group')""",
        {"id": id},
    ).fetchall()


def _thin(c: Connection) -> None:
    """Drop the progress of jobs that ended a while ago, but for the last of each kind; a few at a time."""
    old = time.time() - KEEP_PROGRESS
    for (id,) in c.execute("SELECT id FROM job WHERE ended < ? AND thinned = 0 LIMIT 5", (old,)).fetchall():
        c.execute(
            f"""DELETE FROM event WHERE job = ? AND type IN {_THIN} AND n NOT IN (
                SELECT max(n) FROM event WHERE job = ? GROUP BY type)""",
            (id, id),
        )
        c.execute("UPDATE job SET thinned = 1 WHERE id = ?", (id,))
