"""How a part of a model is kept and run: a few named ways, from the fastest to the one that needs least memory.

Placement and the engine do what a scheme says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wan22.errors import DeviceError, OptionError

Rest = Literal["device", "host", "disk"]
"""Where the weights of a part are while it does not work."""

CHUNK_TOKENS, FEW_TOKENS = 8192, 1024
"""Tokens at a time, where a block's later half is computed in chunks: enough for full speed on any card; and as few as
save memory still, at eight times as many kernels.
"""


@dataclass(frozen=True)
class Scheme:
    """How one part (the text encoder, an expert, the VAE) is kept and run.

    stream: the blocks of the part pass through the device one after the other, so that two of them are there at once;
        else the part is brought whole. Transformers and the text encoder have blocks; the VAE has none.
    chunk: tokens at a time of a transformer's block, after its keys and values; None is all. The result has the same
        bits.
    host_history: the VAE keeps the past frames of its layers on the host.
    """

    rest: Rest
    stream: bool = False
    chunk: int | None = None
    host_history: bool = False

    def __str__(self) -> str:
        """In words, for a plan or a notice."""
        if self.rest == "device" and not self.stream:
            kept = "on the device"
        else:
            whence = {"device": "on the device", "host": "in host memory", "disk": "on disk"}[self.rest]
            kept = f"{whence}, {'streamed block by block' if self.stream else 'brought in its turn'}"
        chunks = "" if self.chunk is None else f", {self.chunk} tokens at a time"
        return kept + chunks + (", past frames in host memory" if self.host_history else "")


LADDER: tuple[Scheme, ...] = (
    Scheme("device"),
    Scheme("host"),
    Scheme("disk"),
    Scheme("host", chunk=CHUNK_TOKENS, host_history=True),
    Scheme("disk", chunk=CHUNK_TOKENS, host_history=True),
    Scheme("host", stream=True, chunk=CHUNK_TOKENS, host_history=True),
    Scheme("disk", stream=True, chunk=CHUNK_TOKENS, host_history=True),
    Scheme("host", stream=True, chunk=FEW_TOKENS, host_history=True),
    Scheme("disk", stream=True, chunk=FEW_TOKENS, host_history=True),
)
"""From the fastest to the smallest. A rung that the host's memory has no room for is left out by the plan."""

CHOICES = ("auto", "device", "host", "disk", "stream")
"""What a person may ask for: a rest for whole parts, `stream` from the host or else the disk, or what fits."""


def smaller(scheme: Scheme, *, host: bool) -> Scheme | None:
    """The next rung below `scheme`, or None; with `host` False rungs that keep weights on the host are left out."""
    below = LADDER[LADDER.index(scheme) + 1 :] if scheme in LADDER else LADDER[-1:]
    return next((s for s in below if s != scheme and (host or s.rest != "host")), None)


MARGIN = 0.85
"""The share of free memory that weights may take; the rest is for activations."""


def choose(
    sizes: Mapping[str, int], device: str, free: int, free_host: int, memory: str = "auto"
) -> dict[str, Scheme]:
    """Decide how each part is kept, from its size in bytes and the free memory of the device ("cpu", "cuda" ...) and of
    the host.

    "auto" keeps all on the device if they fit; else on the host if they fit there; else on disk; and streams a part
    that is larger than what is free. A name of `CHOICES` is an order. Raises OptionError for any other word, and
    DeviceError if a part is ordered whole and is larger than all that is free.
    """
    if memory not in CHOICES:
        raise OptionError(f"unknown memory plan {memory!r}. Known: {', '.join(CHOICES)}")
    total, largest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    on_host = device != "cpu" and total <= MARGIN * free_host
    rest: Rest = "host" if on_host else "disk"
    if memory == "stream" or (memory == "auto" and sizes[largest] > MARGIN * free):
        return dict.fromkeys(sizes, Scheme(rest, stream=True, chunk=CHUNK_TOKENS, host_history=True))
    if sizes[largest] > free:
        raise DeviceError(
            f"the part {largest!r} of this model takes {sizes[largest] / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free "
            f"on {device}; take the memory plan stream, which needs two blocks of it at once, another device or a "
            "smaller model"
        )
    if memory == "auto":
        return dict.fromkeys(sizes, Scheme("device" if total <= MARGIN * free else rest))
    if memory == "host" and device == "cpu":
        memory = "device"  # the host is the device
    return {name: Scheme(kept) for name in sizes for kept in ("device", "host", "disk") if kept == memory}
