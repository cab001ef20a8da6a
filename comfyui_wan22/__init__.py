"""Nodes of wan22 for ComfyUI: Wan2.2 with both experts in one node, direction, speech, long videos, measuring, plans.

ComfyUI loads this folder from `custom_nodes`; `wan22` itself never imports it. It offers V3 nodes where ComfyUI has the
V3 API, and those of the old form otherwise: never both.
"""

from importlib.util import find_spec

if find_spec("wan22") is None:
    raise ImportError(
        "the nodes of Wan2.2 need the package wan22-studio in ComfyUI's Python: pip install wan22-studio"
    )

from .host import share_memory
from .running import KEPT

share_memory(KEPT.release, KEPT.drop)

try:
    from comfy_api.latest import ComfyExtension as _V3
except ImportError:
    _V3 = None

if _V3 is None:
    from .v1 import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
else:
    from .v3 import Extension

    async def comfy_entrypoint() -> Extension:
        """What a ComfyUI with the V3 API calls."""
        return Extension()

    __all__ = ["comfy_entrypoint"]
