"""The networks of MediaPipe (Apache 2.0), run by LiteRT: a person's box, 33 points of the body, the face, the hands.

They are small (16 MB) and run on any CPU. `installed.py` installs them. A network sees a square of the frame, turned
so that the person is upright; what it says is turned back. Its 33 points of the body are fewer than COCO's of the feet:
a foot has one tip, which stands for the big and the small toe. Of the 468 points of the face, 68 are those of COCO.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from wan22.preprocess.backend import Preprocessor
from wan22.preprocess.body import COUNT, GROUPS, index_of

_SPECK = 0.05  # of the largest part of an outline
_LEAST = 4  # pixels of the side of a square that is worth a look

Network = Callable[[np.ndarray], list[np.ndarray]]
"""Takes an image (H, W, 3) float32 and returns the outputs, in the order of the file."""

_BOX, _BODY_MAYBE, _BODY_THERE, _HAND, _FACE = 0.3, 0.1, 0.5, 0.5, 0.5  # least probabilities of being there
# (a box that may be one is looked at: the network of the body says whether it is)

_BODY = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_shoulder": 11, "right_shoulder": 12,
    "left_elbow": 13, "right_elbow": 14, "left_wrist": 15, "right_wrist": 16, "left_hip": 23, "right_hip": 24,
    "left_knee": 25, "right_knee": 26, "left_ankle": 27, "right_ankle": 28, "left_heel": 29, "right_heel": 30,
    "left_big_toe": 31, "left_small_toe": 31, "right_big_toe": 32, "right_small_toe": 32,
}  # fmt: skip
"""COCO's points among the 33."""
_HANDS = {"left": (15, 17, 19), "right": (16, 18, 20)}
"""Wrist, root of the little finger, root of the index finger among the 33."""
_HEAD = (0, 2, 5, 7, 8, 9, 10)
_HIPS, _CROWN = (
    33,
    34,
)  # points beside the 33: the middle of the hips, and one that says size and turn of the person
_EYES = (33, 263)  # outer corners among the 468: the right eye and the left one

_FACE_OF_468 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # lips, outside
    78, 82, 13, 312, 308, 317, 14, 87,  # lips, inside
)  # fmt: skip
"""The 68 points of a face among the 468."""


