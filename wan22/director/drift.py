"""How a long film drifts: colour, light, contrast, sharpness and identity per second, from its pixels alone.

    meter = DriftMeter(fps=16)
    for piece in pieces:                    # uint8 (n, H, W, 3), as they are made
        meter.add(piece)
    drift = meter.result()                  # may be asked at any time
    drift.axes["brightness"].per_second     # L* a second

One pass; no picture is kept but the last one and small descriptors of the first second, so memory does not grow with
the length (24 bytes a frame for the seams, less than a kilobyte a second for the series).

What it cannot know is why a picture changes: a sunset, a pan into the shade and a drifting model look alike. So a
slope is the median over pairs of seconds, which movement to and fro leaves alone; cuts are found, and slopes do not
cross them; `camera` and `zoom` say how far the picture as a whole has moved and grown, beyond which all may simply
follow the scene. Not seen are dissolves, and a camera that turns around the subject. Identity, without a network for
faces, is how well what the first second shows is found again, wherever it went: it tells a changed shape or pattern,
not one face from a similar one. Give `features` (pictures to vectors: a face network, DINO) to measure with those.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from wan22.director.look import MAX_ZOOM, Look, cells, ciede2000, edge_width, lab, likeness, shift, zoom
from wan22.errors import MediaError, OptionError

__all__ = [
    "AXES",
    "MIN_SECONDS",
    "Axis",
    "Drift",
    "DriftMeter",
    "Features",
    "Seam",
    "Take",
    "measure_drift",
    "plot_drift",
]

Features = Callable[[np.ndarray], np.ndarray]
"""A picture, uint8 (H, W, 3), to a vector; pictures of the same person have a cosine near 1."""

Verdict = Literal["steady", "uneven", "drifts", "unknown"]

MIN_SECONDS = 2.0
_SAMPLES = 4  # pictures a second that are looked at for sharpness, identity and camera
_MIN_CHROMA = 1.0  # C* under which a picture has no hue
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
    "contrast": _Kind("L*", "standard deviation of lightness over the picture", 0.1, relative=True),
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
    """One measure over the film.

    `values` a second each (nan: nothing to measure it on); `start` and `end` are the first and the last second;
    `per_second` is the robust slope within takes. `visible` is the change from which people notice it.
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
class Take:
    """Frames `start` to `end` (exclusive) between two cuts, and the slope of every axis within them."""

    start: int
    end: int
    per_second: dict[str, float]


@dataclass(frozen=True)
class Seam:
    """The step from the frame before `frame`, where a clip begins, to it.

    `brightness` in L*, `colour` in CIEDE2000 of the mean colours, `picture` in mean colour difference of all cells,
    `sharpness` in percent. `times` is the largest of the first three over what is ordinary in this film (1: no seam).
    """

    frame: int
    seconds: float
    brightness: float
    colour: float
    picture: float
    sharpness: float
    times: float


