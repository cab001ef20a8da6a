"""Kill servers and workers at random; count what is lost: `python -m bench.job_kills --jobs 300 --kills 200 --http`.

A server with two workers gets jobs of `bench.toy_jobs` from a client that tries again, under its idempotency keys; with
`--real N` also videos of the embedded model. Meanwhile SIGKILL, SIGSTOP and SIGTERM come at random moments to the
server or to a worker; what ended is started again. In the end every job must be complete, once, with the file that an
undisturbed run makes, and nothing may be left over. `--cancel N` measures how long a cancelled video takes to end, by
phase; `--terminate N` how long a server takes to end on SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench.toy_jobs import LOG, undisturbed
from wan22.atomic import write_text
from wan22.jobs.folder import Folder
from wan22.jobs.job import Job
from wan22.jobs.store import Store
from wan22.jobs.supervisor import Patience, Supervisor
from wan22.jobs.task import DEFAULT

TOY = "bench.toy_jobs:toy"
WORKERS = ("cpu0", "cpu1")
AT_WORK = 0.9
"""How many of the signals come while jobs are made, rather than at any time, as while a process starts."""
HANG = 900.0  # seconds without an end that count as a defect

REAL: tuple[dict[str, Any], ...] = (
    {"prompt": "a red ball rolls left at sunset", "steps": 6, "frames": 5, "seed": 1},
    {"prompt": "a blue cube spins at night", "steps": 4, "frames": 9, "seed": 2},
    {"prompt": "a yellow robot, pan left", "steps": 5, "frames": 5, "seed": 3, "solver": "dpm++"},
    {"prompt": "@0s a red ball rolls left @3s it stops", "steps": 3, "frames": 29, "seed": 4},  # two clips
)
"""Requests for the embedded model; the jobs take them in turn."""


@dataclass
class Report:
    """What was counted. All but the first line, and `redone`, must be 0.

    overlaps: times that a worker went on with a job after another had begun it (a stopped one ends its step). redone:
    steps that were begun again. orphans: processes and files that were left over after the end.
    """

    jobs: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    redone: int = 0
    overlaps: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    orphans: int = 0
    bad_ends: int = 0
    poisoned: int = 0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether nothing went wrong; a job that was killed three times without a step was tried again."""
        return not (self.lost or self.doubled or self.wrong or self.orphans or self.bad_ends)


class Server:
    """A process with two workers: a server as of `wan22 serve`, or without `http` the supervisor alone."""

    def __init__(self, folder: Folder, runner: str, *, http: bool = False) -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", "bench.job_kills", "--serve", str(folder.path)]
        self._command += ["--runner", runner, *(["--http"] if http else ())]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def again(self) -> None:
        """Start it anew after its end."""
        self.process.wait()
        self.process = self._start()

    def worker(self, name: str) -> int | None:
        """The process of a worker, if one holds the name."""
        lock = self.folder.path / "workers" / f"{name}.lock"
        with suppress(OSError, IndexError, ValueError):
            pid = int(lock.read_text().split("-")[1])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"wan22.jobs.worker" in command and str(self.folder.path).encode() in command:
                return pid
        return None

    def workers(self) -> list[int]:
        return [pid for name in WORKERS if (pid := self.worker(name)) is not None]

    def close(self) -> None:
        """Kill whatever is there."""
        for pid in (self.process.pid, *self.workers()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def serve(data: Path, runner: str, *, http: bool) -> int:
    """The process that is killed: until SIGTERM."""
    if http:
        from wan22.server.serve import serve as serve_http
        from wan22.server.settings import Settings

        settings = Settings(port=0, devices=("cpu", "cpu"), runner=runner)
        serve_http(data, settings, lambda url, _: write_text(_address(data), url))
        return 0
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: over.append(number))
    supervisor = Supervisor(data, ["cpu", "cpu"], runner=runner, patience=Patience(lease=2.0, stall=120.0))
    supervisor.start()
    while not over:
        time.sleep(0.02)
    return 0 if supervisor.stop(60.0) else 1


def _address(data: Path) -> Path:
    return data.parent / f"{data.name}.address"


@contextmanager
def serving(folder: Folder, runner: str, *, http: bool = False) -> Generator[tuple[Server, Store]]:
    server = Server(folder, runner, http=http)
    try:
        with folder.open_store() as store:
            yield server, store
    finally:
        server.close()


