"""Worker processes: one for each device, and one that needs none; started again when they end, killed when they hang.

It imports no torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from wan22.errors import OptionError

WorkerState = Literal["starting", "idle", "running", "failing", "stopped"]

MEDIA_NAME, FLEET_NAME = "media", "fleet"
_NICE = 10  # of the worker that needs no device: those of devices go first

_LOOK = 0.1  # seconds between two looks at the workers
PAUSES = (0.1, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before a worker is started again, by how often it ended soon after its start, without a step."""
_SILENCE = 5.0  # seconds without a line that an ending worker has at least
_SOON = 60.0  # seconds; a worker that lived longer begins anew with the first pause
_LINES = 20  # of a worker's complaints that are kept


@dataclass(frozen=True)
class WorkerStatus:
    """A worker as it is now. `message` says why it fails; `restarts` counts starts after the first."""

    name: str
    device: str
    state: WorkerState
    pid: int | None = None
    job: str | None = None
    restarts: int = 0
    message: str = ""

    @property
    def up(self) -> bool:
        """Whether it can take a job, or has one."""
        return self.state in ("idle", "running")


@dataclass(frozen=True)
class Fleet:
    """Workers on the machines of a Ray cluster, which a process of its own keeps (wan22/fleet/manager.py).

    address: HOST:PORT, or "" to start Ray on this machine. shared: the data folder is seen by every machine.
    """

    address: str = ""
    devices: tuple[str, ...] = ("auto",)
    shared: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """What the process is told."""
        return ("--fleet", self.address, *(("--fleet-shared",) if self.shared else ()))


@dataclass(frozen=True)
class Patience:
    """Seconds. start: until a worker can take jobs. lease: of a job; a worker that is silent for longer is killed.

    stall: without any event of the job at work, after which its worker is killed.
    """

    start: float = 600.0
    lease: float = 10.0
    stall: float = 1800.0


def worker_names(devices: Sequence[str]) -> list[str]:
    """A name for each device, the same at every start: cuda:1 is gpu1, a second `cpu` is cpu1; several that work
    together, cuda:2+cuda:3, have the name of the first.

    Raises OptionError if there is no device.
    """
    if not devices:
        raise OptionError("name one device or more, such as cpu, or cuda:0 and cuda:1")
    names: list[str] = []
    for device in devices:
        kind, _, number = device.partition("+")[0].partition(":")
        base = "gpu" if kind in ("cuda", "auto") else kind
        free = (f"{base}{n}" for n in range(int(number) if number.isdigit() else 0, 10_000))
        names.append(next(name for name in free if name not in names))
    return names


