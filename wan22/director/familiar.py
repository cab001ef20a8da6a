"""Is a video like those that the measure was fitted on? What is unlike them is not named.

A network answers whatever it is shown. So the light, texture and layout of images are held against those of the
training split: by their distance from it, along its main directions and beside them (Jackson and Mudholkar 1979,
"Control procedures for residuals associated with principal component analysis"), and by a logistic rule that was also
shown other footage (Hendrycks et al. 2019, "Deep anomaly detection with outlier exposure"). The numbers are in
looks.npz, written by `python -m bench.measure --fit-gate`; the limit is what all but a few of the training clips keep
that were left out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from wan22.director.fitted import WEIGHTS

_LEVELS = 4
_LEAST = 0.02  # of a direction's variance
_EDGE = 8.0  # standard deviations beyond which an amount counts as one at that edge
_PLAIN = 56  # so many of the amounts of light are looked at: colours, shade, horizon; not the maps of shade
_CELLS = (16, 10)  # columns and rows of the layout


@dataclass(frozen=True)
class Familiar:
    """Where the training clips lie: `mean` and `scale` (n,) of the amounts, `ways` (n, k) the main directions with
    `spread` (k,), their variances; `rest` the mean square beside them. `rule` (2 n + 2,) weighs amounts, their squares,
    the distance and 1; what it comes to is below the `limit` for what is familiar.
    """

    mean: np.ndarray
    scale: np.ndarray
    ways: np.ndarray
    spread: np.ndarray
    rest: float
    rule: np.ndarray
    limit: float

    @classmethod
    def of(cls, rows: np.ndarray, ways: int) -> Familiar:
        """Take it from amounts (clips, n): the distance alone, without a limit yet."""
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-3
        z = np.clip((rows - mean) / scale, -_EDGE, _EDGE)
        _, sizes, directions = np.linalg.svd(z, full_matrices=False)
        variances = sizes**2 / len(z)
        rule = np.zeros(2 * len(mean) + 2)
        rule[-2] = 1.0
        return cls(
            mean, scale, directions[:ways].T, variances[:ways], float(variances[ways:].sum()), rule, 0.0
        )

    def seen(self, rows: np.ndarray) -> np.ndarray:
        """What the rule weighs, (clips, 2 n + 2), of amounts (clips, n)."""
        z = np.clip((rows - self.mean) / self.scale, -_EDGE, _EDGE)
        along = z @ self.ways
        beside = z - along @ self.ways.T
        far = (along**2 / (self.spread + _LEAST)).mean(axis=1) + (beside**2).sum(axis=1) / self.rest
        distance = np.log(far)[:, None]
        return np.concatenate([z, np.minimum(z**2, 16) / 4, distance, np.ones_like(distance)], axis=1)

    def strangeness(self, rows: np.ndarray) -> float:
        """How far a clip is beyond the limit, from its amounts and its mirror image's (2, n); familiar below 0."""
        return float((self.seen(rows) @ self.rule).mean()) - self.limit


@cache
def familiar() -> Familiar:
    """What comes with the package."""
    with np.load(WEIGHTS) as stored:
        part = {
            key: stored[f"familiar {key}"].astype(np.float64)
            for key in ("mean", "scale", "ways", "spread", "rule")
        }
        rest, limit = (float(stored[f"familiar {key}"]) for key in ("rest", "limit"))
    return Familiar(**part, rest=rest, limit=limit)


