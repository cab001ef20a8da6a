"""Draws the puppet in front of the film set's world: flat felt shapes on a plane that stands where a subject would.

Shapes are given on the plane in units of `scene.py`, from the middle of the face, x to the right and y up; a ray meets
the plane once, so camera moves show as they would for a body. Edges are soft by the pixel's own footprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wan22.errors import SizeError
from wan22.stage.backdrop import FOCAL, Backdrop, Rays, draw_backdrop, plan_backdrop
from wan22.stage.puppet import PuppetMotion, PuppetShot

_COAT = {
    "blue": (0.15, 0.34, 0.85),
    "green": (0.10, 0.58, 0.30),
    "yellow": (0.95, 0.84, 0.20),
    "purple": (0.50, 0.26, 0.72),
    "white": (0.94, 0.94, 0.92),
    "black": (0.14, 0.14, 0.17),
}
_HAIR = {
    "blond": (0.93, 0.80, 0.42),
    "black": (0.13, 0.11, 0.12),
    "grey": (0.62, 0.63, 0.65),
    "blue": (0.22, 0.45, 0.80),
}
_FACE = (0.96, 0.78, 0.64)
_MOUTH = (0.42, 0.0, 0.02)
_LIP = (0.62, 0.44, 0.38)
_WHITE, _DARK = (0.97, 0.97, 0.96), (0.10, 0.09, 0.10)

PAN = 0.17
"""Of the image's width: how far to either side of the middle a pan begins and ends."""

DOLLY = 0.47
"""Logarithm of the change of scale of a dolly over a whole video."""


_METRE = 4.0  # world length of a unit at the puppet, as at a large subject in a close-up


class _Sheet(NamedTuple):
    """Where each ray meets the puppet's plane, (b, 1, T, H, W) in units, and the size of a pixel there."""

    x: Tensor
    y: Tensor
    pixel: Tensor


def render_puppet(
    shots: Sequence[PuppetShot],
    performances: Sequence[PuppetMotion],
    *,
    height: int = 64,
    width: int = 64,
    frames: int,
    fps: float = 16.0,
    seed: int = 0,
) -> Tensor:
    """Render one video for every shot and its performance; the camera's move lasts from the first frame to the last.

    Returns uint8 (b, T, H, W, 3). Raises SizeError for sizes under 32 pixels, or performances of another length.
    """
    if height < 32 or width < 32 or frames < 1 or fps <= 0:
        raise SizeError(
            f"cannot render {width}x{height}, {frames} frames at {fps} fps: "
            "the puppet needs at least 32x32 pixels, 1 frame and a positive frame rate"
        )
    if len(shots) != len(performances) or any(len(p.mouth) != frames for p in performances):
        raise SizeError(f"every shot needs a performance of {frames} frames")
    videos = torch.empty(len(shots), frames, height, width, 3, dtype=torch.uint8)
    for i, (shot, performance) in enumerate(zip(shots, performances, strict=True)):
        scene = _scene(shot, height, width, frames, seed * 10_007 + i)
        videos[i] = _draw(scene, shot, performance, height, width)[0]
    return videos


def _scene(shot: PuppetShot, height: int, width: int, frames: int, seed: int) -> Backdrop:
    """The world of a shot, with the camera at a portrait's height and its move stretched over the video."""
    world = plan_backdrop(
        shot.surroundings, shot.time, shot.light, shot.tone, height=height, width=width, seed=seed
    )
    unit = min(height, 0.8 * width)
    along = torch.linspace(-0.5, 0.5, frames).view(1, 1, -1, 1, 1)
    pan = {"pan right": 1.0, "pan left": -1.0}.get(shot.camera, 0.0)
    dolly = {"dolly in": 1.0, "dolly out": -1.0}.get(shot.camera, 0.0)
    draw = torch.Generator().manual_seed(seed)
    off = 0.04 * (2 * torch.rand(1, generator=draw) - 1)
    away = _METRE * FOCAL
    return world._replace(
        yaw=((pan * 2 * PAN * along) * width / unit + off) / FOCAL,
        camera_z=-away * torch.exp(-dolly * DOLLY * along),
    )


def _draw(s: Backdrop, shot: PuppetShot, part: PuppetMotion, height: int, width: int) -> Tensor:
    rays, image = draw_backdrop(s, height, width)
    image = _puppet(s, _sheet(s, rays, height, width), shot, part, image)
    image = (image * s.grade).clamp(0, 1)
    return (image * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 4, 1)


def _sheet(s: Backdrop, rays: Rays, height: int, width: int) -> _Sheet:
    """Meet the plane z = 0; units from the middle of the face, which hangs a little under the horizon."""
    unit = min(height, 0.8 * width)
    depth = -s.camera_z / rays.dz
    x = depth * rays.dx / _METRE
    y = depth * rays.v / _METRE
    below = 0.05 * height / unit
    return _Sheet(x, y + below, -s.camera_z / s.focal / _METRE)


