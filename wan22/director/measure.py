"""What a clip shows, from its pixels alone: camera move, subject's colour, path and size, time, tone, light.

Made to judge clips of a model trained on the stage, blurry ones too, without a classifier: colour statistics,
the outline of the one saturated body, and optical flow on everything else. It never sees a label; its constants
are the stage's colours. `python -m wan22.director.measure --stage 200` checks the measure itself.
Needs OpenCV (`pip install 'wan22[eval]'`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wan22.errors import MediaError, OptionError

if TYPE_CHECKING:
    from wan22.stage import Shot

# Paint of the subjects, and the colour of the light that the stage has at each time (sun and sky together).
_PAINT = {
    "red": (0.88, 0.09, 0.10),
    "orange": (0.98, 0.46, 0.05),
    "yellow": (0.98, 0.87, 0.14),
    "green": (0.06, 0.66, 0.30),
    "blue": (0.12, 0.31, 0.92),
    "purple": (0.58, 0.16, 0.80),
}
_LIGHT = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.86, 0.75), "night": (0.60, 0.64, 0.74)}
_GRADE = {"warm": (1.10, 0.99, 0.80), "cool": (0.84, 0.99, 1.12)}

# Halfway, in ratio, between what the labels mean on the stage.
_CLOSE_UP, _MEDIUM = 0.40, 0.225  # subject's height in units
_PAN = 0.11  # camera travel over the clip, in units
_DOLLY = 0.16  # logarithm of the subject's growth over the clip
_PATH = 0.13  # subject's travel over the clip, in units
_HOP = 0.09  # rise and fall, in units


@dataclass(frozen=True)
class Measurement:
    """What one clip shows. A unit is min(height, 0.8 width) pixels; amounts per frame are signed.

    `pan` is in units a frame, to the right positive; `growth` is the logarithm of the subject's growth a frame
    (positive: dolly in); `path` the subject's own travel over the clip in units, to the right positive; `hop` its
    rise and fall in units; `share` its height in units in the middle of the clip. `action` is one of still,
    roll left, roll right, bounce, other: a spin is still here, and "other" is a body of a second colour in play.
    """

    camera: str
    colour: str
    action: str
    time: str
    light: str
    tone: str
    shot: str
    pan: float
    growth: float
    path: float
    hop: float
    share: float


MEASURED = ("colour", "action", "time", "light", "tone", "shot", "camera")
"""The axes that `accuracy` compares."""


@dataclass(frozen=True)
class _Track:
    """The subject in every frame, in pixels: centre (x, y), height; and where bodies are, (T, H, W) bool."""

    colour: str
    x: np.ndarray
    y: np.ndarray
    height: np.ndarray
    bodies: np.ndarray
    others: float


def measure(frames: np.ndarray, fps: float) -> Measurement:
    """Measure one clip, uint8 (T, H, W, 3) with at least 5 frames.

    `fps` does not change what is decided (the amounts are per frame and per clip); it is checked because a clip
    without a time base is a mistake. Raises MediaError for another shape, OptionError if OpenCV is absent.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) < 5:
        raise MediaError(
            f"cannot measure an array of {frames.dtype} {frames.shape}: needs uint8 (T, H, W, 3), T of 5 or more"
        )
    if not fps > 0:
        raise MediaError(f"cannot measure a clip at {fps} frames a second: fps must be positive")
    cv2 = _opencv()
    count, rows, columns = frames.shape[:3]
    unit = min(rows, 0.8 * columns)
    picture = frames.astype(np.float32) / 255
    time, tone = _time_and_tone(picture)
    track = _track(cv2, picture / (np.array(_LIGHT[time]) * np.array(_GRADE[tone])).astype(np.float32))

    pan = _pan(cv2, picture, track)  # pixels a frame by which the picture moves
    clock = np.arange(count) - (count - 1) / 2
    growth = _slope(clock, np.log(track.height))
    if abs(pan) * (count - 1) > _PAN * unit:
        camera = "pan left" if pan > 0 else "pan right"
    elif abs(growth) * (count - 1) > _DOLLY:
        camera = "dolly in" if growth > 0 else "dolly out"
    else:
        camera = "static"

    middle = float(np.exp(np.median(np.log(track.height))))
    own = _own_path(track, clock, pan, columns, middle)
    path = _slope(clock, own) * (count - 1) / unit
    hop = _hop(track, camera, middle) / unit
    action = _action(path, hop, track.others)
    share = middle / unit
    shot = "close-up" if share > _CLOSE_UP else "medium" if share > _MEDIUM else "wide"
    return Measurement(
        camera=camera, colour=track.colour, action=action, time=time, light=_light(cv2, picture, track), tone=tone,
        shot=shot, pan=-pan / unit, growth=growth, path=path, hop=hop, share=share,
    )  # fmt: skip


