"""Draws planned scenes: analytic rays, soft edges, all clips of a batch at once.

Every silhouette has a signed margin (how far inside it a ray passes, in world lengths), so the share of a
pixel that it covers follows without supersampling: margin over the pixel's footprint. Tensors are
(b, c, T, H, W) with size 1 where a value does not change, so what depends on a row or a column alone costs
nothing.
It knows no labels and no randomness; those are `scene.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from wan22.errors import SizeError
from wan22.stage.backdrop_labels import AXES, Shot
from wan22.stage.backdrop_scene import BOX, CAMERA_HEIGHT, CLOUDS, CONE, PROPS, Scene, plan

_FAR = 400.0


class _Rays(NamedTuple):
    """One ray a pixel from the camera at (0, CAMERA_HEIGHT, z); directions have forward depth 1."""

    u: Tensor  # (1, 1, 1, 1, W)
    v: Tensor  # (b, 1, 1, H, 1), up
    azimuth: Tensor  # (b, 1, T, 1, W)
    dx: Tensor  # (b, 1, T, 1, W)
    dz: Tensor
    norm: Tensor  # (b, 1, 1, H, W)


class _Body(NamedTuple):
    """What the rays see of a body: pixel cover, unit normal, and how much of the pale stripe."""

    cover: Tensor
    nx: Tensor
    ny: Tensor
    nz: Tensor
    mark: Tensor


def render(
    shots: Sequence[Shot],
    *,
    height: int = 64,
    width: int = 96,
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
    scene = plan(shots, height=height, width=width, frames=frames, fps=fps, seed=seed)
    draw = _compiled() if compile else _draw
    # Small pieces stay in the CPU's cache; a GPU wants them large. All pieces are equally long (the last one
    # repeats its last clip), so that a compiled kernel is made once.
    piece = 2 if clips.device.type == "cpu" and not compile else 16
    for shape in AXES["shape"]:
        members = torch.tensor([i for i, shot in enumerate(shots) if shot.shape == shape], dtype=torch.long)
        for rows in members.split(piece):
            padded = torch.cat([rows, rows[-1:].expand(piece - len(rows))]) if compile else rows
            part = Scene(*(value[padded].to(device) for value in scene))
            clips[rows.to(device)] = draw(part, shape, height, width)[: len(rows)]
    return clips


@cache
def _compiled() -> Callable[[Scene, str, int, int], Tensor]:
    return torch.compile(_draw, dynamic=False)


def _draw(s: Scene, shape: str, height: int, width: int) -> Tensor:
    """Paint from far to near; (b, T, H, W, 3) uint8."""
    rays = _rays(s, height, width)
    picture = _sky(s, rays)
    picture = _ground(s, rays, shape, picture)
    picture = _props(s, rays, picture)
    other = _ball(
        s,
        rays,
        s.other_x,
        s.other_radius,
        s.other_radius,
        torch.zeros_like(s.turn),
        -s.other_x / s.other_radius,
    )
    picture = torch.lerp(picture, _lit(s, rays, other, s.other, glint=1.0), other.cover)
    subject, glint = _subject(s, rays, shape)
    picture = torch.lerp(picture, _lit(s, rays, subject, s.subject, glint), subject.cover)
    picture = (picture * s.grade).clamp(0, 1)
    return (picture * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 4, 1)


def _rays(s: Scene, height: int, width: int) -> _Rays:
    device = s.focal.device
    column = torch.arange(width, device=device, dtype=torch.float32).view(1, 1, 1, 1, -1)
    row = torch.arange(height, device=device, dtype=torch.float32).view(1, 1, 1, -1, 1)
    u = (column + 0.5 - width / 2) / s.focal
    v = (s.horizon - row - 0.5) / s.focal
    sin, cos = s.yaw.sin(), s.yaw.cos()
    return _Rays(u, v, u.atan() + s.yaw, u * cos + sin, cos - u * sin, (u * u + v * v + 1).sqrt())


def _edge(margin: Tensor, footprint: Tensor) -> Tensor:
    """Share of a pixel that is covered, for a margin in world lengths and the pixel's size there."""
    return (0.5 + margin / footprint).clamp(0, 1)


