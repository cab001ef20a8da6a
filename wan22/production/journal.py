"""A journal: what was computed of a video so far, in a folder, so that it goes on after any end with the same bits.

Each entry is a safetensors file of its own with the hash of its content, written whole under a hidden name and then
renamed. Nothing that is there is overwritten: of two processes that write the same entry the first one wins. An entry
that is damaged counts as missing, and costs the steps from there on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.atomic import put, sync, temporary_file
from wan22.errors import OutputError
from wan22.files import reading

if TYPE_CHECKING:
    from torch import Tensor

    from wan22.engine import Engine
    from wan22.types import ClipDone, Events, Request

OF_THE_MACHINE = ("wan22", "torch", "device", "threads", "gpus", "parallel")
"""What a recipe says that does not make another video: an interrupted one may go on with another."""

_SYNC_SECONDS = 1.0
"""How much work a power failure may cost; that of a process costs none."""


def identity(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe makes the video what it is."""
    return {name: value for name, value in recipe.items() if name not in OF_THE_MACHINE}


class FolderJournal:
    """The journal of one video in `folder`; videos of other recipes have others there. See `types.Journal`.

    `note` takes a sentence if nothing can be written any more: the video goes on without a journal.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any], note: Callable[[str], None]) -> None:
        said = json.dumps(identity(recipe), sort_keys=True, ensure_ascii=False)
        self._key = hashlib.sha256(said.encode()).hexdigest()
        self.folder = folder / self._key[:16]
        self._note = note
        self._open = True
        self._synced = time.monotonic()

    def read(self, name: str) -> dict[str, Tensor] | None:
        """The tensors of an entry, on the CPU; None if it is missing or damaged."""
        from safetensors import safe_open

        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with reading(path, OutputError, "is damaged"), safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                found = {key: file.get_tensor(key) for key in file.keys()}
        except OutputError:
            found, metadata = {}, {}
        if metadata.get("video") == self._key and metadata.get("sha256") == _digest(found):
            return found
        self._note(f"{path.name} in the journal is damaged; the video goes on from before it")
        path.unlink(missing_ok=True)
        return None

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors of an entry, unless it is there."""
        from safetensors.torch import save_file

        if not self._open:
            return
        path = self._path(name)
        if path.exists():
            return
        on_host = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        metadata = {"video": self._key, "sha256": _digest(on_host)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary_file(path) as part:
                save_file(on_host, part, metadata)
                if time.monotonic() - self._synced >= _SYNC_SECONDS:
                    sync(part)
                    self._synced = time.monotonic()
                put(part, path, replace=False)
        except Exception as error:  # also safetensors' own, which wraps the system's
            if path.exists():
                return  # of another process, which made the same
            self._open = False
            self._note(
                f"nothing more can be written to the journal, and the video goes on without it: {error}"
            )

    def drop(self, prefix: str) -> None:
        """Remove the entries whose names begin so: they are no longer needed."""
        for path in self.folder.glob(f"{prefix}*.safetensors"):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the journal: the video is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def journaled(engine: Engine, folder: Path | None, note: Callable[[str], None]) -> Callable[..., Events]:
    """`engine.generate`, with a journal of each request in `folder`, if there is one."""

    def generate(request: Request, done: ClipDone | None = None) -> Events:
        if folder is None:
            return engine.generate(request, done)
        return engine.generate(request, done, FolderJournal(folder, engine.recipe(request), note))

    return generate


def _digest(tensors: Mapping[str, Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
