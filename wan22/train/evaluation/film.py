"""What is measured on one film: what it obeys, how much moves, how it drifts, and what extractors see in it.

Numbers are JSON values; features are arrays that scores over all films need. Nothing is known here of models or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from wan22.director.drift import MIN_SECONDS, measure_drift
from wan22.director.measure import judge, measure
from wan22.train.evaluation.extractors import Extractor
from wan22.train.evaluation.metrics import best_lag, cosines, mean_psnr, motion_amount, psnr, ssim
from wan22.types import Clip, Sound

MIN_FRAMES = 5
"""Frames under which a film is a picture to the measures of movement."""

_LAG = 0.5  # seconds; a sound that comes so late is another sound

Numbers = dict[str, Any]
Features = dict[str, np.ndarray]


def look(
    film: Clip,
    asked: str | Mapping[str, str],
    extractors: Mapping[str, Extractor],
    *,
    first: np.ndarray | None = None,
    like: np.ndarray | None = None,
    sound: Sound | None = None,
) -> tuple[Numbers, Features]:
    """Measure one film.

    asked: the labels that it must obey, or its prompt. first: the picture (H, W, 3) that it was told to begin with.
    like: frames (k, H, W, 3) whose identity it should keep; else its own first frame. sound: what drives it.
    """
    frames = film.frames
    numbers: Numbers = {"obeyed": verdicts(film, asked)}
    if len(frames) > 1:
        numbers["motion"] = motion_amount(frames)
    if len(frames) / film.fps >= MIN_SECONDS:
        numbers["drift"] = {
            name: {"noticed": _ratio(axis.total, axis.visible), "verdict": axis.verdict}
            for name, axis in measure_drift([frames], film.fps).axes.items()
        }
    if first is not None:
        numbers["first_frame"] = compare(frames[:1], first[None])
    features = {kind: extractors[kind](frames) for kind in ("fid", "fvd") if kind in extractors}
    if "identity" in extractors:
        seen = extractors["identity"](frames)
        kept = cosines(seen[1:], seen[:1]) if like is None else cosines(seen, extractors["identity"](like))
        numbers["identity"] = {"mean": float(kept.mean()), "least": float(kept.min())} if len(kept) else None
    if "sync" in extractors and sound is not None:
        lag = best_lag(
            extractors["sync"](frames), loudness(sound, len(frames), film.fps), round(_LAG * film.fps)
        )
        numbers["sync"] = {
            "frames": lag.frames,
            "seconds": lag.frames / film.fps,
            "correlation": lag.correlation,
        }
    return numbers, features


def verdicts(film: Clip, asked: str | Mapping[str, str]) -> list[Numbers]:
    """What a film obeys of what was asked, axis by axis; nothing of a film of less than `MIN_FRAMES`."""
    if len(film.frames) < MIN_FRAMES:
        return []
    found = judge(measure(film.frames, film.fps), dict(asked) if isinstance(asked, Mapping) else asked)
    return [{"axis": v.axis, "asked": v.asked, "measured": v.measured, "obeyed": v.obeyed} for v in found]


def compare(a: np.ndarray, b: np.ndarray) -> Numbers:
    """PSNR and SSIM of two films, uint8 (T, H, W, 3): over all frames, and of the worst one. Equal frames: 100 dB."""
    decibels = psnr(a, b).clip(max=100.0)
    return {"psnr": mean_psnr(decibels), "worst": float(decibels.min()), "ssim": float(ssim(a, b).mean())}


def loudness(sound: Sound, frames: int, fps: float) -> np.ndarray:
    """Root mean square of the sound during every film frame, (T,); 0 after its end."""
    edges = (np.arange(frames + 1) * sound.rate / fps).round().astype(int)
    pieces = [sound.samples[a:b] for a, b in pairwise(edges)]
    return np.array(
        [math.sqrt(float(np.square(p, dtype=np.float64).mean())) if len(p) else 0.0 for p in pieces]
    )


def _ratio(total: float, visible: float) -> float | None:
    """How many times the change from which people notice it; None if there was nothing to measure it on."""
    return None if math.isnan(total) else abs(total) / visible