def _puppet(s: Backdrop, sheet: _Sheet, shot: PuppetShot, part: PuppetMotion, image: Tensor) -> Tensor:
    """Paint from back to front: body, hands, head, hair, eyes, brows, nose, mouth."""
    mouth, wide, brow, nod, tilt, blink = (
        _track(getattr(part, name)) for name in ("mouth", "width", "brow", "nod", "tilt", "blink")
    )
    coat, hair, face = _paint(_COAT[shot.coat]), _paint(_HAIR[shot.hair]), _paint(_FACE)
    image = _felt(s, sheet, image, coat, (0.0, -0.80), (0.46, 0.46))
    image = _felt(s, sheet, image, face * 0.9, (0.0, -0.36), (0.10, 0.14))
    # The head turns about the neck; everything on it moves along.
    sin, cos = tilt.sin(), tilt.cos()
    neck = -0.36
    hx = sheet.x * cos - (sheet.y - neck) * sin
    hy = sheet.x * sin + (sheet.y - neck) * cos + neck
    head = _Sheet(hx, hy, sheet.pixel)
    drop = -0.10 * nod  # a nod lowers the face on the head
    image = _felt(s, head, image, hair, (0.0, 0.07), (0.325, 0.36))
    image = _felt(s, head, image, face, (0.0, -0.01), (0.285, 0.345))
    image = _felt(s, head, image, hair, (0.0, 0.285 + drop), (0.25, 0.085))
    for side in (-1.0, 1.0):
        eye = (side * 0.115, 0.075 + drop)
        open_ = 0.055 * (1 - 0.85 * blink)
        image = _felt(s, head, image, _paint(_WHITE), eye, (0.058, open_))
        image = _felt(s, head, image, _paint(_DARK), (eye[0], eye[1]), (0.028, open_ * 0.6))
        image = _felt(s, head, image, hair * 0.6, (eye[0], eye[1] + 0.085 + 0.045 * brow), (0.07, 0.016))
    image = _felt(s, head, image, face * 0.86, (0.0, -0.035 + drop), (0.035, 0.05))
    half_width = 0.095 + 0.045 * wide
    at = (0.0, -0.165 + drop - 0.02 * mouth)
    image = _felt(s, head, image, _paint(_LIP), at, (half_width + 0.015, 0.016 + 0.092 * mouth))
    # A shut mouth shows its lips alone.
    inside = _cover(head, at, (half_width, 0.002 + 0.086 * mouth)) * (mouth / 0.08).clamp(0, 1)
    image = torch.lerp(image, _light(s, head, _paint(_MOUTH)), inside)
    for side in (0, 1):
        beat = _track(part.hands[:, side])
        hand = ((0.44 if side else -0.44), -0.56 + 0.22 * beat)
        image = _felt(s, sheet, image, face * 0.95, hand, (0.085, 0.085))
    return image


def _track(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).view(1, 1, -1, 1, 1)


def _paint(colour: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1, 1)


Place = tuple[float | Tensor, float | Tensor]


def _cover(sheet: _Sheet, at: Place, radii: Place) -> Tensor:
    """Share of each pixel within an ellipse: its scaled distance from the edge, in pixels."""
    rx, ry = (torch.as_tensor(r) for r in radii)
    dx, dy = (sheet.x - at[0]) / rx, (sheet.y - at[1]) / ry
    along = (dx * dx + dy * dy).sqrt()
    slope = ((dx / rx) ** 2 + (dy / ry) ** 2).sqrt() / along.clamp(min=1e-4)
    return (0.5 + (1 - along) / (slope.clamp(min=1e-4) * sheet.pixel)).clamp(0, 1)


def _felt(s: Backdrop, sheet: _Sheet, image: Tensor, paint: Tensor, at: Place, radii: Place) -> Tensor:
    return torch.lerp(image, _light(s, sheet, paint), _cover(sheet, at, radii))


def _light(s: Backdrop, sheet: _Sheet, paint: Tensor) -> Tensor:
    """Felt turns away from the light across the whole puppet, as one round body would."""
    nx = (sheet.x / 0.5).clamp(-0.9, 0.9)
    ny = (sheet.y / 0.9).clamp(-0.6, 0.6)
    facing = nx * s.light[:, 0:1] + ny * s.light[:, 1:2] - (1 - nx * nx).clamp(min=0).sqrt() * s.light[:, 2:3]
    return paint * (s.ambient * 1.1 + s.sun * (0.45 + 0.55 * facing).clamp(0, 1))
