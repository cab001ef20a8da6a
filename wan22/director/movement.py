"""Names for movements: what the camera did, and what the subject did beside that.

In: the seven amounts of `flow.py` and the subject's track. Out: terms of the vocabulary with a confidence. A move
needs parallax to be told from a turn, and a horizon to tell parallax; where there is none, the direction is said and
the kind is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from wan22.director.flow import NEAR, PARAMETERS, CameraPath
from wan22.director.subject import Subject

_STILL = 0.055  # units, radians or logarithms over the clip: less is no movement
_SECOND = 0.35  # share of the largest movement from which another one counts
_WORTH = 0.12
_SAME = ({"pan", "truck"}, {"pan", "orbit"}, {"truck", "orbit"}, {"tilt", "crane"}, {"zoom", "dolly"})
_TEXTURE = 2e-5  # structure of the background under which nothing can be followed
_SHAKE = 0.004  # units a frame: unrest of a hand
_PATH, _HOP = 0.13, 0.075  # units
_DROP = 0.2
_OTHERS = 0.2  # of the subject's area
_SIZES = (
    ("extreme-close-up", 0.73), ("close-up", 0.457), ("medium", 0.278), ("wide", 0.164), ("extreme-wide", 0.0),
)  # fmt: skip

_NAMES = {
    "pan": ("pan-right", "pan-left"),
    "truck": ("truck-right", "truck-left"),
    "orbit": ("orbit-right", "orbit-left"),
    "tilt": ("tilt-up", "tilt-down"),
    "crane": ("crane-up", "crane-down"),
    "zoom": ("zoom-in", "zoom-out"),
    "dolly": ("dolly-in", "dolly-out"),
    "roll": ("roll-clockwise", "roll-counterclockwise"),
}
DIRECTIONS = {name: name.rpartition("-")[2] for pair in _NAMES.values() for name in pair} | {
    "static": "none",
    "follow": "none",
}
"""The direction of every movement that is named."""


@dataclass(frozen=True)
class Moves:
    """The camera's movements with a confidence for the kind, the directions with one, and whether a hand holds it."""

    kinds: tuple[str, ...]
    kind_confidence: float
    directions: tuple[str, ...]
    direction_confidence: float
    grip: str
    grip_confidence: float
    amounts: dict[str, float]


@dataclass(frozen=True)
class Action:
    """What the subject does in the world: its value, and its own path (units to the right and up) over the clip."""

    value: str
    confidence: float
    path: float
    rise: float
    hop: float
    own: np.ndarray  # (T, 2)


def name_moves(path: CameraPath, subject: Subject, action: Action) -> Moves:
    """Name the camera's movements over the clip; no kinds if there is nothing to follow.

    Of all single movements, and pairs, the one is taken that explains the picture's change nearly as well as all seven
    amounts together: what a further movement must explain is `_WORTH` of it.
    """
    near, _ = _depth(path, float(np.median(subject.x)), float(np.median(subject.y + subject.height / 2)))
    scale = np.array([1, 1, 1, 1, near, near, near])
    shake = _shake(path)
    amounts = dict(zip(PARAMETERS, path.total * scale, strict=True)) | {
        "shake": shake,
        "texture": path.texture,
    }
    grip, grip_sure = (
        ("handheld" if shake > _SHAKE else "steady"),
        min(1.0, abs(np.log(shake / _SHAKE + 1e-9))),
    )
    if path.texture < _TEXTURE:
        return Moves((), 0.0, (), 0.0, grip, 0.0, amounts)
    fits = _fits(path, float(near))
    best = fits[0]
    largest = max(abs(amount) for amount in best.amounts)
    if largest < _STILL:
        sure = float(np.clip(1 - largest / (2 * _STILL), 0, 1))
        return Moves(("static",), sure, ("none",), sure, grip, grip_sure, amounts)
    names = _named(best)
    ways = [DIRECTIONS[name] for name in names]
    rival = next((fit for fit in fits[1:] if set(_named(fit)) != set(names)), None)
    other = next((fit for fit in fits[1:] if {DIRECTIONS[name] for name in _named(fit)} != set(ways)), None)
    size = float(np.clip(largest / (2 * _STILL), 0, 1))
    kind_sure, way_sure = (
        size if each is None else size * float(np.clip(0.5 + (best.score - each.score) / 0.3, 0.2, 1))
        for each in (rival, other)
    )
    if path.horizon is None:
        names = [name if name.startswith("roll") else DIRECTIONS[name] for name in names]
    if _follows(subject, action, names):
        names = ["follow"]
    return Moves(tuple(names), kind_sure, tuple(ways), way_sure, grip, grip_sure, amounts)


class _Fit(NamedTuple):
    """Movements, how far each went, and the share of the picture's change that they explain, less their price."""

    moves: tuple[str, ...]
    amounts: tuple[float, ...]
    score: float


def _named(fit: _Fit) -> list[str]:
    """The names of its movements that are not too small, the largest first."""
    pairs = sorted(zip(fit.moves, fit.amounts, strict=True), key=lambda pair: -abs(pair[1]))
    return [_NAMES[move][0 if amount > 0 else 1] for move, amount in pairs if abs(amount) > _STILL / 2]


