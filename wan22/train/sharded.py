"""Checkpoints that several ranks write together (torch.distributed.checkpoint), and any number of ranks reads.

    CHECKPOINTS/high-00000300/    __0_0.distcp, __1_0.distcp ...    each rank's shards
                                  .metadata                         where every part of every tensor lies
                                  checkpoint.json                   expert, step, notes, checksums of the files

A folder is written under another name and renamed when it is whole, as the file of one process is (checkpoint.py).
"""

from __future__ import annotations

import json
import shutil
import warnings
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from wan22.atomic import sync, temporary_name, write_text
from wan22.errors import OutputError

if TYPE_CHECKING:
    from wan22.parallel.ranks import Ranks

_STATE = "checkpoint.json"
_BLOCK = 1 << 24


def write(control: Ranks, target: Path, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Write all ranks' shards, and what is `said` of them: expert, step, notes. Raises OutputError on every rank."""
    part = Path(control.broadcast(str(temporary_name(target))))
    problem, sums = "", {}
    try:
        part.mkdir(parents=True, exist_ok=True)
        dcp.save(
            dict(tensors),
            storage_writer=dcp.FileSystemWriter(part, single_file_per_rank=True, sync_files=True),
            process_group=control.group,
        )
        sums = {path.name: _checksum(path) for path in part.glob(f"__{control.rank}_*")}
    except (OSError, CheckpointException) as error:
        problem = _said(error)
    of_all = _all(control, {"problem": problem, "sums": sums})
    problem = next((each["problem"] for each in of_all if each["problem"]), "")
    if not problem and control.rank == 0:
        try:
            files = {name: value for each in of_all for name, value in each["sums"].items()}
            files[".metadata"] = _checksum(part / ".metadata")
            write_text(part / _STATE, json.dumps({**said, "files": files}, indent=1) + "\n")
            sync(part)
            part.rename(target)
            sync(target.parent)
        except (OutputError, OSError) as error:
            problem = _said(error)
    problem = control.broadcast(problem)
    if problem:
        if control.rank == 0:
            shutil.rmtree(part, ignore_errors=True)
        raise OutputError(f"{target} cannot be written: {problem}")


def state(path: Path) -> dict[str, Any]:
    """What is said of a checkpoint: expert, step, notes, and the `names` of its tensors.

    Raises ValueError or OSError if it is not whole.
    """
    said = json.loads((path / _STATE).read_text("utf-8"))
    there = {file.name for file in path.iterdir()} - {_STATE}
    wrong = [
        name for name, value in said["files"].items() if name not in there or _checksum(path / name) != value
    ]
    if wrong:
        raise ValueError(f"its checksums are wrong, first that of {wrong[0]}")
    return said | {"names": tuple(_metadata(path))}


def read(control: Ranks | None, path: Path, tensors: dict[str, Tensor]) -> None:
    """Fill `tensors`, each rank's shards of them, in place. Without ranks they are whole ones."""
    group = None if control is None else control.group
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as is meant, of one process
        dcp.load(
            tensors, storage_reader=dcp.FileSystemReader(path), process_group=group, no_dist=control is None
        )


def read_whole(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, for one process."""
    tensors = {name: torch.empty(of.size, dtype=of.properties.dtype) for name, of in _metadata(path).items()}
    read(None, path, tensors)
    return tensors


def _metadata(path: Path) -> dict[str, Any]:
    return dict(dcp.FileSystemReader(path).read_metadata().state_dict_metadata)


def _all(control: Ranks, mine: dict[str, Any]) -> list[dict[str, Any]]:
    """Every rank's JSON object."""
    text = torch.frombuffer(bytearray(json.dumps(mine).encode()), dtype=torch.uint8)
    sizes = control.gather(torch.tensor([len(text)]), 0).tolist()
    parts: Iterable[Tensor] = control.gather(text, 0, sizes).split(sizes)
    return [json.loads(bytes(part.tolist())) for part in parts]


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def _said(error: Exception) -> str:
    inner = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
    return getattr(inner, "strerror", None) or " ".join(str(inner).split())[:300]
