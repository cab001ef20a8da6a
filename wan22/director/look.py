"""What one image looks like, in numbers: CIELAB, colour difference, width of edges, what it shows.

Images are uint8 (H, W, 3), sRGB. Each number is made so that it answers to one thing: colours are read from coarse
cells, which a blur does not change; the width of edges is a ratio, which contrast and brightness do not change; a
look is compared by correlation, which neither gain, offset nor a turn of hue changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_COARSE, _FINE = 32, 64  # cells along the shorter side: for colour and light; for what is shown
_PATCH = 12  # fine cells: a fifth of the shorter side
_LEAST_SPREAD = 2.0  # L* or C*: what varies less is not stretched
_LEAST_SHOWN = 0.01  # of the spread, squared: less is a flat image
MAX_ZOOM = 0.15
"""Largest logarithm of a growth that `zoom` finds."""
_EXPLAINED = 0.8  # of a difference may be left, if a movement is to explain it
_MIN_ENERGY = 0.02  # grey levels squared per pixel: less is rounding, not detail
_TO_XYZ = np.array(  # IEC 61966-2-1, each row over its white point (D65)
    [[0.433953, 0.376219, 0.189828], [0.212671, 0.715160, 0.072169], [0.017758, 0.109477, 0.872765]],
    np.float32,
)


def cells(image: np.ndarray, across: int = _COARSE) -> np.ndarray:
    """Mean colour of square cells, `across` or a little more along the shorter side; float32 (h, w, 3), 0..255."""
    rows, columns = image.shape[:2]
    side = max(1, min(rows, columns) // across)
    h, w = rows // side, columns // side
    top, left = (rows - h * side) // 2, (columns - w * side) // 2
    inner = image[top : top + h * side, left : left + w * side]
    stripes = inner.reshape(h, side, w * side * 3).sum(axis=1, dtype=np.uint32)
    return stripes.reshape(h, w, side, 3).sum(axis=2).astype(np.float32) / side**2


def lab(colours: np.ndarray) -> np.ndarray:
    """sRGB (..., 3) in 0..255 to CIELAB under D65: L* 0..100, a* (green to red), b* (blue to yellow)."""
    encoded = colours.astype(np.float32) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T
    x, y, z = np.moveaxis(np.where(ratio > 216 / 24389, np.cbrt(ratio), ratio * (841 / 108) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Colour difference of CIELAB colours (..., 3), CIE 142-2001; 1 is about what one can just see side by side."""
    l1, a1, b1 = np.moveaxis(np.asarray(one, np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(two, np.float64), -1, 0)
    seventh = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(seventh / (seventh + 25.0**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.arctan2(b1, a1), np.arctan2(b2, a2)
    turn = np.where(c1 * c2 == 0, 0.0, (h2 - h1 + np.pi) % (2 * np.pi) - np.pi)
    hue = np.where(c1 * c2 == 0, h1 + h2, h1 + turn / 2)
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    weight = (
        1
        - 0.17 * np.cos(hue - np.pi / 6)
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.pi / 30)
        - 0.20 * np.cos(4 * hue - np.radians(63))
    )
    dl = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    dc = (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * chroma * weight)
    blue = np.radians(60) * np.exp(-((((np.degrees(hue) % 360) - 275) / 25) ** 2))
    cross = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7)) * np.sin(blue)
    return np.sqrt(np.maximum(dl**2 + dc**2 + dh**2 + cross * dc * dh, 0))


def edge_width(image: np.ndarray) -> float:
    """Standard deviation in pixels of the blur that the image's edges have; nan if nothing in it has an edge.

    Blurred once more by a known amount, wide edges lose less of their gradient than narrow ones: gradient energy
    of an edge goes with 1 / width, so the ratio tells the width, whatever the contrast. Texture and grain count as
    narrow edges.
    """
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
    softer = grey
    for _ in range(2):  # twice (1 4 6 4 1) / 16: variance 2
        for axis in (0, 1):
            softer = _binomial(softer, axis)
    trim = (grey.shape[0] - softer.shape[0]) // 2
    before, after = _gradient_energy(grey[trim:-trim, trim:-trim]), _gradient_energy(softer)
    if before < _MIN_ENERGY or after <= 0 or before <= after:
        return float("nan")
    return float(np.sqrt(2 / ((before / after) ** 2 - 1)))


def _binomial(grey: np.ndarray, axis: int) -> np.ndarray:
    """Smooth along one axis; 4 pixels are lost."""
    x = np.moveaxis(grey, axis, 0)
    y = (x[:-4] + x[4:] + 4 * (x[1:-3] + x[3:-1]) + 6 * x[2:-2]) / 16
    return np.moveaxis(y, 0, axis)


def _gradient_energy(grey: np.ndarray) -> float:
    """Squared differences of neighbours, the mean over pixels."""
    down, across = np.diff(grey, axis=0), np.diff(grey, axis=1)
    return float((np.vdot(down, down) + np.vdot(across, across)) / grey.size)


@dataclass(frozen=True)
class Look:
    """What an image shows, whatever its exposure: `light` (h, w), and `chroma` (h, w), a* + i b*.

    Both without their mean and over their spread.
    """

    light: np.ndarray
    chroma: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> Look:
        """Take the look of an image of at least 16 pixels a side."""
        colours = lab(cells(image, _FINE))
        if min(colours.shape[:2]) > 2 * _PATCH:
            colours = _binomial(_binomial(colours, 0), 1)  # a little blur must not read as another image
        light, chroma = colours[..., 0], colours[..., 1] + 1j * colours[..., 2]
        light, chroma = light - light.mean(), chroma - chroma.mean()
        return cls(light / max(_rms(light), _LEAST_SPREAD), chroma / max(_rms(chroma), _LEAST_SPREAD))


