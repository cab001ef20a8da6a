"""What a video takes on several devices, before anything is loaded: counted bytes, memory and products, and seconds.

The counts are those of the real code (parallel/count.py); the rates are assumed (memory/plan.py, parallel/links.py).
Denoising and decoding are counted; the text encoder, which every rank runs for itself, and the way of an expert to the
device are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wan22.clock import duration
from wan22.codec import Codec
from wan22.memory import workload
from wan22.memory.hardware import Hardware
from wan22.memory.plan import busy_seconds, gigabytes, product_seconds
from wan22.memory.scheme import Scheme
from wan22.parallel import count, links
from wan22.parallel.layout import Layout
from wan22.parallel.rows import RowSplit
from wan22.planning import Model, decoded, decoding, experts_of, tokens_of
from wan22.request import Job


@dataclass(frozen=True)
class Stage:
    """A stage on every rank: calls, and of all of them seconds on `one` device, seconds on several, and what of these
    is `waited` for others; `found` is one call of the busiest rank.
    """

    name: str
    calls: int
    one: float
    seconds: float
    waited: float
    found: count.RankCounts

    def as_json(self) -> dict[str, Any]:
        """Bytes, operations and seconds; what is counted is that of one call on one rank."""
        return {
            "name": self.name, "calls": self.calls, "seconds_on_one": round(self.one, 3),
            "seconds": round(self.seconds, 3), "waited": round(self.waited, 3),
            "tflop": round(self.found.counts.total_flops / 1e12, 3), "activations": self.found.counts.peak,
            "sent": dict(self.found.traffic), "collectives": dict(self.found.calls),
        }  # fmt: skip


@dataclass(frozen=True)
class Scaled:
    """A video on the ranks of a layout, over a link. `weights`: bytes of the largest expert."""

    layout: Layout
    hardware: Hardware
    link: links.Link
    stages: tuple[Stage, ...]
    weights: int

    @property
    def one(self) -> float:
        """Seconds on one device."""
        return sum(stage.one for stage in self.stages)

    @property
    def seconds(self) -> float:
        """Seconds on all."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def efficiency(self) -> float:
        """The share of the devices' time that goes into what one device would do."""
        return self.one / (self.layout.ranks * self.seconds)

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "gpus": self.layout.ranks, "parallel": str(self.layout), "link": self.link.title,
            "seconds_on_one": round(self.one, 3), "seconds": round(self.seconds, 3),
            "efficiency": round(self.efficiency, 4), "weights": self.weights,
            "weights_shared": self.weights // self.layout.ranks, "stages": [stage.as_json() for stage in self.stages],
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """For people."""
        ranks = self.layout.ranks
        yield f"{ranks} x {self.hardware.name}, {self.layout}, {self.link.title}"
        for stage in self.stages:
            sent = sum(stage.found.traffic.values()) * stage.calls
            yield (
                f"{stage.name}: about {duration(stage.seconds)} for {duration(stage.one)} on one, of which "
                f"{stage.waited:.1f} s are waited for others; each sends {gigabytes(sent)} and works in "
                f"{gigabytes(stage.found.counts.peak)}"
            )
        yield (
            f"weights of an expert: {gigabytes(self.weights)} on each device, or {gigabytes(self.weights / ranks)} "
            "where ranks share them"
        )
        yield f"in all about {duration(self.seconds)}, {self.efficiency:.0%} of {ranks} devices at full use"


def scaled(job: Job, model: Model, hardware: Hardware, layout: Layout, link: links.Link) -> Scaled:
    """The stages of a job on the ranks of a layout.

    Raises ParallelError if the layout shares more heads than the model has.
    """
    layout.check(layout.ranks, job.variant.dit.heads)
    stages = list(_experts(job, model, hardware, layout, link))
    arch, dtype = model.part("vae")
    latent = decoded(job)
    one = decoding(arch, latent, dtype, hardware.device, Scheme("device"))
    found = count.decode(arch, latent, dtype, layout, _decode)
    stages.append(_stage("decode", job.canvas.clips, busy_seconds(one, hardware), found, hardware, link))
    sizes = model.sizes(hardware.device)
    return Scaled(layout, hardware, link, tuple(stages), max(sizes[e].whole for e in job.variant.experts))


def _experts(job: Job, model: Model, hardware: Hardware, layout: Layout, link: links.Link) -> Iterator[Stage]:
    for name, steps, call, alone in experts_of(job, tokens_of(job)):
        arch, dtype = model.part(name)
        turns = 1 if alone or call.batch > 1 else 2
        one = turns * busy_seconds(workload.forward(arch, call, dtype, hardware.device), hardware)
        apart = layout.guidance > 1
        found = count.forward(arch, workload.alone(call) if apart else call, dtype, layout)
        turns = 1 if apart else turns
        yield _stage(name, steps * turns, one * steps, found, hardware, link)


def _stage(
    name: str, calls: int, one: float, found: count.RankCounts, hardware: Hardware, link: links.Link
) -> Stage:
    hidden = product_seconds(found.counts, hardware, "attention")
    waited = links.of_all(link, found.traffic, found.calls, hidden=hidden)
    seconds = calls * (busy_seconds(found.counts, hardware) + waited)
    return Stage(name, calls, one, seconds, calls * waited, found)


def _decode(device: torch.device, rows: RowSplit, vae: nn.Module, latents: Tensor) -> Iterator[Tensor]:
    return Codec(device, host_history=False, rows=rows).decode(vae, latents)
