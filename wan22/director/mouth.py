"""Where a puppet's face is and how far its mouth is open, from pixels alone.

The face is found by the pattern that every puppet has: light eyes with dark pupils, brows, a nose. On the
puppet's stage nothing but the inside of a mouth is deep red: its red outweighs green and blue by more than any
light, tone or coat makes it elsewhere. The opening is the height of that red over the height of the face, at any
size and behind any blur that leaves the image readable. It is a measure for videos of the puppet
(wan22/stage/puppet.py), not for faces in general: its constants are that face's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from wan22.errors import MediaError

_FROM, _SPAN = 0.42, 0.38
"""The share of its red by which a pixel exceeds green and blue: where it begins to count as mouth, and over what."""

_TALLEST = 0.25
"""Height of a wide open mouth over the height of the face."""

# The face as it is drawn, in units of the stage: (x, y, half width, half height, brightness over the felt's).
_FACE = (0.0, -0.01, 0.285, 0.345)
_FEATURES = (
    (0.115, 0.075, 0.058, 0.055, 0.20),  # the white of the eyes; both sides are alike
    (0.115, 0.075, 0.028, 0.033, -0.70),
    (0.115, 0.175, 0.070, 0.016, -0.55),
    (0.0, -0.035, 0.035, 0.050, -0.14),
)
_ABOVE, _BELOW = 0.235, -0.08
"""Between the hair and the mouth: the part of the face that every puppet shows at every audio."""

_SCALES = np.geomspace(0.66, 1.55, 13)
_SIDE = 64  # the search is made on images of about this many pixels along the shorter side
_PIECE = 64  # frames at a time


def redness(frames: np.ndarray) -> np.ndarray:
    """How much each pixel is of a mouth, 0 to 1; uint8 (T, H, W, 3) to float32 (T, H, W)."""
    colour = frames.astype(np.float32) / 255
    other = np.maximum(colour[..., 1], colour[..., 2])
    excess = (colour[..., 0] - other) / (colour[..., 0] + 0.04)
    return ((excess - _FROM) / _SPAN).clip(0, 1)


def mouth_opening(frames: np.ndarray) -> np.ndarray:
    """The opening of every frame, about 0 (shut) to 1 (wide); uint8 (T, H, W, 3) to float32 (T,).

    The tallest column of red, taken over the three tallest columns, over the height of the face.
    """
    columns = np.sort(redness(frames).sum(axis=1), axis=1)
    # A face grows slowly: every third frame tells its height.
    every = np.arange(0, len(frames), 3)
    height = np.interp(np.arange(len(frames)), every, face_of(frames[every]).height)
    return (columns[:, -3:].mean(axis=1) / (_TALLEST * height)).astype(np.float32)


class Faces(NamedTuple):
    """The puppet's face in every frame, float32.

    `centre` (T, 2) as x and y, and `height` (T,), in pixels; `likeness` (T,) of what was found to a face, about
    0.5 for a sharp one; mean colours of the `felt` and the `coat`, (T, 3) in 0..255, NaN where no pixel of it is
    in the image.
    """

    centre: np.ndarray
    height: np.ndarray
    likeness: np.ndarray
    felt: np.ndarray
    coat: np.ndarray


def face_of(frames: np.ndarray) -> Faces:
    """Find the face in every frame of uint8 (T, H, W, 3). Its height is smoothed over nine frames: faces do not jump.

    Raises MediaError for what is not such a video.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise MediaError(
            f"cannot look for a face in {frames.dtype} {frames.shape}: a video is uint8 (T, H, W, 3)"
        )
    height, width = frames.shape[1:3]
    zoom = _SIDE / min(height, width)
    small = (round(width * zoom), round(height * zoom))
    images = (Image.fromarray(frame).convert("L") for frame in frames)
    grey = np.stack([np.asarray(p.resize(small, Image.Resampling.BILINEAR), np.float32) for p in images])
    pieces = [_search(grey[t : t + _PIECE]) for t in range(0, len(grey), _PIECE)]
    centre, scale, likeness = (np.concatenate(part) for part in zip(*pieces, strict=True))
    padded = np.pad(scale, 4, mode="reflect", reflect_type="odd")  # so that growth goes on at both ends
    scale = np.median(np.lib.stride_tricks.sliding_window_view(padded, 9), axis=1)
    unit = min(height, 0.8 * width) * scale  # pixels of a unit at the puppet
    centre = (centre + 0.5) * (width / small[0], height / small[1]) - 0.5
    colours = [_colours(frame, at, size) for frame, at, size in zip(frames, centre, unit, strict=True)]
    felt, coat = (np.stack(part).astype(np.float32) for part in zip(*colours, strict=True))
    middle = centre - np.stack([0 * unit, _FACE[1] * unit], axis=1)
    return Faces(middle.astype(np.float32), (2 * _FACE[3] * unit).astype(np.float32), likeness, felt, coat)


