"""A visible label in the corner of every frame, such as "AI generated": white on a dark strip, so that it can be read
on any background. Drawn by Pillow; its size follows from the frame's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from wan22.errors import OptionError
from wan22.media.fonts import font_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wan22.types import Event

__all__ = ["check_label", "labelled", "labelled_events"]

_LONGEST = 80  # letters
_PART = 24  # of the frame's shorter side, for the height of a letter
_SMALLEST, _LEGIBLE = 10, 7  # pixels of a letter: as it begins, and as it becomes to fit into the width
_STRIP = (
    166  # of 256: what is left of the brightness under white letters gives 7 to 1 on white, WCAG 2.2, 1.4.6
)


def check_label(text: str, size: tuple[int, int] | None = None) -> None:
    """Raise OptionError for a label that cannot be drawn, or, if it is known, into frames of `size` (width, height)."""
    if not text.strip() or len(text) > _LONGEST or not text.isprintable():
        shown = repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
        raise OptionError(f"a label is one line of 1 to {_LONGEST} letters, not {shown}")
    if size is None:
        font_for(text, _SMALLEST, "label")
    else:
        _patch(text, size)


def labelled(frames: np.ndarray, text: str | None) -> np.ndarray:
    """Frames, uint8 (T, H, W, 3), with the label in the lower right corner; without a text, as they are."""
    if not text:
        return frames
    letters = _patch(text, (frames.shape[2], frames.shape[1]))[None, ..., None].astype(np.uint32)
    height, width = letters.shape[1:3]
    frames = frames.copy()
    corner = frames[:, -height:, -width:]
    dark = corner * np.uint32(256 - _STRIP) >> 8
    corner[:] = (dark * (255 - letters) + 255 * letters + 127) // 255
    return frames


def labelled_events(made: Iterable[Event], text: str | None) -> Iterable[Event]:
    """The engine's events, with the label in their frames; without a text, as they are."""
    return _labelled(made, text) if text else made


def _labelled(made: Iterable[Event], text: str) -> Iterator[Event]:
    from wan22.types import Frames

    for event in made:
        yield replace(event, frames=labelled(event.frames, text)) if isinstance(event, Frames) else event


@lru_cache(maxsize=16)
def _patch(text: str, size: tuple[int, int]) -> np.ndarray:
    """The strip: uint8 (h, w), 255 where there is a letter. Raises OptionError if it does not fit."""
    width, height = size
    points = max(_SMALLEST, round(min(size) / _PART))
    while points >= _LEGIBLE:
        font = font_for(text, points, "label")
        left, top, right, bottom = font.getbbox(text)
        beside = max(2, points // 3)
        wide, high = round(right - left) + 2 * beside, round(bottom - top) + 2 * beside
        if wide <= width and high <= height:
            strip = Image.new("L", (wide, high))
            ImageDraw.Draw(strip).text((beside - left, beside - top), text, fill=255, font=font)
            return np.asarray(strip)
        points -= 1
    raise OptionError(f"the label {text!r} cannot be read in frames of {width}x{height}. Shorten it.")
