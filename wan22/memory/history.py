"""The past of the VAE's layers in host memory: two frames of each layer on the device instead of two of all.

Frames leave for pinned memory and come back in streams of their own, one layer ahead: which layer follows which is
learned as they pass. The streams wait for one another, the host for none. All device memory is allocated in the stream
that computes, so that it is used again in that stream's order, however far ahead the host is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from wan22.models.vae import History, Neighbours


class HostHistory(History):
    """A `History` whose frames rest on the host. Close it when the video is done, or given up.

    streams: `torch.cuda`, or what stands for it; None is what the device has. neighbours: as of `History`.
    """

    def __init__(
        self, device: torch.device, streams: Any = None, neighbours: Neighbours | None = None
    ) -> None:
        super().__init__(neighbours)
        self._device = device
        self._cuda = streams or (torch.cuda if device.type == "cuda" else _NoStreams())
        self._out, self._back = self._cuda.Stream(device), self._cuda.Stream(device)
        self._last: nn.Module | None = None
        self._follower: dict[nn.Module, nn.Module] = {}
        self._coming: tuple[nn.Module, list[Tensor], Any] | None = None
        self._leaving: tuple[Tensor, Any] | None = None

    def past(self, layer: nn.Module) -> Sequence[Tensor] | None:
        """What `layer` still needs, on the device; what the next layer needs sets out."""
        if self._last is not None:
            self._follower[self._last] = layer
        self._last = layer
        if self._coming is None or self._coming[0] is not layer:
            self._end_coming()
            self._coming = self._send(layer)
        pieces = None if self._coming is None else self._coming[1]
        self._end_coming()
        follower = self._follower.get(layer)
        if follower is not None and follower is not layer:
            self._coming = self._send(follower)
        return pieces

    def rest(self, x: Tensor) -> tuple[Tensor, Any]:
        """Copy a frame to the host, with the event after which it is there."""
        host = torch.empty_like(x, device="cpu", pin_memory=self._device.type == "cuda")
        self._out.wait_event(self._now())
        with self._cuda.stream(self._out):
            host.copy_(x, non_blocking=True)
            there = _recorded(self._cuda, self._out)
        self._end_leaving()
        self._leaving = (x, there)  # its memory is not used again before it is copied
        return host, there

    def close(self) -> None:
        """Wait, on the device, for the copies that are under way: their memory will be used for something else."""
        self._end_coming()
        self._end_leaving()

    def _send(self, layer: nn.Module) -> tuple[nn.Module, list[Tensor], Any] | None:
        """Begin to bring a layer's past; None if it has seen nothing yet."""
        pieces = self._pieces.get(layer)
        if pieces is None:
            return None
        here = [torch.empty_like(host, device=self._device) for host, _ in pieces]
        self._back.wait_event(self._now())
        with self._cuda.stream(self._back):
            for there, (host, written) in zip(here, pieces, strict=True):
                self._back.wait_event(written)
                there.copy_(host, non_blocking=True)
            return layer, here, _recorded(self._cuda, self._back)

    def _end_coming(self) -> None:
        if self._coming is not None:
            self._cuda.current_stream(self._device).wait_event(self._coming[2])
            self._coming = None

    def _end_leaving(self) -> None:
        if self._leaving is not None:
            self._cuda.current_stream(self._device).wait_event(self._leaving[1])
            self._leaving = None

    def _now(self) -> Any:
        """The event of all that the device was told to compute until now."""
        return _recorded(self._cuda, self._cuda.current_stream(self._device))


def _recorded(streams: Any, stream: Any) -> Any:
    event = streams.Event()
    event.record(stream)
    return event


class _NoStreams:
    """A device of one stream: what is told first is done first."""

    class Stream:
        def __init__(self, device: torch.device) -> None: ...

        def wait_event(self, event: Any) -> None: ...

    class Event:
        def record(self, stream: Any) -> None: ...

    def stream(self, stream: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def current_stream(self, device: torch.device) -> Any:
        return self.Stream(device)
