"""The parts of a pipeline in Diffusers' words: what they are, where they work, where they rest."""

import logging
from typing import Any, Self

import torch

from wan22 import fields
from wan22.engine import load
from wan22.errors import OptionError
from wan22.pipeline import loading
from wan22.pipeline.adapters import AdapterMixin
from wan22.pipeline.components import Component, show
from wan22.pipeline.scheduler import Scheduler, read_scheduler
from wan22.sampling.cache import read_cache

logger = logging.getLogger("wan22")


class PartsMixin(AdapterMixin):
    """Diffusers' methods of devices and parts. A move opens the engine anew, which reads weights when they are
    needed.
    """

    _opening: dict[str, Any]  # how the engine was opened
    _scheduler: Scheduler | None
    _boundary: float | None
    _cache: str | None = None
    _audio_encoder: Any = None

    def to(self, *where: Any, device: Any = None, dtype: Any = None, **options: Any) -> Self:
        """Move to another device or dtype, and return the pipeline. Weights are read again when they are needed."""
        if options.keys() - {"silence_dtype_warnings"}:
            raise TypeError(f"to() takes a device and a dtype, not {next(iter(options))!r}")
        for value in where:
            if isinstance(value, torch.dtype):
                dtype = value
            else:
                device = value
        changes: dict[str, Any] = {}
        if device is not None and torch.device(device) != self.engine.device:
            alike = str(device) == self.engine.device.type and self.engine.device.type != "cpu"
            changes |= {} if alike else {"device": str(device)}
        if dtype is not None and dtype != self.engine.dtype:
            changes["dtype"] = dtype
        if changes:
            self._reopen(**changes)
        return self

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: Any = None) -> None:
        """Keep parts in host memory and move each to the device while it works (`memory="host"`)."""
        self._offload("host", gpu_id, device)

    def enable_sequential_cpu_offload(self, gpu_id: int | None = None, device: Any = None) -> None:
        """Keep parts on disk and read each to the device while it works (`memory="disk"`): least memory, slowest."""
        self._offload("disk", gpu_id, device)

    def enable_group_offload(
        self,
        onload_device: Any = None,
        offload_device: Any = "cpu",
        offload_to_disk_path: Any = None,
        **_: Any,
    ) -> None:
        """Do what `enable_model_cpu_offload` does, or `enable_sequential_cpu_offload` with a path on disk. A group is a
        whole part.
        """
        if str(offload_device) != "cpu":
            raise OptionError(
                f"parts rest on the host or on disk; offload_device must be cpu, not {offload_device}"
            )
        logger.warning("groups of layers are not moved here, but whole parts, one at a time")
        self._offload("host" if offload_to_disk_path is None else "disk", None, onload_device)

    def _offload(self, memory: str, gpu_id: int | None, device: Any) -> None:
        device = f"cuda:{gpu_id}" if device is None and gpu_id is not None else device
        changes = {"memory": memory} if device is None else {"memory": memory, "device": str(device)}
        if memory == "host" and torch.device(changes.get("device", self.engine.device)).type == "cpu":
            logger.warning("the model works on the CPU, where its parts rest already; nothing is moved")
            changes.pop("memory")
        if changes:
            self._reopen(**changes)

    def _reopen(self, **changes: Any) -> None:
        if not self._opening:
            raise OptionError(
                f"this pipeline was made from an engine that is open; give {', '.join(changes)} to wan22.load or "
                "from_pretrained"
            )
        opening = {**self._opening, **changes}
        self.engine = load(**opening)
        self._opening = opening
        self._settle()

    def _settle(self) -> None:
        """Tell a new engine what was said to the one before."""
        if self._boundary is not None:
            if self.engine.variant.boundary is None:
                raise OptionError(f"{self.engine.name} has one transformer; leave boundary_ratio away")
            fields.check("boundary", self._boundary, called="boundary_ratio")
        if self._audio_encoder is not None:
            encoder = getattr(self._audio_encoder, "wav2vec2", self._audio_encoder)
            if self.engine.variant.speech is None or not isinstance(encoder, torch.nn.Module):
                raise OptionError(f"{self.engine.name} takes no such audio_encoder; leave it away")
            self.engine.show(
                "audio", lambda device: encoder.to(device, torch.float32).requires_grad_(False).eval()
            )
            self.engine.weights["audio"] = f"given in memory ({type(encoder).__name__})"
        self._use(self.adapters)

    def enable_vae_tiling(self) -> None:
        """Do nothing but log that the VAE decodes in a stream anyway."""
        self.vae.enable_tiling()

    def enable_vae_slicing(self) -> None:
        """Do nothing but log that the VAE decodes in a stream anyway."""
        self.vae.enable_slicing()

    @property
    def device(self) -> torch.device:
        """The device on which the model runs."""
        return self.engine.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the large matrices."""
        return self.engine.dtype

    @property
    def scheduler(self) -> Scheduler:
        """The solver and its shift. A scheduler of Diffusers can be assigned."""
        defaults = self.engine.variant.defaults
        return self._scheduler or Scheduler(defaults.solver, defaults.shift, defaults.schedule)

    @scheduler.setter
    def scheduler(self, given: Any) -> None:
        self._scheduler = read_scheduler(given)

    @property
    def components(self) -> dict[str, Any]:
        """The parts of the pipeline by Diffusers' names."""
        names = ("text_encoder", "vae", *self._networks())
        return {name: self._shown(name) for name in names} | {"scheduler": self.scheduler}

    def _shown(self, name: str) -> Component:
        return show(self.engine.variant, name, self.engine.dtype, self.engine.device, self._use_cache)

    def _use_cache(self, cache: str | None) -> None:
        if cache is not None:
            read_cache(cache)  # what is none is said at once
        self._cache = cache

    @property
    def transformer(self) -> Component:
        """The transformer; with two experts the high-noise one."""
        return self._shown("transformer")

    @property
    def transformer_2(self) -> Component | None:
        """The low-noise transformer; None if the model has one transformer."""
        return self._shown("transformer_2") if len(self._networks()) == 2 else None

    @property
    def vae(self) -> Component:
        """The VAE."""
        return self._shown("vae")

    @property
    def text_encoder(self) -> Component:
        """The text encoder."""
        return self._shown("text_encoder")

    @property
    def vae_scale_factor_spatial(self) -> int:
        """Pixels a side of one latent position."""
        return self.engine.variant.vae.stride_space

    @property
    def vae_scale_factor_temporal(self) -> int:
        """Frames in one latent frame."""
        return self.engine.variant.vae.stride_time

    def __setattr__(self, name: str, value: Any) -> None:
        if name in loading.COMPONENTS and name != "scheduler":
            raise OptionError(f"{name} cannot be assigned; give it to from_pretrained({name}=...)")
        super().__setattr__(name, value)
