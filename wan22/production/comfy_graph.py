"""A graph of ComfyUI, as its files carry it: the one that was run ("prompt"), or the one that was drawn ("workflow").

It is a stranger's: links may lead nowhere or in circles, and values may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 2000
"""Nodes that are looked at."""

_WIDGETS = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler", "start_at_step", "end_at_step",
        "return_with_leftover_noise",
    ),
    "CLIPTextEncode": ("text",),
    "EmptyHunyuanLatentVideo": ("width", "height", "length", "batch_size"),
    "WanImageToVideo": ("width", "height", "length", "batch_size"),
    "WanFirstLastFrameToVideo": ("width", "height", "length", "batch_size"),
    "Wan22ImageToVideoLatent": ("width", "height", "length", "batch_size"),
    "WanSoundImageToVideo": ("width", "height", "length", "batch_size"),
    "ModelSamplingSD3": ("shift",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
    "CLIPLoader": ("clip_name", "type", "device"),
    "VAELoader": ("vae_name",),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "CreateVideo": ("fps",),
    "SaveVideo": ("filename_prefix", "format", "codec"),
    "LoadImage": ("image",),
    "LoadAudio": ("audio",),
    "LoadVideo": ("file",),
    "PrimitiveInt": ("value",), "PrimitiveFloat": ("value",), "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
}  # fmt: skip
"""Values of a drawn node by their order; "" is what a run does not have."""
_VALUES = ("value", "string", "text", "int", "float", "number", "Number", "Value", "prompt")
_KNOWN = frozenset({
    "seed", "noise_seed", "steps", "cfg", "sampler_name", "scheduler", "denoise", "denoise_strength", "start_at_step",
    "end_at_step", "start_step", "end_step", "add_noise", "return_with_leftover_noise", "text", "positive_prompt",
    "negative_prompt", "width", "height", "length", "num_frames", "batch_size", "shift", "unet_name", "ckpt_name",
    "gguf_name", "lora_name", "strength_model", "fps", "frame_rate", "filename_prefix", "format", "codec", "image",
    "audio", "file", "video", "clip_name", "type", "device", "vae_name", "weight_dtype", "value", "upload", "model",
    "lora", "strength", "model_name", "base_precision", "quantization", "load_device", "channel", "audioUI",
})  # fmt: skip
"""Values that are read, or mean nothing here (docs/comfyui.md says why)."""
_PLAIN = ("VAEDecode", "VAEDecodeTiled", "PreviewImage", "Note", "MarkdownNote", "Reroute", "PrimitiveNode")


@dataclass
class Node:
    """A node: its class, and its inputs, which are values or links `[id of a node, place of its output]`."""

    id: str
    kind: str
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """Nodes by id."""

    nodes: dict[str, Node]

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> Graph | None:
        """The graph among the parsed notes of a file; None if there is none."""
        for value in (notes.get("prompt"), *notes.values()):
            if isinstance(value, dict) and (nodes := _run(value)):
                return cls(nodes)
        for value in (notes.get("workflow"), *notes.values()):
            if isinstance(value, dict) and isinstance(value.get("nodes"), list) and (nodes := _drawn(value)):
                return cls(nodes)
        return None

    def samplers(self) -> list[Node]:
        """The nodes that denoise, in the order in which they do."""
        found = [
            node
            for node in self.nodes.values()
            if node.kind in ("KSampler", "KSamplerAdvanced") or node.kind.startswith("WanVideoSampler")
        ]
        starts = (self.value(node, "start_at_step") or self.value(node, "start_step") for node in found)
        keyed = [(start if isinstance(start, int) else 0, at) for at, start in enumerate(starts)]
        return [found[at] for _, at in sorted(keyed)]

    def value(self, node: Node, name: str) -> Any:
        """An input of a node; through a link the value that a node of values holds. None if there is none."""
        found = node.inputs.get(name)
        for _ in range(8):
            source = self._linked(found)
            if source is None:
                return None if isinstance(found, (list, dict)) else found
            found = next((source.inputs[key] for key in _VALUES if key in source.inputs), None)
        return None

    def upstream(self, node: Node, first: tuple[str, ...]) -> Iterator[Node]:
        """The nodes that a node's inputs `first` come from, the nearest first; further on by the same names.

        A node that has none of these names goes on by all its links.
        """
        queue, seen = [node], {node.id}
        while queue:
            here = queue.pop(0)
            names = [name for name in first if self._linked(here.inputs.get(name))] or list(here.inputs)
            if here is node:
                names = [name for name in names if name in first]
            for name in names:
                source = self._linked(here.inputs[name])
                if source is not None and source.id not in seen:
                    seen.add(source.id)
                    queue.append(source)
                    yield source

    def feeds(self, node: Node, name: str) -> bool:
        """Whether an input of that name of any node comes from this one, directly or through one that changes it."""
        return any(
            (source := self._linked(other.inputs.get(name))) is not None
            and (source is node or any(self._linked(each) is node for each in source.inputs.values()))
            for other in self.nodes.values()
        )

    def rest(self) -> Iterator[tuple[Node, str]]:
        """Values of nodes that nothing here reads."""
        for node in self.nodes.values():
            for name, value in node.inputs.items():
                if node.kind not in _PLAIN and name not in _KNOWN and self._linked(value) is None:
                    yield node, name

    def _linked(self, value: Any) -> Node | None:
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)):
            return self.nodes.get(str(value[0]))
        return None


def _run(said: dict[str, Any]) -> dict[str, Node]:
    found = {}
    for id, node in list(said.items())[:MOST]:
        if isinstance(node, dict) and isinstance(kind := node.get("class_type"), str):
            inputs = node.get("inputs")
            found[str(id)] = Node(str(id)[:40], kind[:100], dict(inputs) if isinstance(inputs, dict) else {})
    return found


def _drawn(said: dict[str, Any]) -> dict[str, Node]:
    """The nodes of a drawn graph and of the graphs within it, with values by name where their order is known."""
    found: dict[str, Node] = {}
    inner = said.get("definitions")
    parts = inner.get("subgraphs", []) if isinstance(inner, dict) else []
    for place, graph in enumerate([said, *(parts if isinstance(parts, list) else [])]):
        if not isinstance(graph, dict):
            continue
        prefix = f"{place}:" if place else ""
        links = dict(_links(graph.get("links"), prefix))
        nodes = graph.get("nodes")
        for node in nodes[:MOST] if isinstance(nodes, list) else []:
            if (
                isinstance(node, dict)
                and isinstance(kind := node.get("type"), str)
                and node.get("mode") not in (2, 4)
            ):
                id = f"{prefix}{node.get('id')}"[:40]
                found[id] = Node(id, kind[:100], _inputs(node, kind, links))
    return found


def _links(said: Any, prefix: str) -> Iterator[tuple[int, list[Any]]]:
    """Where each link comes from, by its number."""
    for link in said if isinstance(said, list) else []:
        if isinstance(link, list) and len(link) >= 3 and isinstance(link[0], int):
            yield link[0], [f"{prefix}{link[1]}", link[2]]
        elif isinstance(link, dict) and isinstance(link.get("id"), int):
            yield link["id"], [f"{prefix}{link.get('origin_id')}", link.get("origin_slot")]


def _inputs(node: dict[str, Any], kind: str, links: dict[int, list[Any]]) -> dict[str, Any]:
    values = node.get("widgets_values")
    found: dict[str, Any] = {}
    if isinstance(values, dict):
        found = {str(name): value for name, value in values.items()}
    elif isinstance(values, list):
        names = _WIDGETS.get(kind, tuple(f"value {at + 1}" for at in range(len(values))))
        found = {name: value for name, value in zip(names, values, strict=False) if name}
    given = node.get("inputs")
    for each in given if isinstance(given, list) else []:
        if (
            isinstance(each, dict)
            and isinstance(each.get("name"), str)
            and isinstance(number := each.get("link"), int)
        ):
            if number in links:
                found[each["name"]] = links[number]
    return found
