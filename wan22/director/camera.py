"""Which movements explain the camera's amounts: by geometry where one or two explain all, else by a fitted rule.

Four questions are answered, each with probabilities: across (pan, truck, orbit), upright (tilt, crane), depth (zoom,
dolly), roll. It knows amounts and terms, no pixels.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from wan22.director.fitted import fitted
from wan22.director.flow import NEAR, PARAMETERS, CameraPath
from wan22.director.subject import Subject

NAMES = {
    "pan": ("pan-right", "pan-left"),
    "truck": ("truck-right", "truck-left"),
    "orbit": ("orbit-right", "orbit-left"),
    "tilt": ("tilt-up", "tilt-down"),
    "crane": ("crane-up", "crane-down"),
    "zoom": ("zoom-in", "zoom-out"),
    "dolly": ("dolly-in", "dolly-out"),
    "roll": ("roll-clockwise", "roll-counterclockwise"),
}
DIRECTIONS = {name: name.rpartition("-")[2] for pair in NAMES.values() for name in pair} | {
    "static": "none",
    "follow": "none",
    "none": "none",
}
"""The direction of every movement that is named."""

_STILL = 0.055  # units, radians or logarithms over the clip: less is no movement
_RESTS = 0.02  # so little is surely none
_SECOND = 0.3  # share of the first movement that a second one must have
_WORTH = 0.08  # of the image's change that a second one must explain
_ALL = (
    0.90,
    0.95,
)  # share explained from which geometry begins to be believed, and from which as far as `_BELIEF`
_BELIEF = 0.7
_CLEAR = 0.25  # lead over the next explanation from which the kind is clear
_SAME = ({"pan", "truck"}, {"pan", "orbit"}, {"truck", "orbit"}, {"tilt", "crane"}, {"zoom", "dolly"})

Shares = list[tuple[tuple[str, ...], np.ndarray]]
"""Terms and their probabilities, for each question."""


class Fit(NamedTuple):
    """Movements, how far each went (that of the camera's moves as seen at the subject), and the share explained."""

    moves: tuple[str, ...]
    amounts: tuple[float, ...]
    score: float

    def named(self) -> tuple[str, ...]:
        """The terms; none if the camera rests."""
        if max(abs(amount) for amount in self.amounts) < _STILL:
            return ()
        return tuple(
            NAMES[move][0 if amount > 0 else 1] for move, amount in zip(self.moves, self.amounts, strict=True)
        )


def shares(path: CameraPath, subject: Subject) -> Shares:
    """Probabilities of the terms of the four questions."""
    fits = explain(path, nearness(path, subject))
    best = fits[0]
    names = best.named()
    rival = next((fit.score for fit in fits[1:] if set(fit.moves) != set(best.moves)), 0.0)
    if names:
        belief = _BELIEF * float(np.clip((best.score - _ALL[0]) / (_ALL[1] - _ALL[0]), 0, 1))
        kind = 1.0 if best.score - rival > _CLEAR else 0.5
    else:
        most = max(abs(amount) for amount in best.amounts)
        belief, kind = _BELIEF * float(np.clip(2 - 2 * most / _RESTS, 0, 1)), 1.0
    found = []
    for terms, share in _learned(path, subject):
        told = next((term for term in terms if term in names), "none")
        alike = np.array([DIRECTIONS[term] == DIRECTIONS[told] for term in terms])
        among = (share + 1e-9) * alike / ((share + 1e-9) * alike).sum()
        exact = np.array([term == told for term in terms], np.float64)
        found.append((terms, (1 - belief) * share + belief * (kind * exact + (1 - kind) * among)))
    return found


def explain(path: CameraPath, near: float) -> list[Fit]:
    """Single movements and pairs, best first, by the share of the image's change that they explain, less a price.

    Without a horizon only turns are tried: moves look the same.
    """
    whole = float(path.total @ path.normal @ path.total) + 1e-9
    rays = _rays(near)
    if path.horizon is None:
        rays = {name: rays[name] for name in PARAMETERS[:4]}
    found = []
    for moves in (*((name,) for name in rays), *combinations(rays, 2)):
        if set(moves) in _SAME:
            continue
        basis = np.stack([rays[name] for name in moves], axis=1)
        inner, pull = basis.T @ path.normal @ basis, basis.T @ path.normal @ path.total
        amounts = np.linalg.solve(inner + 1e-9 * (np.trace(inner) + 1e-9) * np.eye(len(moves)), pull)
        score = float(pull @ amounts) / whole - _WORTH * (len(moves) - 1)
        if len(moves) > 1 and min(abs(amounts)) < max(_STILL, _SECOND * max(abs(amounts))):
            score -= 1.0
        found.append(Fit(moves, tuple(float(amount) for amount in amounts), score))
    return sorted(found, key=lambda fit: -fit.score)


def cleaned(path: CameraPath, subject: Subject) -> CameraPath:
    """The same path, of the likeliest movements alone: small errors of the others would move the subject.

    Turns keep their unrest, which a hand gives them.
    """
    near = nearness(path, subject)
    likely = [terms[int(share.argmax())] for terms, share in shares(path, subject)]
    moves = [term.rpartition("-")[0] for term in likely if term != "none"]
    rays = _rays(near)
    mean = np.zeros(7)
    if moves:
        basis = np.stack([rays[move] for move in moves], axis=1)
        inner, pull = basis.T @ path.normal @ basis, basis.T @ path.normal @ path.total
        mean = basis @ np.linalg.solve(inner + 1e-9 * (np.trace(inner) + 1e-9) * np.eye(len(moves)), pull)
    unrest = path.rates - path.rates.mean(axis=0)
    unrest[:, 3:] = 0
    return replace(path, rates=unrest + mean / len(path.rates), total=mean)


def _rays(near: float) -> dict[str, np.ndarray]:
    """The amounts (7,) of each movement that shifts the image at the subject by one."""
    rays = {name: np.eye(7)[i] / (near if i > 3 else 1) for i, name in enumerate(PARAMETERS)}
    return rays | {"orbit": rays["truck"] - rays["pan"]}


def _learned(path: CameraPath, subject: Subject) -> Shares:
    """What the fitted network says: the mean over the video, its mirror image, and both played backwards."""
    net = fitted("moves")
    odd, even = evidence(path, subject)
    total = {axis: np.zeros(len(terms)) for axis, terms in net.axes.items()}
    for mirrored in (False, True):
        for backwards in (False, True):
            seen = odd * (MIRRORED if mirrored else 1.0) * (-1.0 if backwards else 1.0)
            for axis, share in net.shares(np.concatenate([seen, even])).items():
                back = [net.axes[axis].index(turned(term, mirrored, backwards)) for term in net.axes[axis]]
                total[axis] += share[back] / 4
    return [(net.axes[axis], share) for axis, share in total.items()]


def evidence(path: CameraPath, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Amounts that turn their sign when a video is played backwards, (21,), and those that do not, (10,)."""
    x, foot = float(np.median(subject.x)), float(np.median(subject.y + subject.height / 2))
    near = nearness(path, subject)
    steps = np.median(path.rates, axis=0) * len(path.rates)
    body = (
        trend(subject.x),
        trend(subject.y + subject.height / 2),
        trend(subject.y - subject.height / 2),
        trend(np.log(subject.height + 0.02)),
        trend(np.log(subject.width + 0.02)),
    )
    odd = [
        *np.clip(path.total * seen_at(near), -3, 3),
        *body,
        *np.clip(steps * seen_at(near), -3, 3),
        *path.drift,
    ]
    line = (1.0, path.horizon.offset, abs(path.horizon.angle)) if path.horizon else (0.0, 0.0, 0.0)
    high = float(np.median(subject.height))
    even = [
        *line,
        min(near, 4.0),
        high,
        foot,
        float(subject.cut.mean()),
        abs(x),
        min(subject.others, 2.0),
        min(path.residual, 1.0),  # infinite where a body hides all of the background
    ]
    return np.array(odd, np.float64), np.array(even, np.float64)


_ACROSS = (-1, 1, -1, 1, -1, 1, 1)
MIRRORED = np.array([*_ACROSS, -1, 1, 1, 1, 1, *_ACROSS, 1, -1], np.float64)
"""Signs of the first part of the evidence in a mirror."""


def turned(term: str, mirrored: bool, backwards: bool) -> str:
    """The same movement in a mirror, or played backwards."""
    kind = term.rpartition("-")[0]
    if not kind:
        return term
    sideways = kind in ("pan", "truck", "orbit", "roll")
    pair = NAMES[kind]
    return pair[1 - pair.index(term)] if (mirrored and sideways) != backwards else term


def nearness(path: CameraPath, subject: Subject) -> float:
    """Inverse depth of the ground at the subject's foot, as `flow` counts it."""
    return float(
        depth(path, float(np.median(subject.x)), float(np.median(subject.y + subject.height / 2)))[0]
    )


def seen_at(near: float) -> np.ndarray:
    """What makes the camera's moves comparable to its turns, (7,): how they shift the image at that depth."""
    return np.array([1, 1, 1, 1, near, near, near], np.float64)


def depth(path: CameraPath, x: Any, y: Any) -> tuple[Any, Any]:
    """Inverse depth of the ground at a place of the image, and the row of the horizon there."""
    if path.horizon is None:
        return 1 + 0.5 * y, 0.0 * y
    level = path.horizon.offset + x * np.tan(path.horizon.angle)
    return np.clip(y - level, 0.02, None) / NEAR, level


def trend(values: np.ndarray) -> float:
    """Change over the clip by the median slope of all pairs (Theil and Sen)."""
    i, j = np.triu_indices(len(values), k=max(len(values) // 4, 1))
    return float(np.median((values[j] - values[i]) / (j - i))) * (len(values) - 1)
