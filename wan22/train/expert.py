"""One expert in training: what learns, its optimiser, its moving average, its step. It knows no data and no noise."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from wan22.errors import CheckpointError, OptionError
from wan22.models.dit import WanDiT
from wan22.train.adapt import Adapters
from wan22.train.compiling import uncompiled
from wan22.train.muon import Muon
from wan22.train.recipe import OptimiserPart
from wan22.train.streaming import FrozenBase
from wan22.train.world import ALONE, World

_MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum")
_TABLES = ("modulation", "embedding.weight")


class Expert:
    """A network and the state of its training. `parameters` are the parameters that learn, by a name that stays.

    `adapters` is what was attached to the network (train/adapt.py), if anything was; `base` the blocks of a base that
    passes through the device (train/streaming.py).
    """

    def __init__(
        self,
        name: str,
        network: WanDiT,
        parameters: Mapping[str, nn.Parameter],
        settings: OptimiserPart,
        adapters: Adapters | None = None,
        base: FrozenBase | None = None,
        world: World = ALONE,
    ) -> None:
        self.name, self.network, self.settings, self.adapters = name, network, settings, adapters
        self._base, self._world = base, world
        self.step, self.saved = 0, -1
        self.parameters = dict(parameters)
        kept = self.parameters if settings.ema_decay else {}
        self.average = {name: p.detach().clone() for name, p in kept.items()}
        self.optimisers = _optimisers(self.parameters, settings, self._world)

    @property
    def done(self) -> bool:
        return self.step >= self.settings.steps

    def advance(self) -> float:
        """Take one step along the gradients and return their norm. Raises OptionError if it is not finite."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = float(self._world.whole(nn.utils.get_total_norm(gradients)))
        if not norm < float("inf"):
            raise OptionError(
                f"the gradient of step {self.step} of the expert {self.name!r} is not finite; lower "
                f"optimiser.learning_rate (it is {self.settings.learning_rate:g}) and begin anew, or from a copy of "
                "the last checkpoint"
            )
        most = self.settings.max_grad_norm
        if most and norm > most:
            torch._foreach_mul_(gradients, most / norm)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.settings.learning_rate_at(self.step)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if self.average:
            # An average of the first steps would be one of the beginning: let it grow with the step.
            keep = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
            now = [p.detach() for p in self.parameters.values()]
            torch._foreach_lerp_(list(self.average.values()), now, 1 - keep)
        self.step += 1
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold."""
        tensors = {}
        for name, p in self.parameters.items():
            tensors[f"parameter/{name}"] = p.detach()
            for optimiser in self.optimisers:
                tensors |= {f"{kind}/{name}": value for kind, value in optimiser.state.get(p, {}).items()}
        return tensors | {f"average/{name}": value for name, value in self.average.items()}

    def blank(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors to be filled for `load`, of those of a checkpoint that are its own: placed as its parameters are."""
        tensors = {}
        for name in names:
            kind, _, of = name.partition("/")
            if of in self.parameters:
                p = self.parameters[of].detach()
                tensors[name] = p.new_zeros(()) if kind == "step" else torch.empty_like(p)
        return tensors

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take over what `tensors` gave. Raises CheckpointError if it is of other parameters."""
        wanted = {f"parameter/{name}" for name in self.parameters} | {
            f"average/{name}" for name in self.average
        }
        if missing := sorted(wanted - tensors.keys()):
            raise CheckpointError(
                f"the checkpoint of the expert {self.name!r} lacks {len(missing)} tensors, first {missing[0]}"
            )
        mine = {
            p for optimiser in self.optimisers for group in optimiser.param_groups for p in group["params"]
        }
        assert mine == set(self.parameters.values())
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(tensors[f"parameter/{name}"])
                if self.average:
                    self.average[name].copy_(tensors[f"average/{name}"])
        for optimiser in self.optimisers:
            names = {p: name for name, p in self.parameters.items()}
            for p in (p for group in optimiser.param_groups for p in group["params"]):
                given = {kind: tensors.get(f"{kind}/{names[p]}") for kind in _MOMENTS}
                moments = {
                    # torch keeps the count of steps where it was made: on the device of a fused AdamW's parameters
                    kind: value.to(p.device, copy=True)
                    for kind, value in given.items()
                    if value is not None
                }
                if moments:
                    optimiser.state[p] = moments
        self.step = self.saved = step

    def to(self, device: torch.device) -> None:
        """Bring network, average and optimiser to a device."""
        self.release()
        self.network.to(device)
        self.average = {name: value.to(device) for name, value in self.average.items()}
        for optimiser in self.optimisers:
            for p, moments in optimiser.state.items():
                optimiser.state[p] = {kind: value.to(device) for kind, value in moments.items()}

    def release(self) -> None:
        """Let go of the blocks of a base that passes through the device."""
        if self._base is not None:
            self._base.release()

    @contextmanager
    def for_inference(self) -> Generator[WanDiT]:
        """The network as it would be handed out: with the moving average, if there is one, and not in training."""
        self._world.reshard(self.network)
        self._exchange()
        self.network.eval()
        try:
            with uncompiled(self.network):
                yield self.network
        finally:
            self.network.train()
            self._world.reshard(self.network)
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        """Let parameters and average change places, one tensor at a time."""
        for name, value in self.average.items():
            p = self.parameters[name]
            before = p.detach().clone()
            p.copy_(value)
            value.copy_(before)


def _optimisers(
    parameters: Mapping[str, nn.Parameter], settings: OptimiserPart, world: World
) -> list[torch.optim.Optimizer]:
    def is_matrix(name: str, p: Tensor) -> bool:
        return p.ndim > 1 and not name.endswith(_TABLES)

    muon = settings.name == "muon"
    matrices = [p for name, p in parameters.items() if muon and is_matrix(name, p)]
    rest = [p for name, p in parameters.items() if not (muon and is_matrix(name, p))]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(Muon(matrices, lr=settings.learning_rate, whole=world.whole, part=world.part))
    if rest:
        decay = settings.weight_decay
        made.append(
            torch.optim.AdamW(
                rest, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=decay, fused=True
            )
        )
    return made
