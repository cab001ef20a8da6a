"""How a long video drifts: colour, light, contrast, sharpness and identity per second, from its pixels alone.

    meter = DriftMeter(fps=16)
    for piece in pieces:                    # uint8 (n, H, W, 3), as they are made
        meter.add(piece)
    drift = meter.result()                  # may be asked at any time
    drift.axes["brightness"].per_second     # L* a second

One pass; no image is kept but the last one and small descriptors of the first second, so memory does not grow with
the length (24 bytes a frame for the seams, less than a kilobyte a second for the series).

What it cannot know is why an image changes: a sunset, a pan into the shade and a drifting model look alike. So a
slope is the median over pairs of seconds, which movement to and fro leaves alone; cuts are found, and slopes do not
cross them; `camera` and `zoom` say how far the image as a whole has moved and grown, beyond which all may simply
follow the scene. Not seen are dissolves, and a camera that turns around the subject. Identity, without a network for
faces, is how well what the first second shows is found again, wherever it went: it tells a changed shape or pattern,
not one face from a similar one. Give `features` (images to vectors: a face network, DINO) to measure with those.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from wan22.director.look import MAX_ZOOM, Look, cells, ciede2000, edge_width, lab, likeness, shift, zoom
from wan22.director.trend import Drift, Seam, ShotDrift, find_cuts, median, ordinary_step, slope, trend
from wan22.errors import MediaError

__all__ = ["MIN_SECONDS", "DriftMeter", "Features", "measure_drift"]

Features = Callable[[np.ndarray], np.ndarray]
"""An image, uint8 (H, W, 3), to a vector; images of the same person have a cosine near 1."""

MIN_SECONDS = 2.0
_SAMPLES = 4  # images a second that are looked at for sharpness, identity and camera
_MIN_CHROMA = 1.0  # C* under which an image has no hue


class DriftMeter:
    """Measures a video while it is made.

    `borders` are frames at which clips were joined, if known beforehand; or call `border()` between two `add`.
    A jump there is a seam and never a cut.
    """

    def __init__(self, fps: float, *, borders: Sequence[int] = (), features: Features | None = None) -> None:
        """Raises MediaError if `fps` is not a positive number or a border is negative."""
        if not 0 < fps < math.inf:
            raise MediaError(f"cannot measure a video at {fps} frames a second: fps must be positive.")
        if any(border < 0 for border in borders):
            raise MediaError(f"cannot measure seams at {list(borders)}: frames are numbered from 0.")
        self._fps = fps
        self._borders = {int(border) for border in borders if border > 0}
        self._step = max(1, round(fps / _SAMPLES))
        self._likeness = _Likeness(features)
        self._frames = 0
        self._size = (0, 0)
        self._last: np.ndarray | None = None
        self._last_cells = np.empty(0)
        self._camera = _Camera()
        self._steps = array("d")  # to each frame three: brightness, colour, image
        self._sharpness_steps: dict[int, float] = {}  # to the frames that begin a clip
        self._second = _Second(0)
        self._seconds: list[_Row] = []
        self._layout: np.ndarray | None = None  # of the chroma in the first second

    def add(self, frames: np.ndarray) -> None:
        """Take the next frames, uint8 (n, H, W, 3), or one, (H, W, 3), of at least 16 pixels a side.

        Raises MediaError for another kind of array, or another size than before.
        """
        if frames.ndim == 3:
            frames = frames[None]
        if (
            frames.dtype != np.uint8
            or frames.ndim != 4
            or frames.shape[-1] != 3
            or min(frames.shape[1:3]) < 16
        ):
            raise MediaError(
                f"cannot measure an array of {frames.dtype} {frames.shape}: needs uint8 (n, H, W, 3), "
                "sides of at least 16 pixels."
            )
        size = (frames.shape[2], frames.shape[1])
        if self._frames and size != self._size:
            raise MediaError(f"the video changes its size from {self._size} to {size} (width, height).")
        self._size = size
        for frame in frames:
            self._add(frame)
            self._last = frame
        if len(frames):
            self._last = frames[-1].copy()  # not a view, which would keep all of them

    def border(self) -> None:
        """Say that the next frame is the first of another clip."""
        if self._frames:
            self._borders.add(self._frames)

    def result(self) -> Drift:
        """What was found so far.

        Raises MediaError for less than `MIN_SECONDS` seconds or four frames.
        """
        if self._frames < max(MIN_SECONDS * self._fps - 0.5, 4):
            raise MediaError(
                f"{self._frames} frames at {self._fps:g} a second last {self._frames / self._fps:.2f} s; "
                f"drift is measured from {MIN_SECONDS:g} s and 4 frames on."
            )
        rows = list(self._seconds)
        if self._second.count >= self._fps / 2:  # less is no second
            rows.append(self._second.row(self._layout))
        times = np.array([(row.first + (row.count - 1) / 2) / self._fps for row in rows])
        series = self._series(rows)
        steps = np.array(self._steps).reshape(-1, 3)
        cuts = find_cuts(steps[:, 2], self._borders)
        bounds = list(pairwise([0, *cuts, self._frames]))
        shots = [np.array([a <= row.first and row.first + row.count <= b for row in rows]) for a, b in bounds]
        ordinary = ordinary_step(steps, {0, *cuts, *self._sharpness_steps})
        return Drift(
            fps=self._fps,
            frames=self._frames,
            size=self._size,
            times=tuple(times.tolist()),
            axes={name: trend(name, times, values, shots) for name, values in series.items()},
            camera=tuple(row.travel for row in rows),
            zoom=tuple(math.exp(row.growth) for row in rows),
            shots=tuple(
                ShotDrift(a, b, {name: slope(times, values, [members]) for name, values in series.items()})
                for (a, b), members in zip(bounds, shots, strict=True)
            ),
            seams=tuple(
                self._seam(frame, steps[frame].tolist(), ordinary) for frame in sorted(self._sharpness_steps)
            ),
            ordinary=ordinary,
        )

    def _add(self, frame: np.ndarray) -> None:
        index = self._frames
        self._frames += 1
        if self._second.count and int(index / self._fps) != int(self._second.first / self._fps):
            self._seconds.append(self._second.row(self._layout))
            if self._layout is None:
                self._layout = self._second.layout
            self._second = _Second(index)
        colours = lab(cells(frame))
        self._steps.extend((0.0, 0.0, 0.0) if self._last is None else _step(self._last_cells, colours))
        if self._last is not None and index in self._borders:
            self._sharpness_steps[index] = 100 * (edge_width(self._last) / edge_width(frame) - 1)
        self._second.add(colours)
        if index % self._step == 0:
            width, alike = edge_width(frame), self._likeness.add(frame)
            self._second.sample(width, alike, *self._camera.add(colours[..., 0]))
        self._last_cells = colours

    def _series(self, rows: list[_Row]) -> dict[str, np.ndarray]:
        """One number a second for every axis."""
        mean = np.array([row.mean for row in rows])  # L*, a*, b*, C*, contrast
        width = np.array([row.edges for row in rows])
        identity = np.array([row.likeness for row in rows])
        identity[0] = self._likeness.among_first()
        turns = np.array([row.turn for row in rows])
        known = ~np.isnan(turns)
        turns[known] = np.degrees(np.unwrap(turns[known]))
        return {
            "brightness": mean[:, 0],
            "contrast": mean[:, 4],
            "saturation": mean[:, 3],
            "hue": turns,
            "red-green": mean[:, 1],
            "blue-yellow": mean[:, 2],
            "colour": ciede2000(mean[:1, :3], mean[:, :3]),
            "sharpness": 100 * width[0] / width,
            "identity": identity,
        }

    def _seam(self, frame: int, step: list[float], ordinary: dict[str, float]) -> Seam:
        brightness, colour, image = step
        # Beside a video that rests everything is large: nothing under a tenth of what people see is compared.
        times = max(abs(size) / max(usual, 0.2) for size, usual in zip(step, ordinary.values(), strict=True))
        sharpness = self._sharpness_steps[frame]
        return Seam(frame, frame / self._fps, brightness, colour, image, sharpness, times)


def measure_drift(
    frames: Iterable[np.ndarray], fps: float, *, borders: Sequence[int] = (), features: Features | None = None
) -> Drift:
    """Measure a video that comes as frames uint8 (H, W, 3) or as pieces (n, H, W, 3).

    `borders` are the frames at which clips were joined. Raises MediaError as `DriftMeter` does.
    """
    meter = DriftMeter(fps, borders=borders, features=features)
    for piece in frames:
        meter.add(piece)
    return meter.result()


class _Row(NamedTuple):
    """What is kept of a second: its first frame and their number; means, medians, and the turn of hue."""

    first: int
    count: int
    mean: tuple[float, ...]  # L*, a*, b*, C*, contrast
    edges: float
    likeness: float
    travel: float
    growth: float
    turn: float


class _Second:
    """Sums over the frames of the second that is being read."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.count = 0
        self._chroma: np.ndarray = np.zeros((), np.complex128)
        self._sum = np.zeros(5)
        self._samples: list[tuple[float, float, float, float]] = []

    def add(self, colours: np.ndarray) -> None:
        light, chroma = colours[..., 0], colours[..., 1] + 1j * colours[..., 2]
        self._sum += (*colours.mean(axis=(0, 1)), np.abs(chroma).mean(), light.std())
        self._chroma = self._chroma + chroma
        self.count += 1

    def sample(self, edges: float, likeness: float, travel: float, growth: float) -> None:
        self._samples.append((edges, likeness, travel, growth))

    @property
    def layout(self) -> np.ndarray:
        """Mean chroma of every cell, a* + i b* (h, w)."""
        return self._chroma / self.count

    def row(self, layout: np.ndarray | None) -> _Row:
        """Sum up; `layout` is that of the first second, None in it."""
        mean = self._sum / self.count
        edges, alike, travel, growth = (
            median(np.array(column)) for column in zip(*self._samples, strict=True)
        )
        turn = _turn(self.layout if layout is None else layout, self.layout)
        return _Row(self.first, self.count, tuple(mean.tolist()), edges, alike, travel, growth, turn)


