"""The rates of a device: what it is, how fast it multiplies, reads and copies. They are the roofs of all else."""

import platform
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch

from wan22.errors import OptionError
from wan22.memory import hardware
from wan22.memory.device import wait
from wan22.memory.meter import Work
from wan22.ops.kernels import why_no_triton

PRECISIONS = ("tf32", "float32")
"""What float32 products are made in on a GPU: rounded to 19 bits, or as they are."""


@contextmanager
def precision(name: str) -> Generator[None]:
    """Make float32 products of matrices and convolutions so, within."""
    cudnn: Any = torch.backends.cudnn
    kinds: list[Any] = [torch.backends.cuda.matmul, cudnn.conv]
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "tf32" if name == "tf32" else "ieee"
    try:
        yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.fp32_precision = was


def seconds_of(device: torch.device, call: Callable[[], Any], repeats: int = 3) -> float:
    """Median seconds of a call, after one that warms up."""
    call()
    taken = []
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        call()
        wait(device)
        taken.append(time.perf_counter() - start)
    return max(median(taken), 1e-9)


@dataclass(frozen=True)
class Rates:
    """Operations a second by precision ("bfloat16", "tf32", "float32"), bytes a second of the device's memory and from
    the host, pageable and pinned, as measured in this run; and `paper`, the operations a second that the maker names.
    """

    flops: Mapping[str, float]
    memory: float
    pageable: float
    pinned: float
    paper: Mapping[str, float] = field(default_factory=dict)

    def roof(self, flops: Mapping[Work, float], single: str = "tf32") -> float:
        """Seconds that the products alone take at the maker's rates, or else at those measured; those of float32 are
        made in precision `single`.
        """
        rates = {**self.flops, **self.paper}
        names = {torch.bfloat16: "bfloat16", torch.float16: "bfloat16", torch.float32: single}
        return sum(amount / rates[names[dtype]] for (_, dtype), amount in flops.items())


def measure(device: torch.device, size: int) -> Rates:
    """Measure a device with matrices of `size` by `size` and blocks of four times as many bytes."""
    flops = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("tf32", torch.float32), ("float32", torch.float32)):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        with precision(name):
            flops[name] = 2 * size**3 / seconds_of(device, lambda a=a, b=b: a @ b, 5)
        del a, b
    source = torch.zeros(16 * size * size, dtype=torch.uint8)
    there, other = (torch.zeros(source.shape, dtype=torch.uint8, device=device) for _ in range(2))
    memory = 2 * source.numel() / seconds_of(device, lambda: other.copy_(there), 5)
    pageable = source.numel() / seconds_of(device, lambda: there.copy_(source))
    fixed = source.pin_memory() if device.type == "cuda" else source
    pinned = source.numel() / seconds_of(device, lambda: there.copy_(fixed, non_blocking=True))
    return Rates(flops, memory, pageable, pinned, _paper(device))


def _paper(device: torch.device) -> Mapping[str, float]:
    """What the card's maker says of it, if it is known; nothing of products of float32 as they are."""
    if device.type != "cuda":
        return {}
    try:
        _, card = hardware.card(torch.cuda.get_device_name(device))
    except OptionError:
        return {}
    return {"bfloat16": card.bfloat16 * 1e12, "tf32": card.tf32 * 1e12}


def describe(device: torch.device, rates: Rates) -> dict[str, Any]:
    """What the numbers were measured on."""
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else platform.processor() or platform.machine(),
        "memory": torch.cuda.get_device_properties(device).total_memory if gpu else None,
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))) if gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "triton": why_no_triton(device) or "used",
        "rates": asdict(rates),
    }
