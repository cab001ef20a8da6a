"""Names for movements: what the camera did, and what the subject did beside that.

In: the seven amounts of `flow.py` and the subject's track. Out: terms of the vocabulary with a confidence. A move
needs parallax to be told from a turn, and a horizon to tell parallax; where there is none, the direction is said and
the kind is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wan22.director.camera import DIRECTIONS, cleaned, depth, nearness, seen_at, shares, trend
from wan22.director.fitted import fitted, in_mirror
from wan22.director.flow import PARAMETERS, CameraPath
from wan22.director.subject import Subject

_SURE = 0.6  # of a direction's probability that one kind must have
_TEXTURE = 2e-5  # structure of the background under which nothing can be followed
_SHAKE = 0.014  # units a frame: unrest of a hand


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

    A kind that is likelier than not is told; else the direction alone, as "left" or "in".
    """
    shake = _shake(path)
    amounts = dict(zip(PARAMETERS, path.total * seen_at(nearness(path, subject)), strict=True)) | {
        "shake": shake,
        "texture": path.texture,
    }
    grip, grip_sure = _grip(shake)
    if path.texture < _TEXTURE:
        return Moves((), 0.0, (), 0.0, grip, 0.0, amounts)
    names: list[str] = []
    ways: list[str] = []
    kind_sure = way_sure = 1.0
    for terms, share in shares(path, subject):
        towards: dict[str, float] = {}
        for term, chance in zip(terms, share, strict=True):
            towards[DIRECTIONS[term]] = towards.get(DIRECTIONS[term], 0.0) + float(chance)
        way = max(towards, key=lambda each: towards[each])
        way_sure = min(way_sure, towards[way])
        if way == "none":
            kind_sure = min(kind_sure, towards[way])
            continue
        kinds = [
            (float(chance), term)
            for term, chance in zip(terms, share, strict=True)
            if DIRECTIONS[term] == way
        ]
        chance, term = max(kinds)
        certain = chance > _SURE * towards[way]
        names.append(term if certain else way)
        ways.append(way)
        kind_sure = min(kind_sure, chance if certain else towards[way])
    if not names:
        names, ways = ["static"], ["none"]
    elif _follows(subject, action, names):
        names = ["follow"]
    return Moves(tuple(names), kind_sure, tuple(ways), way_sure, grip, grip_sure, amounts)


def _grip(shake: float) -> tuple[str, float]:
    return ("handheld" if shake > _SHAKE else "steady"), float(min(1.0, abs(np.log(shake / _SHAKE + 1e-9))))


def _follows(subject: Subject, action: Action, names: list[str]) -> bool:
    """Whether the subject travels and the camera goes along, so that it keeps its place in the image."""
    if not action.value.startswith("travel"):
        return False
    side = action.value.rpartition("-")[2]
    stays = abs(trend(subject.x)) < 0.4 * abs(action.path)
    return stays and any(name in (side, f"truck-{side}") for name in names)


def _shake(path: CameraPath) -> float:
    """Unrest: how far turns from frame to frame are from the mean of their neighbours, in units."""
    turns = path.rates[:, :3]
    if len(turns) < 4:
        return 0.0
    jerk = turns[1:-1] - (turns[:-2] + turns[2:]) / 2
    return float(np.median(np.linalg.norm(jerk, axis=1)))


def name_action(path: CameraPath, subject: Subject) -> Action:
    """Name what the subject does in the world, the camera's movement taken off its path.

    A fitted network says it (`fitted.py`), the mean over the video and its mirror image.
    """
    own = own_path(cleaned(path, subject), subject)
    net = fitted("action")
    terms = net.axes["action"]
    turning, lasting = action_evidence(path, subject, own)
    there = net.shares(np.concatenate([turning, lasting]))["action"]
    mirrored = net.shares(np.concatenate([-turning, lasting]))["action"]
    share = (there + mirrored[[terms.index(in_mirror(term)) for term in terms]]) / 2
    best = int(share.argmax())
    travel, rise, hop = _amounts(own)
    return Action(terms[best], float(share[best]), travel, rise, hop, own)


