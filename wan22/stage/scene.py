"""From labels to a world: where camera, light and bodies are at every moment, and what colours things have.

World axes: x to the right, y up, z away from the camera's first place. The subject is one metre high and rests near
the origin, on the ground y = 0. One `unit` of the image is min(height, 0.8 width) pixels: apparent sizes and
movements are given in units, so that every aspect shows the same shot. Every number varies a little from clip to clip.
It knows nothing of pixels' values: `render.py` draws what is planned here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wan22.stage.labels import Shot
from wan22.stage.palette import GRADE, GROUND, HILL, PAINT, PROP, SKY, Colour

PROPS = 4
CLOUDS = 4
_DRAWS = 96

SHARE = {"extreme-close-up": 0.92, "close-up": 0.58, "medium": 0.36, "wide": 0.215, "extreme-wide": 0.125}
"""Height of the subject in units."""
FOCAL = {"normal-lens": 1.8, "wide-angle": 0.9, "telephoto": 5.0, "fisheye": 0.8}
"""Focal length in units: a full-frame 35 mm camera has 24 mm to the unit, so 43, 22, 120 and 19 mm."""

_EYE, _LOW = 0.85, 0.10  # metres above the ground
_RISE = {"high-angle": 0.58, "overhead": 1.38}  # radians over the horizon
_AIM = {"low-angle": -0.17}  # where the subject stands in the image, units over its middle
_TRAVEL, _PAN, _TILT, _TRUCK, _CRANE = (
    0.36,
    0.34,
    0.28,
    0.36,
    0.34,
)  # units over a clip of two seconds or more
_DOLLY, _ZOOM, _ORBIT, _ROLL = 0.42, 0.42, 0.75, 0.5  # logarithms of the scale; radians
_LIGHT = {  # azimuth from the camera's axis (0 is ahead, behind the subject; to the right positive), elevation
    "left": (-1.35, 0.60),
    "right": (1.35, 0.60),
    "backlight": (0.16, 0.22),
    "front": (2.75, 0.75),
    "top-light": (0.5, 1.40),
}


class Scene(NamedTuple):
    """A planned batch. Shapes: (b, 1, 1, 1, 1) fixed, (b, 1, T, 1, 1) moving, (b, 3, 1, 1, 1) colours.

    Lengths are metres, angles radians; `focal` is in units. Yaw is to the right, pitch up, roll clockwise as the
    camera's operator sees it.
    """

    camera_x: Tensor
    camera_y: Tensor
    camera_z: Tensor
    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    focal: Tensor
    fisheye: Tensor
    distance: Tensor
    metre: Tensor  # metres to the unit at the subject
    x: Tensor
    y: Tensor
    turn: Tensor
    rolled: Tensor
    stride: Tensor  # swing of an articulated subject's legs
    other_x: Tensor
    other_radius: Tensor
    light: Tensor  # (b, 3, 1, 1, 1): unit vector to the light
    soft: Tensor  # 0 hard .. 1 soft
    lamp: Tensor  # 1 where a lamp stands in the image
    lamp_x: Tensor
    lamp_y: Tensor
    lamp_z: Tensor
    overcast: Tensor
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
    glossy: Tensor
    striped: Tensor
    subject: Tensor
    other: Tensor
    ground: Tensor
    ground_dark: Tensor
    prop: Tensor
    hill: Tensor
    zenith: Tensor
    horizon: Tensor
    sun: Tensor
    ambient: Tensor
    disc: Tensor
    cloud: Tensor
    grade: Tensor
    saturation: Tensor
    contrast: Tensor
    shallow: Tensor

    def at(self, moment: int, of: int) -> Scene:
        """The scene at one of `of` moments within every frame."""
        return Scene(*(part[:, :, moment::of] if part.shape[2] > 1 else part for part in self))


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


class _Clock(NamedTuple):
    seconds: Tensor  # (1, 1, T, 1, 1)
    duration: float

    @property
    def along(self) -> Tensor:
        """-1/2 .. 1/2 over the clip."""
        return self.seconds / self.duration - 0.5

    @property
    def pace(self) -> float:
        """Movements are whole in two seconds or more, and smaller in a shorter clip."""
        return min(1.0, self.duration / 2)


def plan(
    shots: Sequence[Shot], *, height: int, width: int, frames: int, fps: float, seed: int, moments: int = 1
) -> Scene:
    """Place everything at every moment of every shot. Pure arithmetic on the CPU.

    With `moments` above 1 every frame is planned that many times over its open shutter, which is half a frame long.
    """
    draw = _Draws(len(shots), seed)
    shutter = 0.5 * torch.arange(moments, dtype=torch.float32) / moments
    seconds = ((torch.arange(frames).unsqueeze(1) + shutter) / fps).view(1, 1, -1, 1, 1)
    clock = _Clock(seconds, max((frames - 1) / fps, 1e-6))
    unit = min(height, 0.8 * width)
    room = width / (1.6 * unit)  # 1 for an image of 16:10

    share = _numbers(shots, "shot_size", SHARE) * draw(0.95, 1.05)
    focal = _numbers(shots, "lens", FOCAL)
    fisheye = _is(shots, "lens", "fisheye")
    view = share / (2 * focal)
    distance = (
        0.5 / torch.where(fisheye > 0, view, view.atan()).sin()
    )  # where a ball of one metre fills its share
    metre = distance / focal
    body = _bodies(shots, draw, clock, metre, min(1.0, room))
    camera = _camera(shots, draw, clock, distance, metre, focal, body["x"], min(1.0, room))

    azimuth, rise = (_numbers(shots, "light_direction", {k: v[i] for k, v in _LIGHT.items()}) for i in (0, 1))
    back = _is(shots, "light_direction", "backlight")
    azimuth = azimuth + draw(-0.12, 0.12)
    azimuth = torch.where(back > 0, azimuth * draw.sign(), azimuth)
    rise = rise * draw(0.9, 1.1)
    light = torch.cat([rise.cos() * azimuth.sin(), rise.sin(), rise.cos() * azimuth.cos()], dim=1)
    overcast = _is(shots, "light_source", "overcast")
    soft = torch.maximum(_is(shots, "light_quality", "soft-light"), overcast)
    side = torch.where(azimuth > 0, 1.0, -1.0)

    half_view = 0.5 * width / unit
    prop_side = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, PROPS, 1, 1, 1)
    prop_depth = draw(2.2, 6.0, PROPS) * distance
    prop_x = prop_side * draw(0.25, 1.3, PROPS) * half_view / focal * (prop_depth + distance)
    prop_height = draw(0.13, 0.24, PROPS) * (prop_depth + distance) / focal

    look = {part: _colours(shots, "time", {k: v[part] for k, v in SKY.items()}) for part in SKY["day"]}
    grey = look["horizon"].mean(dim=1, keepdim=True)
    dull = lambda colour, by: torch.lerp(colour, grey.expand_as(colour), by * overcast)  # noqa: E731
    hard = 1 - soft
    return Scene(
        **camera,
        fisheye=fisheye,
        distance=distance,
        metre=metre,
        **body,
        light=light,
        soft=soft,
        lamp=_is(shots, "light_source", "practical"),
        lamp_x=side * draw(0.40, 0.50) * min(1.0, room) * metre,
        lamp_y=draw(0.26, 0.34) * metre + 0.5,
        lamp_z=0.25 * metre * draw(0.8, 1.2),
        overcast=overcast,
        night=_is(shots, "time", "night"),
        period=metre * draw(0.8, 1.05),
        phase=draw(0, 2 * math.pi, 4),
        meadow=_is(shots, "surroundings", "meadow"),
        desert=_is(shots, "surroundings", "desert"),
        snow=_is(shots, "surroundings", "snow"),
        prop_x=prop_x,
        prop_z=prop_depth,
        prop_height=prop_height,
        cloud_azimuth=draw(-1.2, 1.2, CLOUDS) * half_view / focal,
        cloud_elevation=draw(0.12, 0.42, CLOUDS) / focal,
        glossy=_is(shots, "material", "glossy"),
        striped=_is(shots, "material", "striped"),
        subject=_colours(shots, "colour", PAINT) + draw(-0.03, 0.03, 3),
        other=_other_colour(shots, draw),
        ground=_colours(shots, "surroundings", {k: v[0] for k, v in GROUND.items()}) * draw(0.97, 1.02),
        ground_dark=_colours(shots, "surroundings", {k: v[1] for k, v in GROUND.items()}),
        prop=_colours(shots, "surroundings", PROP),
        hill=_colours(shots, "surroundings", HILL),
        zenith=dull(look["zenith"], 0.8) * draw(0.95, 1.05),
        horizon=dull(look["horizon"], 0.7),
        sun=look["sun"] * draw(0.95, 1.05) * (0.86 + 0.30 * hard) * (1 - 0.72 * overcast),
        ambient=look["ambient"] * (1.05 - 0.14 * hard) * (1 + 0.28 * overcast),
        disc=look["disc"],
        cloud=dull(look["cloud"], 0.5),
        grade=_colours(shots, "tone", GRADE),
        saturation=_numbers(
            shots, "saturation", {"normal": 1.0, "high-saturation": 1.5, "low-saturation": 0.45}
        ),
        contrast=_numbers(shots, "contrast", {"normal": 1.0, "high-contrast": 1.45, "low-contrast": 0.6}),
        shallow=_is(shots, "focus", "shallow"),
    )


def _camera(
    shots: Sequence[Shot],
    draw: _Draws,
    clock: _Clock,
    distance: Tensor,
    metre: Tensor,
    focal: Tensor,
    subject_x: Tensor,
    room: float,
) -> dict[str, Tensor]:
    """Where the camera is and looks: on a sphere about the subject, turned so that the subject stands where the
    composition wants it, then moved.
    """

    def move(plus: str, minus: str) -> Tensor:
        ways = [(plus in s.moves) - (minus in s.moves) for s in shots]
        return torch.tensor(ways, dtype=torch.float32).view(-1, 1, 1, 1, 1) * amount * clock.along

    amount = clock.pace * draw(0.88, 1.12)
    rise = _numbers(shots, "camera_angle", _RISE, 0.0) * draw(0.97, 1.03)
    low = _is(shots, "camera_angle", "low-angle")
    ground = torch.where(low > 0, _LOW, _EYE) * draw(0.95, 1.05)
    above = torch.where(rise > 0, 0.5 + distance * rise.sin(), ground)
    aim_v = _numbers(shots, "camera_angle", _AIM, 0.0) + draw(-0.015, 0.015)
    aim_u = _numbers(shots, "composition", {"left-heavy": -0.30, "right-heavy": 0.30}, 0.0) * room
    aim_u = aim_u + draw(-0.015, 0.015)

    away = distance * (-move("dolly-in", "dolly-out") * _DOLLY).exp()
    around = move("orbit-right", "orbit-left") * _ORBIT
    flat = (away * away - (above - 0.5) ** 2).clamp(min=(0.15 * 0.15)).sqrt()
    flat = torch.where(rise > 0, away * rise.cos(), flat)
    above = torch.where(rise > 0, 0.5 + away * rise.sin(), above)
    x, z = flat * around.sin(), -flat * around.cos()

    truck = move("truck-right", "truck-left") * _TRUCK * room * metre
    follow = _is(shots, "camera", "follow") * subject_x
    x = x + truck + follow
    crane = move("crane-up", "crane-down") * _CRANE * metre
    # A camera cannot go under the ground: what would lie there is added above.
    lift = (0.06 - (above + crane).amin(dim=2, keepdim=True)).clamp(min=0) * (crane.abs().amax(2, True) > 0)

    yaw = -around - aim_u / focal + move("pan-right", "pan-left") * _PAN * room / focal
    down = ((0.5 - above) / flat).atan()
    pitch = down - aim_v / focal + move("tilt-up", "tilt-down") * _TILT / focal
    dutch = _is(shots, "camera_angle", "dutch-angle") * draw.sign() * draw(0.28, 0.40)
    roll = dutch + move("roll-clockwise", "roll-counterclockwise") * _ROLL
    shake = _is(shots, "grip", "handheld")
    yaw = yaw + shake * _tremble(draw, clock, 0.020) / focal
    pitch = pitch + shake * _tremble(draw, clock, 0.016) / focal
    roll = roll + shake * _tremble(draw, clock, 0.014)
    return {
        "camera_x": x,
        "camera_y": above + crane + lift,
        "camera_z": z,
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "focal": focal * (move("zoom-in", "zoom-out") * _ZOOM).exp(),
    }


def _tremble(draw: _Draws, clock: _Clock, size: float) -> Tensor:
    """A hand's unrest: three waves that never meet again, of 0.7 to 3 Hz."""
    total = torch.zeros(1)
    for hertz in (0.8, 1.7, 2.9):
        phase, speed = draw(0, 2 * math.pi), 2 * math.pi * hertz * draw(0.85, 1.15)
        total = total + (clock.seconds * speed + phase).sin() / hertz**0.5
    return size * total


