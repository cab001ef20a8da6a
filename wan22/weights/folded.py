"""A file whose dialect cuts tensors otherwise than we do, seen as if it did not (`dialects/folds.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wan22.errors import CheckpointError
from wan22.weights.dialects.folds import Made
from wan22.weights.edits.quantised import Scales, dequantise
from wan22.weights.reader import Reader
from wan22.weights.tensors import ITEM_BYTES, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor


class FoldedReader(Reader):
    """The tensors of `reader`, with whole ones in place of their pieces. Closing it closes nothing.

    Pieces that are quantised come dequantised, in float32.
    """

    def __init__(self, reader: Reader, made: Mapping[str, Made], scales: Scales) -> None:
        self.path, self.metadata = reader.path, reader.metadata
        self._reader, self._made, self._scales = reader, made, scales
        gone = {piece for whole in made.values() for piece in whole.pieces}
        whole_of = {whole.pieces[0]: name for name, whole in made.items() if whole.pieces}
        self.infos: dict[str, TensorInfo] = {}
        for name, info in reader.infos.items():
            if name in whole_of:
                self.infos[whole_of[name]] = self._info(made[whole_of[name]])
            elif name not in gone:
                self.infos[name] = info
        self.infos |= {name: self._info(whole) for name, whole in made.items() if not whole.pieces}

    @property
    def files(self) -> list[Path]:
        """The files that are open."""
        return self._reader.files

    def where(self, name: str) -> Path:
        """The file that holds the tensor, or its first piece."""
        whole = self._made.get(name)
        if whole is None:
            return self._reader.where(name)
        return self._reader.where(whole.pieces[0]) if whole.pieces else self.files[0]

    def beside(self, name: str) -> dict[str, object]:
        """As the reader's."""
        return self._reader.beside(name)

    def read(self, name: str) -> Tensor:
        """As the reader's, of whole tensors too."""
        import torch

        whole = self._made.get(name)
        if whole is None:
            return self._reader.read(name)
        if not whole.pieces:
            return torch.tensor(whole.values).reshape(whole.shape)
        pieces = [self._piece(piece) for piece in whole.pieces]
        joined = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return joined.T.contiguous() if whole.transposed else joined.reshape(whole.shape)

    def read_stored(self, name: str) -> Tensor:
        """As the reader's; whole tensors as `read` gives them."""
        return self.read(name) if name in self._made else self._reader.read_stored(name)

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        """As the reader's, of whole tensors too."""
        return self.read(name)[rows] if name in self._made else self._reader.read_rows(name, rows)

    def close(self) -> None:
        """Nothing: who opened the files closes them."""

    def _piece(self, name: str) -> Tensor:
        tensor, scale = self._reader.read(name), self._scales.of.get(name)
        if scale is None:
            return tensor
        return dequantise(tensor, self._reader.read(scale), self._scales.rotated.get(name, 0))

    def _info(self, whole: Made) -> TensorInfo:
        kinds = {self._kind(piece) for piece in whole.pieces} or {"F32"}
        if len(kinds) > 1:
            raise CheckpointError(
                f"{self.path}: {' and '.join(whole.pieces)} are one tensor here, and stored as {' and '.join(kinds)}. "
                "Take the official file, or ComfyUI's."
            )
        kind = kinds.pop()
        return TensorInfo(whole.shape, kind, math.prod(whole.shape) * ITEM_BYTES[kind])

    def _kind(self, piece: str) -> str:
        """The dtype that a piece is read in."""
        kind = self._reader.infos[piece].dtype
        return "F32" if piece in self._scales.of or kind not in ITEM_BYTES else kind
