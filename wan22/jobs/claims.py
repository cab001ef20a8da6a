"""What workers do to jobs: claim, record, complete, fail, release. Functions on an open transaction.

Each write of a worker is held against the token of its claim: when another has the job, nothing is written.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from sqlite3 import Connection
from typing import Any, NamedTuple

from wan22.jobs import commands, line, metadata
from wan22.jobs import transitions as to
from wan22.jobs.job import Claim, Kind, NotFoundError, Signal, State, measured_job
from wan22.jobs.rows import as_json
from wan22.jobs.uptime import boot, uptime

Query = tuple[str, dict[str, Any]]
RENEW = 0.7  # a lease is renewed when less than this part of it is left


class Held(NamedTuple):
    """What a worker's row says."""

    signal: Signal
    lease: float
    term: float
    step: int
    fraction: float
    attempts: int
    parent: str | None


def anything(kinds: Sequence[Kind]) -> Query:
    """Whether there is anything to claim, of these kinds, or to take back."""
    sql = f"SELECT 1 FROM job WHERE ({line.claimable(kinds)}) UNION ALL SELECT 1 FROM job WHERE {to.EXPIRED} LIMIT 1"
    return sql, {"boot": boot(), "now": uptime()}


def held(claim: Claim) -> Query:
    """The row of a claim, if it is still the worker's."""
    sql = f"SELECT {', '.join(Held._fields)} FROM job WHERE id = :id AND token = :token"
    return sql, {"id": claim.job.id, "token": claim.token}


def _held(c: Connection, claim: Claim) -> Held | None:
    row = c.execute(*held(claim)).fetchone()
    return None if row is None else Held(*row)


def claim(
    c: Connection, worker: str, loaded: str | None, lease: float, most: int, kinds: Sequence[Kind],
    may: line.May = line.anyone,
) -> Claim | None:  # fmt: skip
    values = {"boot": boot(), "now": uptime()}
    for (id,) in c.execute(f"SELECT id FROM job WHERE {to.EXPIRED} ORDER BY {line.ORDER}", values).fetchall():
        to.give_back(c, id, most)
    id = line.choose_next(c, loaded, kinds, may)
    if id is None:
        return None
    token = secrets.token_hex(16)
    c.execute(
        """UPDATE job SET state = 'running', worker = ?, token = ?, boot = ?, begun = ?, lease = ?, term = ?,
           attempts = attempts + 1, signal = 'run', passed = NULL, started = coalesce(started, ?) WHERE id = ?""",
        (worker, token, boot(), uptime(), uptime() + lease, lease, time.time(), id),
    )
    to.say(c, id, {"type": "state", "state": "running", "worker": worker})
    taken = commands.job(c, id)
    if taken.parent is not None:
        to.change(c, [], groups=[taken.parent])
    return Claim(taken, worker, token)


def look(rows: list[tuple[Any, ...]]) -> tuple[Signal, bool]:
    """What a worker is to do, and whether its lease is to be renewed, by the rows of `held`."""
    if not rows:
        return "lost", False
    row = Held(*rows[0])
    return row.signal, row.lease - uptime() < RENEW * row.term


def renew(c: Connection, claim: Claim) -> Signal:
    row = _held(c, claim)
    if row is None:
        return "lost"
    c.execute("UPDATE job SET lease = ? WHERE id = ?", (uptime() + row.term, claim.job.id))
    return row.signal


def record(c: Connection, claim: Claim, data: dict[str, Any], step: int | None) -> bool:
    row = _held(c, claim)
    if row is None or row.signal != "run":
        return False
    if "fraction" in data:
        data = data | {"fraction": max(row.fraction, min(1.0, float(data["fraction"])))}
    fraction = data.get("fraction", row.fraction)
    new = step is not None and step > row.step
    c.execute(
        "UPDATE job SET lease = ?, step = ?, fraction = ?, attempts = ? WHERE id = ?",
        (uptime() + row.term, step if new else row.step, fraction, 0 if new else row.attempts, claim.job.id),
    )
    to.say(c, claim.job.id, data)
    if fraction != row.fraction:
        to.refresh_fraction(c, row.parent)
    return True


def complete(c: Connection, claim: Claim, result: dict[str, Any]) -> bool:
    row = _held(c, claim)
    if row is None or row.signal == "cancel":
        return False
    c.execute(
        "UPDATE job SET result = ?, fraction = 1, attempts = 0 WHERE id = ?",
        (as_json(result, "the result"), claim.job.id),
    )
    to.to_state(c, claim.job.id, "completed")
    if claim.job.kind == "measure":
        _keep_measured(c, claim, result)
    return True


def _keep_measured(c: Connection, claim: Claim, result: dict[str, Any]) -> None:
    """Put what was measured into the meta of the job that was, unless it is gone meanwhile."""
    with suppress(NotFoundError):
        metadata.change(c, commands.job(c, measured_job(claim.job)), {"measured": result["measured"]})


def fail(c: Connection, claim: Claim, error: dict[str, Any], most: int) -> bool:
    row = _held(c, claim)
    if row is None:
        return False
    if row.signal == "cancel":
        to.to_state(c, claim.job.id, "cancelled")
    elif row.attempts < most:  # it may be tried again
        to.to_state(c, claim.job.id, "paused" if row.signal == "pause" else "queued")
    else:
        to.to_state(c, claim.job.id, "failed", error)
    return True


def release(c: Connection, claim: Claim, signal: Signal | None) -> bool:
    row = _held(c, claim)
    if row is None:
        return False
    c.execute("UPDATE job SET attempts = max(0, attempts - 1) WHERE id = ?", (claim.job.id,))
    states: dict[Signal | None, State] = {"cancel": "cancelled", "pause": "paused"}
    to.to_state(c, claim.job.id, states.get(signal if row.signal == "run" else row.signal, "queued"))
    return True


def recover(c: Connection, worker: str, most: int) -> int:
    sql = "SELECT id FROM job WHERE state = 'running' AND kind != 'group' AND worker = ?"
    rows = c.execute(sql, (worker,)).fetchall()
    for (id,) in rows:
        to.give_back(c, id, most)
    return len(rows)
