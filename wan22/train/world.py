"""The processes that train one recipe together, as one of them sees it.

`World` is one process by itself: it computes whole steps, writes every file and asks nobody. distributed.py has the
same for one rank of several, with torch.distributed; a run knows only what stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from wan22.errors import OptionError
from wan22.memory.device import pick_device
from wan22.train import checkpoint

if TYPE_CHECKING:
    from wan22.models.dit import WanDiT
    from wan22.train.expert import Expert

T = TypeVar("T")


@dataclass(frozen=True)
class Portion:
    """What one process computes at a time: share `index` of `of` of the clips of batch `batch` of a step."""

    batch: int = 0
    index: int = 0
    of: int = 1

    def clips(self, count: int) -> tuple[range, bool]:
        """Which of the `count` clips of the batch, and whether their errors count.

        Shares differ by one clip at most. Every process must compute something: who has no clip takes the first one,
        without counting it.
        """
        begin, end = (count * i // self.of for i in (self.index, self.index + 1))
        return (range(begin, end), True) if begin < end else (range(1), False)


WHOLE = Portion()
"""All clips of the first batch."""


def portions(shares: int, share: int, batch_size: int, batches: int) -> list[Portion]:
    """What one of `shares` processes computes of a step of `batches` batches, in this order; all have equally many.

    A batch is divided by as many processes as divide its size, and the batches of a step by the others. Raises
    OptionError if neither goes.
    """
    of = math.gcd(batch_size, shares)
    together = shares // of  # batches that are at work at once
    if batches % together:
        fitting = [n for n in range(1, shares) if not batches % (n // math.gcd(batch_size, n))]
        size = math.ceil(batch_size * batches / shares)
        raise OptionError(
            f"optimiser.batch_size = {batch_size} x optimiser.gradient_accumulation = {batches} cannot be divided by "
            f"{shares} shares of a step: take {_either(fitting)} of them, or optimiser.batch_size = {shares * size} "
            "with optimiser.gradient_accumulation = 1"
        )
    return [Portion(first + share // of, share % of, of) for first in range(0, batches, together)]


def shares_of(ranks: int, context: int, heads: int) -> int:
    """Into how many shares `ranks` divide a step, of which each has `context` that share the tokens of a clip.

    Raises OptionError if that cannot be, for a network with so many heads.
    """
    able = [n for n in range(1, min(ranks, heads) + 1) if ranks % n == 0]
    if context in able:
        return ranks // context
    why = (
        f"does not divide {ranks} devices"
        if ranks % context
        else f"is more than the {heads} heads of the model"
    )
    if ranks == 1:
        why = f"is for several devices, such as --gpus {context}, and there is one"
    raise OptionError(f"parallel.context = {context} {why}; take {_either(able)}")


def _either(counts: list[int]) -> str:
    return " or ".join(str(count) for count in counts)


class World:
    """One process by itself."""

    rank = 0
    size = 1
    shares = 1
    """Into how many a step's clips are divided."""
    share = 0
    gathers = False
    """Whether weights lie on several devices, and come together block by block."""

    @property
    def leads(self) -> bool:
        """Whether this process writes what people see."""
        return self.rank == 0

    def device(self, asked: str) -> torch.device:
        """The device of this process. Raises DeviceError."""
        return pick_device(asked)

    def first(self, work: Callable[[], T]) -> T:
        """Let the leader do `work`, whose result, or error, all get."""
        return work()

    def leading(
        self, context: Callable[[], AbstractContextManager[T]], other: T
    ) -> AbstractContextManager[T]:
        """The leader's context; the others get `other`."""
        return context()

    def agreed(self, value: T) -> T:
        """What the leader says."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag

    def portions(self, batch_size: int, batches: int) -> list[Portion]:
        """What this process computes of a step, in order. Raises OptionError."""
        return portions(self.shares, self.share, batch_size, batches)

    def gathered(self, sigmas: Tensor, errors: Tensor, counts: bool) -> tuple[Tensor, Tensor]:
        """Noise levels and errors (b,), on the CPU, of the clips that all processes have at work; those that count."""
        return sigmas, errors.detach().cpu()

    def place(self, network: WanDiT, device: torch.device) -> None:
        """Bring a network to the device in place, ready to be called; of several, to all of them together."""
        network.to(device)

    def call(self, network: WanDiT) -> Callable[..., Tensor]:
        """What is called like a network that was placed: itself, or what lets several share the tokens of a clip."""
        return network

    def synchronise(self, network: WanDiT, last: bool) -> None:
        """Say before a backward pass whether gradients are put together after it: after the last one of a step."""

    def reshard(self, network: WanDiT) -> None:
        """Say that the weights of a network are about to be looked at, or changed, one by one."""

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor that may lie on several devices; all processes call it in one order."""
        return tensor

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """What this process holds of a tensor that lies where `like` does."""
        return whole

    def save(
        self, folder: Path, expert: str, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint, as checkpoint.save. Raises OutputError."""
        checkpoint.save(folder, expert, step, tensors, notes)

    def newest(self, folder: Path, expert: str, log: Callable[[str], object]) -> checkpoint.Checkpoint | None:
        """The newest whole checkpoint, as checkpoint.newest. Raises CheckpointError."""
        return checkpoint.newest(folder, expert, log)

    def load(self, expert: Expert, found: checkpoint.Checkpoint) -> None:
        """Let an expert take over a checkpoint. Raises CheckpointError."""
        expert.load(found.tensors, found.step)


ALONE = World()
"""This process by itself."""
