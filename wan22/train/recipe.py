"""A training recipe: a small TOML file, read into frozen values; what is wrong is said before anything is loaded.

It knows no network and no torch. What depends on the model (its experts, its boundary) is checked in noise_ranges.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from wan22.errors import OptionError
from wan22.files import read_toml
from wan22.train.settings import dotted, read_part, rule

TASKS = ("t2v", "i2v", "ti2v", "s2v")
EXPERTS = ("high", "low", "dit")


@dataclass(frozen=True)
class ModelPart:
    """Which model, for which task, and which of its experts; None is all that the model has."""

    name: str
    task: str | None = rule(None, known=TASKS)
    experts: tuple[str, ...] | None = rule(None, known=EXPERTS)


@dataclass(frozen=True)
class AdapterPart:
    """A LoRA of scale alpha / rank (alpha is the rank if it is not said), on the matrices `targets` of every block."""

    rank: int = rule(16, low=1, high=1024)
    alpha: float | None = rule(None, above=0)
    targets: tuple[str, ...] | None = None
    dialect: str = rule("comfy", known=("diffusers", "comfy", "kohya", "lightx2v"))


@dataclass(frozen=True)
class DataPart:
    """Films to learn from. `size` is (width, height), `frames` the lengths of clips, at `fps`.

    `caption_dropout` is the share of clips that are shown without their text (and sound), so that guidance can be made.
    """

    sources: tuple[str, ...]
    size: tuple[int, int]
    frames: tuple[int, ...] = rule(low=1)
    fps: float = rule(above=0, high=240)
    caption_dropout: float = rule(0.1, low=0, high=1)
    cache: str | None = None


@dataclass(frozen=True)
class PicturePart:
    """Shares of the batches in which the first picture of the clips is known, the last, or both; in the others none is.
    For the task ti2v, whose model may be told of pictures.
    """

    first: float = rule(0.5, low=0, high=1)
    last: float = rule(0.0, low=0, high=1)
    both: float = rule(0.0, low=0, high=1)

    @property
    def ends(self) -> bool:
        """Whether a last picture is ever known."""
        return self.last + self.both > 0


@dataclass(frozen=True)
class SpeechPart:
    """For the task s2v. `worn` is how noisy, at most, a past is made: a model's own past is not as clean as a film. A
    mouth is a small part of a picture: where a clip moves in time by `moving` (deviations of the latents), its error
    counts double, and up to `most` times where it moves more (1: everywhere alike).
    """

    worn: float = rule(0.15, low=0, high=1)
    moving: float = rule(0.05, above=0)
    most: float = rule(10.0, low=1)


@dataclass(frozen=True)
class NoisePart:
    """Where noise levels are drawn: shifted as sampling shifts them; an expert's range may be narrowed."""

    shift: float | None = rule(None, low=0.01, high=100)
    high: tuple[float, float] | None = rule(None, low=0, high=1)
    low: tuple[float, float] | None = rule(None, low=0, high=1)
    dit: tuple[float, float] | None = rule(None, low=0, high=1)

    def of(self, expert: str) -> tuple[float, float] | None:
        """The range that the recipe gives to an expert."""
        return {"high": self.high, "low": self.low, "dit": self.dit}[expert]


@dataclass(frozen=True)
class StepsPart:
    """Steps that differ between the experts."""

    high: int | None = rule(None, low=1)
    low: int | None = rule(None, low=1)
    dit: int | None = rule(None, low=1)

    @property
    def said(self) -> dict[str, int]:
        """The steps of every expert that is named."""
        return {name: steps for name, steps in asdict(self).items() if steps is not None}


@dataclass(frozen=True)
class OptimiserPart:
    """How each expert learns, for `steps` steps of `batch` clips, `accumulate` times.

    The rate rises over `warmup` steps and then falls by `decay` to `floor` of its peak. Gradients are clipped at the
    norm `clip` (0: not at all). `ema` is the rate of the moving average that is handed out (0: none).
    """

    steps: int | StepsPart = rule(low=1)  # noqa: RUF009 - a field without default
    name: str = rule("adamw", known=("adamw", "muon"))
    rate: float = rule(1e-4, above=0, high=1)
    warmup: int = rule(100, low=0)
    decay: str = rule("cosine", known=("cosine", "constant", "linear"))
    floor: float = rule(0.0, low=0, high=1)
    batch: int = rule(1, low=1)
    accumulate: int = rule(1, low=1)
    clip: float = rule(1.0, low=0)
    ema: float = rule(0.0, low=0, below=1)
    weight_decay: float = rule(0.0, low=0, high=1)

    def of(self, expert: str) -> OptimiserPart:
        """The settings of one expert, whose `steps` are a number."""
        return self if isinstance(self.steps, int) else replace(self, steps=self.steps.said[expert])

    def rate_at(self, step: int) -> float:
        """The learning rate of a step (from 0); of one expert, as `of` gives it."""
        assert isinstance(self.steps, int)
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        if self.decay == "constant":
            return self.rate
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        left = 1 - done if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.rate * (self.floor + (1 - self.floor) * left)


