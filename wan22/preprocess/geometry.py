"""The official preprocessing's arithmetic: which frames, which sizes, where the face is, what the mask covers.

Sizes are (width, height). Source: spec animate.md, sections 7 and 9.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from wan22.errors import SizeError

Size = tuple[int, int]

AREA = 1280 * 720
"""Pixels of a frame, unless asked otherwise."""
DIVISOR = 16
"""Sides are multiples of it: eight of the VAE times two of the network's patches."""
FACE_SCALE = 1.3
"""The face's box is enlarged to this many times its area."""


def chosen_frames(count: int, video_fps: float, fps: float) -> np.ndarray:
    """Numbers (int64) of the frames that stand for `count` frames of `video_fps` at another rate."""
    times = np.arange(int(count / video_fps * fps)) / fps
    return np.round(times * video_fps).astype(np.int64).clip(0, count - 1)  # half to even


def size_by_area(size: Size, area: int = AREA, divisor: int = DIVISOR) -> Size:
    """The size of about `area` pixels and about the same shape, both sides rounded down to multiples of `divisor`."""
    width, height = size
    tall = math.sqrt(area / (width / height))
    found = int(area / tall // divisor * divisor), int(tall // divisor * divisor)
    if min(found) < divisor:
        raise SizeError(
            f"{width}x{height} at an area of {area} pixels has a side of less than {divisor} pixels. Use a larger area."
        )
    return found


def letterbox(image: np.ndarray, size: Size, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Scale uint8 (H, W, 3) to fit into `size`, in the middle of black."""
    (high, wide), (width, height) = image.shape[:2], size
    if high / wide > height / width:
        inner = max(int(height / high * wide), 1), height
    else:
        inner = width, max(int(width / wide * high), 1)
    left, top = int((width - inner[0]) / 2), int((height - inner[1]) / 2)
    whole = np.zeros((height, width, image.shape[2]), np.uint8)
    whole[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        image, inner, interpolation=interpolation
    )
    return whole


def fitted(image: np.ndarray, size: Size) -> np.ndarray:
    """`letterbox` by area where the image becomes smaller, else linear: how frames get their size by area."""
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    return letterbox(image, size, cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def face_box(points: np.ndarray, size: Size) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of a face with points (n, 2 or more) in a frame of `size`.

    `FACE_SCALE` times the area, half the extra width on each side, three quarters of the extra height above; clipped.
    It may be empty where the points lie outside of the frame.
    """
    left, top = points[:, :2].min(0)
    right, bottom = points[:, :2].max(0)
    more = math.sqrt(FACE_SCALE) - 1
    wider, taller = (right - left) * more / 2, (bottom - top) * more / 4
    return (
        int(max(left - wider, 0)),
        int(max(top - 3 * taller, 0)),
        int(min(right + wider, size[0])),
        int(min(bottom + taller, size[1])),
    )


def cut_face(frame: np.ndarray, box: tuple[int, int, int, int], side: int) -> np.ndarray:
    """Stretch what is in a box (left, top, right, bottom) to a square."""
    left, top, right, bottom = box
    return cv2.resize(frame[top:bottom, left:right], (side, side), interpolation=cv2.INTER_LINEAR)


def grown_mask(mask: np.ndarray, iterations: int, kernel: int, columns: int, rows: int) -> np.ndarray:
    """Widen a mask, uint8 (H, W) of 0 and 1, and fill the blocks of its bounding box that it touches.

    Dilated `iterations` times by a square of `kernel` pixels; no iterations leave the mask as it is. With one column
    and one row, the official setting, the whole box is filled: the character need not have the person's outline.
    """
    if iterations < 1 or not mask.any():
        return mask.copy()
    grown = cv2.dilate(mask, np.ones((kernel, kernel), np.uint8), iterations=iterations)
    ys, xs = np.nonzero(grown)
    left, right, top, bottom = int(xs.min()), int(xs.max()), int(ys.min()), int(ys.max())
    wide, tall = max((right - left) // columns, 1), max((bottom - top) // rows, 1)
    for x in range(left, right, wide):
        for y in range(top, bottom, tall):
            block = grown[y : min(y + tall, bottom), x : min(x + wide, right)]
            if block.any():
                block[:] = 1
    return grown
