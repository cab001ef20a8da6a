"""What rays hit: balls, boxes, cones, capsules; nearest hits, normals, and how much of a light a body hides.

Tensors broadcast over (b, 1, T, H, W); points, rays and normals are tuples of three. A miss is at FAR.
Ray and primitive meet by the closed forms of Quilez, "Intersectors" (iquilezles.org/articles/intersectors).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

FAR = 1e5
CUBE = 0.43  # half an edge
CONE = 0.46  # base radius of a cone one metre high

Vector = tuple[Tensor, Tensor, Tensor]


class Pose(NamedTuple):
    """Where a body stands (its foot), how it is turned about the vertical, rolled forward, and its legs' swing."""

    x: Tensor
    y: Tensor
    turn: Tensor
    rolled: Tensor
    stride: Tensor


class Hit(NamedTuple):
    """Distance along the ray, unit normal, share of the body's paint that is its second colour, pale stripe."""

    t: Tensor
    normal: Vector
    second: Tensor
    stripe: Tensor


def vector(part: Callable[[int], Tensor]) -> Vector:
    """The vector of these three parts."""
    return part(0), part(1), part(2)


def dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def turned(p: Vector, angle: Tensor) -> Vector:
    """`p` in a frame that is turned by `angle` about the vertical."""
    sin, cos = angle.sin(), angle.cos()
    return p[0] * cos - p[2] * sin, p[1], p[0] * sin + p[2] * cos


def nearer(a: Hit, b: Hit) -> Hit:
    first = a.t < b.t
    pick = lambda x, y: torch.where(first, x, y)  # noqa: E731
    normal = (pick(a.normal[0], b.normal[0]), pick(a.normal[1], b.normal[1]), pick(a.normal[2], b.normal[2]))
    return Hit(torch.minimum(a.t, b.t), normal, pick(a.second, b.second), pick(a.stripe, b.stripe))


def subject_hit(kind: str, o: Vector, d: Vector, pose: Pose) -> Hit:
    """The subject under unit rays `d` from `o`, in world axes."""
    local_o = turned((o[0] - pose.x, o[1] - pose.y, o[2]), pose.turn)
    local_d = turned(d, pose.turn)
    hit = _KINDS[kind](local_o, local_d, pose)
    return hit._replace(normal=turned(hit.normal, -pose.turn))


def ball_hit(o: Vector, d: Vector, radius: Tensor | float) -> tuple[Tensor, Vector]:
    """A ball about the origin: distance and normal."""
    along = dot(o, d)
    under = radius * radius - (dot(o, o) - along * along)
    t = torch.where((under > 0) & (along < 0), -along - under.clamp(min=0).sqrt(), FAR)
    return t, vector(lambda i: (o[i] + t * d[i]) / radius)


def _ball(o: Vector, d: Vector, pose: Pose) -> Hit:
    t, normal = ball_hit((o[0], o[1] - 0.5, o[2]), d, 0.5)
    # The stripe turns about the axis on which the ball rolls; the world's x is seen through the turn.
    across = turned(normal, -pose.turn)
    band = across[0] * pose.rolled.cos() - across[1] * pose.rolled.sin()
    band = torch.where(pose.rolled == 0, normal[0], band)
    return Hit(t, normal, torch.zeros_like(t), _band(band, 3.2))


def _band(x: Tensor, times: float) -> Tensor:
    """Stripes of equal width with soft edges, `times` periods over -1 .. 1 in all."""
    return ((x * times * math.pi).cos() * 6).clamp(-0.5, 0.5) + 0.5


def _box(o: Vector, d: Vector, half: tuple[float, float, float]) -> tuple[Tensor, Vector]:
    near, far = [], []
    for i in range(3):
        safe = torch.where(d[i].abs() < 1e-5, 1e-5, d[i])
        middle, reach = -o[i] / safe, half[i] / safe.abs()
        near.append(middle - reach)
        far.append(middle + reach)
    t = torch.maximum(torch.maximum(near[0], near[1]), near[2])
    out = torch.minimum(torch.minimum(far[0], far[1]), far[2])
    hit = (t < out) & (t > 0)
    normal = vector(lambda i: torch.where(near[i] == t, -d[i].sign(), 0.0))
    return torch.where(hit, t, FAR), normal


