"""The order of the queue: who is next, and how jobs change places in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from sqlite3 import Connection, Cursor
from typing import Any

from wan22.errors import choose
from wan22.jobs.adding import GAP
from wan22.jobs.job import DEVICE_KINDS, KINDS, MEDIA_KINDS, Kind, StateError
from wan22.jobs.uptime import uptime

PATIENCE = 60.0  # seconds for which a job is passed over by those whose model is loaded
ORDER = "priority DESC, seq, n"
_WAITS = "state IN ('queued', 'paused') AND kind != 'group'"

CLAIMABLE = """state = 'queued' AND kind != 'group'
    AND NOT EXISTS (SELECT 1 FROM dependency JOIN job AS needed ON needed.id = dependency.needs
                    WHERE dependency.job = job.id AND needed.state != 'completed')
    AND NOT EXISTS (SELECT 1 FROM job AS child WHERE child.parent = job.id AND child.state != 'completed')"""


def claimable(kinds: Sequence[Kind]) -> str:
    """The condition, in SQL, of a job of these kinds that can begin; of no kinds in particular without any."""
    names = [repr(choose("kind", kind, KINDS)) for kind in kinds]
    return f"{CLAIMABLE} AND kind IN ({', '.join(names)})" if names else CLAIMABLE


def of_its_sort(kind: Kind) -> tuple[Kind, ...]:
    """The kinds that wait for the same workers as this one."""
    return MEDIA_KINDS if kind in MEDIA_KINDS else DEVICE_KINDS


May = Callable[[str, str | None], bool]
"""Whether a worker may have a job, by its id and its model. It is asked within a transaction: it answers at once."""


def anyone(id: str, model: str | None) -> bool:
    """Every worker may have every job."""
    del id, model
    return True


def choose_next(c: Connection, loaded: str | None, kinds: Sequence[Kind], may: May = anyone) -> str | None:
    """The job to begin: the first of the queue of these kinds, or one of its equals whose model is loaded.

    The first is passed over for PATIENCE seconds at most, counted from the first time.
    """
    sql = f"SELECT id, model, priority, passed FROM job WHERE {claimable(kinds)}"
    first = _first(c.execute(f"{sql} ORDER BY {ORDER}"), may)
    if first is None:
        return None
    id, model, priority, passed = first
    if loaded is None or model == loaded or (passed is not None and not 0 <= uptime() - passed < PATIENCE):
        return id
    equals = c.execute(f"{sql} AND priority = ? AND model = ? ORDER BY {ORDER}", (priority, loaded))
    preferred = _first(equals, may)
    if preferred is None:
        return id
    c.execute("UPDATE job SET passed = coalesce(passed, ?) WHERE id = ?", (uptime(), id))
    return preferred[0]


def _first(rows: Cursor, may: May) -> tuple[Any, ...] | None:
    return next((row for row in rows if may(row[0], row[1])), None)


def waiting(c: Connection, id: str) -> list[str]:
    """What moves when a job is moved: itself, or those of a group that wait, in their order. Raises StateError."""
    found = [
        row[0]
        for row in c.execute(
            f"""WITH RECURSIVE part (id) AS (
                    SELECT :id UNION ALL SELECT job.id FROM job JOIN part ON job.parent = part.id)
                SELECT id FROM job WHERE id IN part AND {_WAITS} ORDER BY {ORDER}""",
            {"id": id},
        )
    ]
    if not found:
        state = c.execute("SELECT state FROM job WHERE id = ?", (id,)).fetchone()[0]
        raise StateError(
            f"job {id} is {state}; only jobs that are queued or paused have a place in the queue"
        )
    return found


def place(c: Connection, ids: list[str], *, before: str | None = None, first: bool = False) -> None:
    """Give jobs, in this order, the places before another, or the first or last of all that wait, and its priority."""
    if _put(c, ids, before, first):
        return
    rows = c.execute(f"SELECT id FROM job WHERE {_WAITS} ORDER BY {ORDER}").fetchall()
    c.executemany(
        "UPDATE job SET seq = ? WHERE id = ?", [(at * GAP, row[0]) for at, row in enumerate(rows, 1)]
    )
    _put(c, ids, before, first)


def _put(c: Connection, ids: list[str], before: str | None, first: bool) -> bool:
    """As `place`; False, and nothing is done, if there is no room between the neighbours."""
    span, values = GAP * (len(ids) + 1), {"ids": json.dumps(ids), "before": before}
    others = f"{_WAITS} AND id NOT IN (SELECT value FROM json_each(:ids))"
    if before is not None:
        priority, high = c.execute("SELECT priority, seq FROM job WHERE id = :before", values).fetchone()
        values |= {"priority": priority, "high": high}
        low = c.execute(
            f"SELECT max(seq) FROM job WHERE {others} AND priority = :priority AND id != :before AND seq <= :high",
            values,
        ).fetchone()[0]
        low = high - span if low is None else low
    else:
        most = "max" if first else "min"
        found = c.execute(
            f"SELECT priority, min(seq), max(seq) FROM job WHERE {others} "
            f"AND priority = (SELECT {most}(priority) FROM job WHERE {others}) GROUP BY priority",
            values,
        ).fetchone()
        if found is None:
            return True
        priority, least, greatest = found
        low, high = (least - span, least) if first else (greatest, greatest + span)
    step = (high - low) // (len(ids) + 1)
    if step < 1:
        return False
    c.executemany(
        "UPDATE job SET priority = ?, seq = ?, passed = NULL WHERE id = ?",
        [(priority, low + step * at, id) for at, id in enumerate(ids, 1)],
    )
    return True
