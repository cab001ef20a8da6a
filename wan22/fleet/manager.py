"""The process that keeps a fleet: a coordinator, and a worker for each device of each machine of the cluster.

    python -m wan22.fleet.manager --data DATA --fleet HOST:PORT --device auto

The server's supervisor starts it, as it starts workers: it has a line of JSON for every change of the workers, at least
one a second, and ends on SIGTERM or when its standard input ends.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan22.errors import DeviceError, Wan22Error
from wan22.fleet import cluster
from wan22.fleet.remote import Link
from wan22.fleet.versions import versions
from wan22.jobs.folder import Folder
from wan22.jobs.job import StoreError
from wan22.jobs.place import WorkerLock
from wan22.jobs.supervisor import PAUSES, Patience, worker_names
from wan22.jobs.task import DEFAULT
from wan22.jobs.watch import report_state
from wan22.jobs.worker import CANNOT_WORK, LEASE, until_end_of_input

_LOOK = 0.25  # seconds between two looks at the fleet
_DRAIN = 17.0  # seconds for workers to give their jobs back; the supervisor waits for 20
_SILENT = 30.0  # seconds without a report after which a worker is killed
_SOON = 60.0  # seconds; a worker that lived longer is started again with the first pause


@dataclass(frozen=True)
class Settings:
    """data: the server's data folder. address: of the cluster, "" for a Ray of our own. devices: of each machine, as
    `--devices` says them. shared: the data folder is seen by every machine.
    """

    data: Path
    address: str
    devices: tuple[str, ...]
    runner: str
    lease: float
    shared: bool


@dataclass
class Member:
    """A worker of the fleet, and how it is."""

    name: str
    node: str
    device: str
    gpus: int
    actor: Any = None
    call: Any = None
    state: str = "starting"
    message: str = ""
    job: str | None = None
    starts: int = 0
    soon: int = 0
    began: float = 0.0
    moved: float = 0.0
    not_before: float = 0.0
    last: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """As the supervisor takes it."""
        return {
            "name": self.name, "device": self.device, "state": self.state, "job": self.job,
            "restarts": max(0, self.starts - 1), "message": self.message,
        }  # fmt: skip


def members(nodes: Sequence[dict[str, Any]], devices: Sequence[str]) -> list[Member]:
    """The workers that a cluster should have: on each node the `devices` that it has; "auto" is each of its GPUs, and
    the CPU of each node where no node has a GPU.
    """
    alive = [node for node in nodes if node["Alive"]]
    gpus = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in alive}
    found = []
    for node in alive:
        id = node["NodeID"]
        asked = [f"cuda:{n}" for n in range(gpus[id])] if any(gpus.values()) else ["cpu"]
        asked = asked if tuple(devices) == ("auto",) else list(devices)
        left = gpus[id]
        for device, name in zip(asked, worker_names(asked) if asked else [], strict=True):
            count = device.count("+") + 1 if device.startswith("cuda") else 0
            if count > left:
                continue  # this node has fewer
            left -= count
            own = (
                "+".join(f"cuda:{n}" for n in range(count)) or device
            )  # Ray shows an actor its own GPUs alone
            found.append(Member(f"{_slug(node)}-{id[:6]}-{name}", id, own, count))
    return found


def _slug(node: dict[str, Any]) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", str(node.get("NodeManagerHostname") or "node").lower()).strip("-")
    return name[:12].strip("-") or "node"


class Manager:
    """Keeps the members of a fleet; `leaving` ends it."""

    def __init__(self, settings: Settings, *, stall: float = Patience.stall) -> None:
        self._settings, self._stall = settings, stall
        self._members: dict[str, Member] = {}
        self.leaving = False

    def run(self) -> None:
        """Work until `leaving`."""
        cluster.connect(self._settings.address, self._settings.data)
        import ray  # after the environment is set: Ray reads it when it is imported

        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "leaving", True))  # Ray has put its own there
        try:
            self._coordinator = cluster.coordinator_actor(self._settings.data)
            self._link: Link = cluster.link_to(self._coordinator)
            self._link.ask("begin_fleet")
            while not self.leaving:
                self._look()
                time.sleep(_LOOK)
            self._drain()
        finally:
            ray.shutdown()

    def _look(self) -> None:
        """Start who is missing, see who has ended or hangs, say how all are."""
        import ray

        wanted = {each.name: each for each in members(ray.nodes(), self._settings.devices)}
        for name in [name for name in self._members if name not in wanted]:
            self._forget(name, "its machine has left the cluster")
        for name, member in wanted.items():
            self._members.setdefault(name, member)
        for member in self._members.values():
            if member.call is None:
                if time.monotonic() >= member.not_before:
                    self._start(member)
            elif ray.wait([member.call], timeout=0)[0]:
                self._ended(member)
        try:
            self._take_reports()
        except StoreError:
            pass  # the coordinator is started again
        self._say()

    def _start(self, member: Member) -> None:
        settings = self._settings
        if member.actor is None:
            member.actor = cluster.worker_actor(member.node, member.gpus)
        member.starts += 1
        member.began = member.moved = time.monotonic()
        member.last = {}
        shared = None
        if settings.shared:
            shared = {
                "data": str(settings.data),
                "name": f"proof-{member.name}",
                "text": secrets.token_hex(16),
            }
            self._link.ask("prove", shared["name"], shared["text"])
        said = {
            "name": member.name, "device": member.device, "runner": settings.runner, "lease": settings.lease,
            "versions": versions(), "shared": shared, "threads": self._threads(member),
        }  # fmt: skip
        member.call = member.actor.work.remote(said, self._coordinator)

    def _threads(self, member: Member) -> int:
        """How many threads a worker may have; 0 if the environment says it."""
        import ray

        if "OMP_NUM_THREADS" in os.environ:
            return int(os.environ["OMP_NUM_THREADS"])
        cores = next((n["Resources"].get("CPU", 1) for n in ray.nodes() if n["NodeID"] == member.node), 1)
        return max(1, int(cores) // sum(other.node == member.node for other in self._members.values()))

    def _ended(self, member: Member) -> None:
        """The worker's call is over: it left, cannot work, or died."""
        import ray
        from ray.exceptions import ActorDiedError, RayError

        try:
            how, why = ray.get(member.call)
        except ActorDiedError as error:  # it does not come back by itself: another is made
            how, why, member.actor = "gone", _short(error), None
        except RayError:
            how, why = "died", ""
        member.call = None
        member.soon = 0 if time.monotonic() - member.began > _SOON else member.soon + 1
        member.not_before = time.monotonic() + PAUSES[min(member.soon, len(PAUSES)) - 1 if member.soon else 0]
        if how == "renew" and member.actor is not None:
            ray.kill(member.actor, no_restart=False)
        failing = how == "cannot" or (how == "gone" and not member.last)
        if failing and why != member.message:
            _log(f"worker {member.name} on {member.device} cannot work: {why}")
        elif member.last and how in ("died", "gone"):
            _log(f"worker {member.name} died; it is started again, and its job goes on")
        member.state, member.message, member.job = (
            ("failing", why, None) if failing else ("starting", "", None)
        )
        if how in ("died", "gone"):
            self._link.ask("gone", member.name)
        if self._settings.shared:
            self._link.ask("proved", f"proof-{member.name}")

    def _forget(self, name: str, why: str) -> None:
        import ray

        member = self._members.pop(name)
        _log(f"worker {name}: {why}; its job goes on elsewhere")
        if member.actor is not None:
            ray.kill(member.actor, no_restart=True)
        self._link.ask("gone", name)

    def _take_reports(self) -> None:
        import ray

        now, reports = time.monotonic(), self._link.once("reports")
        for name, (age, said) in reports.items():
            member = self._members.get(name)
            if member is None or member.call is None or age > now - member.began:
                continue  # of a former life
            if said.get("news") != member.last.get("news") or said.get("job") != member.last.get("job"):
                member.moved = now
            member.state, member.message, member.last = said["state"], "", said
            member.job = said.get("job")
            stalls = said["state"] == "running" and now - member.moved > self._stall
            if age > _SILENT or stalls:
                reason = "has made no progress" if stalls else f"has said nothing for {_SILENT:g} s"
                _log(f"worker {name} {reason}: it is killed, and its job goes on")
                ray.kill(member.actor, no_restart=False)
                member.began = now

    def _drain(self) -> None:
        """Let every worker give its job back."""
        import ray

        until = time.monotonic() + _DRAIN
        calls = [member.call for member in self._members.values() if member.call is not None]
        while calls and time.monotonic() < until:
            try:
                self._link.once("leave")
            except StoreError:
                pass
            self._say()
            calls = ray.wait(calls, num_returns=len(calls), timeout=_LOOK)[1]

    def _say(self) -> None:
        rows = [member.row() for member in self._members.values()]
        report_state({"state": "idle", "workers": rows})


