"""How the parts of an open model are kept: at first, and for each video as its plan says.

What a plan is made of is in planning.py; here is the model that it is made for, as it is placed on this machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from wan22.assembly import SMALL, Skeleton
from wan22.codec import WHOLE_LATENTS
from wan22.conditioning.text import Tokenizer
from wan22.memory.device import free_memory, keep_no_freed_memory
from wan22.memory.hardware import GB, here
from wan22.memory.placement import Placement
from wan22.memory.plan import Plan, refuse
from wan22.memory.scheme import Scheme, ordered
from wan22.parallel.links import between_cards
from wan22.planning import Model, advised, in_short, plan_job
from wan22.request import Job

T = TypeVar("T")
Agree = Callable[[Callable[[], Any]], Any]


def at_first(
    sizes: Mapping[str, int], device: torch.device, memory: str, *, host: bool, ranks: int = 1
) -> dict[str, Scheme]:
    """How parts of so many bytes are kept until a job is planned: as was ordered; else a small model on the device, and
    the parts of a large one brought in their turn, or streamed if one is larger than what is free. host: whether all
    fit in host memory.

    Raises OptionError for an unknown order.
    """
    if memory != "auto":
        return ordered(sizes, memory, device.type, host=host, ranks=ranks)
    free = free_memory(device)
    if sum(sizes.values()) <= 4 * SMALL and free >= SMALL_FREE:
        return dict.fromkeys(sizes, Scheme("device"))
    if max(sizes.values()) > free:
        return ordered(sizes, "stream" if ranks == 1 else "ranks", device.type, host=host, ranks=ranks)
    return dict.fromkeys(sizes, Scheme("host" if host and device.type == "cuda" else "disk"))


SMALL_FREE = 4 * GB
"""Free bytes of a device on which a small model at a small size needs no plan: it takes a fraction of them."""


SHORT = 0.5
"""The share of a CPU's free memory from which on memory is short."""


def alone(find: Callable[[], T]) -> T:
    """What `find` finds: where no other rank has to find the same."""
    return find()


@dataclass
class Planner:
    """Plans the videos of one model as it is placed on this machine; `memory` is what was asked of it.

    agree: calls a function that looks at this machine, and returns what all ranks are to take for it. beside: how many
    of them share its memory. ranks: how many there are.
    """

    model: Model
    placement: Placement
    tokenizer: Tokenizer
    memory: str = "auto"
    agree: Agree = alone
    beside: int = 1
    ranks: int = 1

    def configure(
        self,
        memory: str,
        dtypes: tuple[torch.dtype, torch.dtype],
        skeletons: Mapping[str, Skeleton],
        audio: int,
    ) -> None:
        """Learn how a model is kept: the order, the dtypes that it and its VAE compute in, its networks, bytes of its
        encoder of audio.
        """
        self.memory = memory
        networks = {part: skeleton.module for part, skeleton in skeletons.items()}
        self.model = replace(self.model, dtype=dtypes[0], vae_dtype=dtypes[1], networks=networks, audio=audio)

    def plan(self, job: Job) -> Plan:
        """The plan of a job here and now, with the advice that belongs to it."""
        device = self.placement.device
        hardware = here(device, ours=self.placement.resident).shared(self.beside)
        if self.ranks > 1:
            hardware = hardware.among(self.ranks, between_cards(device))
        tokens, model = self._tokens(job), replace(self.model, without=tuple(self.placement.apart))
        made = plan_job(job, model, hardware, self.memory, tokens)
        return advised(made, job.request, model, self.memory)

    def _apart(self, job: Job) -> Iterator[Plan]:
        """The plan of each device on which a part works alone."""
        every = (*self.model.variant.experts, "vae", "text", "audio")
        for device in dict.fromkeys(self.placement.apart.values()):
            mine = {part for part, place in self.placement.apart.items() if place == device}
            model = replace(self.model, without=tuple(part for part in every if part not in mine), audio=0)
            hardware = here(device, ours=self.placement.resident_on(device))
            yield plan_job(job, model, hardware, "device", self._tokens(job))

    def _tokens(self, job: Job) -> int:
        """Of the longest text."""
        texts = [*(text for _, text in job.prompts), job.negative]
        return max(int(self.tokenizer.encode([text], job.text_length)[1].sum()) for text in texts)

    def arrange(self, job: Job) -> str:
        """Keep the parts as the plan of a job says; returns it in short, or "" for a small model, which needs none.

        Raises DeviceError, before anything is loaded, if no way fits, with the smallest change that would.
        """
        said, schemes, short = self.agree(lambda: self._arrangement(job))
        self.placement.arrange(schemes)
        if short:
            keep_no_freed_memory()
        return said

    def _arrangement(self, job: Job) -> tuple[str, dict[str, Scheme], bool]:
        """The plan in short, how parts are to be kept, and whether memory is short."""
        if self._is_small(job):
            return "", {}, False
        for other in self._apart(job):
            refuse(other)
        made = self.plan(job)
        if self.memory == "auto" or made.worst.weights > made.hardware.free:
            refuse(made)
        parts = self.placement.parts if self.memory == "auto" else ()
        schemes = {part: made.schemes[part] for part in parts if part in made.schemes}
        short = self.placement.device.type == "cpu" and made.peak > SHORT * made.hardware.room
        return f"plan: {in_short(made)}", schemes, short

    def _is_small(self, job: Job) -> bool:
        weights = sum(size.whole for size in self.model.sizes(self.placement.device.type).values())
        small = weights <= 4 * SMALL and math.prod(job.canvas.latent) <= WHOLE_LATENTS
        return small and free_memory(self.placement.device) >= SMALL_FREE