def _sky(s: Scene, rays: _Rays) -> Tensor:
    up = rays.v.clamp(min=0)
    picture = torch.lerp(s.horizon_colour, s.zenith, 1 - (-9 * up).exp())
    mist = torch.zeros_like(rays.azimuth)
    for i in range(CLOUDS):
        a, e = s.cloud_azimuth[:, i : i + 1], s.cloud_elevation[:, i : i + 1]
        puff = (-(((rays.azimuth - a) / 0.07) ** 2)).exp() + (
            -(((rays.azimuth - a - 0.06) / 0.05) ** 2)
        ).exp()
        mist = mist + puff * (-(((rays.v - e) / 0.014) ** 2)).exp()
    picture = torch.lerp(picture, s.cloud, (0.8 * mist).clamp(0, 0.75))
    across, above = rays.azimuth - s.sun_azimuth, rays.v - s.sun_elevation
    squared = across * across + above * above
    glow = (0.55 - 0.3 * s.night) * (-squared * 260).exp()
    picture = torch.lerp(picture, s.disc, glow)
    radius = 0.026
    picture = torch.lerp(picture, s.disc, _edge(radius - squared.sqrt(), 1.2 / s.focal))
    return _hills(s, rays, picture)


def _hills(s: Scene, rays: _Rays, picture: Tensor) -> Tensor:
    """Two ranges on the horizon: round in the meadow, long in the desert, peaks in the snow."""
    light = s.ambient + 0.45 * s.sun
    for i, (depth, haze) in enumerate(((1.0, 0.55), (0.55, 0.3))):
        phase, other = s.phase[:, i : i + 1], s.phase[:, i + 2 : i + 3]
        wave = (rays.azimuth * (13 + 5 * i) + phase).sin() + 0.5 * (rays.azimuth * (29 + 8 * i) + other).sin()
        smooth = 0.5 + 0.3 * wave
        peaks = 1 - (rays.azimuth * (9 + 3 * i) + phase).sin().abs() + 0.1 * wave
        outline = depth * (s.meadow * 0.034 * smooth + s.desert * 0.022 * smooth + s.snow * 0.065 * peaks)
        colour = torch.lerp(s.hill * light, s.horizon_colour, haze)
        picture = torch.lerp(picture, colour, _edge(outline - rays.v, 1.2 / s.focal))
    return picture


def _ground(s: Scene, rays: _Rays, shape: str, picture: Tensor) -> Tensor:
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

    shade, contact = _shadow(s, shape, x, z)
    light = s.ambient + s.sun * (s.light[:, 1:2] + 0.25) * (1 - shade)
    colour = colour * light * (1 - 0.35 * contact)
    colour = torch.lerp(colour, s.horizon_colour, 0.7 * (1 - (-depth / 90).exp()))
    return torch.lerp(picture, colour, (0.5 - rays.v * s.focal).clamp(0, 1))


