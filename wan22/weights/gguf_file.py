"""GGUF files (llama.cpp's format, as ComfyUI-GGUF uses it for Wan), tensor by tensor.

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
_PLAIN = ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64")


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

    def read_stored(self, name: str) -> Tensor:
        """The bytes of a tensor in blocks, as uint8 (rows, bytes of a row)."""
        import torch

        with reading(f"{self.path}: {name}", CheckpointError, remedy="Download it again."):
            data = self._tensors[name].data
            return torch.from_numpy(np.array(data)).reshape(-1, data.shape[-1])

    def _tensor(self, name: str, rows: np.ndarray | None = None) -> Tensor:
        """A tensor, or rows of a matrix."""
        import torch

        from wan22.ops import stored

        data, info = self._tensors[name].data, self.infos[name]
        shape = info.shape if rows is None else (len(rows), *info.shape[1:])
        raw = torch.from_numpy(np.array(data if rows is None else data[rows]))
        if info.dtype in _PLAIN:
            return (raw.view(torch.bfloat16) if info.dtype == "BF16" else raw).reshape(shape)
        if info.dtype not in stored.KINDS:
            raise CheckpointError(
                f"{self.path}: {name} is stored as {info.dtype}, which cannot be dequantised. Take a Q8_0, Q4_0, Q5_1 "
                "or K-quant file."
            )
        blocks = {"data": raw.reshape(-1, raw.shape[-1])}
        return stored.dequantise(stored.GGUF(info.dtype), blocks, torch.float32).reshape(shape)

    def close(self) -> None:
        self._tensors = {}