def accuracy(shots: Sequence[Shot], clips: Sequence[np.ndarray], fps: float = 8.0) -> dict[str, float]:
    """Share of clips whose measured value is the label's, for each axis of `MEASURED`.

    Left out: shape, size and surroundings are not measured. In `action`, a spin counts as right if it is measured
    still (its place does not change), a collision if it is measured "other".
    """
    if len(shots) != len(clips) or not len(shots):
        raise MediaError(
            f"cannot compare {len(shots)} shots with {len(clips)} clips: one clip for each, at least one"
        )
    right = dict.fromkeys(MEASURED, 0)
    for shot, clip in zip(shots, clips, strict=True):
        found = measure(np.asarray(clip), fps)
        for axis in MEASURED:
            right[axis] += expected(shot, axis) == getattr(found, axis)
    return {axis: hits / len(shots) for axis, hits in right.items()}


def expected(shot: Shot, axis: str) -> str:
    """What `measure` should find on `axis` for a perfect clip of `shot`."""
    value = getattr(shot, axis)
    return {"spin": "still", "collide": "other"}.get(value, value) if axis == "action" else value


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise OptionError("measuring clips needs OpenCV: pip install 'wan22[eval]'") from error
    return cv2


def _time_and_tone(picture: np.ndarray) -> tuple[str, str]:
    """From the median colour of the top eighth, which is sky: luminance, red over green, red over blue."""
    top = picture[:, : max(picture.shape[1] // 8, 1)].reshape(-1, 3)
    red, green, blue = np.median(top, axis=0) + 1e-3
    luminance = 0.30 * red + 0.59 * green + 0.11 * blue
    heat = np.log(red / blue)
    if luminance < 0.3:
        return "night", "warm" if heat > -0.88 else "cool"
    if np.log(red / green) > 0.035:
        return "sunset", "warm" if heat > 0.26 else "cool"
    # A low sky is brighter and whiter, so the line between warm and cool rises with the luminance.
    return "day", "warm" if heat > -0.65 + 2.3 * (luminance - 0.62) else "cool"


def _track(cv2: Any, balanced: np.ndarray) -> _Track:
    """Find the saturated body that stands nearest to the middle, and follow it. Colours are white-balanced."""
    count, rows, columns = balanced.shape[:3]
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.014 * rows) for frame in balanced])
    # Chroma over brightness: the shaded side of a body counts like the lit one.
    brightest = smooth.max(axis=-1, keepdims=True)
    chroma = (smooth - smooth.mean(axis=-1, keepdims=True)) / (brightest + 0.15)
    saturation = 1 - smooth.min(axis=-1) / (brightest[..., 0] + 0.02)
    # The world is nearly alike along a row; a body is what differs from its row.
    ground = np.median(chroma.transpose(1, 0, 2, 3).reshape(rows, -1, 3), axis=1)
    contrast = np.linalg.norm(chroma - ground[None, :, None], axis=-1)
    strength = np.linalg.norm(chroma, axis=-1)
    names = list(_PAINT)
    paint = np.array([np.array(_PAINT[n]) - np.mean(_PAINT[n]) for n in names], dtype=np.float32)
    paint /= np.linalg.norm(paint, axis=1, keepdims=True)
    best = (chroma @ paint.T).argmax(axis=-1)
    pale = np.where(best == names.index("blue"), 0.53, 0.4)  # a blue sky is less saturated than blue paint
    score = np.minimum(contrast, strength) * np.clip((saturation - pale) / 0.15, 0, 1)
    peak = np.quantile(score, 0.996)
    bodies = score > 0.4 * peak

    areas = np.array([[(bodies[t] & (best[t] == k)).sum() for k in range(len(names))] for t in range(count)])
    typical = np.median(areas, axis=0)
    start = slice(0, max(count // 4, 1))
    off = [_distance(bodies[start] & (best[start] == k), columns) for k in range(len(names))]
    likely = [k for k in range(len(names)) if typical[k] >= 0.3 * typical.max()]
    subject = min(likely, key=lambda k: off[k])
    boxes = np.array([_box(cv2, bodies[t] & (best[t] == subject)) for t in range(count)])
    x, y, height = _filled(boxes)
    alike = paint @ paint[subject] > 0.8  # a shade of the subject's own colour is no second body
    beside = np.abs(np.arange(columns) + 0.5 - x[:, None, None]) > height[:, None, None] / 2
    level = np.abs(np.arange(rows)[:, None] + 0.5 - y[:, None, None]) < 0.55 * height[:, None, None]
    other = (score > 0.52 * peak) & ~alike[best] & beside & level
    others = float(np.quantile(other.sum(axis=(1, 2)), 0.7) / max(typical[subject], 1))
    return _Track(names[subject], x, y, height, bodies, others)


def _distance(mask: np.ndarray, columns: int) -> float:
    where = np.nonzero(mask)[2]
    return abs(float(where.mean()) + 0.5 - columns / 2) if len(where) else float("inf")


def _box(cv2: Any, mask: np.ndarray) -> tuple[float, float, float]:
    """Centre and height of the body in one frame: its pieces joined over a stripe, its outline without strays."""
    if not mask.any():
        return np.nan, np.nan, np.nan
    joined = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((1, 5), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    keep = stats[1:, cv2.CC_STAT_AREA] >= 0.2 * stats[1:, cv2.CC_STAT_AREA].max()
    kept = np.isin(labels, 1 + np.nonzero(keep)[0]) & (joined > 0)
    ys, xs = np.nonzero(kept)
    return (xs.min() + xs.max() + 1) / 2, (ys.min() + ys.max() + 1) / 2, ys.max() - ys.min() + 1


def _filled(boxes: np.ndarray) -> np.ndarray:
    """Fill frames in which the body was not found from their neighbours; (3, T)."""
    known = ~np.isnan(boxes[:, 0])
    if not known.any():
        return np.ones((3, len(boxes)))
    clock = np.arange(len(boxes))
    return np.stack([np.interp(clock, clock[known], boxes[known, i]) for i in range(3)])


def _pan(cv2: Any, picture: np.ndarray, track: _Track) -> float:
    """Median horizontal flow of the background, in pixels a frame, weighted by how much there is to see.

    Background is what stands above the subject's foot (below it lies the shadow, which goes with the subject)
    and beside it.
    """
    rows, columns = picture.shape[1:3]
    floor = int(np.clip(np.median(track.y + 0.3 * track.height), 0.3 * rows, rows))
    across, down = np.arange(columns) + 0.5, np.arange(rows)[:, None] + 0.5
    bodies = track.bodies | (
        (np.abs(across - track.x[:, None, None]) < 0.5 * track.height[:, None, None])
        & (np.abs(down - track.y[:, None, None]) < 0.5 * track.height[:, None, None])
    )
    grey = [cv2.GaussianBlur(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (0, 0), 0.014 * rows) for f in picture]
    top = max(float(np.quantile(np.stack(grey), 0.98)), 0.05)
    grey = [cv2.resize(np.clip(g / top, 0, 1) * 255, None, fx=2, fy=2).astype(np.uint8) for g in grey]
    kernel = np.ones((2 * (rows // 10) + 1,) * 2, np.uint8)
    flows, weights = [], []
    for t in range(len(grey) - 2):
        flow = cv2.calcOpticalFlowFarneback(grey[t], grey[t + 2], None, 0.5, 3, 21, 3, 7, 1.5, 0)
        body = cv2.dilate((bodies[t] | bodies[t + 2]).astype(np.uint8), kernel)
        body[floor:] = 1
        free = cv2.resize(1 - body, (flow.shape[1], flow.shape[0]), interpolation=cv2.INTER_NEAREST)
        detail = np.abs(cv2.Sobel(grey[t], cv2.CV_32F, 1, 0)) * free
        flows.append(flow[..., 0].ravel() / 4)
        weights.append(detail.ravel() ** 2)
    return _weighted_median(np.concatenate(flows), np.concatenate(weights))


def _own_path(track: _Track, clock: np.ndarray, pan: float, columns: int, middle: float) -> np.ndarray:
    """Horizontal place of the subject in the world, in pixels of the middle of the clip."""
    off = track.x - columns / 2 - pan * clock
    return off * middle / track.height


def _hop(track: _Track, camera: str, middle: float) -> float:
    """Rise and fall in pixels: what the vertical place does beyond what an approach explains."""
    scale = track.height / middle if camera.startswith("dolly") else np.ones_like(track.height)
    clock = np.linspace(-1, 1, len(scale))
    basis = np.stack([np.ones_like(clock), clock], axis=1)
    height = np.exp(basis @ np.linalg.lstsq(basis, np.log(scale), rcond=None)[0])
    trend = np.stack([np.ones_like(clock), height], axis=1)
    rest = track.y - trend @ np.linalg.lstsq(trend, track.y, rcond=None)[0]
    return float(np.quantile(rest, 0.9) - np.quantile(rest, 0.1))


def _action(path: float, hop: float, others: float) -> str:
    if others > 0.2:
        return "other"
    if hop > _HOP:
        return "bounce"
    if abs(path) > _PATH:
        return "roll right" if path > 0 else "roll left"
    return "still"


def _light(cv2: Any, picture: np.ndarray, track: _Track) -> str:
    """The side of the light: opposite to the shadow on the ground, and where the sky is brightest."""
    count, rows, columns = picture.shape[:3]
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in picture])
    level = np.median(grey.transpose(1, 0, 2).reshape(rows, -1), axis=1)
    darker = np.clip(1 - grey / (level[None, :, None] + 0.02), 0, None)
    shadow = 0.0
    for t in range(count):
        foot = track.y[t] + track.height[t] / 2
        low, high = int(foot - 0.3 * track.height[t]), int(foot + 1.2 * track.height[t]) + 1
        band = darker[t, max(low, 0) : high] * ~track.bodies[t, max(low, 0) : high]
        across = np.clip((np.arange(columns) + 0.5 - track.x[t]) / track.height[t], -2, 2)
        shadow += float((band * across).sum()) / track.height[t] ** 2
    # Red times green: the disc is high in both, blue sky and red clouds are not.
    sky = (picture[..., 0] * picture[..., 1])[:, : rows // 2] * ~track.bodies[:, : rows // 2]
    across = (np.arange(columns) + 0.5) / columns - 0.5
    sun = 0.0
    for frame in sky:
        bright = cv2.GaussianBlur(frame, (0, 0), 0.03 * rows)
        bright = np.clip(bright - np.quantile(bright, 0.98), 0, None) ** 2
        sun += float((bright * across).sum() / (bright.sum() + 1e-9)) / count
    return "right" if 4 * sun - np.clip(shadow / count, -1, 1) > 0 else "left"


def _slope(clock: np.ndarray, values: np.ndarray) -> float:
    """Slope by the median over all pairs of frames (Theil and Sen): a few bad frames do not matter."""
    i, j = np.triu_indices(len(clock), k=max(len(clock) // 4, 1))
    return float(np.median((values[j] - values[i]) / (clock[j] - clock[i])))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]]) if total[-1] > 0 else 0.0


def soften(clips: np.ndarray, sigma: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Blur clips uint8 (b, T, H, W, 3) by a Gaussian of `sigma` pixels and add noise (standard deviation, of 255).

    What a small generative model does to a picture; a measure must stand it.
    """
    cv2 = _opencv()
    rng = np.random.default_rng(seed)
    soft = np.stack([[cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip] for clip in clips])
    return np.clip(soft + rng.normal(0, noise, clips.shape) + 0.5, 0, 255).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure rendered clips of the stage, crisp or softened, and print how often the measure is right."""
    parser = argparse.ArgumentParser(prog="python -m wan22.director.measure", description=main.__doc__)
    parser.add_argument("--stage", type=int, default=200, metavar="N", help="held-out clips to render")
    parser.add_argument(
        "--blur", type=float, default=0.0, metavar="PX", help="blur them by this sigma, add noise"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    from wan22.stage import render, sample

    shots = sample(options.stage, options.seed, split="held-out")
    clips = render(shots, seed=options.seed).numpy()
    if options.blur > 0:
        clips = soften(clips, options.blur, noise=4.0)
    for axis, share in accuracy(shots, clips).items():
        print(f"{axis:8s} {100 * share:6.1f} %")  # noqa: T201


if __name__ == "__main__":
    main()
