"""Which size and length a clip is trained at, and where a long one is cut. Arithmetic only.

Sizes have at most the plan's area, so that memory is what the plan says. The best one for a clip loses the least: the
part of the image that is cut away, and half of the resolution that is given up.
"""

from __future__ import annotations

import math
from functools import lru_cache

from wan22.catalog import Size
from wan22.train.data.plan import Window

MOST_NARROW = 3.0
"""Width over height, or height over width, that a bucket may have."""

LEAST_AREA = 0.6
"""Share of the plan's area that a bucket must have."""

STRETCH = 0.03
"""A clip that is too short for a length by up to this share is slowed down by as much: five seconds at 16 frames a
second are 80 frames, and 81 are trained."""


@lru_cache(maxsize=64)
def sizes(size: Size, side: int) -> tuple[Size, ...]:
    """All bucket sizes (width, height) for the area of `size`, in multiples of `side`; `size` itself comes first."""
    area = size[0] * size[1]
    found = {size}
    for across in range(side, int(math.sqrt(area * MOST_NARROW)) + 1, side):
        for down in range(side, area // across + 1, side):
            shape = max(across / down, down / across)
            if shape <= MOST_NARROW and across * down >= LEAST_AREA * area:
                found |= {(across, down)}
    return (size, *sorted(found - {size}))


def best_size(shape: Size, size: Size, side: int, only: tuple[Size, ...] = ()) -> Size:
    """The bucket size for an image of `shape` (width, height): of those for the area of `size`, or one of `only`."""
    area = size[0] * size[1]
    smaller = tuple(each for each in only if each[0] * each[1] <= area)
    known = smaller or (min(only, key=math.prod),) if only else sizes(size, side)

    def loss(bucket: Size) -> float:
        cut = abs(math.log(bucket[0] * shape[1] / (bucket[1] * shape[0])))
        return cut + 0.5 * math.log(area / (bucket[0] * bucket[1]))

    return min(known, key=loss)


def enlargement(shape: Size, size: Size) -> float:
    """How many times an image of `shape` is enlarged to cover `size`."""
    return max(size[0] / shape[0], size[1] / shape[1])


def cut(video: int, seconds: float, size: Size, lengths: tuple[int, ...], fps: float) -> list[Window]:
    """Cut a clip of `seconds` into windows of the longest lengths that fit, one after another from its beginning.

    What is left behind them goes to shorter lengths, but never to a single image beside a moving piece. A clip
    shorter than all lengths but 1 becomes its middle image. Empty: it is too short.
    """
    windows: list[Window] = []
    at, left = 0.0, seconds
    moving = sorted((length for length in lengths if length > 1), reverse=True)
    for length in moving:
        while left * fps >= (length if windows else length * (1 - STRETCH)) - 1e-3:
            step = min(1 / fps, left / length)
            windows.append(Window(video, at, step, length, size))
            at += length * step
            left = seconds - at
    if not windows and 1 in lengths and seconds > 0:
        windows.append(Window(video, seconds / 2, 1 / fps, 1, size))
    return windows
