"""Tensors on the disk, each file named by the hash of what made it, and checked whenever it is read.

A file appears whole or not at all, so that work may be killed at any moment and goes on where it was. Other settings
give other names: nothing is ever used by mistake, and nothing is removed. It knows tensors and files, no clip.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from wan22.atomic import swept, written
from wan22.errors import CheckpointError, OutputError
from wan22.train.settings import present_names
from wan22.version import __version__
from wan22.weights.writer import write_tensors

Shapes = Mapping[str, tuple[int, ...]]

OLD_TENSORS = {"heard": "audio", "known": "channels"}
"""Tensors of entries by the names that they had in earlier versions; such entries are read as they are."""

_HASHED_AS = {
    "conditioning": "told",
    "audio_encoder": "audio",
    "audio": "sound",
    "silence_rms": "hush",
}
"""Settings by the names under which they are hashed: those of earlier versions, so that their entries are found."""

_SUFFIX = ".safetensors"
_SPARE = 16_000_000  # a disk that is full to the last byte breaks other programs


class Store:
    """One kind of entries in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Make the folder. Raises OutputError if that cannot be."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            swept(folder)
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror or error}.") from error

    def keys(self) -> set[str]:
        """The entries that are there, unread."""
        return {path.stem for path in self.folder.glob(f"*{_SUFFIX}")}

    def path(self, key: str) -> Path:
        """Where an entry is, or would be."""
        return self.folder / f"{key}{_SUFFIX}"

    def read(self, key: str, shapes: Shapes | None = None) -> dict[str, Tensor]:
        """Read an entry, checked: its tensors' names and `shapes` if given, and the hash of every one.

        Raises CheckpointError if it is not there or not what was written.
        """
        path = self.path(key)
        try:
            # Into memory of its own: a mapped file that is cut while it is in use kills the program.
            content = path.read_bytes()
            tensors = load(content)
            marks = json.loads(_notes(content).get("sha256", "{}"))
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged or missing: {error}. Prepare the data again."
            ) from error
        wrong = [name for name, tensor in tensors.items() if marks.get(name) != mark(tensor)]
        if wrong or marks.keys() != tensors.keys():
            what = ", ".join(wrong or sorted(marks.keys() ^ tensors.keys()))
            raise CheckpointError(f"{path} is damaged: {what} is not as written. Prepare the data again.")
        tensors = present_names(tensors, OLD_TENSORS)
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes is not None and found != {name: tuple(shape) for name, shape in shapes.items()}:
            raise CheckpointError(f"{path} holds {found}, not {dict(shapes)}. Prepare the data again.")
        return tensors

    def write(self, key: str, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
        """Write an entry, whole or not at all, with what made it. Raises OutputError."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        marks = {name: mark(tensor) for name, tensor in whole.items()}
        notes = {
            "wan22": __version__,
            "settings": json.dumps(settings, sort_keys=True),
            "sha256": json.dumps(marks),
        }
        write_tensors(self.path(key), whole, notes)


def key_of(settings: Mapping[str, Any]) -> str:
    """The name of what these settings (JSON values) make: 32 hexadecimal digits of their SHA-256."""
    hashed = {_HASHED_AS.get(name, name): value for name, value in settings.items()}
    assert len(hashed) == len(settings)
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:32]


def _notes(content: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file: its length in 8 bytes, then JSON."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__", {})


def mark(tensor: Tensor) -> str:
    """The SHA-256 of a tensor's dtype and bytes."""
    digest = hashlib.sha256(str(tensor.dtype).encode())
    digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_room(folder: Path, needed: int) -> None:
    """Raise OutputError if the disk of `folder` has not `needed` bytes free, and some to spare."""
    free = shutil.disk_usage(folder).free
    if needed and needed + _SPARE > free:
        raise OutputError(
            f"{folder} needs {_size(needed)} for encoded clips and {_size(_SPARE)} to spare, and the disk has "
            f"{_size(free)} free. Free some space, choose another folder, or train on fewer or smaller clips."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


class Contents:
    """The SHA-256 of files; those whose length and date are as before are not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list] = {}
        if path.is_file():
            try:
                self._known = dict(json.loads(path.read_text("utf-8")))
            except (OSError, ValueError, TypeError, RecursionError):  # only a shortcut: it is made again
                self._known = {}

    def of(self, path: Path) -> str:
        """The hash of a file's content; OSError if it cannot be read."""
        real = path.resolve()
        stat = real.stat()
        known = self._known.get(str(real))
        if isinstance(known, list) and len(known) == 3 and known[:2] == [stat.st_size, stat.st_mtime_ns]:
            return str(known[2])
        with real.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[str(real)] = [stat.st_size, stat.st_mtime_ns, digest]
        return digest

    def save(self) -> None:
        """Remember for the next time."""
        with written(self._path) as part:
            part.write_text(json.dumps(self._known))