class _Likeness:
    """Compares images with the first `_SAMPLES` ones: the best match counts, so movement among them is allowed."""

    def __init__(self, features: Features | None) -> None:
        self._features = features
        self._first: list[Any] = []
        self._among: list[float] = []

    def add(self, image: np.ndarray) -> float:
        """Likeness to the first images; nan for these themselves, see `among_first`."""
        look = self._look(image)
        if len(self._first) < _SAMPLES:
            self._first.append(look)
            return math.nan
        return self._compare(self._first, look)

    def among_first(self) -> float:
        """Likeness of the first images to each other: what later ones can reach."""
        pairs = [
            self._compare([*self._first[:i], *self._first[i + 1 :]], look)
            for i, look in enumerate(self._first)
        ]
        return median(np.array(pairs))

    def _look(self, image: np.ndarray) -> Any:
        if self._features is None:
            return Look.of(image)
        vector = np.asarray(self._features(image), np.float64).ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def _compare(self, first: list[Any], look: Any) -> float:
        if self._features is None:
            return likeness(first, look)
        return float(max(look @ other for other in first))


class _Camera:
    """Follows the image as a whole from key to key: shift and growth from a key are measured until they are large."""

    def __init__(self) -> None:
        self._shift_key: np.ndarray | None = None
        self._shift_at = self._place = np.zeros(2)
        self._zoom_key: np.ndarray | None = None
        self._zoom_at = self._growth = 0.0

    def add(self, light: np.ndarray) -> tuple[float, float]:
        """Take the next grid of light (h, w); return how far it moved, in its widths, and the log of its growth."""
        if self._zoom_key is None:
            self._zoom_key = light
        growth = zoom(self._zoom_key, light)
        if growth:
            self._growth = self._zoom_at + growth
        if abs(growth) > MAX_ZOOM / 2:
            self._zoom_key, self._zoom_at = light, self._growth
        moved = None if self._shift_key is None else shift(self._shift_key, light)
        if moved is not None:
            self._place = self._shift_at + moved
        if moved is None or max(np.abs(moved)) > min(light.shape) / 6:
            self._shift_key, self._shift_at = light, self._place
        return float(np.hypot(*self._place)) / light.shape[1], self._growth


def _turn(first: np.ndarray, now: np.ndarray) -> float:
    """Angle in radians by which the colours of all cells have turned; nan where there is no colour."""
    if min(np.abs(first).mean(), np.abs(now).mean()) < _MIN_CHROMA:
        return math.nan
    return float(np.angle(np.vdot(first, now)))


def _step(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """Step between two grids of CIELAB: mean lightness, CIEDE2000 of the mean colours, mean difference of cells."""
    one, two = before.mean(axis=(0, 1)), after.mean(axis=(0, 1))
    image = np.linalg.norm(after - before, axis=-1).mean()
    return float(two[0] - one[0]), float(ciede2000(one, two)), float(image)
