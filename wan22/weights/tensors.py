"""What a file of weights says of its tensors, whatever its format: names of dtypes, shapes and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The dtype names of the safetensors format, which this package uses for files of every kind."""

DTYPE_NAMES: Mapping[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor. `dtype` is a name of `DTYPES`, or a GGUF kind such as "Q4_K";
    `nbytes` is the size of its data in the file.
    """

    shape: tuple[int, ...]
    dtype: str
    nbytes: int

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


class WeightFile(Protocol):
    """One file of a checkpoint."""

    path: Path
    infos: dict[str, TensorInfo]
    metadata: dict[str, str]

    def read(self, name: str) -> Tensor: ...

    def close(self) -> None: ...
