"""Describe a checkpoint from its headers alone, for people and machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wan22.errors import CheckpointError
from wan22.weights.find import find_layout
from wan22.weights.lora.file import Adapter, open_adapters, read_adapters
from wan22.weights.lora.fitting import fits
from wan22.weights.lora.names import is_lora, kind_of
from wan22.weights.reader import Reader, open_reader
from wan22.weights.recognise import identify, open_native, parts_of
from wan22.weights.released import structure_hash


def describe(path: str | Path) -> dict[str, Any]:
    """What a weight file, a folder of shards or a model's folder is. Values are plain JSON.

    One network: part, task, variant, dialect, quantised, arch, parameters, tensors, dtypes (count of each),
    bytes, files, hash (of the structure, in official names), metadata. A file that is not recognised has None
    for what is not known, and "problem". A model's folder: layout, boundary, shift, missing, and its parts.

    A LoRA: part "lora", dialect, and "lora": for each expert in the file its expert, said_by, pairs, differences,
    ranks (count of each), changes (tensors of each kind of module), fits (models of the catalogue). A folder with a
    file for each expert: layout "lora pair", and its parts.
    """
    path = Path(path).expanduser()
    layout = None
    if path.is_dir() or _all_in_one(path):
        try:
            layout = find_layout(path)
        except CheckpointError:
            layout = None  # no model; `open_reader` says what else may be wrong
    if layout is None and (pair := _pair(path)):
        return pair
    if layout is None or len(layout.parts.keys() - {"tokenizer"}) < 2:
        with open_reader(path) as reader:
            return _describe(reader)
    parts = {}
    for name, place in layout.parts.items():
        if name == "tokenizer":
            parts[name] = {"path": str(place)}
            continue
        with open_reader(place) as reader:
            parts[name] = _describe(reader, "dit" if name in ("high", "low") else name)
    return {
        "path": str(path),
        "layout": layout.kind,
        "boundary": layout.boundary,
        "shift": layout.shift,
        "missing": layout.missing,
        "bytes": _bytes(parts.values()),
        "parts": parts,
    }


def _all_in_one(path: Path) -> bool:
    """Whether a file holds several networks."""
    try:
        with open_reader(path) as reader:
            return len(parts_of(reader)) > 1
    except CheckpointError:
        return False  # `open_reader` says it again


def _bytes(parts: Iterable[Mapping[str, Any]]) -> int:
    """The bytes on disk of all parts; a file that holds several counts once."""
    files = {tuple(part["files"]): part["bytes"] for part in parts if "files" in part}
    return sum(files.values())


def _pair(path: Path) -> dict[str, Any] | None:
    """What a folder with a LoRA for each expert is; None for any other place."""
    try:
        files = {adapter.expert: adapter.path for adapter in open_adapters(path)} if path.is_dir() else {}
    except CheckpointError:
        return None  # `open_reader` says what is wrong
    if len(set(files.values())) != 2:
        return None
    parts = {}
    for expert, file in files.items():
        with open_reader(file) as reader:
            parts[str(expert)] = _describe(reader)
    return {
        "path": str(path),
        "layout": "lora pair",
        "boundary": None,
        "shift": None,
        "missing": [],
        "bytes": sum(part["bytes"] for part in parts.values()),
        "parts": parts,
    }


def _describe(reader: Reader, part: str | None = None) -> dict[str, Any]:
    if is_lora(reader.infos):
        return _describe_lora(reader)
    try:
        view = open_native(reader, part)
        identity = asdict(identify(view))
        infos, shapes = {name: view.reader.infos[name] for name in view.source.values()}, view.shapes
        problem = identity["problem"]
    except CheckpointError as error:
        identity = dict.fromkeys(("part", "task", "variant", "dialect", "arch", "quantised"))
        infos, shapes = reader.infos, {name: info.shape for name, info in reader.infos.items()}
        problem = str(error)
    counted = sum(info.count for info in infos.values())
    return {
        "path": str(reader.path),
        **identity,
        "parameters": counted,
        **_file(reader, shapes),
        "problem": problem,
    }


def _describe_lora(reader: Reader) -> dict[str, Any]:
    problem, adapters = None, []
    try:
        adapters = read_adapters(reader, said=reader.path.stem, image=None)
    except CheckpointError as error:
        problem = str(error)
    infos = reader.infos
    return {
        "path": str(reader.path),
        "part": "lora",
        **dict.fromkeys(("task", "variant", "arch", "quantised")),
        "dialect": adapters[0].dialect if adapters else None,
        "lora": [_describe_adapter(adapter) for adapter in adapters],
        "parameters": sum(info.count for info in infos.values()),
        **_file(reader, {name: info.shape for name, info in infos.items()}),
        "problem": problem,
    }


def _describe_adapter(adapter: Adapter) -> dict[str, Any]:
    return {
        "expert": adapter.expert,
        "said_by": adapter.said_by or None,
        "pairs": adapter.pairs,
        "differences": adapter.differences,
        "ranks": {str(rank): count for rank, count in adapter.ranks.items()},
        "changes": dict(Counter(kind_of(name) for name in adapter.changes)),
        "fits": fits(adapter),
    }


def _file(reader: Reader, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What is said of a file whatever is in it."""
    infos = reader.infos
    return {
        "tensors": len(infos),
        "dtypes": dict(Counter(info.dtype for info in infos.values()).most_common()),
        "bytes": sum(file.stat().st_size for file in reader.files),
        "files": [str(file) for file in reader.files],
        "hash": structure_hash(shapes),
        "metadata": reader.metadata,
    }
