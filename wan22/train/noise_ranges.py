"""Which noise each expert learns: its side of the boundary, and the levels that a batch is drawn at.

At and above the boundary the high-noise expert works, below it the low-noise one (catalog.Variant.boundary); a lone
network learns all. What is drawn never leaves a side, to the last bit of a float32.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wan22.catalog import Variant
from wan22.errors import OptionError
from wan22.train.flow_matching import draw_sigmas
from wan22.train.recipe import NoisePart, Recipe


@dataclass(frozen=True)
class NoiseRange:
    """The noise of one expert: `low` <= sigma <= `high`, or < `high` if `open`; spread as `shift` spreads steps."""

    expert: str
    low: float
    high: float
    shift: float
    open: bool = False

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise levels float32 (count,), stratified; all on this side."""
        drawn = draw_sigmas(self.shift, (self.low, self.high), count, generator)
        # Shifting there and back rounds: a level may step over the end of the range by a bit.
        return drawn.clamp(_at_least(self.low), _below(self.high) if self.open else _at_most(self.high))

    def __str__(self) -> str:
        return f"sigma {self.low:g} to {'below ' if self.open else ''}{self.high:g}, shift {self.shift:g}"


def trained_experts(recipe: Recipe, variant: Variant) -> tuple[str, ...]:
    """The experts that a recipe trains, in the order of the model. Raises OptionError for one that it has not."""
    wanted = recipe.model.experts or variant.experts
    absent = [name for name in wanted if name not in variant.experts]
    if absent:
        raise OptionError(
            f"model.experts names {', '.join(absent)}, and {variant.name} has {', '.join(variant.experts)}"
        )
    return tuple(name for name in variant.experts if name in wanted)


def steps_of(recipe: Recipe, variant: Variant) -> dict[str, int]:
    """The steps of every expert that is trained. Raises OptionError if the recipe names others than these."""
    wanted, steps = trained_experts(recipe, variant), recipe.optimiser.steps
    if isinstance(steps, int):
        return dict.fromkeys(wanted, steps)
    said = steps.said
    if missing := [name for name in wanted if name not in said]:
        raise OptionError(
            f"optimiser.steps says nothing of {', '.join(missing)}; trained: {', '.join(wanted)}. Give each its steps, "
            "or leave it out by model.experts"
        )
    if others := [name for name in said if name not in wanted]:
        raise OptionError(
            f"optimiser.steps.{others[0]} are the steps of an expert that is not trained; trained: {', '.join(wanted)}"
        )
    return {name: said[name] for name in wanted}


def noise_ranges(recipe: Recipe, variant: Variant) -> dict[str, NoiseRange]:
    """The noise of every expert that is trained. Raises OptionError if a range leaves an expert nothing."""
    wanted = trained_experts(recipe, variant)
    for expert in ("high", "low", "dit"):
        if recipe.noise.of(expert) is not None and expert not in wanted:
            raise OptionError(
                f"noise.{expert} is the range of an expert that is not trained; trained: {', '.join(wanted)}"
            )
    return {expert: noise_range(expert, recipe.noise, variant) for expert in wanted}


def noise_range(expert: str, noise: NoisePart, variant: Variant) -> NoiseRange:
    """The noise of an expert: its side of the boundary, within the recipe's range. Raises OptionError."""
    shift = noise.shift or variant.defaults.shift
    whole = NoiseRange(expert, 0.0, 1.0, shift)
    if variant.boundary is not None and expert == "high":
        whole = NoiseRange(expert, variant.boundary, 1.0, shift)
    elif variant.boundary is not None and expert == "low":
        whole = NoiseRange(expert, 0.0, variant.boundary, shift, open=True)
    given = noise.of(expert)
    if given is None:
        return whole
    low, high = max(given[0], whole.low), min(given[1], whole.high)
    if low >= high:
        raise OptionError(
            f"noise.{expert} = {list(given)} leaves the expert nothing: its side is {whole.low:g} to {whole.high:g}"
            + (f" (the boundary of {variant.name} is {variant.boundary:g})" if variant.boundary else "")
        )
    return NoiseRange(expert, low, high, shift, open=whole.open and high == whole.high)


def generator(seed: int, expert: str, step: int, part: int) -> torch.Generator:
    """The randomness of one part of a step of an expert: a function of nothing else, so that a run can go on."""
    digest = hashlib.sha256(f"{seed} {expert} {step} {part}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


def _at_least(value: float) -> float:
    """The smallest float32 that is not under `value`."""
    near = np.float32(value)
    return float(near if float(near) >= value else np.nextafter(near, np.float32(np.inf)))


def _at_most(value: float) -> float:
    near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))


def _below(value: float) -> float:
    """The largest float32 under `value`."""
    near = np.float32(value)
    return float(near if float(near) < value else np.nextafter(near, np.float32(-np.inf)))
