"""Ray as the fleet uses it: started on this machine or joined, with a token; an actor beside the store, one per device.

Only this module and `manager.py` import Ray.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wan22.errors import DeviceError, OptionError
from wan22.fleet.coordinator import Answer, Coordinator
from wan22.fleet.remote import Link, UnreachableError

_STORE = 100 << 20  # bytes of Ray's object store; files pass through it in chunks
_CONNECT = 10.0  # seconds
_ANSWER = 60.0  # seconds for an answer of the coordinator
_HOW = "pip install 'wan22-studio[fleet]'"


def check_address(address: str) -> None:
    """Raise OptionError unless Ray is installed and `address` can be one: HOST:PORT, or "" for a Ray of our own."""
    if importlib.util.find_spec("ray") is None:
        raise OptionError(f"--fleet needs Ray, which is not installed here: {_HOW}")
    host, _, port = address.rpartition(":")
    if address and not (host and "/" not in host and port.isdigit() and 0 < int(port) < 65536):
        raise OptionError(
            f"--fleet takes the address of a Ray cluster as HOST:PORT, such as 10.0.0.1:6379, not {address!r}. "
            "Without an address it starts Ray on this machine"
        )


def connect(address: str, data: Path) -> None:
    """Start Ray on this machine, for this machine alone, or join the cluster at `address`.

    Token authentication is on, unless $RAY_AUTH_MODE says otherwise of a cluster that is joined. Raises DeviceError.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address:
        _check_answers(address)
    else:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.pop("RAY_AUTH_TOKEN", None)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(_own_token(data))
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    how: dict[str, Any] = {"address": address, "logging_level": "error"}
    if not address:
        how |= {
            "address": "local", "include_dashboard": False, "object_store_memory": _STORE,
            "_node_ip_address": "127.0.0.1",
        }  # fmt: skip
    try:
        ray.init(**how)
    except Exception as error:  # Ray raises errors of many kinds, of Python's and its own
        text = " ".join(str(error).split())[:400].rstrip(".")
        if not address:
            raise DeviceError(f"Ray cannot be started here: {text}") from error
        raise DeviceError(
            f"the Ray cluster at {address} cannot be joined: {text}. This machine must be part of it (ray start "
            f"--address {address}), with the cluster's token in a file that $RAY_AUTH_TOKEN_PATH names"
        ) from error


def _check_answers(address: str) -> None:
    """Raise DeviceError if nobody listens at the address: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT).close()
    except OSError as error:
        raise DeviceError(
            f"the Ray cluster at {address} cannot be joined: {error.strerror or error}. Start it (ray start --head), "
            "or name its address"
        ) from error


def _own_token(data: Path) -> Path:
    """The token of the Ray that this folder's server starts, made once, for its owner alone."""
    path = data / "fleet" / "ray-token"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        path.touch(0o600)
        path.write_text(secrets.token_hex(32))
    return path


class CoordinatorActor:
    """The coordinator as an actor of Ray, on the server's machine."""

    def __init__(self, data: str) -> None:
        self._coordinator = Coordinator(Path(data))

    def ask(self, name: str, args: tuple[Any, ...], more: dict[str, Any]) -> Answer:
        return self._coordinator.ask(name, *args, **more)


class WorkerActor:
    """A worker as an actor of Ray, on the machine of its device."""

    def work(self, said: dict[str, Any], coordinator: Any) -> tuple[str, str]:
        """Work until the coordinator ends it: how it ended ("left", "renew", "cannot"), and why."""
        if said["threads"]:  # Ray says 1, before torch is imported
            os.environ["OMP_NUM_THREADS"] = str(said["threads"])
        from wan22.fleet.work import work

        return work(said, link_to(coordinator))


def link_to(coordinator: Any) -> Link:
    """The way to the coordinator's actor, from any process of the cluster."""
    return Link(calling(coordinator))


def calling(coordinator: Any) -> Callable[..., Answer]:
    """A call of the coordinator's actor."""
    import ray
    from ray.exceptions import RayError

    def call(name: str, *args: Any, **more: Any) -> Answer:
        try:
            return ray.get(coordinator.ask.remote(name, args, more), timeout=_ANSWER)
        except RayError as error:  # it died, is started again, or is silent
            raise UnreachableError(f"the coordinator does not answer: {type(error).__name__}") from error

    return call


def coordinator_actor(data: Path) -> Any:
    """Start the coordinator on this machine."""
    import ray

    return (
        ray.remote(CoordinatorActor)
        .options(
            num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=32,
            scheduling_strategy=_on(ray.get_runtime_context().get_node_id()),
        )
        .remote(str(data))
    )  # fmt: skip


def worker_actor(node: str, gpus: int) -> Any:
    """Start a worker on a node of Ray, with so many of its GPUs.

    An actor that dies comes back on the same node. Its call does not come back by itself: a call that Ray repeats
    loses what the first one had said.
    """
    import ray

    return (
        ray.remote(WorkerActor)
        .options(
            num_cpus=0, num_gpus=gpus, max_restarts=-1, max_task_retries=0, scheduling_strategy=_on(node)
        )
        .remote()
    )


def _on(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)
