"""A small network from amounts to terms, fitted on the film set's training split; its numbers are in looks.npz.

One hidden layer of tangents and a softmax for each axis. It knows no pixels; `image.py`, `camera.py` and
`movement.py` say what goes in, `python -m bench.measure --fit` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).with_name("looks.npz")
REACH = 4.0
"""Standard deviations beyond which an amount counts as one at that edge."""


def in_mirror(term: str) -> str:
    """The same term in a mirror."""
    swap = {"left": "right", "right": "left"}
    return "-".join(swap.get(word, word) for word in term.split("-"))


@dataclass(frozen=True)
class Guess:
    """A term with its probability, and those of all terms of the axis."""

    value: str
    confidence: float
    all: Mapping[str, float]


@dataclass(frozen=True)
class Fitted:
    """The network: mean and scale of the amounts, two layers as (weights, bias), the terms of each axis."""

    mean: np.ndarray
    scale: np.ndarray
    hidden: tuple[np.ndarray, np.ndarray]
    out: tuple[np.ndarray, np.ndarray]
    axes: Mapping[str, tuple[str, ...]]

    def shares(self, amounts: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities of the terms of every axis, (terms,) each, from amounts (n,)."""
        z = np.clip((amounts - self.mean) / self.scale, -REACH, REACH)
        scores = np.tanh(z @ self.hidden[0] + self.hidden[1]) @ self.out[0] + self.out[1]
        found, start = {}, 0
        for axis, terms in self.axes.items():
            part = np.exp(scores[start : start + len(terms)] - scores[start : start + len(terms)].max())
            found[axis] = part / part.sum()
            start += len(terms)
        return found

    def strangeness(self, amounts: np.ndarray) -> float:
        """How far amounts are from those it was fitted on, in standard deviations beyond the first."""
        z = np.abs((amounts - self.mean) / self.scale)
        return float(np.sqrt(np.mean(np.clip(z - 1, 0, REACH) ** 2)))

    def guess(self, amounts: np.ndarray, mirrored: np.ndarray) -> dict[str, Guess]:
        """The likeliest term of every axis, from a video and its mirror image; less sure, the stranger the amounts."""
        trust = float(np.clip(1.6 - 0.5 * self.strangeness(amounts), 0, 1))
        found, back = {}, self.shares(mirrored)
        for axis, share in self.shares(amounts).items():
            terms = self.axes[axis]
            mean = (share + back[axis][[terms.index(in_mirror(term)) for term in terms]]) / 2
            all_ = dict(zip(terms, (float(p) for p in mean), strict=True))
            value = max(all_, key=lambda name: all_[name])
            found[axis] = Guess(value, all_[value] * trust, all_)
        return found


@cache
def fitted(name: str) -> Fitted:
    """The network of that name that comes with the package: "light", "moves" or "action"."""
    with np.load(WEIGHTS) as stored:
        part = {key.partition(" ")[2]: stored[key] for key in stored.files if key.startswith(f"{name} ")}
    axes = {
        key.removeprefix("axis "): tuple(terms.tolist())
        for key, terms in part.items()
        if key.startswith("axis ")
    }
    part |= {key: part[key].astype(np.float64) for key in ("mean", "scale", "w1", "b1", "w2", "b2")}
    return Fitted(part["mean"], part["scale"], (part["w1"], part["b1"]), (part["w2"], part["b2"]), axes)
