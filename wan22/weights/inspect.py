"""Describe a checkpoint from its headers alone, for people and machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wan22.errors import CheckpointError
from wan22.weights.find import find_layout
from wan22.weights.reader import Reader, open_reader
from wan22.weights.recognise import identify, open_native
from wan22.weights.released import structure_hash


def describe(path: str | Path) -> dict[str, Any]:
    """What a weight file, a folder of shards or a model's folder is. Values are plain JSON.

    One network: part, task, variant, dialect, quantised, arch, parameters, tensors, dtypes (count of each),
    bytes, files, hash (of the structure, in official names), metadata. A file that is not recognised has None
    for what is not known, and "problem". A model's folder: layout, boundary, shift, missing, and its parts.
    """
    path = Path(path).expanduser()
    layout = None
    if path.is_dir():
        try:
            layout = find_layout(path)
        except CheckpointError:
            layout = None  # no model; `open_reader` says what else may be wrong
    if layout is None or len(layout.parts.keys() - {"tokenizer"}) < 2:
        with open_reader(path) as reader:
            return _describe(reader)
    parts = {}
    for name, place in layout.parts.items():
        if name == "tokenizer":
            parts[name] = {"path": str(place)}
            continue
        with open_reader(place) as reader:
            parts[name] = _describe(reader)
    return {
        "path": str(path),
        "layout": layout.kind,
        "boundary": layout.boundary,
        "shift": layout.shift,
        "missing": layout.missing,
        "bytes": sum(size for part in parts.values() if isinstance(size := part.get("bytes"), int)),
        "parts": parts,
    }


def _describe(reader: Reader) -> dict[str, Any]:
    try:
        view = open_native(reader)
        identity = asdict(identify(view))
        names, shapes = set(view.source.values()), view.shapes
        problem = None
    except CheckpointError as error:
        identity = dict.fromkeys(("part", "task", "variant", "dialect", "arch", "quantised"))
        names, shapes = set(reader.infos), {name: info.shape for name, info in reader.infos.items()}
        problem = str(error)
    infos = reader.infos
    return {
        "path": str(reader.path),
        **identity,
        "parameters": sum(infos[name].count for name in names),
        "tensors": len(infos),
        "dtypes": dict(Counter(info.dtype for info in infos.values()).most_common()),
        "bytes": sum(file.stat().st_size for file in reader.files),
        "files": [str(file) for file in reader.files],
        "hash": structure_hash(shapes),
        "metadata": reader.metadata,
        "problem": problem,
    }
