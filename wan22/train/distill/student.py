"""One student in distillation: where its steps begin and end, and how the adapter of each expert learns them.

It knows the engine whose networks it adapts, and trajectories of the teacher on the disk; no prompts and no videos.
The formula and its sources are in run.py.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from wan22.catalog import Fast
from wan22.engine import Engine
from wan22.errors import CheckpointError, OptionError
from wan22.files import reading
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.request import Job
from wan22.sampling import explicit
from wan22.train import checkpoint
from wan22.train.adapt import attach
from wan22.train.checkpoint import write_json
from wan22.train.distill.trajectories import Kind, Recording, Trajectories
from wan22.train.expert import Expert
from wan22.train.export import exported
from wan22.train.log import Log
from wan22.train.losses import for_training, trainable
from wan22.train.noise_ranges import generator
from wan22.train.recipe import OptimiserPart
from wan22.version import __version__
from wan22.weights.lora.write import write_lora
from wan22.weights.writer import write_tensors

EVERY = ("attention", "ffn", "time_embedding", "time_projection", "head")
"""Targets of the adapters: every matrix that text, noise level or video pass through, but the first."""


@dataclass(frozen=True)
class DistillRecipe:
    """How a student is made. `steps` is how often it will ask the network; the expert of high noise has the first half.

    `start_share` is the share of batches in which all start at their phase's beginning, where a video does;
    others start at any of the teacher's levels. `student_start_share` is the share of batches of a later phase that
    start where the student itself comes. A checkpoint is written every `checkpoint_every` steps, a line every
    `log_every`.
    """

    recording: Recording
    optimiser: OptimiserPart
    steps: int = 4
    rank: int = 8
    alpha: float = 8.0
    targets: tuple[str, ...] = EVERY
    start_share: float = 0.5
    student_start_share: float = 0.5
    seed: int = 0
    bfloat16: bool = True
    checkpoint_every: int = 100
    log_every: int = 50


@dataclass(frozen=True)
class Phase:
    """A step of the student: from the teacher's level `first` to its level `last`, walked by `expert`."""

    expert: str
    first: int
    last: int


def phases(job: Job, steps: int) -> tuple[Phase, ...]:
    """Cut the teacher's schedule into `steps` phases: as many for each expert, the first ones having one more, each
    with as many of the teacher's levels.

    Raises OptionError if an expert would have no phase, or fewer levels than phases.
    """
    experts = [job.expert(level) for level in job.schedule]
    names = list(dict.fromkeys(experts))
    if steps < len(names):
        raise OptionError(
            f"{len(names)} experts cannot make a video in {steps} step; take {len(names)} or more"
        )
    found: list[Phase] = []
    for i, name in enumerate(names):
        begin, count = experts.index(name), experts.count(name)
        mine = steps // len(names) + (i < steps % len(names))
        if count < mine:
            raise OptionError(
                f"the teacher asks the expert {name!r} {count} times, too few for {mine} phases; give it more steps"
            )
        edges = [begin + round(count * k / mine) for k in range(mine + 1)]
        found += [Phase(name, a, b) for a, b in pairwise(edges)]
    # The student is given timesteps that are not truncated: they must lie on the same side of the boundary.
    student = [job.expert(level) for level in explicit(student_sigmas(job, found))]
    if student != [phase.expert for phase in found]:
        raise OptionError(
            "the first level of an expert lies too near to the boundary; give the teacher other steps"
        )
    return tuple(found)


def student_sigmas(job: Job, way: Sequence[Phase]) -> tuple[float, ...]:
    """The noise levels at which the student asks the network: where its phases begin."""
    return tuple(round(float(job.schedule.sigmas[phase.first]), 6) for phase in way)


@dataclass
class _Batch:
    """Where the student starts, and where it should come, (b, c, t, h, w); the noise level of each start (b,)."""

    x: Tensor
    end: Tensor
    sigmas: Tensor
    clean: Tensor
    texts: list[Tensor]
    kind: Kind
    phase: Phase


