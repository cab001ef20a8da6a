"""What an evaluation works on: what is asked of every video, and the real clips that videos are compared with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from wan22.conditioning.image import cover, to_pixels
from wan22.media.video import probe, read_clip
from wan22.stage.caption import caption
from wan22.stage.labels import Shot, labels, sample
from wan22.stage.render import render
from wan22.train.evaluation.recipe import EvalPrompt, EvalRecipe, caption_of

STAGE_SEED = 1000
"""The held-out list of the film set is `sample(count, STAGE_SEED + seed, split="held-out")`."""


@dataclass(frozen=True)
class Reference:
    """A real clip: what it is called and shows, and its frames at (size, count, fps), uint8 (T, H, W, 3)."""

    name: str
    prompt: str
    labels: dict[str, str] | None
    frames: Callable[[tuple[int, int], int, float], np.ndarray]


def held_out(count: int, seed: int = 0, language: str | None = None) -> list[tuple[Shot, EvalPrompt]]:
    """The film set's fixed list: shots that no training sees, in phrasings that none sees; what is said is judged.

    Languages come by their share in training, unless one is named. Raises OptionError for an unknown one.
    """
    words = random.Random(f"held-out captions {seed}")
    found = []
    for shot in sample(count, STAGE_SEED + seed, split="held-out"):
        said = caption(shot, words, language=language, held_out=True)
        asked = {axis: value for axis, value in labels(shot).items() if axis in said.said}
        found.append((shot, EvalPrompt(said.text, asked)))
    return found


def material(recipe: EvalRecipe) -> tuple[list[EvalPrompt], list[Reference]]:
    """What is asked of every video, and the real clips."""
    files = [_from_file(path) for path in recipe.clips]
    if recipe.prompt_list:
        return [recipe.prompt_list[i % len(recipe.prompt_list)] for i in range(recipe.videos)], files
    stage = held_out(recipe.videos, recipe.seed)
    renders = [_from_stage(shot, asked, i) for i, (shot, asked) in enumerate(stage)]
    return [asked for _, asked in stage], files or renders


def _from_stage(shot: Shot, asked: EvalPrompt, i: int) -> Reference:
    def frames(size: tuple[int, int], count: int, fps: float) -> np.ndarray:
        return _rendered(shot, size, count, fps, STAGE_SEED + i)

    return Reference(f"stage {i}", asked.prompt, dict(asked.labels or {}), frames)


@lru_cache(maxsize=32)
def _rendered(shot: Shot, size: tuple[int, int], count: int, fps: float, seed: int) -> np.ndarray:
    return render([shot], height=size[1], width=size[0], frames=count, fps=fps, seed=seed)[0].numpy()


def _from_file(path: Path) -> Reference:
    def frames(size: tuple[int, int], count: int, fps: float) -> np.ndarray:
        rate = probe(path).fps
        taken = (np.arange(count) * rate / fps).round().astype(int)
        clip = read_clip(path, max_frames=int(taken[-1]) + 1).frames
        return np.stack([cover(clip[min(t, len(clip) - 1)], size) for t in taken])

    return Reference(path.name, caption_of(path), None, frames)


def to_video(frames: np.ndarray) -> torch.Tensor:
    """uint8 (T, H, W, 3) to float32 (1, 3, T, H, W) in [-1, 1]."""
    return torch.stack([to_pixels(frame) for frame in frames], dim=1)[None]
