"""How well the shots of a video go together, 0..1, from their pixels alone.

Of each shot, from a few of its frames: the hues of its subject, its palette, and its light. For a pair of shots

    hues     sum over h of sqrt(p_h q_h)          24 hues and "grey" of what stands out from the image's border
    palette  sum over c of sqrt(p_c q_c)          CIELAB cells of 10 L* x 16 a* x 16 b*, whole image
    light    exp(-((dL/25)^2 + (ds/12)^2 + (da^2 + db^2)/15^2) / 2)     means of L*, a*, b*; s: deviation of L*
    score    (2 hues + palette + light) / 4

(the sums are Bhattacharyya coefficients of smoothed histograms). Hues count only if both shots show the shared subject;
palette and light only if both ask for the same time, light, tone and style, since a night should not look like a day.
A score is the weighted mean of the parts that count; None if none does. The video's is the mean over its pairs.

What stands out is found by histogram backprojection (Swain and Ballard, 1991), weighted towards the middle: colours
that the border of the image has are background. So it does not know what a thing is: not its shape, size, face or
name, nor the place; a subject of its background's colour is not seen; another thing of that colour is taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from wan22.director.look import cells, lab
from wan22.director.shot import ShotSpec
from wan22.errors import MediaError

__all__ = ["FORMULA", "SAME_LIGHT", "Continuity", "Pair", "Portrait", "compare", "portrait"]

FORMULA = "score = (2 hues + palette + light) / 4, of the parts that count"
SAME_LIGHT = (
    "time", "light_source", "light_quality", "light_direction", "tone", "saturation", "contrast", "style",
)  # fmt: skip
"""Axes that must be asked alike if palette and light are to count."""
_WEIGHTS = {"hues": 2.0, "palette": 1.0, "light": 1.0}

_ACROSS = 64  # cells along the shorter side
_HUES, _GREY = 24, 12.0  # number of hues; C* under which a colour has none
_LIGHTS, _CHROMAS = 10, 12  # cells of the palette: of 10 L*, of 16 a* or b* from -96 to 96
_BORDER = 0.12  # of each side: what is taken for background
_NARROW, _SPREAD = (
    1.2,
    0.02,
)  # deviation of the weight towards the middle, in half images; share of a border's colours


@dataclass(frozen=True)
class Portrait:
    """Of one shot: `hues` (25,), of its subject, the last is grey; `palette` (10, 12, 12); `light` (4,): L*, its
    deviation, a*, b*. The first two sum to 1.
    """

    hues: np.ndarray
    palette: np.ndarray
    light: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two shots, by their places from 0. `score` is of the parts that count, or None; `counted` are their names."""

    first: int
    second: int
    hues: float
    palette: float
    light: float
    counted: tuple[str, ...]
    score: float | None


