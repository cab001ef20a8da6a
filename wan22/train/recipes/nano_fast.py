"""The recipe of the nano model's adapters for four steps: a rank-8 LoRA for each expert, about 0.65 MB each.

    python -m wan22.train nano-fast --teacher MODEL      everything, in resumable pieces (see wan22/train/distill.py)

The prompts are captions of the film set; no film is rendered.
"""

import random
from pathlib import Path

from wan22.engine import load
from wan22.stage.caption import caption
from wan22.stage.labels import sample
from wan22.train.distill import DistilRecipe, distil
from wan22.train.recipe import OptimiserPart
from wan22.train.trajectories import Recording
from wan22.train.vae import Log

SEED = 61


def recipe() -> DistilRecipe:
    """About a quarter of an hour on one core: 160 films of the teacher, then 500 steps of each adapter."""
    return DistilRecipe(
        recording=Recording(count=160, seed=SEED),
        optimiser=OptimiserPart(steps=500, rate=2e-3, warmup=20, floor=0.02, batch=6, ema=0.98),
        seed=SEED,
    )


def prompts(count: int) -> list[str]:
    """Captions of training shots, in every language by its share."""
    words = random.Random(f"nano-fast {SEED}")
    return [caption(shot, words).text for shot in sample(count, SEED)]


def run(stage: str, folder: Path, teacher: str = "nano", *, log: Log, minutes: float | None = None) -> None:
    """Distil `teacher` by the recipe, or go on. Raises a Wan22Error for what cannot be."""
    made = recipe()
    distil(load(teacher), prompts(made.recording.count), made, folder, stage=stage, log=log, minutes=minutes)
