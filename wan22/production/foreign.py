"""The notes in another program's file as a request of ours: ComfyUI's graph, A1111's text, Wan2GP's settings.

Names and numbers are taken over, never files: what a note calls by name (models, LoRAs, images) is listed to be chosen
here. What has no field of ours, or no value that ours takes, is kept as it was said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wan22.production.comfy.graph import Graph
from wan22.production.comfy.request import from_graph
from wan22.production.imported import TEXT, Import, last_of, shown

__all__ = ["Import", "read", "shown"]

_A1111 = {
    "euler": "euler", "euler a": "euler_ancestral", "heun": "heun", "dpm++ 2m": "dpmpp_2m", "lcm": "lcm",
    "dpm++ 2m sde": "dpmpp_2m_sde", "unipc": "uni_pc", "res multistep": "res_multistep",
}  # fmt: skip


def read(notes: Mapping[str, str], nodes: Sequence[str] = ()) -> Import | None:
    """What the texts of a file (media/notes.py) ask for; None if no program that is known wrote them.

    nodes: of a graph of ComfyUI, as `comfy.request.from_graph`.
    """
    values = dict(_parsed(notes))
    graph = Graph.of(values, next((each for each in nodes if "=" not in each), None))
    if graph is not None:
        return from_graph(graph, nodes)
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
    body, _, last = notes[: 4 * TEXT].strip().rpartition("\n")
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
        found.models.append(last_of(said.pop("Model")))
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
        found.loras.append((last_of(str(name)), float(strength if strength is not None else 1), None))
    if isinstance(model := said.pop("model_filename", None) or said.pop("model_type", None), str):
        found.models.append(last_of(model))
    for name, value in said.items():
        found.leave(name, value)
    return found
