"""What a recipe comes to on this machine: model, noise, clips, memory. It is looked at before any weights are read."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wan22.catalog import Variant
from wan22.errors import OptionError, OutputError
from wan22.library import Model, open_model
from wan22.media.output_paths import check_output
from wan22.memory.device import free_memory, pick_device
from wan22.train.begin import begin, beginning
from wan22.train.compiling import Compiling, decide
from wan22.train.data import DataPlan, Survey, Window, survey
from wan22.train.data.plan import size_names
from wan22.train.data.report import as_json
from wan22.train.experts import prepare
from wan22.train.log import Log
from wan22.train.losses import count, task_of, trainable
from wan22.train.memory import MemoryEstimate, estimate
from wan22.train.memory_advice import check_memory
from wan22.train.noise_ranges import NoiseRange, noise_ranges, steps_of, trained_experts
from wan22.train.recipe import Recipe
from wan22.train.validate import check_requests, requests
from wan22.train.world import portions, shares_of
from wan22.weights.fingerprint import fingerprint
from wan22.weights.load import meta_module


@dataclass(frozen=True)
class Plan:
    """What a recipe comes to on this machine, before any weights are read."""

    recipe: Recipe
    model: Model
    task: str
    device: torch.device
    noise_ranges: Mapping[str, NoiseRange]
    steps: Mapping[str, int]
    survey: Survey
    trainable: int
    need: MemoryEstimate
    free: int
    compiling: Compiling
    ranks: int = 1
    shares: int = 1

    def lines(self) -> list[str]:
        """The plan for a terminal."""
        optimiser, memory = self.recipe.optimiser, self.recipe.memory
        kind = "everything" if self.recipe.adapter is None else f"a LoRA of rank {self.recipe.adapter.rank}"
        lines = [
            f"model        {self.model.name}, {self.task}, on {self.device}",
            f"trained      {kind}: {self.trainable / 1e6:.2f} M parameters of each expert",
            *(f"expert       {name}: {side}" for name, side in self.noise_ranges.items()),
            f"steps        {_steps(self.steps)}, {optimiser.batch_size} x {optimiser.gradient_accumulation} clips a "
            f"step, {optimiser.name} at {optimiser.learning_rate:g}, {optimiser.decay}",
        ]
        if self.ranks > 1:
            lines.append(f"devices      {self._devices()}")
        lines.append(f"compiled     {self.compiling}")
        if len(self.noise_ranges) > 1:
            lines.append(
                f"turns        of {memory.steps_per_expert_turn} steps; the inactive expert is kept on the "
                f"{memory.inactive_expert}"
            )
        if self.task == "ti2v":
            images = self.recipe.images
            shares = [images.first, images.last, images.both, 1 - images.first - images.last - images.both]
            first, last, both, none = (f"{share:.0%}" for share in shares)
            lines.append(
                f"images       the first image {first}, the last {last}, both {both}, none {none} of the batches"
            )
        lines += [f"memory       {line}" for line in self.need.lines()]
        lines.append(f"memory       {self.need.total / 1e9:.2f} GB of {self.free / 1e9:.2f} GB that are free")
        for name, rows in self.survey.buckets.items():
            if len(rows) < optimiser.batch_size:
                lines.append(f"bucket       {name} has {len(rows)} clips: its batches are of {len(rows)}")
        return [*lines, *self.survey.table()]

    def _devices(self) -> str:
        """How the devices divide the work."""
        optimiser, context = self.recipe.optimiser, self.recipe.parallel.context
        first = portions(self.shares, 0, optimiser.batch_size, optimiser.gradient_accumulation)
        clips = optimiser.batch_size // first[0].of
        tokens = f", {context} share the tokens of a clip" if context > 1 else ""
        return (
            f"{self.ranks}, which hold 1/{self.ranks} of weights and moments each; {len(first)} x {clips} of the clips "
            f"of a step each{tokens}"
        )

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON values; bytes of memory."""
        return {
            "model": self.model.name,
            "task": self.task,
            "device": str(self.device),
            "devices": self.ranks,
            "experts": {name: vars(side) for name, side in self.noise_ranges.items()},
            "steps": dict(self.steps),
            "trainable": self.trainable,
            "compiled": vars(self.compiling),
            "memory": {**self.need.parts, "total": self.need.total, "free": self.free},
            "data": as_json(self.survey),
        }


