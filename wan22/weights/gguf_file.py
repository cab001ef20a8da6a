"""GGUF files (llama.cpp's format, as ComfyUI-GGUF uses it for Wan): dequantised tensor by tensor.

GGUF stores axes in reverse order and at most
four of them, so producers note the true shape of others in `comfy.gguf.orig_shape.<name>`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wan22.errors import CheckpointError
from wan22.files import reading
from wan22.weights.tensors import TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_ROWS_AT_ONCE = 1 << 24  # elements dequantised together, so that the work space stays near 200 MB


def read_fields(path: Path, prefix: str) -> dict[str, Any]:
    """The metadata whose keys begin with `prefix`: numbers, texts and lists of them. Raises CheckpointError."""
    import gguf

    with reading(path, CheckpointError, "is damaged, cut off, or no GGUF file", "Download it again."):
        fields = gguf.GGUFReader(path).fields
        return {key: field.contents() for key, field in fields.items() if key.startswith(prefix)}


class GGUFFile:
    """One `.gguf` file. Raises CheckpointError if it is cut off or no GGUF."""

    def __init__(self, path: Path) -> None:
        import gguf

        self.path = path
        self.infos: dict[str, TensorInfo] = {}
        self._tensors: dict[str, Any] = {}
        with reading(path, CheckpointError, "is damaged, cut off, or no GGUF file", "Download it again."):
            self._read_header(gguf.GGUFReader(path))

    def _read_header(self, reader: Any) -> None:
        path = self.path
        shapes = {
            key.removeprefix(_ORIGINAL_SHAPE): tuple(int(n) for n in field.contents())
            for key, field in reader.fields.items()
            if key.startswith(_ORIGINAL_SHAPE)
        }
        self.metadata = {
            key: str(field.contents())
            for key, field in reader.fields.items()
            if key.startswith(("general.", "tokenizer.ggml.model")) and len(field.data) == 1
        }
        for tensor in reader.tensors:
            shape = shapes.get(tensor.name, tuple(int(n) for n in reversed(tensor.shape)))
            if math.prod(shape) != int(tensor.n_elements):
                raise CheckpointError(
                    f"{path}: {tensor.name} says shape {shape} for {tensor.n_elements} elements."
                )
            self._tensors[tensor.name] = tensor
            self.infos[tensor.name] = TensorInfo(shape, tensor.tensor_type.name, int(tensor.n_bytes))

    def read(self, name: str) -> Tensor:
        with reading(f"{self.path}: {name}", CheckpointError, remedy="Download it again."):
            return self._tensor(name)

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        with reading(f"{self.path}: {name}", CheckpointError, remedy="Download it again."):
            return self._tensor(name, rows.numpy())

    def _tensor(self, name: str, rows: np.ndarray | None = None) -> Tensor:
        """A tensor, or rows of a matrix."""
        import torch

        data, info = self._tensors[name].data, self.infos[name]
        shape = info.shape if rows is None else (len(rows), *info.shape[1:])
        if rows is not None:
            data = data[rows]
        if info.dtype in ("F32", "F16", "F64", "I8", "I16", "I32", "I64"):
            return torch.from_numpy(np.array(data)).reshape(shape)
        if info.dtype == "BF16":
            return torch.from_numpy(np.array(data)).view(torch.bfloat16).reshape(shape)
        return torch.from_numpy(self._dequantise(name, data)).reshape(shape)

    def _dequantise(self, name: str, data: np.ndarray) -> np.ndarray:
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        stored = data.reshape(-1, data.shape[-1])
        rows, width = len(stored), self.infos[name].count // (tensor.data.size // data.shape[-1])
        out = np.empty((rows, width), dtype=np.float32)
        step = max(1, _ROWS_AT_ONCE // width)
        for row in range(0, rows, step):
            try:
                out[row : row + step] = dequantize(stored[row : row + step], tensor.tensor_type)
            except NotImplementedError:
                raise CheckpointError(
                    f"{self.path}: {name} is stored as {self.infos[name].dtype}, which the package gguf "
                    "cannot dequantise. Take a Q8_0, Q4_0, Q5_1 or K-quant file."
                ) from None
        return out

    def close(self) -> None:
        self._tensors = {}
