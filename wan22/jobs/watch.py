"""What goes on beside a worker's job: its lease is renewed, what is asked is seen, the supervisor knows that it lives.

A thread does that. It interrupts the main thread, by SIGINT, where a job is to stop and is not at a step.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from wan22.jobs.job import Claim, StoreError
from wan22.jobs.queue import Queue
from wan22.jobs.task import Asked, Task

_GRACE = 0.2  # seconds for which an event may come by itself
_AGAIN = 2.0  # seconds after which an interrupt that had no effect is repeated
BEAT = 1.0
"""Seconds between two lines to the supervisor, at most."""


class Interrupts:
    """SIGINT as KeyboardInterrupt in the main thread, where it may come: within `open`, outside of `held`."""

    def __init__(self) -> None:
        self._open = self._held = self._waiting = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT."""
        del number, frame
        if not self._open:
            return
        if self._held:
            self._waiting = True
            return
        raise KeyboardInterrupt

    @contextmanager
    def open(self) -> Generator[None]:
        """Let interrupts through."""
        self._waiting, self._open = False, True
        try:
            yield
        finally:
            self._open = False

    @contextmanager
    def held(self) -> Generator[None]:
        """Let an interrupt wait for the end, so that a transaction is whole."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._waiting and self._open:
                self._waiting = False
                raise KeyboardInterrupt

    def close(self) -> None:
        """An interrupt came through: let no other one in."""
        self._open = self._held = self._waiting = False


@dataclass
class Watched:
    """A job that is watched. `interrupted`: it was stopped at an unknown place."""

    claim: Claim
    task: Task
    interrupted: bool = False
    asked_at: float = 0.0
    sent_at: float = 0.0


class Watch(threading.Thread):
    """The thread. `report` takes what the supervisor is to know; `main` is the thread that works; `every` is the
    seconds between two looks at the row.
    """

    def __init__(
        self, queue: Queue, report: Callable[[dict[str, Any]], None], main: int, *, every: float = 0.1
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self.leaving = False  # no Event: a handler of signals may not wait for its lock
        self.state: dict[str, Any] = {"state": "starting"}
        self._queue, self._report, self._main, self._every = queue, report, main, every
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._job: Watched | None = None
        self._reported: tuple[float, Any] = (0.0, None)

    @contextmanager
    def over(self, job: Watched) -> Generator[None]:
        """Watch a job meanwhile."""
        with self._lock:
            self._job = job
        try:
            yield
        finally:
            with self._lock:  # after this nothing is sent any more
                self._job = None

    def run(self) -> None:
        while not self._over.wait(self._every):
            self._beat()
            with self._lock:
                if self._job is not None:
                    self._look(self._job)

    def stop(self) -> None:
        self._over.set()
        self.join(2.0)

    def _beat(self) -> None:
        job = self._job
        state = dict(self.state)
        if job is not None:
            state |= {
                "state": "running",
                "job": job.claim.job.id,
                "news": job.task.news,
                "steps": job.task.steps,
            }
        now = time.monotonic()
        if state != self._reported[1] or now - self._reported[0] >= BEAT:
            self._reported = now, state
            self._report(state)

    def _look(self, job: Watched) -> None:
        now = time.monotonic()
        asked = self._asked(job)
        if job.task.asked is None:
            if asked is None:
                return
            job.task.asked, job.asked_at = asked, now
        if job.task.stepping or now - job.asked_at < _GRACE or now - job.sent_at < _AGAIN:
            return
        job.interrupted, job.sent_at = True, now
        signal.pthread_kill(self._main, signal.SIGINT)

    def _asked(self, job: Watched) -> Asked | None:
        """Renew the lease; why the job is to stop, if it is."""
        try:
            said = self._queue.heartbeat(job.claim)
        except StoreError:
            said = "run"  # the disk is full, or the store is held: the next look says more
        if said == "run":
            return "shutdown" if self.leaving else None
        return said


def report_state(state: dict[str, Any]) -> None:
    """Write a line to the supervisor, who reads this process's standard output."""
    try:
        sys.stdout.write(json.dumps(state) + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        pass  # nobody reads any more; the end of standard input says the same