class Client(threading.Thread):
    """Adds jobs, each under a key, until the server has said that it has them; some of them once more.

    Without `http` they are added to the store itself.
    """

    def __init__(self, store: Store, data: Path, requests: Sequence[dict[str, Any]], *, http: bool) -> None:
        super().__init__(daemon=True)
        self._add = self._over_http if http else self._to_store
        self._store, self._data, self._requests = store, data, requests
        self.doubled = 0

    def run(self) -> None:
        for number, request in enumerate(self._requests):
            ids = {self._add(request, f"key-{number}") for _ in range(1 + (number % 5 == 0))}
            self.doubled += len(ids) - 1

    def _to_store(self, request: dict[str, Any], key: str) -> str:
        return self._store.add("video", request, key=key).id

    def _over_http(self, request: dict[str, Any], key: str) -> str:
        body = json.dumps({"kind": "video", "request": request}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        while True:
            try:
                url = f"{_address(self._data).read_text()}/v1/jobs"
                with urlopen(Request(url, body, headers), timeout=30) as answer:
                    return json.load(answer)["id"]
            except (OSError, HTTPException, ValueError):  # killed, not yet there, or about to end
                time.sleep(0.2)


def kill_jobs(
    data: Path, requests: Sequence[dict[str, Any]], kills: int, *, runner: str = TOY, http: bool = False,
    pause: tuple[float, float] = (0.0, 0.5), seed: int = 0, right: Callable[[Folder, Job], bool] | None = None,
) -> Report:  # fmt: skip
    """Make jobs of `requests` in a new data folder while processes are killed; count. `right` looks at a result."""
    rng, began, folder, report = random.Random(seed), time.monotonic(), Folder(data), Report(len(requests))
    with serving(folder, runner, http=http) as (server, store):
        client = Client(store, data, requests, http=http)
        client.start()

        def is_open() -> bool:
            return client.is_alive() or _open(store, report)

        while is_open() and sum(report.kills.values()) < kills:
            if rng.random() < AT_WORK:
                seen = store.last_event()
                _wait(lambda seen=seen: store.last_event() > seen or not is_open())
            time.sleep(rng.uniform(*pause))
            _strike(server, rng, report)
        _wait(lambda: not is_open())
        _end(server, report)
        server.again()  # what was left by the last kill goes with the next start
        _wait(lambda: len(server.workers()) == len(WORKERS))
        _end(server, report)
        made = store.jobs(limit=100_000)
        report.doubled += client.doubled + abs(len(made) - len(requests))
        for job in made:
            _look(folder, store, job, report, right or _is_undisturbed)
        report.orphans += len(server.workers()) + len(list(data.rglob("*.part")))
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _strike(server: Server, rng: random.Random, report: Report) -> None:
    """Kill, stop or end the server or a worker."""
    how = rng.choices(
        ("kill worker", "kill server", "stop worker", "end worker", "end server"), (55, 20, 8, 10, 7)
    )[0]
    if how == "end server":
        _end(server, report)
        server.again()
    elif how == "kill server":
        server.process.kill()
        server.again()
    else:
        pids = server.workers()
        if not pids:
            return
        number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "end": signal.SIGTERM}[how.split()[0]]
        with suppress(ProcessLookupError):
            os.kill(rng.choice(pids), number)
    report.kills[how] = report.kills.get(how, 0) + 1


def _end(server: Server, report: Report) -> None:
    """SIGTERM; the process ends with 0, unless a stopped worker had to be killed."""
    stopped = any(_is_stopped(pid) for pid in server.workers())
    server.process.terminate()
    try:
        code = server.process.wait(HANG)
    except subprocess.TimeoutExpired:
        code = -1
        server.process.kill()
    # A signal may come before the process has a handler.
    report.bad_ends += code not in (0, -signal.SIGTERM) and not (stopped and code == 1)


