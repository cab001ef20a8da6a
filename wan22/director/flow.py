"""How the camera moves, from pixels: a rigid world of ground and far background is aligned frame by frame.

The image's motion under a camera that turns, moves and zooms is linear in seven numbers once inverse depth is known
(Longuet-Higgins & Prazdny 1980, eqs. 2.8-2.9). Inverse depth of an open scene is zero above the horizon and grows in
proportion below it, so one least-squares alignment (Bergen et al. 1992, "Hierarchical model-based motion estimation")
tells a pan from a truck and a zoom from a dolly by parallax. Lengths are in units: min(height, 0.8 width). It knows
frames and masks, no names of movements; those are `movement.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

PARAMETERS = ("pan", "tilt", "roll", "zoom", "truck", "crane", "dolly")
"""What is estimated. Signs are the camera's: pan and truck right, tilt and crane up, roll clockwise, zoom and dolly in.
"""

_SIGNS = np.array([-1, 1, -1, 1, -1, 1, 1], np.float64)  # from the image's motion (y down) to the camera's
_ANGLES = np.linspace(-0.5, 0.5, 21)  # radians by which a horizon may lean
_ROWS, _STEP = 160, 0.0125  # of the profile across a line: rows, units a row
_STRIP, _EDGE = 8, 2  # rows of a broad strip, and of one that sees an edge alone
_BLOCKS, _RANK = 8, 0.35
_LEVEL = 0.06  # radians under which a line counts as level
_LEANS = 1.15  # how much clearer a line that leans must be: hills and shade lean a little
_LINES = 7  # frames in which a horizon is sought
_APART = 0.06  # units or radians from a steady path, beyond which lines are not one horizon
_SHARP, _BROAD = (
    0.08,
    0.15,
)  # steps of the logarithm of colour that are believed, of an edge and of a broad one
_LEVELS = ((0.5, 3.0, 5), (0.5, 1.0, 5), (1.0, 0.9, 3))  # scale, blur in pixels, iterations
_DAMPING = 1e-3
NEAR = 0.35
"""Units below the horizon at which the inverse depth of the ground is counted as 1."""


class Horizon(NamedTuple):
    """The line y = offset + x tan(angle), in units from the middle, y down; `score` is the colour step across it,
    1 where it begins to be believed."""

    offset: float
    angle: float
    score: float


@dataclass(frozen=True)
class CameraPath:
    """`rates` (T - 1, 7): `PARAMETERS` from frame to frame; `total` (7,) over the clip.

    `normal` (7, 7) says how much a departure from `total` costs: the sum of the alignments' normal matrices.
    `horizon` is that of the middle of the clip, None if no line is seen. `texture` (0..1) is how much there is to
    hold on to; `residual` the change of the image that no camera explains, infinite if too little of the background
    is seen; `drift` (2,) how far the horizon goes down and turns over the clip, 0 without one.
    """

    rates: np.ndarray
    total: np.ndarray
    normal: np.ndarray
    texture: float
    residual: float
    horizon: Horizon | None
    drift: np.ndarray


def coordinates(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """x to the right and y down of every pixel, in units from the middle, each (H, W)."""
    unit = min(rows, 0.8 * columns)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    return (x + 0.5 - columns / 2) / unit, (y + 0.5 - rows / 2) / unit


def find_horizon(image: np.ndarray, free: np.ndarray) -> Horizon:
    """The straight line across which the colour changes, all along it; image (H, W, 3) in 0..1.

    `free` (H, W) says which pixels are background. A sharp edge is believed first: a sky that glows towards the
    ground is a broad step, and steeper than many an edge; where nothing is sharp, as out of focus, the broad step is
    taken. The score is how often the change is what is believed, in most of eight blocks of the line.
    """
    x, y = coordinates(*free.shape)
    block = np.clip((x - x.min()) / (np.ptp(x) + 1e-6) * _BLOCKS, 0, _BLOCKS - 1).astype(int)
    colours = np.log(image[free] + 0.08)
    lines: tuple[list[Horizon], list[Horizon]] = ([], [])
    for angle in _ANGLES:
        across = y * np.cos(angle) - x * np.sin(angle)
        row = np.clip((across + _ROWS * _STEP / 2) / _STEP, 0, _ROWS - 1).astype(int)
        place = (block * _ROWS + row)[free]
        parts = [np.bincount(place, minlength=_BLOCKS * _ROWS)]
        parts += [np.bincount(place, colours[:, c], _BLOCKS * _ROWS) for c in range(3)]
        summed = np.zeros((4, _BLOCKS, _ROWS + 1))
        np.cumsum(np.stack(parts).reshape(4, _BLOCKS, _ROWS), axis=2, out=summed[:, :, 1:])
        (wide, enough), (narrow, few) = _steps(summed, _STRIP), _steps(summed, _EDGE)
        # Of a steady slope the narrow strips show a part, and of an edge all: what the slope explains is taken off.
        edge = (narrow * _STRIP - wide * _EDGE) / (_STRIP - _EDGE)
        along = (edge * (enough & few)).sum(axis=1, keepdims=True)
        signed = (edge * along).sum(axis=0) / (np.linalg.norm(along, axis=0) + 1e-6)
        steps = (signed, enough & few), (np.linalg.norm(wide, axis=0), enough)
        for found, (step, known), least in zip(lines, steps, (_SHARP, _BROAD), strict=True):
            score = _most_blocks(step, known) / least
            k = int(score.argmax())
            offset = ((k + _STRIP) * _STEP - _ROWS * _STEP / 2) / np.cos(angle)
            found.append(Horizon(float(offset), float(angle), float(score[k])))
    sharp, broad = (_level_first(found) for found in lines)
    return sharp if sharp.score > 1 else broad


def _steps(summed: np.ndarray, strip: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour below every row less that above it, over strips of so many rows, and where both are known."""
    first, end = _STRIP, _ROWS - _STRIP + 1
    here = summed[:, :, first:end]
    above = here - summed[:, :, first - strip : end - strip]
    below = summed[:, :, first + strip : end + strip] - here
    known = (above[0] > _STRIP / 4) & (below[0] > _STRIP / 4)
    return below[1:] / (below[0] + 1e-6) - above[1:] / (above[0] + 1e-6), known


