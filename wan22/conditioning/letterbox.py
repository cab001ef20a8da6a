"""An image within a frame of another shape: scaled until it fits, black around it; exact to the last bit.

The rule of the official release of Animate, which scales with OpenCV: INTER_LINEAR on uint8, in fixed point (spec:
animate, section 9 B). Floats and rounding would differ from it by one level in a tenth of the pixels.
"""

import numpy as np

from wan22.types import Image

_ONE = 2048
"""The weights of two neighbours are so many parts of one."""


def letterbox(image: Image, size: tuple[int, int]) -> Image:
    """Scale an image (H, W, 3) to fit within `size` (width, height), in its middle, black around it."""
    (high, wide), (width, height) = image.shape[:2], size
    if high / wide > height / width:
        inner = max(1, int(height / high * wide)), height
    else:
        inner = width, max(1, int(width / wide * high))
    scaled = resize(image, inner)
    if inner == size:
        return scaled
    left, top = int((width - inner[0]) / 2), int((height - inner[1]) / 2)
    framed = np.zeros((height, width, *image.shape[2:]), np.uint8)
    framed[top : top + inner[1], left : left + inner[0]] = scaled
    return framed


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Stretch an image (H, W, 3) to `size` (width, height), as OpenCV's INTER_LINEAR does."""
    (high, wide), (width, height) = image.shape[:2], size
    if (wide, high) == (width, height):
        return image
    left, share = _positions(wide, width)
    outside = (left < 0) | (left >= wide - 1)
    share = np.where(outside, 0, share)  # of rows it stays, and only their numbers are kept within
    left = np.clip(left, 0, wide - 1)
    near, far = _weights(share)
    x = image.astype(np.int32)
    rows = near[:, None] * x[:, left] + far[:, None] * x[:, np.minimum(left + 1, wide - 1)]
    top, share = _positions(high, height)
    near, far = (weight[:, None, None] for weight in _weights(share))
    above, below = (rows[np.clip(at, 0, high - 1)] >> 4 for at in (top, top + 1))
    return ((((near * above) >> 16) + ((far * below) >> 16) + 2) >> 2).astype(np.uint8)


def _positions(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each target pixel the source pixel before it, and how far it lies behind that."""
    at = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    before = np.floor(at)
    return before.astype(np.int64), at - before


def _weights(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of both neighbours, in whole parts; half to even."""
    share = share.astype(np.float32)
    return np.rint(_ONE * (1 - share)).astype(np.int32), np.rint(_ONE * share).astype(np.int32)