def _fits(path: CameraPath, near: float) -> list[_Fit]:
    """Single movements and pairs, the best first."""
    whole = float(path.total @ path.normal @ path.total) + 1e-9
    rays = {name: np.eye(7)[i] / (near if i > 3 else 1) for i, name in enumerate(PARAMETERS)}
    rays["orbit"] = rays["truck"] - rays["pan"]
    if path.horizon is None:
        rays = {name: rays[name] for name in PARAMETERS[:4]}
    found = []
    for moves in (*((name,) for name in rays), *combinations(rays, 2)):
        if set(moves) in _SAME:
            continue
        basis = np.stack([rays[name] for name in moves], axis=1)
        inner = basis.T @ path.normal @ basis
        pull = basis.T @ path.normal @ path.total
        amounts = np.linalg.solve(inner + 1e-9 * np.trace(inner) * np.eye(len(moves)), pull)
        explained = float(pull @ amounts) / whole
        small = min(abs(amounts)) < max(_STILL, _SECOND * max(abs(amounts))) and len(moves) > 1
        price = _WORTH * (len(moves) - 1) + (1.0 if small else 0.0)
        found.append(_Fit(moves, tuple(float(a) for a in amounts), explained - price))
    return sorted(found, key=lambda fit: -fit.score)


def _follows(subject: Subject, action: Action, names: list[str]) -> bool:
    """Whether the subject travels and the camera goes along, so that it keeps its place in the picture."""
    if not action.value.startswith("travel"):
        return False
    side = action.value.rpartition("-")[2]
    stays = abs(_trend(subject.x)) < 0.4 * abs(action.path)
    return stays and any(name in (side, f"truck-{side}") for name in names)


def _shake(path: CameraPath) -> float:
    """Unrest: how far turns from frame to frame are from the mean of their neighbours, in units."""
    turns = path.rates[:, :3]
    if len(turns) < 4:
        return 0.0
    jerk = turns[1:-1] - (turns[:-2] + turns[2:]) / 2
    return float(np.median(np.linalg.norm(jerk, axis=1)))


def name_action(path: CameraPath, subject: Subject) -> Action:
    """Name what the subject does in the world, the camera's movement taken off its path."""
    own = own_path(path, subject)
    travel, rise = _trend(own[:, 0]), _trend(own[:, 1])
    clock = np.linspace(-1, 1, len(own))
    rest = own[:, 1] - np.polyval(np.polyfit(clock, own[:, 1], 1), clock)
    hop = float(np.quantile(rest, 0.9) - np.quantile(rest, 0.1))
    half = len(own) // 2
    fall = float(np.median(own[: max(half // 3, 1), 1]) - np.median(own[half:, 1]))
    settled = float(np.ptp(own[len(own) * 2 // 3 :, 1]))
    if subject.others > _OTHERS:
        value, sure = "collide", 0.5
    elif fall > _DROP and settled < 0.6 * fall:
        value, sure = "drop", min(1.0, fall / (2 * _DROP))
    elif hop > _HOP and hop > 0.5 * abs(travel):
        value, sure = "bounce", min(1.0, hop / (2 * _HOP))
    elif abs(travel) > _PATH:
        value, sure = ("travel-right" if travel > 0 else "travel-left"), min(1.0, abs(travel) / (2 * _PATH))
    else:
        value, sure = "still", 1 - max(abs(travel) / _PATH, hop / _HOP) / 2
    return Action(value, float(sure), travel, rise, hop, own)


def name_size(share: float) -> tuple[str, float]:
    """The size of a shot by the subject's height in units, halfway (in ratio) between the film set's own."""
    name = next(name for name, least in _SIZES if share >= least)
    off = min(abs(np.log((share + 1e-3) / edge)) for _, edge in _SIZES if edge)
    return name, float(min(1.0, 0.45 + 2.5 * off))


def speed(path: CameraPath, subject: Subject) -> np.ndarray:
    """How fast the picture moves at the subject by the camera alone, (T - 1,) in units a frame."""
    carried = _carried(path, subject)
    growth = path.rates[:, 3] + path.rates[:, 6]
    return np.sqrt((carried**2).sum(axis=1) + (0.35 * growth) ** 2 + (0.35 * path.rates[:, 2]) ** 2)


def own_path(path: CameraPath, subject: Subject) -> np.ndarray:
    """Where the subject would be seen without the camera's movement, (T, 2) in units, x right and y up."""
    carried = np.concatenate([np.zeros((1, 2)), np.cumsum(_carried(path, subject), axis=0)])
    return (np.stack([subject.x, subject.y + subject.height / 2], axis=1) - carried) * (1, -1)


def _carried(path: CameraPath, subject: Subject) -> np.ndarray:
    """How the camera moves the picture at the subject's foot from frame to frame, (T - 1, 2), y down."""
    x, y = subject.x[:-1], (subject.y + subject.height / 2)[:-1]
    pan, tilt, roll, zoom, truck, crane, dolly = path.rates.T
    near, level = _depth(path, x, y)
    right = -pan - truck * near + roll * y + zoom * x + dolly * x * near
    down = tilt + crane * near - roll * x + zoom * y + dolly * (y - level) * near
    return np.stack([right, down], axis=1)


def _depth(path: CameraPath, x: Any, y: Any) -> tuple[Any, Any]:
    """Inverse depth of the ground at a place, as `flow` counts it, and the row of the horizon there."""
    if path.horizon is None:
        return 1 + 0.5 * y, 0.0 * y
    level = path.horizon.offset + x * np.tan(path.horizon.angle)
    return np.clip(y - level, 0.02, None) / NEAR, level


def _trend(values: np.ndarray) -> float:
    """Change over the clip by the median slope of all pairs (Theil and Sen)."""
    i, j = np.triu_indices(len(values), k=max(len(values) // 4, 1))
    return float(np.median((values[j] - values[i]) / (j - i))) * (len(values) - 1)
