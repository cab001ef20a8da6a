"""Numbers that compare images, videos and features. Pure functions of arrays; no file, network or label is known here.

Images are uint8 (T, H, W, 3). Fréchet distances, cosines and lags work on features that somebody else computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wan22.errors import MediaError, OptionError

__all__ = [
    "MIN_SAMPLES",
    "Frechet",
    "Lag",
    "best_lag",
    "cosines",
    "frechet",
    "mean_psnr",
    "motion_amount",
    "psnr",
    "ssim",
]

MIN_SAMPLES = 16
"""Fewest vectors on either side of a Fréchet distance; under it a covariance says nothing."""

_WINDOW = 11  # Wang et al. 2004, section III-B: 11x11 Gaussian of deviation 1.5, K1 = 0.01, K2 = 0.03
_DEVIATION, _K1, _K2 = 1.5, 0.01, 0.03
_PIECE = 16  # frames at a time


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of every frame in dB, (T,); infinite where frames are equal.

    a, b: uint8 (T, H, W, 3). Average them by `mean_psnr`. Raises MediaError for other shapes.
    """
    _same(a, b)
    error = np.array(
        [np.square(x.astype(np.float64) - y).mean() for x, y in zip(a, b.astype(np.float64), strict=True)]
    )
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / error)


def mean_psnr(decibels: np.ndarray | list[float]) -> float:
    """The PSNR of the mean squared error of many: stricter than the mean of decibels, and defined for equal frames."""
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.mean(10 ** (-np.asarray(decibels, np.float64) / 10))))


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of every frame, (T,), the mean over colours (Wang et al. 2004, eq. 13).

    a, b: uint8 (T, H, W, 3), at least 11 pixels a side; windows lie inside the image. Raises MediaError otherwise.
    """
    _same(a, b)
    if min(a.shape[1:3]) < _WINDOW:
        raise MediaError(
            f"SSIM needs images of {_WINDOW} pixels a side or more, not {a.shape[2]}x{a.shape[1]}"
        )
    pieces = range(0, len(a), _PIECE)
    return np.concatenate([_ssim(a[i : i + _PIECE] * 1.0, b[i : i + _PIECE] * 1.0) for i in pieces])


def _ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    c1, c2 = (_K1 * 255) ** 2, (_K2 * 255) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    together = _blur(a * b) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + c1) * (2 * together + c2)
    return (alike / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(axis=(1, 2, 3))


def _blur(x: np.ndarray) -> np.ndarray:
    """The Gaussian window along rows and columns, where it fits."""
    weights = np.exp(-0.5 * ((np.arange(_WINDOW) - _WINDOW // 2) / _DEVIATION) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        count = x.shape[axis] - _WINDOW + 1
        x = sum(w * np.take(x, range(i, i + count), axis=axis) for i, w in enumerate(weights))
    return x


@dataclass(frozen=True)
class Frechet:
    """A Fréchet distance and what it rests on: vectors on either side, their length, and `shrunk`, the distance with
    shrunk covariances where there are too few vectors for plain ones; `note` says so.
    """

    value: float
    samples: tuple[int, int]
    features: int
    shrunk: float | None = None
    note: str = ""


def frechet(a: np.ndarray, b: np.ndarray) -> Frechet:
    """Fréchet distance of two sets of features, (n, d) and (m, d) (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

        |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    The value is the usual one, with unbiased covariances. With no more vectors than numbers in one, these are
    singular and the value depends on the count: then it is also computed with covariances shrunk after Ledoit and
    Wolf (2004), and a note says so. Raises OptionError for fewer than `MIN_SAMPLES` vectors or lengths that differ.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise OptionError(f"a Fréchet distance needs features (n, d) and (m, d), not {a.shape} and {b.shape}")
    fewest, width = min(len(a), len(b)), a.shape[1]
    if fewest < MIN_SAMPLES:
        raise OptionError(
            f"a Fréchet distance needs at least {MIN_SAMPLES} vectors on either side, not {len(a)} and {len(b)}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise OptionError("a Fréchet distance needs finite features; the extractor gave nan or infinity")
    value = _distance(a, b, *(np.cov(x, rowvar=False).reshape(width, width) for x in (a, b)))
    if fewest > width:
        return Frechet(value, (len(a), len(b)), width)
    return Frechet(
        value,
        (len(a), len(b)),
        width,
        _distance(a, b, _shrunk(a), _shrunk(b)),
        f"{fewest} vectors of {width} numbers: the covariance is singular and the distance too large by an amount "
        "that depends on the count; compare only with the same count, or give more",
    )


def _distance(a: np.ndarray, b: np.ndarray, cov_a: np.ndarray, cov_b: np.ndarray) -> float:
    # tr (A B)^1/2 = tr (A^1/2 B A^1/2)^1/2, whose argument is symmetric: no complex roots.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    inner = root @ cov_b @ root
    cross = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2).clip(0)).sum()
    apart = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(max(0.0, apart + np.trace(cov_a) + np.trace(cov_b) - 2 * cross))


