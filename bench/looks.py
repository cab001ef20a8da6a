"""Fit the light and colour part of the measure on the film set's training split: wan22/director/looks.npz.

Every shot is rendered small, at two moments a second apart, as it is and mirrored, sharp and blurred as a small model's
pictures are; the held-out split is not touched. About 15 minutes on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wan22.director.flow import find_horizon, join_horizons
from wan22.director.picture import FAMILY, statistics
from wan22.director.subject import find_subject
from wan22.stage.labels import AXES, Shot, sample
from wan22.stage.render import render

FITTED = (
    "colour", "time", "tone", "saturation", "contrast", "light_direction", "light_quality", "camera_angle",
)  # fmt: skip
_BLURS = (0.0, 0.0, 0.6)  # pixels at 64x40
_HIDDEN, _STEPS, _DECAY = 48, 1500, 3e-3
_SIDES = {"left": "right", "right": "left"}


def fit(count: int, seed: int, output: Path) -> dict[str, float]:
    """Render `count` training shots, fit, write the weights, and return the share that is right on a tenth left out."""
    import cv2

    shots = sample(count, seed)
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for i in range(0, count, 10):
        clips = render(
            shots[i : i + 10], height=40, width=64, frames=2, fps=1.0, seed=seed * 1000 + i
        ).numpy()
        for j, (shot, clip) in enumerate(zip(shots[i : i + 10], clips, strict=True)):
            for mirrored in (False, True):
                rows.append(numbers(cv2, clip, mirrored, _BLURS[(i + j + mirrored) % 3], rng))
                labels.append(answers(shot, mirrored))
    return solve(np.array(rows), labels, output)


def numbers(
    cv2: object, clip: np.ndarray, mirrored: bool, blur: float, rng: np.random.Generator
) -> np.ndarray:
    """Statistics of a clip uint8 (T, H, W, 3), perhaps mirrored, blurred and with a little noise."""
    clip = np.ascontiguousarray(clip[:, :, ::-1]) if mirrored else clip
    film = clip.astype(np.float32)
    if blur:
        film = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in film])  # ty: ignore
        film = film + rng.normal(0, 2, film.shape).astype(np.float32)
    film = film.clip(0, 255) / 255
    subject = find_subject(cv2, film)
    seen = [find_horizon(film[t], ~subject.mask[t]) for t in range(len(film))]
    horizon = join_horizons([seen[0], seen[0], seen[-1], seen[-1]], len(film))[1]
    return statistics(cv2, film, subject, horizon)


def answers(shot: Shot, mirrored: bool = False) -> dict[str, str]:
    """The labels that are to be told, families of times for times."""
    found = {axis: FAMILY.get(getattr(shot, axis), getattr(shot, axis)) for axis in FITTED}
    if mirrored:
        found["light_direction"] = _SIDES.get(found["light_direction"], found["light_direction"])
    return found


def values(axis: str) -> tuple[str, ...]:
    """The terms of an axis that are told apart."""
    return tuple(dict.fromkeys(FAMILY.get(value, value) for value in AXES[axis]))


def solve(rows: np.ndarray, labels: Sequence[dict[str, str]], output: Path) -> dict[str, float]:
    """Fit one hidden layer and a softmax for each axis; mirrored pairs stay on one side of the split."""
    torch.manual_seed(0)
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-3
    x = torch.tensor(((rows - mean) / scale).clip(-4, 4), dtype=torch.float32)
    classes = {axis: values(axis) for axis in FITTED}
    y = {axis: torch.tensor([terms.index(each[axis]) for each in labels]) for axis, terms in classes.items()}
    held = torch.arange(len(x)) // 2 % 10 == 0
    total = sum(len(terms) for terms in classes.values())
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], _HIDDEN), torch.nn.Tanh(), torch.nn.Linear(_HIDDEN, total)
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=_DECAY * 10)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=_STEPS)
    for _ in range(_STEPS):
        noisy = x[~held] + 0.1 * torch.randn_like(x[~held])
        parts = net(noisy).split([len(terms) for terms in classes.values()], dim=1)
        loss = sum(
            torch.nn.functional.cross_entropy(part, y[axis][~held], label_smoothing=0.02)
            for axis, part in zip(classes, parts, strict=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        parts = net(x[held]).split([len(terms) for terms in classes.values()], dim=1)
        right = {
            axis: float((part.argmax(dim=1) == y[axis][held]).float().mean())
            for axis, part in zip(classes, parts, strict=True)
        }
    weights = [parameter.detach().numpy() for parameter in net.parameters()]
    np.savez_compressed(
        output,
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        w1=weights[0].T.astype(np.float16),
        b1=weights[1].astype(np.float16),
        w2=weights[2].T.astype(np.float16),
        b2=weights[3].astype(np.float16),
        **{f"axis {axis}": np.array(terms) for axis, terms in classes.items()},
    )
    return right
