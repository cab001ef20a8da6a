"""Light and shade on the subject and on the ground around it, as small images: where it is bright, how sharp it is.

All is measured in the subject's own heights and along the horizon, so that near and far bodies and leaning cameras
look alike. Ground is compared with its row, the body with itself: paint and time of day cancel. Amounts only, no
names; `fitted.py` says what they mean.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from wan22.director.flow import Horizon
from wan22.director.subject import Subject

_LEANS = 0.06  # radians from which an image is turned level
_AROUND = (14, 24, 2.4, 4.2)  # rows, columns, and how many heights of the body they cover
_BODY = (8, 8, 1.1, 1.1)
_WHOLE = (6, 10)
_BELOW = 0.04  # units under the horizon from which all is ground
_FINE = 3  # samples a cell, each way
_MOST = 1.2  # logarithms of brightness: more is another thing, not shade
_SHARP = (0.5, 0.9, 0.97, 0.99)
_SCALES = (0.6, 1.5, 3.0)  # pixels of blur before slopes are taken, of 80 to the unit


class Shade(NamedTuple):
    """Maps (rows, columns), and amounts (n,) that do not change in a mirror.

    `ground` is the background around the subject: logarithm of its brightness over its row's; `body` the same on
    the subject over its median, `outline` where it is; `whole` the background of the image over its rows'.
    """

    ground: np.ndarray
    body: np.ndarray
    outline: np.ndarray
    whole: np.ndarray
    sharpness: np.ndarray

    def mirrored(self) -> Shade:
        """What a mirror shows."""
        return Shade(*(part[:, ::-1] for part in self[:4]), self.sharpness)

    def amounts(self) -> np.ndarray:
        """All in one row, (n,)."""
        return np.concatenate([np.ravel(part) for part in self])


def find_shade(cv2: Any, frames: np.ndarray, subject: Subject, horizon: Horizon | None) -> Shade:
    """The mean over frames, float32 (T, H, W, 3) in 0..1; of the amounts the median."""
    seen = [_one(cv2, frames[t], subject, t, horizon) for t in range(len(frames))]
    ground, body, outline, whole = (np.mean(part, axis=0) for part in list(zip(*seen, strict=True))[:4])
    feet = subject.y + subject.height / 2
    line = _crossing(horizon, subject, float(np.quantile(feet, 0.9)))
    sharpness = np.concatenate([np.median([part[4] for part in seen], axis=0), line])
    return Shade(ground, body, outline, whole, sharpness)


def _crossing(horizon: Horizon | None, subject: Subject, foot: float) -> list[float]:
    """How high up the body the horizon crosses it, in heights of the body from its foot; and the body's shape."""
    high, wide = float(np.median(subject.height)), float(np.median(subject.width))
    area = float(np.median(subject.mask.mean(axis=(1, 2))))
    shape = [
        np.log((wide + 0.02) / (high + 0.02)),
        np.log(area + 1e-3),
        float(subject.cut.mean()),
        foot,
        float(np.median(subject.x)) ** 2,
    ]
    if horizon is None:
        return [0.0, 0.0, *shape]
    level = horizon.offset + float(np.median(subject.x)) * np.tan(horizon.angle)
    return [1.0, float(np.clip((foot - level) / (high + 0.02), -1, 3)), *shape]


def _one(
    cv2: Any, frame: np.ndarray, subject: Subject, t: int, horizon: Horizon | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = frame.shape[:2]
    unit = min(rows, 0.8 * columns)
    light = np.log(frame @ np.array([0.2126, 0.7152, 0.0722], np.float32) + 0.04)
    mask, inside = subject.mask[t].astype(np.float32), np.ones((rows, columns), np.float32)
    x, y = float(subject.x[t]), float(subject.y[t])
    angle = horizon.angle if horizon is not None and abs(horizon.angle) > _LEANS else 0.0
    if angle:
        turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), np.degrees(angle), 1.0)
        light, mask, inside = (cv2.warpAffine(part, turn, (columns, rows)) for part in (light, mask, inside))
        x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    high, wide = (max(float(part[t]), 0.06) for part in (subject.height, subject.width))
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    free = ((near < 0.3) & (inside > 0.9)).astype(np.float32)
    rest = (light - _row_levels(light, free > 0)).clip(-_MOST, _MOST)
    on = (mask > 0.6).astype(np.float32)
    own = (light - (np.median(light[on > 0]) if on.any() else 0.0)).clip(-_MOST, _MOST)
    middle = (columns / 2 + x * unit, rows / 2 + y * unit)
    ground = _sampled(cv2, rest, free, middle, (high * unit, high * unit), _AROUND)
    body, outline = (
        _sampled(cv2, own, on, middle, (wide * unit, high * unit), _BODY),
        _sampled(cv2, mask, np.ones_like(mask), middle, (wide * unit, high * unit), _BODY),
    )
    whole = _blocks(rest * free, free, _WHOLE)
    level = rows / 2 + (horizon.offset * np.cos(angle) + _BELOW) * unit if horizon is not None else 0.0
    low = np.arange(rows)[:, None] > level
    return ground, body, outline, whole, _sharp(cv2, light, rest, free * low, on, middle, high * unit)


