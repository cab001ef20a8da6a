"""Our own nodes in a workflow of ComfyUI (comfyui_wan22/), whose inputs have the names of our fields."""

from __future__ import annotations

from typing import Any

from wan22.director.options import OPTIONS
from wan22.errors import OptionError
from wan22.production.comfy.drawn import Node
from wan22.production.comfy.graph import Graph
from wan22.production.imported import Import, last_of
from wan22.production.options import parse_lora

_OWN: dict[str, Any] = {
    "frames": 0, "seconds": 0, "fps": 0, "steps": 0, "solver": "default", "schedule": "default", "shift": 0,
    "boundary": -1, "switch_step": -1, "guidance_rescale": -1, "cache": "none", "clips": 0, "carried": 0,
    "strength": 0, "color_match": 0, "fast": False, "from_image": False, "replace": False, "seed": None,
    "relight": 1,
}  # fmt: skip
"""Inputs that are fields of ours, and the value of each that stands for the model's own."""
_PARTS = ("high", "low", "dit", "vae", "text", "audio", "image")
_TASKS = {"Wan22Speech": "s2v", "Wan22Animate": "animate"}


def read_ours(found: Import, graph: Graph, node: Node) -> None:
    """What one of our nodes asks for; its images, videos and audio are read elsewhere, by the names of its inputs."""
    found.task = _TASKS.get(node.kind)
    _prompt(found, graph, node)
    negative = graph.value(node, "negative")
    if isinstance(negative, str) and negative.strip():
        found.say("negative", "" if negative.strip().lower() == "none" else negative)
    for decode in graph.nodes.values():  # it may say another rate than the node that made the frames
        if decode.kind == "Wan22Decode" and graph.value(decode, "fps"):
            found.say("fps", graph.value(decode, "fps"))
    for name, own in _OWN.items():
        value = graph.value(node, name)
        if value != own:
            found.say(name, value)
    size = [graph.value(node, name) for name in ("width", "height")]
    if all(isinstance(side, int) and side > 0 for side in size):
        found.say("size", size)
    if isinstance(takes := graph.value(node, "takes"), int) and takes > 1:
        found.say("count", takes, "takes")
    if isinstance(levels := graph.value(node, "sigmas"), str) and levels.strip():
        try:
            found.say("sigmas", [float(part) for part in levels.split(",")])
        except ValueError:
            found.leave("sigmas", levels)
    span = [graph.value(node, name) for name in ("guidance_start", "guidance_end")]
    if None not in span and span != [0, 1]:
        found.say("guidance_interval", span)
    _guidance(found, graph, node)
    load = graph.source(node, "model")
    if load is not None:
        _model(found, graph, load)


def _prompt(found: Import, graph: Graph, node: Node) -> None:
    """The prompt, and the terms that Wan22 Direct puts around it."""
    direct = graph.source(node, "prompt")
    if direct is None or direct.kind != "Wan22Direct":
        found.say("prompt", graph.value(node, "prompt"))
        return
    found.say("prompt", graph.value(direct, "prompt"))
    for option, axes in OPTIONS.items():
        said = [graph.value(direct, key) for key in (*axes, *(("camera_2",) if option == "camera" else ()))]
        if terms := [each for each in said if isinstance(each, str) and each != "none"]:
            found.say(option, terms)
    graph.read.add((direct.id, "seed"))
    for name in ("more", "extend"):
        value = graph.value(direct, name)
        if value not in ("", "none", None):
            found.leave(f"Wan22Direct {direct.id}: {name}", value)


def _guidance(found: Import, graph: Graph, node: Node) -> None:
    low, high = (graph.value(node, f"guidance_{expert}") for expert in ("low", "high"))
    given = [value for value in (low, high) if value not in (None, -1)]
    if len(given) == 2:
        found.say("guidance", given[0] if given[0] == given[1] else given)
    elif given:
        found.say("guidance", given[0])


def _model(found: Import, graph: Graph, load: Node) -> None:
    name = graph.value(load, "model")
    found.parts = {
        part: said
        for part in _PARTS
        if isinstance(said := graph.value(load, part), str) and said not in ("none", "")
    }
    if isinstance(name, str) and name != "files":
        found.model = name
    found.models = [last_of(found.parts[part]) for part in ("high", "low", "dit") if part in found.parts]
    found.models = found.models or ([found.model] if found.model else [])
    loras = [
        (graph.value(load, f"lora_{expert}"), graph.value(load, f"lora_{expert}_strength"), expert)
        for expert in ("high", "low")
    ]
    for line in str(graph.value(load, "loras") or "").splitlines():
        try:
            loras += [parse_lora(line.strip())[:3]] if line.strip() else []
        except OptionError:
            found.leave("loras", line)
    for file, strength, expert in loras:
        if isinstance(file, str) and file != "none" and isinstance(strength, (int, float)):
            found.loras.append((last_of(file), float(strength), expert))
            found.lora_names.append(file)
    for each in ("folder", "checkpoint"):
        if (said := graph.value(load, each)) not in ("", "none", None):
            found.leave(f"Wan22Load {load.id}: {each}", said)
            found.model = None
