"""The store: all jobs, their events and inputs, in one file that survives whatever happens to the processes.

The server adds and changes jobs; workers claim them. A worker has a job by a token, for as long as it renews its lease:
every write of a worker holds only while the token is the row's, so that one that was taken for dead can do no harm.
Every call is one transaction, and on the disk when it returns. Any call can raise StoreError.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack

from wan22.errors import RequestError, choose
from wan22.jobs import adding, claims, commands, line, metadata
from wan22.jobs import transitions as to
from wan22.jobs.database import Database
from wan22.jobs.documents import Documents
from wan22.jobs.job import (
    KINDS,
    STATES,
    Child,
    Claim,
    Event,
    Figures,
    Input,
    Job,
    Kind,
    NotFoundError,
    Signal,
    State,
    StateError,
    checked,
)
from wan22.jobs.rows import INPUT, JOB, JOB_TEXT, event_of, folded, input_of, job_of, jobs_of

Order = Literal["desc", "asc", "queue"]
"""Newest first, oldest first, or in the order in which they are begun."""


class Which(TypedDict, total=False):
    """Which jobs a page has, and in which order; what is left out, or None, is not asked for.

    text: words that prompts and name must have, in any order, without regard to case. after: the last job of the page
    before. trashed: those in the trash instead. parent: the children of this job. board: those on it. rating: those of
    so much or more. order: newest ("desc") or oldest first, or as the queue.
    """

    states: Iterable[State] | None
    text: str | None
    kind: Kind | None
    after: str | None
    order: Order
    trashed: bool
    parent: str | None
    board: str | None
    rating: int | None


class Store:
    """The jobs of a data folder. One object serves all threads of a process."""

    def __init__(self, path: Path, *, check: bool = True, attempts: int = to.MOST_ATTEMPTS) -> None:
        """Open the file, or make it; one of an older version is brought up to date, and kept as it was beside it.

        check: look through the whole file for damage. attempts: how often a job is begun without a new step.
        """
        self._db = Database(path, check=check)
        self._attempts = attempts
        self.documents = Documents(self._db)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def version(self) -> int:
        """A number that rises when anything was written, by any process. Cheap; compare within one thread."""
        return self._db.version

    def backup(self, target: Path) -> None:
        """Copy the store as it is now into a new file, while others write."""
        self._db.backup(target)

    # For the server: jobs

    def add(  # noqa: PLR0913
        self, kind: Kind, request: dict[str, Any], *, key: str | None = None, body: str | None = None,
        priority: int = 0, parent: str | None = None, after: Sequence[str] = (), state: State = "queued",
        meta: dict[str, Any] | None = None,
    ) -> Job:  # fmt: skip
        """Add a job.

        key: of idempotency: with the same key and body, the job that is there is returned. body: what tells bodies
        apart where the request has parts that were made on the way (ids of uploads); without it the request does, with
        kind, priority, parent and after. after: jobs that must be complete before. state: "queued" or "paused".

        Raises KeyConflictError; NotFoundError for `parent` and `after`, StateError if one of them cannot be that.
        """
        new = adding.New(kind, request, priority, parent, tuple(after), state, meta or {})
        told_apart = adding.Key.of(key, new.body() if body is None else body)
        with self._db.write() as c:
            return commands.job(c, adding.add(c, new, key=told_apart))

    def add_group(
        self, request: dict[str, Any], children: Sequence[Child], *, key: str | None = None, body: str | None = None,
        priority: int = 0, state: State = "queued", meta: dict[str, Any] | None = None,
    ) -> Job:  # fmt: skip
        """Add a group and its children, all together or not at all; return the group. Raises as `add`."""
        new = adding.New("group", request, priority, state=state, meta=meta or {})
        content = (
            [new.body(), [[each.kind, each.request, each.after] for each in children]]
            if body is None
            else body
        )
        with self._db.write() as c:
            return commands.job(c, adding.add(c, new, children, key=adding.Key.of(key, content)))

    def add_children(
        self, group: str, children: Sequence[Child], *, key: str | None = None, body: object = None
    ) -> Job:
        """Add jobs to a group, also to one that has ended, which goes on then; return the group.

        key: of idempotency; with the same key and `body` nothing is added again. Raises NotFoundError, StateError.
        """
        with self._db.write() as c:
            adding.add_children(c, checked(group, "job"), children, key=adding.Key.of(key, body))
            return commands.job(c, group)

    def with_key(self, key: str) -> Job | None:
        """The job that came with an idempotency key."""
        rows = self._db.read(
            f"SELECT {JOB} FROM job WHERE key = ?", (key.encode("utf-8", "replace").decode(),)
        )
        return job_of(rows[0]) if rows else None

    def job(self, id: str) -> Job:
        """A job. Raises NotFoundError."""
        rows = self._db.read(f"SELECT {JOB} FROM job WHERE id = ?", (checked(id, "job"),))
        if not rows:
            raise NotFoundError(f"there is no job {id}")
        return job_of(rows[0])

    def jobs(self, *, limit: int = 100, **which: Unpack[Which]) -> list[Job]:
        """A page of jobs. Raises NotFoundError for `after`."""
        return jobs_of(self._page(JOB, limit, which))

    def jobs_text(self, *, limit: int = 100, **which: Unpack[Which]) -> list[str]:
        """As `jobs`, each job as JSON."""
        return [row[0] for row in self._page(JOB_TEXT, limit, which)]

    def _page(self, columns: str, limit: int, which: Which) -> list[tuple[Any, ...]]:
        if unknown := which.keys() - Which.__annotations__.keys():
            raise TypeError(f"jobs are not listed by {', '.join(sorted(unknown))}")
        trashed = which.get("trashed", False)
        where, values = (
            ["trashed IS " + ("NOT NULL" if trashed else "NULL")],
            dict[str, Any](limit=_limit(limit)),
        )
        order, parent = (
            choose("order", which.get("order", "desc"), ("desc", "asc", "queue")),
            which.get("parent"),
        )
        if (states := which.get("states")) is not None:
            names = [repr(choose("state", state, STATES)) for state in states]
            # Along their numbers, a page is found without sorting all that are in a state (the plus).
            where.append(f"{'' if order == 'queue' else '+'}state IN ({', '.join(names)})")
        for number, word in enumerate(folded(which.get("text") or "").split()):
            where.append(f"instr(search, :word{number})")
            values[f"word{number}"] = word
        if (kind := which.get("kind")) is not None:
            where.append(f"kind = {choose('kind', kind, KINDS)!r}")
        if parent is not None:
            where.append("parent = :parent")
            values["parent"] = checked(parent, "job")
        if (board := which.get("board")) is not None:
            where.append("id IN (SELECT job FROM board WHERE name = :board)")
            values["board"] = board
        if (rating := which.get("rating")) is not None:
            where.append("rating >= :rating")
            values["rating"] = rating
        place, by = {
            "desc": ("-n", "n DESC"),
            "asc": ("n", "n"),
            "queue": ("(-priority, seq, n)", line.ORDER),
        }[order]
        if (after := which.get("after")) is not None:
            where.append(f"{place} > (SELECT {place.strip('()')} FROM job WHERE id = :after)")
            values["after"] = self.job(after).id
        sql = f"SELECT {columns} FROM job WHERE {' AND '.join(where)} ORDER BY {by} LIMIT :limit"
        return self._db.read(sql, values)

    def ids(self) -> set[str]:
        """The ids of all jobs, in the trash too."""
        return {row[0] for row in self._db.read("SELECT id FROM job")}

    def count(self) -> dict[State, int]:
        """How many jobs there are in each state, without groups and the trash."""
        rows = self._db.read(
            "SELECT state, count(*) FROM job WHERE trashed IS NULL AND kind != 'group' GROUP BY state"
        )
        return dict.fromkeys(STATES, 0) | dict(rows)

    def figures(self) -> Figures:
        """What a monitor wants to know."""
        oldest = f"SELECT created FROM job WHERE {line.CLAIMABLE} AND trashed IS NULL ORDER BY n LIMIT 1"
        waiting = [time.time() - row[0] for row in self._db.read(oldest)]
        totals = dict.fromkeys(("completed", "failed", "cancelled", "poison", "seconds"), 0.0)
        totals |= dict(self._db.read("SELECT name, value FROM total"))
        return Figures(self.count(), max([0.0, *waiting]), totals)

    def position(self, id: str) -> int | None:
        """How many jobs are before this one, of those for the same workers; 0 is next.

        None if it is not queued, or a group.
        """
        job = self.job(id)
        if job.state != "queued" or job.kind == "group":
            return None
        kinds = ", ".join(map(repr, line.of_its_sort(job.kind)))
        sql = (
            "SELECT count(*) FROM job, (SELECT priority AS p, seq AS s, n AS m FROM job WHERE id = ?) "
            f"WHERE state = 'queued' AND kind IN ({kinds}) AND (-priority, seq, n) < (-p, s, m)"
        )
        return int(self._db.read(sql, (id,))[0][0])

    # For the server: what can be done to a job. All raise NotFoundError and StateError.

    def cancel(self, id: str) -> Job:
        """End a job, and its children: at once, or as soon as its worker sees it."""
        return self._do(commands.cancel, id)

    def pause(self, id: str) -> Job:
        """Let a job, and its children, wait until `resume`; a running one stops after its step, and keeps its work."""
        return self._do(commands.pause, id)

    def resume(self, id: str) -> Job:
        """Take a pause back, of its children too."""
        return self._do(commands.resume, id)

    def retry(self, id: str) -> Job:
        """Queue a job again that failed or was cancelled, its children, and what failed because of it.

        What its journal holds is not computed again.
        """
        return self._do(commands.retry, id)

    def trash(self, id: str) -> Job:
        """Put a job and its children into the trash, where `restore` finds them; cancel what is not ended."""
        return self._do(commands.trash, id)

    def restore(self, id: str) -> Job:
        """Take a job and its children out of the trash."""
        return self._do(commands.restore, id)

    def purge(self, id: str) -> list[str]:
        """Forget a job in the trash, and its children, for ever; return the ids, whose folders may go now."""
        with self._db.write() as c:
            return commands.purge(c, id)

    def move(self, id: str, *, before: str | None = None, first: bool = False, last: bool = False) -> Job:
        """Give a job that waits, or those of a group, another place in the queue, and the priority of the place."""
        if (before is not None) + first + last != 1:
            raise RequestError("say one place to move to: before a job, first, or last")
        with self._db.write() as c:
            commands.move(c, id, before, first)
            return commands.job(c, id)

    def prioritise(self, id: str, priority: int) -> Job:
        """Give a job that waits, or those of a group, another priority; higher goes first."""
        with self._db.write() as c:
            commands.prioritise(c, id, priority)
            return commands.job(c, id)

    def change_meta(self, id: str, changes: Mapping[str, Any]) -> Job:
        """Change entries of a job's `meta`, in any state; None removes one. Raises NotFoundError."""
        with self._db.write() as c:
            metadata.change(c, commands.job(c, id), changes)
            return commands.job(c, id)

    def boards(self) -> list[tuple[str, int]]:
        """The names of boards, in their order, and how many jobs each has, without the trash."""
        return metadata.boards(self._db)

    def _do(self, command: Callable[[Connection, str], None], id: str) -> Job:
        with self._db.write() as c:
            command(c, id)
            return commands.job(c, id)

    # Events

    def events(self, after: int = 0, *, job: str | None = None, limit: int = 1000) -> list[Event]:
        """Events after number `after`, of one job or of all, in their order."""
        where, values = "n > ?", [max(-(2**63), min(int(after), 2**63 - 1))]
        if job is not None:
            where, values = f"job = ? AND {where}", [checked(job, "job"), *values]
        sql = f"SELECT n, job, at, data FROM event WHERE {where} ORDER BY n LIMIT ?"
        return [event_of(row) for row in self._db.read(sql, (*values, _limit(limit)))]

    def last_event(self) -> int:
        """The number of the newest event; 0 if there was none."""
        return int(
            self._db.read("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'")[0][0]
        )

    def note(self, id: str, text: str) -> None:
        """Say something of a job to those who wait for it, whoever has it. Raises NotFoundError."""
        with self._db.write() as c:
            to.say(c, commands.job(c, id).id, {"type": "note", "text": text})

    # Inputs

    def add_input(self, id: str, row: Input) -> Input:
        """Store what is known of an upload, whose file is in its place."""
        row = replace(row, id=checked(id, "in"))
        with self._db.write() as c:
            marks = ", ".join("?" * len(astuple(row)))
            c.execute(
                f"INSERT INTO input ({INPUT}) VALUES ({marks})",
                tuple(asdict(row)[n] for n in INPUT.split(", ")),
            )
        return row

    def input(self, id: str) -> Input:
        """An input. Raises NotFoundError."""
        rows = self._db.read(f"SELECT {INPUT} FROM input WHERE id = ?", (checked(id, "in"),))
        if not rows:
            raise NotFoundError(f"there is no input {id}")
        return input_of(rows[0])

    def inputs(self, *, after: str | None = None, limit: int = 100) -> list[Input]:
        """A page of inputs, newest first."""
        where, values = "1", [_limit(limit)]
        if after is not None:
            where, values = "n < (SELECT n FROM input WHERE id = ?)", [self.input(after).id, *values]
        return [
            input_of(row)
            for row in self._db.read(
                f"SELECT {INPUT} FROM input WHERE {where} ORDER BY n DESC LIMIT ?", values
            )
        ]

    def input_ids(self) -> set[str]:
        return {row[0] for row in self._db.read("SELECT id FROM input")}

    def delete_input(self, id: str) -> None:
        """Forget an input; its file may go then. Raises NotFoundError, and StateError if a job that waits needs it."""
        with self._db.write() as c:
            row = c.execute(
                f"SELECT id FROM job WHERE state IN {to.OPEN} AND instr(request, ?)", (checked(id, "in"),)
            ).fetchone()
            if row is not None:
                raise StateError(
                    f"input {id} is needed by job {row[0]}, which is not ended. Cancel that one first."
                )
            if not c.execute("DELETE FROM input WHERE id = ?", (id,)).rowcount:
                raise NotFoundError(f"there is no input {id}")

    # For workers

    def claim(
        self, worker: str, *, loaded: str | None = None, lease: float = 10.0, kinds: Sequence[Kind] = (),
        may: line.May = line.anyone,
    ) -> Claim | None:  # fmt: skip
        """Take the next job for `lease` seconds; None if there is none.

        loaded: the `model` that the worker has in memory; a job of the same priority that wants it may go first.
        kinds: those that the worker makes; all without. may: whether it may have a job; the first of those is taken.
        Jobs whose lease is over are taken back; ask every second or so, for nothing is written when one ends.
        """
        if not self._db.read(*claims.anything(kinds)):
            return None
        with self._db.write() as c:
            return claims.claim(c, worker, loaded, lease, self._attempts, kinds, may)

    def heartbeat(self, claim: Claim) -> Signal:
        """Renew the lease, and say what the worker is to do. Nothing is written while most of the lease is left."""
        signal, due = claims.look(self._db.read(*claims.held(claim)))
        if not due:
            return signal
        with self._db.write() as c:
            return claims.renew(c, claim)

    def record(self, claim: Claim, data: dict[str, Any], *, step: int | None = None) -> bool:
        """Store an event of the worker's job, and renew the lease; False, and nothing is done, if it is to stop.

        step: steps done, of all clips; a new one shows that the job is no poison. A `fraction` never falls.
        """
        with self._db.write() as c:
            return claims.record(c, claim, data, step)

    def complete(self, claim: Claim, result: dict[str, Any]) -> bool:
        """The job is made, and its files are in place. False if it is no longer the worker's, or was cancelled."""
        with self._db.write() as c:
            return claims.complete(c, claim, result)

    def fail(self, claim: Claim, code: str, message: str, *, again: bool = False) -> bool:
        """The job cannot be made. again: it may go better next time: queue it, unless it was begun too often."""
        with self._db.write() as c:
            return claims.fail(c, claim, {"code": code, "message": message}, self._attempts if again else 0)

    def release(self, claim: Claim, *, signal: Signal | None = None) -> bool:
        """Give the job back unfinished: cancelled or paused, if that was asked, else queued. Not counted as an attempt.

        signal: what the worker saw. What the row says since then goes before.
        """
        with self._db.write() as c:
            return claims.release(c, claim, signal)

    def recover(self, worker: str) -> int:
        """For a worker's start: what it had when it died is queued again, or as it was asked to stop. How many jobs."""
        with self._db.write() as c:
            return claims.recover(c, worker, self._attempts)


def _limit(limit: int) -> int:
    if limit < 1:
        raise RequestError(f"limit {limit} must be 1 or more")
    return min(limit, 2**31)
