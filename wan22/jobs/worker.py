"""A worker: one process that makes the jobs of a data folder on one device, one after another.

    python -m wan22.jobs.worker --data DATA --name gpu0 --device cuda:0

SIGTERM ends it: the job at work goes back to the queue with what was computed of it, and the process ends with 0. A
worker that cannot work says why and ends with 3, one that must begin anew with 4. With --supervised, standard output
has a line of JSON for each change of its state, at least one a second, and the end of standard input ends it as SIGTERM
does.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22.errors import Cancelled, Wan22Error
from wan22.jobs.attempt import JobFiles, LocalFiles, sweep
from wan22.jobs.codes import explain, was_importing, was_interrupted, was_lost
from wan22.jobs.folder import Folder
from wan22.jobs.job import Claim, StoreError
from wan22.jobs.place import WorkerLock
from wan22.jobs.queue import Queue
from wan22.jobs.store import Store
from wan22.jobs.task import DEFAULT, Runner, Task, kinds_of, open_runner
from wan22.jobs.watch import Interrupts, Watch, Watched, report_state

CANNOT_WORK = 3
"""The exit code of a worker that cannot work here: no such device, a wrong setting."""

RENEW = 4
"""The exit code of a worker that was stopped where its process cannot go on; a supervisor starts it again."""

LEASE = 10.0
_LEFT_ALONE = 60.0  # seconds for the last step of a worker whose supervisor is gone
POLL = 0.05
"""Seconds between two looks for a change, where that is cheap."""

_AGAIN = 1.0  # seconds before a store that could not be used is tried again
_EXPIRES = 0.5  # seconds between two looks for leases that are over, which change nothing
_BROKEN = ("internal_error", "out_of_memory", "decode_failed", "unsupported_device", "damaged_model")
"""Codes after which the engine is opened anew."""


@dataclass(frozen=True)
class Settings:
    """data: the data folder. name: of this worker, the same after a restart. lease: seconds. nice: how much it lets
    other processes go first, 0 to 19.
    """

    data: Path
    name: str
    device: str
    runner: str = DEFAULT
    lease: float = LEASE
    supervised: bool = False
    nice: int = 0


class Worker:
    """Claims jobs of a queue and makes them until `watch.leaving`. It is made in the thread that works, the main one.

    report: takes what the supervisor is to know. poll: seconds between two looks at the queue for a change.
    """

    def __init__(
        self, name: str, folder: Folder, queue: Queue, files: JobFiles, runner: Runner, *,
        lease: float = LEASE, poll: float = POLL, report: Callable[[dict[str, Any]], None] = lambda state: None,
    ) -> None:  # fmt: skip
        self._name, self._lease, self._poll = name, lease, poll
        self._folder, self._queue, self._files, self._runner = folder, queue, files, runner
        self.interrupts = Interrupts()
        self.renew = False  # whether a new process is to go on
        self.watch = Watch(queue, report, threading.get_ident(), every=2 * poll)

    def serve(self) -> None:
        """Work until the end is asked for."""
        self._queue.recover(self._name)
        self.watch.state = {"state": "idle"}
        self.watch.start()
        try:
            while not self.watch.leaving:
                seen = self._queue.version
                claim = self._claim()
                if claim is None:
                    self._wait(seen)
                else:
                    self._make(claim)
        finally:
            self.watch.stop()

    def _claim(self) -> Claim | None:
        try:
            return self._queue.claim(
                self._name, loaded=self._runner.loaded, lease=self._lease, kinds=kinds_of(self._runner)
            )
        except StoreError as error:
            _say(f"no job can be claimed: {error}")
            time.sleep(_AGAIN)
            return None

    def _wait(self, seen: int) -> None:
        until = time.monotonic() + _EXPIRES
        while time.monotonic() < until and self._queue.version == seen and not self.watch.leaving:
            time.sleep(self._poll)

    def _make(self, claim: Claim) -> None:
        task = Task(claim.job, self._folder, Path(), self._recorder(claim))
        job = Watched(claim, task)
        try:
            with self.watch.over(job):
                try:
                    with self.interrupts.open():
                        task.work = self._files.begin(claim)
                        result = self._runner.run(task)
                        with self.interrupts.held():
                            task.check()
                            self._files.publish(claim, result)
                except KeyboardInterrupt:
                    self.interrupts.close()
                    raise
            self._end(job, lambda: self._queue.complete(claim, result))
            self._files.clear(claim)
        except KeyboardInterrupt as error:
            self._stopped(job, error)
        except Exception as error:
            if task.asked is not None and (isinstance(error, Cancelled) or was_interrupted(error)):
                self._stopped(job, error)
            else:
                self._failed(job, error)

    def _recorder(self, claim: Claim) -> Callable[[dict[str, Any], int | None], None]:
        def record(data: dict[str, Any], step: int | None) -> None:
            with self.interrupts.held():
                self._files.keep(claim)
                self._queue.record(claim, data, step=step)  # False: the next look says why

        return record

    def _stopped(self, job: Watched, error: BaseException) -> None:
        """The job was asked to stop, and did."""
        asked = job.task.asked
        self._files.leave(job.claim)
        self._end(job, lambda: self._queue.release(job.claim, signal=None if asked == "shutdown" else asked))
        if job.interrupted:
            self._runner.drop()
        if was_importing(error):
            _say("stopped while a library was imported: a new process goes on")
            self.renew = self.watch.leaving = True

    def _failed(self, job: Watched, error: Exception) -> None:
        code, message = explain(error)
        message = message.replace(f"{self._folder.path}/", "")
        if job.task.asked == "lost":
            return
        if code == "internal_error":
            self._keep(job, error)
        if code in _BROKEN:
            traceback.clear_frames(error.__traceback__)  # which hold tensors
            self._runner.drop()
        if was_lost(error):  # as if this process had died
            _say(f"job {job.claim.job.id} goes back to the queue: {message}")
            self._files.leave(job.claim)
            self._queue.recover(self._name)
            return
        _say(f"job {job.claim.job.id} failed: {code}: {message}")
        self._files.leave(job.claim)
        self._end(job, lambda: self._queue.fail(job.claim, code, message))

    def _keep(self, job: Watched, error: Exception) -> None:
        """Put the traceback where a person finds it."""
        text = "".join(traceback.format_exception(error))
        try:
            self._files.explain(job.claim, text)
        except Wan22Error:
            _say(text)

    def _end(self, job: Watched, write: Callable[[], bool]) -> None:
        """Write how a job ended; where the store cannot be written, again and again, as long as it is ours."""
        while True:
            try:
                if not write() and self._queue.heartbeat(job.claim) != "lost":
                    self._queue.release(job.claim)  # it was to stop when it was complete
                return
            except StoreError as error:
                _say(f"job {job.claim.job.id}: its end cannot be stored: {error}")
            if self.watch.leaving:
                return  # the lease ends, and another worker goes on from the journal
            time.sleep(_AGAIN)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a process of its own


def run(settings: Settings) -> int:
    """Work as `settings` say until SIGTERM; return the exit code."""
    os.nice(settings.nice)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until there is a job that must be given back
    try:
        folder = Folder(settings.data)
        with WorkerLock(folder, settings.name, take_over=settings.supervised):
            store = folder.open_store(check=False)
            try:
                return _run(settings, folder, store)
            finally:
                store.close()
    except Wan22Error as error:
        return _cannot(settings, str(error))


def _run(settings: Settings, folder: Folder, store: Store) -> int:
    try:
        runner = open_runner(settings.runner, folder, settings.device)
    except Exception as error:
        if not isinstance(error, Wan22Error):
            _say(traceback.format_exc())
        return _cannot(settings, explain(error)[1])
    sweep(folder, store)
    report = {"report": report_state} if settings.supervised else {}
    worker = Worker(settings.name, folder, store, LocalFiles(folder), runner, lease=settings.lease, **report)
    signal.signal(signal.SIGINT, worker.interrupts.handle)
    signal.signal(signal.SIGTERM, lambda *_: setattr(worker.watch, "leaving", True))
    if settings.supervised:
        threading.Thread(target=until_end_of_input, daemon=True).start()
    worker.serve()
    return RENEW if worker.renew else 0


def _cannot(settings: Settings, message: str) -> int:
    _say(f"worker {settings.name} cannot work: {message}")
    if settings.supervised:
        report_state({"state": "failing", "message": message})
    return CANNOT_WORK


def until_end_of_input() -> None:
    """End this process when the supervisor is gone: in order, or, if it hangs, without its last step."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LEFT_ALONE)
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m wan22.jobs.worker", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="the data folder")
    parser.add_argument("--name", required=True, help="of this worker, such as gpu0; kept after a restart")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--runner", default=DEFAULT, metavar="MODULE:FUNCTION", help="what makes jobs")
    late = "after which the job of a dead worker is another's"
    parser.add_argument("--lease", type=float, default=LEASE, metavar="SECONDS", help=late)
    parser.add_argument("--supervised", action="store_true", help="a supervisor started it")
    polite = "how much it lets other processes go first, 0 to 19"
    parser.add_argument("--nice", type=int, choices=range(20), default=0, metavar="N", help=polite)
    return run(Settings(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    sys.exit(main())
