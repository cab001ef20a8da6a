"""Draws planned scenes: one ray for each of four moments and places within a pixel, all clips of a batch at once.

The four samples of a pixel lie at different moments of the open shutter, so edges are smooth and motion blurs. Tensors
are (b, c, T, H, W) with size 1 where a value does not change. It knows no labels but the subject's kind, and no
randomness; those are `scene.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from wan22.errors import SizeError
from wan22.stage.bodies import (
    FAR,
    Hit,
    Pose,
    Vector,
    ball_hit,
    ball_margin,
    dot,
    subject_hit,
    subject_margin,
    vector,
)
from wan22.stage.labels import AXES, Shot
from wan22.stage.outline import arc, edge
from wan22.stage.palette import LAMP, STEM
from wan22.stage.scene import CLOUDS, PROPS, Scene, plan

_PLACES = ((-0.25, -0.25), (0.25, 0.25), (0.25, -0.25), (-0.25, 0.25))
_REACH = 400.0  # metres to which the ground is drawn


def render(
    shots: Sequence[Shot],
    *,
    height: int = 80,
    width: int = 128,
    frames: int = 17,
    fps: float = 8.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    compile: bool = False,
) -> Tensor:
    """Render one clip for every shot.

    Returns uint8 (b, T, H, W, 3) on `device`. The same shots, sizes and seed give the same clips; another
    seed gives other clips of the same labels. With `compile` the kernels are compiled once per size and kept
    (their rounding may move the edge of a body by a hair).
    Raises SizeError for sizes under 16 pixels, or no frames.
    """
    if height < 16 or width < 16 or frames < 1 or fps <= 0:
        raise SizeError(
            f"cannot render {width}x{height}, {frames} frames at {fps} fps: "
            "the stage needs at least 16x16 pixels, 1 frame and a positive frame rate"
        )
    clips = torch.empty(len(shots), frames, height, width, 3, dtype=torch.uint8, device=device)
    if not shots:
        return clips
    scene = plan(shots, height=height, width=width, frames=frames, fps=fps, seed=seed, moments=len(_PLACES))
    draw = _compiled() if compile else _layers
    # Small pieces stay in the CPU's cache; a GPU wants them large. All pieces are equally long (the last one
    # repeats its last clip), so that a compiled kernel is made once.
    piece = 1 if clips.device.type == "cpu" else 16
    for kind in AXES["subject"]:
        members = torch.tensor([i for i, shot in enumerate(shots) if shot.subject == kind], dtype=torch.long)
        for some in members.split(piece) if len(members) else ():
            padded = torch.cat([some, some[-1:].expand(piece - len(some))])
            part = Scene(*(values[padded].to(device) for values in scene))
            clips[some] = _image(part, kind, height, width, draw)[: len(some)]
    return clips


@cache
def _compiled() -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
    # A kernel for each kind of subject and size: past the limit, all later ones would run uncompiled, at a third of
    # the speed.
    setattr(torch._dynamo.config, "recompile_limit", 64)  # noqa: B010 - typed as the constant 8
    return torch.compile(_layers, dynamic=False)


def _image(
    scene: Scene, kind: str, height: int, width: int, draw: Callable[..., tuple[Tensor, ...]]
) -> Tensor:
    unit = min(height, 0.8 * width)
    sums: list[Tensor] = []
    places = torch.tensor(_PLACES, device=scene.focal.device)
    for i, (right, down) in enumerate(places):
        layers = draw(scene.at(i, len(_PLACES)), kind, height, width, unit, right, down)
        sums = [a + b for a, b in zip(sums, layers, strict=True)] if sums else list(layers)
    behind, before, cover, blur = (total / len(_PLACES) for total in sums)
    if bool(scene.shallow.any()):
        soft = _softened(behind, 0.045 * unit)
        behind = torch.lerp(behind, soft, blur * scene.shallow)
    image = _graded(scene, behind * (1 - cover) + before)
    return (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 4, 1)


def _softened(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur along rows and columns, (b, c, T, H, W)."""
    reach = int(2.5 * sigma) + 1
    kernel = (
        -((torch.arange(-reach, reach + 1, device=image.device, dtype=torch.float32) / sigma) ** 2) / 2
    ).exp()
    kernel = kernel / kernel.sum()
    b, c, t, h, w = image.shape
    flat = image.reshape(b * c * t, 1, h, w)
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))
    return flat.view(b, c, t, h, w)


def _graded(s: Scene, image: Tensor) -> Tensor:
    """The laboratory: tone, then saturation about the luminance (Rec. 709), then contrast about a middle grey."""
    image = image * s.grade
    weights = torch.tensor([0.2126, 0.7152, 0.0722], device=image.device).view(1, 3, 1, 1, 1)
    grey = (image * weights).sum(dim=1, keepdim=True)
    image = grey + (image - grey) * s.saturation
    return (image - 0.42) * s.contrast + 0.42


