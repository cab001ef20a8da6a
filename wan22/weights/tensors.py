"""What a file of weights says of its tensors, whatever its format: names of dtypes, shapes and sizes.

It imports no torch, so that what reads headers alone is quick; dtypes.py has the same names as dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from wan22.errors import CheckpointError
from wan22.files import reading

if TYPE_CHECKING:
    from torch import Tensor

ITEM_BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""The dtype names of the safetensors format, which this package uses for files of every kind, and bytes of a number."""


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor. `dtype` is a name of `ITEM_BYTES`, or a GGUF kind such as "Q4_K";
    `nbytes` is the size of its data in the file.
    """

    shape: tuple[int, ...]
    dtype: str
    nbytes: int

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


class FileBytes:
    """An open file, read at any place by any thread. It is not mapped: the memory in use is what was asked for, and a
    file that is cut off or on a failing network disk is an error, not a crash.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._file = path.open("rb", buffering=0)

    def read(self, count: int) -> bytes:
        """The next `count` bytes, or what there is."""
        return self._file.read(count)

    def read_into(self, view: memoryview, offset: int, what: str) -> None:
        """Fill `view` from `offset` on. Raises CheckpointError if the file ends within `what`."""
        with self._lock, reading(f"{self.path}: {what}", CheckpointError, remedy="Download it again."):
            self._file.seek(offset)
            done = 0
            while done < len(view):
                got = self._file.readinto(view[done:])
                if not got:
                    raise CheckpointError(
                        f"{self.path} ends inside {what}: it was cut off while open. Download it again."
                    )
                done += got

    def close(self) -> None:
        self._file.close()


class WeightFile(Protocol):
    """One file of a checkpoint."""

    path: Path
    infos: dict[str, TensorInfo]
    metadata: dict[str, str]

    def read(self, name: str) -> Tensor: ...

    def read_rows(self, name: str, rows: Tensor) -> Tensor: ...

    def close(self) -> None: ...