def _short(error: BaseException) -> str:
    """What a person needs of an error of Ray's, which are pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = next((line for line in reversed(lines) if "Error:" in line), "")
    return (named or " ".join(lines[:2]) or type(error).__name__)[:300]


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a process of its own


def run(settings: Settings, name: str) -> int:
    """Keep a fleet until SIGTERM; return the exit code."""
    try:
        with WorkerLock(Folder(settings.data), name, take_over=True):
            Manager(settings).run()
    except (DeviceError, Wan22Error) as error:
        _log(f"the fleet cannot work: {error}")
        report_state({"state": "failing", "message": str(error)})
        return CANNOT_WORK
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m wan22.fleet.manager", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="the server's data folder")
    parser.add_argument("--name", default="fleet", help="of this process")
    parser.add_argument("--fleet", default="", metavar="HOST:PORT", help="a Ray cluster to join")
    parser.add_argument("--device", default="auto", metavar="D,D,...", help="the devices of each machine")
    parser.add_argument("--runner", default=DEFAULT, metavar="MODULE:FUNCTION", help="what makes jobs")
    parser.add_argument("--lease", type=float, default=LEASE, metavar="SECONDS", help="of a job")
    parser.add_argument("--fleet-shared", action="store_true", help="every machine sees the data folder")
    parser.add_argument("--supervised", action="store_true", help="a supervisor started it")
    parser.add_argument("--nice", type=int, default=0, help=argparse.SUPPRESS)
    said = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until there are workers
    if said.supervised:
        threading.Thread(target=until_end_of_input, daemon=True).start()
    devices = tuple(each.strip() for each in said.device.split(",") if each.strip())
    settings = Settings(said.data.absolute(), said.fleet, devices, said.runner, said.lease, said.fleet_shared)
    return run(settings, said.name)


if __name__ == "__main__":
    sys.exit(main())
