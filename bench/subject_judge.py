"""Which of the film set's bodies does a video show? A small linear classifier, fitted on the set's own renders.

The body is found as `wan22.director` finds it; a square about it, with room below for a pale stem, is looked at: where
there is colour, how bright it is, and which way edges run (histograms of oriented gradients, Dalal and Triggs 2005).
Colour itself does not count. The classes are parted by linear discriminant analysis (Fisher 1936; Hastie et al., "The
Elements of Statistical Learning", 4.3) with a shrunken covariance. It knows no model and no prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wan22.director.subject import find_subject
from wan22.errors import MediaError, OptionError
from wan22.nano.filmset import shots_with
from wan22.stage.labels import AXES, Shot, Split
from wan22.stage.render import render

KINDS = tuple(AXES["subject"])
ACTIONS = ("still", "travel-left", "travel-right", "bounce", "spin", "drop")
"""A collision shows a second body, which is not the one that is asked for."""

_SIDE, _CELL, _WAYS = 32, 8, 9  # the square that is looked at, its cells, in pixels; orientations
_THUMB = 12
_ROOM = 1.7  # side of the square, over the longer side of the body that was found
_LOOKS = 5  # frames of a video that are looked at
_FIT_SEED, _CHECK_SEED = 71, 73


@dataclass(frozen=True)
class Judge:
    """Linear scores of every kind: `weights` (d, kinds) and `bias` (kinds,)."""

    kinds: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray

    def scores(self, video: np.ndarray) -> dict[str, float]:
        """How much a video, uint8 (T, H, W, 3), looks like each kind: the mean over its frames (natural logarithms)."""
        found = (features(video) @ self.weights + self.bias).mean(axis=0)
        return dict(zip(self.kinds, found.tolist(), strict=True))

    def call(self, video: np.ndarray) -> str:
        """The kind that a video looks like most."""
        scores = self.scores(video)
        return max(scores, key=scores.__getitem__)


def fit(looks: Mapping[str, np.ndarray], shrink: float = 0.3) -> Judge:
    """Part kinds by features (n, d) of each; `shrink` is the share of an even covariance that is mixed in."""
    if len(looks) < 2 or not all(len(rows) for rows in looks.values()):
        raise OptionError("a judge needs looks at two kinds of body at least")
    means = np.stack([rows.mean(axis=0) for rows in looks.values()])
    apart = np.concatenate([rows - mean for rows, mean in zip(looks.values(), means, strict=True)])
    covariance = apart.T @ apart / len(apart)
    even = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    weights = np.linalg.solve((1 - shrink) * covariance + shrink * even, means.T)
    return Judge(tuple(looks), weights, -0.5 * np.einsum("kd,dk->k", means, weights))


def features(video: np.ndarray) -> np.ndarray:
    """What is looked at in some frames of a video, uint8 (T, H, W, 3): float64 (frames, d). Raises MediaError."""
    import cv2

    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or not len(video):
        raise MediaError(f"a video is uint8 (T, H, W, 3), not {video.dtype} {video.shape}")
    some = video[np.unique(np.linspace(0, len(video) - 1, _LOOKS).round().astype(int))]
    images = some.astype(np.float32) / 255
    found = find_subject(cv2, images)
    return np.stack([_look(cv2, *pair) for pair in zip(images, found.mask, strict=True)])


def _look(cv2: Any, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    crop = square(cv2, image, mask)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    colour = crop.max(axis=-1) - crop.min(axis=-1)
    thumbs = [
        cv2.resize(_stretched(part), (_THUMB,) * 2, interpolation=cv2.INTER_AREA) for part in (grey, colour)
    ]
    edges = [gradients(_stretched(part)) for part in (grey, colour)]
    return np.concatenate([*edges, *(0.15 * thumb.ravel() for thumb in thumbs)]).astype(np.float64)


def _stretched(part: np.ndarray) -> np.ndarray:
    return (part - part.mean()) / (part.std() + 0.02)


def gradients(part: np.ndarray) -> np.ndarray:
    """Histograms of nine orientations in cells of 8 x 8 pixels, normalised over blocks of 2 x 2 cells, of a square."""
    down, across = np.gradient(part)
    strength, angle = np.hypot(down, across), (np.arctan2(down, across) / np.pi % 1) * _WAYS
    lower, share = np.floor(angle).astype(int), angle % 1
    ways = np.arange(_WAYS)
    votes = (lower[..., None] % _WAYS == ways) * (1 - share)[..., None]
    votes = votes + ((lower[..., None] + 1) % _WAYS == ways) * share[..., None]
    n = len(part) // _CELL
    cells = (votes * strength[..., None]).reshape(n, _CELL, n, _CELL, _WAYS).sum(axis=(1, 3))
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (2, 2), axis=(0, 1)).reshape((n - 1) ** 2, -1)
    return (blocks / (np.linalg.norm(blocks, axis=1, keepdims=True) + 1.0)).ravel()


def square(cv2: Any, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The square about a body, float32 (32, 32, 3); where no body was found, the middle of the image."""
    rows, columns = mask.shape
    ys, xs = np.nonzero(mask)
    left, top, right, bottom = 0.4 * columns, 0.35 * rows, 0.6 * columns, 0.65 * rows
    if len(xs):
        left, top, right, bottom = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    body = max(right - left, bottom - top, 6)
    side = _ROOM * body
    corner = ((left + right - side) / 2, top - 0.2 * body)
    # One affine map cuts, scales and repeats the border; a large body is smoothed first, so that nothing aliases.
    scale = side / _SIDE
    smooth = cv2.GaussianBlur(image, (0, 0), 0.5 * scale) if scale > 1 else image
    place = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]], dtype=np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(smooth, place, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def looks_at_renders(count: int, size: tuple[int, int], seed: int = _FIT_SEED) -> dict[str, np.ndarray]:
    """Features of `count` training clips of every kind, each blurred by some 0 to 2.5 pixels, as videos may be."""
    import cv2

    rng = np.random.default_rng(seed)
    found = {}
    for kind in KINDS:
        clips = clips_of(ordinary(count, seed, kind, "train"), size, seed, frames=_LOOKS, fps=4.0)
        sigmas = rng.uniform(0.05, 2.5, len(clips)) * size[0] / 128
        blurred = [
            np.stack([cv2.GaussianBlur(frame, (0, 0), float(sigma)) for frame in clip])
            for clip, sigma in zip(clips, sigmas, strict=True)
        ]
        found[kind] = np.concatenate([features(clip) for clip in blurred])
    return found


def check(
    judge: Judge, count: int, size: tuple[int, int], seed: int = _CHECK_SEED
) -> dict[str, dict[str, float]]:
    """What the judge calls held-out renders, as shares: by the kind that they are."""
    found = {}
    for kind in KINDS:
        clips = clips_of(ordinary(count, seed, kind, "held-out"), size, seed, frames=_LOOKS, fps=4.0)
        found[kind] = shares([judge.call(clip) for clip in clips])
    return found


def shares(calls: Sequence[str]) -> dict[str, float]:
    """The share of each kind among calls."""
    return {kind: calls.count(kind) / len(calls) for kind in KINDS}


def ordinary(count: int, seed: int, kind: str | None, split: Split) -> list[Shot]:
    """Shots of one body alone: of a kind, or of those that are drawn in training."""
    fixed = {} if kind is None else {"subject": kind}
    drawn = shots_with(2 * count + 20, seed, fixed, split=split)
    return [shot for shot in drawn if shot.action in ACTIONS][:count]


def clips_of(
    shots: Sequence[Shot], size: tuple[int, int], seed: int, *, frames: int, fps: float
) -> list[np.ndarray]:
    """The film set's own clips, uint8 (T, H, W, 3) each."""
    return list(render(shots, height=size[1], width=size[0], frames=frames, fps=fps, seed=seed).numpy())