@dataclass(frozen=True)
class Continuity:
    """All pairs of shots, and the mean of their scores (None if there is no pair that can be compared)."""

    pairs: tuple[Pair, ...]
    score: float | None

    @property
    def weakest(self) -> Pair | None:
        """The pair with the lowest score."""
        known = [pair for pair in self.pairs if pair.score is not None]
        return min(known, key=lambda pair: pair.score or 0.0) if known else None

    def matrix(self, count: int) -> list[list[float | None]]:
        """Scores of `count` shots by shots; 1 with itself."""
        rows: list[list[float | None]] = [
            [1.0 if i == j else None for j in range(count)] for i in range(count)
        ]
        for pair in self.pairs:
            rows[pair.first][pair.second] = rows[pair.second][pair.first] = pair.score
        return rows

    def as_json(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Scores to three digits; `numbers` are those of the shots."""
        return {
            "score": _digits(self.score),
            "formula": FORMULA,
            "pairs": [
                {
                    "shots": [numbers[pair.first], numbers[pair.second]],
                    "score": _digits(pair.score),
                    **{name: _digits(getattr(pair, name)) for name in _WEIGHTS},
                    "counted": list(pair.counted),
                }
                for pair in self.pairs
            ],
        }


def portrait(frames: np.ndarray) -> Portrait:
    """Look at a few frames of one shot, uint8 (T, H, W, 3), of at least 16 pixels a side. Raises MediaError."""
    if (
        frames.dtype != np.uint8
        or frames.ndim != 4
        or frames.shape[-1] != 3
        or min(frames.shape[1:3], default=0) < 16
    ):
        raise MediaError(
            f"cannot compare an array of {frames.dtype} {frames.shape}: needs uint8 (T, H, W, 3), 16 pixels a side"
        )
    colours = np.stack([lab(cells(frame, _ACROSS)) for frame in frames])
    boxes = _boxes(colours)
    palette = _smooth(np.bincount(boxes.ravel(), minlength=_LIGHTS * _CHROMAS**2).astype(float))
    flat = colours.reshape(-1, 3)
    light = np.array([flat[:, 0].mean(), flat[:, 0].std(), flat[:, 1].mean(), flat[:, 2].mean()])
    hues = np.sum([_hues(frame, box) for frame, box in zip(colours, boxes, strict=True)], axis=0)
    return Portrait(hues / hues.sum(), palette / palette.sum(), light)


def compare(portraits: Sequence[Portrait], specs: Sequence[ShotSpec], shared: Sequence[bool]) -> Continuity:
    """Compare all pairs of shots; `shared` says which ones show the shared subject."""
    pairs = tuple(
        _pair(i, j, portraits[i], portraits[j], _counted(specs[i], specs[j], subject=shared[i] and shared[j]))
        for i, j in combinations(range(len(portraits)), 2)
    )
    known = [pair.score for pair in pairs if pair.score is not None]
    return Continuity(pairs, float(np.mean(known)) if known else None)


def hues_alike(one: Portrait, two: Portrait) -> float:
    """The Bhattacharyya coefficient of the hues of what stands out: 1 alike, 0 nothing in common."""
    return float(np.sqrt(one.hues * two.hues).sum())


def _counted(one: ShotSpec, two: ShotSpec, *, subject: bool) -> tuple[str, ...]:
    alike = all(getattr(one, axis) == getattr(two, axis) for axis in SAME_LIGHT)
    return (("hues",) if subject else ()) + (("palette", "light") if alike else ())


def _pair(i: int, j: int, one: Portrait, two: Portrait, counted: tuple[str, ...]) -> Pair:
    difference = (one.light - two.light) / (25, 12, 15, 15)
    parts = {
        "hues": hues_alike(one, two),
        "palette": float(np.sqrt(one.palette * two.palette).sum()),
        "light": float(np.exp(-(difference @ difference) / 2)),
    }
    weight = sum(_WEIGHTS[name] for name in counted)
    score = sum(_WEIGHTS[name] * parts[name] for name in counted) / weight if counted else None
    return Pair(
        i, j, **{name: min(value, 1.0) for name, value in parts.items()}, counted=counted, score=score
    )


def _boxes(colours: np.ndarray) -> np.ndarray:
    """The cell of the palette of each colour (..., 3), as one number."""
    light = np.clip(colours[..., 0] // (100 / _LIGHTS), 0, _LIGHTS - 1).astype(int)
    a, b = (np.clip((colours[..., k] + 96) // (192 / _CHROMAS), 0, _CHROMAS - 1).astype(int) for k in (1, 2))
    return (light * _CHROMAS + a) * _CHROMAS + b


def _smooth(counts: np.ndarray) -> np.ndarray:
    """(1 2 1) / 4 along each axis of the palette, so that a colour at a cell's edge is in both; (10, 12, 12)."""
    grid = counts.reshape(_LIGHTS, _CHROMAS, _CHROMAS)
    for axis in range(3):
        padded = np.pad(grid, [(1, 1) if k == axis else (0, 0) for k in range(3)], mode="edge")
        first, middle, last = (np.take(padded, range(s, s + grid.shape[axis]), axis) for s in (0, 1, 2))
        grid = (first + 2 * middle + last) / 4
    return grid


def _hues(colours: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Weights of the hues of what stands out in one frame (h, w, 3); the last is grey."""
    h, w = boxes.shape
    down, across = max(1, round(_BORDER * h)), max(1, round(_BORDER * w))
    ring = np.ones((h, w), bool)
    ring[down:-down, across:-across] = False
    border = _smooth(np.bincount(boxes[ring], minlength=_LIGHTS * _CHROMAS**2).astype(float)).ravel()
    border /= border.sum()
    y, x = (np.linspace(-1, 1, n) for n in (h, w))
    middle = np.exp(-(y[:, None] ** 2 + x**2) / (2 * _NARROW**2)) * ~ring
    share = border[boxes]
    weight = middle * np.maximum(0, 1 - share / _SPREAD)
    chroma = np.hypot(colours[..., 1], colours[..., 2])
    angle = np.arctan2(colours[..., 2], colours[..., 1]) / (2 * np.pi) * _HUES
    counts = np.bincount(
        np.round(angle).astype(int).ravel() % _HUES,
        (weight * np.maximum(chroma - _GREY, 0)).ravel(),
        minlength=_HUES,
    )
    for _ in range(2):
        counts = (np.roll(counts, 1) + 2 * counts + np.roll(counts, -1)) / 4
    grey = float((weight * np.minimum(chroma, _GREY).clip(_GREY / 4) * (chroma < _GREY)).sum())
    return np.append(counts, grey + 1e-6)


def _digits(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
