"""A checkpoint by the official names of its tensors, whatever dialect it is in.

It imports no torch until one is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan22.weights.dialects import Dialect
from wan22.weights.edits.quantised import Scales, check_numbers, check_unpacked, dequantise
from wan22.weights.reader import Reader

if TYPE_CHECKING:
    from torch import Tensor


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
