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
from wan22.fields import PARTS
from wan22.files import read_toml
from wan22.train.log import Log
from wan22.train.settings import dotted, read_part, renamed, rule

TASKS = ("t2v", "i2v", "ti2v", "s2v")
EXPERTS = ("high", "low", "dit")

OLD_NAMES = {
    "optimiser.rate": "optimiser.learning_rate",
    "optimiser.batch": "optimiser.batch_size",
    "optimiser.accumulate": "optimiser.gradient_accumulation",
    "optimiser.clip": "optimiser.max_grad_norm",
    "optimiser.ema": "optimiser.ema_decay",
    "memory.checkpointing": "memory.gradient_checkpointing",
    "memory.base": "memory.base_dtype",
    "memory.rest": "memory.offload_inactive_expert",
    "memory.stretch": "memory.steps_per_expert_turn",
    "speech.worn": "speech.motion_noise",
    "speech.moving": "speech.motion_weight_threshold",
    "speech.most": "speech.motion_weight_max",
    "picture.first": "image.first",
    "picture.last": "image.last",
    "picture.both": "image.both",
    "validation.sounds": "validation.audio",
}
"""Settings by the names that they had before; read with a notice for one release, in recipes and in `run.json`."""


@dataclass(frozen=True)
class ModelPart:
    """Which model, for which task, and which of its experts; None is all that the model has.

    The others are files or folders in place of the model's own; without a name they are all of it.
    """

    name: str | None = None
    task: str | None = rule(None, known=TASKS)
    experts: tuple[str, ...] | None = rule(None, known=EXPERTS)
    high: str | None = None
    low: str | None = None
    dit: str | None = None
    vae: str | None = None
    text: str | None = None
    tokenizer: str | None = None

    @property
    def parts(self) -> dict[str, str]:
        """The files that are named, by part."""
        return {part: path for part in PARTS if (path := getattr(self, part)) is not None}


@dataclass(frozen=True)
class AdapterPart:
    """A LoRA of scale alpha / rank (alpha is the rank if it is not said), on the matrices `targets` of every block."""

    rank: int = rule(16, low=1, high=1024)
    alpha: float | None = rule(None, above=0)
    targets: tuple[str, ...] | None = None
    dialect: str = rule("comfy", known=("diffusers", "comfy", "kohya", "lightx2v"))


@dataclass(frozen=True)
class DataPart:
    """Videos to learn from. `size` is (width, height), `frames` the lengths of clips, at `fps`.

    `caption_dropout` is the share of clips that are trained without text (and audio), which guidance needs.
    """

    sources: tuple[str, ...]
    size: tuple[int, int]
    frames: tuple[int, ...] = rule(low=1)
    fps: float = rule(above=0, high=240)
    caption_dropout: float = rule(0.1, low=0, high=1)
    cache: str | None = None


@dataclass(frozen=True)
class ImagePart:
    """Shares of the batches in which the first image of the clips is known, the last, or both; in the others none is.
    For the task ti2v, whose model takes images.
    """

    first: float = rule(0.5, low=0, high=1)
    last: float = rule(0.0, low=0, high=1)
    both: float = rule(0.0, low=0, high=1)

    @property
    def ends(self) -> bool:
        """Whether a last image is ever known."""
        return self.last + self.both > 0


