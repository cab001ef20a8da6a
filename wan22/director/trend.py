"""What drift is in numbers: every axis over a video and its robust slope within shots; cuts and seams.

Values and statistics only: how an axis is read from images is drift.py's.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

__all__ = [
    "AXES",
    "Axis",
    "Drift",
    "Seam",
    "ShotDrift",
    "Verdict",
    "find_cuts",
    "median",
    "ordinary_step",
    "slope",
    "trend",
]

Verdict = Literal["steady", "uneven", "drifts", "unknown"]

_LEAST_CUT, _TIMES_CUT = 8.0, 4.0  # mean colour difference of a cut, and how far above its neighbours


@dataclass(frozen=True)
class _Kind:
    """Row of the table of axes: unit, from which change on people see it, and whether that is a share."""

    unit: str
    what: str
    visible: float
    relative: bool = False  # `visible` is a share of the start


AXES = {
    "brightness": _Kind("L*", "mean lightness", 2.0),
    "contrast": _Kind("L*", "standard deviation of lightness over the image", 0.1, relative=True),
    "saturation": _Kind("C*", "mean chroma", 0.1, relative=True),
    "hue": _Kind("deg", "turn of all hues against the first second", 5.0),
    "red-green": _Kind("a*", "mean a*: green to red", 2.0),
    "blue-yellow": _Kind("b*", "mean b*: blue to yellow", 2.0),
    "colour": _Kind("dE", "CIEDE2000 of the mean colour, light included, against the first second", 2.0),
    "sharpness": _Kind("%", "width of edges in the first second over their width now", 15.0),
    "identity": _Kind("share", "share of what the first second shows that is found again", 0.15),
}
"""What is measured each second. The first four and the last two are apart from each other by construction;
red-green, blue-yellow and colour are other views of the same colours, where a cast shows."""


@dataclass(frozen=True)
class Axis:
    """One measure over the video.

    `values` a second each (nan: nothing to measure it on); `start` and `end` are the first and the last second;
    `per_second` is the robust slope within shots. `visible` is the change from which people notice it.
    """

    unit: str
    what: str
    values: tuple[float, ...]
    start: float
    end: float
    per_second: float
    total: float
    visible: float
    verdict: Verdict


@dataclass(frozen=True)
class ShotDrift:
    """How one shot drifts: frames `start` to `end` (exclusive) between two cuts, the slope of every axis within."""

    start: int
    end: int
    per_second: dict[str, float]


@dataclass(frozen=True)
class Seam:
    """The step from the frame before `frame`, where a clip begins, to it.

    `brightness` in L*, `colour` in CIEDE2000 of the mean colours, `image` in mean colour difference of all cells,
    `sharpness` in percent. `times` is the largest of the first three over what is ordinary in this video (1: no seam).
    """

    frame: int
    seconds: float
    brightness: float
    colour: float
    image: float
    sharpness: float
    times: float


@dataclass(frozen=True)
class Drift:
    """What `DriftMeter` found.

    `times` are the middles of the seconds. `camera` is how far the image as a whole has moved from the first frame,
    in widths of it; `zoom` how many times its middle has grown since. `ordinary` is the median step between
    neighbouring frames, seams and cuts aside: brightness, colour and image, as in `Seam`.
    """

    fps: float
    frames: int
    size: tuple[int, int]
    times: tuple[float, ...]
    axes: dict[str, Axis]
    camera: tuple[float, ...]
    zoom: tuple[float, ...]
    shots: tuple[ShotDrift, ...]
    seams: tuple[Seam, ...]
    ordinary: dict[str, float]

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return self.frames / self.fps

    @property
    def cuts(self) -> tuple[int, ...]:
        """Frames that begin a new shot."""
        return tuple(shot.start for shot in self.shots[1:])

    @property
    def travel(self) -> float:
        """How far the camera has been from where it was at first, in widths of the image."""
        return max(self.camera)

    @property
    def growth(self) -> float:
        """How many times the middle of the image has grown or shrunk at most: 1 for a camera at its place."""
        return max(max(factor, 1 / factor) for factor in self.zoom)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON-able values; what could not be measured is null."""
        # Files of drift have called the shots "takes" from the beginning.
        found = {"takes" if name == "shots" else name: value for name, value in asdict(self).items()} | {
            "seconds": self.seconds,
            "cuts": self.cuts,
            "travel": self.travel,
            "growth": self.growth,
        }
        return _plain(found)


def ordinary_step(steps: np.ndarray, without: set[int]) -> dict[str, float]:
    """Median step between neighbours, in absolute value: of brightness, colour and image, `steps` (T, 3)."""
    kept = np.delete(np.abs(steps), list(without), axis=0)
    brightness, colour, image = np.median(kept, axis=0).tolist() if len(kept) else (0.0, 0.0, 0.0)
    return {"brightness": brightness, "colour": colour, "image": image}


def find_cuts(differences: np.ndarray, borders: set[int]) -> list[int]:
    """Frames that differ from the one before far more than their neighbours do; a flash does so twice, and is none."""
    found = []
    for i in np.nonzero(differences > _LEAST_CUT)[0].tolist():
        near = np.concatenate([differences[max(i - 3, 1) : i], differences[i + 1 : i + 4]])
        if differences[i] > _TIMES_CUT * near.max(initial=0.0) and i not in borders:
            found.append(i)
    return found


def trend(name: str, times: np.ndarray, values: np.ndarray, shots: list[np.ndarray]) -> Axis:
    """One axis of `AXES` from its values (n,) at `times` (n,); `shots` are masks (n,) of the seconds of each."""
    kind = AXES[name]
    start, end = float(values[0]), float(values[-1])
    per_second = slope(times, values, shots)
    total = per_second * float(times[-1] - times[0])
    visible = kind.visible * max(start, 10.0) if kind.relative else kind.visible
    if len(shots) == 1:
        changes = [total, end - start]
    else:  # across a cut the end says nothing about the start: each shot for itself
        changes = [slope(times, values, [shot]) * np.ptp(times[shot]) for shot in shots if shot.sum() > 1]
    seen = [abs(change) >= visible for change in changes]
    verdict: Verdict = "drifts" if all(seen) else "uneven" if any(seen) else "steady"
    if not changes or any(math.isnan(change) for change in changes):
        verdict = "unknown"
    return Axis(kind.unit, kind.what, tuple(values.tolist()), start, end, per_second, total, visible, verdict)


def slope(times: np.ndarray, values: np.ndarray, shots: list[np.ndarray]) -> float:
    """Median slope over pairs of seconds of the same shot, at least a quarter of it apart (Theil and Sen)."""
    slopes = [np.empty(0)]
    for members in shots:
        use = members & ~np.isnan(values)
        t, y = times[use], values[use]
        # A thousand seconds have half a million pairs, which is plenty.
        stride = max(1, len(t) // 1000)
        t, y = t[::stride], y[::stride]
        i, j = np.triu_indices(len(t), k=max(len(t) // 4, 1))
        slopes.append((y[j] - y[i]) / (t[j] - t[i]))
    return median(np.concatenate(slopes))


def median(values: np.ndarray) -> float:
    """Median of what is known; nan if nothing is."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else math.nan


def _plain(value: Any) -> Any:
    """JSON-able: tuples as lists, six digits, no nan."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
