"""Where the parts of a model rest when they are not at work, and how they come to the device.

A part is one network (the text encoder, an expert, the VAE). It rests on the device, on the host, or on disk, and
`bring` brings it in. Parts that rest elsewhere never share the device: the one that was there leaves first, so two
experts are resident together only if the plan found room for both.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

from wan22.errors import DeviceError, OptionError

Rest = Literal["device", "host", "disk"]
Load = Callable[[torch.device], nn.Module]
"""Reads a part from its files straight onto a device."""

PLANS = ("auto", "device", "host", "disk")

MARGIN = 0.85
"""The share of free memory that weights may take; the rest is for activations."""


def plan(
    sizes: Mapping[str, int], device: torch.device, free: int, free_host: int, memory: str = "auto"
) -> dict[str, Rest]:
    """Decide where each part rests, from its size in bytes and the free memory of device and host.

    "auto" keeps all on the device if they fit; else on the host if they fit there; else on disk. A name of a resting
    place ("device", "host", "disk") is an order. Raises OptionError for any other word, and DeviceError if a part
    is larger than all that is free: wherever it rests, it must come to the device to work.
    """
    if memory not in PLANS:
        raise OptionError(f"unknown memory plan {memory!r}. Known: {', '.join(PLANS)}")
    largest = max(sizes, key=lambda name: sizes[name])
    if sizes[largest] > free:
        raise DeviceError(
            f"the part {largest!r} of this model takes {sizes[largest] / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free "
            f"on {device}; free some memory, or take another device or a smaller model (`wan22 doctor` says what fits)"
        )
    total = sum(sizes.values())
    if memory == "auto":
        fits_host = device.type != "cpu" and total <= MARGIN * free_host
        memory = "device" if total <= MARGIN * free else "host" if fits_host else "disk"
    if memory == "host" and device.type == "cpu":
        memory = "device"  # the host is the device
    return dict.fromkeys(sizes, memory)


class Placement:
    """The parts of one model. `bring(name)` gives a part on the device; it is there until another guest comes."""

    def __init__(self, loaders: Mapping[str, Load], rest: Mapping[str, Rest], device: torch.device) -> None:
        self._loaders, self._rest, self.device = dict(loaders), rest, device
        self._resting: dict[str, nn.Module] = {}  # on the device or on the host, as their rest says
        self._guest: tuple[str, nn.Module] | None = None  # the one part that is on the device for the moment

    def is_here(self, name: str) -> bool:
        """Whether `bring(name)` needs no reading from disk."""
        return name in self._resting or (self._guest is not None and self._guest[0] == name)

    def bring(self, name: str) -> nn.Module:
        """Return a part on the device, reading or moving it there if need be."""
        rest = self._rest[name]
        if rest == "device":
            if name not in self._resting:
                self._resting[name] = self._loaders[name](self.device)
            return self._resting[name]
        if self._guest is None or self._guest[0] != name:
            self.release()
            if rest == "host":
                if name not in self._resting:
                    self._resting[name] = self._loaders[name](torch.device("cpu"))
                part = _copy_to(self._resting[name], self.device)
            else:
                part = self._loaders[name](self.device)
            self._guest = (name, part)
        return self._guest[1]

    def reread(self, name: str, load: Load) -> None:
        """From now on read a part by `load`; what is here of it is let go."""
        self._loaders[name] = load
        self._resting.pop(name, None)
        if self._guest is not None and self._guest[0] == name:
            self.release()

    def release(self) -> None:
        """Let go of the guest; what rests on the host is still there, and need not be copied back."""
        if self._guest is None:
            return
        self._guest = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _copy_to(part: nn.Module, device: torch.device) -> nn.Module:
    """The same network with its weights on another device; those of `part` stay where they are."""
    there: dict[int, object] = {
        id(p): nn.Parameter(p.detach().to(device), requires_grad=False) for p in part.parameters()
    }
    there |= {id(b): b.to(device) for b in part.buffers()}
    return copy.deepcopy(part, there)  # it takes what is in its memo for the copies that it need not make