@dataclass(frozen=True)
class Drift:
    """What `DriftMeter` found.

    `times` are the middles of the seconds. `camera` is how far the picture as a whole has moved from the first frame,
    in widths of it; `zoom` how many times its middle has grown since. `ordinary` is the median step between
    neighbouring frames, seams and cuts aside: brightness, colour and picture, as in `Seam`.
    """

    fps: float
    frames: int
    size: tuple[int, int]
    times: tuple[float, ...]
    axes: dict[str, Axis]
    camera: tuple[float, ...]
    zoom: tuple[float, ...]
    takes: tuple[Take, ...]
    seams: tuple[Seam, ...]
    ordinary: dict[str, float]

    @property
    def seconds(self) -> float:
        """Length of the film."""
        return self.frames / self.fps

    @property
    def cuts(self) -> tuple[int, ...]:
        """Frames that begin a new take."""
        return tuple(take.start for take in self.takes[1:])

    @property
    def travel(self) -> float:
        """How far the camera has been from where it was at first, in widths of the picture."""
        return max(self.camera)

    @property
    def growth(self) -> float:
        """How many times the middle of the picture has grown or shrunk at most: 1 for a camera at its place."""
        return max(max(factor, 1 / factor) for factor in self.zoom)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON-able values; what could not be measured is null."""
        found = asdict(self) | {
            "seconds": self.seconds,
            "cuts": self.cuts,
            "travel": self.travel,
            "growth": self.growth,
        }
        return _plain(found)


class DriftMeter:
    """Measures a film while it is made.

    `borders` are frames at which clips were joined, if known beforehand; or call `border()` between two `add`.
    A jump there is a seam and never a cut.
    """

    def __init__(self, fps: float, *, borders: Sequence[int] = (), features: Features | None = None) -> None:
        """Raises MediaError if `fps` is not a positive number or a border is negative."""
        if not 0 < fps < math.inf:
            raise MediaError(f"cannot measure a film at {fps} frames a second: fps must be positive.")
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
        self._steps = array("d")  # to each frame three: brightness, colour, picture
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
            raise MediaError(f"the film changes its size from {self._size} to {size} (width, height).")
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
        cuts = _cuts(steps[:, 2], self._borders)
        bounds = list(pairwise([0, *cuts, self._frames]))
        takes = [np.array([a <= row.first and row.first + row.count <= b for row in rows]) for a, b in bounds]
        ordinary = _ordinary(steps, {0, *cuts, *self._sharpness_steps})
        return Drift(
            fps=self._fps,
            frames=self._frames,
            size=self._size,
            times=tuple(times.tolist()),
            axes={name: _axis(AXES[name], times, values, takes) for name, values in series.items()},
            camera=tuple(row.travel for row in rows),
            zoom=tuple(math.exp(row.growth) for row in rows),
            takes=tuple(
                Take(a, b, {name: _slope(times, values, [members]) for name, values in series.items()})
                for (a, b), members in zip(bounds, takes, strict=True)
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
        brightness, colour, picture = step
        # Beside a film that rests everything is large: nothing under a tenth of what people see is compared.
        times = max(abs(size) / max(usual, 0.2) for size, usual in zip(step, ordinary.values(), strict=True))
        sharpness = self._sharpness_steps[frame]
        return Seam(frame, frame / self._fps, brightness, colour, picture, sharpness, times)


def measure_drift(
    frames: Iterable[np.ndarray], fps: float, *, borders: Sequence[int] = (), features: Features | None = None
) -> Drift:
    """Measure a film that comes as frames uint8 (H, W, 3) or as pieces (n, H, W, 3).

    `borders` are the frames at which clips were joined. Raises MediaError as `DriftMeter` does.
    """
    meter = DriftMeter(fps, borders=borders, features=features)
    for piece in frames:
        meter.add(piece)
    return meter.result()


def plot_drift(drift: Drift, path: str | os.PathLike[str]) -> None:
    """Draw every axis over time, as small multiples, into a PNG.

    The grey band is what people do not notice; the dashed line is the slope; vertical lines are seams (dotted)
    and cuts. Raises OptionError if matplotlib is absent (`pip install 'wan22[eval]'`).
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OptionError("drawing drift needs matplotlib: pip install 'wan22[eval]'") from error
    figure = Figure(figsize=(12, 9), layout="constrained")
    panels = figure.subplots(4, 3, sharex=True).ravel()
    times = np.array(drift.times)
    for panel, (name, axis) in zip(panels, drift.axes.items(), strict=False):
        fit = axis.per_second * (times - times.mean()) + _median(np.array(axis.values))
        panel.axhspan(axis.start - axis.visible, axis.start + axis.visible, color="0.92", lw=0)
        panel.plot(times, axis.values, color=_COLOURS[axis.verdict], lw=1.6)
        panel.plot(times, fit, color="0.3", lw=0.9, ls="--")
        panel.set_title(f"{name}: {axis.per_second:+.3f} {axis.unit}/s, {axis.verdict}", fontsize=10)
        panel.set_ylabel(axis.unit)
        panel.margins(x=0)
    panels[9].plot(times, drift.camera, color="0.3", lw=1.6, label="way, in picture widths")
    panels[9].plot(times, np.array(drift.zoom) - 1, color="tab:blue", lw=1.2, label="growth of the middle")
    panels[9].set_title(f"camera: {drift.travel:.2f} widths, {drift.growth:.2f} times", fontsize=10)
    panels[9].margins(x=0, y=0.1)
    panels[9].legend(fontsize=7)
    if drift.seams:
        panels[10].stem(
            [seam.seconds for seam in drift.seams], [seam.times for seam in drift.seams], basefmt=" "
        )
        panels[10].axhline(1, color="0.3", lw=0.9, ls="--")
    panels[10].set_title(
        "seams: step over the ordinary one" if drift.seams else "seams: none known", fontsize=10
    )
    panels[10].set_ylabel("times")
    panels[11].axis("off")
    panels[11].text(0, 0.95, _legend(drift), va="top", fontsize=9, family="monospace")
    for panel in panels[:11]:
        panel.xaxis.set_tick_params(labelbottom=True)
        panel.set_xlabel("seconds", fontsize=8)
        panel.tick_params(labelsize=8)
        for cut in drift.cuts:
            panel.axvline(cut / drift.fps, color="tab:purple", lw=1)
    for panel in panels[:9]:
        for seam in drift.seams:
            panel.axvline(seam.seconds, color="0.6", lw=0.7, ls=":")
    figure.savefig(path, dpi=110, format="png")


_COLOURS = {"steady": "tab:green", "uneven": "tab:orange", "drifts": "tab:red", "unknown": "0.5"}


