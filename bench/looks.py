"""Fit the measure on the film set's training split: wan22/director/looks.npz.

It holds the set's palette (`table`), from which colours are explained, and two small networks: one for light and
angle, from shots rendered small, one for camera movements, from whole clips. Both see clips as they are, mirrored,
sharp, and blurred as a small model's pictures are; the held-out split is not touched. About 20 minutes on one core for
3000 shots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wan22.director.camera import MIRRORED, evidence, turned
from wan22.director.fitted import REACH
from wan22.director.flow import camera_path, find_horizon, join_horizons
from wan22.director.picture import FAMILY, statistics
from wan22.director.subject import find_subject
from wan22.stage.labels import AXES, Shot, sample
from wan22.stage.palette import GRADE, GROUND, PAINT, SKY
from wan22.stage.render import render
from wan22.stage.scene import FOCAL

LIGHT = {axis: tuple(AXES[axis]) for axis in ("light_direction", "light_quality", "camera_angle")}
MOVES = {
    "across": ("none", "pan-right", "pan-left", "truck-right", "truck-left", "orbit-right", "orbit-left"),
    "upright": ("none", "tilt-up", "tilt-down", "crane-up", "crane-down"),
    "depth": ("none", "zoom-in", "zoom-out", "dolly-in", "dolly-out"),
    "roll": ("none", "roll-clockwise", "roll-counterclockwise"),
}
_BLURS = (0.0, 0.01, 0.0175)  # share of the height
_SIDES = {"left": "right", "right": "left"}

_HIDDEN = -100  # a label that cannot be seen

Sample = tuple[np.ndarray, dict[str, str]]


def fit(count: int, seed: int, output: Path) -> dict[str, float]:
    """Render `count` training shots, a fifth of them whole, fit both networks, and write them to `output`.

    Returns the share that is right on a tenth left out, by axis.
    """
    light = [each for shot in _many(light_samples, sample(count, seed), seed) for each in shot]
    moves = [each for shot in _many(move_samples, sample(count // 5, seed), seed + 1) for each in shot]
    return write(light, moves, output)


def write(light: Sequence[Sample], moves: Sequence[Sample], output: Path) -> dict[str, float]:
    """Fit both networks and write them with the palette."""
    numbers, right = dict(table()), {}
    for name, samples, axes, groups, width in (
        ("light", light, LIGHT, 2, 48),
        ("moves", moves, MOVES, 4, 24),
    ):
        part, share = solve(samples, axes, groups, width=width, steps=17 * width)
        numbers |= {f"{name} {key}": values for key, values in part.items()}
        right |= share
    np.savez_compressed(output, **numbers)
    return right


def _many(
    samples: Callable[[Any, Shot, int, float, np.random.Generator], list[Sample]],
    shots: Sequence[Shot],
    seed: int,
) -> list[list[Sample]]:
    import cv2

    rng = np.random.default_rng(seed)
    return [samples(cv2, shot, seed * 100_000 + i, _BLURS[i % 3], rng) for i, shot in enumerate(shots)]


def light_samples(cv2: Any, shot: Shot, seed: int, blur: float, rng: np.random.Generator) -> list[Sample]:
    """Statistics of two moments of a shot, and of their mirror image."""
    clip = render([shot], height=40, width=64, frames=2, fps=1.0, seed=seed)[0].numpy()
    found = []
    for mirrored in (False, True):
        film = soft(cv2, clip[:, :, ::-1] if mirrored else clip, blur, rng)
        subject = find_subject(cv2, film)
        seen = [find_horizon(film[t], ~subject.mask[t]) for t in range(len(film))]
        horizon = join_horizons([seen[0], seen[0], seen[-1], seen[-1]], len(film))[1]
        found.append((statistics(cv2, film, subject, horizon), light_terms(shot, mirrored)))
    return found


def light_terms(shot: Shot, mirrored: bool) -> dict[str, str]:
    """A shot's light and angle; left out is what a cover of clouds or a lamp hides, and shadows without a sun."""
    side = _SIDES.get(shot.light_direction, shot.light_direction) if mirrored else shot.light_direction
    found = {"camera_angle": shot.camera_angle}
    if shot.light_source == "sky":
        found["light_direction"] = side
        if shot.time not in ("dawn", "dusk"):
            found["light_quality"] = shot.light_quality
    return found


def move_samples(cv2: Any, shot: Shot, seed: int, blur: float, rng: np.random.Generator) -> list[Sample]:
    """The evidence of a whole clip, as it is, mirrored, and both played backwards."""
    film = soft(cv2, render([shot], seed=seed)[0].numpy(), blur, rng)
    subject = find_subject(cv2, film)
    return turns(evidence(camera_path(cv2, film, subject.free(cv2, film), ~subject.mask), subject), shot)


