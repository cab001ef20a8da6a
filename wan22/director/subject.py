"""The main subject, from pixels: the body whose colour stands out from all that surrounds it, and its path.

Nothing is learned and no object is known: background is what the image's border and its rows are like, in colours
without brightness, so that shade and light on a body count alike. Lengths are in units, min(height, 0.8 width).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_CLUSTERS = 7  # colours of the background
_BORDER = 0.11  # of the image's sides
_THICK = 0.6  # a colour's share at the border over that inside, from which it is background
_EQUAL = 0.45  # of the peak: what stands out as far is a body, and the larger of two is the subject
_SHADE = 0.94  # of its row's brightness: darker is shadow
_CLEAR = 0.16  # distance of colours from which a body stands out for certain


@dataclass(frozen=True)
class Subject:
    """Where the subject is: `x`, `y` (its middle, from the image's middle, y down), `width` and `height` (T,).

    `mask` (T, H, W) is it, `others` as much of the image as other bodies take, over it; `beside` (T,) how far to
    its right the largest of them stands, in units, 0 without one. `clear` (0..1) is how far it stands out; `cut` (T,)
    whether it touches the image's border.
    """

    x: np.ndarray
    y: np.ndarray
    width: np.ndarray
    height: np.ndarray
    mask: np.ndarray
    others: float
    beside: np.ndarray
    clear: float
    cut: np.ndarray

    def free(self, cv2: Any, frames: np.ndarray) -> np.ndarray:
        """Where the background is, (T, H, W) bool: away from the subject and from the shadow that goes with it.

        Shadow is what is darker than its row, around the foot; frames float32 (T, H, W, 3).
        """
        count, rows, columns = self.mask.shape
        unit = min(rows, 0.8 * columns)
        x = (np.arange(columns) + 0.5 - columns / 2) / unit
        y = ((np.arange(rows) + 0.5 - rows / 2) / unit)[:, None]
        high = np.clip(self.height, 0.05, 0.6)
        foot = self.y + self.height / 2
        free = np.empty(self.mask.shape, bool)
        for t in range(count):
            near = cv2.dilate(self.mask[t].astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
            right, down = (x - self.x[t]) / high[t], (y - foot[t]) / high[t]
            around = ((right / 2.5) ** 2 + (down / 0.7) ** 2 < 1) | ((np.abs(right) < 1.2) & (down > 0))
            grey = frames[t].mean(axis=-1)
            shown = ~near | near.all(axis=1, keepdims=True)
            level = np.nanmedian(np.where(shown, grey, np.nan), axis=1, keepdims=True)
            shadow = around & ~near & (grey < _SHADE * level)
            shadow = cv2.dilate(shadow.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            touching = ((right / 0.9) ** 2 + (down / 0.35) ** 2) < 1
            free[t] = ~(near | shadow | touching)
        return free

    def every(self, step: int) -> Subject:
        """The same subject in every `step`th frame only."""
        part = {
            name: getattr(self, name)[::step]
            for name in ("x", "y", "width", "height", "mask", "beside", "cut")
        }
        return replace(self, **part)


def chroma(image: np.ndarray) -> np.ndarray:
    """Colour without brightness: two logarithms of ratios, (..., 3) in 0..1 to (..., 2)."""
    red, green, blue = np.moveaxis(np.log(image + 0.06), -1, 0)
    return np.stack([red - green, blue - 0.5 * (red + green)], axis=-1)


def find_subject(cv2: Any, frames: np.ndarray) -> Subject:
    """Find and follow the subject in frames float32 (T, H, W, 3) in 0..1."""
    count, rows, columns = frames.shape[:3]
    unit = min(rows, 0.8 * columns)
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.012 * rows) for frame in frames])
    score = _apart(cv2, smooth)
    # Subjects stand in the middle third more often than at the border; sky is seldom one.
    x = (np.arange(columns) + 0.5 - columns / 2) / unit
    y = (np.arange(rows) + 0.5 - rows / 2) / unit
    likely = np.exp(-((x[None] / 0.55) ** 2) - ((y[:, None] - 0.05) / 0.55) ** 2)
    peak = float(np.quantile(score * likely, 0.998))
    seed = score * likely > 0.55 * peak
    mask = _grown(smooth, score, seed, peak)
    boxes, mask = _followed(cv2, mask, np.minimum(score, _EQUAL * peak) * likely)
    known = ~np.isnan(boxes[:, 0])
    if not known.any():
        boxes[:] = (0, 0, 1, 1)
        known[:] = True
    clock = np.arange(count)
    left, top, right, bottom = (np.interp(clock, clock[known], boxes[known, i]) for i in range(4))
    cut = (left < 1) | (top < 1) | (right > columns - 1) | (bottom > rows - 1)
    much, beside = _beside(cv2, score > 0.6 * peak, (left, top, right, bottom))
    area = float(np.median(mask.sum(axis=(1, 2)))) + 1
    return Subject(
        x=((left + right) / 2 - columns / 2) / unit,
        y=((top + bottom) / 2 - rows / 2) / unit,
        width=(right - left) / unit,
        height=(bottom - top) / unit,
        mask=mask,
        others=float(np.quantile(much, 0.7)) / area,
        beside=beside / unit,
        clear=float(np.clip(peak / _CLEAR / 2, 0, 1)),
        cut=cut,
    )


def _beside(cv2: Any, bodies: np.ndarray, box: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the largest body, frame by frame, that stands apart from the subject on the same ground, (T,), and
    how many pixels to the right of it.
    """
    left, top, right, bottom = box
    found, place = np.zeros(len(bodies)), np.zeros(len(bodies))
    for t, frame in enumerate(bodies):
        wide, high = right[t] - left[t], bottom[t] - top[t]
        number, _, stats, centres = cv2.connectedComponentsWithStats(frame.astype(np.uint8), connectivity=8)
        for k in range(1, number):
            away = max(left[t] - centres[k, 0], centres[k, 0] - right[t]) > 0.1 * wide
            level = top[t] - 0.1 * high < centres[k, 1] < bottom[t] + 0.2 * high
            if away and level and stats[k, cv2.CC_STAT_AREA] > found[t]:
                found[t] = stats[k, cv2.CC_STAT_AREA]
                place[t] = centres[k, 0] - (left[t] + right[t]) / 2
    return found, place


def _apart(cv2: Any, smooth: np.ndarray) -> np.ndarray:
    """How far every pixel's colour is from the nearest colour of the background, (T, H, W)."""
    count, rows, columns = smooth.shape[:3]
    colours = chroma(smooth)
    light = 0.25 * np.log(smooth.mean(axis=-1, keepdims=True) + 0.06)
    features = np.concatenate([colours, light], axis=-1).astype(np.float32)
    wide, high = max(int(_BORDER * columns), 1), max(int(_BORDER * rows), 1)
    border = np.ones((rows, columns), bool)
    border[high:, wide : columns - wide] = False
    border[:, columns // 2 - wide : columns // 2 + wide] = False
    sample = features[:, border].reshape(-1, 3)
    sample = np.ascontiguousarray(sample[:: max(len(sample) // 4000, 1)])
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1e-3)
    cv2.setRNGSeed(0)
    number = min(_CLUSTERS, len(np.unique(sample.round(3), axis=0)))
    _, labels, centres = cv2.kmeans(sample, number, None, criteria, 2, cv2.KMEANS_PP_CENTERS)
    # A colour that is thicker inside than at the border is of a body that reaches the border.
    inside = features[:, ~border].reshape(-1, 3)
    inside = inside[:: max(len(inside) // 4000, 1)]
    belongs = np.linalg.norm(inside[:, None] - centres[None], axis=-1)
    thick = np.bincount(belongs.argmin(axis=1)[belongs.min(axis=1) < 0.15], minlength=number) / len(inside)
    share = np.bincount(labels.ravel(), minlength=number) / len(labels)
    background = (share > 0.02) & (share > _THICK * thick)
    centres = centres[background if background.any() else share > 0]
    flat = features.reshape(-1, 3)
    squared = (flat**2).sum(1)[:, None] - 2 * flat @ centres.T + (centres**2).sum(1)[None]
    nearest = np.sqrt(squared.min(axis=1).clip(0)).reshape(count, rows, columns)
    # Dark pixels hold more noise than colour.
    return nearest * np.clip(smooth.max(axis=-1) / 0.12, 0, 1)


def _grown(smooth: np.ndarray, score: np.ndarray, seed: np.ndarray, peak: float) -> np.ndarray:
    """From the surest pixels to all that are nearer to their colour than to the background's."""
    colours = chroma(smooth)
    own = np.median(colours[seed], axis=0) if seed.any() else np.zeros(2)
    off = np.linalg.norm(colours - own, axis=-1)
    return (score > 0.30 * peak) & (off < 1.5 * score + 0.05) | (score > 0.55 * peak) & (off < 2.5 * score)


def _followed(cv2: Any, mask: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the component that weighs most in each frame, near the place of the frame before; boxes (T, 4)."""
    boxes = np.full((len(mask), 4), np.nan)
    kept = np.zeros_like(mask)
    joint = np.ones((3, 3), np.uint8)
    order = _outwards(weight.reshape(len(mask), -1).sum(axis=1), mask)
    for t, before in order:
        joined = cv2.morphologyEx(mask[t].astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
        joined = cv2.morphologyEx(joined, cv2.MORPH_OPEN, joint)
        number, labels, stats, centres = cv2.connectedComponentsWithStats(joined, connectivity=8)
        if number < 2:
            continue
        mass = np.bincount(labels.ravel(), weight[t].ravel(), number)[1:]
        if before is not None and not np.isnan(boxes[before, 0]):
            left, top, right, bottom = boxes[before]
            reach = 0.5 * max(right - left, bottom - top) + 6
            off = np.hypot(centres[1:, 0] - (left + right) / 2, centres[1:, 1] - (top + bottom) / 2)
            mass = mass * np.exp(-((off / (2 * reach)) ** 2))
        main = 1 + int(mass.argmax())
        keep = [main]
        for other in range(1, number):  # pieces above and below one another are one striped body
            overlap = min(stats[other, 0] + stats[other, 2], stats[main, 0] + stats[main, 2]) - max(
                stats[other, 0], stats[main, 0]
            )
            gap = max(
                stats[other, 1] - stats[main, 1] - stats[main, 3],
                stats[main, 1] - stats[other, 1] - stats[other, 3],
            )
            striped = min(stats[other, 2], stats[main, 2]) > 0.6 * max(stats[other, 2], stats[main, 2])
            most = 1.3 * max(stats[other, 3], stats[main, 3]) if striped else 0.2 * stats[main, 3]
            if other != main and overlap > 0.5 * stats[other, 2] and gap < most + 2:
                keep.append(other)
        kept[t] = np.isin(labels, keep)
        ys, xs = np.nonzero(kept[t])
        boxes[t] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return boxes, kept


def _outwards(strength: np.ndarray, mask: np.ndarray) -> list[tuple[int, int | None]]:
    """Frames from the one where the subject is surest, forwards and then backwards, each with its neighbour."""
    start = int(np.argmax(strength * mask.any(axis=(1, 2))))
    forwards = [(t, t - 1) for t in range(start + 1, len(mask))]
    return [(start, None), *forwards, *((t, t + 1) for t in range(start - 1, -1, -1))]
