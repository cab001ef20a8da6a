"""A graph of ComfyUI, as its files carry it: the one that was run ("prompt"), or the one that was drawn ("workflow").

It is a stranger's: links may lead nowhere or in circles, and values may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wan22.production.comfy.drawn import MOST, Node, expand
from wan22.production.comfy.expression import evaluate
from wan22.production.comfy.widgets import OURS, UNUSED

_VALUES = ("value", "string", "text", "int", "float", "number", "Number", "Value", "prompt")
_PLAIN = (
    "VAEDecode",
    "PreviewImage",
    "Note",
    "MarkdownNote",
    "Reroute",
    "PrimitiveNode",
    "Wan22Plan",
    "Wan22Measure",
)
_SAVES = ("SaveVideo", "SaveWEBM", "SaveAnimatedWEBP", "SaveAnimatedPNG", "VHS_VideoCombine", "SaveImage")
_LATENTS = ("latent_image", "samples", "samples1", "samples2", "video_latent", "latent")


@dataclass
class Graph:
    """Nodes by id. `read` are the values that were asked for, by (id, name); `off` the outputs that are switched off,
    by id, and what they are called."""

    nodes: dict[str, Node]
    off: dict[str, str] = field(default_factory=dict)
    read: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, notes: Mapping[str, Any], awake: str | None = None) -> Graph | None:
        """The graph among the parsed notes of a file; None if there is none. awake: as `drawn.expand`."""
        for value in (notes.get("prompt"), *notes.values()):
            if isinstance(value, dict) and (nodes := _run(value)) and _has(nodes, awake):
                return cls(nodes)
        for value in (notes.get("workflow"), *notes.values()):
            if isinstance(value, dict) and isinstance(value.get("nodes"), list):
                nodes, off = expand(value, awake), _off(value, awake)
                if nodes or off:
                    return cls(nodes, off)
        if awake is not None:  # who reads it says that there is no such node
            return cls.of(notes)
        return None

    def samplers(self) -> list[Node]:
        """The nodes that denoise, in the order in which they do."""
        found = [node for node in self.nodes.values() if is_sampler(node)]
        starts = (self.value(node, "start_at_step") or self.value(node, "start_step") for node in found)
        before = [sum(is_sampler(each) for each in self.latents(node)) for node in found]
        keyed = [(before[at], start if isinstance(start, int) else 0, at) for at, start in enumerate(starts)]
        return [found[at] for *_, at in sorted(keyed)]

    def videos(self) -> dict[str, list[Node]]:
        """The videos that are made: their samplers in order, by the id of the node that saves them, or by that of the
        last sampler where nothing saves them or one node saves several."""
        ordered = self.samplers()
        chains: dict[str, list[Node]] = {}
        for node in ordered:
            before = {each.id for each in self.latents(node)}
            chains[node.id] = [each for each in ordered if each.id in before] + [node]
        inside = {each.id for chain in chains.values() for each in chain[:-1]}
        chains = {id: chain for id, chain in chains.items() if id not in inside}
        found: dict[str, list[Node]] = {}
        for node in self.nodes.values():
            if node.kind not in _SAVES:
                continue
            behind = {each.id for each in self.behind(node)}
            its = [id for id in chains if id in behind]
            if len(its) == 1:
                found[node.id] = chains.pop(its[0])
        return found | chains

    def value(self, node: Node, name: str) -> Any:
        """An input of a node; through a link what the nodes of values behind it come to. None if there is none."""
        return self._value(node, name, 16)

    def _value(self, node: Node, name: str, depth: int) -> Any:
        found = node.inputs.get(name)
        if name in node.inputs:
            self.read.add((node.id, name))
        link = self._origin(found)
        if link is None:
            return None if isinstance(found, (list, dict)) else found
        source, slot = link
        if depth <= 0:
            return None
        if source.kind == "ComfyMathExpression":
            names = {
                key.removeprefix("values."): self._value(source, key, depth - 1)
                for key in source.inputs
                if key.startswith("values.")
            }
            return evaluate(self._value(source, "expression", depth - 1), names, ("FLOAT", "INT")[slot == 1])
        if source.kind == "StringConcatenate":
            said = [self._value(source, key, depth - 1) for key in ("string_a", "string_b", "delimiter")]
            first, second, between = (each if isinstance(each, str) else "" for each in said)
            return f"{first}{between}{second}"
        key = next((key for key in _VALUES if key in source.inputs), None)
        return None if key is None else self._value(source, key, depth - 1)

    def source(self, node: Node, name: str) -> Node | None:
        """The node that an input comes from."""
        return self._linked(node.inputs.get(name))

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

    def latents(self, node: Node) -> Iterator[Node]:
        """The nodes that a sampler's latents come from, as latents, the nearest first."""
        queue, seen = [node], {node.id}
        while queue:
            here = queue.pop(0)
            for name in _LATENTS:
                source = self._linked(here.inputs.get(name))
                if source is not None and source.id not in seen:
                    seen.add(source.id)
                    queue.append(source)
                    yield source

    def behind(self, node: Node) -> Iterator[Node]:
        """Every node that a node's inputs come from, the nearest first, and itself."""
        queue, seen = [node], {node.id}
        while queue:
            here = queue.pop(0)
            yield here
            for value in here.inputs.values():
                source = self._linked(value)
                if source is not None and source.id not in seen:
                    seen.add(source.id)
                    queue.append(source)

    def feeds(self, node: Node, name: str) -> bool:
        """Whether an input of that name of any node comes from this one, directly or through one that changes it."""
        return any(
            (source := self._linked(other.inputs.get(name))) is not None
            and (source is node or any(self._linked(each) is node for each in source.inputs.values()))
            for other in self.nodes.values()
        )

    def rest(self, without: frozenset[str] = frozenset()) -> Iterator[tuple[Node, str]]:
        """Values of nodes that nothing here has read, and that `UNUSED` does not explain."""
        unused_of = {
            node.id: UNUSED.get(node.kind, {}).keys() | UNUSED["*"].keys() for node in self.nodes.values()
        }
        for node in self.nodes.values():
            for name in unused_of[node.id]:
                self.value(node, name)  # what a node of values gives to it means nothing either
        for node in self.nodes.values():
            unused = unused_of[node.id]
            for name, value in node.inputs.items():
                known = node.kind in _PLAIN or name in unused or (node.id, name) in self.read
                if not known and node.id not in without and self._linked(value) is None:
                    yield node, name

    def switches(self) -> Iterator[tuple[Node, bool]]:
        """The nodes that choose between two inputs, and whether they are on."""
        for node in self.nodes.values():
            if node.kind == "ComfySwitchNode":
                yield node, bool(self.value(node, "switch"))

    def _linked(self, value: Any) -> Node | None:
        found = self._origin(value)
        return None if found is None else found[0]

    def _origin(self, value: Any) -> tuple[Node, Any] | None:
        """The node and the place of its output that a link comes from, through switches."""
        for _ in range(32):
            if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int))):
                return None
            node = self.nodes.get(str(value[0]))
            if node is None:
                return None
            if node.kind != "ComfySwitchNode":
                return node, value[1]
            value = node.inputs.get("on_true" if self._value(node, "switch", 8) else "on_false")
        return None