def _is_stopped(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def _open(store: Store, report: Report) -> bool:
    """Whether jobs are left to make; one that was killed three times in a row without a step is tried again."""
    for job in store.jobs(states=["failed"], limit=1000):
        if (job.error or {}).get("code") == "poison":
            store.retry(job.id)
            report.poisoned += 1
    count = store.count()
    return count["queued"] + count["running"] > 0


def _wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + HANG
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError("the jobs do not end")
        time.sleep(0.05)


def _look(
    folder: Folder, store: Store, job: Job, report: Report, right: Callable[[Folder, Job], bool]
) -> None:
    """Count what is wrong with a job that should be complete."""
    states = [e.data["state"] for e in store.events(job=job.id, limit=100_000) if e.data["type"] == "state"]
    report.lost += job.state != "completed"
    report.doubled += states.count("completed") > 1
    place = folder.job(job.id)
    report.wrong += job.state == "completed" and not right(folder, job)
    report.orphans += len(list(place.glob("work-*"))) + (place / "journal").exists()
    if (log := place / LOG).exists():
        lines = [line.split() for line in log.read_text().splitlines()]
        report.redone += len(lines) - len({step for _, step in lines})
        turns = [pid for at, (pid, _) in enumerate(lines) if at == 0 or lines[at - 1][0] != pid]
        report.overlaps += len(turns) - len(set(turns))


def _is_undisturbed(folder: Folder, job: Job) -> bool:
    return (folder.job(job.id) / "video.mp4").read_text() == undisturbed(job.request)


def toys(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [{"prompt": f"toy {n}", "seed": n, "steps": rng.randint(5, 40)} for n in range(count)]


def kill_real(
    data: Path, count: int, kills: int, *, pause: tuple[float, float] = (0.0, 6.0), seed: int = 0
) -> Report:
    """As `kill_jobs`, with videos of the embedded model, whose frames must be those of an undisturbed run."""
    requests = [REAL[number % len(REAL)] for number in range(count)]
    different = [json.loads(text) for text in {json.dumps(request): None for request in requests}]
    frames: dict[str, str] = {}
    with serving(Folder(data / "undisturbed"), DEFAULT) as (_, store):
        made = {store.add("video", request).id: request for request in different}
        _wait(lambda: not _open(store, Report()))
        for id, request in made.items():
            frames[json.dumps(request)] = _frames(store.job(id))

    def right(folder: Folder, job: Job) -> bool:
        del folder
        return _frames(job) == frames[json.dumps(job.request)]

    return kill_jobs(data / "killed", requests, kills, runner=DEFAULT, pause=pause, seed=seed, right=right)


def _frames(job: Job) -> str:
    """The hash of a video's frames; of a long one, those of its clips."""
    recipe = (job.result or {})["recipe"]
    return json.dumps(recipe.get("frames_sha256") or recipe["clips_sha256"])


LONG = {"prompt": "a red ball rolls left at sunset", "steps": 8, "frames": 17, "size": [512, 320], "seed": 1}


def cancel_latency(data: Path, times: int) -> dict[str, list[float]]:
    """Seconds from `cancel` to the state `cancelled`, in each phase of a video of the embedded model."""
    found: dict[str, list[float]] = {}
    with serving(Folder(data), DEFAULT) as (_, store):
        for phase in ("claim", "text", "load", "denoise", "step", "decode", "frames"):
            for number in range(times):
                job = store.add("video", LONG | {"seed": number})
                _wait(lambda job=job, phase=phase: _has_begun(store, job.id, phase))
                began = time.monotonic()
                with suppress(Exception):  # it was complete by then
                    store.cancel(job.id)
                _wait(lambda job=job: store.job(job.id).state in ("cancelled", "completed"))
                if store.job(job.id).state == "cancelled":
                    found.setdefault(phase, []).append(round(time.monotonic() - began, 3))
    return found


def _has_begun(store: Store, id: str, phase: str) -> bool:
    """Whether a job has come to a phase, or to the kind of event that is named."""
    kinds = {"claim": "state", "step": "progress", "frames": "frames"}
    events = store.events(job=id)
    if phase == "claim":
        return any(e.data.get("state") == "running" for e in events)
    if phase in kinds:
        return any(e.data["type"] == kinds[phase] for e in events)
    return any(e.data["type"] == "phase" and e.data["name"] == phase for e in events)


def terminate_at_random(data: Path, times: int, seed: int = 0) -> list[dict[str, Any]]:
    """SIGTERM to the process of a supervisor at random moments of one video; exit codes and seconds."""
    rng, found, folder = random.Random(seed), [], Folder(data)
    with folder.open_store() as store:
        for _ in range(times):
            store.add("video", LONG)
        while len(found) < times:
            server = Server(folder, DEFAULT)
            try:
                _wait(lambda: store.count()["running"] > 0)
                time.sleep(rng.uniform(0.0, 8.0))
                began = time.monotonic()
                server.process.terminate()
                code = server.process.wait(HANG)
                found.append({"code": code, "seconds": round(time.monotonic() - began, 2)})
            finally:
                server.close()
            assert store.count()["running"] == 0, "a job was not given back"
            if store.count()["queued"] == 0:
                store.add("video", LONG)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.job_kills", description=__doc__)
    parser.add_argument("--jobs", type=int, default=300, metavar="N", help="toy jobs")
    parser.add_argument("--kills", type=int, default=200, metavar="N")
    parser.add_argument("--real", type=int, default=0, metavar="N", help="videos of the embedded model")
    parser.add_argument("--real-kills", type=int, default=20, metavar="N")
    parser.add_argument("--cancel", type=int, default=0, metavar="N", help="cancel N videos in each phase")
    parser.add_argument("--terminate", type=int, default=0, metavar="N", help="SIGTERM at N moments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", type=Path, metavar="DATA", help=argparse.SUPPRESS)
    parser.add_argument("--runner", default=TOY, help=argparse.SUPPRESS)
    parser.add_argument("--http", action="store_true", help="kill whole servers, and add jobs over HTTP")
    options = parser.parse_args(arguments)
    if options.serve is not None:
        return serve(options.serve, options.runner, http=options.http)
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[1]))
    good = True
    with tempfile.TemporaryDirectory(prefix="job-kills-") as place:
        if options.jobs:
            requests, more = toys(options.jobs, options.seed), {"seed": options.seed, "http": options.http}
            report = kill_jobs(Path(place) / "toys", requests, options.kills, **more)
            print("toys", json.dumps(asdict(report)), flush=True)
            good &= report.good
        if options.real:
            report = kill_real(Path(place) / "real", options.real, options.real_kills, seed=options.seed)
            print("real", json.dumps(asdict(report)), flush=True)
            good &= report.good
        if options.cancel:
            print("cancel", json.dumps(cancel_latency(Path(place) / "cancel", options.cancel)), flush=True)
        if options.terminate:
            ends = terminate_at_random(Path(place) / "terminate", options.terminate, options.seed)
            print("terminate", json.dumps(ends), flush=True)
            good &= all(end["code"] == 0 for end in ends)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
