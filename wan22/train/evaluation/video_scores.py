"""What is measured on one video: what it obeys, how much moves, how it drifts, and what extractors see in it.

Numbers are JSON values; features are arrays that scores over all videos need. Nothing is known here of models or files.
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
from wan22.types import Audio, Clip

MIN_FRAMES = 5
"""Frames under which a video is an image to the measures of movement."""

_LAG = 0.5  # seconds; audio that comes so late is another audio

Numbers = dict[str, Any]
Features = dict[str, np.ndarray]


def look(
    video: Clip,
    asked: str | Mapping[str, str],
    extractors: Mapping[str, Extractor],
    *,
    first: np.ndarray | None = None,
    like: np.ndarray | None = None,
    audio: Audio | None = None,
) -> tuple[Numbers, Features]:
    """Measure one video.

    asked: the labels that it must obey, or its prompt. first: the image (H, W, 3) that it was given to begin with.
    like: frames (k, H, W, 3) whose identity it should keep; else its own first frame. audio: what drives it.
    """
    frames = video.frames
    numbers: Numbers = {"verdicts": verdicts(video, asked)}
    if len(frames) > 1:
        numbers["motion"] = motion_amount(frames)
    if len(frames) / video.fps >= MIN_SECONDS:
        numbers["drift"] = {
            name: {"noticed": _ratio(axis.total, axis.visible), "verdict": axis.verdict}
            for name, axis in measure_drift([frames], video.fps).axes.items()
        }
    if first is not None:
        numbers["first_frame"] = compare(frames[:1], first[None])
    features = {kind: extractors[kind](frames) for kind in ("fid", "fvd") if kind in extractors}
    if "identity" in extractors:
        seen = extractors["identity"](frames)
        kept = cosines(seen[1:], seen[:1]) if like is None else cosines(seen, extractors["identity"](like))
        numbers["identity"] = {"mean": float(kept.mean()), "least": float(kept.min())} if len(kept) else None
    if "sync" in extractors and audio is not None:
        lag = best_lag(
            extractors["sync"](frames), loudness(audio, len(frames), video.fps), round(_LAG * video.fps)
        )
        numbers["sync"] = {
            "frames": lag.frames,
            "seconds": lag.frames / video.fps,
            "correlation": lag.correlation,
        }
    return numbers, features


def verdicts(video: Clip, asked: str | Mapping[str, str]) -> list[Numbers]:
    """What a video obeys of what was asked, axis by axis; nothing of a video of less than `MIN_FRAMES`."""
    if len(video.frames) < MIN_FRAMES:
        return []
    found = judge(measure(video.frames, video.fps), dict(asked) if isinstance(asked, Mapping) else asked)
    return [{"axis": v.axis, "asked": v.asked, "measured": v.measured, "matches": v.matches} for v in found]


def compare(a: np.ndarray, b: np.ndarray) -> Numbers:
    """PSNR and SSIM of two videos, uint8 (T, H, W, 3): over all frames, and of the worst one. Equal frames: 100 dB."""
    decibels = psnr(a, b).clip(max=100.0)
    return {"psnr": mean_psnr(decibels), "worst": float(decibels.min()), "ssim": float(ssim(a, b).mean())}


def loudness(audio: Audio, frames: int, fps: float) -> np.ndarray:
    """Root mean square of the audio during every video frame, (T,); 0 after its end."""
    edges = (np.arange(frames + 1) * audio.rate / fps).round().astype(int)
    pieces = [audio.samples[a:b] for a, b in pairwise(edges)]
    return np.array(
        [math.sqrt(float(np.square(p, dtype=np.float64).mean())) if len(p) else 0.0 for p in pieces]
    )


def _ratio(total: float, visible: float) -> float | None:
    """How many times the change from which people notice it; None if there was nothing to measure it on."""
    return None if math.isnan(total) else abs(total) / visible
