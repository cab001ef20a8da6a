"""What a clip looks like, in numbers: sharpness, motion, brightness, cuts, overlaid text, and a mark for its likes.

    sharpness    variance of the Laplacian of the grey image (Pech-Pacheco et al. 2000, "Diatom autofocusing in
                 brightfield microscopy"), median of the samples; of images whose longer side is at most 640 pixels
    motion       mean length of the optical flow (DIS, Kroeger et al. 2016, arXiv:1603.03590), as a share of the longer
                 side that passes in a second, median of the steps between samples; cuts do not count
    brightness   mean grey, 0 to 255; `contrast` is its deviation within an image
    cuts         seconds at which the colours change at once (Bhattacharyya distance of histograms); fades are not found
    text         share of the samples with a line of overlaid text (overlay.py)
    mark         64 signs of a DCT (pHash, Zauner 2010) and small colours of three moments: equal for what looks alike

Frames are read one at a time, eight a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wan22.errors import MediaError
from wan22.train.data.frames import frames_at
from wan22.train.data.overlay import WIDTH, Box, steady_lines, text_lines
from wan22.train.data.probe import Facts, probe

RATE = 8.0
"""Samples a second; fewer of a long clip, so that there are never more than `MOST`."""
MOST = 480
LARGEST = 640
"""Pixels of the longer side at which a clip is looked at; a smaller one is not enlarged."""
CUT = 0.4
"""Distance of colours (0..1) between samples from which a change is a cut."""

_FLOW_SIDE = 192
_TEXT_RATE = 2.0  # looks for text a second
_TIMES_USUAL = 3.0  # how much more than the clip's usual change a cut must be
_MOVES = 0.01  # motion from which what stands still was laid over the video


class Mark(NamedTuple):
    """What clips are compared by: signs (3, 64) bool, and colours (3, 4, 4, 3) uint8, of three moments."""

    signs: np.ndarray
    colours: np.ndarray


@dataclass(frozen=True)
class Measures:
    """The numbers of one clip. `text_sure` is whether the video moves, so that overlaid text is told by standing still.

    `sampled` is the seconds from one look to the next.
    """

    path: Path
    size: tuple[int, int]
    seconds: float
    fps: float
    sharpness: float
    motion: float
    brightness: float
    contrast: float
    cuts: tuple[float, ...]
    text: float
    text_sure: bool
    sampled: float
    mark: Mark = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The numbers alone."""
        kept = {name: value for name, value in vars(self).items() if name not in ("path", "mark")}
        rounded = {
            name: round(value, 5) if isinstance(value, float) else value for name, value in kept.items()
        }
        return {**rounded, "cuts": [round(at, 3) for at in self.cuts], "size": list(self.size)}


def measure(path: Path, *, cut: float = CUT) -> Measures:
    """Look at a clip. Raises MediaError for one that cannot be read, or of one frame."""
    facts = probe(path)
    if facts.still:
        raise MediaError(f"{path} holds one frame. A clip has at least two.")
    times = _times(facts)
    step = float(times[1] - times[0])
    looks = _Looks(facts, step, len(times))
    for index, frame in enumerate(
        frames_at(path, times.tolist(), facts.clock, _within(facts.size), facts.size)
    ):
        looks.add(index, frame)
    return looks.measures(path, cut)


def _times(facts: Facts) -> np.ndarray:
    """Moments to look at, at least two."""
    step = max(1 / RATE, facts.seconds / MOST)
    count = max(2, int(facts.seconds / step))
    return np.arange(count) * min(step, facts.seconds / count)


