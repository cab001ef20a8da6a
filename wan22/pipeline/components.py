"""The parts of a pipeline in Diffusers' words, and Diffusers' modules in the place of parts.

A `Component` shows a part: its sizes, precision and device. The network itself is the engine's, which reads it
when it is
needed; `pipe.engine.expert(...)` and `pipe.engine.vae()` lend it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from wan22.arch import DiTArch, UMT5Arch, VAEArch
from wan22.catalog import Variant
from wan22.errors import OptionError
from wan22.pipeline.caches import cache_of
from wan22.pipeline.scheduler import Config
from wan22.weights.configs import diffusers_of
from wan22.weights.reader import Reader, reader_of_tensors

logger = logging.getLogger("wan22")

PARTS = {"vae": "vae", "text_encoder": "text", "transformer": "high", "transformer_2": "low"}
"""Diffusers' names of the parts that have weights, and ours."""

_TILING = "the VAE works through a video a few frames at a time in any case, so %s is not needed"


@dataclass(frozen=True)
class Component:
    """A part of a pipeline: Diffusers' settings of it, its precision, where it works."""

    name: str
    config: Config = field(repr=False)
    dtype: torch.dtype
    device: torch.device
    use_cache: Callable[[str | None], None] | None = field(default=None, repr=False, compare=False)

    def enable_cache(self, config: Any) -> None:
        """Use a step cache in later calls, of a configuration of Diffusers (of the transformers; it is one for all)."""
        if self.use_cache is None:
            raise AttributeError(f"the {self.name} has no enable_cache; the transformer has")
        self.use_cache(cache_of(config))

    def disable_cache(self) -> None:
        """Use no step cache in later calls (of the transformers)."""
        if self.use_cache is None:
            raise AttributeError(f"the {self.name} has no disable_cache; the transformer has")
        self.use_cache(None)

    def enable_tiling(self, *_: Any, **__: Any) -> None:
        """Say that it is not needed (of the VAE)."""
        self._only("vae", "enable_tiling")
        logger.warning(_TILING, "tiling")

    def enable_slicing(self) -> None:
        """Say that it is not needed (of the VAE)."""
        self._only("vae", "enable_slicing")
        logger.warning(_TILING, "slicing")

    def _only(self, name: str, method: str) -> None:
        if self.name != name:
            raise AttributeError(f"the {self.name} has no {method}; the {name} has")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"pipe.{self.name} shows config, dtype and device, and has no {name!r}. The network itself is the "
            f"engine's: "
            "pipe.engine.expert('high') (or 'low', 'dit') and pipe.engine.vae() lend it."
        )


def show(
    variant: Variant,
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    use_cache: Callable[[str | None], None] | None = None,
) -> Component:
    """A part of a model as Diffusers would show it; a transformer tells `use_cache` which step cache is to be used."""
    arches: Mapping[str, DiTArch | VAEArch | UMT5Arch] = {"vae": variant.vae, "text_encoder": variant.text}
    arch = arches.get(name, variant.dit)
    config = Config(diffusers_of(arch))
    of_transformer = use_cache if name.startswith("transformer") else None
    return Component(name, config, torch.float32 if name == "vae" else dtype, device, of_transformer)


def read_modules(given: Mapping[str, Any], experts: tuple[str, ...]) -> dict[str, Callable[[], Reader]]:
    """Diffusers' or transformers' modules as what the engine reads parts from. OptionError for what is none."""
    readers = {}
    for name, module in given.items():
        part = PARTS[name]
        if part == "low" and "low" not in experts:
            raise OptionError("this model has one transformer; leave transformer_2 away")
        part = experts[0] if part == "high" else part
        if not isinstance(module, torch.nn.Module):
            raise OptionError(
                f"{name} must be a module with weights, such as Diffusers' or transformers' from_pretrained gives, not "
                f"{type(module).__name__}"
            )
        readers[part] = _reader(name, module)
    return readers


def _reader(name: str, module: torch.nn.Module) -> Callable[[], Reader]:
    if any(tensor.is_meta for tensor in module.state_dict().values()):
        raise OptionError(f"the {name} that is given has no weights yet (it is on the meta device)")
    label = f"the {name} that is given ({type(module).__name__})"
    return lambda: reader_of_tensors(label, module.state_dict())