def _search(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the pattern correlates best, over all places and scales: origin (T, 2), scale (T,), correlation (T,)."""
    frames, height, width = grey.shape
    margin = _SIDE // 4  # a face may lie partly outside
    padded = np.pad(grey, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    size = padded.shape[1:]
    padded -= padded.mean((1, 2), keepdims=True)
    spectrum, squares = np.fft.rfft2(padded), np.fft.rfft2(padded**2)
    unit = min(height, 0.8 * width)
    found = np.empty((len(_SCALES), frames), np.float32)
    where = np.empty((len(_SCALES), frames), np.int64)
    for i, scale in enumerate(_SCALES):
        pattern, mask = _pattern(size, unit * scale)
        at_mask, at_pattern = np.conj(np.fft.rfft2(mask)), np.conj(np.fft.rfft2(pattern))
        mean = np.fft.irfft2(spectrum * at_mask, size) / mask.sum()
        spread = np.fft.irfft2(squares * at_mask, size) / mask.sum() - mean**2
        alike = np.fft.irfft2(spectrum * at_pattern, size)
        alike /= np.sqrt(spread.clip(1.0) * mask.sum() * (pattern**2).sum())
        inside = alike[:, margin:-margin, margin:-margin].reshape(frames, -1)
        where[i] = inside.argmax(1)
        found[i] = inside.max(1)
    best, row = found.argmax(0), np.arange(frames)
    # The peak over the scales lies between them: the top of a parabola through three.
    middle = best.clip(1, len(_SCALES) - 2)
    left, top, right = (found[middle + step, row] for step in (-1, 0, 1))
    curve = left - 2 * top + right
    peak = 0.5 * (left - right) / np.where(curve < 0, curve, -1.0)
    shift = np.where(curve < 0, peak, best - middle).clip(-1, 1)
    scale = _SCALES[0] * (_SCALES[1] / _SCALES[0]) ** (middle + shift)
    y, x = np.divmod(where[best, row], width)
    return np.stack([x, y], axis=1).astype(np.float64), scale, found[best, row]


def _pattern(size: tuple[int, ...], unit: float) -> tuple[np.ndarray, np.ndarray]:
    """The upper face about the origin of an array that wraps around, of mean 0, and the mask of where it counts."""
    y, x = (np.fft.fftfreq(n, 1 / n).astype(np.float32) / unit for n in size)
    y, x = -y[:, None], np.abs(x)[None]
    inner = (*_FACE[:2], 0.95 * _FACE[2], 0.95 * _FACE[3])
    mask = _ellipse(x, y, inner, unit) * ((y < _ABOVE) & (y > _BELOW))
    pattern = np.zeros(mask.shape, np.float32)
    for *place, brightness in _FEATURES:
        pattern += _ellipse(x, y, place, unit) * (brightness - pattern)
    return (pattern - (pattern * mask).sum() / mask.sum()) * mask, mask


def _ellipse(x: np.ndarray, y: np.ndarray, place: Sequence[float], unit: float) -> np.ndarray:
    """Share of every pixel within an ellipse (centre x, y, half width, half height)."""
    cx, cy, rx, ry = place
    return (0.5 + (1 - np.hypot((x - cx) / rx, (y - cy) / ry)) * min(rx, ry) * unit).clip(0, 1)


def _colours(frame: np.ndarray, origin: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of the cheeks, and of the coat under the chin."""
    y = (origin[1] - np.arange(frame.shape[0])[:, None]) / unit
    x = np.abs(np.arange(frame.shape[1])[None] - origin[0]) / unit
    cheeks = (x > 0.06) & (x < 0.20) & (y < -0.01) & (y > -0.07)
    coat = (x < 0.22) & (y < -0.52) & (y > -0.72)
    return _mean(frame[cheeks]), _mean(frame[coat])


def _mean(colours: np.ndarray) -> np.ndarray:
    return colours.mean(0) if len(colours) else np.full(3, np.nan)


class Agreement(NamedTuple):
    """How a measured course follows a true one: the correlation at the best lag, that lag in frames (positive: the
    measured one comes late), and the correlation at no lag.
    """

    correlation: float
    lag: int
    at_once: float


def agreement(measured: np.ndarray, true: np.ndarray, *, most: int = 8) -> Agreement:
    """Compare two courses (T,) of an opening, over lags of up to `most` frames. NaN where one does not move."""
    scores = {lag: _correlation(measured, true, lag) for lag in range(-most, most + 1)}
    best = max(scores, key=lambda lag: (scores[lag] if np.isfinite(scores[lag]) else -2, -abs(lag)))
    return Agreement(scores[best], best, scores[0])


def _correlation(measured: np.ndarray, true: np.ndarray, lag: int) -> float:
    if lag > 0:
        measured, true = measured[lag:], true[:-lag]
    elif lag < 0:
        measured, true = measured[:lag], true[-lag:]
    if measured.std() < 1e-6 or true.std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(measured, true)[0, 1])