class _Rays(NamedTuple):
    """One unit ray a pixel, in world axes, from the camera."""

    o: Vector
    d: Vector
    azimuth: Tensor
    slope: Tensor  # tangent of the elevation
    pixel: Tensor  # angle between neighbouring pixels


def _rays(s: Scene, height: int, width: int, unit: float, right: Tensor, down: Tensor) -> _Rays:
    device = s.focal.device
    column = torch.arange(width, device=device, dtype=torch.float32).view(1, 1, 1, 1, -1)
    row = torch.arange(height, device=device, dtype=torch.float32).view(1, 1, 1, -1, 1)
    u = (column + 0.5 + right - width / 2) / unit
    v = (height / 2 - row - 0.5 - down) / unit
    # The operator's roll to the right turns the image to the left.
    sin, cos = s.roll.sin(), s.roll.cos()
    u, v = u * cos + v * sin, v * cos - u * sin
    far = (u * u + v * v).sqrt().clamp(min=1e-6)
    # A fisheye is equidistant: r = f theta. Every other lens is rectilinear: r = f tan(theta).
    angle = torch.where(s.fisheye > 0, (far / s.focal).clamp(max=3.0), (far / s.focal).atan())
    ahead, aside = angle.cos(), angle.sin() / far
    x, y, z = u * aside, v * aside, ahead
    sin, cos = s.pitch.sin(), s.pitch.cos()
    y, z = y * cos + z * sin, z * cos - y * sin
    sin, cos = s.yaw.sin(), s.yaw.cos()
    x, z = x * cos + z * sin, z * cos - x * sin
    flat = (x * x + z * z).sqrt().clamp(min=1e-6)
    origin = (s.camera_x, s.camera_y, s.camera_z)
    return _Rays(origin, (x, y, z), torch.atan2(x, z), y / flat, 1 / (s.focal * unit))


