"""How a part of a model is kept and run: a few named ways, from the fastest to the one that needs least memory.

Placement and the engine do what a scheme says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from wan22.errors import ParallelError, choose

Rest = Literal["device", "host", "disk", "ranks"]
"""Where the weights of a part are while it does not work; "ranks": on the devices of all ranks, a part of each block on
each.
"""

CHUNK_TOKENS, FEW_TOKENS = 8192, 1024
"""Tokens at a time, where a block's later half is computed in chunks: enough for full speed on any card; and as few as
save memory still, at eight times as many kernels.
"""


@dataclass(frozen=True)
class Scheme:
    """How one part (the text encoder, an expert, the VAE) is kept and run.

    stream: the blocks of the part pass through the device one after the other, so that two of them are there at once;
        else the part is brought whole. Blocks of the VAE are its layers; the encoder of audio has none.
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
            whence = {
                "device": "on the device", "host": "in host memory", "disk": "on disk", "ranks": "on all ranks",
            }[self.rest]  # fmt: skip
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

CHOICES = ("auto", "device", "host", "disk", "stream", "ranks")
"""What a person may ask for: a rest for whole parts, `stream` from the host or else the disk, `ranks` for blocks that
are divided among several devices, or what fits.
"""


def smaller(scheme: Scheme, *, host: bool) -> Scheme | None:
    """The next rung below `scheme`, or None; with `host` False rungs that keep weights on the host are left out."""
    below = LADDER[LADDER.index(scheme) + 1 :] if scheme in LADDER else LADDER[-1:]
    return next((s for s in below if s != scheme and (host or s.rest != "host")), None)


UNDIVIDED = ("vae", "audio", "image")
"""Parts that every rank has whole: they are small, or have no blocks."""


def divided(parts: Iterable[str], chunk: int | None) -> dict[str, Scheme]:
    """The blocks of the large parts on all ranks; the small ones on each device."""
    frugal = chunk is not None
    return {
        part: Scheme("device", host_history=frugal)
        if part in UNDIVIDED
        else Scheme("ranks", stream=True, chunk=chunk, host_history=frugal)
        for part in parts
    }


def ordered(
    parts: Iterable[str], memory: str, device: str, *, host: bool, ranks: int = 1
) -> dict[str, Scheme]:
    """How parts are kept by an order of `CHOICES` other than "auto". host: whether all fit in host memory. Where the
    host is the device, "host" is "device".

    Raises OptionError for any other word, ParallelError for "ranks" if there is one.
    """
    choose("memory plan", memory, CHOICES)
    if memory == "ranks":
        if ranks == 1:
            raise ParallelError(
                "the memory plan 'ranks' divides weights among several devices, and there is one: say --gpus N, or "
                "take 'stream'"
            )
        return divided(parts, CHUNK_TOKENS)
    if memory == "stream":
        rest: Rest = "host" if host and device == "cuda" else "disk"
        return dict.fromkeys(parts, Scheme(rest, stream=True, chunk=CHUNK_TOKENS, host_history=True))
    rests: dict[str, Rest] = {
        "device": "device",
        "host": "host" if device == "cuda" else "device",
        "disk": "disk",
    }
    return dict.fromkeys(parts, Scheme(rests[memory]))
