"""What connects devices, and the seconds that collectives take over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """bandwidth: bytes a second that one device sends while it receives as many, on paper. latency: seconds that a
    collective takes to begin.
    """

    title: str
    bandwidth: float
    latency: float = 15e-6


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

REACHED = 0.75
"""Of the rate on paper, what large collectives reach (assumed; none was measured here)."""


def seconds(link: Link, sent: int, calls: int) -> float:
    """Seconds of collectives one after the other, by which a device sends so many bytes in all."""
    return sent / (link.bandwidth * REACHED) + calls * link.latency


def of_all(link: Link, traffic: Mapping[str, int], calls: Mapping[str, int], *, hidden: float) -> float:
    """Seconds that a device waits for collectives. `hidden`: of computing during which a ring passes keys on."""
    rest = [kind for kind in traffic if kind != "shift"]
    waited = seconds(link, sum(traffic[kind] for kind in rest), sum(calls[kind] for kind in rest))
    return waited + max(0.0, seconds(link, traffic.get("shift", 0), calls.get("shift", 0)) - hidden)