def turns(seen: tuple[np.ndarray, np.ndarray], shot: Shot) -> list[Sample]:
    """One clip's evidence as four samples."""
    found = []
    for mirrored in (False, True):
        for backwards in (False, True):
            odd = seen[0] * (MIRRORED if mirrored else 1.0) * (-1.0 if backwards else 1.0)
            wanted = {axis: turned(term, mirrored, backwards) for axis, term in move_terms(shot).items()}
            found.append((np.concatenate([odd, seen[1]]), wanted))
    return found


def move_terms(shot: Shot) -> dict[str, str]:
    """A shot's movements, one answer to each question; one that follows is a truck."""
    moves = [f"truck-{shot.action.rpartition('-')[2]}"] if shot.camera == "follow" else shot.moves
    return {axis: next((move for move in moves if move in terms), "none") for axis, terms in MOVES.items()}


def soft(cv2: Any, clip: np.ndarray, blur: float, rng: np.random.Generator) -> np.ndarray:
    """A clip uint8 (T, H, W, 3) as float32 in 0..1, perhaps blurred and with a little noise."""
    film = np.ascontiguousarray(clip).astype(np.float32)
    if blur:
        film = np.stack([cv2.GaussianBlur(frame, (0, 0), blur * clip.shape[1]) for frame in film])
        film = film + rng.normal(0, 2, film.shape).astype(np.float32)
    return film.clip(0, 255) / 255


def table() -> dict[str, np.ndarray]:
    """The film set's palette, as `wan22/director/grading.py` reads it."""
    chances = {axis: AXES[axis] for axis in ("time", "saturation", "contrast")}
    amounts = {
        "normal": (1.0, 1.0),
        "high": (1.5, 1.45),
        "low": (0.45, 0.6),
    }  # scene.py's saturation and contrast
    found = {
        "times": [FAMILY.get(time, time) for time in SKY],
        "time chances": [chances["time"][time] for time in SKY],
        "skies": [[look[part] for part in ("zenith", "horizon", "sun", "ambient")] for look in SKY.values()],
        "focals": list(FOCAL.values()),
        "grounds": list(GROUND.values()),
        "paint names": list(PAINT),
        "paints": list(PAINT.values()),
        "tones": list(GRADE),
        "tone": list(GRADE.values()),
    }
    for i, axis in enumerate(("saturation", "contrast")):
        found[f"{axis}s"] = list(AXES[axis])
        found[axis] = [amounts[value.partition("-")[0]][i] for value in AXES[axis]]
        found[f"{axis} chances"] = list(chances[axis].values())
    return {name: np.array(values) for name, values in found.items()}


def _index(terms: tuple[str, ...], value: str | None) -> int:
    return _HIDDEN if value is None else terms.index(value)


def solve(
    samples: Sequence[Sample],
    axes: dict[str, tuple[str, ...]],
    groups: int,
    *,
    width: int,
    steps: int,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Fit one hidden layer and a softmax for each axis; `groups` samples in a row are one clip, left out together."""
    torch.manual_seed(0)
    rows = np.stack([row for row, _ in samples])
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-3
    x = torch.tensor(((rows - mean) / scale).clip(-REACH, REACH), dtype=torch.float32)
    y = {
        axis: torch.tensor([_index(terms, wanted.get(axis)) for _, wanted in samples])
        for axis, terms in axes.items()
    }
    sizes = [len(terms) for terms in axes.values()]
    held = torch.arange(len(x)) // groups % 10 == 0
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], width), torch.nn.Tanh(), torch.nn.Linear(width, sum(sizes))
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=steps)
    for _ in range(steps):
        seen = x[~held]
        parts = net(seen + 0.12 * torch.randn_like(seen)).split(sizes, dim=1)
        loss = sum(
            torch.nn.functional.cross_entropy(
                part, y[axis][~held], ignore_index=_HIDDEN, label_smoothing=0.02
            )
            for axis, part in zip(axes, parts, strict=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        parts = net(x[held]).split(sizes, dim=1)
    right = {
        axis: float((part.argmax(dim=1) == y[axis][held])[y[axis][held] != _HIDDEN].float().mean())
        for axis, part in zip(axes, parts, strict=True)
    }
    w1, b1, w2, b2 = (parameter.detach().numpy().T.astype(np.float32) for parameter in net.parameters())
    found = {
        "mean": mean.astype(np.float32),
        "scale": scale.astype(np.float32),
        "w1": w1,
        "b1": b1,
        "w2": w2,
        "b2": b2,
    }
    return found | {f"axis {axis}": np.array(terms) for axis, terms in axes.items()}, right