class Student:
    """One run: the teacher's engine, the recipe and the phases."""

    def __init__(self, engine: Engine, recipe: DistillRecipe, folder: Path, job: Job, log: Log) -> None:
        self.engine, self.recipe, self.folder, self.log = engine, recipe, folder, log
        self.sigmas = job.schedule.sigmas
        self.phases = phases(job, recipe.steps)
        self.levels = student_sigmas(job, self.phases)

    def learn(self, name: str, until: float | None) -> bool:
        """Train the adapter of an expert, or go on; return whether it is done. Raises OptionError if it diverges."""
        expert, attention = self._wake(name)
        try:
            data = self._data()
            if not expert.done:
                self.log(
                    f"expert {name}: {sum(p.numel() for p in expert.parameters.values()) / 1e3:.0f} k parameters"
                )
            if not self._steps(expert, data, until):
                return False
            self._hand_over(expert, data)
        finally:
            self._lay_down(expert, attention)
        return True

    def _steps(self, expert: Expert, data: Trajectories, until: float | None) -> bool:
        losses: list[float] = []
        began = time.monotonic()
        while not expert.done:
            loss = self._loss(expert, data)
            if not bool(torch.isfinite(loss)):
                raise OptionError(f"the loss of step {expert.step} is {loss.item()}; lower the learning rate")
            loss.backward()
            expert.advance()
            losses.append(loss.item())
            over = until is not None and time.monotonic() > until
            if expert.step % self.recipe.log_every == 0 or expert.done:
                mean, pace = math.fsum(losses) / len(losses), (time.monotonic() - began) / len(losses)
                self.log(
                    f"{expert.name} step {expert.step}/{self.recipe.optimiser.steps}  loss {mean:.4f}  "
                    f"{pace:.2f} s/step"
                )
                losses, began = [], time.monotonic()
            if expert.step % self.recipe.checkpoint_every == 0 or expert.done or over:
                self._save(expert)
            if over and not expert.done:
                return False
        return True

    def _loss(self, expert: Expert, data: Trajectories) -> Tensor:
        draw = generator(self.recipe.seed, expert.name, expert.step, 0)
        with self._precision():
            batch = self._batch(expert, data, draw)
            velocity = self._velocity(expert.network, batch, batch.x, batch.sigmas)
        begin, end = self.sigmas[batch.phase.first], self.sigmas[batch.phase.last]
        gap = (batch.sigmas - end).view(-1, 1, 1, 1, 1)
        errors = (velocity - (batch.x - batch.end) / gap)[:, :, int(batch.kind.known) :]
        return (errors.square() * (gap / (begin - end)).square()).mean()

    def _batch(self, expert: Expert, data: Trajectories, draw: torch.Generator) -> _Batch:
        """The starts and ends of a step; all is drawn on the CPU, so that a seed means the same everywhere."""
        recipe, device = self.recipe, self.engine.device
        kind, rows = data.draw(recipe.optimiser.batch_size, draw)
        mine = [phase for phase in self.phases if phase.expert == expert.name]
        phase = mine[expert.step % len(mine)]
        start, own = torch.rand(2, generator=draw).tolist()
        levels = torch.full((len(rows),), phase.first)
        if start >= recipe.start_share:
            levels = torch.randint(phase.first, phase.last, (len(rows),), generator=draw)
        later = phase.first > 0 and own < recipe.student_start_share
        if later:
            levels = torch.full((len(rows),), phase.first)
        at = [mine[0].first] * len(rows) if later else levels.tolist()
        batch = _Batch(
            x=torch.stack([data.state(row, level) for row, level in zip(rows, at, strict=True)]).to(device),
            end=torch.stack([data.state(row, phase.last) for row in rows]).to(device),
            sigmas=self.sigmas[levels].to(device),
            clean=torch.stack([data.state(row, -1) for row in rows]).to(device),
            texts=[data.text(row).to(device) for row in rows],
            kind=kind,
            phase=phase,
        )
        if later:
            if mine[0].first > 0:  # where the expert before has come
                batch.x = torch.stack([self._own(row) for row in rows]).to(device)
            batch.x = self._go(expert.network, batch, mine[: mine.index(phase)])
        return batch

    @torch.no_grad()
    def _go(self, network: WanDiT, batch: _Batch, way: Sequence[Phase]) -> Tensor:
        """Where the student comes from `batch.x` by the steps of `way` (Euler's method, as a video is made)."""
        x = batch.x
        for phase in way:
            begin, end = self.sigmas[phase.first], self.sigmas[phase.last]
            velocity = self._velocity(network, batch, x, begin.to(x.device).expand(len(x)))
            x = x + (end - begin) * velocity
        return x

    def _velocity(self, network: WanDiT, batch: _Batch, x: Tensor, sigmas: Tensor) -> Tensor:
        """What the student answers, float32; a first frame that is known is given clean, at noise level zero."""
        levels = NoiseLevels.uniform(sigmas * 1000)
        if batch.kind.known:
            x = torch.cat([batch.clean[:, :, :1], x[:, :, 1:]], dim=2)
            t, h, w = network.grid(x)
            index = (torch.arange(t, device=x.device) > 0).long().repeat_interleave(h * w)
            levels = NoiseLevels(torch.stack([torch.zeros_like(sigmas), sigmas * 1000], dim=1), index)
        return network(x, levels, network.read_text(batch.texts)).float()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.engine.device.type, torch.bfloat16, enabled=self.recipe.bfloat16)

    def _hand_over(self, expert: Expert, data: Trajectories) -> None:
        """Keep, for every trajectory, where the finished student leaves it to the next expert."""
        mine = [phase for phase in self.phases if phase.expert == expert.name]
        if mine[-1] == self.phases[-1]:
            return
        with expert.for_inference() as network, self._precision():
            for kind, rows in data.kinds.items():
                for row in (row for row in rows if not self._own_path(row).exists()):
                    batch = self._at(data, row, kind, mine)
                    x = self._go(network, batch, mine)[0].half().cpu().contiguous()
                    write_tensors(self._own_path(row), {"x": x})

    def _at(self, data: Trajectories, row: int, kind: Kind, mine: Sequence[Phase]) -> _Batch:
        device = self.engine.device
        later = mine[0].first > 0
        x = (self._own(row) if later else data.state(row, 0))[None].to(device)
        clean = data.state(row, -1)[None].to(device)
        return _Batch(x, x, x.new_zeros(1), clean, [data.text(row).to(device)], kind, mine[0])

    def _own_path(self, row: int) -> Path:
        return self.folder / "own" / f"{row:06}.safetensors"

    def _own(self, row: int) -> Tensor:
        path = self._own_path(row)
        if not path.exists():
            raise CheckpointError(f"there is no {path}: the expert of higher noise learns first")
        with reading(path, CheckpointError, "is damaged", "Remove it, and run again."):
            return load_file(path)["x"].float()

    def export(self) -> Path:
        """Write the adapters in bfloat16, with the levels in their metadata, and the entry of a model's row."""
        target = self.folder / "fast"
        fast = Fast(
            loras={name: "fast.safetensors" if name == "dit" else f"fast_{name}.safetensors"
                   for name in self.engine.variant.experts},
            sigmas=self.levels,
        )  # fmt: skip
        with exported(target) as whole:
            for name, file in fast.loras.items():
                self._write(whole / file, name, fast)
            write_json(whole / "fast.json", asdict(fast) | {"steps": fast.steps})
        self.log(f"the adapters are in {target}")
        return target

    def _write(self, path: Path, name: str, fast: Fast) -> None:
        expert, attention = self._wake(name)
        try:
            if not expert.done:
                raise CheckpointError(f"the expert {name!r} has not learned to the end; run again to go on")
            assert expert.adapters is not None
            with expert.for_inference():
                pairs = {
                    key: (a.bfloat16(), b.bfloat16()) for key, (a, b) in expert.adapters.factors().items()
                }
                own = None if name == "dit" else name
                write_lora(path, pairs, alpha=self.recipe.alpha, expert=own, metadata=self._metadata(fast))
        finally:
            self._lay_down(expert, attention)

    def _metadata(self, fast: Fast) -> dict[str, str]:
        return {
            "wan22.version": __version__,
            "wan22.base": self.engine.name,
            "wan22.weights": json.dumps(self.engine.weights),
            "wan22.sigmas": json.dumps(fast.sigmas),
            "wan22.guidance": f"{fast.guidance:g}",
            "wan22.solver": "euler",
        }

    def _data(self) -> Trajectories:
        folder, count = self.folder / "trajectories", self.recipe.recording.count
        found = sum(1 for _ in folder.glob("*.safetensors"))
        if found < count:
            raise CheckpointError(
                f"{folder} holds {found} of {count} trajectories: run the stage record first"
            )
        return Trajectories(folder, count)

    def _wake(self, name: str) -> tuple[Expert, object]:
        """An expert with its adapter, as it was left; and the attention that its network had."""
        recipe = self.recipe
        network = self.engine.expert(name)
        assert isinstance(network, WanDiT)
        attention = network.attention
        for_training(network, self.engine.device)
        adapters = attach(
            network, rank=recipe.rank, alpha=recipe.alpha, targets=recipe.targets, seed=recipe.seed
        )
        expert = Expert(name, network, trainable(network), recipe.optimiser, adapters)
        found = checkpoint.newest(self.folder / "checkpoints", name, self.log)
        if found is not None:
            expert.load(found.tensors, found.step)
        return expert, attention

    def _lay_down(self, expert: Expert, attention: object) -> None:
        """Give the engine its network back as it was."""
        assert expert.adapters is not None
        expert.adapters.detach()
        setattr(expert.network, "attention", attention)  # noqa: B010 - typed as a method
        for module in expert.network.modules():
            vars(module).pop("forward", None)  # what `for_training` put around it
        expert.network.eval()

    def _save(self, expert: Expert) -> None:
        if expert.saved != expert.step:
            checkpoint.save(self.folder / "checkpoints", expert.name, expert.step, expert.tensors(), {})
            expert.saved = expert.step
