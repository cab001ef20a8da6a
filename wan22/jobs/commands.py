"""What people do to jobs: cancel, pause, resume, retry, trash, restore, purge, move.

Functions on an open transaction. Each raises NotFoundError, and StateError that says what works instead.
"""

from __future__ import annotations

import time
from sqlite3 import Connection

from wan22.jobs import line
from wan22.jobs import transitions as to
from wan22.jobs.adding import check_priority
from wan22.jobs.job import ENDED, Job, NotFoundError, Signal, State, StateError, checked
from wan22.jobs.rows import JOB, job_of, jobs_of

_WORKS: dict[State, str] = {
    "queued": "cancel, pause, move or trash it",
    "running": "cancel, pause or trash it",
    "paused": "resume, cancel, move or trash it",
    "completed": "trash it",
    "failed": "retry or trash it",
    "cancelled": "retry or trash it",
}


def job(c: Connection, id: str) -> Job:
    row = c.execute(f"SELECT {JOB} FROM job WHERE id = ?", (checked(id, "job"),)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no job {id}")
    return job_of(row)


def cancel(c: Connection, id: str) -> None:
    what = job(c, id)
    if what.state in ("completed", "failed"):
        raise _impossible(what, "cancel")
    _cancel(c, what)


def _cancel(c: Connection, what: Job) -> None:
    family = [each for each in _family(c, what) if each.state not in ENDED]
    running = [each for each in family if each.state == "running"]
    to.change(c, [(each.id, "cancelled", None) for each in family if each.state != "running"])
    if what.kind == "group" and running:
        running.insert(0, what)
    for each in running:
        if each.signal != "cancel":
            _signal(c, each.id, "cancel")


def pause(c: Connection, id: str) -> None:
    what = job(c, id)
    if what.state in ENDED or what.signal == "cancel":
        raise _impossible(what, "pause")
    family = _family(c, what)
    to.change(c, [(each.id, "paused", None) for each in family if each.state == "queued"])
    for each in family:
        if each.state == "running" and each.signal == "run":
            _signal(c, each.id, "pause")


def resume(c: Connection, id: str) -> None:
    what = job(c, id)
    if what.state in ENDED or what.signal == "cancel":
        raise _impossible(what, "resume")
    family = _family(c, what)
    to.change(c, [(each.id, "queued", None) for each in family if each.state == "paused"])
    for each in family:
        if each.state == "running" and each.signal == "pause":
            _signal(c, each.id, "run")


def retry(c: Connection, id: str) -> None:
    what = job(c, id)
    if what.state not in ("failed", "cancelled") or what.trashed is not None:
        raise _impossible(what, "retry")
    family = [each for each in _family(c, what) if each.trashed is None]
    again = [each.id for each in family if each.state in ("failed", "cancelled")]
    for each in again:
        c.execute("UPDATE job SET attempts = 0, step = 0, fraction = 0, started = NULL WHERE id = ?", (each,))
    to.change(c, [(each, "queued", None) for each in again])
    for each in again:
        for needed, state in to.unmet_needs(c, each):
            raise StateError(f"job {each} needs {needed}, which is {state}: retry that one.")
    to.revive(c, again)


def trash(c: Connection, id: str) -> None:
    what = job(c, id)
    if what.state not in ENDED:
        _cancel(c, what)
    _mark(c, [each for each in _all(c, what) if each.trashed is None], time.time())


def restore(c: Connection, id: str) -> None:
    what = job(c, id)
    if what.parent is not None and job(c, what.parent).trashed is not None:
        raise StateError(f"job {id} is a part of {what.parent}, which is in the trash: restore that one.")
    _mark(c, [each for each in _all(c, what) if each.trashed is not None], None)


def _mark(c: Connection, jobs: list[Job], trashed: float | None) -> None:
    for each in jobs:
        c.execute("UPDATE job SET trashed = ? WHERE id = ?", (trashed, each.id))
        to.say(c, each.id, {"type": "restored" if trashed is None else "trashed"})
    for each in jobs:
        to.change(c, [], groups=[each.parent] if each.parent is not None else [])


def purge(c: Connection, id: str) -> list[str]:
    """Forget a job and its children; return their ids."""
    what = job(c, id)
    gone = _all(c, what)
    ids = [each.id for each in gone]
    for each in gone:
        if each.trashed is None:
            raise StateError(f"cannot purge job {each.id}: it is not in the trash. You can trash it.")
        if each.state not in ENDED:
            raise StateError(
                f"cannot purge job {each.id}: its worker has not yet ended it. Try again in a moment."
            )
    for each in ids:
        for other in to.waiting_for(c, each):
            if other not in ids:
                raise StateError(f"job {other} waits and needs {each}: cancel that one first.")
    for each in ids:
        c.execute("DELETE FROM event WHERE job = ?", (each,))
        c.execute("DELETE FROM dependency WHERE job = ? OR needs = ?", (each, each))
        c.execute("DELETE FROM board WHERE job = ?", (each,))
        c.execute("DELETE FROM job WHERE id = ?", (each,))
        to.say(c, each, {"type": "purged"})
    if what.parent is not None:
        to.change(c, [], groups=[what.parent])
    return ids


def move(c: Connection, id: str, before: str | None, first: bool) -> None:
    ids = line.waiting(c, job(c, id).id)
    target = None if before is None else line.waiting(c, job(c, before).id)[0]
    if target not in ids:
        line.place(c, ids, before=target, first=first)
        for each in ids:
            to.say(c, each, {"type": "moved"})


def prioritise(c: Connection, id: str, priority: int) -> None:
    check_priority(priority)
    ids = line.waiting(c, job(c, id).id)
    for each in dict.fromkeys([*ids, id]):
        c.execute("UPDATE job SET priority = ?, passed = NULL WHERE id = ?", (priority, each))
        to.say(c, each, {"type": "moved"})


def _all(c: Connection, what: Job) -> list[Job]:
    """A job and all that is below it; itself last."""
    found, todo = [what], [what.id]
    while todo:
        rows = c.execute(f"SELECT {JOB} FROM job WHERE parent = ? ORDER BY n", (todo.pop(),)).fetchall()
        found += jobs_of(rows)
        todo += [row[0] for row in rows]
    return found[::-1]


def _family(c: Connection, what: Job) -> list[Job]:
    """As `_all`, without groups that have children: their state follows from these."""
    found = _all(c, what)
    parents = {each.parent for each in found}
    return [each for each in found if each.kind != "group" or each.id not in parents]


def _signal(c: Connection, id: str, signal: Signal) -> None:
    c.execute("UPDATE job SET signal = ? WHERE id = ?", (signal, id))
    to.say(c, id, {"type": "signal", "signal": signal})


def _impossible(what: Job, command: str) -> StateError:
    """The error for what a job cannot do: its state, and what works."""
    if what.trashed is not None:
        return StateError(f"cannot {command} job {what.id}: it is in the trash. You can restore or purge it.")
    state = "about to be cancelled" if what.signal == "cancel" else what.state
    return StateError(f"cannot {command} job {what.id}: it is {state}. You can {_WORKS[what.state]}.")
