"""What a training set is asked to be, what people bring, and what is wrong with it: the values of this package.

It reads no file and knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wan22.catalog import Size
from wan22.errors import OptionError, SizeError

LEAST_SIDE, MOST_SIDE = 16, 64
"""Steps by which the sides of buckets grow: models draw on grids of 16, 32 or 64 pixels."""

MAX_FRAMES = 1025
"""Of one training clip."""


@dataclass(frozen=True)
class DataPlan:
    """What to make of `sources` (folders, tables, dataset files, single clips).

    `size` (width, height) gives the area of every bucket; sides grow by `side` pixels. Without it that is the largest
    of 64, 32 and 16 that divides both sides of `size`, so that a size that a model can draw gives buckets that it can
    draw; a model's own grid, if it is finer, gives more shapes. `only` are the sizes of a model that draws no others:
    buckets have one of them, of at most the area of `size`, which is one too. `frames` are the lengths to train, at
    `fps` frames a second: 4n + 1, or multiples of 4 for a model that audio drives, whose clips follow a past.

    Raises OptionError or SizeError for what cannot be.
    """

    sources: tuple[Path, ...]
    size: Size
    frames: tuple[int, ...]
    fps: float
    side: int = 0
    only: tuple[Size, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(Path(source) for source in self.sources))
        object.__setattr__(self, "frames", tuple(sorted(set(self.frames))))
        if not self.sources:
            raise OptionError(
                "name at least one source: a folder of clips with .txt files, or a table of clips"
            )
        if not (math.isfinite(self.fps) and 1 <= self.fps <= 240):
            raise OptionError(f"fps must be from 1 to 240, not {self.fps}")
        check_size(self.size)
        check_frames(self.frames)
        if self.only and self.size not in self.only:
            raise SizeError(
                f"clips cannot be trained at {self.size[0]}x{self.size[1]}; those that can: {size_names(self.only)}"
            )
        if not self.side:
            object.__setattr__(self, "side", side_of(self.size))
        if self.side < 1 or self.side % LEAST_SIDE or math.gcd(*self.size) % self.side:
            raise SizeError(
                f"sides cannot grow by {self.side} pixels at {self.size[0]}x{self.size[1]}: give a multiple of "
                f"{LEAST_SIDE} that divides both, such as {side_of(self.size)}"
            )


def side_of(size: Size) -> int:
    """Return the largest of 64, 32 and 16 that divides both sides."""
    step = MOST_SIDE
    while math.gcd(*size) % step:
        step //= 2
    return step


def size_names(sizes: Iterable[Size]) -> str:
    """Name sizes for people, as in 96x64, 64x96."""
    return ", ".join(f"{width}x{height}" for width, height in sizes)


def check_size(size: Size) -> None:
    """Raise SizeError unless both sides are multiples of 16 from 16 on."""
    if any(side < LEAST_SIDE or side % LEAST_SIDE for side in size):
        near = tuple(max(LEAST_SIDE, round(side / LEAST_SIDE) * LEAST_SIDE) for side in size)
        raise SizeError(
            f"clips cannot be trained at {size[0]}x{size[1]}: sides are multiples of {LEAST_SIDE}. "
            f"The nearest that works is {near[0]}x{near[1]}."
        )


def check_frames(frames: tuple[int, ...]) -> None:
    """Raise SizeError unless there are lengths, and each is 4n + 1 or 4n."""
    if not frames:
        raise SizeError("give at least one number of frames to train, such as 81")
    for count in frames:
        if not 1 <= count <= MAX_FRAMES or count % 4 not in (0, 1):
            near = max(1, (min(count, MAX_FRAMES) - 1) // 4 * 4 + 1)
            raise SizeError(
                f"a clip of {count} frames cannot be trained: lengths are 4n + 1 (4n for a model that audio drives), "
                f"up to {MAX_FRAMES}. The nearest that works is {near}."
            )


@dataclass(frozen=True)
class Item:
    """One clip or image that a source names, and what the source says of it.

    `size`, `frames` replace the plan's; `head` takes only the beginning of a long clip. `audio` and `reference` are
    other files than the clip itself. `where` says who named it.
    """

    path: Path
    caption: str
    where: str
    repeats: int = 1
    size: Size | None = None
    frames: tuple[int, ...] | None = None
    head: bool = False
    audio: Path | None = None
    reference: Path | None = None


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file: the reason and what would help; `used` says that it is trained on all the same."""

    file: str
    reason: str
    help: str
    used: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}. {self.help}"


@dataclass(frozen=True)
class Window:
    """A piece of a clip as it is trained: frames shown at `start` + k `step` seconds, at `size` (width, height)."""

    video: int
    start: float
    step: float
    frames: int
    size: Size

    @property
    def bucket(self) -> str:
        """Clips of one name can stand in one batch."""
        return bucket_name(self.size, self.frames)


def bucket_name(size: Size, frames: int) -> str:
    """Name a bucket: width, height and frames, as in 832x480x81."""
    return f"{size[0]}x{size[1]}x{frames}"