@dataclass(frozen=True)
class SpeechPart:
    """For the task s2v. Noise of a deviation of at most `motion_noise` is added to the motion frames, since those of
    a generated clip are not clean. The loss is weighted by motion: twice where the latents of a clip deviate by
    `motion_weight_threshold` over time, and at most `motion_weight_max` times where they deviate more (1: no weights).
    """

    motion_noise: float = rule(0.15, low=0, high=1)
    motion_weight_threshold: float = rule(0.05, above=0)
    motion_weight_max: float = rule(10.0, low=1)


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
    """How each expert learns, for `steps` steps of `batch_size` clips, `gradient_accumulation` times.

    The learning rate rises over `warmup` steps and then falls by `decay` to `floor` of its peak. Gradients are clipped
    at `max_grad_norm` (0: not at all). `ema_decay` is that of the moving average that is exported (0: none).
    """

    steps: int | StepsPart = rule(low=1)  # noqa: RUF009 - a field without default
    name: str = rule("adamw", known=("adamw", "muon"))
    learning_rate: float = rule(1e-4, above=0, high=1)
    warmup: int = rule(100, low=0)
    decay: str = rule("cosine", known=("cosine", "constant", "linear"))
    floor: float = rule(0.0, low=0, high=1)
    batch_size: int = rule(1, low=1)
    gradient_accumulation: int = rule(1, low=1)
    max_grad_norm: float = rule(1.0, low=0)
    ema_decay: float = rule(0.0, low=0, below=1)
    weight_decay: float = rule(0.0, low=0, high=1)

    def of(self, expert: str) -> OptimiserPart:
        """The settings of one expert, whose `steps` are a number."""
        return self if isinstance(self.steps, int) else replace(self, steps=self.steps.said[expert])

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step (from 0); of one expert, as `of` gives it."""
        assert isinstance(self.steps, int)
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.decay == "constant":
            return self.learning_rate
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        left = 1 - done if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * (self.floor + (1 - self.floor) * left)


@dataclass(frozen=True)
class MemoryPart:
    """Precision and place. `dtype` is what products are computed in; `base_dtype` is how the base weights are held
    (None: bf16 under an adapter, else fp32). The experts take turns of `steps_per_expert_turn` steps, and the inactive
    one is offloaded to the host's memory (true) or the disk, or stays on the device (false). `compile` compiles the
    blocks, "auto" where a run is long enough for it. `stream_base`: under an adapter, the frozen blocks rest on the
    host and come to the device one after the other.
    """

    dtype: str = rule("bf16", known=("bf16", "fp32"))
    base_dtype: str | None = rule(None, known=("bf16", "fp32", "int8"))
    gradient_checkpointing: bool = False
    offload_inactive_expert: bool | str = rule("host", known=("device", "host", "disk", True, False))
    steps_per_expert_turn: int = rule(100, low=1)
    compile: bool | str = rule("auto", known=("auto", True, False))
    stream_base: bool = False

    @property
    def inactive_expert(self) -> str:
        """Where the inactive expert is kept: "device", "host" or "disk"."""
        said = self.offload_inactive_expert
        return {True: "host", False: "device"}[said] if isinstance(said, bool) else said


@dataclass(frozen=True)
class ParallelPart:
    """On several devices: how many share the tokens of a clip (`context`), and whether the gradients of all batches of
    a step are put together after the "last", or after "each", which keeps less in memory.
    """

    context: int = rule(1, low=1)
    gradient_sync: str = rule("last", known=("last", "each"))


@dataclass(frozen=True)
class ValidationPart:
    """Videos that are made every so many steps (0: never), a prompt each; `images` and `audio` are files for each,
    where the model takes them. `steps` None is the model's own.
    """

    every: int = rule(0, low=0)
    prompts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
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
    `begin_from` is another recipe, or its output, whose result this one begins from (begin.py).

    `folder` is where the file lies: paths in it are meant from there.
    """

    model: ModelPart
    data: DataPart
    optimiser: OptimiserPart
    output: str
    begin_from: str | None = None
    adapter: AdapterPart | None = None
    image: ImagePart | None = None
    speech: SpeechPart | None = None
    noise: NoisePart = field(default_factory=NoisePart)
    memory: MemoryPart = field(default_factory=MemoryPart)
    validation: ValidationPart = field(default_factory=ValidationPart)
    log: LogPart = field(default_factory=LogPart)
    parallel: ParallelPart = field(default_factory=ParallelPart)
    seed: int = rule(0, low=0, high=2**63 - 1)
    save: int = rule(250, low=1)
    folder: Path = field(default=Path(), metadata={"inner": True})

    def path(self, said: str) -> Path:
        """A path of the recipe, from its folder."""
        return self.folder / Path(said).expanduser()

    @property
    def images(self) -> ImagePart:
        """How often images are known."""
        return self.image or ImagePart()

    @property
    def base_dtype(self) -> str:
        """How the base weights are held."""
        return self.memory.base_dtype or ("bf16" if self.adapter else "fp32")

    def as_table(self) -> dict[str, Any]:
        """Every setting by its dotted name, as JSON values."""
        values = {name: value for name, value in asdict(self).items() if name != "folder"}
        return dict(dotted(values))