def _within(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, LARGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


class _Looks:
    """What was seen of a clip so far."""

    def __init__(self, facts: Facts, step: float, count: int) -> None:
        self._facts, self._step = facts, step
        self._marked = {0: 0, count // 2: 1, count - 1: 2}
        self._every = max(1, round(1 / (_TEXT_RATE * step)))
        self._sharp: list[float] = []
        self._grey: list[tuple[float, float]] = []
        self._flow: list[float] = []
        self._change: list[float] = []
        self._lines: list[list[Box]] = []
        self._signs, self._colours = np.zeros((3, 64), bool), np.zeros((3, 4, 4, 3), np.uint8)
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, index: int, frame: np.ndarray) -> None:
        """Look at a sample, uint8 (H, W, 3)."""
        import cv2

        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        self._sharp.append(float(cv2.Laplacian(grey, cv2.CV_64F).var()))
        self._grey.append((float(grey.mean()), float(grey.std())))
        small, colours = _small(grey, _FLOW_SIDE), _histogram(frame)
        if self._before is not None:
            self._flow.append(_flow(self._before[0], small) / self._step)
            self._change.append(float(cv2.compareHist(self._before[1], colours, cv2.HISTCMP_BHATTACHARYYA)))
        self._before = small, colours
        if index % self._every == 0:
            self._lines.append(text_lines(_small(grey, WIDTH)))
        if index in self._marked:
            place = self._marked[index]
            self._signs[place] = _signs(grey)
            self._colours[place] = cv2.resize(frame, (4, 4), interpolation=cv2.INTER_AREA)

    def measures(self, path: Path, cut: float) -> Measures:
        """The numbers."""
        change = np.array(self._change)
        jumps = (change >= cut) & (change >= _TIMES_USUAL * np.median(change))
        # A clip of few samples is all change: then its usual one says nothing.
        jumps = jumps if len(change) > 3 else change >= cut
        smooth = np.array(self._flow)[~jumps]
        motion = float(np.median(smooth)) if len(smooth) else 0.0
        grey = np.array(self._grey)
        return Measures(
            path=path,
            size=self._facts.size,
            seconds=round(self._facts.seconds, 3),
            fps=round(self._facts.fps, 3),
            sharpness=float(np.median(self._sharp)),
            motion=motion,
            brightness=float(grey[:, 0].mean()),
            contrast=float(grey[:, 1].mean()),
            cuts=tuple(float((i + 1) * self._step) for i in np.flatnonzero(jumps)),
            text=self._text(),
            text_sure=motion >= _MOVES,
            sampled=self._step,
            mark=Mark(self._signs, self._colours),
        )

    def _text(self) -> float:
        """Share of the looks that show a line which the look before showed, too."""
        if len(self._lines) == 1:
            return float(bool(self._lines[0]))
        pairs = list(zip(self._lines, self._lines[1:], strict=False))
        return sum(bool(steady_lines(now, before)) for before, now in pairs) / len(pairs)


def _small(grey: np.ndarray, side: int) -> np.ndarray:
    import cv2

    scale = side / max(grey.shape)
    if scale >= 1:
        return grey
    size = max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def _flow(before: np.ndarray, now: np.ndarray) -> float:
    """Mean length of the flow, as a share of the longer side."""
    import cv2

    if min(now.shape) < 16:
        raise MediaError(f"an image of {now.shape[1]}x{now.shape[0]} pixels is too small to see motion in.")
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(
        before, now, np.zeros((*now.shape, 2), np.float32)
    )
    return float(np.hypot(flow[..., 0], flow[..., 1]).mean()) / max(now.shape)


def _histogram(frame: np.ndarray) -> np.ndarray:
    """Shares of 8 x 8 x 8 colours, a little blurred, so that a step of light is no other colour."""
    import cv2

    counts = cv2.calcHist([frame], [0, 1, 2], None, [8, 8, 8], [0, 256, 0, 256, 0, 256])
    for axis in range(3):
        counts = counts + 0.5 * (np.roll(counts, 1, axis) + np.roll(counts, -1, axis))
    return (counts / counts.sum()).astype(np.float32).ravel()


def _signs(grey: np.ndarray) -> np.ndarray:
    """Whether each of the 64 lowest frequencies, but the mean, is above their median."""
    import cv2

    low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[
        :9, :9
    ].ravel()[1:65]
    return low > np.median(low)
