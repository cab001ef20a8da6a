"""How a workflow's samplers denoise, as fields of ours: two samplers in a row are the two experts, or clips."""

from __future__ import annotations

from typing import Any

from wan22.production.comfy.drawn import Node
from wan22.production.comfy.graph import Graph
from wan22.production.imported import Import

_SOLVERS = {
    "dpmpp_2m_sde_gpu": "dpmpp_2m_sde",
    "longcat_distill_euler": "distilled",
    "dpm++_sde": "dpmpp_2m_sde",
}


def rounded(value: Any) -> Any:
    """A number as it was typed: 5.000000000000001 is what the page's slider makes of 5."""
    return round(value, 9) if isinstance(value, float) else value


class _Settings:
    """What a sampler is set to, wherever it stands: at itself, its guider, scheduler, noise and solver."""

    def __init__(self, graph: Graph, node: Node) -> None:
        behind = [graph.source(node, name) for name in ("guider", "sigmas", "noise", "sampler")]
        self.graph, self.nodes = graph, [node, *(each for each in behind if each is not None)]
        sigmas = graph.source(node, "sigmas")
        self.split = sigmas if sigmas is not None and sigmas.kind == "SplitSigmas" else None
        if self.split is not None and (whole := graph.source(self.split, "sigmas")) is not None:
            self.nodes.append(whole)

    def __call__(self, *names: str) -> Any:
        values = (self.graph.value(node, name) for node in self.nodes for name in names)
        return next((rounded(value) for value in values if value is not None), None)


_SAME = ("steps", "sampler_name", "scheduler", "denoise")


def sampling(found: Import, graph: Graph, chain: list[Node], experts: bool) -> None:
    """Take over how a chain of samplers denoises; `experts`: they are the two experts in turn, not clips."""
    first, said = chain[0], _Settings(graph, chain[0])
    found.say("seed", said("noise_seed", "seed"))
    steps = said("steps")
    found.say("steps", steps)
    others = [(node, _Settings(graph, node)) for node in chain[1:]]
    guides = [said("cfg"), *(each("cfg") for _, each in others[: 1 if experts else 0])]
    if guides[0] is not None:
        pair = len(guides) == 2 and guides[1] is not None and guides[0] != guides[1]
        found.say("guidance", [guides[1], guides[0]] if pair else guides[0], "cfg")
    solver, schedule = said("sampler_name"), said("scheduler")
    if first.kind.startswith("WanVideo"):  # its scheduler is a solver with levels of its own
        solver, schedule = schedule, None
        found.say("shift", said("shift"))
    found.say("solver", _SOLVERS.get(solver, solver) if isinstance(solver, str) else None, "sampler_name")
    found.say("schedule", schedule, "scheduler")
    if isinstance(levels := said("sigmas"), str):
        found.say("sigmas", [_number(part) for part in levels.split(",") if part.strip()], "sigmas")
    denoise = said("denoise", "denoise_strength")
    if isinstance(denoise, (int, float)) and denoise < 1:
        found.say("strength", denoise, "denoise")
    if experts:
        _switch(found, said, others, steps)
    else:
        _whole(found, said, steps)
    for node, each in others:
        _same(found, said, (node, each), experts)


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _switch(found: Import, said: _Settings, others: list[tuple[Node, _Settings]], steps: Any) -> None:
    """Where the experts change, and what of two samplers wan22 does not follow."""
    last, later = others[-1]
    end = said("end_at_step", "end_step") if said.split is None else said.graph.value(said.split, "step")
    start = later("start_at_step", "start_step")
    if isinstance(end, int) and isinstance(steps, int) and 0 < end < steps:
        found.say("switch_step", end, "end_at_step")
    if isinstance(start, int) and isinstance(end, int) and start != end:
        found.leave(f"{last.kind} {last.id}: start_at_step", start)
    if len(others) > 1:
        found.note(
            f"{len(others) + 1} samplers in a row: wan22 has two experts, and takes the last as one with the second"
        )
    _whole(found, said, None)
    _whole(found, later, steps, first=False)


def _whole(found: Import, said: _Settings, steps: Any, *, first: bool = True) -> None:
    """Sampling begins at the first step and ends at the last: what says otherwise is left out."""
    start, end = said("start_at_step", "start_step"), said("end_at_step", "end_step")
    node = said.nodes[0]
    if first and isinstance(start, int) and start > 0:
        found.leave(f"{node.kind} {node.id}: start_at_step", start)
    if isinstance(end, int) and isinstance(steps, int) and 0 <= end < steps:
        found.leave(f"{node.kind} {node.id}: end_at_step", end)


def _same(found: Import, said: _Settings, other: tuple[Node, _Settings], experts: bool) -> None:
    """Leave out what a later sampler says differently from the first."""
    node, each = other
    for name in (*_SAME, *(() if experts else ("cfg", "start_at_step", "end_at_step"))):
        value = each(name)
        if value is not None and value != said(name):
            found.leave(f"{node.kind} {node.id}: {name}", value)
    seed = each("noise_seed", "seed")
    if not experts and seed is not None and seed != said("noise_seed", "seed"):
        found.note(
            "later clips have seeds of their own in the workflow; here their noise follows from the first one's"
        )
