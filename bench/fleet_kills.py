"""Kill a fleet's workers and the server at random: `python -m bench.fleet_kills --jobs 40 --kills 15`.

Ray is started on this machine; a server joins it and gets jobs of `bench.toy_jobs` from a client that tries again.
Meanwhile SIGKILL comes to an actor, to the fleet's manager or to the server, which is started again. In the end every
job must be complete, once, with the file that an undisturbed run makes. `--real`: a video of the embedded model is
begun by an actor of one node, which is killed, and finished by that of another: the frames must be those of an
undisturbed run. `--leave`: a node goes away for good while it makes jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import job_kills
from bench.job_kills import TOY, Client, Report, _is_undisturbed, _look, _open, _wait, toys
from wan22.atomic import write_text
from wan22.jobs.folder import Folder
from wan22.jobs.store import Store
from wan22.jobs.task import DEFAULT

_STORE = 80 << 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """Ray on this machine, with nodes that can be taken away; nothing else of Ray's on this machine is touched."""

    def __init__(self, place: Path, nodes: int = 1) -> None:
        self._place = place
        place.mkdir(parents=True, exist_ok=True)
        token = place / "ray-token"
        token.write_text(secrets.token_hex(32))
        self.environment = {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0",
            "WAN22_FLEET_SCRATCH": str(place), "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.address = f"127.0.0.1:{free_port()}"
        self.nodes = [self._start("--head", "--port", self.address.rpartition(":")[2])]
        _wait(self._answers)
        self.nodes += [self._start("--address", self.address) for _ in range(nodes - 1)]

    def _start(self, *how: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            "--disable-usage-stats",
            *how,
        ]
        command += ["--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", str(_STORE)]
        command += ["--node-ip-address", "127.0.0.1"]
        command += ["--include-dashboard", "false"] if "--head" in how else []
        with (self._place / f"node-{len(getattr(self, 'nodes', ()))}.log").open("wb") as log:
            return subprocess.Popen(
                command, env=os.environ | self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def _answers(self) -> bool:
        if self.nodes[0].poll() is not None:
            raise RuntimeError((self._place / "node-0.log").read_text()[-2000:])
        with suppress(OSError), socket.create_connection(self.address.rsplit(":", 1), timeout=1):
            return True
        return False

    def processes(self, title: str) -> list[int]:
        """The processes of this cluster whose titles begin so."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                named = (folder / "cmdline").read_bytes().startswith(title.encode())
                if (
                    named
                    and f"WAN22_FLEET_SCRATCH={self._place}".encode() in (folder / "environ").read_bytes()
                ):
                    found.append(int(folder.name))
        return found

    def actors(self) -> list[int]:
        return self.processes("ray::WorkerActor")

    def actor(self, worker: str) -> int:
        """The process of a worker, by its lock."""
        place = self._place / f"wan22-fleet-{os.getuid()}" / worker / "workers" / f"{worker}.lock"
        return int(place.read_text().split("-")[1])

    def take_away(self, number: int) -> None:
        """A node leaves without a word."""
        _kill_group(self.nodes[number])

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.terminate()
        for node in self.nodes:
            with suppress(subprocess.TimeoutExpired):
                node.wait(20)
            _kill_group(node)
        for pid in self.processes(""):
            if pid != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a session: the node's own processes, and the workers that it started in groups of their own."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == process.pid:
                os.kill(int(folder.name), signal.SIGKILL)
    process.wait()


class Server(job_kills.Server):
    """A server as a process, with the cluster's machines as its workers."""

    def __init__(
        self, folder: Folder, runner: str, cluster: Cluster, devices: str = "cpu", *, shared: bool = False
    ) -> None:
        self.folder, self._cluster = folder, cluster
        self._command = [sys.executable, "-m", "bench.fleet_kills", "--serve", str(folder.path)]
        self._command += ["--runner", runner, "--address", cluster.address, "--devices", devices]
        self._command += ["--shared"] if shared else []
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder.path.parent / f"{self.folder.path.name}.log").open("ab") as log:
            return subprocess.Popen(self._command, env=os.environ | self._cluster.environment, stderr=log)

    def manager(self) -> list[int]:
        return [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if b"wan22.fleet.manager" in _read(folder / "cmdline")
            and str(self.folder.path).encode() in _read(folder / "cmdline")
        ]

    def workers(self) -> list[int]:
        return self._cluster.actors()

    def close(self) -> None:
        for pid in (self.process.pid, *self.manager()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _read(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def serve(data: Path, runner: str, address: str, devices: str, *, shared: bool = False) -> int:
    """The process that is killed: until SIGTERM."""
    from wan22.server.serve import serve as serve_http
    from wan22.server.settings import Settings

    settings = Settings(
        port=0, devices=tuple(devices.split(",")), runner=runner, fleet=address, fleet_shared=shared
    )
    serve_http(data, settings, lambda url, _: write_text(job_kills._address(data), url))
    return 0


@contextmanager
def serving(
    folder: Folder, runner: str, cluster: Cluster, devices: str = "cpu", *, shared: bool = False
) -> Generator[tuple[Server, Store]]:
    server = Server(folder, runner, cluster, devices, shared=shared)
    try:
        with folder.open_store() as store:
            yield server, store
    finally:
        server.close()


def kill_fleet(
    data: Path, cluster: Cluster, requests: Sequence[dict[str, Any]], kills: int, *, seed: int = 0,
    pause: tuple[float, float] = (0.5, 3.0), devices: str = "cpu,cpu", shared: bool = False,
) -> Report:  # fmt: skip
    """Make jobs of `requests` in a new data folder while processes are killed; count. shared: workers use it."""
    rng, began, folder, report = random.Random(seed), time.monotonic(), Folder(data), Report(len(requests))
    with serving(folder, TOY, cluster, devices, shared=shared) as (server, store):
        client = Client(store, data, requests, http=True)
        client.start()

        def is_open() -> bool:
            return client.is_alive() or _open(store, report)

        while is_open() and sum(report.kills.values()) < kills:
            seen = store.last_event()  # kills come while jobs are made, not while Python starts
            _wait(lambda seen=seen: store.last_event() > seen or not is_open())
            time.sleep(rng.uniform(*pause))
            _strike(server, rng, report)
        _wait(lambda: not is_open())
        made = store.jobs(limit=100_000)
        report.doubled += client.doubled + abs(len(made) - len(requests))
        _wait(lambda: not list(data.glob("jobs/*/work-*")))
        server.process.terminate()
        report.bad_ends += server.process.wait(job_kills.HANG) not in (0, -signal.SIGTERM)
        _wait(lambda: not server.manager() and not cluster.actors())
        for job in made:
            _look(folder, store, job, report, _is_undisturbed)
        report.orphans += len(list(data.rglob("*.part")))
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _strike(server: Server, rng: random.Random, report: Report) -> None:
    """Kill an actor, the manager or the server."""
    how = rng.choices(("kill actor", "kill manager", "kill server"), (70, 10, 20))[0]
    pids = {"kill actor": server.workers, "kill manager": server.manager}.get(
        how, lambda: [server.process.pid]
    )()
    if not pids:
        return
    with suppress(ProcessLookupError):
        os.kill(rng.choice(pids), signal.SIGKILL)
    if how == "kill server":
        server.again()
    report.kills[how] = report.kills.get(how, 0) + 1


REAL = {"prompt": "a red ball rolls left at sunset", "steps": 8, "frames": 5, "seed": 1, "model": "nano"}


def finish_elsewhere(data: Path, cluster: Cluster) -> dict[str, Any]:
    """A video is begun on one node, which leaves for good; another finishes it. `cluster` has two nodes."""
    with serving(Folder(data), DEFAULT, cluster) as (_, store):
        right = store.add("video", REAL)
        _wait(lambda: not _open(store, Report()))
        job = store.add("video", REAL)
        _wait(lambda: store.job(job.id).step >= 3)
        first, step = store.job(job.id).worker or "", store.job(job.id).step
        os.kill(cluster.actor(first), signal.SIGKILL)
        _wait(lambda: not _open(store, Report()))
        events = [event.data for event in store.events(job=job.id, limit=100_000)]
        workers = [data["worker"] for data in events if data.get("state") == "running"]
        steps = [data["step"] for data in events if data["type"] == "progress"]
        return {
            "workers": workers, "killed_after": step, "steps": steps,
            "same": job_kills._frames(store.job(job.id)) == job_kills._frames(store.job(right.id)),
        }  # fmt: skip


def leave(data: Path, cluster: Cluster, count: int = 4) -> Report:
    """Jobs are at work on two nodes when the second goes away for good."""
    requests = [request | {"steps": 60} for request in toys(count)]
    began, folder, report = time.monotonic(), Folder(data), Report(count)
    with serving(folder, TOY, cluster) as (_, store):
        for request in requests:
            store.add("video", request)
        _wait(lambda: len([job for job in store.jobs(states=["running"]) if job.step > 1]) == 2)
        cluster.take_away(1)
        report.kills["node"] = 1
        _wait(lambda: not _open(store, report))
        for job in store.jobs():
            report.lost += job.state != "completed"
            report.wrong += not _is_undisturbed(folder, job)
            report.redone += sum(e.data.get("state") == "queued" for e in store.events(job=job.id)) - 1
    report.seconds = round(time.monotonic() - began, 1)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet_kills", description=__doc__)
    parser.add_argument("--jobs", type=int, default=40, metavar="N", help="toy jobs")
    parser.add_argument("--kills", type=int, default=15, metavar="N")
    parser.add_argument("--real", action="store_true", help="a video of the embedded model goes on elsewhere")
    parser.add_argument("--leave", action="store_true", help="a node goes away")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("--serve", "--runner", "--address", "--devices"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--shared", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve is not None:
        return serve(
            Path(options.serve), options.runner, options.address, options.devices, shared=options.shared
        )
    good = True
    with tempfile.TemporaryDirectory(prefix="fleet-kills-") as place:
        cluster = Cluster(Path(place) / "ray", 2 if options.real or options.leave else 1)
        try:
            if options.jobs:
                requests = toys(options.jobs, options.seed)
                report = kill_fleet(Path(place) / "toys", cluster, requests, options.kills, seed=options.seed)
                print("toys", json.dumps(asdict(report)), flush=True)
                good &= report.good
            if options.real:
                found = finish_elsewhere(Path(place) / "real", cluster)
                print("real", json.dumps(found), flush=True)
                good &= found["same"] and len(set(found["workers"])) == 2
            if options.leave:
                report = leave(Path(place) / "leave", cluster)
                print("leave", json.dumps(asdict(report)), flush=True)
                good &= report.good
        finally:
            cluster.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
