"""The nodes for a ComfyUI with the V3 API (`comfy_api.latest`)."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ComfyExtension, io

from .definition import CATEGORY, WAN22_MODEL, Input, Node, Output
from .nodes import NODES
from .running import call

_TYPES: dict[str, Any] = {
    "STRING": io.String,
    "INT": io.Int,
    "FLOAT": io.Float,
    "BOOLEAN": io.Boolean,
    "COMBO": io.Combo,
    "IMAGE": io.Image,
    "MASK": io.Mask,
    "LATENT": io.Latent,
    "AUDIO": io.Audio,
    "VIDEO": io.Video,
    WAN22_MODEL: io.Custom(WAN22_MODEL),
}


def _input(one: Input) -> Any:
    more: dict[str, Any] = {}
    match one.kind:
        case "STRING":
            more = {"default": one.default, "multiline": one.multiline}
        case "INT" | "FLOAT":
            more = {"default": one.default, "min": one.low, "max": one.high, "step": one.step}
            more |= {"control_after_generate": True} if one.changes else {}
        case "BOOLEAN":
            more = {"default": one.default}
        case "COMBO":
            more = {"options": one.choices, "default": one.default}
    made = _TYPES[one.kind].Input(one.id, optional=one.optional, tooltip=one.help, **more)
    if one.advanced and hasattr(made, "advanced"):  # younger than the rest of the API
        made.advanced = True
    return made


def _output(one: Output) -> Any:
    return _TYPES[one.kind].Output(one.id, display_name=one.id, tooltip=one.help, is_output_list=one.many)


def node_class(node: Node) -> type:
    """The class of a node."""

    class Made(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> Any:
            return io.Schema(
                node_id=node.id,
                display_name=node.name,
                category=CATEGORY,
                description=node.help,
                inputs=[_input(one) for one in node.inputs],
                outputs=[_output(one) for one in node.outputs],
                hidden=[io.Hidden.unique_id],
                is_input_list=node.takes_lists,
            )

        @classmethod
        def execute(cls, **values: Any) -> Any:
            result = call(node.run, values, cls.hidden.unique_id if cls.hidden is not None else None)
            return io.NodeOutput(*result.values, ui={"text": [result.text]} if result.text else None)

    Made.__name__ = Made.__qualname__ = node.id
    return Made


class Extension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type]:
        return [node_class(node) for node in NODES]
