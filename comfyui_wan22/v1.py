"""The nodes for a ComfyUI that has no V3 API: classes of the old form, made from the same definitions."""

from __future__ import annotations

from typing import Any

from .definition import CATEGORY, Input, Node
from .nodes import NODES
from .running import call


def _input(one: Input) -> tuple[Any, ...]:
    more: dict[str, Any] = {"tooltip": one.help}
    match one.kind:
        case "STRING":
            more |= {"default": one.default, "multiline": one.multiline}
        case "INT" | "FLOAT":
            more |= {"default": one.default, "min": one.low, "max": one.high, "step": one.step}
            more |= {"control_after_generate": True} if one.changes else {}
        case "BOOLEAN" | "COMBO":
            more |= {"default": one.default}
    if one.advanced:
        more["advanced"] = True
    return (one.choices if one.kind == "COMBO" else one.kind, more)


def node_class(node: Node) -> type:
    """The class of a node."""

    class Made:
        CATEGORY, DESCRIPTION, FUNCTION = CATEGORY, node.help, "execute"
        RETURN_TYPES = tuple(one.kind for one in node.outputs)
        RETURN_NAMES = tuple(one.id for one in node.outputs)
        OUTPUT_TOOLTIPS = tuple(one.help for one in node.outputs)
        OUTPUT_IS_LIST = tuple(one.many for one in node.outputs)
        INPUT_IS_LIST = node.takes_lists

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            def those(optional: bool) -> dict[str, Any]:
                return {one.id: _input(one) for one in node.inputs if one.optional == optional}

            return {"required": those(False), "optional": those(True), "hidden": {"unique_id": "UNIQUE_ID"}}

        def execute(self, unique_id: Any = None, **values: Any) -> dict[str, Any]:
            result = call(node.run, values, unique_id[0] if isinstance(unique_id, list) else unique_id)
            return {"ui": {"text": [result.text]} if result.text else {}, "result": result.values}

    Made.__name__ = Made.__qualname__ = node.id
    return Made


NODE_CLASS_MAPPINGS = {node.id: node_class(node) for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.id: node.name for node in NODES}
