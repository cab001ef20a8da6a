"""The notes in another program's file as a request of ours: ComfyUI's graph, A1111's text, Wan2GP's settings.

Names and numbers are taken over, never files: what a note calls by name (models, LoRAs, images) is listed to be chosen
here. What has no field of ours, or no value that ours takes, is kept as it was said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wan22 import fields
from wan22.errors import OptionError
from wan22.production.comfy_graph import Graph, Node
from wan22.production.options import from_json

_TEXT, _SHOWN, _DEPTH = (
    20_000,
    500,
    4,
)  # characters of a prompt, of a value that is only shown; nested objects of it
_MOST = 60  # entries of what is not understood

_SOLVERS = {
    "dpmpp_2m_sde_gpu": "dpmpp_2m_sde",
    "longcat_distill_euler": "distilled",
    "dpm++_sde": "dpmpp_2m_sde",
}
_A1111 = {
    "euler": "euler", "euler a": "euler_ancestral", "heun": "heun", "dpm++ 2m": "dpmpp_2m", "lcm": "lcm",
    "dpm++ 2m sde": "dpmpp_2m_sde", "unipc": "uni_pc", "res multistep": "res_multistep",
}  # fmt: skip


@dataclass
class Import:
    """What was read. `source`: "wan22", "comfyui", "a1111" or "wan2gp". `request`: fields of ours and their values.

    `loras`: (file, strength, expert or None). `models`, `files`: names of networks, and of what the video began with.
    `unknown`: what was said beside it. `notes`: sentences for people.
    """

    source: str
    request: dict[str, Any] = field(default_factory=dict)
    loras: list[tuple[str, float, str | None]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def say(self, name: str, value: Any, called: str | None = None) -> None:
        """Take a value over as our field `name`; what that does not take is unknown under the name it had."""
        if value is None or name in self.request:
            return
        if isinstance(value, str):
            value = value[:_TEXT]
        try:
            from_json(fields.VIDEO, {name: value}, lambda id: id)
            if (choices := fields.BY_NAME[name].choices) in fields.CHOICES and value not in fields.CHOICES[
                choices
            ]:
                raise OptionError(f"{name} {value!r} is not known here")
        except (OptionError, ValueError, TypeError) as error:
            self.leave(called or name, value)
            self.notes.append(" ".join(str(error).split())[:_SHOWN])
            return
        self.request[name] = value

    def leave(self, name: str, value: Any) -> None:
        """Keep what is not understood, cut to what can be shown."""
        if len(self.unknown) < _MOST:
            self.unknown[name[:100]] = shown(value)


def shown(value: Any, depth: int = 0) -> Any:
    """A stranger's value as it can be answered: short, shallow, without numbers that JSON lacks."""
    if isinstance(value, Mapping):
        some = list(value.items())[:_MOST] if depth < _DEPTH else []
        return {str(name)[:100]: shown(each, depth + 1) for name, each in some}
    if isinstance(value, (list, tuple)):
        return [shown(each, depth + 1) for each in value[:_MOST]] if depth < _DEPTH else []
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)[:_SHOWN]
    return value if isinstance(value, float) and value - value == 0 else str(value)[:_SHOWN]


def read(notes: Mapping[str, str]) -> Import | None:
    """What the texts of a file (media/notes.py) ask for; None if no program that is known wrote them."""
    values = dict(_parsed(notes))
    graph = Graph.of(values)
    if graph is not None:
        return _comfyui(graph)
    for value in values.values():
        if isinstance(value, dict) and ("num_inference_steps" in value or "video_length" in value):
            return _wan2gp(value)
    for name in ("parameters", "usercomment", "comment", "description"):
        if _is_a1111(text := notes.get(name, "")):
            return _a1111(text)
    return None


