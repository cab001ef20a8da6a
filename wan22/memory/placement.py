"""Where the parts of a model rest when they are not at work, and how they come to the device.

A part is one network (the text encoder, an expert, the VAE). `bring` brings it in, as its scheme says (scheme.py).
Parts that rest elsewhere never share the device: the one that was there leaves first, so two experts are resident
together only if the plan found room for both.
"""

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from wan22.memory.scheme import LADDER, Rest, Scheme, smaller
from wan22.memory.stream import Stream

Load = Callable[[torch.device], nn.Module]
"""Reads a part from its files straight onto a device."""


@runtime_checkable
class StreamingLoad(Protocol):
    """A load that can also give a part whose blocks pass through the device one after the other."""

    def __call__(self, device: torch.device) -> nn.Module: ...

    def stream(self, device: torch.device, rest: Rest) -> nn.Module: ...

    def read_ahead(self) -> None:
        """Have the system read the files before they are asked for; it returns at once."""
        ...


class Placement:
    """The parts of one model. `bring(name)` gives a part on the device; it is there until another guest comes."""

    def __init__(
        self,
        loaders: Mapping[str, Load],
        schemes: Mapping[str, Scheme | Rest],
        device: torch.device,
        *,
        host_room: bool = True,
        apart: Mapping[str, torch.device] = MappingProxyType({}),
    ) -> None:
        """A rest alone stands for a part that is kept there whole. host_room: whether host memory can hold all parts,
        which `shrink` asks. apart: devices of parts that have one of their own, and stay there whole.
        """
        self.apart = dict(apart)
        schemes = {**schemes, **dict.fromkeys(self.apart, Scheme("device"))}
        self._host_room = host_room and device.type != "cpu"
        self._loaders, self.device = dict(loaders), device
        self._schemes = {n: Scheme(s) if isinstance(s, str) else s for n, s in schemes.items()}
        self._resting: dict[str, nn.Module] = {}  # on the device or on the host, as their rest says
        self._guest: tuple[str, nn.Module] | None = None  # the one part that is on the device for the moment

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(self._schemes)

    @property
    def resident(self) -> int:
        """Bytes of weights that are on the device now."""
        return self.resident_on(self.device)

    def resident_on(self, device: torch.device) -> int:
        """Bytes of weights that are on a device now."""
        here = [*self._resting.values(), *([] if self._guest is None else [self._guest[1]])]
        weights = {id(w): w for part in here for w in (*part.parameters(), *part.buffers())}
        return sum(w.nbytes for w in weights.values() if w.device.type == device.type)

    def device_of(self, name: str) -> torch.device:
        """Where a part works."""
        return self.apart.get(name, self.device)

    def scheme(self, name: str) -> Scheme:
        """How a part is kept."""
        return self._schemes[name]

    def arrange(self, schemes: Mapping[str, Scheme]) -> None:
        """Keep these parts so from now on; one that was kept otherwise is let go, and read again when it is needed.
        What has a device of its own stays there.
        """
        for name, scheme in schemes.items():
            if name in self.apart:
                continue
            before, self._schemes[name] = self._schemes[name], scheme
            if (before.rest, before.stream) != (scheme.rest, scheme.stream):
                self._forget(name)

    def shrink(self, name: str) -> bool:
        """Keep all parts by the next smaller scheme than that of `name`. False: there is none."""
        if name in self.apart:
            return False
        scheme = smaller(self._schemes[name], host=self._host_room)
        if scheme is None:
            return False
        below = LADDER.index(scheme)
        larger = [part for part, kept in self._schemes.items() if kept not in LADDER[below:]]
        self._forget(name)  # also where only chunks change, so that nothing of the failed try is left
        self.arrange(dict.fromkeys(larger, scheme))
        return True

    def is_here(self, name: str) -> bool:
        """Whether `bring(name)` needs no reading from disk."""
        return name in self._resting or (self._guest is not None and self._guest[0] == name)

    def bring(self, name: str) -> nn.Module:
        """Return a part on the device, reading or moving it there if need be."""
        scheme, load = self._schemes[name], self._loaders[name]
        if self._guest is not None and self._guest[0] == name:
            return self._guest[1]
        if scheme.rest == "device" and not scheme.stream:
            if name not in self._resting:
                self._resting[name] = load(self.device_of(name))
            return self._resting[name]
        self.release()
        if scheme.stream and isinstance(load, StreamingLoad):
            part = self._resting.get(name) or load.stream(self.device, scheme.rest)
            if scheme.rest in ("host", "ranks"):
                self._resting[name] = part
        elif scheme.rest == "host":
            if name not in self._resting:
                self._resting[name] = _pinned(load(torch.device("cpu")), self.device)
            part = _copy_to(self._resting[name], self.device)
        else:
            part = load(self.device)
        self._guest = (name, part)
        return part

    def expect(self, name: str) -> None:
        """Say that a part will be needed soon: if it rests on disk, its files are read ahead meanwhile."""
        load = self._loaders[name]
        if not self.is_here(name) and isinstance(load, StreamingLoad):
            load.read_ahead()

    def reread(self, name: str, load: Load) -> None:
        """From now on read a part by `load`; what is here of it is let go."""
        self._loaders[name] = load
        self._forget(name)

    def release(self) -> None:
        """Let go of the guest; what rests on the host is still there, and need not be copied back."""
        if self._guest is None:
            return
        for module in self._guest[1].modules():
            if isinstance(module, Stream):
                module.release()
        self._guest = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _forget(self, name: str) -> None:
        self._resting.pop(name, None)
        if self._guest is not None and self._guest[0] == name:
            self.release()


def _pinned(part: nn.Module, device: torch.device) -> nn.Module:
    """The same network in memory that the device copies from at full speed, if it is a CUDA device."""
    if device.type == "cuda":
        for tensor in (*part.parameters(), *part.buffers()):
            tensor.data = tensor.data.pin_memory()
    return part


def _copy_to(part: nn.Module, device: torch.device) -> nn.Module:
    """The same network with its weights on another device; those of `part` stay where they are."""
    there: dict[int, object] = {
        id(p): nn.Parameter(p.detach().to(device, non_blocking=True), requires_grad=False)
        for p in part.parameters()
    }
    there |= {id(b): b.to(device, non_blocking=True) for b in part.buffers()}
    return copy.deepcopy(part, there)  # it takes what is in its memo for the copies that it need not make