def _shadow(s: Scene, shape: str, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Cast shadow (0..1) and contact shade (0..1) of both bodies at ground points."""
    lx, ly, lz = s.light.unbind(1)
    light = (lx.unsqueeze(1), ly.unsqueeze(1), lz.unsqueeze(1))
    centre = 0.5 * s.height if shape == "ball" else BOX * s.height if shape == "cube" else 0.0
    margin = _margin(s, shape, (x - s.x, -(s.y + centre) + 0 * x, z), light)
    soft = 0.10 * s.height
    shade = (0.5 + margin / soft).clamp(0, 1)
    other_margin = _ball_margin((x - s.other_x, -s.other_radius, z), light, s.other_radius)
    shade = torch.maximum(shade, (0.5 + other_margin / soft).clamp(0, 1))
    spread = (0.55 * s.height) ** 2
    contact = (-((x - s.x) ** 2 + z * z) / spread).exp() * (-s.y / (0.4 * s.height)).exp()
    contact = contact + (-((x - s.other_x) ** 2 + z * z) / (s.other_radius**2 * 1.2)).exp()
    return shade * shade * (3 - 2 * shade), contact


def _props(s: Scene, rays: _Rays, picture: Tensor) -> Tensor:
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
        crown = _arc(0.115 - (h - 0.66) ** 2) * 1.1
        cactus = torch.where(h > 0, _arc(0.01 - (h - 0.9).clamp(min=0) ** 2), -1.0) * 1.2
        fir = torch.where((h > 0.14), 0.36 * (1 - h), -1.0)
        half = s.meadow * torch.maximum(crown, trunk) + s.desert * cactus + s.snow * torch.maximum(fir, trunk)
        shading = (1 + 0.9 * side * across / tall).clamp(0.6, 1.4)
        colour = torch.lerp(s.prop * light * shading, s.horizon_colour, 0.25)
        picture = torch.lerp(picture, colour, _edge(half * tall - across.abs(), 1.3 * depth / s.focal))
    return picture


def _arc(squared: Tensor) -> Tensor:
    """Half-width of a round outline, and nothing at all above and below it."""
    return torch.where(squared > 0, squared.clamp(min=0).sqrt(), -1.0)


Vector = tuple[Tensor, Tensor, Tensor]


def _ball_margin(o: Vector, d: Vector, radius: Tensor) -> Tensor:
    """Radius minus the distance of the ray's line from the centre; `d` need not have length 1."""
    along = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    length = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    off = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - along * along / length
    return radius - off.clamp(min=0).sqrt()


def _box_margin(o: Vector, d: Vector, half: Tensor) -> Tensor:
    """Seen along the ray a box is a hexagon: the least margin to its pairs of sides (separating axes)."""
    margins = []
    for i, j in ((1, 2), (2, 0), (0, 1)):
        across = half * (d[i].abs() + d[j].abs()) - (o[i] * d[j] - o[j] * d[i]).abs()
        margins.append(across / (d[i] * d[i] + d[j] * d[j] + 1e-9).sqrt())
    return torch.minimum(torch.minimum(margins[0], margins[1]), margins[2])


def _cone_roots(o: Vector, d: Vector, tall: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of x² + z² = CONE² (tall - y)² along the ray: middle of the chord, its half-length squared, and a."""
    k = CONE * CONE
    below = tall - o[1]
    a = d[0] * d[0] + d[2] * d[2] - k * d[1] * d[1]
    b = o[0] * d[0] + o[2] * d[2] + k * below * d[1]
    c = o[0] * o[0] + o[2] * o[2] - k * below * below
    middle = -b / a
    return middle, middle * middle - c / a, a


def _cone_margin(o: Vector, d: Vector, tall: Tensor) -> Tensor:
    """Margin to the cone with its base about the origin, apex at `tall`; for rays flatter than its flank."""
    middle, chord, _ = _cone_roots(o, d, tall)
    length = (d[0] * d[0] + d[2] * d[2]).sqrt()
    y = o[1] + middle * d[1]
    radius = CONE * (tall - y)
    off = (radius * radius - chord * length * length).clamp(min=0).sqrt()
    flank = (radius.abs() - off) * 0.91
    half = chord.clamp(min=0).sqrt()
    floor = y + half * d[1].abs()  # highest point of the chord must be above the ground
    return torch.minimum(torch.minimum(flank, tall - y), floor)


def _margin(s: Scene, shape: str, o: Vector, d: Vector) -> Tensor:
    """Margin of the subject for rays from `o`, relative to its centre (ball, cube) or its foot (cone)."""
    if shape == "ball":
        return _ball_margin(o, d, 0.5 * s.height)
    if shape == "cone":
        return _cone_margin(o, d, s.height)
    return _box_margin(_turned(o, s.turn), _turned(d, s.turn), BOX * s.height)


def _turned(p: Vector, angle: Tensor) -> Vector:
    """`p` in a frame that is turned by `angle` about the vertical axis."""
    sin, cos = angle.sin(), angle.cos()
    return p[0] * cos - p[2] * sin, p[1], p[0] * sin + p[2] * cos


def _subject(s: Scene, rays: _Rays, shape: str) -> tuple[_Body, float]:
    if shape == "ball":
        radius = 0.5 * s.height
        return _ball(s, rays, s.x, s.y + radius, radius, s.turn, s.roll), 1.0
    return (_cube(s, rays), 0.0) if shape == "cube" else (_cone(s, rays), 0.35)


def _ball(s: Scene, rays: _Rays, x: Tensor, y: Tensor, radius: Tensor, turn: Tensor, roll: Tensor) -> _Body:
    o: Vector = (-x, CAMERA_HEIGHT - y, s.camera_z)
    d: Vector = (rays.dx, rays.v, rays.dz)
    length = rays.norm * rays.norm
    along = (o[0] * d[0] + o[1] * d[1] + o[2] * d[2]) / length
    off = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - along * along * length
    footprint = -s.camera_z / s.focal
    cover = _edge(radius - off.clamp(min=0).sqrt(), footprint)
    t = -along - ((radius * radius - off).clamp(min=0) / length).sqrt()
    nx, ny, nz = ((o[i] + t * d[i]) / radius for i in range(3))
    tx, ty, _ = _turned((nx, ny, nz), turn)
    band = tx * roll.cos() + ty * roll.sin()
    return _Body(cover, nx, ny, nz, _edge(0.26 * radius - band.abs() * radius, 1.5 * footprint))


def _cube(s: Scene, rays: _Rays) -> _Body:
    half = BOX * s.height
    o = _turned((-s.x, CAMERA_HEIGHT - s.y - half, s.camera_z), s.turn)
    d = _turned((rays.dx, rays.v, rays.dz), s.turn)
    footprint = -s.camera_z / s.focal
    cover = _edge(_box_margin(o, d, half), footprint)
    entries = []
    for i in range(3):
        safe = torch.where(d[i].abs() < 1e-4, 1e-4, d[i])
        entries.append((-o[i] / safe) - half / safe.abs())
    t = torch.maximum(torch.maximum(entries[0], entries[1]), entries[2])
    # The faces meet in a soft edge, a pixel or so wide.
    weights = [((e - t) / (2.0 * footprint)).exp() for e in entries]
    total = weights[0] + weights[1] + weights[2]
    local = [-(w / total) * d[i].sign() for i, w in enumerate(weights)]
    band = (o[0] + t * d[0]).abs()
    on_side = 1 - weights[0] / total
    mark = _edge(0.3 * half - band, 1.5 * footprint) * on_side
    nx, ny, nz = _turned((local[0], local[1], local[2]), -s.turn)
    return _Body(cover, nx, ny, nz, mark)


def _cone(s: Scene, rays: _Rays) -> _Body:
    o: Vector = (-s.x, CAMERA_HEIGHT - s.y, s.camera_z)
    d: Vector = (rays.dx, rays.v, rays.dz)
    footprint = -s.camera_z / s.focal
    cover = _edge(_cone_margin(o, d, s.height), footprint)
    middle, chord, _ = _cone_roots(o, d, s.height)
    t = middle - chord.clamp(min=0).sqrt()
    x, y, z = (o[i] + t * d[i] for i in range(3))
    around = (x * x + z * z).sqrt().clamp(min=1e-4)
    slope = (1 + CONE * CONE) ** -0.5
    tx, _, _ = _turned((x, y, z), s.turn)
    mark = _edge(0.3 * around - tx.abs(), 1.5 * footprint)
    return _Body(cover, x / around * slope, CONE * slope + 0 * x, z / around * slope, mark)


def _lit(s: Scene, rays: _Rays, body: _Body, paint: Tensor, glint: float) -> Tensor:
    """Colour of a body: sky light from above, sun with a soft terminator, a pale stripe, a highlight."""
    lx, ly, lz = s.light[:, 0:1], s.light[:, 1:2], s.light[:, 2:3]
    facing = body.nx * lx + body.ny * ly + body.nz * lz
    wrapped = (0.3 + 0.7 * facing).clamp(0, 1)
    light = s.ambient * (0.78 + 0.3 * body.ny) + s.sun * 1.12 * wrapped
    colour = torch.lerp(paint, 0.35 * paint + 0.62, body.mark) * light
    if not glint:
        return colour
    # Blinn's half vector, with the viewer straight in front.
    shine = ((lx * body.nx + ly * body.ny + (lz - 1) * body.nz) * (2 - 2 * lz).rsqrt()).clamp(0, 1) ** 24
    return colour + glint * 0.55 * shine * s.sun