@dataclass(frozen=True)
class Square:
    """A square of the frame: its middle and side in pixels, and how far it is turned, in radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_frame(self, size: int) -> np.ndarray:
        """The affine map (2, 3) from pixels of the square, `size` on a side, to those of the frame."""
        scale = self.side / size
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        half = size / 2
        return np.array(
            [[cos, -sin, self.x - cos * half + sin * half], [sin, cos, self.y - sin * half - cos * half]]
        )

    def cut(self, frame: np.ndarray, size: int) -> np.ndarray:
        """What is in it, (size, size, 3) float32 0..1; black outside of the frame."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, self.to_frame(size), (size, size), flags=flags).astype(np.float32) / 255

    def back(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (n, 2) of the square as points of the frame."""
        turn = self.to_frame(size)
        return points @ turn[:, :2].T + turn[:, 2]


@dataclass(frozen=True)
class LandmarkNetworks:
    """The networks at work, as the steps of a `Preprocessor`."""

    person: Network
    body: Network
    face: Network
    hand: Network

    def preprocessor(self) -> Preprocessor:
        """The three steps; the mask is what the network of the body says of the person's outline."""
        names = {"detect": "MediaPipe", "landmarks": "MediaPipe", "mask": "MediaPipe"}
        return Preprocessor(self.detect, self.landmarks, self.mask, names, steady=0.12)

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """The square around each person, as (n, 5) boxes with scores."""
        size, (height, width) = 224, frame.shape[:2]
        whole = Square(width / 2, height / 2, max(height, width))
        raw, logits = self.person(whole.cut(frame, size) * 2 - 1)
        found = _decoded(raw.reshape(-1, 12), logits.reshape(-1))
        boxes = []
        for (hx, hy, cx, cy), score in found:
            (x, y), (ex, ey) = whole.back(np.array([[hx, hy], [cx, cy]]) * size, size)
            radius = 1.25 * math.hypot(ex - x, ey - y)
            boxes.append([x - radius, y - radius, x + radius, y + radius, score])
        return np.array(boxes, np.float32).reshape(-1, 5)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """A whole body (133, 3): the body, then each hand and the face where the body's points say that they are."""
        whole = np.zeros((COUNT, 3), np.float32)
        body, _, _ = self._body(frame, box)
        if body is None:
            return whole
        for name, index in _BODY.items():
            whole[index_of(name)] = body[index]
        for side, roots in _HANDS.items():
            whole[GROUPS[f"{side}_hand"]] = self._hand(frame, body[list(roots)])
        whole[GROUPS["face"]] = self._face(frame, body[list(_HEAD)])
        (height, width) = frame.shape[:2]
        outside = (whole[:, :2] < 0).any(1) | (whole[:, 0] >= width) | (whole[:, 1] >= height)
        whole[outside, 2] = 0
        return whole

    def mask(self, frame: np.ndarray, points: np.ndarray) -> np.ndarray:
        """How surely each pixel belongs to the person with these landmarks, (H, W) float32 0..1."""
        seen = points[points[:, 2] > 0, :2]
        low, high = seen.min(0), seen.max(0)
        middle, half = (low + high) / 2, max((high - low).max() * 0.75, 1.0)
        _, square, outline = self._body(frame, np.array([*(middle - half), *(middle + half), 1.0]))
        outline = _without_specks(outline)
        turn, (height, width) = square.to_frame(len(outline)), frame.shape[:2]
        return cv2.warpAffine(outline, turn, (width, height), flags=cv2.INTER_LINEAR)

    def _body(self, frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray | None, Square, np.ndarray]:
        """Points (39, 3) or None, the square that the network saw, and the outline there, (256, 256) 0..1.

        The network looks twice: the second time at the square that it says itself, upright and of the right size. That
        look counts, unless it alone finds nobody.
        """
        size, looks = 256, []
        square = Square(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2, float(box[2] - box[0]))
        while len(looks) < 2 and square.side >= _LEAST:
            raw, presence, logits, *_ = self.body(square.cut(frame, size))
            raw, outline = raw.reshape(39, 5), _sigmoid(logits.reshape(size, size)).astype(np.float32)
            score = np.minimum(_sigmoid(raw[:, 3]), _sigmoid(raw[:, 4]))
            points = np.column_stack([square.back(raw[:, :2], size), score]).astype(np.float32)
            looks.append((presence.item(), points, square, outline))
            if presence.item() < _BODY_MAYBE:
                break
            (x, y), (ex, ey) = points[_HIPS, :2].tolist(), points[_CROWN, :2].tolist()
            square = Square(x, y, 2.5 * math.hypot(ex - x, ey - y), _upright(ex - x, ey - y))
        if not looks:
            return None, square, np.zeros((size, size), np.float32)
        best = looks[-1] if looks[-1][0] >= _BODY_THERE else max(looks, key=lambda look: look[0])
        return best[1] if best[0] >= _BODY_THERE else None, best[2], best[3]

    def _hand(self, frame: np.ndarray, roots: np.ndarray) -> np.ndarray:
        """21 points (21, 3) of the hand with wrist, little and index finger's roots (3, 3); scores of 0 without one."""
        size, none = 224, np.zeros((21, 3), np.float32)
        if roots[:, 2].min() < 0.1:
            return none
        wrist, little, index = roots[:, :2]
        middle = (2 * index + little) / 3
        reach = middle - wrist
        square = Square(*middle, 2 * 2.0 * float(np.hypot(*reach)), _upright(*reach))
        points = none
        for _ in range(2):
            if square.side < _LEAST:
                return none
            raw, presence, *_ = self.hand(square.cut(frame, size))
            if presence.item() < _HAND:
                return none
            places = square.back(raw.reshape(21, 3)[:, :2], size)
            points = np.column_stack([places, np.full(21, presence.item())]).astype(np.float32)
            knuckle = (places[5] + places[13]) / 2 / 2 + places[9] / 2
            square = _around(places, _upright(*(knuckle - places[0])), 2.0, -0.1)
        return points

    def _face(self, frame: np.ndarray, head: np.ndarray) -> np.ndarray:
        """68 points (68, 3) of the face around nose, eyes, ears and mouth (7, 3); scores of 0 without one."""
        size, none = 192, np.zeros((68, 3), np.float32)
        if head[:, 2].max() < 0.1:
            return none
        (rx, ry), (lx, ly) = head[2, :2], head[1, :2]
        square, points = _around(head[:, :2], math.atan2(ly - ry, lx - rx), 2.2, 0.0), none
        for _ in range(2):
            if square.side < _LEAST:
                return none
            raw, logit = self.face(square.cut(frame, size))
            score = float(_sigmoid(logit).item())
            if score < _FACE:
                return none
            places = square.back(raw.reshape(468, 3)[:, :2], size)
            points = np.column_stack([places[list(_FACE_OF_468)], np.full(68, score)]).astype(np.float32)
            right, left = places[list(_EYES)]
            square = _around(places, math.atan2(left[1] - right[1], left[0] - right[0]), 1.5, 0.0)
        return points


def _upright(x: float, y: float) -> float:
    """The angle by which a square is turned so that the direction (x, y) of the frame points up in it."""
    return math.atan2(x, -y)


def _around(points: np.ndarray, angle: float, scale: float, shift: float) -> Square:
    """The square, turned by `angle`, around points (n, 2): `scale` times as large, moved down by `shift` of them."""
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    own = points @ turn.T
    low, high = own.min(0), own.max(0)
    middle = ((low + high) / 2 + np.array([0, shift * (high - low)[1]])) @ turn
    return Square(float(middle[0]), float(middle[1]), float((high - low).max()) * scale, angle)


def _without_specks(outline: np.ndarray) -> np.ndarray:
    """An outline without parts that are apart and small, whose box would be filled with the rest."""
    count, labels, facts, _ = cv2.connectedComponentsWithStats((outline >= 0.5).astype(np.uint8))
    areas = facts[:, cv2.CC_STAT_AREA]
    specks = [each for each in range(1, count) if areas[each] < _SPECK * areas[1:].max()]
    return np.where(np.isin(labels, specks), np.float32(0), outline)


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(value, -60, 60)))


