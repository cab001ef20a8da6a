"""A drawn workflow as ComfyUI would run it: subgraphs opened, bypassed and muted nodes gone, values by their names.

It is a stranger's: links may lead nowhere or in circles, and values may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wan22.production.comfy.widgets import names_of

MOST = 2000
"""Nodes that are looked at."""
_DEPTH = 8
_MUTED, _BYPASSED = 2, 4
_INPUT, _OUTPUT = -10, -20  # the two ends of a subgraph, as its links name them
_DRAWN = ("Reroute", "PrimitiveNode", "SetNode", "GetNode", "Note", "MarkdownNote")
"""Nodes of the page alone, which do not run."""


@dataclass
class Node:
    """A node: its class, and its inputs, which are values or links `[id of a node, place of its output]`."""

    id: str
    kind: str
    inputs: dict[str, Any] = field(default_factory=dict)
    title: str = ""


class _Constant:
    """A value where a link was: what a subgraph's own widget or a primitive says."""

    def __init__(self, value: Any) -> None:
        self.value = value


def expand(workflow: Mapping[str, Any], awake: str | None = None) -> dict[str, Node]:
    """The nodes that would run, by id; those in a subgraph as "128:89".

    awake: a node that is bypassed or muted, which is switched on with all that it comes from.
    """
    inner = workflow.get("definitions")
    parts = inner.get("subgraphs", []) if isinstance(inner, dict) else []
    subgraphs = {
        part["id"]: part
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and isinstance(part.get("id"), str)
    }
    root = _Scope(workflow, subgraphs)
    if awake is not None:
        root.wake(awake)
    found: dict[str, Node] = {}
    for node in root.run():
        found[node.id] = node
        if len(found) >= MOST:
            break
    return found


