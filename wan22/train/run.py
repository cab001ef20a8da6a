"""Train by a recipe: plan, then one run in which the experts take turns, each with its own noise, steps and losses.

    OUTPUT/run.json        what the run is of          OUTPUT/checkpoints/   the last two of each expert
    OUTPUT/log.jsonl       losses by expert and noise   OUTPUT/validation/    films of a moment
    OUTPUT/lora/           the result: a pair of LoRAs, or OUTPUT/model/ with the experts' weights

The same command goes on after any end. A step draws its randomness from the seed, its expert and its number alone, so
what was interrupted ends, on a CPU, at the very bits of what was not.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wan22.catalog import Variant
from wan22.errors import OptionError
from wan22.library import Model, open_model
from wan22.memory.device import free_memory, pick_device
from wan22.train.checkpoint import claim
from wan22.train.crew import Crew, builder, next_turn, prepare
from wan22.train.data import DataPlan, Survey, Window, survey, write_report
from wan22.train.expert import Expert
from wan22.train.log import Journal, Tally
from wan22.train.losses import Batch, Rows, count, draw_batch, move, task_of, trainable, velocity_errors
from wan22.train.memory import Need, estimate, require
from wan22.train.recipe import Recipe
from wan22.train.sides import Side, experts_of, generator, sides
from wan22.train.validate import check_requests, requests, show
from wan22.weights.fingerprint import fingerprint
from wan22.weights.load import meta_module

Log = Callable[[str], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Plan:
    """What a recipe comes to on this machine, before any weights are read."""

    recipe: Recipe
    model: Model
    task: str
    device: torch.device
    sides: Mapping[str, Side]
    survey: Survey
    trainable: int
    need: Need
    free: int

    def lines(self) -> list[str]:
        """The plan for a terminal."""
        optimiser, memory = self.recipe.optimiser, self.recipe.memory
        kind = "everything" if self.recipe.adapter is None else f"a LoRA of rank {self.recipe.adapter.rank}"
        lines = [
            f"model        {self.model.name}, {self.task}, on {self.device}",
            f"trained      {kind}: {self.trainable / 1e6:.2f} M parameters of each expert",
            *(f"expert       {name}: {side}" for name, side in self.sides.items()),
            f"steps        {optimiser.steps} of each expert, {optimiser.batch} x {optimiser.accumulate} clips a step, "
            f"{optimiser.name} at {optimiser.rate:g}, {optimiser.decay}",
        ]
        if len(self.sides) > 1:
            lines.append(
                f"turns        of {memory.stretch} steps; the other expert rests on the {memory.rest}"
            )
        lines += [f"memory       {line}" for line in self.need.lines()]
        lines.append(f"memory       {self.need.total / 1e9:.2f} GB of {self.free / 1e9:.2f} GB that are free")
        for name, rows in self.survey.buckets.items():
            if len(rows) < optimiser.batch:
                lines.append(f"bucket       {name} has {len(rows)} clips: its batches are of {len(rows)}")
        return [*lines, *self.survey.table()]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done", "stopped" or "time"; the steps of each expert; what was written, if it is done."""

    end: str
    steps: Mapping[str, int]
    made: Path | None


def make_plan(recipe: Recipe, device: str = "auto", log: Log | None = None) -> Plan:
    """Look at everything that a recipe names, and refuse what cannot be, before anything expensive.

    Raises a Wan22Error that names the setting.
    """
    where = pick_device(device)
    model = open_model(_model_name(recipe))
    task = task_of(recipe.model.task, model.variant)
    ranges = sides(recipe, model.variant)
    _check_size(recipe, model)
    requests(recipe, model.variant)
    looked = survey(_data_plan(recipe), log)
    clips = sum(len(rows) for rows in looked.buckets.values())
    if recipe.optimiser.batch > clips:
        raise OptionError(
            f"optimiser.batch = {recipe.optimiser.batch} is more than the {clips} clips that there are; take at most "
            f"{clips}, and optimiser.accumulate for more"
        )
    need, trainable = _need(recipe, model, where, looked)
    plan = Plan(recipe, model, task, where, ranges, looked, trainable, need, free_memory(where))
    require(need, plan.free)
    return plan


