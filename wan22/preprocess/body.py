"""The landmarks of a whole body as COCO-WholeBody orders them: 133 points, (133, 3) of x, y in pixels and a score 0..1.

17 of the body, 6 of the feet, 68 of the face, 21 of each hand. Left and right are the person's own. The pose image of
Wan2.2-Animate is drawn from 20 points of the body, made of these: each is one of them, or the middle of two.
"""

from __future__ import annotations

import numpy as np

COUNT = 133

BODY_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
FEET_NAMES = (
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip

GROUPS = {
    "body": slice(0, 17),
    "feet": slice(17, 23),
    "face": slice(23, 91),
    "left_hand": slice(91, 112),
    "right_hand": slice(112, 133),
}
"""Where each group of points is."""

HEAD = slice(0, 5)
"""Nose, eyes and ears: the head as the body's points have it."""

DRAWN = (
    ("nose",), ("left_shoulder", "right_shoulder"), ("right_shoulder",), ("right_elbow",), ("right_wrist",),
    ("left_shoulder",), ("left_elbow",), ("left_wrist",), ("right_hip",), ("right_knee",), ("right_ankle",),
    ("left_hip",), ("left_knee",), ("left_ankle",), ("right_eye",), ("left_eye",), ("right_ear",), ("left_ear",),
    ("left_big_toe", "left_small_toe"), ("right_big_toe", "right_small_toe"),
)  # fmt: skip
"""The 20 points that are drawn; the second is the neck, and the last two are the feet."""

_INDEX = {name: index for index, name in enumerate((*BODY_NAMES, *FEET_NAMES))}
_FIRST = [_INDEX[names[0]] for names in DRAWN]
_SECOND = [_INDEX[names[-1]] for names in DRAWN]


def drawn_points(points: np.ndarray) -> np.ndarray:
    """The 20 points that are drawn, (20, 3), of a whole body (133, 3)."""
    return (points[_FIRST] + points[_SECOND]) / 2


def index_of(name: str) -> int:
    """Where a point of the body or of the feet is."""
    return _INDEX[name]