def _cube(o: Vector, d: Vector, pose: Pose) -> Hit:
    t, normal = _box((o[0], o[1] - CUBE, o[2]), d, (CUBE, CUBE, CUBE))
    height = (o[1] + t * d[1] - CUBE) / CUBE
    return Hit(t, normal, torch.zeros_like(t), _band(height, 1.5))


def _cone(o: Vector, d: Vector, pose: Pose) -> Hit:
    """x² + z² = CONE² (1 - y)², between the ground and the apex, with its base."""
    k = CONE * CONE
    below = 1 - o[1]
    a = d[0] * d[0] + d[2] * d[2] - k * d[1] * d[1]
    b = o[0] * d[0] + o[2] * d[2] + k * below * d[1]
    c = o[0] * o[0] + o[2] * o[2] - k * below * below
    safe = torch.where(a.abs() < 1e-6, 1e-6, a)
    root = (b * b - a * c).clamp(min=0).sqrt()
    best = torch.full_like(b, FAR)
    for sign in (-1.0, 1.0):
        t = (-b + sign * root) / safe
        y = o[1] + t * d[1]
        good = (b * b > a * c) & (t > 0) & (y > 0) & (y < 1)
        best = torch.where(good & (t < best), t, best)
    x, y, z = (o[i] + best * d[i] for i in range(3))
    around = (x * x + z * z).sqrt().clamp(min=1e-4)
    slope = (1 + k) ** -0.5
    normal = (x / around * slope, CONE * slope + 0 * x, z / around * slope)
    return Hit(best, normal, torch.zeros_like(best), _band(y, 3.0))


def _capsule(o: Vector, d: Vector, a: Vector, b: Vector, radius: float) -> tuple[Tensor, Vector]:
    ba = vector(lambda i: b[i] - a[i])
    oa = vector(lambda i: o[i] - a[i])
    baba, bard, baoa = dot(ba, ba), dot(ba, d), dot(ba, oa)
    rdoa, oaoa = dot(d, oa), dot(oa, oa)
    qa = (baba - bard * bard).clamp(min=1e-6)
    qb = baba * rdoa - baoa * bard
    qc = baba * oaoa - baoa * baoa - radius * radius * baba
    h = qb * qb - qa * qc
    side = (-qb - h.clamp(min=0).sqrt()) / qa
    y = baoa + side * bard
    body = (h > 0) & (y > 0) & (y < baba) & (side > 0)
    t = torch.where(body, side, FAR)
    for end in (a, b):
        cap, _ = ball_hit((o[0] - end[0], o[1] - end[1], o[2] - end[2]), d, radius)
        t = torch.where(body, t, torch.minimum(t, cap))
    share = ((baoa + t * bard) / baba).clamp(0, 1)
    normal = vector(lambda i: (oa[i] + t * d[i] - share * ba[i]) / radius)
    return t, normal


def _robot(o: Vector, d: Vector, pose: Pose) -> Hit:
    """A box for a trunk, a ball for a head, two legs that swing against one another; x is ahead."""
    t, normal = _box((o[0], o[1] - 0.50, o[2]), d, (0.17, 0.20, 0.22))
    height = (o[1] + t * d[1] - 0.5) / 0.2
    hit = Hit(t, normal, torch.zeros_like(t), _band(height, 1.5))
    t, normal = ball_hit((o[0], o[1] - 0.83, o[2]), d, 0.17)
    # A pale visor ahead tells the head's front from its back.
    visor = ((normal[0] - 0.55) * 9).clamp(0, 1) * (0.5 - normal[1].abs()).mul(9).clamp(0, 1)
    hit = nearer(hit, Hit(t, normal, visor, torch.zeros_like(t)))
    for side in (-1.0, 1.0):
        hip = (0 * pose.stride, 0 * pose.stride + 0.34, 0 * pose.stride + side * 0.12)
        angle = side * pose.stride
        foot = (0.30 * angle.sin(), 0.36 - 0.30 * angle.cos(), hip[2])
        t, normal = _capsule(o, d, hip, foot, 0.065)
        hit = nearer(hit, Hit(t, normal, torch.zeros_like(t), torch.zeros_like(t)))
    return hit


