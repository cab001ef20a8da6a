"""The world behind a puppet: sky, hills, ground and trees by analytic rays, for a level camera that pans or dollies.

Every silhouette has a signed margin (how far inside it a ray passes), so the share of a pixel that it covers follows
without supersampling. Tensors are (b, c, T, H, W) with size 1 where a value does not change. World axes: x to the
right, y up, z away from the camera. `nano-s2v` learned this world, so its numbers stay as they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wan22.stage.outline import arc, edge
from wan22.stage.palette import GRADE, GROUND, HILL, PROP, SKY, Colour

CAMERA_HEIGHT = 0.84
FOCAL = 2.5  # in units of min(height, 0.8 width) pixels
PROPS = 4
CLOUDS = 4
_DRAWS = 64
_FAR = 400.0
_SKY: dict[str, dict[str, Colour]] = {
    "day": SKY["day"],
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


class Backdrop(NamedTuple):
    """One planned world. Shapes: (1, 1, 1, 1, 1) fixed, (1, 1, T, 1, 1) moving, (1, 3, 1, 1, 1) colours."""

    focal: Tensor
    horizon: Tensor  # a row in pixels
    camera_z: Tensor
    yaw: Tensor
    light: Tensor
    sun_azimuth: Tensor
    sun_elevation: Tensor
    night: Tensor
    period: Tensor
    phase: Tensor  # (1, 4, 1, 1, 1)
    meadow: Tensor
    desert: Tensor
    snow: Tensor
    prop_x: Tensor  # (1, PROPS, 1, 1, 1)
    prop_z: Tensor
    prop_height: Tensor
    cloud_azimuth: Tensor  # (1, CLOUDS, 1, 1, 1)
    cloud_elevation: Tensor
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


def plan_backdrop(
    surroundings: str, time: str, light: str, tone: str, *, height: int, width: int, seed: int
) -> Backdrop:
    """Draw the world of a seed; where the camera is and looks is for the caller to say (`camera_z`, `yaw`)."""
    drawn = torch.rand(1, _DRAWS, generator=torch.Generator().manual_seed(seed))

    def draw(at: int, low: float, high: float, count: int = 1) -> Tensor:
        return (low + (high - low) * drawn[:, at : at + count])[:, :, None, None, None]

    def colour(value: Colour) -> Tensor:
        return torch.tensor(value).view(1, 3, 1, 1, 1)

    def flag(is_so: bool) -> Tensor:
        return torch.full((1, 1, 1, 1, 1), float(is_so))

    unit = min(height, 0.8 * width)
    size = torch.full((1, 1, 1, 1, 1), 2.0) * draw(0, 0.96, 1.04)
    share = torch.full((1, 1, 1, 1, 1), 0.50) * draw(1, 0.95, 1.05)
    distance = size * FOCAL / share
    metre = distance / FOCAL
    side = flag(light == "right") - flag(light == "left")
    elevation = draw(18, 0.50, 0.75)
    azimuth = side * draw(19, 1.15, 1.35)
    half_view = width / unit / 2 / FOCAL
    horizon = torch.full((1, 1, 1, 1, 1), 0.40 * height)
    base_row = 0.535 + 0.5 * share * unit / height + draw(17, -0.015, 0.015)
    sky_room = (base_row * height - CAMERA_HEIGHT / metre * unit) / unit / FOCAL
    prop_side = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, PROPS, 1, 1, 1)
    prop_z = draw(22, 14, 40, PROPS)
    look = _SKY[time]
    return Backdrop(
        focal=torch.full_like(size, FOCAL * unit),
        horizon=horizon,
        camera_z=-distance,
        yaw=torch.zeros_like(size),
        light=torch.cat(
            [elevation.cos() * azimuth.sin(), elevation.sin(), -elevation.cos() * azimuth.cos()], dim=1
        ),
        # The disc hangs inside the image on the light's side; a liberty of image books that shows the label.
        sun_azimuth=side * (half_view - (0.21 + draw(20, 0.0, 0.06)) / FOCAL),
        sun_elevation=torch.minimum(sky_room * draw(21, 0.45, 0.62), torch.tensor(0.17)),
        night=flag(time == "night"),
        period=metre * draw(31, 0.85, 1.1),
        phase=draw(32, 0, 2 * math.pi, 4),
        meadow=flag(surroundings == "meadow"),
        desert=flag(surroundings == "desert"),
        snow=flag(surroundings == "snow"),
        prop_x=prop_side * draw(26, 0.30, 1.15, PROPS) * half_view * (prop_z + distance),
        prop_z=prop_z,
        prop_height=draw(36, 1.9, 2.9, PROPS),
        cloud_azimuth=draw(40, -0.9, 0.9, CLOUDS) * (half_view + 0.1),
        cloud_elevation=draw(44, 0.35, 0.95, CLOUDS) * sky_room,
        ground=colour(GROUND[surroundings][0]) * draw(52, 0.97, 1.02),
        ground_dark=colour(GROUND[surroundings][1]),
        prop=colour(PROP[surroundings]),
        hill=colour(HILL[surroundings]),
        zenith=colour(look["zenith"]) * draw(53, 0.95, 1.05),
        horizon_colour=colour(look["horizon"]),
        sun=colour(look["sun"]) * draw(54, 0.95, 1.05),
        ambient=colour(look["ambient"]),
        disc=colour(look["disc"]),
        cloud=colour(look["cloud"]),
        grade=colour(GRADE[tone]),
    )


class Rays(NamedTuple):
    """One ray a pixel from the camera at (0, CAMERA_HEIGHT, z); directions have forward depth 1."""

    u: Tensor  # (1, 1, 1, 1, W)
    v: Tensor  # (1, 1, 1, H, 1), up
    azimuth: Tensor  # (1, 1, T, 1, W)
    dx: Tensor  # (1, 1, T, 1, W)
    dz: Tensor


def draw_backdrop(s: Backdrop, height: int, width: int) -> tuple[Rays, Tensor]:
    """The rays of every pixel, and what they see, (1, 3, T, H, W) before the grade."""
    column = torch.arange(width, dtype=torch.float32).view(1, 1, 1, 1, -1)
    row = torch.arange(height, dtype=torch.float32).view(1, 1, 1, -1, 1)
    u = (column + 0.5 - width / 2) / s.focal
    v = (s.horizon - row - 0.5) / s.focal
    sin, cos = s.yaw.sin(), s.yaw.cos()
    rays = Rays(u, v, u.atan() + s.yaw, u * cos + sin, cos - u * sin)
    return rays, _props(s, rays, _ground(s, rays, _sky(s, rays)))


def _sky(s: Backdrop, rays: Rays) -> Tensor:
    up = rays.v.clamp(min=0)
    image = torch.lerp(s.horizon_colour, s.zenith, 1 - (-9 * up).exp())
    mist = torch.zeros_like(rays.azimuth)
    for i in range(CLOUDS):
        a, e = s.cloud_azimuth[:, i : i + 1], s.cloud_elevation[:, i : i + 1]
        puff = (-(((rays.azimuth - a) / 0.07) ** 2)).exp() + (
            -(((rays.azimuth - a - 0.06) / 0.05) ** 2)
        ).exp()
        mist = mist + puff * (-(((rays.v - e) / 0.014) ** 2)).exp()
    image = torch.lerp(image, s.cloud, (0.8 * mist).clamp(0, 0.75))
    across, above = rays.azimuth - s.sun_azimuth, rays.v - s.sun_elevation
    squared = across * across + above * above
    glow = (0.55 - 0.3 * s.night) * (-squared * 260).exp()
    image = torch.lerp(image, s.disc, glow)
    radius = 0.026
    image = torch.lerp(image, s.disc, edge(radius - squared.sqrt(), 1.2 / s.focal))
    return _hills(s, rays, image)


def _hills(s: Backdrop, rays: Rays, image: Tensor) -> Tensor:
    """Two ranges on the horizon: round in the meadow, long in the desert, peaks in the snow."""
    light = s.ambient + 0.45 * s.sun
    for i, (depth, haze) in enumerate(((1.0, 0.55), (0.55, 0.3))):
        phase, other = s.phase[:, i : i + 1], s.phase[:, i + 2 : i + 3]
        wave = (rays.azimuth * (13 + 5 * i) + phase).sin() + 0.5 * (rays.azimuth * (29 + 8 * i) + other).sin()
        smooth = 0.5 + 0.3 * wave
        peaks = 1 - (rays.azimuth * (9 + 3 * i) + phase).sin().abs() + 0.1 * wave
        outline = depth * (s.meadow * 0.034 * smooth + s.desert * 0.022 * smooth + s.snow * 0.065 * peaks)
        colour = torch.lerp(s.hill * light, s.horizon_colour, haze)
        image = torch.lerp(image, colour, edge(outline - rays.v, 1.2 / s.focal))
    return image


def _ground(s: Backdrop, rays: Rays, image: Tensor) -> Tensor:
    depth = (CAMERA_HEIGHT / (-rays.v).clamp(min=CAMERA_HEIGHT / _FAR)).clamp(max=_FAR)
    x, z = depth * rays.dx, s.camera_z + depth * rays.dz
    k = 2 * torch.pi / s.period
    px, pz = k * x + s.phase[:, 0:1], k * z + s.phase[:, 1:2]
    sin_x, sin_z = px.sin(), (0.5 * pz).sin()
    wave = s.meadow * sin_x * sin_z * 1.3 + s.desert * (pz * 0.6 + 1.1 * (0.5 * px).sin()).sin()
    wave = wave + s.snow * 0.5 * (sin_x + sin_z + 0.6 * sin_x * sin_z)
    # A pattern finer than a few pixels would only shimmer: it fades into the mean.
    footprint = depth * depth / (CAMERA_HEIGHT * s.focal)
    wave = wave * (-((2.2 * footprint / s.period) ** 2)).exp()
    colour = torch.lerp(s.ground_dark, s.ground, (0.5 + 0.5 * wave).clamp(0, 1))

    colour = colour * (s.ambient + s.sun * (s.light[:, 1:2] + 0.25))
    colour = torch.lerp(colour, s.horizon_colour, 0.7 * (1 - (-depth / 90).exp()))
    return torch.lerp(image, colour, (0.5 - rays.v * s.focal).clamp(0, 1))


def _props(s: Backdrop, rays: Rays, image: Tensor) -> Tensor:
    """Trees, cacti or firs far behind: upright outlines, a half-width for every height."""
    sin, cos = s.yaw.sin(), s.yaw.cos()
    light = s.ambient + 0.5 * s.sun
    side = s.light[:, 0:1]
    for i in range(PROPS):
        x, z, tall = s.prop_x[:, i : i + 1], s.prop_z[:, i : i + 1], s.prop_height[:, i : i + 1]
        away = z - s.camera_z
        depth = away * cos + x * sin
        left = (x * cos - away * sin) / depth
        across = (rays.u - left) * depth
        h = (CAMERA_HEIGHT + rays.v * depth) / tall  # 0 at the foot, 1 at the top
        trunk = torch.where((h > 0) & (h < 0.5), 0.05, -1.0)
        crown = arc(0.115 - (h - 0.66) ** 2) * 1.1
        cactus = torch.where(h > 0, arc(0.01 - (h - 0.9).clamp(min=0) ** 2), -1.0) * 1.2
        fir = torch.where((h > 0.14), 0.36 * (1 - h), -1.0)
        half = s.meadow * torch.maximum(crown, trunk) + s.desert * cactus + s.snow * torch.maximum(fir, trunk)
        shading = (1 + 0.9 * side * across / tall).clamp(0.6, 1.4)
        colour = torch.lerp(s.prop * light * shading, s.horizon_colour, 0.25)
        image = torch.lerp(image, colour, edge(half * tall - across.abs(), 1.3 * depth / s.focal))
    return image
