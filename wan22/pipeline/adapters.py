"""LoRAs by name, as Diffusers keeps them: loaded, active, fused. What is in use is told to the engine, which merges it
into the weights when they are next read.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from wan22.engine import Engine
from wan22.errors import CheckpointError, OptionError
from wan22.pipeline.loading import in_cache
from wan22.weights.lora import LoRA, open_adapters

logger = logging.getLogger("wan22")

TRANSFORMERS = {"transformer": "high", "transformer_2": "low"}
"""Diffusers' names of the networks, and which expert each one is."""

_TO_FIND = ("cache_dir", "revision")
_MEANT_ANYWAY = ("local_files_only", "use_safetensors", "low_cpu_mem_usage", "token", "proxies")


@dataclass
class Adapters:
    """The LoRAs of a pipeline. A key is (adapter's name, network's name in Diffusers)."""

    loaded: dict[tuple[str, str], LoRA] = field(default_factory=dict)
    weights: dict[tuple[str, str], float] = field(default_factory=dict)  # of those that are active
    fused: dict[tuple[str, str], LoRA] = field(default_factory=dict)
    enabled: bool = True

    def in_use(self, scale: float = 1.0) -> list[LoRA]:
        """What is to be merged; `scale` weakens what is active and not fused."""
        active = [
            replace(lora, strength=lora.strength * self.weights[key] * scale)
            for key, lora in self.loaded.items()
            if self.enabled and key in self.weights and key not in self.fused
        ]
        return [*self.fused.values(), *active]

    def names(self) -> list[str]:
        """The names of all that are loaded."""
        return list(dict.fromkeys(name for name, _ in self.loaded))

    def copy(self) -> "Adapters":
        """One that can be changed, and thrown away if the change fits no model."""
        return replace(self, loaded=dict(self.loaded), weights=dict(self.weights), fused=dict(self.fused))

    def require(self, names: str | Sequence[str]) -> list[str]:
        """A list of names, all of them loaded; else OptionError."""
        asked = [names] if isinstance(names, str) else list(names)
        absent = [name for name in asked if name not in self.names()]
        if absent:
            raise OptionError(
                f"no adapter {', '.join(map(repr, absent))} is loaded; there are: {self.names()}"
            )
        return asked