def _shrunk(x: np.ndarray) -> np.ndarray:
    """Covariance shrunk towards a multiple of the identity (Ledoit and Wolf 2004, lemmas 3.2 to 3.4)."""
    n, width = x.shape
    x = x - x.mean(axis=0)
    sample = x.T @ x / n
    level = np.trace(sample) / width
    spread = np.square(sample - level * np.eye(width)).sum()
    error = (np.square(np.square(x).sum(axis=1)).sum() / n - np.square(sample).sum()) / n
    share = 0.0 if spread == 0 else min(max(error, 0.0), spread) / spread
    return share * level * np.eye(width) + (1 - share) * sample


def cosines(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Cosine of every row of features (T, d) with its best match among the rows of reference (k, d): (T,) in [-1, 1].

    Raises OptionError for lengths that differ; a vector of zeros is like nothing.
    """
    features, reference = np.asarray(features, np.float64), np.asarray(reference, np.float64)
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1]:
        raise OptionError(
            f"cosines need features (T, d) and (k, d), not {features.shape} and {reference.shape}"
        )
    one, other = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (features, reference)
    )
    return (one @ other.T).max(axis=1)


@dataclass(frozen=True)
class Lag:
    """The shift at which two series agree best: `frames` by which the second comes later, and the correlation there."""

    frames: int
    correlation: float


def best_lag(seen: np.ndarray, audio: np.ndarray, most: int) -> Lag:
    """Pearson's correlation of two series (T,) at the shift of up to `most` frames where it is largest.

    A positive lag: the image follows the audio. At least half of the series must overlap. A series that does not
    change agrees with nothing (0). Raises OptionError for other shapes.
    """
    seen, audio = np.asarray(seen, np.float64), np.asarray(audio, np.float64)
    if seen.ndim != 1 or seen.shape != audio.shape or len(seen) < 4:
        raise OptionError(
            f"two series of one length, 4 or more, are needed, not {seen.shape} and {audio.shape}"
        )
    most = min(most, len(seen) // 2)
    found = []
    for lag in sorted(range(-most, most + 1), key=abs):  # of equals the smallest shift is taken
        count = len(seen) - abs(lag)
        one = seen[max(lag, 0) :][:count]
        other = audio[max(-lag, 0) :][:count]
        found.append(Lag(lag, _correlation(one, other)))
    return max(found, key=lambda each: round(each.correlation, 9))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else 0.0


def motion_amount(frames: np.ndarray) -> float:
    """How much moves: mean length of the optical flow between neighbours, in percent of the image's width a frame.

    frames: uint8 (T, H, W, 3), T of 2 or more. Dense flow after Farnebäck (2003).
    """
    if frames.ndim != 4 or len(frames) < 2:
        raise MediaError(f"motion is measured on two frames or more, not on an array {frames.shape}")
    import cv2

    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    total = 0.0
    for before, after in pairwise(grey):
        flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 11, 3, 5, 1.1, 0)  # ty: ignore[no-matching-overload]
        total += float(np.linalg.norm(flow, axis=-1).mean())
    return 100 * total / (len(grey) - 1) / frames.shape[2]


def _same(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 4 or a.shape[-1] != 3 or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise MediaError(
            f"cannot compare {a.dtype} {a.shape} with {b.dtype} {b.shape}: both must be uint8 (T, H, W, 3)"
        )
