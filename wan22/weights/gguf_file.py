"""GGUF files (llama.cpp's format, as ComfyUI-GGUF uses it for Wan), tensor by tensor.

GGUF stores axes in reverse order and at most
four of them, so producers note the true shape of others in `comfy.gguf.orig_shape.<name>`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import CheckpointError
from wan22.files import reading
from wan22.weights.tensors import FileBytes, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."


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
        self._start: dict[str, int] = {}
        self._outer: dict[str, int] = {}  # rows of the innermost axis
        with reading(path, CheckpointError, "is damaged, cut off, or no GGUF file", "Download it again."):
            self._read_header(gguf.GGUFReader(path))
        self._bytes = FileBytes(path)

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
            self._start[tensor.name] = int(tensor.data_offset)
            self._outer[tensor.name] = math.prod(tensor.data.shape[:-1])
            self.infos[tensor.name] = TensorInfo(shape, tensor.tensor_type.name, int(tensor.n_bytes))

    def read(self, name: str) -> Tensor:
        return self._numbers(name, self._rows(name), self.infos[name].shape)

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        import torch

        info = self.infos[name]
        width = info.nbytes // info.shape[0]
        raw = torch.empty(len(rows), width, dtype=torch.uint8)
        for place, row in zip(raw.numpy(), rows.tolist(), strict=True):
            self._bytes.read_into(memoryview(place), self._start[name] + width * row, name)
        return self._numbers(name, raw, (len(rows), *info.shape[1:]))

    def read_stored(self, name: str) -> Tensor:
        """The bytes of a tensor in blocks, as uint8 (rows, bytes of a row)."""
        return self._rows(name)

    def _rows(self, name: str) -> Tensor:
        """The bytes of a tensor by its innermost axis. They are read, not mapped: what is mapped counts as memory."""
        import torch

        raw = torch.empty(self.infos[name].nbytes, dtype=torch.uint8)
        self._bytes.read_into(memoryview(raw.numpy()), self._start[name], name)
        return raw.reshape(self._outer[name], -1)

    def _numbers(self, name: str, raw: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The numbers of rows of bytes; what is in blocks, in float32."""
        import torch

        from wan22.ops import stored
        from wan22.weights.dtypes import DTYPES

        kind = self.infos[name].dtype
        with reading(f"{self.path}: {name}", CheckpointError, remedy="Download it again."):
            if kind in DTYPES:
                return raw.view(DTYPES[kind]).reshape(shape)
            if kind in stored.KINDS:
                return stored.dequantise(stored.GGUF(kind), {"data": raw}, torch.float32).reshape(shape)
        raise CheckpointError(
            f"{self.path}: {name} is stored as {kind}, which cannot be dequantised. Take a Q8_0, Q4_0, Q5_1 or K-quant "
            "file."
        )

    def close(self) -> None:
        self._bytes.close()