def _bodies(
    shots: Sequence[Shot], draw: _Draws, clock: _Clock, metre: Tensor, room: float
) -> dict[str, Tensor]:
    """Where the subject and the other body are, and how they are turned."""
    travel = clock.pace * room * draw(0.9, 1.1) * _TRAVEL
    heading = _is(shots, "action", "travel-right") - _is(shots, "action", "travel-left")
    # One that is followed goes further: it does not leave the image.
    reach = torch.where(_is(shots, "camera", "follow") > 0, 1.6, 1.0)
    x = heading * metre * travel * reach * clock.along

    # Free fall between contacts: height 4 a p (1 - p), p the share of the period since the last contact.
    apex = draw(0.17, 0.23) * metre
    since = torch.remainder(clock.seconds / draw(1.2, 1.4) + draw(0, 1), 1.0)
    bounce = apex * 4 * since * (1 - since)
    y = _is(shots, "action", "bounce") * bounce + _is(shots, "action", "drop") * _drop(draw, clock, metre)

    spin = _is(shots, "action", "spin") * draw.sign() * draw(1.9, 2.4)
    robot = _is(shots, "subject", "robot")
    facing = torch.where(robot > 0, draw(0.8, 1.2), draw(0.25, 0.6)) * draw.sign()
    walks = robot * heading.abs()
    # A robot that walks looks where it goes.
    facing = torch.where(walks > 0, torch.where(heading > 0, 0.25, math.pi - 0.25), facing)

    # A collision: the other ball comes at speed v; momentum is kept, with restitution 0.8 and equal masses.
    collide = _is(shots, "action", "collide")
    side = draw.sign()  # +1: it comes from the right
    speed = metre * draw(0.30, 0.38) * min(1.0, 2 / clock.duration)
    hit = clock.duration * draw(0.40, 0.50)
    after = (clock.seconds - hit).clamp(min=0)
    radius = 0.40
    contact = radius + 0.5
    x = x + collide * side * (0.10 * metre - 0.9 * speed * after)
    other = side * (0.10 * metre + contact + speed * (hit - clock.seconds).clamp(min=0) - 0.1 * speed * after)
    return {
        "x": x,
        "y": y,
        "turn": facing + spin * clock.seconds,
        "rolled": -x / 0.5,
        "stride": walks * 0.55 * (x / 0.16).sin(),  # a step is half a metre: the feet do not slide
        "other_x": torch.where(collide > 0, other, torch.tensor(1e4)),
        "other_radius": torch.full_like(metre, radius),
    }