def _anchors() -> np.ndarray:
    """The middles (2254, 2) of what the network of people looks at: two for each cell of 28, 14 and 7, six of 7."""
    middles = []
    for cells, each in ((28, 2), (14, 2), (7, 6)):
        ys, xs = np.mgrid[:cells, :cells]
        grid = np.stack([(xs + 0.5) / cells, (ys + 0.5) / cells], -1).reshape(-1, 1, 2)
        middles.append(np.repeat(grid, each, 1).reshape(-1, 2))
    return np.concatenate(middles)


def _decoded(raw: np.ndarray, logits: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Hips and crown (4,), as shares of the square, and the score of each person.

    Boxes that overlap are one person: their mean, weighted by their scores.
    """
    scores = _sigmoid(logits)
    kept = np.flatnonzero(scores >= _BOX)
    kept = kept[np.argsort(-scores[kept])]
    middles = _anchors()[kept]
    places = raw[kept] / 224
    places[:, :2] += middles
    places[:, 4:] += np.tile(middles, 4)
    low, high = places[:, :2] - places[:, 2:4] / 2, places[:, :2] + places[:, 2:4] / 2
    people, left = [], np.arange(len(kept))
    while len(left):
        first = left[0]
        both = np.prod(
            np.clip(np.minimum(high[left], high[first]) - np.maximum(low[left], low[first]), 0, None), 1
        )
        areas = np.prod(high[left] - low[left], 1) + np.prod(high[first] - low[first]) - both
        same = left[both / np.maximum(areas, 1e-9) > 0.3]
        same = same if len(same) else left[:1]
        weight = scores[kept[same]]
        people.append(
            ((places[same, 4:8] * weight[:, None]).sum(0) / weight.sum(), float(scores[kept[first]]))
        )
        left = left[~np.isin(left, same)]
    return people