def make_plan(recipe: Recipe, device: str = "auto", log: Log | None = None, ranks: int = 1) -> Plan:
    """Look at everything that a recipe names, and refuse what cannot be, before anything expensive.

    So many `ranks` train together. Raises a Wan22Error that names the setting.
    """
    _check_places(recipe)
    optimiser = recipe.optimiser
    where = pick_device(device)
    model = open_model(*model_of(recipe))
    shares = shares_of(ranks, recipe.parallel.context, model.variant.dit.heads)
    portions(shares, 0, optimiser.batch_size, optimiser.gradient_accumulation)
    if ranks > 1 and recipe.memory.stream_base:
        raise OptionError(
            f"memory.stream_base is for one device: of a base on {ranks}, each holds 1/{ranks}. Leave it out"
        )
    task = task_of(recipe.model.task, model.variant)
    _check_sections(recipe, task)
    ranges, steps = noise_ranges(recipe, model.variant), steps_of(recipe, model.variant)
    _check_size(recipe, model)
    _check_beginning(recipe, model)
    check_requests(requests(recipe, model.variant), model.variant)
    looked = survey(_data_plan(recipe, model.variant), log)
    _check_windows(looked, model)
    _check_both(recipe, looked, model.variant)
    clips = sum(len(rows) for rows in looked.buckets.values())
    if recipe.optimiser.batch_size > clips:
        raise OptionError(
            f"optimiser.batch_size = {recipe.optimiser.batch_size} is more than the {clips} clips that there are; "
            f"take at most {clips}, and optimiser.gradient_accumulation for more"
        )
    compiling = _compiling(recipe, sum(steps.values()), len(looked.buckets), where)
    need, trainable = _need(recipe, model, where, looked, ranks)
    free = free_memory(where)
    check_memory(need, free)
    return Plan(
        recipe, model, task, where, ranges, steps, looked, trainable, need, free, compiling, ranks, shares
    )


def _compiling(recipe: Recipe, steps: int, shapes: int, device: torch.device) -> Compiling:
    if recipe.memory.stream_base:
        return Compiling(False, "memory.stream_base = true: what passes through the device is not compiled")
    steps *= recipe.optimiser.gradient_accumulation
    return decide(recipe.memory.compile, steps=steps, shapes=shapes, device=device)


def _check_places(recipe: Recipe) -> None:
    """Raise an OptionError or OutputError unless the run can be written where it is asked for, beside its clips."""
    places = {"output": recipe.output}
    if recipe.data.cache is not None:
        places["data.cache"] = recipe.data.cache
    for name, said in places.items():
        if not said.strip():
            raise OptionError(f'{name} = "{said}" names no folder; give one, such as "run"')
        try:
            check_output(f"{recipe.path(said)}/", bytes_needed=0)
        except OutputError as error:
            raise OutputError(f'{name} = "{said}": {error}') from None
    # A run shows videos on the way, and a folder of clips is read however deep: they would be its clips the next time.
    folder = recipe.path(recipe.output).resolve()
    for source in recipe.data.sources:
        clips = recipe.path(source).resolve()
        if clips.is_dir() and folder.is_relative_to(clips):
            raise OptionError(
                f'output = "{recipe.output}" lies in the clips of data.sources ("{source}"), where videos of the run '
                "would be taken for clips; name a folder outside of it"
            )


def _steps(steps: Mapping[str, int]) -> str:
    if len(set(steps.values())) == 1:
        return f"{next(iter(steps.values()))} of {'each expert' if len(steps) > 1 else 'the one expert'}"
    return " and ".join(f"{count} of {name}" for name, count in steps.items())


def model_of(recipe: Recipe) -> tuple[str | None, dict[str, Path]]:
    """The model, as a name or a folder that lies with the recipe, and the files in place of its own, by part."""
    name = recipe.model.name
    if name is not None and (near := recipe.path(name)).is_dir():
        name = str(near)
    return name, {part: recipe.path(said) for part, said in recipe.model.parts.items()}


def _data_plan(recipe: Recipe, variant: Variant) -> DataPlan:
    """Buckets in as many shapes as the model can draw: all of its grid, or those that it is kept to."""
    data = recipe.data
    return DataPlan(
        sources=tuple(recipe.path(source) for source in data.sources),
        size=data.size,
        frames=data.frames,
        fps=data.fps,
        side=variant.grid[0] if variant.speech is None else variant.speech.side,
        only=variant.trained.sizes if variant.trained.only else (),
    )


def _check_size(recipe: Recipe, model: Model) -> None:
    """Raise OptionError for a size or length that the model cannot draw."""
    side, stride = model.variant.grid
    speech = model.variant.speech
    if speech is not None:
        side = speech.side
    width, height = recipe.data.size
    if width % side or height % side:
        near = [max(side, round(value / side) * side) for value in recipe.data.size]
        raise OptionError(
            f"data.size = {[width, height]}: sides of {model.name} are multiples of {side}; the nearest is {near}"
        )
    trained = model.variant.trained
    if trained.only and recipe.data.size not in trained.sizes:
        raise OptionError(
            f"data.size = {[width, height]}: {model.name} draws at its trained sizes and no other: "
            f"{size_names(trained.sizes)}"
        )
    for frames in recipe.data.frames:
        wrong = frames != speech.clip_frames if speech is not None else frames % stride != 1
        if wrong:
            rule = f"are {speech.clip_frames}" if speech is not None else f"are {stride}n + 1"
            raise OptionError(f"data.frames = {frames}: the frames of a clip of {model.name} {rule}")


