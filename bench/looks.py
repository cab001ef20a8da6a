"""Fit the measure on the film set's training split: wan22/director/looks.npz.

It holds the set's palette (`table`), from which colours are explained, and three small networks: "light" for light,
angle and size, from three moments of many shots; "moves" for the camera and "action" for the subject, from whole clips.
All see clips as they are and blurred as a small model's images are, and each with its mirror image; the held-out
split is not touched. About 25 minutes on one core for 3000 shots; the numbers that ship saw 6800 for light and
followed 1127 through.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from wan22.director.camera import MIRRORED, cleaned, evidence, turned
from wan22.director.fitted import REACH, WEIGHTS, fitted, in_mirror
from wan22.director.flow import CameraPath, camera_path, find_horizon, join_horizons
from wan22.director.image import FAMILY, light_evidence
from wan22.director.movement import action_evidence, own_path
from wan22.director.subject import Subject, find_subject
from wan22.stage.labels import AXES, Shot, sample
from wan22.stage.palette import GRADE, GROUND, PAINT, SKY
from wan22.stage.render import render
from wan22.stage.scene import FOCAL

LIGHT = {
    axis: tuple(AXES[axis]) for axis in ("light_direction", "light_quality", "camera_angle", "shot_size")
}
ACTION = {"action": tuple(action for action in AXES["action"] if action != "spin")}
MOVES = {
    "across": ("none", "pan-right", "pan-left", "truck-right", "truck-left", "orbit-right", "orbit-left"),
    "upright": ("none", "tilt-up", "tilt-down", "crane-up", "crane-down"),
    "depth": ("none", "zoom-in", "zoom-out", "dolly-in", "dolly-out"),
    "roll": ("none", "roll-clockwise", "roll-counterclockwise"),
}
BLURS = (0.0, 0.01, 0.0175)  # share of the height
_APART = 8  # frames between the moments at which light is looked at

_HIDDEN = -100  # a label that cannot be seen

Sample = tuple[np.ndarray, dict[str, str]]


class Whole(NamedTuple):
    """What is found in a whole clip."""

    shot: Shot
    path: CameraPath
    subject: Subject


def fit(count: int, seed: int) -> dict[str, float]:
    """Render `count` training shots, and follow a third of them through, fit the networks, and write them to looks.npz.

    Returns the share that is right on a tenth left out, by axis.
    """
    import cv2

    rng = np.random.default_rng(seed)
    light, clips = [], []
    for i, shot in enumerate(sample(count, seed)):
        video = soft(cv2, render([shot], seed=seed * 100_000 + i)[0].numpy(), BLURS[i % 3], rng)
        light += light_samples(cv2, video[::_APART], shot)
        if i // 3 % 3 == 0:
            clips.append(whole(cv2, video, shot))
    return write(light, clips, WEIGHTS)


def write(light: Sequence[Sample], clips: Sequence[Whole], output: Path) -> dict[str, float]:
    """Fit the networks and write them with the palette; an action is read from a path that the moves have cleaned."""
    numbers, right = dict(table()), {}
    for name, make, axes, groups, spec in (
        ("light", lambda: light, LIGHT, 2, LIGHT_FIT),
        ("moves", lambda: [each for clip in clips for each in turns(clip)], MOVES, 4, MOVES_FIT),
        ("action", lambda: [each for clip in clips for each in action_samples(clip)], ACTION, 2, ACTION_FIT),
    ):
        part, share = solve(make(), axes, groups, spec)
        numbers |= {f"{name} {key}": values for key, values in part.items()}
        right |= share
        np.savez_compressed(output, **numbers)
        fitted.cache_clear()
    return right


def light_samples(cv2: Any, video: np.ndarray, shot: Shot) -> list[Sample]:
    """The evidence of a few moments of a shot, float32 (T, H, W, 3) in 0..1, and of their mirror image."""
    subject = find_subject(cv2, video)
    first, middle, last = (find_horizon(video[t], ~subject.mask[t]) for t in (0, len(video) // 2, -1))
    horizon = join_horizons([first, first, middle, last, last], len(video))[1]
    there, back = light_evidence(cv2, video, subject, horizon)
    return [(there, light_terms(shot, mirrored=False)), (back, light_terms(shot, mirrored=True))]


def light_terms(shot: Shot, mirrored: bool) -> dict[str, str]:
    """A shot's light, angle and size; left out is what a cover of clouds or a lamp hides, and shadows without a sun."""
    found = {"camera_angle": shot.camera_angle}
    if shot.camera_angle != "overhead":
        found["shot_size"] = shot.shot_size
    if shot.light_source == "sky":
        found["light_direction"] = in_mirror(shot.light_direction) if mirrored else shot.light_direction
        if shot.time not in ("dawn", "dusk"):
            found["light_quality"] = shot.light_quality
    return found


