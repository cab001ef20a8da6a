"""Weights that rest on several ranks: of each block every rank keeps one part of the bytes, and before a block works
the ranks give one another their parts.

A block is a row of bytes here, whatever its tensors are (halves, bytes of quantised weights, blocks of GGUF, factors of
LoRAs), so the parts are equal, and what is gathered has the same bits as what was read. A rank reads from the files
only the tensors of which it keeps something.

The gathers have a process group of their own, so that they go on while the device computes and other collectives are
made; they are begun where the blocks are asked for, so that all ranks begin all collectives in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wan22.memory.device import keep_no_freed_memory
from wan22.memory.stream import ReadBlock, Tensors, layout, tensors_of
from wan22.parallel.ranks import Ranks

ReadSome = Callable[[int, Container[str]], Tensors]
"""Reads these tensors of a block from the files, on the CPU, by their names within the block."""

_PART = 256
"""Bytes of which a part is a multiple."""


@dataclass(frozen=True)
class Share:
    """This rank's part of the bytes of a block, on the device; the tensors of the block, on the meta device, and where
    each begins.
    """

    mine: Tensor
    tensors: Tensors
    places: Mapping[str, int]

    @property
    def nbytes(self) -> int:
        """Bytes of the part."""
        return self.mine.nbytes

    def tensors_in(self, whole: Tensor) -> dict[str, Tensor]:
        """The tensors of the block in all of its bytes."""
        found = {}
        for name, like in self.tensors.items():
            begin = self.places[name]
            found[name] = whole[begin : begin + like.nbytes].view(like.dtype).view(like.shape)
        return found


class SharedWeights:
    """Divides blocks among ranks, which are all there are. Every rank must make one, and do the same with it."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks.twin()

    def lane(self) -> ShareLane:
        """The way of the blocks of one list to the device."""
        return ShareLane(self._ranks)

    def reading(self, blocks: Sequence[nn.Module], read: ReadSome) -> ReadBlock:
        """Reads the shares of blocks, which are on the meta device as they will be."""
        empty = [tensors_of(block) for block in blocks]
        return lambda i: self.cut(empty[i], lambda names: read(i, names))

    def cut(self, tensors: Tensors, read: Callable[[Container[str]], Tensors]) -> Share:
        """Read this rank's part of a block whose tensors are these, on the meta device.

        Raises ValueError if one that is read is of another shape or dtype.
        """
        places, size = layout(tensors)
        each = -(-size // (self._ranks.size * _PART)) * _PART
        begin, end = each * self._ranks.rank, each * (self._ranks.rank + 1)
        mine = torch.zeros(each, dtype=torch.uint8, device=self._ranks.device)
        wanted = {
            name for name, t in tensors.items() if begin < places[name] + t.nbytes and places[name] < end
        }
        found = read(wanted)
        for name in wanted:
            tensor, like, place = found[name], tensors[name], places[name]
            if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
                raise ValueError(f"{name} is {_kind(tensor)}, and is to be {_kind(like)}")
            some = tensor.contiguous().view(-1).view(torch.uint8)[max(begin - place, 0) : end - place]
            start = max(place - begin, 0)
            mine[start : start + some.numel()] = some.to(mine.device)
        return Share(mine, tensors, places)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"


class ShareLane:
    """Gathers a block into one of two buffers (a `memory.stream.Lane`), while the one before is at work.

    A gather begins when the device has done what it was told until then: nothing reads the buffer any more.
    """

    ahead = False

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        if ranks.device.type == "cpu":
            keep_no_freed_memory()  # of what is read most is let go
        self._buffers: list[Tensor | None] = [None, None]
        self._next = 0

    def send(self, block: Share) -> tuple[Tensors, Any]:
        slot, self._next = self._next, 1 - self._next
        size = block.nbytes * self._ranks.size
        buffer = self._buffers[slot]
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[slot] = block.mine.new_empty(size)
        whole = buffer[:size]
        return block.tensors_in(whole), self._ranks.gather_into(whole, block.mine)

    def arrive(self, token: Any) -> None:
        token()

    def leave(self, token: Any) -> None:
        token()

    def close(self) -> None:
        self._buffers = [None, None]
