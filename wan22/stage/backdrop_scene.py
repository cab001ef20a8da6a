"""From labels to a world: where things are in every frame, and what colours they have.

World axes: x to the right, y up, z away from the camera; the subject rests near the origin, on the ground
y = 0.
One `unit` is the short reference length of the frame, min(height, 0.8 width) pixels: apparent sizes and
movements are given in units, so every aspect shows the same shot. Every number has a small variation per
clip. It knows nothing of pixels' values: `render.py` draws what is planned here.

How each label shows: `shot` is the subject's height in units (0.50, 0.30, 0.17; a slender cone a tenth more).
`size` is read from the horizon, as in life: the camera always stands 0.84 high, so the small subject (0.8)
stays under the horizon and the large one (2.0) rises far above it. `camera` is a true yaw or a true approach.
`tone` is a grade of the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wan22.stage.backdrop_labels import AXES, Shot

CAMERA_HEIGHT = 0.84
FOCAL = 2.5  # in units; long enough that a box keeps its proportions
PROPS = 4
CLOUDS = 4
_DRAWS = 64

_Colour = tuple[float, float, float]

_SUBJECT: dict[str, _Colour] = {
    "red": (0.88, 0.09, 0.10),
    "orange": (0.98, 0.46, 0.05),
    "yellow": (0.98, 0.87, 0.14),
    "green": (0.06, 0.66, 0.30),
    "blue": (0.12, 0.31, 0.92),
    "purple": (0.58, 0.16, 0.80),
}
_GROUND: dict[str, tuple[_Colour, _Colour]] = {
    "meadow": ((0.56, 0.67, 0.38), (0.41, 0.54, 0.29)),
    "desert": ((0.88, 0.76, 0.56), (0.74, 0.61, 0.44)),
    "snow": ((0.95, 0.97, 1.00), (0.72, 0.79, 0.90)),
}
_PROP: dict[str, _Colour] = {
    "meadow": (0.30, 0.42, 0.26),
    "desert": (0.50, 0.44, 0.34),
    "snow": (0.34, 0.45, 0.46),
}
_HILL: dict[str, _Colour] = {
    "meadow": (0.42, 0.54, 0.40),
    "desert": (0.70, 0.57, 0.46),
    "snow": (0.84, 0.89, 0.96),
}
_SKY: dict[str, dict[str, _Colour]] = {
    "day": {
        "zenith": (0.30, 0.56, 0.90),
        "horizon": (0.80, 0.89, 0.95),
        "sun": (0.62, 0.60, 0.54),
        "ambient": (0.42, 0.45, 0.50),
        "disc": (1.0, 0.97, 0.80),
        "cloud": (0.98, 0.98, 1.0),
    },
    "sunset": {
        "zenith": (0.50, 0.40, 0.58),
        "horizon": (0.99, 0.70, 0.48),
        "sun": (0.66, 0.51, 0.36),
        "ambient": (0.38, 0.36, 0.42),
        "disc": (1.0, 0.88, 0.60),
        "cloud": (0.98, 0.66, 0.58),
    },
    "night": {
        "zenith": (0.05, 0.07, 0.17),
        "horizon": (0.15, 0.20, 0.35),
        "sun": (0.40, 0.42, 0.47),
        "ambient": (0.22, 0.24, 0.29),
        "disc": (0.92, 0.94, 0.98),
        "cloud": (0.20, 0.24, 0.38),
    },
}
_GRADE: dict[str, _Colour] = {"warm": (1.10, 0.99, 0.80), "cool": (0.84, 0.99, 1.12)}
_HEIGHT = {"small": 0.8, "large": 2.0}
_SHARE = {"close-up": 0.50, "medium": 0.30, "wide": 0.17}
_BOUNCE = {"close-up": 0.20, "medium": 0.22, "wide": 0.20}  # apex in units


class Scene(NamedTuple):
    """A planned batch. Shapes: (b, 1, 1, 1, 1) fixed, (b, 1, T, 1, 1) moving, (b, 3, 1, 1, 1) colours.

    Lengths are world lengths, angles radians; `horizon` is a row in pixels, `focal` a length in pixels.
    """

    focal: Tensor
    horizon: Tensor
    camera_z: Tensor
    yaw: Tensor
    height: Tensor
    x: Tensor
    y: Tensor
    turn: Tensor
    roll: Tensor
    other_x: Tensor
    other_radius: Tensor
    light: Tensor  # (b, 3, 1, 1, 1): unit vector to the light
    sun_azimuth: Tensor
    sun_elevation: Tensor
    night: Tensor
    period: Tensor
    phase: Tensor  # (b, 4, 1, 1, 1)
    meadow: Tensor
    desert: Tensor
    snow: Tensor
    prop_x: Tensor  # (b, PROPS, 1, 1, 1)
    prop_z: Tensor
    prop_height: Tensor
    cloud_azimuth: Tensor  # (b, CLOUDS, 1, 1, 1)
    cloud_elevation: Tensor
    subject: Tensor
    other: Tensor
    ground: Tensor
    ground_dark: Tensor
    prop: Tensor
    hill: Tensor
    zenith: Tensor
    horizon_colour: Tensor
    sun: Tensor
    ambient: Tensor
    disc: Tensor
    cloud: Tensor
    grade: Tensor


class _Draws:
    """Uniform numbers per clip, taken in a fixed order; clip i does not depend on how many follow."""

    def __init__(self, count: int, seed: int) -> None:
        self._values = torch.rand(count, _DRAWS, generator=torch.Generator().manual_seed(seed))
        self._next = 0

    def __call__(self, low: float, high: float, count: int = 1) -> Tensor:
        values = self._values[:, self._next : self._next + count]
        self._next += count
        if values.shape[1] < count:
            raise AssertionError("raise _DRAWS")
        return (low + (high - low) * values)[:, :, None, None, None]

    def sign(self) -> Tensor:
        return torch.where(self(0, 1) < 0.5, -1.0, 1.0)


def plan(shots: Sequence[Shot], *, height: int, width: int, frames: int, fps: float, seed: int) -> Scene:
    """Place everything for every frame of every shot. Pure arithmetic on the CPU."""
    draw = _Draws(len(shots), seed)
    unit = min(height, 0.8 * width)
    seconds = torch.arange(frames, dtype=torch.float32).view(1, 1, -1, 1, 1) / fps
    duration = max((frames - 1) / fps, 1e-6)
    along = seconds / duration - 0.5  # -1/2 .. 1/2 over the clip

    size = _numbers(shots, "size", _HEIGHT) * draw(0.96, 1.04)
    share = _numbers(shots, "shot", _SHARE) * draw(0.95, 1.05) * (1 + 0.1 * _is(shots, "shape", "cone"))
    distance = size * FOCAL / share
    metre = distance / FOCAL  # world length of one unit at the subject

    travel = min(1.0, duration / 2) * draw(0.26, 0.34) * min(1.0, width / (1.5 * unit))
    pan = _is(shots, "camera", "pan right") - _is(shots, "camera", "pan left")
    yaw = pan * travel / FOCAL * along
    dolly = _is(shots, "camera", "dolly in") - _is(shots, "camera", "dolly out")
    approach = min(1.0, duration / 2) * draw(0.32, 0.40)
    camera_z = -distance * torch.exp(-dolly * approach * along)

    body = _motion(shots, draw, seconds, duration, size, metre, share, travel)
    base_row = 0.535 + 0.5 * share * unit / height + draw(-0.015, 0.015)
    horizon = base_row * height - CAMERA_HEIGHT / metre * unit

    side = _is(shots, "light", "right") - _is(shots, "light", "left")
    elevation = draw(0.50, 0.75)
    azimuth = side * draw(1.15, 1.35)
    light = torch.cat(
        [elevation.cos() * azimuth.sin(), elevation.sin(), -elevation.cos() * azimuth.cos()], dim=1
    )
    half_view = width / unit / 2 / FOCAL
    # The disc hangs inside the picture on the light's side; a liberty of picture books that shows the label.
    sun_azimuth = side * (half_view - (0.21 + draw(0.0, 0.06)) / FOCAL)
    sky_room = horizon / unit / FOCAL
    sun_elevation = torch.minimum(sky_room * draw(0.45, 0.62), torch.tensor(0.17))

    prop_side = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, PROPS, 1, 1, 1)
    prop_z = draw(14, 40, PROPS)
    prop_x = prop_side * draw(0.30, 1.15, PROPS) * half_view * (prop_z + distance)

    look = {part: _colours(shots, "time", {k: v[part] for k, v in _SKY.items()}) for part in _SKY["day"]}
    surroundings = {name: _is(shots, "surroundings", name) for name in AXES["surroundings"]}
    return Scene(
        focal=torch.full_like(size, FOCAL * unit),
        horizon=horizon,
        camera_z=camera_z,
        yaw=yaw + draw(-0.01, 0.01),
        height=size,
        **body,
        light=light,
        sun_azimuth=sun_azimuth,
        sun_elevation=sun_elevation,
        night=_is(shots, "time", "night"),
        period=metre * draw(0.85, 1.1),
        phase=draw(0, 2 * math.pi, 4),
        **surroundings,
        prop_x=prop_x,
        prop_z=prop_z,
        prop_height=draw(1.9, 2.9, PROPS),
        cloud_azimuth=draw(-0.9, 0.9, CLOUDS) * (half_view + 0.1),
        cloud_elevation=draw(0.35, 0.95, CLOUDS) * sky_room,
        subject=_colours(shots, "colour", _SUBJECT) + draw(-0.03, 0.03, 3),
        other=_other_colour(shots, draw),
        ground=_colours(shots, "surroundings", {k: v[0] for k, v in _GROUND.items()}) * draw(0.97, 1.02),
        ground_dark=_colours(shots, "surroundings", {k: v[1] for k, v in _GROUND.items()}),
        prop=_colours(shots, "surroundings", _PROP),
        hill=_colours(shots, "surroundings", _HILL),
        zenith=look["zenith"] * draw(0.95, 1.05),
        horizon_colour=look["horizon"],
        sun=look["sun"] * draw(0.95, 1.05),
        ambient=look["ambient"],
        disc=look["disc"],
        cloud=look["cloud"],
        grade=_colours(shots, "tone", _GRADE),
    )


def _motion(
    shots: Sequence[Shot],
    draw: _Draws,
    seconds: Tensor,
    duration: float,
    size: Tensor,
    metre: Tensor,
    share: Tensor,
    travel: Tensor,
) -> dict[str, Tensor]:
    """Where the subject and the other body are, and how they are turned, in every frame."""
    along = seconds / duration - 0.5
    place = draw(-0.03, 0.03) * metre
    heading = _is(shots, "action", "roll right") - _is(shots, "action", "roll left")
    x = place + heading * metre * travel * draw(0.95, 1.15) * along

    # Free fall between contacts: height 4 a p (1 - p), p the share of the period since the last contact.
    apex = _numbers(shots, "shot", _BOUNCE) * metre * draw(0.92, 1.08)
    since = torch.remainder(seconds / draw(1.4, 1.6) + draw(0, 1), 1.0)
    y = _is(shots, "action", "bounce") * apex * 4 * since * (1 - since)

    spin = _is(shots, "action", "spin") * draw.sign() * draw(1.7, 2.1)
    shapes_yaw = torch.where(_is(shots, "shape", "cube") > 0, draw(0.35, 0.6), draw(-0.35, 0.35))
    turn = shapes_yaw * draw.sign() + spin * seconds

    # A collision: the other ball comes at speed v; momentum is kept, with restitution 0.8 and equal masses.
    collide = _is(shots, "action", "collide")
    side = draw.sign()  # +1: it comes from the right
    speed = metre * draw(0.26, 0.32) * min(1.0, 2 / duration)  # world length a second; slower in a long clip
    hit = duration * draw(0.42, 0.52)
    after = (seconds - hit).clamp(min=0)
    radius = 0.42 * size
    reach = _reach(shots, size, turn, radius)
    subject_shift = side * (0.10 * metre - 0.9 * speed * after)
    other_shift = side * (0.10 * metre + reach + speed * (hit - seconds).clamp(min=0) - 0.1 * speed * after)
    x = x + collide * subject_shift
    return {
        "x": x,
        "y": y,
        "turn": turn,
        "roll": -(x - place) / (0.5 * size),
        "other_x": torch.where(collide > 0, place + other_shift, torch.tensor(1e4)),
        "other_radius": radius,
    }


def _reach(shots: Sequence[Shot], size: Tensor, turn: Tensor, radius: Tensor) -> Tensor:
    """Distance of the two centres at contact, along x, for a ball of `radius` resting on the same ground."""
    ball = 2 * (0.5 * size * radius).sqrt()
    cube = BOX * size * (turn.cos().abs() + turn.sin().abs()) + radius
    slope = CONE  # base radius over height
    cone = slope * (size - radius) + radius * math.sqrt(1 + slope * slope)
    is_cube, is_cone = _is(shots, "shape", "cube"), _is(shots, "shape", "cone")
    return torch.where(is_cube > 0, cube, torch.where(is_cone > 0, cone, ball))


BOX = 0.45  # half an edge over the subject's height
CONE = 0.46  # base radius over the subject's height


def _other_colour(shots: Sequence[Shot], draw: _Draws) -> Tensor:
    names = AXES["colour"]
    steps = (2 + draw(0, 3)).flatten().floor().int().tolist()  # two to four colours further: never alike
    picked = [
        names[(names.index(s.colour) + step) % len(names)] for s, step in zip(shots, steps, strict=True)
    ]
    return _rows([_SUBJECT[name] for name in picked])


def _is(shots: Sequence[Shot], axis: str, value: str) -> Tensor:
    return torch.tensor([float(getattr(s, axis) == value) for s in shots]).view(-1, 1, 1, 1, 1)


def _numbers(shots: Sequence[Shot], axis: str, table: dict[str, float]) -> Tensor:
    return torch.tensor([table[getattr(s, axis)] for s in shots]).view(-1, 1, 1, 1, 1)


def _colours(shots: Sequence[Shot], axis: str, table: dict[str, _Colour]) -> Tensor:
    return _rows([table[getattr(s, axis)] for s in shots])


def _rows(colours: Sequence[_Colour]) -> Tensor:
    return torch.tensor(colours).view(-1, 3, 1, 1, 1)