def whole(cv2: Any, video: np.ndarray, shot: Shot) -> Whole:
    """Camera and subject of a whole clip, float32 (T, H, W, 3) in 0..1."""
    subject = find_subject(cv2, video)
    return Whole(shot, camera_path(cv2, video, subject.free(cv2, video), ~subject.mask), subject)


def turns(clip: Whole) -> list[Sample]:
    """A clip's evidence of its camera, as it is, mirrored, and both played backwards."""
    found = []
    odd, even = evidence(clip.path, clip.subject)
    for mirrored in (False, True):
        for backwards in (False, True):
            seen = odd * (MIRRORED if mirrored else 1.0) * (-1.0 if backwards else 1.0)
            wanted = {axis: turned(term, mirrored, backwards) for axis, term in move_terms(clip.shot).items()}
            found.append((np.concatenate([seen, even]), wanted))
    return found


def action_samples(clip: Whole) -> list[Sample]:
    """A clip's evidence of what its subject does, and that of its mirror image; a turn on the spot is no movement."""
    own = own_path(cleaned(clip.path, clip.subject), clip.subject)
    turning, lasting = action_evidence(clip.path, clip.subject, own)
    action = "still" if clip.shot.action == "spin" else clip.shot.action
    return [
        (np.concatenate([turning, lasting]), {"action": action}),
        (np.concatenate([-turning, lasting]), {"action": in_mirror(action)}),
    ]


def move_terms(shot: Shot) -> dict[str, str]:
    """A shot's movements, one answer to each question; one that follows is a truck."""
    moves = [f"truck-{shot.action.rpartition('-')[2]}"] if shot.camera == "follow" else shot.moves
    return {axis: next((move for move in moves if move in terms), "none") for axis, terms in MOVES.items()}


def soft(cv2: Any, clip: np.ndarray, blur: float, rng: np.random.Generator) -> np.ndarray:
    """A clip uint8 (T, H, W, 3) as float32 in 0..1, perhaps blurred and with a little noise."""
    video = np.ascontiguousarray(clip).astype(np.float32)
    if blur:
        video = np.stack([cv2.GaussianBlur(frame, (0, 0), blur * clip.shape[1]) for frame in video])
        video = video + rng.normal(0, 2, video.shape).astype(np.float32)
    return video.clip(0, 255) / 255


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


class Fit(NamedTuple):
    """How a network is fitted: hidden numbers, steps, weight decay, and how far its evidence is disturbed."""

    width: int
    steps: int
    decay: float
    noise: float
    dropout: float
    rate: float = 5e-3
    batch: int = 512


LIGHT_FIT = Fit(96, 3000, 0.5, 0.3, 0.4)
MOVES_FIT = Fit(64, 3000, 0.3, 0.12, 0.1)
ACTION_FIT = Fit(32, 2000, 0.5, 0.2, 0.2)


def solve(
    samples: Sequence[Sample], axes: dict[str, tuple[str, ...]], groups: int, spec: Fit
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Fit one hidden layer and a softmax for each axis; `groups` samples in a row are one clip, left out together."""
    torch.manual_seed(0)
    rows = np.stack([row for row, _ in samples])
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-3
    x = torch.tensor(((rows - mean) / scale).clip(-REACH, REACH), dtype=torch.float32)
    y = torch.tensor(
        [[_index(terms, wanted.get(axis)) for axis, terms in axes.items()] for _, wanted in samples]
    )
    sizes = [len(terms) for terms in axes.values()]
    held = torch.arange(len(x)) // groups % 10 == 0
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], spec.width),
        torch.nn.Tanh(),
        torch.nn.Dropout(spec.dropout),
        torch.nn.Linear(spec.width, sum(sizes)),
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=spec.rate / 2, weight_decay=spec.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, spec.rate, total_steps=spec.steps)
    seen, wanted = x[~held], y[~held]
    for _ in range(spec.steps):
        some = torch.randint(len(seen), (spec.batch,))
        noise = spec.noise * torch.randn(spec.batch, x.shape[1])
        parts = net(seen[some] + noise).split(sizes, dim=1)
        loss = sum(
            torch.nn.functional.cross_entropy(
                part, wanted[some, i], ignore_index=_HIDDEN, label_smoothing=0.02
            )
            for i, part in enumerate(parts)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        parts = net(x[held]).split(sizes, dim=1)
    right = {}
    for i, (axis, part) in enumerate(zip(axes, parts, strict=True)):
        known = y[held, i] != _HIDDEN
        right[axis] = float((part.argmax(dim=1) == y[held, i])[known].float().mean())
    w1, b1, w2, b2 = (parameter.detach().numpy().T for parameter in net.parameters())
    found = {"mean": mean, "scale": scale, "w1": w1, "b1": b1, "w2": w2, "b2": b2}
    # Half precision is finer than the fit: it changes no reading.
    halves = {name: values.astype(np.float16) for name, values in found.items()}
    return halves | {f"axis {axis}": np.array(terms) for axis, terms in axes.items()}, right