class _Scope:
    """A graph, or a subgraph where it is used: its host node stands in `above`."""

    def __init__(
        self,
        graph: Mapping[str, Any],
        subgraphs: Mapping[str, Any],
        above: _Scope | None = None,
        host: Mapping[str, Any] | None = None,
    ) -> None:
        self.graph, self.subgraphs, self.above, self.host = graph, subgraphs, above, host or {}
        self.prefix = f"{above.prefix}{self.host.get('id')}:" if above is not None else ""
        self.depth = above.depth + 1 if above is not None else 0
        nodes = graph.get("nodes")
        self.nodes = {
            node["id"]: dict(node)
            for node in (nodes[:MOST] if isinstance(nodes, list) else [])
            if isinstance(node, dict)
            and isinstance(node.get("id"), (int, str))
            and isinstance(node.get("type"), str)
        }
        self.links = dict(_links(graph.get("links")))
        self.inner: dict[Any, _Scope] = {}

    def run(self) -> Iterator[Node]:
        """The nodes that run, in the order of the file."""
        for id, node in self.nodes.items():
            if node.get("mode") in (_MUTED, _BYPASSED) or node["type"] in _DRAWN:
                continue
            if (scope := self.opened(id)) is not None:
                yield from scope.run()
            else:
                yield Node(
                    f"{self.prefix}{id}"[:80],
                    node["type"][:100],
                    self.inputs(node),
                    str(node.get("title") or "")[:100],
                )

    def opened(self, id: Any) -> _Scope | None:
        """The subgraph that a node stands for."""
        node = self.nodes[id]
        if node["type"] not in self.subgraphs or self.depth >= _DEPTH:
            return None
        if id not in self.inner:
            self.inner[id] = _Scope(self.subgraphs[node["type"]], self.subgraphs, self, node)
        return self.inner[id]

    def wake(self, id: str) -> None:
        """Switch on a node and, if it was off, all that its links come from."""
        start = next((each for each in self.nodes if str(each) == id), None)
        if start is None or self.nodes[start].get("mode") not in (_MUTED, _BYPASSED):
            return
        queue = [start]
        seen = {start}
        while queue:
            node = self.nodes[queue.pop()]
            node["mode"] = 0
            for each in _entries(node.get("inputs")):
                origin = self.links.get(_number(each.get("link")))
                if origin is not None and origin[0] in self.nodes and origin[0] not in seen:
                    seen.add(origin[0])
                    queue.append(origin[0])

    def inputs(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """The values and links of a node, by name."""
        given = _entries(node.get("inputs"))
        found = self.values(node, [each["name"] for each in given if "widget" in each])
        for each in given:
            if _number(each.get("link")) is None:
                continue
            origin = self.origin(each["link"])
            if isinstance(origin, _Constant):
                found[each["name"]] = origin.value
            elif origin is not None:
                found[each["name"]] = origin
        return found

    def values(self, node: Mapping[str, Any], given: list[str]) -> dict[str, Any]:
        """The values of a node's widgets, with those that its subgraph's host says in their place."""
        values = node.get("widgets_values")
        if isinstance(values, dict):
            found = {str(name): value for name, value in values.items()}
        elif isinstance(values, list):
            found = dict(zip(names_of(node["type"], given, values), values, strict=False))
        else:
            found = {}
        own = self.host_values()
        return found | {name: value for (id, name), value in own.items() if id == str(node.get("id"))}

    def host_values(self) -> dict[tuple[str, str], Any]:
        """Values of widgets within, by (id of the node, name), that the host of a subgraph holds for them."""
        said = self.host.get("properties")
        shown = said.get("proxyWidgets") if isinstance(said, dict) else None
        values = self.host.get("widgets_values")
        if not isinstance(values, list) or not isinstance(shown, list) or len(values) != len(shown):
            return {}
        pairs = zip(shown, values, strict=True)
        return {
            (str(each[0]), str(each[1])): value
            for each, value in pairs
            if isinstance(each, list) and len(each) >= 2 and str(each[0]) != "-1"
        }

    def origin(self, link: Any, depth: int = 0) -> list[Any] | _Constant | None:
        """Where a link comes from: `[id, place]` of a node that runs, or a value. None: from nothing."""
        found = self.links.get(_number(link))
        if found is None or depth > 64:
            return None
        id, slot = found
        if id == _INPUT:
            return self.from_host(slot, depth)
        node = self.nodes.get(id)
        if node is None or node.get("mode") == _MUTED:
            return None
        if node.get("mode") == _BYPASSED:
            return self.around(node, slot, depth)
        if node["type"] == "GetNode":
            node = self.setter(node)
        if node["type"] in ("Reroute", "SetNode"):
            entries = _entries(node.get("inputs"))
            return self.origin(entries[0].get("link"), depth + 1) if entries else None
        if node["type"] == "PrimitiveNode":
            values = node.get("widgets_values")
            return _Constant(values[0]) if isinstance(values, list) and values else None
        if (scope := self.opened(id)) is not None:
            ends = _entries(scope.graph.get("outputs"))
            numbers = ends[slot].get("linkIds") if isinstance(slot, int) and 0 <= slot < len(ends) else None
            return scope.origin(numbers[-1], depth + 1) if isinstance(numbers, list) and numbers else None
        return [f"{self.prefix}{id}"[:80], slot]

    def setter(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """The node that sets the name that a GetNode gets; itself if there is none."""
        name = node.get("widgets_values")
        same = (each for each in self.nodes.values() if each["type"] == "SetNode")
        return next((each for each in same if name and each.get("widgets_values") == name), node)

    def from_host(self, slot: Any, depth: int) -> list[Any] | _Constant | None:
        """What the host of this subgraph gives to its input: a link above, or the value of its own widget."""
        ends = _entries(self.graph.get("inputs"))
        if self.above is None or not isinstance(slot, int) or not 0 <= slot < len(ends):
            return None
        name = ends[slot]["name"]
        for each in _entries(self.host.get("inputs")):
            if each["name"] == name and _number(each.get("link")) is not None:
                return self.above.origin(each["link"], depth + 1)
        values = self.host.get("widgets_values")
        if isinstance(values, dict):
            return _Constant(values[name]) if name in values else None
        widgets = [end["name"] for end in ends if self.is_widget(end)]
        if isinstance(values, list) and len(values) == len(widgets) and name in widgets:
            return _Constant(values[widgets.index(name)])
        return None

    def is_widget(self, end: Mapping[str, Any]) -> bool:
        """Whether an input of this subgraph is the value of a widget within, not a link alone."""
        for number in end.get("linkIds") or []:
            for node in self.nodes.values():
                for each in _entries(node.get("inputs")):
                    if each.get("link") == number:
                        return "widget" in each
        return False

    def around(self, node: Mapping[str, Any], slot: Any, depth: int) -> list[Any] | _Constant | None:
        """What passes a bypassed node: its input of the output's place and kind, else the first of that kind."""
        outputs, inputs = _entries(node.get("outputs")), _entries(node.get("inputs"))
        if not isinstance(slot, int) or not 0 <= slot < len(outputs):
            return None
        kind = outputs[slot].get("type")
        same = [each for each in (inputs[slot : slot + 1] + inputs) if each.get("type") == kind]
        return self.origin(same[0].get("link"), depth + 1) if same else None


def _links(said: Any) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """Where each link comes from, by its number."""
    for link in said if isinstance(said, list) else []:
        if isinstance(link, list) and len(link) >= 3:
            number, origin = link[0], (link[1], link[2])
        elif isinstance(link, dict):
            number, origin = link.get("id"), (link.get("origin_id"), link.get("origin_slot"))
        else:
            continue
        if _number(number) is not None and isinstance(origin[0], (int, str)):
            yield number, origin


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _entries(said: Any) -> list[dict[str, Any]]:
    """Inputs or outputs of a node: those that have a name."""
    entries = said if isinstance(said, list) else []
    return [each for each in entries if isinstance(each, dict) and isinstance(each.get("name"), str)]
