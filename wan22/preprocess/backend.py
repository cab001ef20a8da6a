"""What finds people: three steps, each a function that another can take the place of.

detect      frame (H, W, 3) uint8 RGB -> (n, 5): boxes left, top, right, bottom in pixels, and a score 0..1
landmarks   frame, box (5,) -> (133, 3): a whole body (body.py) in pixels; scores of 0 where nobody is in the box
mask        frame, landmarks (133, 3) -> (H, W) float32 0..1: how surely a pixel belongs to the person
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Detect = Callable[[np.ndarray], np.ndarray]
Landmarks = Callable[[np.ndarray, np.ndarray], np.ndarray]
Mask = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Preprocessor:
    """The three steps, and the `names` of what does them, for the record. Without `mask`, nobody can be replaced.

    steady: seconds over which the landmarks' scores are averaged, so that limbs at the edge of what is seen do not
    flicker; 0 for networks that need no such thing.
    """

    detect: Detect
    landmarks: Landmarks
    mask: Mask | None = None
    names: dict[str, str] = field(default_factory=dict)
    steady: float = 0.0