def _parsed(notes: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Each text as JSON where it is; `workflow:{...}`, as in a WebP of ComfyUI, by the name before the colon."""
    for name, text in notes.items():
        named = re.match(r"(prompt|workflow):\s*(?=\{)", text)
        body = text[named.end() :] if named else text
        if not body.startswith("{"):
            continue
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            continue
        if not named and {"prompt", "workflow"} & set(
            value
        ):  # all in one comment, as VideoHelperSuite writes it
            for inner in ("prompt", "workflow"):
                held = value.get(inner)
                if isinstance(held, str) and held.startswith("{"):
                    try:
                        held = json.loads(held)
                    except (ValueError, RecursionError):
                        continue
                if isinstance(held, dict):
                    yield inner, held
        yield (named[1] if named else name), value


# ComfyUI


def _comfyui(graph: Graph) -> Import:
    found = Import("comfyui")
    samplers = graph.samplers()
    if not samplers:
        found.notes.append("the graph has no sampler that is known here")
    for place, sampler in enumerate(samplers):
        expert = None if len(samplers) == 1 else ("high", "low")[min(place, 1)]
        _chain(found, graph, sampler, expert)
    if samplers:
        _sampling(found, graph, samplers)
        _texts(found, graph, samplers[0])
        _canvas(found, graph)
    for node, name in graph.rest():
        found.leave(f"{node.kind} {node.id}: {name}", node.inputs[name])
    return found


def _chain(found: Import, graph: Graph, sampler: Node, expert: str | None) -> None:
    """What stands before the `model` of a sampler: its network, LoRAs, shift."""
    for node in graph.upstream(sampler, ("model",)):
        if node.kind.startswith("LoraLoader") or node.kind.startswith("WanVideoLoraSelect"):
            name = graph.value(node, "lora_name") or graph.value(node, "lora")
            said = graph.value(node, "strength_model"), graph.value(node, "strength")
            strength = next((value for value in said if isinstance(value, (int, float))), 1.0)
            if isinstance(name, str) and name.lower() != "none":
                found.loras.append((_last(name), float(strength), expert))
        for key in ("unet_name", "ckpt_name", "model", "model_name", "gguf_name"):
            if isinstance(name := graph.value(node, key), str) and _last(name) not in found.models:
                found.models.append(_last(name))
        if node.kind in ("ModelSamplingSD3", "ModelSamplingAuraFlow"):
            found.say("shift", graph.value(node, "shift"))


def _sampling(found: Import, graph: Graph, samplers: list[Node]) -> None:
    first = samplers[0]

    def said(node: Node, *names: str) -> Any:
        return next((value for name in names if (value := graph.value(node, name)) is not None), None)

    found.say("seed", said(first, "noise_seed", "seed"))
    steps = said(first, "steps")
    found.say("steps", steps)
    guides = [said(node, "cfg") for node in samplers[:2]]
    if guides[0] is not None:
        pair = len(guides) == 2 and guides[1] is not None and guides[0] != guides[1]
        found.say("guidance", [guides[1], guides[0]] if pair else guides[0], "cfg")
    solver = said(first, "sampler_name")
    schedule = said(first, "scheduler")
    if first.kind.startswith("WanVideo"):  # its scheduler is a solver with levels of its own
        solver, schedule = schedule, None
        found.say("shift", said(first, "shift"))
    found.say("solver", _SOLVERS.get(solver, solver) if isinstance(solver, str) else None, "sampler_name")
    found.say("schedule", schedule, "scheduler")
    end = said(first, "end_at_step", "end_step")
    if len(samplers) > 1 and isinstance(end, int) and isinstance(steps, int) and 0 < end < steps:
        found.say("switch_step", end, "end_at_step")
    denoise = said(first, "denoise", "denoise_strength")
    if isinstance(denoise, (int, float)) and denoise < 1:
        found.say("strength", denoise, "denoise")


def _texts(found: Import, graph: Graph, sampler: Node) -> None:
    for ours, names in (
        ("prompt", ("positive", "positive_prompt")),
        ("negative", ("negative", "negative_prompt")),
    ):
        ways = (names[0], "text_embeds", "conditioning", "cond", "guider")
        for node in [sampler, *graph.upstream(sampler, ways)]:
            keys = (names[1],) if "positive_prompt" in node.inputs else ("text", "prompt", "t5xxl")
            text = next((v for key in keys if isinstance(v := graph.value(node, key), str)), None)
            if text is not None:
                if ours == "prompt" or text.strip():
                    found.say(ours, text)
                break


def _canvas(found: Import, graph: Graph) -> None:
    for node in graph.nodes.values():
        width, height = graph.value(node, "width"), graph.value(node, "height")
        length = graph.value(node, "length") or graph.value(node, "num_frames")
        if isinstance(width, int) and isinstance(height, int) and isinstance(length, int):
            found.say("size", [width, height])
            found.say("frames", length, "length")
        if "video" in node.kind.lower() or node.kind.startswith("Save"):
            rate = graph.value(node, "fps") or graph.value(node, "frame_rate")
            found.say("fps", rate if isinstance(rate, (int, float)) and not isinstance(rate, bool) else None)
        for kind, key, ours in (
            ("LoadImage", "image", "image"), ("LoadVideo", "file", "video"), ("VHS_LoadVideo", "video", "video"),
            ("LoadAudio", "audio", "audio"),
        ):  # fmt: skip
            if node.kind == kind and isinstance(name := graph.value(node, key), str):
                found.files.setdefault("last_image" if graph.feeds(node, "end_image") else ours, _last(name))


def _last(name: str) -> str:
    """The last part of a path of whatever system."""
    return name.replace("\\", "/").rpartition("/")[2][:200]


# A1111 and what descends from it

_NUMBERS = {"Steps": "steps", "Seed": "seed", "CFG scale": "guidance", "Denoising strength": "strength"}
_NEGATIVE = re.compile(r"^Negative prompt: ?", re.MULTILINE)
_SETTING = re.compile(r'\s*(\w[\w \-/.]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_LORA = re.compile(r"<lora:([^:>]{1,200})(?::(-?[\d.]+))?[^>]*>")


def _is_a1111(text: str) -> bool:
    last = text.strip().rpartition("\n")[2]
    return re.match(r"Steps: \d+,", last) is not None


def _a1111(notes: str) -> Import:
    found = Import("a1111")
    body, _, last = notes[: 4 * _TEXT].strip().rpartition("\n")
    prompt, *negative = _NEGATIVE.split(body, maxsplit=1)
    for name, strength in _LORA.findall(prompt):
        try:
            found.loras.append((name, float(strength or 1), None))
        except ValueError:
            found.leave("lora", name)
    found.say("prompt", " ".join(_LORA.sub("", prompt).split()))
    if negative and negative[0].strip():
        found.say("negative", negative[0].strip())
    said = {name.strip(): value.strip() for name, value in _SETTING.findall(last)}
    sampler = said.pop("Sampler", "").lower()
    schedule = said.pop("Schedule type", "").lower().replace(" ", "_")
    for ending in ("karras", "exponential"):
        if sampler.endswith(f" {ending}"):
            sampler, schedule = sampler.removesuffix(f" {ending}"), schedule or ending
    if sampler:
        found.say("solver", _A1111.get(sampler, sampler), "Sampler")
    if schedule not in ("", "automatic"):
        found.say("schedule", schedule, "Schedule type")
    for name, ours in _NUMBERS.items():
        if (text := said.pop(name, None)) is not None:
            found.say(ours, text if (number := _number(text)) is None else number, name)
    if re.fullmatch(r"\d{1,5}x\d{1,5}", size := said.pop("Size", "")):
        found.say("size", [int(side) for side in size.split("x")])
    if "Model" in said:
        found.models.append(_last(said.pop("Model")))
    for name, value in said.items():
        found.leave(name, value)
    return found


def _number(text: str) -> int | float | None:
    try:
        return int(text) if re.fullmatch(r"-?\d{1,20}", text) else float(text)
    except ValueError:
        return None


# Wan2GP

_OF_WAN2GP = {
    "prompt": "prompt", "negative_prompt": "negative", "seed": "seed", "num_inference_steps": "steps",
    "video_length": "frames", "flow_shift": "shift", "force_fps": "fps", "sample_solver": "solver",
}  # fmt: skip


def _wan2gp(values: dict[str, Any]) -> Import:
    found = Import("wan2gp")
    said = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    for name, ours in _OF_WAN2GP.items():
        value = said.pop(name, None)
        if isinstance(value, str) and ours in ("fps", "seed", "steps", "frames", "shift"):
            value = _number(value)
        found.say(ours, value, name)
    high, low = said.pop("guidance_scale", None), said.pop("guidance2_scale", None)
    if high is not None:
        found.say("guidance", [low, high] if low not in (None, high) else high, "guidance_scale")
    if re.fullmatch(r"\d{1,5}x\d{1,5}", str(size := said.pop("resolution", ""))):
        found.say("size", [int(side) for side in size.split("x")])
    strengths = str(said.pop("loras_multipliers", "")).split()
    for place, name in enumerate(said.pop("activated_loras", None) or ()):
        strength = _number(strengths[place].partition(";")[0]) if place < len(strengths) else None
        found.loras.append((_last(str(name)), float(strength if strength is not None else 1), None))
    if isinstance(model := said.pop("model_filename", None) or said.pop("model_type", None), str):
        found.models.append(_last(model))
    for name, value in said.items():
        found.leave(name, value)
    return found
