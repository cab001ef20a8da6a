"""Fit what is familiar to the measure, and the limit beyond which it names nothing: a part of wan22/director/looks.npz.

Five moments of clips of the training split, as they are and blurred as in `looks.py`, beside other footage: what
`foreign.py` draws, and the puppet. The limit is what all but a few of the training clips keep that were left out.
Neither the held-out split is looked at, nor photographs, videos and leaves: they tell whether it holds. About five
minutes on one core for 250 clips.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.foreign import drawings
from bench.looks import BLURS, soft
from wan22.director.familiar import Familiar, familiar, look
from wan22.director.fitted import WEIGHTS
from wan22.director.flow import find_horizon, join_horizons
from wan22.director.image import light_evidence
from wan22.director.measure import at_unit
from wan22.director.subject import find_subject
from wan22.stage.labels import sample
from wan22.stage.render import render

_MOMENTS, _SECONDS = 5, 2.0
_PARTS = 5  # each is left out once, to find the limit
_TURNED_AWAY = 0.03  # share of the training clips left out that lie beyond the limit
_WAYS, _DECAY = 25, 0.01


def fit_gate(count: int, seed: int) -> float:
    """Render `count` training shots and write what is familiar to looks.npz; returns the share that is turned away."""
    import cv2

    rng = np.random.default_rng(seed)
    rows = []
    for i, shot in enumerate(sample(count, seed)):
        clip = render([shot], frames=_MOMENTS, fps=(_MOMENTS - 1) / _SECONDS, seed=seed * 100_000 + i)[
            0
        ].numpy()
        rows.append(looked(cv2, soft(cv2, clip, BLURS[i % 3], rng)))
    other = []
    for clip in drawings(max(8, count // 30), seed):
        if clip.kind != "leaves":
            moments = np.linspace(0, len(clip.frames) - 1, _MOMENTS).astype(int)
            other.append(looked(cv2, at_unit(clip.frames, moments)))
    return write(np.stack(rows), np.stack(other), WEIGHTS)


def looked(cv2: Any, frames: np.ndarray) -> np.ndarray:
    """What is looked at of a few moments, float32 (5, H, W, 3), and of their mirror image, (2, n)."""
    body = find_subject(cv2, frames)
    lines = [find_horizon(frame, ~mask) for frame, mask in zip(frames, body.mask, strict=True)]
    light = light_evidence(cv2, frames, body, join_horizons(lines, len(frames))[1])
    return look(cv2, frames, body.mask, light)


def write(rows: np.ndarray, other: np.ndarray, output: Path) -> float:
    """Put what is familiar into the file of networks; amounts of training clips and of other footage, (clips, 2, n)."""
    part = np.arange(len(rows)) % _PARTS
    left_out = [(told_apart(rows[part != k], other), rows[part == k]) for k in range(_PARTS)]
    beyond = np.array([known.strangeness(row) for known, some in left_out for row in some])
    limit = float(np.quantile(beyond, 1 - _TURNED_AWAY))
    found = told_apart(rows, other)
    with np.load(output) as stored:
        numbers = {key: stored[key] for key in stored.files if not key.startswith("familiar ")}
    numbers |= {
        f"familiar {key}": getattr(found, key).astype(np.float32)
        for key in ("mean", "scale", "spread", "rule")
    }
    numbers |= {"familiar ways": found.ways.astype(np.float16)}
    numbers |= {"familiar rest": np.float32(found.rest), "familiar limit": np.float32(limit)}
    np.savez_compressed(output, **numbers)
    familiar.cache_clear()
    return float((beyond > limit).mean())


def told_apart(rows: np.ndarray, other: np.ndarray) -> Familiar:
    """Fit the rule: training clips to below 0, other footage above, each side counting alike."""
    known = Familiar.of(rows.reshape(-1, rows.shape[-1]), _WAYS)
    sides = [torch.tensor(known.seen(part.reshape(-1, part.shape[-1]))) for part in (rows, other)]
    rule = torch.zeros(sides[0].shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([rule], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        wrong = (
            torch.nn.functional.softplus(sides[0] @ rule).mean()
            + torch.nn.functional.softplus(-sides[1] @ rule).mean()
        )
        total = wrong / 2 + _DECAY * (rule[:-1] ** 2).sum()
        total.backward()
        return total

    optimiser.step(loss)
    return replace(known, rule=rule.detach().numpy())
