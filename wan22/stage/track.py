"""What camera and subject truly do in a clip of the film set, as numbers over time: what a film shows, without words.

A label says "pan left"; here stands how far the camera has turned at every moment, where in the picture the subject
is, and where the light comes from. Who learns to see a film learns more from these than from its labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wan22.stage.labels import Shot
from wan22.stage.scene import Scene, plan

QUANTITIES: dict[str, tuple[float, int]] = {
    "u": (0.18, -1), "v": (0.15, 1), "size": (0.7, 1),
    "pan": (0.08, -1), "tilt": (0.05, 1), "turn": (0.06, -1), "zoom": (0.07, 1),
    "truck": (0.08, -1), "crane": (0.06, 1), "dolly": (0.09, 1),
    "path": (0.09, -1), "height": (0.1, 1), "other": (0.15, -1),
    "pitch": (0.3, 1), "roll": (0.12, -1), "light x": (0.7, -1), "light y": (0.3, 1), "light z": (0.6, 1),
}  # fmt: skip
"""Every quantity: about how much it varies over the set, by which it is divided, and its sign in a mirror.

u, v: the subject's middle, in units from the picture's (up is positive); size: logarithm of its height in units. Then
how far the camera went from its mean over the clip: turns in units of the picture (pan, tilt), radians (turn),
logarithms of scale (zoom, dolly), moves in units at the subject (truck, crane). path, height: the subject's own way
in units; other: where the other body is, in units from the subject (0 if there is none). Then pitch and roll of the
camera in radians, and the unit vector to the light in the camera's axes (right, up, ahead).
"""

_FAR = 5.0  # an orbit through a long lens turns far; more than this is only "very far"


def tracks(shots: Sequence[Shot], *, height: int, width: int, frames: int, fps: float, seed: int) -> Tensor:
    """The quantities of the clips that `render` draws of the same arguments, each over its scale: float32 (b, T, k)."""
    scene = plan(shots, height=height, width=width, frames=frames, fps=fps, seed=seed)
    u, v, size = _seen(scene)
    away = (scene.camera_x**2 + (scene.camera_y - 0.5) ** 2 + scene.camera_z**2).sqrt()
    ahead = scene.yaw.mean(dim=2, keepdim=True)  # who only turns does not move
    flat = torch.zeros_like(scene.x)
    found = {
        "u": u, "v": v, "size": size,
        "pan": _moved(scene.yaw * scene.focal), "tilt": _moved(scene.pitch * scene.focal),
        "turn": _moved(scene.roll), "zoom": _moved(scene.focal.log()),
        "truck": _moved((scene.camera_x * ahead.cos() - scene.camera_z * ahead.sin()) / scene.metre),
        "crane": _moved(scene.camera_y / scene.metre), "dolly": _moved(-away.log()),
        "path": _moved(scene.x / scene.metre), "height": scene.y / scene.metre,
        "other": torch.where(scene.other_x < 1e3, (scene.other_x - scene.x) / scene.metre, 0.0),
        "pitch": scene.pitch, "roll": scene.roll,
        "light x": scene.light[:, 0:1] * scene.yaw.cos() - scene.light[:, 2:3] * scene.yaw.sin(),
        "light y": scene.light[:, 1:2],
        "light z": scene.light[:, 2:3] * scene.yaw.cos() + scene.light[:, 0:1] * scene.yaw.sin(),
    }  # fmt: skip
    rows = [(found[name] + flat) / scale for name, (scale, _) in QUANTITIES.items()]
    whole = torch.stack([row.expand(-1, -1, frames, -1, -1)[:, 0, :, 0, 0] for row in rows], dim=-1)
    return whole.clamp(-_FAR, _FAR)


def mirrored_tracks(found: Tensor) -> Tensor:
    """The quantities (..., k) of the same clips seen in a mirror."""
    return found * torch.tensor([sign for _, sign in QUANTITIES.values()], dtype=found.dtype)


def _seen(s: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Where the subject's middle is seen (units to the right and up), and the logarithm of its height in units.

    It is the inverse of how render.py makes rays: yaw, pitch, lens, roll.
    """
    x, y, z = s.x - s.camera_x, s.y + 0.5 - s.camera_y, -s.camera_z
    away = (x * x + y * y + z * z).sqrt()
    sin, cos = s.yaw.sin(), s.yaw.cos()
    x, z = x * cos - z * sin, z * cos + x * sin
    sin, cos = s.pitch.sin(), s.pitch.cos()
    y, z = y * cos - z * sin, z * cos + y * sin
    aside = (x * x + y * y).sqrt().clamp(min=1e-6)
    angle = torch.atan2(aside, z).clamp(max=1.4)
    far = torch.where(s.fisheye > 0, angle, angle.tan()) * s.focal
    u, v = far * x / aside, far * y / aside
    sin, cos = s.roll.sin(), s.roll.cos()
    return u * cos - v * sin, v * cos + u * sin, (s.focal / away).log()


def _moved(values: Tensor) -> Tensor:
    return values - values.mean(dim=2, keepdim=True)