def _row_levels(light: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Median of each row's background, (H, 1); of a row without any, that of the row above."""
    levels = np.zeros((len(light), 1), np.float32)
    last = float(np.median(light[free])) if free.any() else 0.0
    for i, (row, use) in enumerate(zip(light, free, strict=True)):
        if use.sum() > 3:
            last = float(np.median(row[use]))
        levels[i] = last
    return levels


def _sampled(
    cv2: Any,
    values: np.ndarray,
    weight: np.ndarray,
    middle: tuple[float, float],
    size: tuple[float, float],
    grid: tuple[int, int, float, float],
) -> np.ndarray:
    """Weighted means in the cells of a grid around a place; `size` is the pixels of a step of 1, across and down."""
    rows, columns, high, wide = grid
    down, across = rows * _FINE, columns * _FINE
    step_x, step_y = wide * size[0] / across, high * size[1] / down
    way = np.array(
        [
            [step_x, 0, middle[0] - 0.5 - step_x * (across - 1) / 2],
            [0, step_y, middle[1] - 0.5 - step_y * (down - 1) / 2],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    parts = (cv2.warpAffine(part, way, (across, down), flags=flags) for part in (values * weight, weight))
    return _blocks(*parts, (rows, columns))


def _blocks(values: np.ndarray, weight: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Sums of values over sums of weights in a grid's cells; 0 where there is little weight."""
    high, wide = values.shape[0] // grid[0], values.shape[1] // grid[1]
    top, left = (values.shape[0] - high * grid[0]) // 2, (values.shape[1] - wide * grid[1]) // 2
    value, much = (
        part[top : top + high * grid[0], left : left + wide * grid[1]]
        .reshape(grid[0], high, grid[1], wide)
        .mean(axis=(1, 3))
        for part in (values, weight)
    )
    return np.where(much > 0.15, value / (much + 1e-3), 0.0)


def _sharp(
    cv2: Any,
    light: np.ndarray,
    rest: np.ndarray,
    ground: np.ndarray,
    on: np.ndarray,
    middle: tuple[float, float],
    high: float,
) -> np.ndarray:
    """How steep brightness is at three scales: on the ground near the body, farther off, and on the body; how much of
    the steepest is left when it is blurred: little of a sharp edge, most of a soft one; and how dark the ground is.
    """
    rows, columns = rest.shape
    right = (np.arange(columns) + 0.5 - middle[0]) / high
    down = ((np.arange(rows) + 0.5 - middle[1]) / high)[:, None]
    around = ((right / 2.1) ** 2 + ((down - 0.5) / 1.0) ** 2) < 1
    ground, inner = (cv2.erode(part, np.ones((3, 3), np.uint8)) > 0 for part in (ground, on))
    near, far = ground & around, ground & ~around
    found = [np.log(0.02 + np.clip(-_quantiles(rest[near], (0.02, 0.1, 0.3)), 0, None))]
    steeps = []
    for blur in _SCALES:
        soft = cv2.GaussianBlur(light, (0, 0), blur)
        slope = [cv2.Sobel(soft, cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1))]
        steeps.append(np.log(0.004 + np.hypot(*slope)))
        found += [_quantiles(steeps[-1][part], _SHARP) for part in (near, far, inner)]
    for part in (near, inner):
        coarse = steeps[-1][part]
        edge = coarse >= _quantiles(coarse, (0.9,))[0]
        found += [_quantiles((steep[part] - coarse)[edge], (0.5, 0.9)) for steep in steeps[:-1]]
    return np.concatenate(found)


def _quantiles(values: np.ndarray, at: tuple[float, ...]) -> np.ndarray:
    return np.quantile(values, at) if len(values) > 5 else np.zeros(len(at))