@dataclass(frozen=True)
class MemoryPart:
    """What is kept how. `dtype` is what products are computed in; `base` is how the weights are held (None: bf16 under
    an adapter, else fp32). The experts take turns of `stretch` steps, and the one that waits is at `rest`.
    `compile` compiles the blocks, "auto" where a run is long enough for it.
    """

    dtype: str = rule("bf16", known=("bf16", "fp32"))
    base: str | None = rule(None, known=("bf16", "fp32", "int8"))
    checkpointing: bool = False
    rest: str = rule("host", known=("device", "host", "disk"))
    stretch: int = rule(100, low=1)
    compile: bool | str = rule("auto", known=("auto", True, False))


@dataclass(frozen=True)
class ValidationPart:
    """Films that are made every so many steps (0: never), a prompt each; `images` and `sounds` are files for each,
    where the model takes them. `steps` None is the model's own.
    """

    every: int = rule(0, low=0)
    prompts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    seed: int = rule(0, low=0)
    steps: int | None = rule(None, low=1, high=1000)


@dataclass(frozen=True)
class LogPart:
    """A line for each expert every so many of its steps, and the same for TensorBoard if asked."""

    every: int = rule(10, low=1)
    tensorboard: bool = False


@dataclass(frozen=True)
class Recipe:
    """All that makes a run. `save` is the number of steps between checkpoints; without `adapter` everything is trained.

    `folder` is where the file lies: paths in it are meant from there.
    """

    model: ModelPart
    data: DataPart
    optimiser: OptimiserPart
    output: str
    adapter: AdapterPart | None = None
    picture: PicturePart | None = None
    speech: SpeechPart | None = None
    noise: NoisePart = field(default_factory=NoisePart)
    memory: MemoryPart = field(default_factory=MemoryPart)
    validation: ValidationPart = field(default_factory=ValidationPart)
    log: LogPart = field(default_factory=LogPart)
    seed: int = rule(0, low=0, high=2**63 - 1)
    save: int = rule(250, low=1)
    folder: Path = field(default=Path(), metadata={"inner": True})

    def path(self, said: str) -> Path:
        """A path of the recipe, from its folder."""
        return self.folder / Path(said).expanduser()

    @property
    def pictures(self) -> PicturePart:
        """How often pictures are known."""
        return self.picture or PicturePart()

    @property
    def base(self) -> str:
        """How the weights are held."""
        return self.memory.base or ("bf16" if self.adapter else "fp32")

    def as_table(self) -> dict[str, Any]:
        """Every setting by its dotted name, as JSON values."""
        values = {name: value for name, value in asdict(self).items() if name != "folder"}
        return dict(dotted(values))


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe file. Raises OptionError that names the file, the setting, the rule and what would work."""
    path = Path(path).expanduser()
    table = read_toml(path, OptionError)
    try:
        return parse_recipe(table, path.resolve().parent)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error


def parse_recipe(table: Mapping[str, Any], folder: Path = Path()) -> Recipe:
    """Check a table and return the recipe. Raises OptionError."""
    recipe = read_part(Recipe, table, "", {"folder": folder})
    check_together(recipe)
    return recipe


def check_together(recipe: Recipe) -> None:
    """Check what single values cannot say. Raises OptionError."""
    width, height = recipe.data.size
    if min(width, height) < 16:
        raise OptionError(f"data.size = {[width, height]} is [width, height] in pixels, each at least 16")
    if not recipe.data.sources:
        raise OptionError("data.sources names nothing; give folders or files with films")
    if recipe.adapter is not None and recipe.adapter.targets == ():
        raise OptionError("adapter.targets names nothing; leave it out for the usual matrices")
    told = recipe.pictures
    if told.first + told.last + told.both > 1 + 1e-9:
        raise OptionError(
            f"picture.first + last + both = {told.first:g} + {told.last:g} + {told.both:g} are shares of one whole: at "
            "most 1 together"
        )
    _check_precision(recipe)
    _check_steps(recipe.optimiser)
    _check_validation(recipe.validation)


def _check_steps(part: OptimiserPart) -> None:
    if isinstance(part.steps, int):
        named = {"optimiser.steps": part.steps}
    else:
        named = {f"optimiser.steps.{name}": steps for name, steps in part.steps.said.items()}
    if not named:
        raise OptionError(
            "optimiser.steps names no expert; say {high = 900, low = 300}, or one number for all"
        )
    for name, steps in named.items():
        if part.warmup >= steps:
            raise OptionError(
                f"optimiser.warmup = {part.warmup} leaves nothing of {name} = {steps}; take fewer, a tenth for instance"
            )


def _check_precision(recipe: Recipe) -> None:
    if recipe.adapter is None and recipe.base != "fp32":
        raise OptionError(
            f'memory.base = "{recipe.base}" is for adapters: full training needs "fp32", since the small changes of a '
            "step are lost in fewer bits. Add an [adapter] section, or leave memory.base out"
        )
    if recipe.memory.dtype == "fp32" and recipe.base == "bf16":
        raise OptionError(
            'memory.dtype = "fp32" needs memory.base = "fp32": products of bfloat16 weights are no float32 ones'
        )


def _check_validation(part: ValidationPart) -> None:
    if part.every and not part.prompts:
        raise OptionError(
            f"validation.every = {part.every} and validation.prompts is empty: say what to show"
        )
    for name in ("images", "sounds"):
        given = getattr(part, name)
        if given and len(given) != len(part.prompts):
            raise OptionError(
                f"validation.{name} has {len(given)} files for {len(part.prompts)} prompts: one each, or none"
            )