def _layers(
    s: Scene, kind: str, height: int, width: int, unit: float, right: Tensor, down: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Background, foreground times its cover, that cover, and how far out of focus the background is."""
    rays = _rays(s, height, width, unit, right, down)
    pose = Pose(s.x, s.y, s.turn, s.rolled, s.stride)
    sky = _props(s, rays, _hills(s, rays, _sky(s, rays)))
    ground, depth = _ground(s, rays, kind, pose)
    land = (0.5 - rays.slope / rays.pixel).clamp(0, 1)
    behind = torch.lerp(sky, ground, land)
    near = torch.where(rays.d[1] < 0, depth, _REACH)
    focus = (s.distance / near - 1).abs().clamp(0, 1)

    hit = subject_hit(kind, rays.o, rays.d, pose)
    stem = torch.tensor(STEM, device=s.subject.device).view(1, 3, 1, 1, 1)
    stripe = hit.stripe * (0.08 + 0.92 * s.striped)
    paint = torch.lerp(s.subject, stem, hit.second)
    paint = torch.lerp(paint, 0.25 * paint + 0.72, stripe * (1 - hit.second))
    colour = _lit(s, rays, hit, paint, s.glossy)

    aside = (rays.o[0] - s.other_x, rays.o[1] - s.other_radius, rays.o[2])
    t, normal = ball_hit(aside, rays.d, s.other_radius)
    other = Hit(t, normal, torch.zeros_like(t), torch.zeros_like(t))
    colour = torch.where(t < hit.t, _lit(s, rays, other, s.other, 0 * s.glossy), colour)
    t = torch.minimum(t, hit.t)

    bulb, glow = _lamp(s, rays)
    cover = (t < FAR).float()
    lamp = torch.tensor(LAMP, device=s.subject.device).view(1, 3, 1, 1, 1)
    behind = torch.lerp(behind, lamp, glow)
    hidden = (bulb > 0) & (t > s.distance * 1.15)
    colour = torch.where((bulb > 0) & ~(cover > 0) | hidden, lamp * 1.0, colour)
    cover = torch.maximum(cover, (bulb > 0).float())
    return behind, colour * cover, cover, focus


def _sky(s: Scene, rays: _Rays) -> Tensor:
    up = rays.d[1].clamp(min=0)
    image = torch.lerp(s.horizon, s.zenith, 1 - (-3.2 * up).exp())
    light: Vector = (s.light[:, 0:1], s.light[:, 1:2], s.light[:, 2:3])
    # The sky is brighter where the light comes from.
    toward = dot(rays.d, light)
    bright = (0.5 + 0.5 * toward).clamp(0, 1) ** 2 * (1 - s.overcast)
    image = image * (0.92 + 0.22 * bright)
    mist = torch.zeros_like(rays.azimuth)
    wide = 0.12 / s.focal
    for i in range(CLOUDS):
        a, e = s.cloud_azimuth[:, i : i + 1], s.cloud_elevation[:, i : i + 1]
        puff = (-(((rays.azimuth - a) / wide) ** 2)).exp()
        puff = puff + (-(((rays.azimuth - a - 0.8 * wide) / (0.7 * wide)) ** 2)).exp()
        mist = mist + puff * (-(((rays.slope - e) / (0.22 * wide)) ** 2)).exp()
    image = torch.lerp(image, s.cloud, (0.8 * mist).clamp(0, 0.75))
    clear = 1 - s.overcast
    off = (2 - 2 * toward).clamp(min=0).sqrt() * s.focal  # units
    glow = (0.55 - 0.3 * s.night) * (-(off**2) * 40).exp() * clear
    image = torch.lerp(image, s.disc, glow)
    return torch.lerp(image, s.disc, edge(0.055 - off, 0.02) * clear)


def _hills(s: Scene, rays: _Rays, image: Tensor) -> Tensor:
    """Two ranges on the horizon: round in the meadow, long in the desert, peaks in the snow."""
    light = s.ambient + 0.45 * s.sun
    for i, (depth, haze) in enumerate(((1.0, 0.55), (0.55, 0.3))):
        phase, other = s.phase[:, i : i + 1], s.phase[:, i + 2 : i + 3]
        wave = (rays.azimuth * (11 + 4 * i) + phase).sin() + 0.5 * (rays.azimuth * (23 + 6 * i) + other).sin()
        smooth = 0.5 + 0.3 * wave
        peaks = 1 - (rays.azimuth * (9 + 3 * i) + phase).sin().abs() + 0.1 * wave
        outline = depth * (s.meadow * 0.045 * smooth + s.desert * 0.03 * smooth + s.snow * 0.08 * peaks)
        colour = torch.lerp(s.hill * light, s.horizon, haze)
        image = torch.lerp(image, colour, edge(outline - rays.slope, 1.2 * rays.pixel))
    return image


def _props(s: Scene, rays: _Rays, image: Tensor) -> Tensor:
    """Trees, cacti or firs behind the subject: upright outlines, a half-width for every height."""
    light = s.ambient + 0.5 * s.sun
    for i in range(PROPS):
        x, z, tall = (part[:, i : i + 1] for part in (s.prop_x, s.prop_z, s.prop_height))
        away_x, away_z = x - s.camera_x, z - s.camera_z
        away = (away_x * away_x + away_z * away_z).sqrt()
        off = rays.azimuth - torch.atan2(away_x, away_z)
        across = away * off.clamp(-1.4, 1.4).tan()
        h = (
            s.camera_y + away / off.clamp(-1.4, 1.4).cos() * rays.slope
        ) / tall  # 0 at the foot, 1 at the top
        trunk = torch.where((h > 0) & (h < 0.5), 0.05, -1.0)
        crown = arc(0.115 - (h - 0.66) ** 2) * 1.1
        cactus = torch.where(h > 0, arc(0.01 - (h - 0.9).clamp(min=0) ** 2), -1.0) * 1.2
        fir = torch.where(h > 0.14, 0.36 * (1 - h), -1.0)
        half = s.meadow * torch.maximum(crown, trunk) + s.desert * cactus + s.snow * torch.maximum(fir, trunk)
        shading = (1 + 0.9 * s.light[:, 0:1] * across / tall).clamp(0.6, 1.4)
        colour = torch.lerp(s.prop * light * shading, s.horizon, 0.25)
        shape = edge(half * tall - across.abs(), 1.3 * away * rays.pixel) * (off.abs() < 1.2)
        image = torch.lerp(image, colour, shape)
    return image


def _ground(s: Scene, rays: _Rays, kind: str, pose: Pose) -> tuple[Tensor, Tensor]:
    depth = (s.camera_y / (-rays.d[1]).clamp(min=1e-5)).clamp(max=_REACH)
    x, z = rays.o[0] + depth * rays.d[0], rays.o[2] + depth * rays.d[2]
    k = 2 * torch.pi / s.period
    px, pz = k * x + s.phase[:, 0:1], k * z + s.phase[:, 1:2]
    sin_x, sin_z = px.sin(), (0.5 * pz).sin()
    wave = s.meadow * sin_x * sin_z * 1.3 + s.desert * (pz * 0.6 + 1.1 * (0.5 * px).sin()).sin()
    wave = wave + s.snow * 0.5 * (sin_x + sin_z + 0.6 * sin_x * sin_z)
    # A pattern finer than a few pixels would only shimmer: it fades into the mean.
    footprint = depth * rays.pixel / (-rays.d[1]).clamp(min=1e-3)
    wave = wave * (-((2.2 * footprint / s.period) ** 2)).exp()
    colour = torch.lerp(s.ground_dark, s.ground, (0.5 + 0.5 * wave).clamp(0, 1))
    shade, contact = _shadow(s, kind, pose, x, z)
    light = s.ambient + s.sun * (0.30 + 0.70 * s.light[:, 1:2]) * (1 - shade)
    light = light + _lamplight(s, (x, 0 * x, z), None)
    colour = colour * light * (1 - 0.35 * contact)
    haze = 0.7 * (1 - (-depth / (12 * s.distance + 30)).exp())
    return torch.lerp(colour, s.horizon, haze), depth


def _shadow(s: Scene, kind: str, pose: Pose, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Cast shadow (0..1) and contact shade (0..1) of both bodies at ground points."""
    light: Vector = (s.light[:, 0:1], s.light[:, 1:2], s.light[:, 2:3])
    zero = torch.zeros_like(x)
    penumbra = 0.05 + 0.45 * s.soft
    shade = edge(subject_margin(kind, (x, zero, z), light, pose), penumbra)
    beside = ball_margin((x - s.other_x, zero - s.other_radius, z), light, s.other_radius)
    shade = torch.maximum(shade, edge(beside, penumbra))
    contact = (-((x - s.x) ** 2 + z * z) / 0.30).exp() * (-s.y / 0.4).exp()
    contact = contact + (-((x - s.other_x) ** 2 + z * z) / (s.other_radius**2 * 1.2)).exp()
    return shade * shade * (3 - 2 * shade) * (1 - 0.35 * s.soft), contact


def _lamp(s: Scene, rays: _Rays) -> tuple[Tensor, Tensor]:
    """What a lamp's bulb and post cover (positive), and the glow around the bulb (0..1)."""
    to: Vector = (s.lamp_x - s.camera_x, s.lamp_y - s.camera_y, s.lamp_z - s.camera_z)
    away = dot(to, to).sqrt()
    off = (2 - 2 * (dot(to, rays.d) / away).clamp(-1, 1)).clamp(min=0).sqrt() * away / s.metre  # units
    glow = (0.75 * (-(off**2) * 70).exp()).clamp(0, 1) * s.lamp
    return torch.where(s.lamp > 0, 0.045 - off, -1.0), glow


def _lamplight(s: Scene, p: Vector, normal: Vector | None) -> Tensor:
    """Light of the lamp at points, with a normal or on the ground."""
    to: Vector = (s.lamp_x - p[0], s.lamp_y - p[1], s.lamp_z - p[2])
    far = dot(to, to)
    facing = s.lamp_y / far.sqrt() if normal is None else (0.2 + 0.8 * dot(to, normal) / far.sqrt()).clamp(0)
    lamp = torch.tensor(LAMP, device=far.device).view(1, 3, 1, 1, 1)
    return s.lamp * lamp * (0.35 + 0.75 * s.night) * facing / (0.35 + far / (0.16 * s.metre**2))


def _lit(s: Scene, rays: _Rays, hit: Hit, paint: Tensor, gloss: Tensor) -> Tensor:
    """Colour of a body: sky light from above, the light with a terminator, the lamp, and on glossy ones a highlight
    (Blinn's half vector) and the sky's mirror image (Schlick's approximation).
    """
    light: Vector = (s.light[:, 0:1], s.light[:, 1:2], s.light[:, 2:3])
    n = hit.normal
    facing = dot(n, light)
    wrap = 0.12 + 0.34 * s.soft
    lit = ((facing + wrap) / (1 + wrap)).clamp(0, 1)
    near = hit.t.clamp(max=_REACH)
    p = vector(lambda i: rays.o[i] + near * rays.d[i])
    shine = s.ambient * (0.80 + 0.30 * n[1]) + s.sun * 1.2 * lit + _lamplight(s, p, n)
    colour = paint * shine
    against = -dot(n, rays.d)
    half = vector(lambda i: light[i] - rays.d[i])
    size = dot(half, half).sqrt().clamp(min=1e-4)
    spark = (dot(n, half) / size).clamp(0, 1) ** 40 * (0.9 - 0.5 * s.soft)
    mirror_up = (rays.d[1] + 2 * against * n[1]).clamp(0, 1)
    mirror = torch.lerp(s.horizon, s.zenith, 1 - (-3.2 * mirror_up).exp())
    fresnel = 0.10 + 0.5 * (1 - against.clamp(0, 1)) ** 4
    return colour + gloss * (1.3 * spark * s.sun + fresnel * (mirror - 0.4 * colour))
