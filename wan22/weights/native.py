"""A checkpoint by the official names of its tensors, whatever dialect it is in.

It imports no torch until one is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan22.weights.dialects import Dialect
from wan22.weights.edits.quantised import (
    Scales,
    check_numbers,
    check_unpacked,
    dequantise,
    form_of,
    scale_buffer,
)
from wan22.weights.folded import FoldedReader
from wan22.weights.reader import Reader

if TYPE_CHECKING:
    from torch import Tensor

    from wan22.ops.stored import Form


@dataclass(frozen=True)
class Native:
    """A checkpoint seen through its dialect: official names, and which tensor of the file each one is.

    `unknown` are tensors of the file that the dialect has no name for.
    """

    reader: Reader
    dialect: Dialect
    source: Mapping[str, str]
    unknown: tuple[str, ...]
    scales: Scales

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, by official name."""
        return {name: self.reader.infos[source].shape for name, source in self.source.items()}

    def read(self, name: str) -> Tensor:
        """Read one tensor by its official name; if it is stored quantised, in float32."""
        source = self.source[name]
        tensor = self.reader.read(source)
        scale = self.scales.of.get(source)
        if scale is None:
            return tensor
        return dequantise(tensor, self.reader.read(scale), self.scales.rotated.get(source, 0))

    def form(self, name: str) -> Form | None:
        """How the file keeps a matrix that is quantised, row by row; None for any other tensor."""
        from wan22.ops import stored
        from wan22.weights.dtypes import DTYPES

        source = self.source[name]
        info = self.reader.infos[source]
        if len(info.shape) != 2:
            return None
        if scale := self.scales.of.get(source):
            return form_of(
                DTYPES[info.dtype], self.reader.infos[scale].shape, self.scales.rotated.get(source, 0)
            )
        if info.dtype in stored.KINDS:
            # A producer may have laid the numbers of other shapes in rows of whole blocks.
            return None if info.shape[1] % stored.KINDS[info.dtype].numbers else stored.GGUF(info.dtype)
        dtype = DTYPES.get(info.dtype)
        return stored.Cast(dtype) if dtype in stored.FLOAT8 else None

    def quantised(self, name: str) -> bool:
        """Whether the file keeps a tensor in fewer bits than a float has, in whatever shape."""
        from wan22.ops.stored import KINDS

        source = self.source[name]
        return source in self.scales.of or self.reader.infos[source].dtype in KINDS

    def read_stored(self, name: str) -> dict[str, Tensor]:
        """What the file keeps of a matrix that has a `form`."""
        source = self.source[name]
        info, scale = self.reader.infos[source], self.scales.of.get(source)
        data = self.reader.read_stored(source).reshape(info.shape[0], -1)
        return (
            {"data": data}
            if scale is None
            else {"data": data, "scale": scale_buffer(self.reader.read(scale))}
        )

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        """Read some rows (n,) of a matrix as `read` gives them; where the file allows it, nothing else is read."""
        source = self.source[name]
        if source in self.scales.of:
            return self.read(name)[rows]
        return self.reader.read_rows(source, rows)


def seen_through(reader: Reader, dialect: Dialect, scales: Scales) -> Native:
    """See a checkpoint through a dialect. Raises CheckpointError if it is quantised in a way not known here."""
    source, unknown = {}, []
    own = dialect.matches(reader.infos)  # else what it would take for a parameter may be anything
    shapes = {name: info.shape for name, info in reader.infos.items()}
    if own and (made := dialect.fold.made(shapes, dialect.prefix)):
        reader = FoldedReader(reader, made, scales)
    for name in reader.infos:
        if name in scales.aside or dialect.ignores(name):
            continue
        ours = dialect.to_native(name)
        if ours is None or ours in source:
            unknown.append(name)
        else:
            if own:
                check_numbers(reader, name, scales)
            source[ours] = name
    if own:
        check_unpacked(reader, dialect.part, source)
    return Native(reader, dialect, source, tuple(unknown), scales)