def look(cv2: Any, frames: np.ndarray, mask: np.ndarray, light: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """What is held against the training clips, of a clip and of its mirror image, (2, n).

    Frames float32 (T, H, W, 3) in 0..1, at a unit of 80 pixels; mask (T, H, W) is the subject; light is
    `light_evidence`.
    """
    both = np.concatenate([texture(cv2, frames), layout(cv2, frames, mask)])
    return np.stack([np.concatenate([amounts[:_PLAIN], both]) for amounts in light])


def texture(cv2: Any, frames: np.ndarray) -> np.ndarray:
    """What images are made of, whatever they show, (n,); frames float32 (T, H, W, 3) in 0..1, at a unit of 80 pixels.

    At four scales, in the upper and the lower half: how strong detail is in brightness and in colour, how unevenly it
    is spread, and how much more of it stands upright than lies. Then how much is flat, and how many colours there are.
    """
    return np.median([_one(cv2, frame) for frame in frames], axis=0)


def planes(frame: np.ndarray) -> np.ndarray:
    """Brightness and two differences of colours, (H, W, 3), of RGB in 0..1."""
    red, green, blue = np.moveaxis(frame, -1, 0)
    return np.stack(
        [0.2126 * red + 0.7152 * green + 0.0722 * blue, red - green, blue - (red + green) / 2], axis=-1
    )


def _one(cv2: Any, frame: np.ndarray) -> np.ndarray:
    image = planes(frame)
    found: list[float] = []
    for _ in range(_LEVELS):
        low = cv2.GaussianBlur(image, (0, 0), 1.2)
        detail = image - low
        across, down = (
            cv2.Sobel(image[..., 0], cv2.CV_32F, *way, scale=0.125) ** 2 for way in ((1, 0), (0, 1))
        )
        half = len(image) // 2
        for part in (slice(None, half), slice(half, None)):
            energy = (detail[part] ** 2).mean(axis=(0, 1))
            peaked = (detail[part, :, 0] ** 4).mean() / (energy[0] ** 2 + 1e-9)
            lean = np.log((across[part].mean() + 1e-6) / (down[part].mean() + 1e-6))
            found += [*np.log(energy + 1e-6), np.log(peaked + 1), lean]
        image = cv2.resize(
            low, (max(low.shape[1] // 2, 4), max(low.shape[0] // 2, 4)), interpolation=cv2.INTER_AREA
        )
    slope = np.hypot(
        *(cv2.Sobel(frame.mean(axis=-1), cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1)))
    )
    found += [float((slope < level).mean()) for level in (0.004, 0.012, 0.04)]
    bins = (frame * 7.999).astype(int)
    counts = np.bincount((bins[..., 0] * 8 + bins[..., 1]).ravel() * 8 + bins[..., 2].ravel(), minlength=512)
    share = np.sort(counts / counts.sum())[::-1]
    found += [float(-(share * np.log(share + 1e-9)).sum()), float(share[0]), float(share[:4].sum())]
    return np.array(found, np.float64)


def layout(cv2: Any, frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How images are laid out, (n,): how uneven their rows are in light and colour, with the subject and without it.

    In an open world without the subject (mask (T, H, W)) every row is much alike, sky or ground.
    """
    return np.median([_laid(cv2, frame, body) for frame, body in zip(frames, mask, strict=True)], axis=0)


def _laid(cv2: Any, frame: np.ndarray, body: np.ndarray) -> np.ndarray:
    wide = cv2.dilate(body.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    found: list[float] = []
    for free in (np.ones_like(wide), 1 - wide):
        much = cv2.resize(free, _CELLS, interpolation=cv2.INTER_AREA)
        cells = cv2.resize(planes(frame) * free[..., None], _CELLS, interpolation=cv2.INTER_AREA)
        known = (much > 0.3)[..., None]
        cells = np.where(known, cells / (much[..., None] + 1e-6), 0)
        number = known.sum(axis=1, keepdims=True) + 1e-6
        off = np.where(known, cells - cells.sum(axis=1, keepdims=True) / number, 0)
        square = (off**2).sum(axis=1) / number[:, 0]
        light, colour = square[:, 0], square[:, 1] + square[:, 2]
        found += [
            *np.log(light.reshape(5, 2).mean(axis=1) + 1e-5),
            *np.log(colour.reshape(5, 2).mean(axis=1) + 1e-5),
        ]
        side = [np.abs(off[:, :3].mean(axis=1) - off[:, -3:].mean(axis=1)).mean(axis=0)]
        found += [*np.log(np.concatenate(side) + 1e-3)]
    whole = cv2.resize(planes(frame), _CELLS, interpolation=cv2.INTER_AREA).mean(axis=1)
    step = np.abs(np.diff(whole, axis=0)).sum(axis=-1)
    found += [float(step.max()), float(step.max() / (step.sum() + 1e-3)), float(np.log(step.sum() + 1e-3))]
    found += [*cv2.resize(wide, (1, 5), interpolation=cv2.INTER_AREA)[:, 0]]
    return np.array(found, np.float64)
