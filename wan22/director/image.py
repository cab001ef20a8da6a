"""Amounts of light and colour: bands of the background, shade on the subject and on the ground, the bright side.

From them a small fitted network (`fitted.py`) says where the light comes from, how hard it is, and from what angle
the camera looks. They are plain numbers, with no names in them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from wan22.director.flow import Horizon
from wan22.director.shade import find_shade
from wan22.director.subject import Subject

FAMILY = {"dawn": "twilight", "dusk": "twilight", "sunrise": "golden", "sunset": "golden"}
"""Times of day that images do not tell apart: the sun rises as it sets."""

_TURNED = (36, 48, 53, 56)
_SIDES = (46, 47)
"""Where the amounts stand that a mirror turns: the body's lean, the balance of the ground's shade, the bright side and
the sky's slope; and the shade to the left and right."""
_UNIT = 40  # pixels of a unit: colours do not need more
_EMPTY = np.array([0.4, 0.0, 0.0])


def opponent(colours: np.ndarray) -> np.ndarray:
    """RGB in 0..1 to brightness, red over green, blue over yellow, as logarithms; (..., 3)."""
    red, green, blue = np.moveaxis(np.log(np.asarray(colours, np.float64) + 0.04), -1, 0)
    return np.stack([(red + 2 * green + blue) / 4, red - green, blue - (red + green) / 2], axis=-1)


def light_evidence(
    cv2: Any, frames: np.ndarray, subject: Subject, horizon: Horizon | None
) -> tuple[np.ndarray, np.ndarray]:
    """What is known of light, angle and size, (n,), and the same of the mirror image; frames float32 (T, H, W, 3)."""
    amounts, shade = statistics(cv2, frames, subject, horizon), find_shade(cv2, frames, subject, horizon)
    there, back = (amounts, shade), (mirrored(amounts), shade.mirrored())
    return np.concatenate([there[0], there[1].amounts()]), np.concatenate([back[0], back[1].amounts()])


def statistics(cv2: Any, frames: np.ndarray, subject: Subject, horizon: Horizon | None) -> np.ndarray:
    """Amounts of light and colour, (n,) float64; frames float32 (T, H, W, 3) in 0..1. They are looked at coarsely."""
    frames, subject = coarse(cv2, frames, subject)
    behind = ~wider(subject)
    grey = frames @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    parts = [
        *_bands(frames, behind),
        *_whole(frames, grey, behind),
        *_body(frames, grey, subject),
        *_ground_shade(grey, behind, subject),
        *_bright_side(frames, behind),
    ]
    line = (1.0, horizon.offset, abs(horizon.angle), horizon.score) if horizon else (0.0, 0.0, 0.0, 0.0)
    return np.array([*parts, *line], np.float64)


def mirrored(amounts: np.ndarray) -> np.ndarray:
    """The same amounts of the mirror image."""
    turned = amounts.copy()
    turned[list(_TURNED)] *= -1
    turned[list(_SIDES)] = amounts[list(_SIDES[::-1])]
    return turned


def coarse(cv2: Any, frames: np.ndarray, subject: Subject) -> tuple[np.ndarray, Subject]:
    """Frames and mask at a unit of 40 pixels."""
    rows, columns = frames.shape[1:3]
    scale = _UNIT / min(rows, 0.8 * columns)
    size = (round(columns * scale), round(rows * scale))
    if scale >= 1:
        return frames, subject
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    masks = [cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) for mask in subject.mask]
    return small, replace(subject, mask=np.stack(masks) > 0.5)


def wider(subject: Subject) -> np.ndarray:
    """The subject and a pixel around it."""
    mask = subject.mask
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    wide[:, :, 1:] |= mask[:, :, :-1]
    wide[:, :, :-1] |= mask[:, :, 1:]
    return wide


def _bands(frames: np.ndarray, behind: np.ndarray) -> list[float]:
    """Median colour of five bands of the background from top to bottom."""
    edges = np.linspace(0, frames.shape[1], 6).astype(int)
    found: list[float] = []
    for top, bottom in pairwise(edges):
        pixels = frames[:, top:bottom][behind[:, top:bottom]]
        found += list(opponent(np.median(pixels, axis=0)) if len(pixels) > 8 else _EMPTY)
    return found


def _whole(frames: np.ndarray, grey: np.ndarray, behind: np.ndarray) -> list[float]:
    """Spread of brightness, extremes, and how coloured the image is."""
    pixels = frames[behind] if behind.sum() > 50 else frames.reshape(-1, 3)
    light = grey[behind] if behind.sum() > 50 else grey.ravel()
    spread = pixels.max(axis=-1) - pixels.min(axis=-1)
    coloured = spread / (pixels.max(axis=-1) + 0.04)
    low, middle, high = np.quantile(light, (0.02, 0.5, 0.98))
    extremes = np.quantile(frames.reshape(-1, 3), (0.01, 0.99), axis=0)
    return [
        low, middle, high, float(light.std()), float(np.log(high + 0.04) - np.log(low + 0.04)),
        float(spread.mean()), float(coloured.mean()), *np.quantile(coloured, (0.1, 0.9)), *extremes.ravel(),
    ]  # fmt: skip


