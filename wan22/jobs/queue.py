"""What a worker asks of the queue. The store is it; a worker on another machine asks a coordinator, which asks the
store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from wan22.jobs.job import Claim, Kind, Signal


class Queue(Protocol):
    """Every write holds only while the token of its claim is the row's. Each call may raise StoreError; see `Store`."""

    @property
    def version(self) -> int:
        """A number that rises when anything was written."""
        ...

    def claim(
        self, worker: str, *, loaded: str | None = None, lease: float = 10.0, kinds: Sequence[Kind] = ()
    ) -> Claim | None:
        """Take the next job; None if there is none for this worker."""
        ...

    def heartbeat(self, claim: Claim) -> Signal:
        """Renew the lease, and say what the worker is to do."""
        ...

    def record(self, claim: Claim, data: dict[str, Any], *, step: int | None = None) -> bool:
        """Store an event of the job; False if it is to stop."""
        ...

    def complete(self, claim: Claim, result: dict[str, Any]) -> bool:
        """The job is made, and its files are in place; False if it is not the worker's, or was cancelled."""
        ...

    def fail(self, claim: Claim, code: str, message: str) -> bool:
        """The job cannot be made."""
        ...

    def release(self, claim: Claim, *, signal: Signal | None = None) -> bool:
        """Give the job back unfinished."""
        ...

    def recover(self, worker: str) -> int:
        """For a worker's start: what it had when it died is queued again."""
        ...
