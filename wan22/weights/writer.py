"""Write safetensors: tensor by tensor, in shards, and never half.

A file is written under another name and renamed when complete, so that what has the right name is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from wan22.atomic import written
from wan22.errors import OutputError
from wan22.weights.dtypes import DTYPE_NAMES, DTYPES
from wan22.weights.reader import TensorInfo

SHARD_BYTES = 10 * 1000**3

Read = Callable[[str], Tensor]


def write_safetensors(
    path: Path,
    infos: Mapping[str, TensorInfo],
    read: Read,
    metadata: Mapping[str, str],
    *,
    replace: bool = True,
) -> None:
    """Write the tensors `infos`, each got from `read` when its turn comes and cast to the dtype of its info.

    Raises OutputError if the place cannot be written.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for name, info in infos.items():
        header[name] = {"dtype": info.dtype, "shape": info.shape, "data_offsets": (end, end + info.nbytes)}
        end += info.nbytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # the data begins at a multiple of eight, for those who map it
    with written(path, replace=replace) as part, part.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for name, info in infos.items():
            tensor = read(name).to(DTYPES[info.dtype]).contiguous()
            assert tuple(tensor.shape) == info.shape, name
            file.write(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    replace: bool = True,
) -> None:
    """Write tensors that are in memory, whole or not at all. Raises OutputError if the place cannot be written."""
    infos = {
        name: TensorInfo(tuple(tensor.shape), DTYPE_NAMES[tensor.dtype], tensor.nbytes)
        for name, tensor in sorted(
            tensors.items(), key=lambda item: (-item[1].itemsize, item[0])
        )  # all aligned
    }
    write_safetensors(path, infos, lambda name: tensors[name].detach().cpu(), metadata or {}, replace=replace)


def write_shards(
    folder: Path,
    stem: str,
    infos: Mapping[str, TensorInfo],
    read: Read,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write `folder/stem.safetensors`, or shards of up to `shard_bytes` (tensors stay whole) and an index."""
    shards = _divide(infos, shard_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    if len(shards) == 1:
        write_safetensors(folder / f"{stem}.safetensors", infos, read, {})
        return
    weight_map = {}
    for i, names in enumerate(shards, start=1):
        name = f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / name, {n: infos[n] for n in names}, read, {})
        weight_map |= dict.fromkeys(names, name)
    total = sum(info.nbytes for info in infos.values())
    write_json(
        folder / f"{stem}.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
    )


def write_json(path: Path, value: object) -> None:
    """Write a JSON file as people like to read it."""
    with written(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def require_room(path: Path, nbytes: int) -> None:
    """Raise OutputError if the disk of `path` has not `nbytes` free, or its folder cannot be written."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path} cannot be written: {folder} is read-only")
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        raise OutputError(f"{path} needs {nbytes / 1e9:.2f} GB; {free / 1e9:.2f} GB are free on its disk")


def _divide(infos: Mapping[str, TensorInfo], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, info in infos.items():
        if shards[-1] and size + info.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += info.nbytes
    return shards
