"""A worker: one process that makes the jobs of a data folder on one device, one after another.

    python -m wan22.jobs.worker --data DATA --name gpu0 --device cuda:0

SIGTERM ends it: the job at work goes back to the queue with what was computed of it, and the process ends with 0. A
worker that cannot work says why and ends with 3, one that must begin anew with 4. With --supervised, standard output
has a line of JSON for each change of its state, at least one a second, and the end of standard input ends it as SIGTERM
does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22.atomic import put, swept, write_text
from wan22.errors import Cancelled, OutputError, Wan22Error
from wan22.jobs.codes import explain, was_importing, was_interrupted
from wan22.jobs.folder import RESULT, Folder
from wan22.jobs.job import Claim, StoreError
from wan22.jobs.place import WorkerLock
from wan22.jobs.store import Store
from wan22.jobs.task import DEFAULT, Runner, Task, kinds_of, open_runner
from wan22.jobs.watch import Interrupts, Watch, Watched, report_state

CANNOT_WORK = 3
"""The exit code of a worker that cannot work here: no such device, a wrong setting."""

RENEW = 4
"""The exit code of a worker that was stopped where its process cannot go on; a supervisor starts it again."""

LEASE = 10.0
_LEFT_ALONE = 60.0  # seconds for the last step of a worker whose supervisor is gone
_POLL = 0.05  # seconds between two looks for a change
_EXPIRES = 0.5  # seconds between two looks for leases that are over, which change nothing
_WORK = "work-"  # before the token, in the name of the folder of an attempt
_ERROR = "error.txt"
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
    """Claims jobs and makes them until `watch.leaving`."""

    def __init__(self, settings: Settings, folder: Folder, store: Store, runner: Runner) -> None:
        self._name, self._lease = settings.name, settings.lease
        self._folder, self._store, self._runner = folder, store, runner
        self.interrupts = Interrupts()
        self.renew = False  # whether a new process is to go on
        report = report_state if settings.supervised else _nobody
        self.watch = Watch(store, report, threading.get_ident())

    def serve(self) -> None:
        """Work until the end is asked for."""
        self._store.recover(self._name)
        self.watch.state = {"state": "idle"}
        self.watch.start()
        try:
            while not self.watch.leaving:
                seen = self._store.version
                claim = self._claim()
                if claim is None:
                    self._wait(seen)
                else:
                    self._make(claim)
        finally:
            self.watch.stop()

    def _claim(self) -> Claim | None:
        try:
            return self._store.claim(
                self._name, loaded=self._runner.loaded, lease=self._lease, kinds=kinds_of(self._runner)
            )
        except StoreError as error:
            _say(f"no job can be claimed: {error}")
            time.sleep(1.0)
            return None

    def _wait(self, seen: int) -> None:
        until = time.monotonic() + _EXPIRES
        while time.monotonic() < until and self._store.version == seen and not self.watch.leaving:
            time.sleep(_POLL)

    def _make(self, claim: Claim) -> None:
        place = self._folder.job(claim.job.id)
        work = place / f"{_WORK}{claim.token}"
        task = Task(claim.job, self._folder, work, self._recorder(claim))
        job = Watched(claim, task)
        try:
            with self.watch.over(job):
                try:
                    with self.interrupts.open():
                        _prepare(place, work)
                        self._folder.describe(claim.job)
                        result = self._runner.run(task)
                        with self.interrupts.held():
                            self._publish(task, result)
                except KeyboardInterrupt:
                    self.interrupts.close()
                    raise
            self._end(job, lambda: self._store.complete(claim, result))
            _clear(place)
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
                self._store.record(claim, data, step=step)  # False: the next look says why

        return record

    def _publish(self, task: Task, result: dict[str, Any]) -> None:
        """Give the files their names in the job's folder, with what is said of them, unless another worker has it."""
        task.check()
        place = self._folder.job(task.job.id)
        try:
            for file in (*result["files"], *result.get("stills", ())):
                put(task.work / file["name"], place / file["name"])
            write_text(place / RESULT, json.dumps(result))
        except OSError as error:
            raise OutputError(f"{place} cannot be written: {error.strerror}") from error

    def _stopped(self, job: Watched, error: BaseException) -> None:
        """The job was asked to stop, and did."""
        asked = job.task.asked
        self._end(job, lambda: self._store.release(job.claim, signal=None if asked == "shutdown" else asked))
        if job.interrupted:
            self._runner.drop()
        if was_importing(error):
            _say("stopped while a library was imported: a new process goes on")
            self.renew = self.watch.leaving = True
        _remove_empty(job.task.work)

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
        _say(f"job {job.claim.job.id} failed: {code}: {message}")
        self._end(job, lambda: self._store.fail(job.claim, code, message))
        _remove_empty(job.task.work)

    def _keep(self, job: Watched, error: Exception) -> None:
        """Put the traceback where a person finds it."""
        text = "".join(traceback.format_exception(error))
        try:
            write_text(self._folder.job(job.claim.job.id) / _ERROR, text)
        except Wan22Error:
            _say(text)

    def _end(self, job: Watched, write: Callable[[], bool]) -> None:
        """Write how a job ended; where the store cannot be written, again and again, as long as it is ours."""
        while True:
            try:
                if not write() and self._store.heartbeat(job.claim) != "lost":
                    self._store.release(job.claim)  # it was to stop when it was complete
                return
            except StoreError as error:
                _say(f"job {job.claim.job.id}: its end cannot be stored: {error}")
            if self.watch.leaving:
                return  # the lease ends, and another worker goes on from the journal
            time.sleep(1.0)


def _prepare(place: Path, work: Path) -> None:
    """Make the folder of this attempt, with what the one before left: a copy, for that one may still be at it."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        swept(place)
        former = sorted(place.glob(f"{_WORK}*"), key=lambda path: path.stat().st_mtime)
        if former:
            shutil.copytree(former[-1], work, ignore=shutil.ignore_patterns("*.part", "*.old"))
            for folder in former:
                shutil.rmtree(folder, ignore_errors=True)
        else:
            work.mkdir()
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror}") from error


def _remove_empty(work: Path) -> None:
    with suppress(OSError):
        work.rmdir()


def _clear(place: Path) -> None:
    """Remove what was only needed to make the job; last what `sweep` looks for, if this process dies meanwhile."""
    for folder in (place / "journal", *place.glob(f"{_WORK}*")):
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Folder, store: Store) -> None:
    """Remove what a worker that died after a job was complete had no time to remove."""
    for path in (folder.path / "jobs").glob(f"*/{_WORK}*"):
        try:
            if store.job(path.parent.name).state == "completed":
                _clear(path.parent)
        except Wan22Error:
            continue  # the store does not know it: not ours to remove


def _nobody(state: dict[str, Any]) -> None:
    del state


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
    worker = Worker(settings, folder, store, runner)
    signal.signal(signal.SIGINT, worker.interrupts.handle)
    signal.signal(signal.SIGTERM, lambda *_: setattr(worker.watch, "leaving", True))
    if settings.supervised:
        threading.Thread(target=_until_end_of_input, daemon=True).start()
    worker.serve()
    return RENEW if worker.renew else 0


def _cannot(settings: Settings, message: str) -> int:
    _say(f"worker {settings.name} cannot work: {message}")
    if settings.supervised:
        report_state({"state": "failing", "message": message})
    return CANNOT_WORK


def _until_end_of_input() -> None:
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
