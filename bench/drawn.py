"""Simple images and worlds that are not the film set: boxes in a room, cartoons, portraits, cards, slides, noise.

Each is drawn large, so that a camera can be moved over it; the room alone has depth, and is drawn frame by frame.
Images are uint8 (H, W, 3). Nothing here is tuned, and no network ever sees it: it tells how often the measure answers
where it should not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

ROWS, COLUMNS = 300, 480
"""Size of a still image. The camera sees a part of it."""

PAINTS = {
    "red": (215, 40, 35),
    "orange": (240, 135, 20),
    "yellow": (240, 215, 40),
    "green": (45, 160, 60),
    "blue": (40, 80, 210),
    "purple": (125, 45, 160),
}


def _colour(rng: np.random.Generator, low: int = 0, high: int = 255) -> tuple[int, int, int]:
    red, green, blue = rng.integers(low, high + 1, 3).tolist()
    return red, green, blue


def noise(rng: np.random.Generator) -> np.ndarray:
    """Colours at random, fine to coarse."""
    image = rng.normal(0, 1, (ROWS, COLUMNS, 3)).astype(np.float32)
    blur = float(np.exp(rng.uniform(-1, 3)))
    image = cv2.GaussianBlur(image, (0, 0), blur) * blur
    grey = image.mean(axis=-1, keepdims=True)
    image = grey + rng.uniform(0, 1.5) * (image - grey)
    return (128 + rng.uniform(15, 60) * image / image.std()).clip(0, 255).astype(np.uint8)


def gradient(rng: np.random.Generator) -> np.ndarray:
    """One colour that goes over into another, straight or round about."""
    y, x = np.mgrid[:ROWS, :COLUMNS] / ROWS
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    if rng.random() < 0.4:
        along = np.hypot(x - rng.uniform(0.3, 1.3), y - rng.uniform(0.2, 0.8))
    along = (along - along.min()) / np.ptp(along)
    one, two = (np.array(_colour(rng), np.float32) for _ in range(2))
    image = one + (two - one) * along[..., None]
    return (image + rng.normal(0, 1, image.shape)).clip(0, 255).astype(np.uint8)


def checkerboard(rng: np.random.Generator) -> np.ndarray:
    """Two colours in squares."""
    side = int(rng.integers(10, 60))
    y, x = np.mgrid[:ROWS, :COLUMNS] // side
    one, two = (
        (_colour(rng, 0, 110), _colour(rng, 140, 255)) if rng.random() < 0.6 else ((0,) * 3, (255,) * 3)
    )
    return np.where(((x + y) % 2)[..., None] > 0, np.uint8(one), np.uint8(two)).astype(np.uint8)


def test_card(rng: np.random.Generator) -> np.ndarray:
    """Bars of the primary colours over a ramp of greys, at one of several levels; perhaps a circle and a grid."""
    level = int(rng.choice([191, 255, 140]))
    bars = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1)]
    if rng.random() < 0.3:
        bars = bars[::-1]
    image = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    edge = int(ROWS * rng.uniform(0.6, 1.0))
    for i, bar in enumerate(bars):
        image[:edge, COLUMNS * i // 7 : COLUMNS * (i + 1) // 7] = np.array(bar) * level
    image[edge:] = np.linspace(0, 255, COLUMNS).astype(np.uint8)[None, :, None]
    if rng.random() < 0.5:
        cv2.circle(image, (COLUMNS // 2, ROWS // 2), ROWS // 3, (255, 255, 255), 3, cv2.LINE_AA)
        for k in range(0, COLUMNS, 40):
            cv2.line(image, (k, 0), (k, ROWS), (255, 255, 255), 1)
    return image


def leaves(rng: np.random.Generator) -> np.ndarray:
    """Discs of all sizes and colours that hide one another, which photographs are much like in their statistics.

    (Lee, Mumford and Huang 2001, "Occlusion models for natural images".)
    """
    image = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    hue = rng.uniform(40, 215, 3)
    radii = 4 / np.sqrt(rng.uniform(4 / 120**2, 1, 2500))
    for radius in radii:
        at = (int(rng.integers(0, COLUMNS)), int(rng.integers(0, ROWS)))
        colour = (hue + rng.normal(0, 45) + rng.normal(0, 22, 3)).clip(0, 255).tolist()
        cv2.circle(image, at, max(int(radius), 1), colour, -1, cv2.LINE_AA)
    return image


_WORDS = (
    "Quarterly results growth plan margin revenue next steps agenda summary questions thank you all".split()
)


def slide(rng: np.random.Generator) -> np.ndarray:
    """A title and lines of text on one colour, some with a block or columns beside."""
    dark = rng.random() < 0.4
    image = np.full((ROWS, COLUMNS, 3), _colour(rng, 0, 60) if dark else _colour(rng, 215, 255), np.uint8)
    ink = _colour(rng, 190, 255) if dark else _colour(rng, 0, 90)
    face = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
    said = [" ".join(rng.choice(_WORDS, 3)) for _ in range(6)]
    cv2.putText(image, said[0], (40, 60), face, 1.0, ink, 2, cv2.LINE_AA)
    for i, line in enumerate(said[1:]):
        cv2.putText(image, "- " + line, (50, 105 + 36 * i), face, 0.6, ink, 1, cv2.LINE_AA)
    if rng.random() < 0.6:
        for k, high in enumerate(rng.integers(20, 120, 4).tolist()):
            left = 320 + 34 * k
            cv2.rectangle(image, (left, 250 - high), (left + 24, 250), _colour(rng), -1)
    return image


def portrait(rng: np.random.Generator) -> np.ndarray:
    """A face and shoulders, lit from one side, before a backdrop out of focus."""
    y, x = np.mgrid[:ROWS, :COLUMNS].astype(np.float32)
    back = np.array(_colour(rng, 15, 200), np.float32)
    glow = np.exp(-(((x - 240) / 260) ** 2) - ((y - rng.uniform(60, 200)) / 220) ** 2)[..., None]
    image = back * (0.55 + rng.uniform(0.2, 0.7) * glow)
    skin = np.array((232, 190, 160), np.float32) * rng.uniform(0.35, 1.05)
    middle, top, size = 240 + rng.uniform(-50, 50), rng.uniform(95, 130), rng.uniform(46, 72)
    side = rng.uniform(-1, 1)
    lit = (0.85 + 0.3 * side * (x - middle) / size)[..., None].clip(0.35, 1.2)

    def put(mask: np.ndarray, colour: np.ndarray, blur: float = 1.2) -> None:
        nonlocal image
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), blur)[..., None]
        image = image * (1 - soft) + colour * lit * soft

    hair, coat = np.array(_colour(rng, 10, 110)), np.array(_colour(rng, 15, 200))
    put(((x - middle) / (size * 1.12)) ** 2 + ((y - top + 14) / (size * 1.35)) ** 2 < 1, hair)
    put((np.abs(x - middle) < size * 0.4) & (y > top) & (y < top + 2 * size), skin * 0.85)
    put(((x - middle) / (size * 2.3)) ** 2 + ((y - 330) / (330 - top - size * 1.3)) ** 2 < 1, coat)
    put(((x - middle) / (size * 0.85)) ** 2 + ((y - top - 8) / (size * 1.15)) ** 2 < 1, skin)
    for way in (-1, 1):
        put(((x - middle - way * 0.34 * size) / 7) ** 2 + ((y - top) / 4) ** 2 < 1, np.array((40, 30, 30)))
    put(((x - middle) / (0.3 * size)) ** 2 + ((y - top - 0.6 * size) / 4) ** 2 < 1, np.array((150, 60, 60)))
    return (image + rng.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)


def cartoon(rng: np.random.Generator, body: str, place: tuple[float, float] | None) -> np.ndarray:
    """Flat colours with black outlines: sky or wall, hills, houses, trees; and a body of one of `PAINTS`.

    Its middle is at `place`, shares of width and height; None: no body.
    """
    image = np.full((ROWS, COLUMNS, 3), _colour(rng, 120, 255), np.uint8)
    floor = int(ROWS * rng.uniform(0.5, 0.75))
    for _ in range(int(rng.integers(1, 5))):
        at, high = int(rng.integers(0, COLUMNS)), int(rng.integers(20, 110))
        corners = np.array([[at - 90, floor], [at, floor - high], [at + 90, floor]])
        _filled(image, corners, _colour(rng, 60, 200))
    image[floor:] = _colour(rng, 60, 220)
    cv2.line(image, (0, floor), (COLUMNS, floor), (0, 0, 0), 3)
    for _ in range(int(rng.integers(2, 6))):
        at, wide, high = (int(rng.integers(*span)) for span in ((0, COLUMNS), (14, 40), (30, 120)))
        corners = np.array(
            [[at, floor + 8], [at, floor - high], [at + wide, floor - high], [at + wide, floor + 8]]
        )
        _filled(image, corners, _colour(rng, 90, 220))
    if place is not None:
        x, y = int(place[0] * COLUMNS), int(place[1] * ROWS)
        for shape, down in (((34, 46), 20), ((26, 26), -42)):
            cv2.ellipse(image, (x, y + down), shape, 0, 0, 360, PAINTS[body], -1, cv2.LINE_AA)
            cv2.ellipse(image, (x, y + down), shape, 0, 0, 360, (0, 0, 0), 3, cv2.LINE_AA)
        for way in (-9, 9):
            cv2.circle(image, (x + way, y - 46), 5, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(image, (x + way, y - 46), 2, (0, 0, 0), -1, cv2.LINE_AA)
    return image


def _filled(image: np.ndarray, corners: np.ndarray, colour: tuple[int, int, int]) -> None:
    cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    cv2.polylines(image, [corners.astype(np.int32)], True, (0, 0, 0), 2, cv2.LINE_AA)


STILLS: Mapping[str, Callable[[np.random.Generator], np.ndarray]] = {
    "noise": noise,
    "gradient": gradient,
    "checkerboard": checkerboard,
    "test card": test_card,
    "slide": slide,
    "leaves": leaves,
    "drawn portrait": portrait,
}
"""Kinds of still images."""

_HALF = np.array([4.0, 1.6, 7.0])  # metres from the middle of the room to its walls


class Room:
    """Textured boxes on the floor of a room; a lamp at the ceiling. One ray a pixel."""

    def __init__(self, rng: np.random.Generator) -> None:
        number = int(rng.integers(2, 6))
        size = rng.uniform(0.25, 0.8, (number, 3))
        middle = np.stack(
            [rng.uniform(-2.5, 2.5, number), size[:, 1] - _HALF[1], rng.uniform(0, 4.5, number)], 1
        )
        self.low, self.high = middle - size, middle + size
        self.paint = rng.uniform(0.15, 0.95, (number + 1, 2, 3))
        self.side = rng.uniform(0.15, 0.6, number + 1)
        self.lamp = np.array([rng.uniform(-2, 2), 1.4, rng.uniform(-2, 3)])

    def seen(
        self, rows: int, columns: int, *, at: np.ndarray, pan: float, tilt: float, roll: float, zoom: float
    ) -> np.ndarray:
        """Draw it from a place (3,) in metres, turned by radians, at exp(zoom) of the usual focal length."""
        unit = min(rows, 0.8 * columns)
        y, x = np.mgrid[:rows, :columns].astype(np.float64)
        right, up = (x + 0.5 - columns / 2) / unit, (rows / 2 - y - 0.5) / unit
        right, up = right * np.cos(roll) + up * np.sin(roll), up * np.cos(roll) - right * np.sin(roll)
        ahead = np.full_like(right, 1.2 * np.exp(zoom))
        up, ahead = up * np.cos(tilt) + ahead * np.sin(tilt), ahead * np.cos(tilt) - up * np.sin(tilt)
        right, ahead = right * np.cos(pan) + ahead * np.sin(pan), ahead * np.cos(pan) - right * np.sin(pan)
        ray = np.stack([right, up, ahead], axis=-1)
        ray = np.where(np.abs(ray) < 1e-6, 1e-6, ray)
        near, owner = ((np.sign(ray) * _HALF - at) / ray).min(axis=-1), np.zeros(ray.shape[:2], int)
        for k, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            sides = np.stack([(low - at) / ray, (high - at) / ray])
            first, last = sides.min(axis=0).max(axis=-1), sides.max(axis=0).min(axis=-1)
            hit = (first < last) & (first > 0.05) & (first < near)
            near, owner = np.where(hit, first, near), np.where(hit, k + 1, owner)
        place = at + near[..., None] * ray
        middle = np.concatenate([np.zeros((1, 3)), (self.low + self.high) / 2])[owner]
        half = np.concatenate([_HALF[None], (self.high - self.low) / 2])[owner]
        face = np.abs((place - middle) / half).argmax(axis=-1)
        normal = np.eye(3)[face] * np.sign(np.take_along_axis(place - middle, face[..., None], -1))
        normal[owner == 0] *= -1
        cell = np.floor(place / self.side[owner][..., None] + 0.37).astype(int)
        cell = cell * (1 - np.eye(3, dtype=int)[face])
        paint = np.where((cell.sum(axis=-1) % 2)[..., None] > 0, self.paint[owner, 0], self.paint[owner, 1])
        to_lamp = self.lamp - place
        distance = np.linalg.norm(to_lamp, axis=-1)
        lit = np.clip((normal * to_lamp).sum(axis=-1) / distance, 0, 1) / (0.4 + 0.12 * distance**2)
        image = paint * (0.25 + lit)[..., None]
        return (255 * image.clip(0, 1) ** 0.8).astype(np.uint8)
