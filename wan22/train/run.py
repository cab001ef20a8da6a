"""Train by a recipe: plan, then one run in which the experts take turns, each with its own noise, steps and losses.

    OUTPUT/run.json        what the run is of          OUTPUT/checkpoints/   the last two of each expert
    OUTPUT/log.jsonl       losses by expert and noise   OUTPUT/validation/    videos of a moment
    OUTPUT/lora/           the result: a pair of LoRAs, or OUTPUT/model/ with the experts' weights

The same command goes on after any end. A step draws its randomness from the seed, its expert and its number alone, so
what was interrupted ends, on a CPU and not compiled, at the very bits of what was not.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from wan22.clock import WorkProgress, duration
from wan22.errors import OptionError
from wan22.train.checkpoint import claim
from wan22.train.compiling import explained, padded
from wan22.train.data import write_report
from wan22.train.expert import Expert
from wan22.train.experts import Experts, builder, next_expert
from wan22.train.lock import locked
from wan22.train.log import Log, LossMeter, MetricsLog
from wan22.train.losses import Batch, Rows, draw_batch, move, velocity_errors
from wan22.train.noise_ranges import generator
from wan22.train.plan import Plan, facts, make_plan, model_of
from wan22.train.recipe import Recipe
from wan22.train.validate import requests, show
from wan22.train.world import ALONE, Portion, World

Stop = Callable[[], bool]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done", "stopped" or "time"; the steps of each expert; what was written, if it is done."""

    end: str
    steps: Mapping[str, int]
    made: Path | None


def train(
    recipe: Recipe,
    *,
    device: str = "auto",
    minutes: float | None = None,
    log: Log,
    stop: Stop = lambda: False,
    world: World = ALONE,
) -> Outcome:
    """Train, or go on, until all steps are done, `minutes` have passed, or `stop` says so between steps.

    `world` are the processes that train together, each of which calls this; the default is this one alone.

    Raises a Wan22Error: before the work for what cannot be or is trained by another process, and OutputError if the
    disk is full (the last checkpoints stay whole).
    """
    plan = plan_of(recipe, device, log, world)
    for line in plan.lines():
        log(line)
    folder = recipe.path(recipe.output)
    with ExitStack() as held:
        world.first(lambda: held.enter_context(locked(folder / "run.lock", f"trains in {folder}")))
        world.first(lambda: claim(folder, recipe, facts(plan)))
        return _train(plan, folder, world, minutes=minutes, log=log, stop=lambda: world.any(stop()))


def plan_of(recipe: Recipe, device: str, log: Log, world: World) -> Plan:
    """The plan for this process's device: the leader looks at model and clips for all."""
    where = world.device(device)
    plan = world.first(lambda: make_plan(recipe, str(where), log, ranks=world.size))
    return replace(plan, device=where)


def _train(plan: Plan, folder: Path, world: World, *, minutes: float | None, log: Log, stop: Stop) -> Outcome:
    from wan22.engine import load
    from wan22.train.data import prepare as encode

    recipe = plan.recipe
    journal = MetricsLog(folder, tensorboard=recipe.log.tensorboard)
    log(f"report       {world.first(lambda: write_report(plan.survey, folder))}")
    # Its parts rest on the disk: while the experts learn, nothing else is in memory.
    name, parts = model_of(recipe)
    engine = load(name, parts=parts, device=str(plan.device), memory="disk")
    asked = requests(recipe, plan.model.variant)
    cache = recipe.path(recipe.data.cache) if recipe.data.cache else folder / "cache"
    data = encode(plan.survey, engine, cache, task=plan.task, ends=recipe.images.ends, log=log, world=world)
    engine.release()
    experts = Experts(
        tuple(plan.noise_ranges),
        builder(recipe, plan.model, log, compiled=plan.compiling.on, world=world),
        folder / "checkpoints",
        plan.device,
        rest=recipe.memory.inactive_expert,
        log=log,
        world=world,
    )
    world.first(lambda: journal.resume(experts.steps))
    if any(experts.steps.values()):
        log("going on     " + ", ".join(f"{name} at step {step}" for name, step in experts.steps.items()))
    videos = _Videos(
        lambda name: show(engine, experts, asked, folder / "validation" / name, stop=stop, world=world),
        recipe,
    )
    loop = Loop(plan, experts, data, data.empty.float(), journal, log, world)
    try:
        end = loop.run(videos, stop=stop, until=None if minutes is None else time.monotonic() + minutes * 60)
    finally:
        journal.close()
    made = export(plan, experts, folder, world) if end == "done" else None
    return Outcome(end, dict(experts.steps), made)


class _Videos:
    """Makes videos of a moment whenever so many steps have been done by all experts together; what is there already
    is not made again.
    """

    def __init__(self, make: Callable[[str], list[Path]], recipe: Recipe) -> None:
        self._make, self._every = make, recipe.validation.every

    def at(self, steps: Mapping[str, int], log: Log) -> None:
        done = sum(steps.values())
        if self._every and done and done % self._every == 0:
            name = "_".join(f"{expert}-{step:06}" for expert, step in steps.items())
            if made := self._make(name):
                log(f"validation   {len(made)} videos of {name}")