def action_evidence(path: CameraPath, subject: Subject, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amounts that turn their sign in a mirror, and those that do not.

    Paths at nine moments: the subject's own, that in the image, its size (one that jumps towards the camera grows),
    and where another body stands; then what sums them up, and how the camera moves.
    """
    foot, high = subject.y + subject.height / 2, np.log(subject.height + 0.02)
    travel, rise, hop = _amounts(own)
    half, near = len(own) // 2, nearness(path, subject)
    fall = float(np.median(own[: max(half // 3, 1), 1]) - np.median(own[half:, 1]))
    settled = float(np.ptp(own[len(own) * 2 // 3 :, 1]))
    pan, tilt, roll, zoom, truck, crane, dolly = np.clip(path.total * seen_at(near), -3, 3)
    drift, lean = path.drift
    turning = [
        *_at_nine(own[:, 0] - np.median(own[:, 0])),
        *_at_nine(subject.x - np.median(subject.x)),
        *_at_nine(np.clip(subject.beside, -1, 1)),
        travel, *_pieces(own[:, 0]), *_pieces(subject.beside), pan, roll, truck, lean, float(np.median(subject.x)),
    ]  # fmt: skip
    lasting = [
        *_at_nine(own[:, 1] - np.median(own[:, 1])),
        *_at_nine(foot - np.median(foot)),
        *_at_nine(high - np.median(high)),
        *_at_nine(np.abs(subject.beside) > 0),
        rise, hop, fall, settled, _hop(high), abs(travel), tilt, zoom, crane, dolly, drift,
        float(path.horizon is not None), min(near, 4.0), float(np.median(subject.height)),
        float(np.median(subject.width)), float(np.median(foot)), float(subject.cut.mean()), min(subject.others, 2.0),
    ]  # fmt: skip
    return np.clip(turning, -3, 3), np.clip(lasting, -3, 3)


def _amounts(own: np.ndarray) -> tuple[float, float, float]:
    """How far it goes to the right and up, and how high it hops."""
    return trend(own[:, 0]), trend(own[:, 1]), _hop(own[:, 1])


def _hop(values: np.ndarray) -> float:
    clock = np.linspace(-1, 1, len(values))
    rest = values - np.polyval(np.polyfit(clock, values, 1), clock)
    return float(np.quantile(rest, 0.9) - np.quantile(rest, 0.1))


def _at_nine(values: np.ndarray) -> np.ndarray:
    return np.interp(np.linspace(0, len(values) - 1, 9), np.arange(len(values)), values)


def _pieces(values: np.ndarray) -> tuple[float, float]:
    """Change over the first third of the clip, and over the last two fifths, of medians of three."""
    count = len(values)
    at = [1, count * 35 // 100, count * 6 // 10, count - 2]
    first, second, third, last = (float(np.median(values[max(t - 1, 0) : t + 2])) for t in at)
    return second - first, last - third


def speed(path: CameraPath, subject: Subject) -> np.ndarray:
    """How fast the image moves at the subject by the camera alone, (T - 1,) in units a frame."""
    carried = _carried(path, subject)
    growth = path.rates[:, 3] + path.rates[:, 6]
    return np.sqrt((carried**2).sum(axis=1) + (0.35 * growth) ** 2 + (0.35 * path.rates[:, 2]) ** 2)


def own_path(path: CameraPath, subject: Subject) -> np.ndarray:
    """Where the subject would be seen without the camera's movement, (T, 2) in units, x right and y up."""
    carried = np.concatenate([np.zeros((1, 2)), np.cumsum(_carried(path, subject), axis=0)])
    return (np.stack([subject.x, subject.y + subject.height / 2], axis=1) - carried) * (1, -1)


def _carried(path: CameraPath, subject: Subject) -> np.ndarray:
    """How the camera moves the image at the subject's foot from frame to frame, (T - 1, 2), y down."""
    x, y = subject.x[:-1], (subject.y + subject.height / 2)[:-1]
    pan, tilt, roll, zoom, truck, crane, dolly = path.rates.T
    near, level = depth(path, x, y)
    right = -pan - truck * near + roll * y + zoom * x + dolly * x * near
    down = tilt + crane * near - roll * x + zoom * y + dolly * (y - level) * near
    return np.stack([right, down], axis=1)