def is_sampler(node: Node) -> bool:
    """Whether a node denoises."""
    known = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
    return node.kind in (*known, *OURS) or node.kind.startswith("WanVideoSampler")


def _has(nodes: Mapping[str, Node], name: str | None) -> bool:
    """Whether a node is among those that ran: what is bypassed is drawn alone."""
    return name is None or any(name in (id, id.rpartition(":")[2]) for id in nodes)


def _run(said: dict[str, Any]) -> dict[str, Node]:
    found = {}
    for id, node in list(said.items())[:MOST]:
        if isinstance(node, dict) and isinstance(kind := node.get("class_type"), str):
            inputs, meta = node.get("inputs"), node.get("_meta")
            title = str(meta.get("title") or "")[:100] if isinstance(meta, dict) else ""
            found[str(id)] = Node(
                str(id)[:80], kind[:100], dict(inputs) if isinstance(inputs, dict) else {}, title
            )
    return found


def _off(drawn: Mapping[str, Any], awake: str | None) -> dict[str, str]:
    """The nodes that would save a video and are bypassed or muted, by id."""
    return {
        str(node.get("id"))[:80]: str(node.get("type"))
        for node in drawn["nodes"][:MOST]
        if isinstance(node, dict) and node.get("mode") in (2, 4) and node.get("type") in _SAVES
        if str(node.get("id")) != awake
    }