def _drop(draw: _Draws, clock: _Clock, metre: Tensor) -> Tensor:
    """A fall from rest, then hops with restitution 0.45 until it lies still: height over the ground."""
    start = draw(0.42, 0.5) * metre
    fall = draw(0.30, 0.36) * min(clock.duration, 3.0)  # seconds until the first contact
    t = clock.seconds
    height = (start * (1 - (t / fall) ** 2)).clamp(min=0)
    begun, part = fall, 0.45
    for _ in range(3):
        long = 2 * fall * part
        p = (t - begun) / long
        height = height + torch.where((p > 0) & (p < 1), start * part**2 * 4 * p * (1 - p), 0.0)
        begun, part = begun + long, part * 0.45
    return height


def _other_colour(shots: Sequence[Shot], draw: _Draws) -> Tensor:
    names = tuple(PAINT)
    steps = (2 + draw(0, 3)).flatten().floor().int().tolist()  # two to four colours further: never alike
    return _rows(
        [
            PAINT[names[(names.index(s.colour) + step) % len(names)]]
            for s, step in zip(shots, steps, strict=True)
        ]
    )


def _is(shots: Sequence[Shot], axis: str, value: str) -> Tensor:
    return torch.tensor([float(getattr(s, axis) == value) for s in shots]).view(-1, 1, 1, 1, 1)


def _numbers(shots: Sequence[Shot], axis: str, table: dict[str, float], other: float | None = None) -> Tensor:
    values = [table[getattr(s, axis)] if other is None else table.get(getattr(s, axis), other) for s in shots]
    return torch.tensor(values).view(-1, 1, 1, 1, 1)


def _colours(shots: Sequence[Shot], axis: str, table: dict[str, Colour]) -> Tensor:
    return _rows([table[getattr(s, axis)] for s in shots])


def _rows(colours: Sequence[Colour]) -> Tensor:
    return torch.tensor(colours).view(-1, 3, 1, 1, 1)