def _most_blocks(step: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The step that two thirds of the blocks exceed that are known; a line seen in less than half of all is none."""
    ranked = np.sort(np.where(known, step, np.inf), axis=0)
    seen = known.sum(axis=0)
    at = np.floor(np.maximum(seen - 1, 0) * _RANK).astype(int)
    return np.where(2 * seen >= len(step), np.take_along_axis(ranked, at[None], axis=0)[0], 0.0)


def _level_first(lines: list[Horizon]) -> Horizon:
    best = max(lines, key=lambda line: line.score)
    level = max((line for line in lines if abs(line.angle) < _LEVEL), key=lambda line: line.score)
    return best if best.score > _LEANS * level.score else level


def camera_path(cv2: Any, frames: np.ndarray, free: np.ndarray, behind: np.ndarray) -> CameraPath:
    """Align every frame with the next; frames float32 (T, H, W, 3) in 0..1.

    `free` (T, H, W) bool is what stands still in the world, `behind` all that is not the subject.
    """
    seen = [find_horizon(frames[t], behind[t]) for t in np.linspace(0, len(frames) - 1, _LINES).astype(int)]
    lines, middle = join_horizons(seen, len(frames))
    signals = _signals(frames)
    steps: list[_Step] = []
    for t in range(len(frames) - 1):
        guess = steps[-1].found if steps else np.zeros(len(PARAMETERS))
        steps.append(_align(cv2, signals[t], signals[t + 1], lines[t], free[t] & free[t + 1], guess))
    rates = np.stack([step.found for step in steps])
    normal = np.sum([step.normal for step in steps], axis=0)
    pulled = np.sum([step.normal @ step.found for step in steps], axis=0)
    normal += 1e-6 * (np.trace(normal) + 1) * np.eye(7)
    total = np.linalg.solve(normal, pulled) * len(steps)
    texture = float(np.median([step.texture for step in steps]))
    residual = float(np.median([step.residual for step in steps]))
    ends = [np.array(line[:2]) if line is not None else np.zeros(2) for line in (lines[0], lines[-1])]
    turned = _SIGNS[:, None] * normal * _SIGNS
    return CameraPath(rates * _SIGNS, total * _SIGNS, turned, texture, residual, middle, ends[1] - ends[0])


def join_horizons(seen: list[Horizon], count: int) -> tuple[list[Horizon | None], Horizon | None]:
    """A horizon for every frame, and that of the middle: robust lines through those that were found."""
    good = [line if line.score > 1 else None for line in seen]
    if sum(line is not None for line in good) < 3:
        return [None] * count, None
    at = np.linspace(0, count - 1, len(seen))
    known = [(t, line) for t, line in zip(at, good, strict=True) if line is not None]
    times = np.array([t for t, _ in known])
    values = np.array([(line.offset, line.angle) for _, line in known])
    i, j = np.triu_indices(len(known), k=1)
    slope = np.median((values[j] - values[i]) / (times[j] - times[i])[:, None], axis=0)
    start = np.median(values - slope * times[:, None], axis=0)
    if np.median(np.abs(values - start - slope * times[:, None]).max(axis=1)) > _APART:
        return [None] * count, None
    score = float(np.median([line.score for _, line in known]))
    lines = [Horizon(*(start + slope * t), score) for t in range(count)]
    return list(lines), Horizon(*(start + slope * (count - 1) / 2), score)


def _signals(frames: np.ndarray) -> np.ndarray:
    """Brightness and two colour differences, each scaled to the whole clip's contrast: (T, H, W, 3) float32."""
    red, green, blue = np.moveaxis(np.log(frames + 0.08), -1, 0)
    signals = np.stack(
        [(red + green + blue) / 3, 0.7 * (red - blue), 0.7 * (green - (red + blue) / 2)], axis=-1
    )
    return (signals / max(float(signals[..., 0].std()), 0.02)).astype(np.float32)


def _bases(shape: tuple[int, int], line: Horizon | None) -> np.ndarray:
    """The image's motion under each parameter at 1, (7, H, W, 2) in units."""
    x, y = coordinates(*shape)
    zero, one = np.zeros_like(x), np.ones_like(x)
    if line is None:
        # From above: the ground fills the image, and its inverse depth hardly changes.
        near, foe = 1 + 0.5 * y, zero
    else:
        level = line.offset + x * np.tan(line.angle)
        near, foe = np.clip(y - level, 0, None) / NEAR, level
    flows = (
        (one, zero),
        (zero, one),
        (-y, x),
        (x, y),
        (near, zero),
        (zero, near),
        (x * near, (y - foe) * near),
    )
    return np.stack([np.stack(flow, axis=-1) for flow in flows]).astype(np.float32)


class _Step(NamedTuple):
    found: np.ndarray
    normal: np.ndarray
    texture: float
    residual: float


def _align(
    cv2: Any, here: np.ndarray, there: np.ndarray, line: Horizon | None, free: np.ndarray, guess: np.ndarray
) -> _Step:
    """The parameters that carry one frame onto the next, from coarse to fine, from rest and from the last ones."""
    starts = [np.zeros(7), guess] if np.abs(guess).max() > 0.02 else [guess]
    step = _Step(guess, np.eye(7), 0.0, np.inf)
    for scale, blur, turns in _LEVELS:
        size = (max(round(free.shape[1] * scale), 8), max(round(free.shape[0] * scale), 8))
        a, b = (
            cv2.GaussianBlur(cv2.resize(f, size, interpolation=cv2.INTER_AREA), (0, 0), blur)
            for f in (here, there)
        )
        use = cv2.resize(free.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.6
        bases = _bases((size[1], size[0]), line) * min(size[1], 0.8 * size[0])
        step = min(
            (_descend(cv2, a, b, bases, use, each, turns, line is not None) for each in starts),
            key=lambda s: s.residual,
        )
        starts = [step.found]
    return step


def _descend(
    cv2: Any,
    a: np.ndarray,
    b: np.ndarray,
    bases: np.ndarray,
    free: np.ndarray,
    found: np.ndarray,
    turns: int,
    deep: bool,
) -> _Step:
    """Gauss and Newton's steps on the difference of two images, with Geman and McClure's weights."""
    rows, columns = free.shape
    ys, xs = np.mgrid[:rows, :columns].astype(np.float32)
    across, down = bases[..., 0].reshape(7, -1), bases[..., 1].reshape(7, -1)
    damping, calm = np.full(7, _DAMPING), np.zeros(7)
    if not deep:
        damping[4:], calm[4:] = 0.3, 1.0
    normal, texture, residual = np.eye(7), 0.0, np.inf
    for turn in range(turns + 1):
        flow = np.tensordot(found.astype(np.float32), bases, axes=1)
        to_x, to_y = xs + flow[..., 0], ys + flow[..., 1]
        moved = cv2.remap(b, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        use = free & (to_x > 0) & (to_x < columns - 1) & (to_y > 0) & (to_y < rows - 1)
        rest = moved - a
        if use.sum() < max(0.1 * use.size, 30):
            return _Step(found, np.zeros((7, 7)), 0.0, np.inf)
        residual = float(np.abs(rest[use]).mean())
        if turn == turns:
            break
        both = 0.5 * (a + moved)
        slope_x = cv2.Sobel(both, cv2.CV_32F, 1, 0, scale=0.125)
        slope_y = cv2.Sobel(both, cv2.CV_32F, 0, 1, scale=0.125)
        spread = 1.5 * float(np.median(np.abs(rest[use][::4]))) + 0.01
        weight = use[..., None] / (1 + (rest / spread) ** 2) ** 2
        wide, high = weight * slope_x, weight * slope_y
        xx, xy, yy, xr, yr = (
            np.einsum("hwc,hwc->hw", one, other).ravel()
            for one, other in ((wide, slope_x), (wide, slope_y), (high, slope_y), (wide, rest), (high, rest))
        )
        cross = (across * xy) @ down.T
        normal = ((across * xx) @ across.T + cross + cross.T + (down * yy) @ down.T).astype(np.float64)
        pull = (across @ xr + down @ yr).astype(np.float64)
        texture = float((xx.sum() + yy.sum()) / use.sum())
        # With no horizon in sight a move is as good as a turn: the simpler, the turn, is believed.
        prior = np.diag(np.diag(normal)) * damping + 1e-6 * np.eye(7)
        found = found - np.linalg.solve(normal + prior, pull + prior @ (found * calm))
        normal /= spread**2
    return _Step(found, normal, texture, residual)
