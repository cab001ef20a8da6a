"""Where the parts of a model rest when they are not at work, and how they come to the device.

A part is one network (the text encoder, an expert, the VAE). It rests on the device, on the host, or on disk, and
`bring` brings it in. Parts that rest elsewhere never share the device: the one that was there leaves first, so two
experts are resident together only if the plan found room for both.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

from wan22.errors import OptionError

Rest = Literal["device", "host", "disk"]
Load = Callable[[torch.device], nn.Module]
"""Reads a part from its files straight onto a device."""

MARGIN = 0.85
"""The share of free memory that weights may take; the rest is for activations."""


def plan(
    sizes: Mapping[str, int], device: torch.device, free: int, free_host: int, memory: str = "auto"
) -> dict[str, Rest]:
    """Decide where each part rests, from its size in bytes and the free memory of device and host.

    "auto" keeps all on the device if they fit; else on the host if they fit there; else on disk. A name of a resting
    place ("device", "host", "disk") is an order. Raises OptionError for any other word.
    """
    if memory not in ("auto", "device", "host", "disk"):
        raise OptionError(f"unknown memory plan {memory!r}. Known: auto, device, host, disk")
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
        self._loaders, self._rest, self.device = loaders, rest, device
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
                part = self._resting[name].to(self.device)
            else:
                part = self._loaders[name](self.device)
            self._guest = (name, part)
        return self._guest[1]

    def release(self) -> None:
        """Send the guest home: to the host, or away entirely if it rests on disk."""
        if self._guest is None:
            return
        name, part = self._guest
        self._guest = None
        if self._rest[name] == "host":
            part.to("cpu")
        del part
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
