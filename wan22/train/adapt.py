"""Live LoRAs on a transformer (Hu et al. 2021, arXiv:2106.09685), and what else is done to it before training.

    W x + b  ->  W x + b + (alpha / rank) up (down x)      section 4.1

The base is frozen; the factors are float32 whatever the base is held in, and their products are made in the precision
of the layer that they stand on. `up` begins at zero, so that an adapted network begins as the one it was.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wan22.errors import KeysError, OptionError
from wan22.models.linear import Linear, Linear32, StoredLinear
from wan22.train.int8 import freeze_int8

__all__ = ["GROUPS", "USUAL", "Adapted", "Adapters", "attach", "checkpoint_blocks", "freeze_int8"]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "attention": ("blocks.*.self_attn", "blocks.*.cross_attn"),
    "ffn": ("blocks.*.ffn",),
    "audio": ("audio_injector",),
    "all": ("*",),
}
"""Targets with a name of their own; everything else is read as a part of a parameter's name."""

USUAL = ("attention", "ffn")
"""What is adapted if nobody says: every matrix of every block."""

_COMPILED = "_orig_mod."  # torch.compile's wrapper stands in the names of what it wraps
_Layer = Linear | Linear32 | StoredLinear


class Adapted(nn.Module):
    """A linear layer with a pair of factors: down (rank, in), up (out, rank)."""

    def __init__(
        self, base: _Layer, rank: int, scale: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.exact = isinstance(base, Linear32)
        stored = isinstance(base, StoredLinear)  # its weight would be made to be looked at
        self.dtype, device = (
            (base.dtype, base.data.device) if stored else (base.weight.dtype, base.weight.device)
        )
        # The deviation of nn.Linear's own beginning, which usual learning rates are for; drawn on the CPU.
        down = torch.randn(rank, base.in_features, generator=generator) * (3 * base.in_features) ** -0.5
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if not self.exact:
            return y + self._change(x, self.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return y + self._change(x, torch.float32)

    def _change(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        low = F.linear(x.to(dtype), self.down.to(dtype))
        return F.linear(low * self.scale, self.up.to(dtype))


class Adapters:
    """What was attached to a network, by the official names of the parameters that it changes."""

    def __init__(
        self, network: nn.Module, places: Mapping[str, Adapted], frozen: Sequence[tuple[nn.Parameter, bool]]
    ) -> None:
        self._network, self._places, self._frozen = network, dict(places), list(frozen)
        self._layers = {f"{path.replace(_COMPILED, '')}.weight": layer for path, layer in places.items()}

    def parameters(self) -> list[nn.Parameter]:
        """All factors, in a fixed order."""
        return [factor for layer in self._layers.values() for factor in (layer.down, layer.up)]

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The factors (down, up) by official parameter name, as `write_lora` takes them; they share memory."""
        return {name: (layer.down.detach(), layer.up.detach()) for name, layer in self._layers.items()}

    @torch.no_grad()
    def load(self, factors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Take over factors (down, up) by official parameter name. Raises KeysError unless names and shapes agree."""
        missing, unknown = self._layers.keys() - factors.keys(), factors.keys() - self._layers.keys()
        if missing or unknown:
            first = min(missing or unknown)
            raise KeysError(
                f"the factors are of other layers: {len(missing)} missing, {len(unknown)} not attached here, such as "
                f"{first}. Attach with the targets that they were trained with."
            )
        for name, layer in self._layers.items():
            for mine, given in zip((layer.down, layer.up), factors[name], strict=True):
                if mine.shape != given.shape:
                    raise KeysError(
                        f"the factors of {name} are {list(given.shape)}, and {list(mine.shape)} is attached here; "
                        "attach with the rank that they were trained with"
                    )
        for name, layer in self._layers.items():
            layer.down.copy_(factors[name][0])
            layer.up.copy_(factors[name][1])

    def detach(self) -> None:
        """Give the network back as it was: its own layers, and what learned before learns again."""
        for path, layer in self._places.items():
            _put(self._network, path, layer.base)
        for parameter, learned in self._frozen:
            parameter.requires_grad_(learned)
        self._places, self._frozen = {}, []


def attach(
    network: nn.Module, *, rank: int, alpha: float, targets: Sequence[str] | None = None, seed: int = 0
) -> Adapters:
    """Put factors of scale alpha / rank on the linear layers that `targets` name, in place, and freeze the rest.

    A target is a group ("attention", "ffn", "audio", "all") or consecutive parts of a parameter's name, with `*` for
    anything: "self_attn", "q", "blocks.0.cross_attn.v", "blocks.1*.ffn.2.weight". None is attention and ffn. Raises
    OptionError for a rank or alpha that cannot be, for a target that matches nothing (it lists what there is), and for
    a network that is adapted already.
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise OptionError(f"the rank of a LoRA is a whole number from 1 on, such as 16; not {rank!r}")
    if not math.isfinite(alpha) or alpha <= 0:
        raise OptionError(f"the alpha of a LoRA is more than 0, such as its rank; not {alpha!r}")
    if any(isinstance(module, Adapted) for module in network.modules()):
        raise OptionError("this network has a LoRA attached already; detach that first")
    layers = {name: module for name, module in network.named_modules() if isinstance(module, _Layer)}
    chosen = _chosen(layers, USUAL if targets is None else targets)
    generator = torch.Generator().manual_seed(seed)
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.requires_grad_(False)
    places = {path: Adapted(layers[path], rank, alpha / rank, generator) for path in chosen}
    for path, layer in places.items():
        _put(network, path, layer)
    return Adapters(network, places, before)


def checkpoint_blocks(network: nn.Module) -> None:
    """Keep of every block of a network only its input, and compute the rest again for the gradient, in place.

    Chen et al. 2016 (arXiv:1604.06174). Gradients are the same; without gradients nothing changes. Raises OptionError
    if the network has no blocks.
    """
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise OptionError(f"a {type(network).__name__} has no blocks to be checkpointed")
    for block in blocks:
        setattr(block, "forward", _checkpointed(block.forward))  # noqa: B010 - typed as a method


def _checkpointed(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def again(*given: object) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*given)
        # Nothing in a block is drawn at random, so there is no state of generators to keep.
        return checkpoint(forward, *given, use_reentrant=False, preserve_rng_state=False)

    return again


def _chosen(layers: Mapping[str, nn.Module], targets: Sequence[str]) -> list[str]:
    """The layers that any target names, in the order of the network."""
    if not targets:
        raise OptionError(f"a LoRA needs targets: {_known(layers)}")
    names = {path: f".{path.replace(_COMPILED, '')}.weight." for path in layers}
    chosen: set[str] = set()
    for target in targets:
        patterns = GROUPS.get(target, (target,))
        found = {
            path for path in layers if any(fnmatchcase(names[path], f"*.{pattern}.*") for pattern in patterns)
        }
        if not found or not target:
            raise OptionError(f"the LoRA target {target!r} matches no layer. {_known(layers)}")
        chosen |= found
    return [path for path in layers if path in chosen]


def _known(layers: Mapping[str, nn.Module]) -> str:
    plain = (path.replace(_COMPILED, "") for path in layers)
    kinds = dict.fromkeys(re.sub(r"\b(blocks|injector|layers)\.\d+", r"\1.*", path) for path in plain)
    return f"Known: {', '.join(GROUPS)}, or parts of these names: {', '.join(kinds)}"


def _put(network: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(parent), leaf, layer)
