"""Where the ranks of one video are: the devices that are asked for, the place that torchrun gave, and whether all fit.

It starts nothing and connects nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wan22.errors import DeviceError, ParallelError
from wan22.memory.device import device_name, devices, pick_device
from wan22.version import __version__

_MOST_ON_CPU = max(8, os.cpu_count() or 1)
"""Processes on the CPU: more than it has cores are only tried out."""


def devices_of(device: str, gpus: int | None) -> list[str] | None:
    """The devices that are to work together, a rank each; None: one device works alone.

    device: as `load` takes it, or several with plus signs, "cuda:0+cuda:1". gpus: their number, of this machine.
    Raises ParallelError for devices that are not here or not of one kind, OptionError as `pick_device`.
    """
    named = [name.strip() for name in str(device).split("+")]
    if gpus is not None and (not isinstance(gpus, int) or isinstance(gpus, bool) or gpus < 1):
        raise ParallelError(f"gpus must be a whole number from 1, not {gpus!r}")
    if len(named) == 1:
        if gpus is None or gpus == 1:
            return None
        return _first(named[0], gpus)
    if gpus is not None and gpus != len(named):
        raise ParallelError(f"gpus is {gpus}, and the device {device} names {len(named)}; say one of both")
    found = [pick_device(name) for name in named]
    kinds = {place.type for place in found}
    if len(kinds) > 1:
        raise ParallelError(
            f"{device} are devices of different kinds; those of one video are all cuda, or all cpu"
        )
    _check_kind(found[0])
    if kinds == {"cuda"} and len(set(found)) < len(found):
        raise ParallelError(f"{device} names a device twice; each rank takes one of its own")
    return [str(place) for place in found]


def _first(device: str, number: int) -> list[str]:
    """The first devices of a kind."""
    place = pick_device(device)
    _check_kind(place)
    if place.type == "cpu":
        if device != "cpu":
            raise ParallelError(
                f"{number} devices are asked for, and this machine has none but the cpu; cpu as the device tries it "
                f"with {number} processes"
            )
        if number > _MOST_ON_CPU:
            raise ParallelError(f"{number} processes are more than this machine's cpu takes, {_MOST_ON_CPU}")
        return ["cpu"] * number
    if ":" in device:
        raise ParallelError(
            f"{number} devices are asked for, and {device} is one; name all, as in cuda:0+cuda:1, or only cuda"
        )
    here = [name for name in devices() if name.startswith("cuda")]
    if number > len(here):
        raise ParallelError(
            f"{number} devices are asked for, and this machine has {len(here)} ({', '.join(here)}). Ask for at most "
            f"{len(here)}; several machines work together by torchrun (docs/scaling.md)"
        )
    return here[:number]


def _check_kind(place: torch.device) -> None:
    if place.type not in ("cuda", "cpu"):
        raise ParallelError(
            f"{place.type} devices do not work together; cuda devices do, and processes on the cpu"
        )


@dataclass(frozen=True)
class World:
    """The place that torchrun gave to this process."""

    rank: int
    size: int
    local: int


def world() -> World | None:
    """The place of this process, if torchrun or its like started it as one of several."""
    said = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    if not all(text.isdigit() for text in said[:2]) or int(said[1]) < 2:
        return None
    return World(int(said[0]), int(said[1]), int(said[2]) if said[2].isdigit() else 0)


def facts(device: torch.device) -> dict[str, Any]:
    """What must be equal on all ranks, and where this one is."""
    return {
        "wan22": __version__,
        "torch": torch.__version__,
        "kind": device_name(device),
        "host": socket.gethostname(),
        "device": str(device),
    }


_SAID = {"wan22": "the version of wan22", "torch": "the version of torch", "kind": "the kind of device"}


def check_facts(found: Sequence[Mapping[str, Any]]) -> None:
    """Raise ParallelError if what the ranks say of themselves, in order, does not fit together."""
    for rank, fact in enumerate(found):
        if "error" in fact:
            raise ParallelError(f"rank {rank}: {fact['error']}")
    first = found[0]
    for name, said in _SAID.items():
        for rank, fact in enumerate(found):
            if fact[name] != first[name]:
                raise ParallelError(
                    f"{said} must be the same on all ranks: rank 0 on {first['host']} has {first[name]}, and rank "
                    f"{rank} on {fact['host']} has {fact[name]}"
                )
    taken: dict[tuple[str, str], int] = {}
    for rank, fact in enumerate(found):
        place = fact["host"], fact["device"]
        if fact["device"] != "cpu" and place in taken:
            raise ParallelError(
                f"ranks {taken[place]} and {rank} both have {place[1]} of {place[0]}; each needs its own"
            )
        taken[place] = rank


def check_equal(what: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Raise ParallelError if a rank has something else than rank 0 under any name."""
    for rank, values in enumerate(found):
        for name in {**found[0], **values}:
            if values.get(name) != found[0].get(name):
                raise ParallelError(
                    f"{what} {name!r} differ: rank 0 has {found[0].get(name)}, and rank {rank} has {values.get(name)}"
                )


def local_device(name: str, mine: World) -> torch.device | str:
    """The device of this rank of torchrun's, or why there is none."""
    if "+" in name:
        return "devices are named to the ranks by torchrun; leave --device out, or say cpu or cuda"
    try:
        place = pick_device(name)
    except DeviceError as error:
        return str(error)
    if place.type == "cpu":
        return place
    if place.type != "cuda":
        return f"{place.type} devices do not work together; cuda devices do, and processes on the cpu"
    here = torch.cuda.device_count()
    if mine.local >= here:
        return f"there is no device cuda:{mine.local}: the machine has {here}; take --nproc-per-node {here}"
    return torch.device("cuda", mine.local)
