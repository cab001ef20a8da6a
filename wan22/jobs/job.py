"""What a job is: a request, its state, and where it stands in the queue."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Any, Literal

from wan22.errors import RequestError, Wan22Error

State = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "running", "paused", "completed", "failed", "cancelled")
ENDED: frozenset[State] = frozenset({"completed", "failed", "cancelled"})

Kind = Literal["video", "image", "extend", "render", "measure", "group"]
DEVICE_KINDS: tuple[Kind, ...] = ("video", "image", "extend")
"""`video` and `image` are made as by `wan22 generate` and `wan22 image`; `extend` goes on with a video. They need a
model."""
MEDIA_KINDS: tuple[Kind, ...] = ("render", "measure")
"""`render` puts a timeline together; `measure` looks at what a job made. They need no model."""
KINDS: tuple[Kind, ...] = (*DEVICE_KINDS, *MEDIA_KINDS, "group")
"""A `group` makes nothing itself and is complete when its children are."""

Signal = Literal["run", "cancel", "pause", "lost"]
"""What a worker is to do with the job it works on. `lost`: the job is no longer its own."""


_CALLED = {"job": "job", "in": "input", "doc": "document"}
_ALPHABET = string.ascii_lowercase + string.digits
_ID = re.compile(r"(job|in|doc)_[a-z0-9]{24}", re.ASCII)


def new_id(kind: str) -> str:
    """A new id: `job_`, `in_` or `doc_` ("job", "in", "doc") and 24 of [a-z0-9]."""
    number, digits = secrets.randbelow(len(_ALPHABET) ** 24), ""
    for _ in range(24):
        number, digit = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[digit]
    return f"{kind}_{digits}"


def is_id(text: object, kind: str) -> bool:
    """Whether this can be the id of a job ("job"), an input ("in") or a document ("doc")."""
    return isinstance(text, str) and text.startswith(f"{kind}_") and _ID.fullmatch(text) is not None


Trouble = Literal[
    "full", "read_only", "locked", "damaged", "newer", "foreign", "not_a_database", "unreadable", "no_wal", "output",
    "missing", "in_use",
]  # fmt: skip
"""What is the matter with a store."""


class StoreError(Wan22Error):
    """The store cannot be opened or written: damaged, newer, read-only, or the disk is full. `code` says which."""

    def __init__(self, message: str, *, code: Trouble = "unreadable") -> None:
        super().__init__(message)
        self.code: Trouble = code


class NotFoundError(RequestError):
    """There is no job, input or document of that id."""


class StateError(RequestError):
    """A job cannot do that in its state."""


class RevisionError(RequestError):
    """A document was changed by another since it was read."""


class KeyConflictError(RequestError):
    """The idempotency key was used for another request."""


def checked(id: str, kind: str) -> str:
    """The id, if it can be one. Raises NotFoundError, so that nothing else comes to files and the database."""
    if not is_id(id, kind):
        raise NotFoundError(f"there is no {_CALLED[kind]} {id!r}")
    return id


@dataclass(frozen=True)
class Job:
    """A row of the queue. Times are seconds since 1970.

    request: what is made, as JSON. meta: what its client wants back (user, API, remixed_from ...), not looked at here.
    priority: higher goes first. seq: the order among equals. after: jobs that must be complete before this one begins.
    attempts: how often it was begun since its last new step. signal: what a running job was asked to do.
    fraction: 0..1, how much is done; of a group, the mean of its children. step: steps done, of all clips.
    spent: seconds in workers' hands. result, error ({"code", "message"}): how it ended.
    """

    id: str
    kind: Kind
    state: State
    request: dict[str, Any]
    created: float
    priority: int = 0
    seq: int = 0
    parent: str | None = None
    after: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    trashed: float | None = None
    worker: str | None = None
    attempts: int = 0
    step: int = 0
    fraction: float = 0.0
    spent: float = 0.0
    signal: Signal = "run"
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def measured_job(measure: Job) -> str:
    """The id of the job that a job of kind `measure` measures: as its request says, or the one before it."""
    return measure.request.get("job") or measure.after[0]


@dataclass(frozen=True)
class Child:
    """A job of a group that is about to be added. after: places in the list of those that must be complete before."""

    kind: Kind
    request: dict[str, Any]
    after: tuple[int, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A job in the hands of a worker. Every write of the worker holds only while `token` is the row's."""

    job: Job
    worker: str
    token: str


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; `n` rises over all jobs."""

    n: int
    job: str
    at: float
    data: dict[str, Any]


@dataclass(frozen=True)
class Input:
    """A file that a client sent and that was checked. `type` is a media type, from its content; `name` is for people.

    width, height in pixels, frames, fps, seconds: None for what it does not have.
    """

    id: str
    name: str
    type: str
    bytes: int
    sha256: str
    created: float
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Figures:
    """What the store is like at a moment.

    states: jobs by state, without those in the trash and without groups. waiting: seconds since the oldest job that can
    begin was added. totals: what only grows: "completed", "failed", "cancelled", "poison" jobs, and "seconds" in
    workers' hands.
    """

    states: dict[State, int]
    waiting: float
    totals: dict[str, float]
