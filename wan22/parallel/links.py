"""What connects devices, and the seconds that collectives take over it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch


@dataclass(frozen=True)
class Link:
    """bandwidth: bytes a second that one device sends while it receives as many, on paper. latency: seconds that a
    collective takes to begin.
    """

    title: str
    bandwidth: float
    latency: float = 15e-6

    @property
    def reached(self) -> float:
        """Of the rate on paper, what large collectives reach: bytes a second."""
        return self.bandwidth * REACHED


LINKS: dict[str, Link] = {
    "nvlink3": Link("NVLink 3 (A100), 300 GB/s one way", 300e9),
    "nvlink": Link("NVLink 4 (H100, H200), 450 GB/s one way", 450e9),
    "nvlink5": Link("NVLink 5 (B200), 900 GB/s one way", 900e9),
    "pcie4": Link("PCIe 4 x16, 32 GB/s one way", 32e9, 20e-6),
    "pcie5": Link("PCIe 5 x16, 64 GB/s one way", 64e9, 20e-6),
    "400g": Link("a network of 400 Gb/s for each device", 50e9, 30e-6),
    "100g": Link("a network of 100 Gb/s for each device", 12.5e9, 30e-6),
}
"""The makers' rates."""

_LANE, _LANE_BLACKWELL = 25e9, 50e9
"""Bytes a second of a lane of NVLink, one way: 2 to 4, and 5."""

REACHED = 0.75
"""Of the rate on paper, what large collectives reach (assumed; none was measured here)."""


@lru_cache(maxsize=8)
def between_cards(device: torch.device) -> float | None:
    """Bytes a second that NVLink carries from other cards of this machine to one, as large collectives reach; None
    where not all cards are linked by it, or nothing says so. It asks the driver.
    """
    if device.type != "cuda":
        return None
    try:
        said = subprocess.run(
            ["nvidia-smi", "topo", "-m"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lanes = nvlinks(said)
    lane = _LANE_BLACKWELL if torch.cuda.get_device_capability(device) >= (10, 0) else _LANE
    return lanes * lane * REACHED if lanes else None


def nvlinks(matrix: str) -> int:
    """How many lanes of NVLink each card has to the others, by the matrix that `nvidia-smi topo -m` prints: the fewest
    of all pairs. 0: some pair has none, or there is one card.
    """
    lines = re.sub(r"\x1b\[[0-9;]*m", "", matrix).splitlines()
    rows = [line.split() for line in lines if line.startswith("GPU")]  # that of their names begins with a tab
    cells = [cell for row in rows for cell in row[1 : 1 + len(rows)] if cell != "X"]
    found = [int(cell[2:]) if re.fullmatch(r"NV\d+", cell) else 0 for cell in cells]
    return min(found, default=0)


def seconds(link: Link, sent: int, calls: int) -> float:
    """Seconds of collectives one after the other, by which a device sends so many bytes in all."""
    return sent / link.reached + calls * link.latency


def of_all(link: Link, traffic: Mapping[str, int], calls: Mapping[str, int], *, hidden: float) -> float:
    """Seconds that a device waits for collectives. `hidden`: of computing during which a ring passes keys on."""
    rest = [kind for kind in traffic if kind != "shift"]
    waited = seconds(link, sum(traffic[kind] for kind in rest), sum(calls[kind] for kind in rest))
    return waited + max(0.0, seconds(link, traffic.get("shift", 0), calls.get("shift", 0)) - hidden)
