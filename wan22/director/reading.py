"""What is read from a video: a value for every axis, and the tracks behind it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

UNKNOWN = "unknown"
"""The value of an axis that cannot be told."""


@dataclass(frozen=True)
class Reading:
    """One axis: a term of the vocabulary (or "unknown", and why), a confidence 0..1, and the amounts behind it."""

    value: str
    confidence: float
    amounts: Mapping[str, float] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Measurement:
    """What one video shows. `readings` by axis; the rest is what plots are drawn from.

    `at` (n,) is the frame of every row of the tracks: `camera` (n, 7), the camera's path in the amounts of
    `flow.PARAMETERS`; `flow` (n,), its speed at the subject in units a second; `subject` (n, 4), middle x and y (down),
    width and height in units; `own` (n, 2), the subject's path beside the camera's; `light` (n,), 0..1. `cuts` are
    frames at which another shot begins: camera and subject are those of the longest one, `shot` (first, last).
    """

    size: tuple[int, int]
    frames: int
    fps: float
    readings: Mapping[str, Reading]
    at: np.ndarray
    camera: np.ndarray
    flow: np.ndarray
    subject: np.ndarray
    own: np.ndarray
    light: np.ndarray
    cuts: tuple[int, ...]
    shot: tuple[int, int]

    def __getitem__(self, axis: str) -> Reading:
        return self.readings[axis]

    def as_json(self) -> dict[str, Any]:
        """Readings and tracks as plain values."""
        tracks = {name: getattr(self, name) for name in ("at", "camera", "flow", "subject", "own", "light")}
        return {
            "size": list(self.size),
            "frames": self.frames,
            "fps": self.fps,
            "readings": {
                axis: {
                    "value": r.value,
                    "confidence": round(r.confidence, 3),
                    "amounts": {name: round(float(v), 4) for name, v in r.amounts.items()},
                }
                | ({"why": r.why} if r.why else {})
                for axis, r in self.readings.items()
            },
            "cuts": list(self.cuts),
            "shot": list(self.shot),
            "tracks": {name: np.round(values.astype(float), 4).tolist() for name, values in tracks.items()},
        }
