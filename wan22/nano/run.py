"""One run of a recipe: where it is kept, on which device it learns, and how much of the recipe it does."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch

from wan22.nano.dit import DiTRecipe
from wan22.nano.reward_model import RewardModelRecipe
from wan22.nano.reward_tuning import RewardTuningRecipe
from wan22.nano.state import CPU
from wan22.nano.vae import VAERecipe
from wan22.train.log import Log

AnyRecipe = TypeVar("AnyRecipe", DiTRecipe, VAERecipe, RewardModelRecipe, RewardTuningRecipe)


@dataclass(frozen=True)
class Size:
    """How much of a recipe a run does.

    `steps` by stage stand for the recipe's own. `videos` is the share of its clips that are rendered. Batches are
    `batch` times the recipe's. Of `captions` above 0, so many of each clip are composed ahead, by `processes`; of 0,
    each is composed when it is needed. `read` captions of a language tell how well the text encoder reads.
    """

    steps: Mapping[str, int] = field(default_factory=dict)
    videos: float = 1.0
    batch: int = 1
    captions: int = 0
    processes: int = 0
    read: int = 500
    compiled: bool = True

    def count(self, clips: int) -> int:
        """How many of so many clips."""
        return clips if self.videos >= 1 else max(1, round(clips * self.videos))


@dataclass(frozen=True)
class Run:
    """A run under way. Stages read from `folder` and train in `training`, which is the same unless they are tried."""

    folder: Path
    log: Log
    minutes: float | None = None
    device: torch.device = CPU
    size: Size = field(default_factory=Size)
    tried: Path | None = None

    @property
    def training(self) -> Path:
        return self.tried or self.folder

    def sized(self, stage: str, recipe: AnyRecipe) -> AnyRecipe:
        """A stage's recipe as far as this run does it: the recipe itself, if it does all."""
        size, optimiser = self.size, recipe.optimiser
        if stage in size.steps:
            steps = size.steps[stage]
            warmup = min(optimiser.warmup, max(1, steps // 10))
            recipe = replace(recipe, optimiser=replace(optimiser, steps=steps, warmup=warmup))
        if isinstance(recipe, VAERecipe):
            return replace(recipe, shapes=tuple((size.batch * b, *more) for b, *more in recipe.shapes))
        recipe = replace(recipe, batch=size.batch * recipe.batch)
        if isinstance(recipe, RewardTuningRecipe):
            high, low = (
                replace(each, batch=size.batch * each.batch, compiled=each.compiled and size.compiled)
                for each in (recipe.high, recipe.low)
            )
            return replace(recipe, high=high, low=low)
        return replace(recipe, compiled=recipe.compiled and size.compiled)