class Supervisor:
    """The workers of a data folder. `start` returns at once; all else happens in a thread."""

    def __init__(
        self,
        data: Path,
        devices: Sequence[str],
        *,
        runner: str | None = None,
        media: str | None = None,
        fleet: Fleet | None = None,
        patience: Patience = Patience(),
        log: Callable[[str], None] | None = None,
    ) -> None:
        """One worker for each device, with `runner`, those of a fleet, and, with `media` as its runner, one that needs
        no device.
        """
        self._log = log or (lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201
        self._workers = [
            _Worker(name, device, Path(data).absolute(), runner, patience, self._log)
            for name, device in zip(
                worker_names(devices) if devices or fleet is None else (), devices, strict=True
            )
        ]
        if fleet is not None:
            self._workers.append(
                _Worker(
                    FLEET_NAME, ",".join(fleet.devices), Path(data).absolute(), runner, patience, self._log,
                    module="wan22.fleet.manager", options=fleet.options,
                )
            )  # fmt: skip
        self._media = [
            _Worker(MEDIA_NAME, "cpu", Path(data).absolute(), each, patience, self._log, nice=_NICE)
            for each in ([] if media is None else [media])
        ]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> bool:
        """End the workers: SIGTERM, and SIGKILL after `timeout` seconds. Whether all ended by themselves."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        for worker in self._all:
            worker.terminate()
        until = time.monotonic() + timeout
        return all([worker.end(until) for worker in self._all])

    @property
    def _all(self) -> list[_Worker]:
        return [*self._workers, *self._media]

    def status(self) -> list[WorkerStatus]:
        """The worker of each device as it is now."""
        return [status for worker in self._workers for status in worker.statuses()]

    @property
    def media(self) -> WorkerStatus | None:
        """The worker that needs no device, as it is now; None if there is none."""
        return next((worker.status() for worker in self._media), None)

    @property
    def ready(self) -> bool:
        """Whether the worker of a device can take a job, or has one."""
        return any(status.up for status in self.status())

    def _watch(self) -> None:
        while True:
            for worker in self._all:
                worker.look()
            if self._over.wait(_LOOK):
                return


@dataclass
class _Worker:
    """One worker's processes, one after another."""

    name: str
    device: str
    data: Path
    runner: str | None
    patience: Patience
    log: Callable[[str], None]
    nice: int = 0
    module: str = "wan22.jobs.worker"
    options: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None
    state: WorkerState = "starting"
    message: str = ""
    said: dict[str, Any] = field(default_factory=dict)
    last_line: float = 0.0
    moved: float = 0.0
    started: float = 0.0
    starts: int = 0
    soon: int = 0
    is_well: bool = False
    not_before: float = 0.0
    readers: list[threading.Thread] = field(default_factory=list)
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))

    def look(self) -> None:
        """Start it if it is not there, kill it if it hangs."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.not_before:
                self._start()
        elif self.process.poll() is not None:
            self._ended(self.process.returncode)
        elif reason := self._hangs(now):
            self.log(f"worker {self.name} {reason}: it is killed, and its job goes on in another")
            self.process.kill()

    def _start(self) -> None:
        command = [sys.executable, "-m", self.module, "--supervised", *self.options]
        command += ["--data", str(self.data), "--name", self.name, "--device", self.device]
        command += ["--lease", str(self.patience.lease), "--nice", str(self.nice)]
        command += [] if self.runner is None else ["--runner", self.runner]
        self.errors.clear()
        self.is_well = False
        self.said = {}
        self.started = self.last_line = self.moved = time.monotonic()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # its end says to the worker that the supervisor is gone
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C at the server's terminal is the server's
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        except OSError as error:
            self._fail(f"it cannot be started: {error}")
            self._wait()
            return
        self.starts += 1
        self.readers = [
            threading.Thread(target=read, args=(stream,), daemon=True)
            for read, stream in ((self._listen, self.process.stdout), (self._complaints, self.process.stderr))
        ]
        for reader in self.readers:
            reader.start()

    def _listen(self, stream: IO[str]) -> None:
        """Take what the worker says; other lines are a library's."""
        for line in stream:
            try:
                said = json.loads(line)
                state = said["state"]
            except (ValueError, TypeError, KeyError):
                continue
            now = time.monotonic()
            if said.get("news") != self.said.get("news") or said.get("job") != self.said.get("job"):
                self.moved = now
            self.last_line, self.said = now, said
            self.is_well |= bool(said.get("steps"))
            if state == "failing":
                self._fail(said.get("message", ""))
            elif state in ("idle", "running"):
                if self.state == "failing":
                    self.log(f"worker {self.name} works again")
                self.state, self.message = state, ""

    def _complaints(self, stream: IO[str]) -> None:
        """Pass on what the worker writes for people."""
        for line in stream:
            self.errors.append(line.rstrip())
            if self.state != "failing":  # it was said once
                sys.stderr.write(line)

    def _fail(self, message: str) -> None:
        """The device cannot work: this is said once for each reason."""
        if message != self.message:
            self.log(f"worker {self.name} on {self.device} cannot work: {message}")
        self.state, self.message = "failing", message

    def _ended(self, code: int) -> None:
        for reader in self.readers:
            reader.join(1.0)
        lived = time.monotonic() - self.started
        worked = self.said.get("state") in ("idle", "running")
        self.soon = 0 if lived > _SOON or self.is_well else self.soon + 1
        if not worked and self.said.get("state") != "failing":
            self._fail(self.errors[-1] if self.errors else f"it ended with {code} before it could work")
        elif worked:
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
            self.log(f"worker {self.name} ended {how}; it is started again")
            self.state = "starting"
        self._close()
        self._wait()

    def _wait(self) -> None:
        self.process = None
        self.not_before = time.monotonic() + PAUSES[min(self.soon, len(PAUSES)) - 1 if self.soon else 0]

    def _hangs(self, now: float) -> str:
        """Why the process is to be killed, if it is."""
        if not self.said:
            late = now - self.started > self.patience.start
            return f"could not take a job within {self.patience.start:g} s" if late else ""
        if now - self.last_line > self.patience.lease:
            return f"has said nothing for {self.patience.lease:g} s"
        if self.said.get("state") == "running" and now - self.moved > self.patience.stall:
            return f"has made no progress for {self.patience.stall:g} s"
        return ""

    def terminate(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self, until: float) -> bool:
        """Wait for the end of the process; kill it at `until`, or when it is silent. Whether it ended by itself."""
        if self.process is None:
            self.state = "stopped"
            return True
        try:
            while self.process.poll() is None:
                now = time.monotonic()
                if now > until or now - self.last_line > max(self.patience.lease, _SILENCE):
                    self.process.kill()
                    self.process.wait()
                    self.log(f"worker {self.name} did not end in time, and was killed")
                    return False
                time.sleep(_LOOK / 4)
            return True
        finally:
            for reader in self.readers:
                reader.join(1.0)  # what it still said is taken
            self._close()
            self.process, self.state = None, "stopped"

    def _close(self) -> None:
        """Close our ends of its streams."""
        if self.process is not None:
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()

    def statuses(self) -> list[WorkerStatus]:
        """The workers that this process is, or keeps; itself as long as it keeps none."""
        rows = self.said.get("workers") if self.state == "idle" else None
        return [WorkerStatus(**row) for row in rows] if rows else [self.status()]

    def status(self) -> WorkerStatus:
        process = self.process
        return WorkerStatus(
            self.name,
            self.device,
            self.state,
            None if process is None else process.pid,
            self.said.get("job") if self.state == "running" else None,
            max(0, self.starts - 1),
            self.message,
        )
