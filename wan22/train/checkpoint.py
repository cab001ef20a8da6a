"""Checkpoints of an expert in training: written under another name, brought to the disk, then renamed.

The last two of every expert are kept. Each holds a checksum of every tensor; a damaged one is passed over, with a
notice, for the one before. Randomness needs no keeping: it is a function of the step (see noise_ranges.generator).
"""

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from wan22.atomic import swept, written
from wan22.errors import CheckpointError, OutputError
from wan22.files import read_json, reading
from wan22.train.recipe import EXPERTS, OLD_NAMES, Recipe
from wan22.weights.dtypes import DTYPE_NAMES
from wan22.weights.reader import TensorInfo
from wan22.weights.writer import write_safetensors

KEPT = 2
"""Checkpoints that are kept of every expert."""

_FREE = (
    "log.every", "log.tensorboard", "memory.offload_inactive_expert", "memory.steps_per_expert_turn",
    "memory.compile", "save", "output", "data.cache", "parallel.context",
    "parallel.gradient_sync",
)  # fmt: skip
"""Settings that change no number of what is learned (compiling: the rounding of some); and all of [validation]."""

_WRITTEN = ("log.jsonl", "checkpoints", "lora", "model", "validation", "tensorboard")
"""What a run writes beside run.json."""

_NAME = re.compile(r"(?P<expert>[a-z]+)-(?P<step>\d{8})(\.safetensors)?")
"""A file of one process, or a folder of several (sharded.py)."""


@dataclass(frozen=True)
class Checkpoint:
    """A state that was read: its step, tensors by name, and the notes beside them."""

    path: Path
    step: int
    tensors: dict[str, Tensor]
    notes: dict[str, Any]
    names: tuple[str, ...] = ()


def save(
    folder: Path, expert: str, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
) -> Path:
    """Write a checkpoint into `folder`, let all but the last two go, and return its path.

    Raises OutputError if it cannot be written (a full disk); those that were there before stay.
    """
    path = folder / f"{expert}-{step:08d}.safetensors"
    infos = {
        name: TensorInfo(tuple(t.shape), DTYPE_NAMES[t.dtype], t.numel() * t.itemsize)
        for name, t in tensors.items()
    }
    metadata = {
        "expert": expert,
        "step": str(step),
        "notes": json.dumps(notes),
        "checksums": json.dumps({name: _checksum(t) for name, t in tensors.items()}),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, infos, lambda name: tensors[name].detach().cpu(), metadata)
    except OutputError as error:
        raise unsaved(folder, expert, step, str(error)) from error
    except OSError as error:
        raise unsaved(folder, expert, step, f"{path} cannot be written: {error.strerror or error}") from error
    let_go(folder, expert)
    return path


def unsaved(folder: Path, expert: str, step: int, why: str) -> OutputError:
    """The error of a checkpoint that could not be written."""
    good = steps_of(folder, expert)
    left = f"the last good one is of step {good[-1]}" if good else "there is none yet"
    return OutputError(
        f"the checkpoint of step {step} was not saved: {why}. Of the expert {expert!r} {left}; make room, and the "
        "same command goes on from there"
    )


def let_go(folder: Path, expert: str) -> None:
    """Remove all checkpoints of an expert but the last two."""
    for old in steps_of(folder, expert)[:-KEPT]:
        _remove(folder, expert, old)


def _remove(folder: Path, expert: str, step: int) -> None:
    folder_of(folder, expert, step).with_suffix(".safetensors").unlink(missing_ok=True)
    shutil.rmtree(folder_of(folder, expert, step), ignore_errors=True)


def folder_of(folder: Path, expert: str, step: int) -> Path:
    """Where several ranks write a checkpoint."""
    return folder / f"{expert}-{step:08d}"


def steps_of(folder: Path, expert: str) -> list[int]:
    """The steps of which there are checkpoints, rising."""
    found = [_NAME.fullmatch(path.name) for path in folder.glob(f"{expert}-*")]
    return sorted({int(match["step"]) for match in found if match and match["expert"] == expert})


