"""Frames of a clip by time: what a viewer sees at each moment that is asked, upright, in square pixels.

A variable frame rate needs nothing special: the frame on screen at a moment is the last one whose time has come.
Memory holds one frame, whatever the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from wan22.catalog import Size
from wan22.errors import MediaError
from wan22.media import video
from wan22.media.file_types import IMAGES, file_type
from wan22.media.shown import look_of
from wan22.media.times import HELD, seen_at


@dataclass(frozen=True)
class Clock:
    """How a clip's own times are read: the seconds at which its first frame comes, the rate for clips without times."""

    origin: float
    fps: float


def frames_at(
    path: Path, times: Sequence[float], clock: Clock, size: Size, shape: Size
) -> Iterator[np.ndarray]:
    """Yield the frame seen at each of `times` (seconds, not falling) as uint8 (H, W, 3) of `size` (width, height).

    `shape` is the size as shown (square pixels). The image is scaled until it covers `size` (Lanczos, antialiased)
    and cut to its centre, in one step. Raises MediaError where the clip is damaged, or ends before the last time.
    """
    drawn = file_type(path) in IMAGES
    images = _drawn(path, times[0]) if drawn else _decoded(path, times[0], times[-1], clock)
    held: Callable[[], np.ndarray] | None = None
    made = np.empty(0)
    for _, image in seen_at(images, times):
        if image is not held:
            held, made = image, cover(image(), size, shape)
        yield made
    if held is None:
        raise MediaError(f"{path} holds no frame that can be decoded. Export it again.")


def cover(image: np.ndarray, size: Size, shape: Size) -> np.ndarray:
    """Scale an image (H, W, 3) that is shown as `shape` until it covers `size`, and cut its centre; both (w, h)."""
    height, width = image.shape[:2]
    wide, high = 1.0, 1.0  # shares of the image that are seen
    if shape[0] * size[1] > shape[1] * size[0]:
        wide = shape[1] * size[0] / (size[1] * shape[0])
    else:
        high = shape[0] * size[1] / (size[0] * shape[1])
    left, top = width * (1 - wide) / 2, height * (1 - high) / 2
    box = (left, top, left + width * wide, top + height * high)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=box))


def _decoded(
    path: Path, start: float, end: float, clock: Clock
) -> Iterator[tuple[float, Callable[[], np.ndarray]]]:
    """Frames from `start` on with their seconds. Raises MediaError if they end well before `end`."""
    look, time = None, 0.0
    for time, frame in video.moments(path, clock.origin, clock.fps, start):
        look = look or look_of(frame, path)
        yield time, partial(look.rgb, frame, path)
    if look is not None and end > time + HELD + 1 / clock.fps:
        raise MediaError(
            f"{path} ends at {time:.2f} s, and its header promises {end:.2f} s. Export it again."
        )


def _drawn(path: Path, start: float) -> Iterator[tuple[float, Callable[[], np.ndarray]]]:
    source = video.look(path)
    for time, frame in source.frames_from(start):
        yield time, partial(source.rgb, frame, source.size)