def likeness(first: Sequence[Look], now: Look) -> float:
    """Share of what the first images show that is found again, about 0..1; nan if they show nothing.

    Each patch is sought at all places, and in all of `first`: squared distance to the nearest over the squared
    deviation of the patch from its image's mean, both summed with the middle counting most. What turns
    all hues alike is not counted.
    """
    size = min(_PATCH, *now.light.shape)
    h, w = now.light.shape[0] - size + 1, now.light.shape[1] - size + 1
    rows, columns = (np.arange((n - 1) % size // 2, n, size) for n in (h, w))
    everywhere = _patches(now, now.chroma, size).reshape(h * w, -1)
    lengths = (everywhere**2).sum(axis=1)
    missed = shown = np.float32(np.inf)
    for look in first:
        turned = look.chroma * np.exp(1j * np.angle(np.vdot(look.chroma, now.chroma)))
        some = _patches(look, turned, size)[rows][:, columns].reshape(len(rows) * len(columns), -1)
        own = (some**2).sum(axis=1)
        missed = np.minimum(missed, own + (lengths - 2 * some @ everywhere.T).min(axis=1))
        shown = np.minimum(shown, own)
    y, x = (2 * (rows + size / 2) / (h + size - 1) - 1, 2 * (columns + size / 2) / (w + size - 1) - 1)
    middle = np.exp(-2 * (y[:, None] ** 2 + x**2)).ravel()
    total = float(middle @ shown)
    if total < _LEAST_SHOWN * middle.sum() * everywhere.shape[1]:
        return float("nan")
    return 1 - float(middle @ np.maximum(missed, 0)) / total


def _patches(look: Look, chroma: np.ndarray, size: int) -> np.ndarray:
    """All patches as vectors, float32 (rows, columns, 3 size^2)."""
    grid = np.stack([look.light, chroma.real, chroma.imag]).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(grid, (size, size), axis=(1, 2))
    return windows.transpose(1, 2, 0, 3, 4).reshape(*windows.shape[1:3], -1)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((np.abs(values) ** 2).mean()))


def shift(one: np.ndarray, two: np.ndarray) -> tuple[float, float] | None:
    """By how many cells (right, down) the whole image moved between two grids of light (h, w): phase correlation.

    None if no shift explains the difference. A subject that moves before a background that rests does not count.
    """
    h, w = one.shape
    window = np.hanning(h + 2)[1:-1, None] * np.hanning(w + 2)[1:-1]
    first, second = (np.fft.rfft2((grid - grid.mean()) * window) for grid in (one, two))
    cross = second * first.conj()
    size = np.abs(cross)
    if not size.max() > 0:
        return 0.0, 0.0
    peaks = np.fft.irfft2(cross / (size + 0.01 * size.max()), (h, w))
    y, x = np.unravel_index(int(peaks.argmax()), peaks.shape)
    down = _vertex(y, h, peaks[(y - 1) % h, x], peaks[y, x], peaks[(y + 1) % h, x])
    right = _vertex(x, w, peaks[y, (x - 1) % w], peaks[y, x], peaks[y, (x + 1) % w])
    if max(abs(right), abs(down)) < 0.5 or _explains(one, two, right, down):
        return right, down
    return None


def _explains(one: np.ndarray, two: np.ndarray, right: float, down: float) -> bool:
    """Whether the shift takes away a good part of the median difference of two grids: most of the image moved."""
    h, w = one.shape
    top, left = min(int(abs(down)) + 1, h // 3), min(int(abs(right)) + 1, w // 3)
    inner = (slice(top, h - top), slice(left, w - left))
    moved = _sampled(one, np.arange(h) - down, np.arange(w) - right)
    rest, plain = np.abs(two - moved)[inner], np.abs(two - one)[inner]
    return float(np.median(rest)) < _EXPLAINED * float(np.median(plain))


def zoom(one: np.ndarray, two: np.ndarray) -> float:
    """Logarithm of how much the middle of the image has grown between two grids of light (h, w); 0 if it has not.

    Up to `MAX_ZOOM` either way; a cell to any side is allowed besides.
    """
    h, w = one.shape
    inner = (slice(h // 5, h - h // 5), slice(w // 5, w - w // 5))
    scales = np.linspace(-MAX_ZOOM, MAX_ZOOM, 7)
    rests = []
    for scale in scales:
        rows, columns = (np.exp(-scale) * (np.arange(n) - (n - 1) / 2) + (n - 1) / 2 for n in (h, w))
        grown = _sampled(one, rows, columns)
        rests.append(
            min(
                float(np.abs(np.roll(grown, (down, right), axis=(0, 1)) - two)[inner].mean())
                for down in (-1, 0, 1)
                for right in (-1, 0, 1)
            )
        )
    best, still = int(np.argmin(rests)), len(scales) // 2
    return float(scales[best]) if rests[best] < _EXPLAINED * rests[still] else 0.0


def _sampled(grid: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read a grid between its points, bilinearly; beyond its edge it goes on as at the edge."""
    y, x = (np.clip(at, 0, n - 1) for at, n in ((rows, grid.shape[0]), (columns, grid.shape[1])))
    top, left = (np.minimum(at.astype(int), n - 2) for at, n in ((y, grid.shape[0]), (x, grid.shape[1])))
    down, right = (y - top)[:, None], x - left
    lines = grid[top] * (1 - down) + grid[top + 1] * down
    return lines[:, left] * (1 - right) + lines[:, left + 1] * right


def _vertex(index: int, period: int, before: float, top: float, after: float) -> float:
    """Place of the peak between samples, by the parabola through three of them."""
    bend = before - 2 * top + after
    place = index + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    return float((place + period / 2) % period - period / 2)
