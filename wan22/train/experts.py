"""The experts of a run: one is at work on the device, and the others rest there, on the host or on the disk.

An expert is built from the model's files and its newest checkpoint; one that rests on the disk is saved and built again
when its turn comes, so that the run goes on from a stop by the very same way.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from wan22.arch import DiTArch
from wan22.assembly import FLOAT32
from wan22.errors import CheckpointError
from wan22.files import reading
from wan22.library import Model
from wan22.models.dit import WanDiT
from wan22.train.adapt import Adapters, attach, checkpoint_blocks, freeze_int8
from wan22.train.begin import begin, beginning
from wan22.train.compiling import compile_blocks
from wan22.train.expert import Expert
from wan22.train.log import LossMeter
from wan22.train.losses import for_training, trainable
from wan22.train.noise_ranges import trained_experts
from wan22.train.recipe import Recipe
from wan22.train.streaming import stream_base
from wan22.train.world import ALONE, World
from wan22.weights.load import load_module, meta_module
from wan22.weights.reader import open_reader

Build = Callable[[str, torch.device], Expert]
"""Makes an expert, by name, as it is before its first step."""


class Experts:
    """Experts by name. `steps` are those that each has done; `meters` what each has to tell since its last line."""

    def __init__(
        self,
        experts: tuple[str, ...],
        build: Build,
        folder: Path,
        device: torch.device,
        *,
        rest: str,
        log: Callable[[str], None],
        world: World = ALONE,
    ) -> None:
        self._build, self._folder, self._device = build, folder, device
        self._rest, self._log, self._world = rest, log, world
        self._here: dict[str, Expert] = {}
        self._at_work = ""
        self.steps = dict.fromkeys(experts, 0)
        self.meters = {expert: LossMeter() for expert in experts}
        for expert in experts:
            found = world.newest(folder, expert, log)
            if found is not None:
                self.steps[expert] = found.step
                with reading(found.path, CheckpointError, "is damaged", f"Remove {folder} to begin anew."):
                    self.meters[expert] = LossMeter.from_notes(found.notes)

    def activate(self, name: str) -> Expert:
        """The expert of this name, on the device; another one that was at work goes to rest first."""
        if name == self._at_work:
            return self._here[name]
        if self._at_work:
            self._deactivate(self._at_work)
        self._at_work = ""
        if name not in self._here:
            expert = self._build(name, self._device)
            found = self._world.newest(self._folder, name, self._log)
            if found is not None:
                self._world.load(expert, found)
            self._here[name] = expert
        elif self._rest == "host":
            self._here[name].to(self._device)
        self._at_work = name
        return self._here[name]

    def save(self) -> None:
        """Write a checkpoint of every expert that has gone on since its last. Raises OutputError."""
        for expert in self._here.values():
            self._save(expert)

    def _save(self, expert: Expert) -> None:
        if expert.step in (expert.saved, 0):
            return
        notes = self.meters[expert.name].notes()
        self._world.save(self._folder, expert.name, expert.step, expert.tensors(), notes)
        expert.saved = expert.step

    def _deactivate(self, name: str) -> None:
        if self._rest == "disk":
            self._save(self._here[name])
            self._here.pop(name).release()
        elif self._rest == "host":
            self._here[name].to(torch.device("cpu"))
        if self._device.type == "cuda" and self._rest != "device":
            torch.cuda.empty_cache()


def next_expert(steps: Mapping[str, int], *, total: Mapping[str, int], steps_per_turn: int) -> str | None:
    """Whose turn it is: the expert with the fewest whole stretches, the first of equals; None when all are done.

    It follows from the steps alone, so that a run that goes on takes the turns of one that never stopped.
    """
    waiting = [name for name, done in steps.items() if done < total[name]]
    return min(waiting, key=lambda name: steps[name] // steps_per_turn, default=None)


def builder(
    recipe: Recipe, model: Model, log: Callable[[str], None], *, compiled: bool = False, world: World = ALONE
) -> Build:
    """How the experts of a recipe are made: weights, precision, adapters, checkpointing, compiling."""

    found = beginning(recipe, trained_experts(recipe, model.variant))

    def build(name: str, device: torch.device) -> Expert:
        # Eight bits and shards are made on the host, so that the whole weights never come to a small device.
        streamed = recipe.memory.stream_base
        through = recipe.base_dtype == "int8" or streamed or world.gathers
        where = torch.device("cpu") if through else device
        network = for_training(_read(model.parts[name], model.variant.dit, _dtype(recipe), where), device)
        if found is not None and not found.lora:
            log(f"{name:12} {found.take_over(name, network)} tensors of {found.files[name]}")
        if recipe.base_dtype == "int8":
            log(f"{name:12} {freeze_int8(network)}")
        adapters = prepare(recipe, network)
        begin(found, name, recipe, adapters)
        base = stream_base(network, device) if streamed else None
        if recipe.memory.gradient_checkpointing:
            checkpoint_blocks(network)
        if compiled:
            compile_blocks(network)
        world.place(network, device)
        return Expert(name, network, trainable(network), recipe.optimiser.of(name), adapters, base, world)

    return build


def prepare(recipe: Recipe, network: WanDiT) -> Adapters | None:
    """Say what of a network learns: everything, or a LoRA on a base that is frozen."""
    part = recipe.adapter
    if part is None:
        network.requires_grad_(True)
        return None
    alpha = float(part.rank if part.alpha is None else part.alpha)
    return attach(network, rank=part.rank, alpha=alpha, targets=part.targets, seed=recipe.seed)


def _dtype(recipe: Recipe) -> torch.dtype:
    """What weights are read as; those that become int8, as what they are multiplied in."""
    held = recipe.memory.dtype if recipe.base_dtype == "int8" else recipe.base_dtype
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[held]


def _read(path: Path, arch: DiTArch, dtype: torch.dtype, device: torch.device) -> Any:
    """The network of an expert, with what the engine keeps in float32 in float32."""
    with open_reader(path) as reader:
        return load_module(
            meta_module(arch),
            reader,
            dtype=lambda name: torch.float32 if any(part in name for part in FLOAT32) else dtype,
            device=device,
        )