def newest(folder: Path, expert: str, log: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint of an expert, or None if there is none; a damaged one is reported to `log`.

    Raises CheckpointError if there are some and all are damaged.
    """
    for partial in folder.glob(f"{expert}-*.partial"):
        partial.unlink()  # left by an end in the middle of writing, in earlier versions
    swept(folder)
    steps = steps_of(folder, expert)
    for step in reversed(steps):
        path = folder_of(folder, expert, step)
        try:
            whole = (_read_folder if path.is_dir() else _read)(path, expert, step)
        except CheckpointError as error:
            log(f"the checkpoint {error} Going back to the one before")
            continue
        for damaged in (other for other in steps if other > step):
            _remove(folder, expert, damaged)
        let_go(folder, expert)  # what an end between writing and letting go left
        return whole
    if steps:
        raise CheckpointError(
            f"all checkpoints of the expert {expert!r} in {folder} are damaged; remove that folder to begin anew"
        )
    return None


def _read(folder: Path, expert: str, step: int) -> Checkpoint:
    """Read a checkpoint; CheckpointError if it is damaged, or of another expert or step."""
    path = folder.with_suffix(".safetensors")
    with reading(path.name, CheckpointError, "is damaged"):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        checksums, notes = json.loads(metadata["checksums"]), json.loads(metadata["notes"])
        wrong = [name for name, tensor in tensors.items() if checksums[name] != _checksum(tensor)]
        if wrong or checksums.keys() != tensors.keys():
            raise ValueError(f"its checksums are wrong{f', first that of {wrong[0]}' if wrong else ''}")
        if not isinstance(notes, dict) or (metadata["expert"], metadata["step"]) != (expert, str(step)):
            raise ValueError("it is of another expert or step")
    return Checkpoint(path, step, tensors, notes, tuple(tensors))


def _read_folder(folder: Path, expert: str, step: int) -> Checkpoint:
    """Read a checkpoint that several ranks wrote, as `_read`."""
    from wan22.train import sharded

    with reading(folder.name, CheckpointError, "is damaged"):
        said = sharded.state(folder)
        if (said["expert"], said["step"]) != (expert, step):
            raise ValueError("it is of another expert or step")
        return Checkpoint(folder, step, sharded.read_whole(folder), said["notes"], said["names"])


def _checksum(tensor: Tensor) -> int:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(memoryview(flat.numpy()))


def claim(folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> None:
    """Begin a run in `folder`, or go on with it. `facts` are what a run depends on besides its recipe.

    Raises CheckpointError, naming the settings that differ, if the folder is of another recipe, model or data.
    The steps of an expert may grow, and what changes no number may change.
    """
    path = folder / "run.json"
    swept(folder)
    new = json.loads(json.dumps({"recipe": recipe.as_table(), "facts": dict(facts)}))
    if path.is_file():
        anew = f"Remove {folder} to begin anew."
        old = read_json(path, CheckpointError, remedy=anew)
        with reading(path, CheckpointError, "is damaged", anew):
            asked = {OLD_NAMES.get(name, name): value for name, value in old["recipe"].items()}
            changes = _changes(asked, new["recipe"]) + _changes(old["facts"], new["facts"])
            changes += _shortened(asked, new["recipe"])
        if changes:
            raise CheckpointError(
                f"{folder} holds a run of another recipe: {'; '.join(changes)}. Take the former values, or another "
                "output"
            )
        if old == new:
            return
    else:
        check_new(folder, _WRITTEN)
    write_json(path, new)


def check_new(folder: Path, names: Sequence[str]) -> None:
    """Raise CheckpointError for a folder in which no run was begun and something has one of the names of its files."""
    for name in names:
        if os.path.lexists(folder / name):
            raise CheckpointError(
                f"{folder / name} is there, and no run was begun in {folder}: it has no run.json. Take another "
                "output, or move it."
            )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        free = name in _FREE or name.startswith(("validation.", "optimiser.steps"))
        if was != now and not free:
            changes.append(f"{name} was {json.dumps(was)} and is {json.dumps(now)}")
    return changes


def _shortened(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The steps that are fewer than before, whether a recipe gives one number for all experts or one for each."""
    whole = "optimiser.steps"

    def of(table: Mapping[str, Any], expert: str) -> int:
        return table.get(whole) or table.get(f"{whole}.{expert}") or 0

    pairs = {f"{whole}.{expert}": (of(old, expert), of(new, expert)) for expert in EXPERTS}
    if len(set(pairs.values())) == 1:
        pairs = {whole: pairs.popitem()[1]}
    return [f"{name} was {was} and is {now}" for name, (was, now) in pairs.items() if 0 < now < was]


def write_json(path: Path, value: object) -> None:
    """Write a small file so that it is whole or not there. Raises OutputError."""
    with written(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
