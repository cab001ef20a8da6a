"""The recipe of the nano model's adapters for four steps: a rank-7 LoRA for each expert, 0.57 MB each.

    python -m wan22.nano nano-fast --teacher MODEL      everything, in resumable pieces (see wan22/train/distill/run.py)
    python -m wan22.nano nano-fast --teacher MODEL --stage ship      put the adapters into the model's folder

The prompts are captions of the film set; no video is rendered.
"""

import random
from pathlib import Path

from wan22.engine import load
from wan22.library import open_model
from wan22.stage.caption import caption
from wan22.stage.labels import sample
from wan22.train.distill import DistillRecipe, distill, ship
from wan22.train.distill.trajectories import Recording
from wan22.train.log import Log
from wan22.train.recipe import OptimiserPart

SEED = 61


def recipe() -> DistillRecipe:
    """About a quarter of an hour on one core: 160 videos of the teacher, then 500 steps of each adapter."""
    return DistillRecipe(
        recording=Recording(count=160, seed=SEED),
        optimiser=OptimiserPart(
            steps=500, learning_rate=2e-3, warmup=20, floor=0.02, batch_size=6, ema_decay=0.98
        ),
        rank=7,  # with 8 all that the package ships would be more than 48 MiB
        alpha=7.0,
        seed=SEED,
    )


def prompts(count: int) -> list[str]:
    """Captions of training shots, in every language by its share."""
    words = random.Random(f"nano-fast {SEED}")
    return [caption(shot, words).text for shot in sample(count, SEED)]


def run(stage: str, folder: Path, teacher: str = "nano", *, log: Log, minutes: float | None = None) -> None:
    """Distil `teacher` by the recipe, or go on; the stage "ship" puts what was made into the teacher's folder.

    Raises a Wan22Error for what cannot be.
    """
    if stage == "ship":
        model = open_model(teacher)
        ship(folder / "fast", model)
        log(f"{model.name} ships adapters for few steps")
        return
    made = recipe()
    texts = prompts(made.recording.count)
    distill(load(teacher), texts, made, folder, stage=stage, log=log, minutes=minutes)