def _mushroom(o: Vector, d: Vector, pose: Pose) -> Hit:
    """A pale stem under a flattened cap with pale dots."""
    zero = 0 * pose.stride
    t, normal = _capsule(o, d, (zero, zero + 0.10, zero), (zero, zero + 0.55, zero), 0.15)
    hit = Hit(t, normal, torch.ones_like(t), torch.zeros_like(t))
    flat = 0.62
    oo, dd = (o[0], (o[1] - 0.68) / flat, o[2]), (d[0], d[1] / flat, d[2])
    long = dot(dd, dd).sqrt()
    t, round_ = ball_hit(oo, tuple(x / long for x in dd), 0.5)
    steep = (round_[0], round_[1] / flat, round_[2])
    size = dot(steep, steep).sqrt().clamp(min=1e-6)
    azimuth = torch.atan2(round_[2], round_[0])
    dots = ((azimuth * 3).cos() * (round_[1] * 7).sin() * 5 - 2.2).clamp(0, 1)
    t = torch.where(t < FAR, t / long, FAR)
    cap = Hit(t, tuple(x / size for x in steep), dots, torch.zeros_like(t))
    return nearer(hit, cap)


_KINDS = {"ball": _ball, "cube": _cube, "cone": _cone, "robot": _robot, "mushroom": _mushroom}


def subject_margin(kind: str, o: Vector, d: Vector, pose: Pose) -> Tensor:
    """How far inside the subject's outline the line of each ray passes, in metres; negative outside. For shadows."""
    o = turned((o[0] - pose.x, o[1] - pose.y, o[2]), pose.turn)
    d = turned(d, pose.turn)
    if kind == "ball":
        return ball_margin((o[0], o[1] - 0.5, o[2]), d, 0.5)
    if kind == "cube":
        return _box_margin((o[0], o[1] - CUBE, o[2]), d, (CUBE, CUBE, CUBE))
    if kind == "cone":
        steps = ((0.14, 0.40), (0.30, 0.30), (0.48, 0.215), (0.66, 0.13), (0.82, 0.065))
        return _most(*(ball_margin((o[0], o[1] - y, o[2]), d, r) for y, r in steps))
    if kind == "mushroom":
        cap = ball_margin((o[0], (o[1] - 0.68) / 0.62, o[2]), (d[0], d[1] / 0.62, d[2]), 0.5)
        return _most(cap, *(ball_margin((o[0], o[1] - y, o[2]), d, 0.15) for y in (0.15, 0.3, 0.45)))
    trunk = _box_margin((o[0], o[1] - 0.5, o[2]), d, (0.17, 0.20, 0.22))
    parts = [trunk, ball_margin((o[0], o[1] - 0.83, o[2]), d, 0.17)]
    for side in (-1.0, 1.0):
        angle = side * pose.stride
        for share in (0.45, 1.0):
            foot = (0.3 * share * angle.sin(), 0.36 - 0.3 * share * angle.cos(), side * 0.12)
            parts.append(ball_margin((o[0] - foot[0], o[1] - foot[1], o[2] - foot[2]), d, 0.085))
    return _most(*parts)


def ball_margin(o: Vector, d: Vector, radius: Tensor | float) -> Tensor:
    """Radius minus the distance of the ray's line from the origin; `d` need not have length 1."""
    along = dot(o, d)
    return radius - (dot(o, o) - along * along / dot(d, d)).clamp(min=0).sqrt()


def _box_margin(o: Vector, d: Vector, half: tuple[float, float, float]) -> Tensor:
    """Seen along the ray a box is a hexagon: the least margin to its pairs of sides (separating axes)."""
    margins = []
    for i, j in ((1, 2), (2, 0), (0, 1)):
        across = half[i] * d[j].abs() + half[j] * d[i].abs() - (o[i] * d[j] - o[j] * d[i]).abs()
        margins.append(across / (d[i] * d[i] + d[j] * d[j] + 1e-9).sqrt())
    return -_most(*(-m for m in margins))


def _most(*parts: Tensor) -> Tensor:
    most = parts[0]
    for part in parts[1:]:
        most = torch.maximum(most, part)
    return most