class Loop:
    """The steps of all experts, in turns."""

    def __init__(
        self,
        plan: Plan,
        experts: Experts,
        data: Rows,
        empty: torch.Tensor,
        journal: MetricsLog,
        log: Log,
        world: World,
    ) -> None:
        self._plan, self._experts, self._data, self._empty = plan, experts, data, empty
        self._journal, self._log, self._world = journal, log, world
        optimiser = plan.recipe.optimiser
        self._portions = world.portions(optimiser.batch_size, optimiser.gradient_accumulation)

    def run(self, videos: _Videos, *, stop: Stop, until: float | None) -> str:
        """Take steps; return why it ended ("done", "stopped", "time"). All that was learned is saved then.

        Raises OutputError if it cannot be saved, and OptionError if the loss is not finite.
        """
        recipe, experts = self._plan.recipe, self._experts
        total, steps_per_turn = self._plan.steps, recipe.memory.steps_per_expert_turn
        end = "done"
        while (name := next_expert(experts.steps, total=total, steps_per_turn=steps_per_turn)) is not None:
            videos.at(experts.steps, self._log)  # also those that the last end has left undone
            if stop():
                end = "stopped"
                break
            expert = experts.activate(name)
            with explained():
                self._step(expert)
            experts.steps[name] = expert.step
            if expert.step % recipe.save == 0:
                experts.save()
            if self._world.agreed(until is not None and time.monotonic() > until):
                end = "time"
                break
        experts.save()
        if end == "done":
            videos.at(experts.steps, self._log)
        return end

    def _step(self, expert: Expert) -> None:
        began = time.monotonic()
        recipe, tally, world = self._plan.recipe, self._experts.meters[expert.name], self._world
        for portion in self._portions:
            sigmas, errors, size = self._errors(expert, portion)
            counts = portion.clips(size)[1]
            seen, off = world.gathered(sigmas, errors, counts)
            if not bool(torch.isfinite(off).all()):
                raise OptionError(
                    f"the loss of step {expert.step} of the expert {expert.name!r} is {off.mean().item()}; lower "
                    f"optimiser.learning_rate (it is {recipe.optimiser.learning_rate:g})"
                )
            world.synchronise(expert.network, portion is self._portions[-1])
            # The processes' gradients are averaged; together they are that of the mean over all clips of the step.
            weight = counts * world.shares / (size * recipe.optimiser.gradient_accumulation)
            (errors.sum() * weight).backward()
            tally.add(seen, off)
        rate = expert.settings.learning_rate_at(expert.step)
        tally.norm += expert.advance()
        tally.steps += 1
        tally.seconds += time.monotonic() - began
        if expert.step % recipe.log.every == 0:
            line = world.first(lambda: self._journal.write(expert.name, expert.step, tally, rate))
            self._experts.meters[expert.name] = LossMeter()
            self._log(_progress(line, self._plan.steps, self._experts.steps | {expert.name: expert.step}))

    def _errors(self, expert: Expert, portion: Portion) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Noise levels and errors of a portion of a batch, and how many clips the batch has."""
        plan, recipe = self._plan, self._plan.recipe
        draw = generator(recipe.seed, expert.name, expert.step, portion.batch)
        batch: Batch = draw_batch(self._data, recipe, plan.task, self._empty, draw, portion)
        if plan.compiling.on:
            batch = padded(batch, plan.model.variant.dit.text_len)
        # All is drawn on the CPU, so that a seed means the same on every device.
        clips = slice(batch.clips.start, batch.clips.stop)
        sigmas = plan.noise_ranges[expert.name].draw(batch.size, draw)[clips]
        noise, device = batch.noise(), plan.device
        half = recipe.memory.dtype == "bf16"
        # Kept copies would be of weights that are here for the moment of a block.
        kept = not self._world.gathers
        with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=kept):
            errors = velocity_errors(
                expert.network,
                move(batch, device),
                plan.model.variant,
                sigmas.to(device),
                noise.to(device),
                self._world.call(expert.network),
            )
        return sigmas, errors, batch.size


def _progress(line: Mapping[str, Any], total: Mapping[str, int], done: Mapping[str, int]) -> WorkProgress:
    """A line of the log as progress. What is left are the steps of all experts, at this pace; validation is not
    counted.
    """
    expert, step, seconds = line["expert"], line["step"], line["seconds"]
    left = sum(count - done[name] for name, count in total.items()) * seconds
    said = (
        f"{expert:4} step {step}/{total[expert]}  loss {line['loss']:.4f}  norm {line['norm']:.3f}  "
        f"rate {line['rate']:.2e}  {seconds:.2f} s/step  {duration(left)} left"
    )
    numbers = {name: line[name] for name in ("expert", "loss", "norm", "rate", "seconds")}
    return WorkProgress(
        said, what="steps", step=step, steps=total[expert], left=left, lasting=True, numbers=numbers
    )


def export(plan: Plan, experts: Experts, folder: Path, world: World = ALONE) -> Path:
    """Write what was learned: a LoRA for each expert (a pair knows which is which), or a model's folder."""
    from wan22.train.export import write_loras, write_model

    return (write_model if plan.recipe.adapter is None else write_loras)(
        plan.recipe, plan.model, experts, folder, world
    )