def train(
    recipe: Recipe,
    *,
    device: str = "auto",
    minutes: float | None = None,
    log: Log,
    stop: Stop = lambda: False,
) -> Outcome:
    """Train, or go on, until all steps are done, `minutes` have passed, or `stop` says so between steps.

    Raises a Wan22Error: before the work for what cannot be, and OutputError if the disk is full (the last checkpoints
    stay whole).
    """
    from wan22.engine import load
    from wan22.train.data import prepare as encode

    plan = make_plan(recipe, device, log)
    for line in plan.lines():
        log(line)
    folder = recipe.path(recipe.output)
    claim(folder, recipe, _facts(plan))
    journal = Journal(folder, tensorboard=recipe.log.tensorboard)
    log(f"report       {write_report(plan.survey, folder)}")
    # Its parts rest on the disk: while the experts learn, nothing else is in memory.
    engine = load(_model_name(recipe), device=str(plan.device), memory="disk")
    asked = requests(recipe, plan.model.variant)
    check_requests(engine, asked)
    cache = recipe.path(recipe.data.cache) if recipe.data.cache else folder / "cache"
    data = encode(plan.survey, engine, cache, task=plan.task, log=log)
    engine.release()
    crew = Crew(
        tuple(plan.sides),
        builder(recipe, plan.model, log),
        folder / "checkpoints",
        plan.device,
        rest=recipe.memory.rest,
        log=log,
    )
    journal.resume(crew.steps)
    if any(crew.steps.values()):
        log("going on     " + ", ".join(f"{name} at step {step}" for name, step in crew.steps.items()))
    films = _Films(lambda name: show(engine, crew, asked, folder / "validation" / name, stop=stop), recipe)
    loop = Loop(plan, crew, data, data.empty.float(), journal, log)
    try:
        end = loop.run(films, stop=stop, until=None if minutes is None else time.monotonic() + minutes * 60)
    finally:
        journal.close()
    made = export(plan, crew, folder) if end == "done" else None
    return Outcome(end, dict(crew.steps), made)


class _Films:
    """Makes films of a moment whenever so many steps have been done by all experts together; what is there already
    is not made again.
    """

    def __init__(self, make: Callable[[str], list[Path]], recipe: Recipe) -> None:
        self._make, self._every = make, recipe.validation.every

    def at(self, steps: Mapping[str, int], log: Log) -> None:
        done = sum(steps.values())
        if self._every and done and done % self._every == 0:
            name = "_".join(f"{expert}-{step:06}" for expert, step in steps.items())
            if made := self._make(name):
                log(f"validation   {len(made)} films of {name}")


class Loop:
    """The steps of all experts, in turns."""

    def __init__(
        self, plan: Plan, crew: Crew, data: Rows, empty: torch.Tensor, journal: Journal, log: Log
    ) -> None:
        self._plan, self._crew, self._data, self._empty = plan, crew, data, empty
        self._journal, self._log = journal, log

    def run(self, films: _Films, *, stop: Stop, until: float | None) -> str:
        """Take steps; return why it ended ("done", "stopped", "time"). All that was learned is saved then.

        Raises OutputError if it cannot be saved, and OptionError if the loss is not finite.
        """
        recipe, crew = self._plan.recipe, self._crew
        total, stretch = recipe.optimiser.steps, recipe.memory.stretch
        end = "done"
        while (name := next_turn(crew.steps, total=total, stretch=stretch)) is not None:
            films.at(crew.steps, self._log)  # also those that the last end has left undone
            if stop():
                end = "stopped"
                break
            expert = crew.wake(name)
            self._step(expert)
            crew.steps[name] = expert.step
            if expert.step % recipe.save == 0:
                crew.save()
            if until is not None and time.monotonic() > until:
                end = "time"
                break
        crew.save()
        if end == "done":
            films.at(crew.steps, self._log)
        return end

    def _step(self, expert: Expert) -> None:
        began = time.monotonic()
        recipe, tally = self._plan.recipe, self._crew.tallies[expert.name]
        for part in range(recipe.optimiser.accumulate):
            sigmas, errors = self._errors(expert, part)
            loss = errors.mean()
            if not bool(torch.isfinite(loss)):
                raise OptionError(
                    f"the loss of step {expert.step} of the expert {expert.name!r} is {loss.item()}; lower "
                    f"optimiser.rate (it is {recipe.optimiser.rate:g})"
                )
            (loss / recipe.optimiser.accumulate).backward()
            tally.add(sigmas, errors.detach().cpu())
        rate = recipe.optimiser.rate_at(expert.step)
        tally.norm += expert.advance()
        tally.steps += 1
        tally.seconds += time.monotonic() - began
        if expert.step % recipe.log.every == 0:
            line = self._journal.write(expert.name, expert.step, tally, rate)
            self._crew.tallies[expert.name] = Tally()
            self._log(
                f"{expert.name:4} step {expert.step}/{recipe.optimiser.steps}  loss {line['loss']:.4f}  "
                f"norm {line['norm']:.3f}  rate {rate:.2e}  {line['seconds']:.2f} s/step"
            )

    def _errors(self, expert: Expert, part: int) -> tuple[torch.Tensor, torch.Tensor]:
        plan, recipe = self._plan, self._plan.recipe
        draw = generator(recipe.seed, expert.name, expert.step, part)
        batch: Batch = draw_batch(
            self._data, recipe.data, recipe.optimiser.batch, plan.task, self._empty, draw
        )
        # All is drawn on the CPU, so that a seed means the same on every device.
        sigmas = plan.sides[expert.name].draw(len(batch.films), draw)
        noise = torch.randn(batch.films.shape, generator=draw)
        device = plan.device
        half = recipe.memory.dtype == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            errors = velocity_errors(
                expert.network, move(batch, device), plan.model.variant, sigmas.to(device), noise.to(device)
            )
        return sigmas, errors


