"""What the application holds, as its routers see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

from fastapi import Depends, Request

from wan22.jobs.folder import Folder
from wan22.jobs.store import Store
from wan22.server.asked import Backlog, Checker
from wan22.server.feed import Feed
from wan22.server.growing import Growths
from wan22.server.helper import Helper
from wan22.server.metrics import Metrics
from wan22.server.settings import Settings


class WorkerLike(Protocol):
    """A worker as it is now: "starting", "idle", "running", "failing" or "stopped"; `message` says why it fails."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def job(self) -> str | None: ...
    @property
    def restarts(self) -> int: ...
    @property
    def message(self) -> str: ...


class Workers(Protocol):
    """What the server asks of those who make the jobs; jobs/supervisor.py is it."""

    @property
    def ready(self) -> bool:
        """Whether a worker can take a job."""
        ...

    def status(self) -> Sequence[WorkerLike]:
        """Every worker."""
        ...


class AppState(Protocol):
    """What `app.state` holds. `draining`: the server ends, and takes no more requests."""

    store: Store
    folder: Folder
    settings: Settings
    feed: Feed
    growths: Growths
    checker: Checker
    backlog: Backlog
    metrics: Metrics
    supervisor: Workers | None
    helper: Helper
    draining: bool


async def state_of(request: Request) -> AppState:
    """The state of the application that a request came to. Not to be given to a thread: that would cost more."""
    return request.app.state


App = Annotated[AppState, Depends(state_of)]
"""A parameter of a path function that gets it."""
