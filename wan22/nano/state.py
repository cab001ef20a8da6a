"""Everything a training run must remember, and its exact resume.

A run is a folder with `state.safetensors`: parameters, their moving average, the optimiser's moments, and as
metadata the step and the recipe. Each step draws its randomness from (seed, step) alone, so a resumed run continues
with the very numbers that an uninterrupted one would have used.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from wan22.atomic import swept
from wan22.errors import CheckpointError
from wan22.files import reading
from wan22.train.log import Log
from wan22.train.muon import Muon
from wan22.weights.writer import write_tensors

CPU = torch.device("cpu")
_AGAIN = "Remove it and train that stage again."
_MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum")


@dataclass(frozen=True)
class Optimiser:
    """Muon for matrices and AdamW for the rest, at one learning rate: linear warm-up, then a cosine from `peak` to
    `floor` of it over `steps`. Gradients are clipped at norm 1. `average` is the rate of the moving average that is
    shipped in place of the parameters.
    """

    steps: int
    peak: float
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    average: float = 0.999
    floor: float = 0.02

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.peak * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done)))


class TrainState:
    """A network in training: its optimiser, its moving average, its step."""

    def __init__(self, network: nn.Module, settings: Optimiser, folder: Path, identity: dict) -> None:
        self.network, self.settings, self.folder, self.identity = network, settings, folder, identity
        self.step = 0
        self.pace = 0.0
        self.named = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.named.items()}
        matrices = [p for name, p in self.named.items() if p.ndim > 1 and not _is_table(name)]
        rest = [p for name, p in self.named.items() if p.ndim <= 1 or _is_table(name)]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=settings.peak),
            torch.optim.AdamW(rest, lr=settings.peak, betas=settings.betas, weight_decay=0.0, fused=True),
        ]

    @property
    def done(self) -> bool:
        return self.step >= self.settings.steps

    def generator(self, stream: int = 0) -> torch.Generator:
        """The randomness of this step: a function of the seed, the step and the stream."""
        return torch.Generator().manual_seed((self.identity["seed"] * 7919 + stream) * 1_000_003 + self.step)

    def update(self, loss: Tensor) -> float:
        """Take one optimiser step for `loss`; return the gradient's norm. A loss that is not finite raises."""
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss of step {self.step} is {loss.item()}; lower the learning rate"
            )
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.settings.rate(self.step)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.named.values(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        # The average of the first steps would be an average of noise: let it grow with the step.
        keep = min(self.settings.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.named.values()], 1 - keep)
        self.step += 1
        return float(norm)

    def averaged(self) -> dict[str, Tensor]:
        """The state dict with the moving average in place of the parameters, on the network's device."""
        return {**self.network.state_dict(), **self.average}

    def save(self) -> None:
        """Write the run's folder; an interruption leaves the earlier state whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for name, p in self.named.items():
            tensors[f"parameter/{name}"] = p
            tensors[f"average/{name}"] = self.average[name]
            for optimiser in self.optimisers:
                tensors |= {f"{kind}/{name}": value for kind, value in optimiser.state.get(p, {}).items()}
        meta = {"step": str(self.step), "identity": json.dumps(self.identity)}
        target = self.folder / "state.safetensors"
        write_tensors(target, {name: t.detach().contiguous() for name, t in tensors.items()}, meta)

    def resume(self) -> bool:
        """Continue from the folder if it holds a state of this recipe; return whether it did."""
        swept(self.folder)
        path = self.folder / "state.safetensors"
        if not path.exists():
            return False
        with reading(path, CheckpointError, "is damaged", _AGAIN):
            with safe_open(path, "pt") as file:
                meta = file.metadata()
            made_by, step = json.loads(meta["identity"]), int(meta["step"])
        if made_by != json.loads(json.dumps(self.identity)):
            raise CheckpointError(
                f"{path} was made by another recipe ({meta['identity']}); this one is {json.dumps(self.identity)}. "
                "Give another --folder, or remove that one."
            )
        with reading(path, CheckpointError, "is damaged", _AGAIN):
            tensors = load_file(path)
        names = {p: name for name, p in self.named.items()}
        with torch.no_grad():
            for name, p in self.named.items():
                p.copy_(tensors[f"parameter/{name}"])
                self.average[name].copy_(tensors[f"average/{name}"])
            for optimiser in self.optimisers:
                for p in (p for group in optimiser.param_groups for p in group["params"]):
                    moments = {
                        kind: tensors[f"{kind}/{names[p]}"].to(p.device)
                        for kind in _MOMENTS
                        if f"{kind}/{names[p]}" in tensors
                    }
                    if moments:
                        optimiser.state[p] = moments
        self.step = step
        return True


def load_average(folder: Path) -> dict[str, Tensor]:
    """The moving average of a run: the parameters to use. Raises CheckpointError if there is no run."""
    path = folder / "state.safetensors"
    if not path.exists():
        raise CheckpointError(f"there is no {path}: train that stage first")
    with reading(path, CheckpointError, "is damaged", _AGAIN), safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith("average/")]
        return {name.removeprefix("average/"): file.get_tensor(name) for name in names}


def _is_table(name: str) -> bool:
    """Rows that are looked up or added, not multiplied: orthogonality means nothing to them."""
    return ("embedding.weight" in name and "patch" not in name) or name.endswith(("modulation", "gamma"))


def walk(
    state: TrainState,
    loss_of: Callable[[], Tensor],
    *,
    log: Log,
    minutes: float | None,
    more: Callable[[], str] = str,
) -> None:
    """Take steps until the recipe's are done, or `minutes` have passed; save on the way, and at the end.

    Every 50 steps the log is told, with what `more` says. `state.pace` is how long a step took.
    """
    if state.resume():
        log(f"resumed at step {state.step}")
    started = last = time.monotonic()
    ends: list[float] = []
    losses: list[float] = []
    while not state.done:
        loss = loss_of()
        losses.append(loss.item())
        state.update(loss)
        now = time.monotonic()
        ends.append(now)
        if state.step % 50 == 0:
            mean = math.fsum(losses) / len(losses)
            rate = (now - last) / len(losses)
            log(f"step {state.step}/{state.settings.steps}  loss {mean:.4f}  {rate:.3f} s/step{more()}")
            last, losses = now, []
        if state.step % 250 == 0:
            state.save()
        if minutes and now - started > minutes * 60:
            break
    if ends:  # the first step warms up
        state.pace = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else ends[0] - started
    state.save()
