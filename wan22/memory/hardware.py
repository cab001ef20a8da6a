"""What a machine can do: memory, rates of arithmetic, of its memory and of the ways to it.

Cards are known by name, so that a plan can be made for one that is not here. The rates of a CPU are measured in a
second. They estimate time, and never decide what fits.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle

import psutil
import torch

from wan22.errors import OptionError
from wan22.memory.device import free_memory

GB = 10**9

CONTEXT = round(0.6 * GB)
"""Bytes of a card that the driver's context, the workspaces of its libraries and fragments take, beside tensors."""

HOST_SHARE = 0.9
"""The share of free host memory that weights may take; the rest is for frames, encoders and the system."""


@dataclass(frozen=True)
class Hardware:
    """A device and the host beside it. Bytes that are free, operations a second by dtype, bytes a second.

    device: "cuda", "mps" or "cpu" (whose host is the device). link: from host to device. disk: from the files. ranks:
    devices like this that make a video together; `peers`: from the others to one of them.
    """

    name: str
    device: str
    free: int
    host: int
    flops: Mapping[torch.dtype, float]
    bandwidth: float
    link: float = 25e9
    disk: float = 2e9
    ranks: int = 1
    peers: float = 25e9

    @property
    def room(self) -> int:
        """Bytes of the device that tensors may take."""
        return max(0, self.free - (CONTEXT if self.device == "cuda" else 0))

    def shared(self, processes: int) -> Hardware:
        """What each of so many processes on this machine has of it; one has all. A card is of one process."""
        host = self.host // processes
        return replace(self, host=host, free=self.free if self.device == "cuda" else self.free // processes)

    def among(self, ranks: int, peers: float | None = None) -> Hardware:
        """The same as one of so many that make a video together. peers: bytes a second from the others to this one;
        None: they are linked as it is to the host.
        """
        return replace(self, ranks=ranks, peers=self.link if peers is None else peers)


@dataclass(frozen=True)
class Card:
    """A card as its maker describes it: GiB of memory, dense TFLOP/s with float32 sums in bfloat16 and TF32, GB/s of
    its memory, GB/s of its link (a direction, as measured by many: 80 % of the nominal rate).
    """

    memory: int
    bfloat16: float
    tf32: float
    bandwidth: float
    link: float = 25


# NVIDIA's data sheets, and the appendices of its architecture papers (Ampere GA102, Ada, Blackwell), which give rates
# with float32 sums; the T4 has no bfloat16, its rate is that of float32 (8.1), in which it computes instead.
CARDS: dict[str, Card] = {
    "B200": Card(180, 2250, 1100, 8000, 50),
    "H200": Card(141, 989, 494, 4800, 50),
    "H100": Card(80, 989, 494, 3350, 50),
    "H100 PCIe": Card(80, 756, 378, 2000, 50),
    "A100": Card(80, 312, 156, 2039),
    "A100 40GB": Card(40, 312, 156, 1555),
    "L40S": Card(48, 362, 183, 864),
    "L4": Card(24, 121, 60, 300),
    "A10": Card(24, 125, 62, 600),
    "T4": Card(16, 8.1, 8.1, 320, 12),
    "RTX PRO 6000": Card(96, 504, 252, 1792, 50),
    "RTX 6000 Ada": Card(48, 364, 182, 960),
    "RTX A6000": Card(48, 155, 77, 768),
    "RTX 5090": Card(32, 210, 105, 1792, 50),
    "RTX 5080": Card(16, 113, 56, 960, 50),
    "RTX 5070 Ti": Card(16, 88, 44, 896, 50),
    "RTX 5070": Card(12, 62, 31, 672, 50),
    "RTX 5060 Ti": Card(16, 47, 24, 448, 25),
    "RTX 5060": Card(8, 38, 19, 448, 25),
    "RTX 4090": Card(24, 165, 83, 1008),
    "RTX 4080": Card(16, 97, 49, 717),
    "RTX 4080 SUPER": Card(16, 104, 52, 736),
    "RTX 4070 Ti SUPER": Card(16, 88, 44, 672),
    "RTX 4070 Ti": Card(12, 80, 40, 504),
    "RTX 4070 SUPER": Card(12, 71, 35, 504),
    "RTX 4070": Card(12, 58, 29, 504),
    "RTX 4060 Ti": Card(8, 44, 22, 288, 12),
    "RTX 4060": Card(8, 30, 15, 272, 12),
    "RTX 3090": Card(24, 71, 36, 936),
    "RTX 3090 Ti": Card(24, 80, 40, 1008),
    "RTX 3080": Card(10, 60, 30, 760),
    "RTX 3070": Card(8, 41, 20, 448),
    "RTX 3060": Card(12, 25, 13, 360),
}


def card(name: str) -> tuple[str, Card]:
    """Find a card by its name, as people and drivers write it. Raises OptionError that lists the nearest."""
    wanted = _words(name)
    known = {_words(key): key for key in CARDS}
    if wanted in known:
        return known[wanted], CARDS[known[wanted]]
    within = [key for words, key in known.items() if wanted and (words in wanted or wanted in words)]
    if within and not any(_words(key) == wanted for key in within):
        said = [key for key in within if _words(key) in wanted]
        found = max(said, key=len) if said else None
        if found is not None:
            return found, CARDS[found]
    near = within or [known[words] for words in difflib.get_close_matches(wanted, known, n=5, cutoff=0.5)]
    shown = ", ".join(near) if near else ", ".join(CARDS)
    raise OptionError(
        f"unknown card {name!r}. {'Near are' if near else 'Known are'}: {shown}; for another one give --vram alone"
    )


def _words(name: str) -> str:
    """A name without what does not tell cards apart."""
    dropped = re.sub(r"nvidia|geforce|tesla|quadro|laptop|gpu|sxm\d?|hbm\d?e?|generation", "", name.lower())
    return re.sub(r"[^a-z0-9]", "", dropped)


def of_card(name: str, host: int, free: int | None = None) -> Hardware:
    """A machine with this card and so many bytes of free host memory. Raises OptionError for an unknown card."""
    shown, known = card(name)
    return Hardware(
        shown,
        "cuda",
        known.memory * 2**30 if free is None else free,
        host,
        {
            torch.bfloat16: known.bfloat16 * 1e12,
            torch.float16: known.bfloat16 * 1e12,
            torch.float32: known.tf32 * 1e12,
        },
        known.bandwidth * 1e9,
        known.link * 1e9,
    )


def of_memory(free: int, host: int) -> Hardware:
    """A machine with some card of so much memory: its rates are those of the RTX 4060, so times are bounds."""
    return replace(of_card("RTX 4060", host, free), name=f"a card of {free / GB:.3g} GB")


def here(device: torch.device, ours: int = 0) -> Hardware:
    """This machine, as it is now: memory that is free, and rates of its card, if it is known, or of its CPU.

    ours: bytes of weights that are on the device already, which count as free.
    """
    host = psutil.virtual_memory().available
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        free = free_memory(device) + torch.cuda.memory_reserved(device)
        try:
            return replace(of_card(name, host, free), name=name)
        except OptionError:
            return replace(of_memory(free, host), name=name)
    flops, bandwidth = measured()
    return Hardware(
        _cpu_name(), device.type, free_memory(device) + ours, host, flops, bandwidth, link=bandwidth
    )


def _cpu_name() -> str:
    return f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


@lru_cache(maxsize=1)
def measured() -> tuple[Mapping[torch.dtype, float], float]:
    """Operations a second by dtype, and bytes a second, of this CPU with its threads; it takes about a second.

    One thread is measured and counted as often as there are threads: several would wait for one another whenever
    another program has a core, and seem a hundred times as slow.
    """
    flops, threads = {}, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for dtype in (torch.float32, torch.bfloat16):
                a, b = (torch.ones(_SIDE, _SIDE, dtype=dtype) for _ in range(2))
                flops[dtype] = threads * 2 * _SIDE**3 / quickest(lambda a=a, b=b: a @ b)
            flops[torch.float16] = flops[torch.float32]
            pairs = cycle(
                [torch.zeros(2, _PIECE, dtype=torch.uint8) for _ in range(16)]
            )  # more than caches hold
            bandwidth = 2 * _PIECE / quickest(lambda: (pair := next(pairs))[0].copy_(pair[1]))
    finally:
        torch.set_num_threads(threads)
    return flops, bandwidth


_SIDE, _PIECE = 192, 2**22
"""Of the matrices that are multiplied and the bytes that are copied at once: less than a millisecond, so that on a busy
machine some tries are not interrupted.
"""


def quickest(
    work: Callable[[], object], seconds: float = 0.3, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of the quickest of the runs in some time, after one that is not counted; at least one is."""
    work()
    best, end = float("inf"), clock() + seconds
    while best == float("inf") or clock() < end:
        start = clock()
        work()
        best = min(best, clock() - start)
    return best


_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30,
          "tib": 2**40, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}  # fmt: skip


def parse_bytes(text: str, called: str) -> int:
    """Read "8GB", "8 GiB", "8000MB", "0.5TB". Raises OptionError, naming the option as it is `called`, for all else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)\s*", text.lower())
    if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
        raise OptionError(f"{called} must be a size with its unit, such as 8GB, 8GiB or 8000MB, not {text!r}")
    return round(float(match[1]) * _UNITS[match[2]])
