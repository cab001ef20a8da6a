"""Text that was laid over a video (subtitles, titles, watermarks), by a heuristic that reads nothing.

Letters are thin strokes that are much brighter or darker than what is around them; several of about one height stand in
a row, unlike one another; and what is laid over a video stays where it is, over several samples, while the video moves.
All three are asked for. It misses single signs, logos, handwriting and text that moves; signs and shop windows that a
steady camera looks at are taken for overlays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WIDTH = 480
"""Pixels of the longer side at which frames are looked at."""

LETTERS = 4
"""Least letters of a line."""

_CONTRAST = 48  # steps of 255 between a stroke and what is around it
_BRIGHT = 0.65  # of the way from the darkest to the brightest nearby
_LOW, _HIGH = 0.018, 0.16  # height of a letter, of the image's
_UNLIKE = 0.12  # least deviation of widths over their mean: fences and windows are alike
_STEADY = 0.6  # intersection over union with a line of the look before


class Box(NamedTuple):
    """Left, top, right and bottom of a line, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        return (self.right - self.left) * (self.bottom - self.top)

    def shared(self, other: Box) -> float:
        """Intersection over union."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        both = max(0, wide) * max(0, high)
        return both / (self.area + other.area - both)


def text_lines(grey: np.ndarray) -> list[Box]:
    """Boxes of what looks like lines of text in an image, uint8 (H, W)."""
    import cv2

    rows = grey.shape[0]
    across = max(5, round(rows / 24)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (across, across))
    lines: list[Box] = []
    for image in (grey, 255 - grey):
        # What an opening takes away is small and bright; the pockets within outlined letters are not bright enough.
        thin = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, kernel) >= _CONTRAST
        low, high = (f(image, kernel).astype(np.float32) for f in (cv2.erode, cv2.dilate))
        strokes = (thin & (image - low >= _BRIGHT * (high - low))).astype(np.uint8)
        _, _, found, _ = cv2.connectedComponentsWithStats(strokes, connectivity=8)
        letters = [Box(x, y, x + w, y + h) for x, y, w, h, n in found[1:].tolist() if _letter(w, h, n, rows)]
        lines += _rows_of(letters)
    return lines


def steady_lines(now: list[Box], before: list[Box]) -> list[Box]:
    """The lines that stood there before."""
    return [line for line in now if any(line.shared(other) >= _STEADY for other in before)]


def _letter(width: int, height: int, inked: int, rows: int) -> bool:
    """Whether a stroke has a letter's size and is neither a bar nor a speck."""
    low, high = max(5.0, _LOW * rows), _HIGH * rows
    return low <= height <= high and 0.1 * height <= width <= 2.5 * height and inked >= 0.15 * width * height


def _rows_of(letters: list[Box]) -> list[Box]:
    """Boxes of letters that stand side by side, at one height, and are not all alike."""
    lines: list[list[Box]] = []
    for letter in sorted(letters):
        for line in lines:
            if _follows(letter, line[-1]):
                line.append(letter)
                break
        else:
            lines.append([letter])
    return [_around(line) for line in lines if len(line) >= LETTERS and _differ(line)]


def _follows(letter: Box, last: Box) -> bool:
    high, before = letter.bottom - letter.top, last.bottom - last.top
    overlap = min(letter.bottom, last.bottom) - max(letter.top, last.top)
    gap = letter.left - last.right
    return (
        max(high, before) <= 2.0 * min(high, before)
        and overlap >= 0.5 * min(high, before)
        and -0.3 * before <= gap <= 1.2 * max(high, before)
    )


def _differ(line: list[Box]) -> bool:
    widths = np.array([box.right - box.left for box in line], np.float64)
    return float(widths.std() / widths.mean()) >= _UNLIKE


def _around(line: list[Box]) -> Box:
    return Box(
        min(box.left for box in line),
        min(box.top for box in line),
        max(box.right for box in line),
        max(box.bottom for box in line),
    )