def _body(frames: np.ndarray, grey: np.ndarray, subject: Subject) -> list[float]:
    """The subject's lit and shaded colours, how much they differ, and to which side it is brighter."""
    mask = subject.mask
    if mask.sum() < 8:
        return [*_EMPTY, *_EMPTY, *([0.0] * 10)]
    pixels, light = frames[mask], grey[mask]
    low, middle, high = np.quantile(light, (0.2, 0.5, 0.8))
    lit, dark = (
        opponent(np.median(pixels[light >= middle], axis=0)),
        opponent(np.median(pixels[light <= low], axis=0)),
    )
    sides = [_leaning(grey[t], mask[t]) for t in range(len(mask)) if mask[t].sum() >= 4] or [(0.0, 0.0, 0.0)]
    lean = np.median(sides, axis=0)
    peak = np.quantile(pixels, 0.97, axis=0)
    spread = float(np.median((pixels.max(axis=-1) - pixels.min(axis=-1)) / (pixels.max(axis=-1) + 0.04)))
    return [
        *lit, *dark, *lean, spread, float(np.log((high + 0.04) / (low + 0.04))), *opponent(peak),
        float(np.log(subject.height[len(mask) // 2] + 0.02)), float(np.abs(np.array(sides)[:, 0]).mean()),
    ]  # fmt: skip


def _leaning(grey: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """Slope of the subject's log brightness to the right and downwards over its size, and its middle over its rim."""
    ys, xs = np.nonzero(mask)
    value = np.log(grey[mask] + 0.04)
    across = (xs - xs.mean()) / (np.ptp(xs) + 1)
    down = (ys - ys.mean()) / (np.ptp(ys) + 1)
    basis = np.stack([across, down, across**2 + down**2, np.ones_like(across)], axis=1)
    slope = np.linalg.lstsq(basis, value, rcond=None)[0]
    return float(slope[0]), float(slope[1]), float(slope[2])


def _ground_shade(grey: np.ndarray, behind: np.ndarray, subject: Subject) -> list[float]:
    """Where the ground around the subject's foot is darker than its row: left or right, near or far, how much, how
    sharply.
    """
    count, rows, columns = grey.shape
    unit = min(rows, 0.8 * columns)
    x = (np.arange(columns) + 0.5 - columns / 2) / unit
    y = (np.arange(rows) + 0.5 - rows / 2) / unit
    found = []
    for t in range(count):
        high = max(float(subject.height[t]), 0.05)
        foot = subject.y[t] + high / 2
        right, down = (x - subject.x[t]) / high, (y - foot) / high
        shown = np.where(behind[t], grey[t], np.nan)
        band = (down > -0.7) & (down < 0.8)
        near = np.abs(right) < 2.2
        if band.sum() < 2 or near.sum() < 4:
            continue
        level = np.array([np.nanmedian(row) if (~np.isnan(row)).sum() > 3 else 1.0 for row in shown[band]])
        dark = np.nan_to_num(np.clip(1 - shown[band] / (level[:, None] + 0.02), 0, 1))[:, near]
        beside = right[near]
        left, to_right = _mean(dark[:, beside < 0]), _mean(dark[:, beside > 0])
        below, above = _mean(dark[down[band] > 0.05]), _mean(dark[down[band] < -0.05])
        found.append(
            (left, to_right, to_right - left, below, above, below - above, float(np.quantile(dark, 0.98)))
        )
    return list(np.median(found, axis=0)) if found else [0.0] * 7


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


def _bright_side(frames: np.ndarray, behind: np.ndarray) -> list[float]:
    """Where the brightest of the upper image is (the sun's disc, a lamp), how bright, and the sky's slope."""
    columns = frames.shape[2]
    upper = slice(0, max(frames.shape[1] // 2, 1))
    light = np.where(behind, (frames[..., 0] * frames[..., 1]), 0.0)[:, upper]
    x = (np.arange(columns) + 0.5) / columns - 0.5
    level = np.quantile(light, 0.985, axis=(1, 2), keepdims=True)
    extra = np.clip(light - level, 0, None)
    at = (extra * x).sum(axis=(1, 2)) / (extra.sum(axis=(1, 2)) + 1e-6)
    profile = np.median(light[:, : max(light.shape[1] // 2, 1)], axis=(0, 1))
    slope = float(np.polyfit(x, np.log(profile + 0.04), 1)[0])
    return [float(np.median(at)), float(np.median(light.max(axis=(1, 2)))), float(extra.mean() * 100), slope]


def brightness(frames: np.ndarray) -> Any:
    """Mean luminance of every frame, (T,), 0..1 (Rec. 709 weights on display values)."""
    return (frames @ np.array([0.2126, 0.7152, 0.0722], np.float32)).mean(axis=(1, 2))