class AdapterMixin:
    """Diffusers' methods of LoRAs."""

    engine: Engine
    adapters: Adapters
    _scratch: TemporaryDirectory | None

    def load_lora_weights(
        self,
        source: str | Path | Mapping[str, Tensor],
        adapter_name: str | None = None,
        *,
        weight_name: str | None = None,
        subfolder: str | None = None,
        load_into_transformer_2: bool = False,
        **options: Any,
    ) -> None:
        """Load a LoRA and make it the active one of its network.

        source: a file, a folder or a hub id in the local cache (with `weight_name`, if it holds several files), or a
        state dict, in any common dialect. With two experts it changes the high-noise one, as in Diffusers;
        `load_into_transformer_2` selects the low-noise one.

        Raises OptionError or CheckpointError, and changes nothing, if it does not fit.
        """
        unknown = [name for name in options if name not in (*_TO_FIND, *_MEANT_ANYWAY)]
        if unknown:
            raise TypeError(
                f"load_lora_weights takes no {unknown[0]!r}; give weight_name, subfolder, adapter_name, "
                "load_into_transformer_2, cache_dir or revision"
            )
        network = "transformer_2" if load_into_transformer_2 else "transformer"
        if network not in self._networks():
            raise OptionError(f"{self.engine.name} has one transformer; leave load_into_transformer_2 away")
        taken = [name for name, where in self.adapters.loaded if where == network]
        free = (name for i in count(len(taken)) if (name := f"default_{i}") not in taken)
        name = next(free) if adapter_name is None else adapter_name
        if name in taken:
            raise OptionError(
                f"there is an adapter {name!r} already; take another adapter_name, or delete_adapters"
            )
        if isinstance(source, Mapping):
            path = self._written(source, f"{name}.{network}")
        else:
            where = {key: options.get(key) for key in _TO_FIND}
            path = _lora_path(source, subfolder, weight_name, **where)
        pair = len(open_adapters(path)) == 2
        if pair and len(self._networks()) == 2:
            logger.warning(
                "%s holds both experts' LoRAs; this loads the %s one's", path, TRANSFORMERS[network]
            )
        self._load(name, network, LoRA(path, expert=self._expert(network)))

    def load_lora(self, path: str | Path, strength: float = 1.0, expert: str | None = None) -> None:
        """Add a LoRA to those in use: a file, or a folder with a file for each expert, in any common dialect.

        strength: factor of what it adds; 1 is as trained. expert: "high" or "low"; None is the one that the file names,
        else both.

        Raises OptionError or CheckpointError, and changes nothing, if it does not fit the model.
        """
        name = f"lora_{len(self.adapters.names())}"
        self._load(name, "both", LoRA(path, strength, expert), beside=True)

    def unload_loras(self) -> None:
        """Remove all LoRAs, fused ones too."""
        self._use(Adapters())

    def unload_lora_weights(self) -> None:
        """Remove all LoRAs except fused ones."""
        self._use(Adapters(fused=dict(self.adapters.fused)))

    def set_adapters(self, adapter_names: str | Sequence[str], adapter_weights: Any = None) -> None:
        """Make these adapters the active ones.

        adapter_weights: a number for all, a list with one for each, or by network, such as
        {"transformer": 0.8, "transformer_2": 1.0}. The default is 1.
        """
        names = self.adapters.require(adapter_names)
        weights = (
            list(adapter_weights)
            if isinstance(adapter_weights, list | tuple)
            else [adapter_weights] * len(names)
        )
        if len(weights) != len(names):
            raise OptionError(f"there are {len(names)} adapter names and {len(weights)} weights")
        new = self.adapters.copy()
        new.weights = {
            key: _weight(weight, key[1])
            for name, weight in zip(names, weights, strict=True)
            for key in new.loaded
            if key[0] == name
        }
        self._use(new)

    def get_active_adapters(self) -> list[str]:
        """Return the names of the active adapters."""
        return list(dict.fromkeys(name for name, _ in self.adapters.weights))

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Return the names of the adapters of each network."""
        found: dict[str, list[str]] = {}
        for name, network in self.adapters.loaded:
            for where in self._networks() if network == "both" else [network]:
                found.setdefault(where, []).append(name)
        return found

    def disable_lora(self) -> None:
        """Ignore all adapters except fused ones until `enable_lora`."""
        self._use(replace(self.adapters.copy(), enabled=False))

    def enable_lora(self) -> None:
        """Use the active adapters again."""
        self._use(replace(self.adapters.copy(), enabled=True))

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Remove these adapters."""
        names, new = self.adapters.require(adapter_names), self.adapters.copy()
        new.loaded = {key: lora for key, lora in new.loaded.items() if key[0] not in names}
        new.weights = {key: weight for key, weight in new.weights.items() if key[0] not in names}
        self._use(new)

    def fuse_lora(
        self,
        components: Sequence[str] = ("transformer",),
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: Sequence[str] | None = None,
    ) -> None:
        """Keep the active adapters, or `adapter_names`, on these networks when adapters are unloaded.

        lora_scale: a factor of their strength. `unfuse_lora` ends it. Weights that are not finite are always refused
        (`safe_fusing`).
        """
        asked = [components] if isinstance(components, str) else list(components)
        absent = [name for name in asked if name not in self._networks()]
        if absent:
            raise OptionError(f"there is no network {absent[0]!r}; there are: {', '.join(self._networks())}")
        names = self.get_active_adapters() if adapter_names is None else self.adapters.require(adapter_names)
        new = self.adapters.copy()
        for key, lora in self.adapters.loaded.items():
            if key[0] in names and (key[1] in asked or key[1] == "both") and key not in new.fused:
                weight = self.adapters.weights.get(key, 1.0) * _number("lora_scale", lora_scale)
                new.fused[key] = replace(lora, strength=lora.strength * weight)
        self._use(new)

    def unfuse_lora(self, components: Sequence[str] = ("transformer", "transformer_2")) -> None:
        """Undo `fuse_lora` on these networks. Adapters that were unloaded since are removed."""
        new = self.adapters.copy()
        new.fused = {key: lora for key, lora in new.fused.items() if key[1] not in (*components, "both")}
        self._use(new)

    def _networks(self) -> list[str]:
        return list(TRANSFORMERS)[: len(self.engine.variant.experts)]

    def _expert(self, network: str) -> str | None:
        return TRANSFORMERS[network] if len(self._networks()) == 2 else None

    def _load(self, name: str, network: str, lora: LoRA, beside: bool = False) -> None:
        new = self.adapters.copy()
        if not beside:  # the newest one alone is active on its network
            new.weights = {key: weight for key, weight in new.weights.items() if key[1] != network}
        new.loaded[name, network] = lora
        new.weights[name, network] = 1.0
        self._use(new)

    def _use(self, adapters: Adapters) -> None:
        self.engine.use_loras(adapters.in_use())
        self.adapters = adapters
        for notice in self.engine.loras.notices:
            logger.info("%s", notice)

    def _written(self, tensors: Mapping[str, Tensor], name: str) -> Path:
        """A state dict as a file, which is what the engine reads."""
        from wan22.weights.writer import write_tensors

        wrong = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
        if wrong or not tensors:
            raise OptionError(
                f"a state dict of a LoRA is names and tensors; {wrong[0] if wrong else 'it'} is none"
            )
        self._scratch = self._scratch or TemporaryDirectory(prefix="wan22-loras-")
        path = (
            Path(self._scratch.name) / f"{len(list(Path(self._scratch.name).iterdir()))}-{name}.safetensors"
        )
        write_tensors(path, {key: value.clone() for key, value in tensors.items()})
        return path


def _weight(weight: Any, network: str) -> float:
    if weight is None:
        return 1.0
    if isinstance(weight, Mapping):
        unknown = [name for name in weight if name not in TRANSFORMERS]
        if unknown:
            raise OptionError(
                f"a weight is said for a whole network ({', '.join(TRANSFORMERS)}), not {unknown[0]!r}"
            )
        weight = weight.get(network, 1.0)
        if weight is None:
            return 1.0
    if isinstance(weight, Mapping):
        raise OptionError(
            "a weight of an adapter is one number for a network; weights by block are not known here"
        )
    return _number("the weight of an adapter", weight)


def _number(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{what} must be a number, such as 0.8; not {value!r}")
    return float(value)


def _lora_path(source: str | Path, subfolder: str | None, weight_name: str | None, **where: Any) -> Path:
    """The file or folder of a LoRA on this machine."""
    path = Path(source).expanduser()
    if not path.exists():
        cached = in_cache(str(source), **where)
        if cached is None:
            file = "" if weight_name is None else f" {weight_name}"
            raise CheckpointError(
                f"there is no LoRA {source} here: no file, no folder, and nothing of that name in the hub's "
                f"cache. If it "
                f"is on the hub, `hf download {source}{file}` gets it."
            )
        path = cached
    if path.is_dir():
        path = path / (subfolder or "") / (weight_name or "")
    elif subfolder or (weight_name is not None and path.name != Path(weight_name).name):
        raise OptionError(f"{path} is a file; leave subfolder and weight_name away")
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; check weight_name and subfolder")
    return path