def export(plan: Plan, crew: Crew, folder: Path) -> Path:
    """Write what was learned: a LoRA for each expert (a pair knows which is which), or a model's folder."""
    from wan22.train.export import write_loras, write_model

    return (write_model if plan.recipe.adapter is None else write_loras)(
        plan.recipe, plan.model, crew, folder
    )


def _model_name(recipe: Recipe) -> str:
    """A folder that lies with the recipe, or a name."""
    near = recipe.path(recipe.model.name)
    return str(near) if near.is_dir() else recipe.model.name


def _data_plan(recipe: Recipe) -> DataPlan:
    data = recipe.data
    sources = tuple(recipe.path(source) for source in data.sources)
    return DataPlan(sources=sources, size=data.size, frames=data.frames, fps=data.fps)


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
    for frames in recipe.data.frames:
        wrong = frames != speech.clip_frames if speech is not None else frames % stride != 1
        if wrong:
            rule = f"are {speech.clip_frames}" if speech is not None else f"are {stride}n + 1"
            raise OptionError(f"data.frames = {frames}: the frames of a clip of {model.name} {rule}")


def _need(recipe: Recipe, model: Model, device: torch.device, looked: Survey) -> tuple[Need, int]:
    """The memory that training takes on the device, and how many parameters of an expert learn."""
    network = meta_module(model.variant.dit)
    prepare(recipe, network)
    learned = count(trainable(network).values())
    optimiser, memory = recipe.optimiser, recipe.memory
    # On the CPU the host is the device.
    together = memory.rest == "device" or (memory.rest == "host" and device.type == "cpu")
    need = estimate(
        model.variant,
        batch=optimiser.batch,
        tokens=max(_tokens(window, model.variant) for window in looked.windows),
        trainable=learned,
        optimiser=optimiser.name,
        dtype=memory.dtype,
        base=recipe.base,
        checkpointing=memory.checkpointing,
        ema=optimiser.ema > 0,
        experts=len(experts_of(recipe, model.variant)) if together else 1,
        device=device.type,
    )
    return need, learned


def _tokens(window: Window, variant: Variant) -> int:
    """The tokens of a clip, with those of a reference and a past beside them where sound drives the model."""
    pixels = 2 * variant.vae.stride_space
    frame = window.size[0] // pixels * (window.size[1] // pixels)
    if variant.dit.speech is None:
        return ((window.frames - 1) // variant.vae.stride_time + 1) * frame
    near, middle, far = variant.dit.speech.history
    packed = near * frame + middle // 2 * (frame // 4) + far // 4 * (frame // 16)
    return window.frames // variant.vae.stride_time * frame + frame + packed


def _facts(plan: Plan) -> dict[str, Any]:
    """What a run depends on besides its recipe: weights and clips."""
    looked = plan.survey
    windows = [looked.windows[i] for rows in looked.buckets.values() for i in rows]
    items = [looked.films[window.film].item for window in windows]
    clips = [
        [item.path.name, item.caption, w.start, w.step, w.frames, *w.size]
        for item, w in zip(items, windows, strict=True)
    ]
    digest = hashlib.sha256(json.dumps(clips, ensure_ascii=False).encode()).hexdigest()[:16]
    weights = {expert: fingerprint(plan.model.parts[expert]) for expert in plan.sides}
    return {"task": plan.task, "data": f"{len(clips)} clips, {digest}", "weights": weights}
