"""The tables of the store, as the steps from one schema to the next. `user_version` of the file says which it has.

A step that was released is never changed: a new one is added at the end.
"""

from __future__ import annotations

import sqlite3

from wan22.jobs.rows import folded

APPLICATION = 0x77616E32  # "wan2": `application_id` of our files

_FIRST = """
CREATE TABLE job (
    n INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they came; lists are read by it
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    request TEXT NOT NULL,                -- JSON, as are meta, result and error
    meta TEXT NOT NULL,
    model TEXT,                           -- of the request
    search TEXT NOT NULL,                 -- what a text is looked for in: prompts, without case
    created REAL NOT NULL,                -- this and the next three: seconds since 1970
    started REAL,
    ended REAL,
    trashed REAL,
    priority INTEGER NOT NULL,
    seq INTEGER NOT NULL,                 -- the order among equals
    parent TEXT,
    key TEXT UNIQUE,                      -- of idempotency, and the hash of the body that came with it
    body TEXT,
    worker TEXT,
    token TEXT,                           -- of the claim; null unless it is in a worker's hands
    boot TEXT,                            -- the start of the machine that the next four are seconds since
    begun REAL,
    lease REAL,                           -- when it ends
    term REAL,                            -- how long it is
    passed REAL,                          -- when a later job was first preferred
    attempts INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0,
    fraction REAL NOT NULL DEFAULT 0,
    spent REAL NOT NULL DEFAULT 0,        -- seconds in workers' hands
    signal TEXT NOT NULL DEFAULT 'run',
    result TEXT,
    error TEXT,
    thinned INTEGER NOT NULL DEFAULT 0    -- its events of progress are gone
);
CREATE INDEX job_queue ON job (state, priority DESC, seq, n);
CREATE INDEX job_shown ON job (state, n) WHERE trashed IS NULL AND kind != 'group';
CREATE INDEX job_seq ON job (seq);
CREATE INDEX job_parent ON job (parent) WHERE parent IS NOT NULL;
CREATE INDEX job_thick ON job (ended) WHERE ended IS NOT NULL AND thinned = 0;
CREATE TABLE dependency (
    job TEXT NOT NULL,
    needs TEXT NOT NULL,
    UNIQUE (job, needs)
);
CREATE INDEX dependency_needs ON dependency (needs);
CREATE TABLE event (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    at REAL NOT NULL,
    type TEXT,
    data TEXT NOT NULL
);
CREATE INDEX event_job ON event (job, n);
CREATE TABLE input (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created REAL NOT NULL,
    width INTEGER,
    height INTEGER,
    frames INTEGER,
    fps REAL,
    seconds REAL
);
CREATE TABLE total (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""

_SECOND = """
ALTER TABLE job ADD COLUMN rating INTEGER;  -- of meta, as are the boards and the name in `search`
CREATE INDEX job_rating ON job (rating) WHERE rating IS NOT NULL;
CREATE TABLE board (
    name TEXT NOT NULL,
    job TEXT NOT NULL,
    UNIQUE (name, job)
);
CREATE INDEX board_job ON board (job);
CREATE TABLE document (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    trashed REAL
);
CREATE INDEX document_changed ON document (changed, n);
UPDATE job SET search = search || char(10) || folded(json_extract(meta, '$.name'))
    WHERE json_type(meta, '$.name') = 'text';
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _SECOND)
"""What makes schema i + 1 of schema i; schema 0 is an empty file."""


def newest() -> int:
    """The schema that this version reads and writes."""
    return len(MIGRATIONS)


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Take the steps that are missing, within the transaction of the caller."""
    connection.create_function("folded", 1, folded, deterministic=True)
    for number, script in enumerate(MIGRATIONS[version(connection) :], version(connection) + 1):
        for statement in _statements(script):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
    connection.execute(f"PRAGMA application_id = {APPLICATION}")


def _statements(script: str) -> list[str]:
    """A script's statements; `executescript` would end the transaction."""
    found, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found