def _legend(drift: Drift) -> str:
    return "\n".join([
        f"{drift.seconds:.1f} s, {drift.frames} frames at {drift.fps:g}/s",
        f"{drift.size[0]}x{drift.size[1]}, {len(drift.seams)} seams, {len(drift.cuts)} cuts",
        "",
        "green   steady",
        "red     drifts: slope and end agree",
        "orange  uneven: only one of the two, or",
        "        only some of the takes",
        "band    not noticed against the start",
        "dashed  robust slope",
        "dotted  seams; purple: cuts",
    ])  # fmt: skip


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
            _median(np.array(column)) for column in zip(*self._samples, strict=True)
        )
        turn = _turn(self.layout if layout is None else layout, self.layout)
        return _Row(self.first, self.count, tuple(mean.tolist()), edges, alike, travel, growth, turn)


class _Likeness:
    """Compares pictures with the first `_SAMPLES` ones: the best match counts, so movement among them is allowed."""

    def __init__(self, features: Features | None) -> None:
        self._features = features
        self._first: list[Any] = []
        self._among: list[float] = []

    def add(self, picture: np.ndarray) -> float:
        """Likeness to the first pictures; nan for these themselves, see `among_first`."""
        look = self._look(picture)
        if len(self._first) < _SAMPLES:
            self._first.append(look)
            return math.nan
        return self._compare(self._first, look)

    def among_first(self) -> float:
        """Likeness of the first pictures to each other: what later ones can reach."""
        pairs = [
            self._compare([*self._first[:i], *self._first[i + 1 :]], look)
            for i, look in enumerate(self._first)
        ]
        return _median(np.array(pairs))

    def _look(self, picture: np.ndarray) -> Any:
        if self._features is None:
            return Look.of(picture)
        vector = np.asarray(self._features(picture), np.float64).ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def _compare(self, first: list[Any], look: Any) -> float:
        if self._features is None:
            return likeness(first, look)
        return float(max(look @ other for other in first))


class _Camera:
    """Follows the picture as a whole from key to key: shift and growth from a key are measured until they are large."""

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
    picture = np.linalg.norm(after - before, axis=-1).mean()
    return float(two[0] - one[0]), float(ciede2000(one, two)), float(picture)


def _ordinary(steps: np.ndarray, without: set[int]) -> dict[str, float]:
    """Median step between neighbours, in absolute value."""
    kept = np.delete(np.abs(steps), list(without), axis=0)
    brightness, colour, picture = np.median(kept, axis=0).tolist() if len(kept) else (0.0, 0.0, 0.0)
    return {"brightness": brightness, "colour": colour, "picture": picture}


def _cuts(differences: np.ndarray, borders: set[int]) -> list[int]:
    """Frames that differ from the one before far more than their neighbours do; a flash does so twice, and is none."""
    found = []
    for i in np.nonzero(differences > _LEAST_CUT)[0].tolist():
        near = np.concatenate([differences[max(i - 3, 1) : i], differences[i + 1 : i + 4]])
        if differences[i] > _TIMES_CUT * near.max(initial=0.0) and i not in borders:
            found.append(i)
    return found


def _axis(kind: _Kind, times: np.ndarray, values: np.ndarray, takes: list[np.ndarray]) -> Axis:
    start, end = float(values[0]), float(values[-1])
    slope = _slope(times, values, takes)
    total = slope * float(times[-1] - times[0])
    visible = kind.visible * max(start, 10.0) if kind.relative else kind.visible
    if len(takes) == 1:
        changes = [total, end - start]
    else:  # across a cut the end says nothing about the start: each take for itself
        changes = [_slope(times, values, [take]) * np.ptp(times[take]) for take in takes if take.sum() > 1]
    seen = [abs(change) >= visible for change in changes]
    verdict: Verdict = "drifts" if all(seen) else "uneven" if any(seen) else "steady"
    if not changes or any(math.isnan(change) for change in changes):
        verdict = "unknown"
    return Axis(kind.unit, kind.what, tuple(values.tolist()), start, end, slope, total, visible, verdict)


def _slope(times: np.ndarray, values: np.ndarray, takes: list[np.ndarray]) -> float:
    """Median slope over pairs of seconds of the same take, at least a quarter of it apart (Theil and Sen)."""
    slopes = [np.empty(0)]
    for members in takes:
        use = members & ~np.isnan(values)
        t, y = times[use], values[use]
        # A thousand seconds have half a million pairs, which is plenty.
        stride = max(1, len(t) // 1000)
        t, y = t[::stride], y[::stride]
        i, j = np.triu_indices(len(t), k=max(len(t) // 4, 1))
        slopes.append((y[j] - y[i]) / (t[j] - t[i]))
    return _median(np.concatenate(slopes))


def _median(values: np.ndarray) -> float:
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
