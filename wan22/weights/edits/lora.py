"""LoRAs: add to each weight, while it loads, what every adapter adds to it.

It knows names, shapes and numbers only: what a file's tensors mean is for `weights/lora/` to say. Everything is added
up in float32 on the CPU, in an order that does not depend on who named which file first, so that a video is the same
wherever its weights rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan22.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from wan22.weights.reader import Reader


@dataclass(frozen=True)
class Change:
    """What a file adds to one parameter: `scale` times `up @ down`, or times `up` alone, a full difference.

    `up` and `down` are names in the file; `shape` is that of what is added.
    """

    up: str
    down: str | None
    scale: float
    shape: tuple[int, ...]

    def add_to(self, total: Tensor, reader: Reader, strength: float) -> None:
        """Add to `total`, float32 of as many elements as `shape`."""
        factor = self.scale * strength
        up = finite(reader, self.up).float()
        if self.down is None:
            total.add_(up.reshape(total.shape), alpha=factor)
            return
        down = finite(reader, self.down).float().flatten(1)
        rows = total.view(self.shape[0], -1)
        rows.addmm_(up.flatten(1), down, alpha=factor)

    def pair(self, reader: Reader, strength: float) -> tuple[Tensor, Tensor]:
        """The factors (down, up) in float32, with the scale in `up`. It must be no full difference."""
        down = finite(reader, str(self.down)).float().flatten(1)
        return down, finite(reader, self.up).float().flatten(1) * (self.scale * strength)


def finite(reader: Reader, name: str) -> Tensor:
    """A matrix as it is stored. One number that is not finite would make a whole video so, and the model be blamed for
    it: then it raises CheckpointError.
    """
    matrix = reader.read(name)
    if not bool(matrix.float().isfinite().all()):
        raise CheckpointError(
            f"{reader.path}: {name} holds numbers that are not finite (NaN or infinity), as a training that failed "
            "leaves them. Download the file again, or take an earlier one of that training."
        )
    return matrix


Changes = Mapping[str, tuple[Change, ...]]
"""What a file adds, by the official name of the parameter."""


@dataclass(frozen=True)
class Source:
    """An open file, what it adds to the network at hand, and how strongly."""

    reader: Reader
    changes: Changes
    strength: float


class AddLoRAs:
    """Called with the official name of a parameter and its weight, as it was read: returns it with everything added, in
    float32. It may use the memory of the weight.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def __call__(self, name: str, weight: Tensor) -> Tensor:
        sources = [source for source in self._sources if name in source.changes]
        if not sources:
            return weight
        total = weight.float()
        for source in sources:
            for change in source.changes[name]:
                change.add_to(total, source.reader, source.strength)
        return total

    def rank(self, name: str) -> int | None:
        """The ranks of all pairs that are added to a parameter; None if a full difference is among them."""
        total = 0
        for source in self._sources:
            for change in source.changes.get(name, ()):
                if change.down is None:
                    return None
                total += source.reader.infos[change.down].shape[0]
        return total

    def factors(self, name: str) -> tuple[Tensor, Tensor]:
        """The pairs that are added to a parameter, one behind the other: float32 down (rank, in) and up (out, rank)."""
        import torch

        downs, ups = [], []
        for source in self._sources:
            for change in source.changes.get(name, ()):
                down, up = change.pair(source.reader, source.strength)
                downs.append(down)
                ups.append(up)
        return torch.cat(downs), torch.cat(ups, dim=1)