def _check_beginning(recipe: Recipe, model: Model) -> None:
    """Raise a CheckpointError, KeysError or OptionError if the recipe cannot begin from what it begins from."""
    found = beginning(recipe, trained_experts(recipe, model.variant))
    for name in () if found is None else found.files:
        network = meta_module(model.variant.dit)
        if not found.lora:
            found.take_over(name, network)
        begin(found, name, recipe, prepare(recipe, network))


def _check_sections(recipe: Recipe, task: str) -> None:
    """Raise OptionError for settings of another task than the one that is learned."""
    for name, part, of in (("image", recipe.image, "ti2v"), ("speech", recipe.speech, "s2v")):
        if part is not None and task != of:
            raise OptionError(
                f'[{name}] is for the task "{of}", and the task is "{task}"; leave that section out'
            )


def _check_both(recipe: Recipe, looked: Survey, variant: Variant) -> None:
    """Raise OptionError if nothing would be left to learn of a clip whose both ends are known."""
    least = 2 * variant.vae.stride_time + 1
    short = {window.frames for window in looked.windows if 1 < window.frames < least}
    if recipe.images.both and short:
        raise OptionError(
            f"image.both = {recipe.images.both:g} leaves nothing to learn of clips of {min(short)} frames, whose "
            f"first and last image are all there is; take lengths from {least}, or image.both = 0"
        )


def _check_windows(looked: Survey, model: Model) -> None:
    """Raise OptionError for a length that the model never draws; files of clips may ask for one, too."""
    trained = model.variant.trained
    if not trained.only or model.variant.speech is not None:
        return  # what does not fit an audio file is left out where clips are encoded
    for window in looked.windows:
        if window.frames not in trained.frames:
            known = ", ".join(str(count) for count in trained.frames)
            path = looked.videos[window.video].item.path
            raise OptionError(
                f"{path} would be trained in {window.frames} frames, and {model.name} draws {known} and no other; "
                "choose data.frames from these"
            )


def _need(
    recipe: Recipe, model: Model, device: torch.device, looked: Survey, ranks: int
) -> tuple[MemoryEstimate, int]:
    """The memory that training takes on the device, and how many parameters of an expert learn."""
    network = meta_module(model.variant.dit)
    prepare(recipe, network)
    learned = count(trainable(network).values())
    optimiser, memory, context = recipe.optimiser, recipe.memory, recipe.parallel.context
    # On the CPU, and on an accelerator that shares its memory, the host is the device.
    together = memory.inactive_expert == "device" or (
        memory.inactive_expert == "host" and device.type != "cuda"
    )
    need = estimate(
        model.variant,
        batch=math.ceil(optimiser.batch_size / math.gcd(optimiser.batch_size, ranks // context)),
        tokens=math.ceil(max(_tokens(window, model.variant) for window in looked.windows) / context),
        trainable=learned,
        optimiser=optimiser.name,
        dtype=memory.dtype,
        base=recipe.base_dtype,
        checkpointing=memory.gradient_checkpointing,
        ema=optimiser.ema_decay > 0,
        experts=len(trained_experts(recipe, model.variant)) if together else 1,
        device=device.type,
        streamed=memory.stream_base and device.type == "cuda",
        ranks=ranks,
        gathered=optimiser.gradient_accumulation > 1 and recipe.parallel.gradient_sync == "last",
    )
    return need, learned


def _tokens(window: Window, variant: Variant) -> int:
    """The tokens of a clip, with those of a reference and a past beside them where audio drives the model."""
    pixels = 2 * variant.vae.stride_space
    frame = window.size[0] // pixels * (window.size[1] // pixels)
    if variant.dit.speech is None:
        return ((window.frames - 1) // variant.vae.stride_time + 1) * frame
    near, middle, far = variant.dit.speech.history
    packed = near * frame + middle // 2 * (frame // 4) + far // 4 * (frame // 16)
    return window.frames // variant.vae.stride_time * frame + frame + packed


def facts(plan: Plan) -> dict[str, Any]:
    """What a run depends on besides its recipe: weights and clips."""
    looked = plan.survey
    windows = [looked.windows[i] for rows in looked.buckets.values() for i in rows]
    items = [looked.videos[window.video].item for window in windows]
    clips = [
        [item.path.name, item.caption, w.start, w.step, w.frames, *w.size]
        for item, w in zip(items, windows, strict=True)
    ]
    digest = hashlib.sha256(json.dumps(clips, ensure_ascii=False).encode()).hexdigest()[:16]
    weights = {expert: fingerprint(plan.model.parts[expert]) for expert in plan.noise_ranges}
    said = {"task": plan.task, "data": f"{len(clips)} clips, {digest}", "weights": weights}
    if (found := beginning(plan.recipe, tuple(plan.noise_ranges))) is not None:
        said["begin_from"] = {expert: fingerprint(path) for expert, path in found.files.items()}
    return said