def read_recipe(path: str | Path, log: Log | None = None) -> Recipe:
    """Read a recipe file; `log` takes a notice for every setting that is given by its old name.

    Raises OptionError that names the file, the setting, the rule and what would work.
    """
    path = Path(path).expanduser()
    table = read_toml(path, OptionError)
    try:
        return parse_recipe(table, path.resolve().parent, log)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error


def parse_recipe(table: Mapping[str, Any], folder: Path = Path(), log: Log | None = None) -> Recipe:
    """Check a table and return the recipe. Raises OptionError."""
    recipe = read_part(Recipe, renamed(table, OLD_NAMES, log), "", {"folder": folder})
    check_together(recipe)
    return recipe


def check_together(recipe: Recipe) -> None:
    """Check what single values cannot say. Raises OptionError."""
    width, height = recipe.data.size
    if min(width, height) < 16:
        raise OptionError(f"data.size = {[width, height]} is [width, height] in pixels, each at least 16")
    if recipe.model.name is None and not recipe.model.parts.keys() & set(EXPERTS):
        raise OptionError(
            "there is no model.name, which is needed, or files: model.high and low, or model.dit"
        )
    if not recipe.data.sources:
        raise OptionError("data.sources names nothing; give folders or files with videos")
    if recipe.adapter is not None and recipe.adapter.targets == ():
        raise OptionError("adapter.targets names nothing; leave it out for the usual matrices")
    images = recipe.images
    if images.first + images.last + images.both > 1 + 1e-9:
        raise OptionError(
            f"image.first + last + both = {images.first:g} + {images.last:g} + {images.both:g} are shares: together "
            "at most 1"
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
    if recipe.adapter is None and recipe.base_dtype != "fp32":
        raise OptionError(
            f'memory.base_dtype = "{recipe.base_dtype}" is for adapters: full training needs "fp32", since the small '
            "changes of a step are lost in fewer bits. Add an [adapter] section, or leave memory.base_dtype out"
        )
    if recipe.memory.stream_base:
        if recipe.adapter is None:
            raise OptionError(
                "memory.stream_base is for a base that is frozen: add an [adapter] section, or leave it out"
            )
        if not recipe.memory.gradient_checkpointing:
            raise OptionError(
                "memory.stream_base = true needs memory.gradient_checkpointing = true: blocks are computed twice"
            )
        if recipe.memory.compile is True:
            raise OptionError(
                "memory.stream_base = true and memory.compile = true exclude one another; leave one out"
            )
    if recipe.memory.dtype == "fp32" and recipe.base_dtype == "bf16":
        raise OptionError(
            'memory.dtype = "fp32" needs memory.base_dtype = "fp32": products of bfloat16 weights are no float32 ones'
        )


def _check_validation(part: ValidationPart) -> None:
    if part.every and not part.prompts:
        raise OptionError(
            f"validation.every = {part.every} and validation.prompts is empty: say what to show"
        )
    for name in ("images", "audio"):
        given = getattr(part, name)
        if given and len(given) != len(part.prompts):
            raise OptionError(
                f"validation.{name} has {len(given)} files for {len(part.prompts)} prompts: one each, or none"
            )
