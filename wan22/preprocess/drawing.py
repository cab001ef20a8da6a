"""The pose image of Wan2.2-Animate: limbs as ellipses in fixed colours, joints as discs, hands as lines.

The network learned this drawing, so its colours, order and widths are those of the official preprocessing. The face is
not drawn: it goes to the network as an image of its own.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from matplotlib.colors import hsv_to_rgb

from wan22.preprocess.body import GROUPS, drawn_points

THRESHOLD = 0.5
"""Points of a lower score are not drawn."""

# Pairs of the 20 drawn points (body.DRAWN).
_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19),
)  # fmt: skip
_COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0),
)  # fmt: skip
"""RGB: the first 19 of the limbs, at six tenths; all 20 of the joints."""

_FINGERS = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))
_TIP = (0, 0, 255)


def draw_pose(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Draw a whole body, points (133, 3) in pixels of `image`, uint8 RGB (H, W, 3), onto it; return it.

    Widths follow from the shorter side, as in the official drawing.
    """
    width = max(int(min(image.shape[:2]) / 200) - 1, 1)
    joints = drawn_points(points)
    for (one, other), colour in zip(_LIMBS, _COLOURS, strict=False):
        if min(joints[one, 2], joints[other, 2]) >= THRESHOLD:
            _limb(image, joints[one], joints[other], width, tuple(int(c * 0.6) for c in colour))
    for (x, y, score), colour in zip(joints, _COLOURS, strict=True):
        if score >= THRESHOLD:
            cv2.circle(image, (int(x), int(y)), width, colour, thickness=-1)
    for side in ("left_hand", "right_hand"):
        _hand(image, points[GROUPS[side]], max(width // 2, 1))
    return image


def _limb(image: np.ndarray, one: np.ndarray, other: np.ndarray, width: int, colour: tuple[int, ...]) -> None:
    (x0, y0), (x1, y1) = one[:2], other[:2]
    middle = int((x0 + x1) / 2), int((y0 + y1) / 2)
    length = math.hypot(x0 - x1, y0 - y1)
    angle = int(math.degrees(math.atan2(y0 - y1, x0 - x1)))
    outline = cv2.ellipse2Poly(middle, (int(length / 2), width), angle, 0, 360, 1)
    cv2.fillConvexPoly(image, np.asarray(outline), colour)


def _hand(image: np.ndarray, points: np.ndarray, width: int) -> None:
    """Lines along the fingers, from red through the colours' circle, and blue discs. What lies at 0 is left out."""
    places = [(int(x), int(y)) for x, y, _ in points]
    seen = [
        score >= THRESHOLD and min(place) > 0 for (_, _, score), place in zip(points, places, strict=True)
    ]
    for number, (one, other) in enumerate(_FINGERS):
        if seen[one] and seen[other]:
            colour = hsv_to_rgb((number / len(_FINGERS), 1.0, 1.0)) * 255
            cv2.line(image, places[one], places[other], colour.tolist(), thickness=width)
    for place, is_seen in zip(places, seen, strict=True):
        if is_seen:
            cv2.circle(image, place, width, _TIP, thickness=-1)
