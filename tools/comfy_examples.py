"""`python -m tools.comfy_examples`: the example workflows of our nodes for ComfyUI, drawn from the nodes' definitions.

Each is what ComfyUI's page saves: nodes with positions, values in the order of their widgets, links, notes. They are
`comfyui_wan22/example_workflows/*.json`, where ComfyUI's template browser finds them. Values that are not said are the
defaults of the definitions, so a widget that is added or renamed there shows here, and a test holds the files to this.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1] / "comfyui_wan22"
PLACE = ROOT / "example_workflows"
_ROW, _HEAD, _WIDTH, _GAP = 26, 60, 340, 60
_WIDGETS = ("STRING", "INT", "FLOAT", "BOOLEAN", "COMBO")


@dataclass(frozen=True)
class Socket:
    """An input: a widget with its value, or a socket. changes: the page has a second value beside it."""

    name: str
    kind: str
    value: Any = None
    optional: bool = False
    changes: bool = False
    lines: int = 1


@dataclass(frozen=True)
class Schema:
    """A node's inputs, outputs (name, type), and values that the page keeps after them."""

    inputs: tuple[Socket, ...]
    outputs: tuple[tuple[str, str], ...] = ()
    after: tuple[Any, ...] = ()


THEIRS = {
    "LoadImage": Schema((Socket("image", "COMBO", "example.png"),), (("IMAGE", "IMAGE"), ("MASK", "MASK")), ("image",)),
    "LoadVideo": Schema((Socket("file", "COMBO", "driving.mp4"),), (("VIDEO", "VIDEO"),), ("image",)),
    "LoadAudio": Schema((Socket("audio", "COMBO", "speech.wav"),), (("AUDIO", "AUDIO"),), (None, None)),
    "SaveVideo": Schema((
        Socket("video", "VIDEO"), Socket("filename_prefix", "STRING", "video/wan22"), Socket("format", "COMBO", "auto"),
        Socket("codec", "COMBO", "auto"),
    )),
    "PreviewAny": Schema((Socket("source", "*"),)),
    "MarkdownNote": Schema((), (), ()),
}  # fmt: skip
"""ComfyUI's own nodes that the examples use, as its definitions of 0.3.46 have them."""


def definitions() -> dict[str, Any]:
    """Our nodes by id. The package around them needs ComfyUI, and they do not: an empty one stands in its place."""
    if "comfyui_wan22" not in sys.modules:
        folder = ModuleType("comfyui_wan22")
        folder.__path__ = [str(ROOT)]
        sys.modules["comfyui_wan22"] = folder
    return {node.id: node for node in importlib.import_module("comfyui_wan22.nodes").NODES}


def schemas() -> dict[str, Schema]:
    """Every node that an example may have."""
    ours = {
        id: Schema(
            tuple(
                Socket(
                    each.id, each.kind, each.default, each.optional, each.changes, 4 if each.multiline else 1
                )
                for each in node.inputs
            ),
            tuple((each.id, each.kind) for each in node.outputs),
        )
        for id, node in definitions().items()
    }
    return THEIRS | ours


@dataclass
class Placed:
    """A node of a drawing, and its outputs as what other nodes are given."""

    drawing: Drawing
    json: dict[str, Any]

    def __getitem__(self, name: str) -> tuple[Placed, int]:
        names = [each["name"] for each in self.json["outputs"]]
        return self, names.index(name)


@dataclass
class Drawing:
    """A workflow that is being drawn, column after column from the left."""

    known: Mapping[str, Schema]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    tops: dict[int, float] = field(default_factory=dict)

    def add(self, kind: str, column: int, *, title: str = "", off: bool = False, **given: Any) -> Placed:
        """Put a node below those of its column. given: values of widgets, and outputs of other nodes."""
        schema = self.known[kind]
        unknown = given.keys() - {each.name for each in schema.inputs}
        if unknown:
            raise KeyError(f"{kind} has no input {sorted(unknown)}")
        node: dict[str, Any] = {
            "id": len(self.nodes) + 1, "type": kind, "pos": [0, 0], "size": [_WIDTH, 0], "flags": {},
            "order": len(self.nodes), "mode": 4 if off else 0, "inputs": [], "outputs": [],
            "properties": {"Node name for S&R": kind}, "widgets_values": [],
        }  # fmt: skip
        if title:
            node["title"] = title
        for slot, each in enumerate(schema.inputs):
            self._input(node, slot, each, given.get(each.name, each.value))
        node["widgets_values"] += schema.after
        node["outputs"] = [{"name": name, "type": type_, "links": []} for name, type_ in schema.outputs]
        self.nodes.append(node)
        rows = max(len(schema.outputs), 1) + sum(each.lines for each in schema.inputs)
        self._place(node, column, _HEAD + rows * _ROW)
        return Placed(self, node)

    def _input(self, node: dict[str, Any], slot: int, each: Socket, value: Any) -> None:
        entry: dict[str, Any] = {"name": each.name, "type": each.kind, "link": None}
        if each.optional:
            entry["shape"] = 7
        linked = isinstance(value, tuple) and value and isinstance(value[0], Placed)
        if each.kind in _WIDGETS:
            entry["widget"] = {"name": each.name}
            node["widgets_values"] += [each.value if linked else value] + (["fixed"] if each.changes else [])
        if linked:
            source, place = value
            number = len(self.links) + 1
            output = source.json["outputs"][place]
            output["links"].append(number)
            entry["link"] = number
            self.links.append([number, source.json["id"], place, node["id"], slot, output["type"]])
        node["inputs"].append(entry)

    def _place(self, node: dict[str, Any], column: int, height: float) -> None:
        top = self.tops.get(column, 0.0)
        node["pos"], node["size"] = [column * (_WIDTH + _GAP), top], [_WIDTH, height]
        self.tops[column] = top + height + _GAP

    def note(self, text: str, column: int = 0) -> None:
        """Put a note below the nodes of a column."""
        node = {
            "id": len(self.nodes) + 1, "type": "MarkdownNote", "pos": [0, 0], "size": [0, 0], "flags": {},
            "order": len(self.nodes), "mode": 0, "inputs": [], "outputs": [], "properties": {},
            "widgets_values": [text], "color": "#432", "bgcolor": "#653",
        }  # fmt: skip
        self._place(node, column, _HEAD + _ROW * (text.count("\n") + 1 + len(text) // 44))
        self.nodes.append(node)

    def json(self) -> dict[str, Any]:
        return {
            "last_node_id": len(self.nodes), "last_link_id": len(self.links), "nodes": self.nodes,
            "links": self.links, "groups": [], "config": {}, "extra": {}, "version": 0.4,
        }  # fmt: skip


TEXT = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"
VAE_14B, VAE_5B = "wan_2.1_vae.safetensors", "wan2.2_vae.safetensors"
T2V = {
    "model": "files", "high": "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
    "low": "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", "vae": VAE_14B, "text": TEXT,
}  # fmt: skip
I2V = T2V | {
    "high": "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors", "low": "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors"
}  # fmt: skip
FAST = {
    "lora_high": "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
    "lora_low": "wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors",
}
FIVE = {"model": "files", "dit": "wan2.2_ti2v_5B_fp16.safetensors", "vae": VAE_5B, "text": TEXT}
SPEECH = {
    "model": "files", "dit": "wan2.2_s2v_14B_fp8_scaled.safetensors", "vae": VAE_14B, "text": TEXT,
    "audio": "wav2vec2_large_english_fp16.safetensors",
}  # fmt: skip
ANIMATE = {
    "model": "files", "dit": "Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors", "vae": VAE_14B, "text": TEXT,
    "image": "clip_vision_h.safetensors",
}  # fmt: skip
_EULER = {"solver": "euler", "schedule": "simple"}
SLOW_STEPS = {
    "steps": 20,
    "shift": 5.0,
    "guidance_low": 3.5,
    "guidance_high": 3.5,
    "switch_step": 10,
} | _EULER
FAST_STEPS = {"steps": 4, "shift": 5.0, "guidance_low": 1.0, "guidance_high": 1.0, "switch_step": 2} | _EULER
SIZE = {"width": 640, "height": 640, "frames": 81, "fps": 16.0}
PROMPT = "A woman with honey blonde hair turns her head back over her shoulder and smiles, clean background."


def _saved(drawing: Drawing, video: Any, column: int, name: str) -> None:
    drawing.add("SaveVideo", column, video=video, filename_prefix=f"video/{name}")


def _directed(drawing: Drawing, model: Placed, values: Mapping[str, Any], name: str, **terms: str) -> None:
    """Direct, Sample, Decode and Save after a model."""
    prompt = drawing.add("Wan22Direct", 1, prompt=PROMPT, **terms)
    made = drawing.add("Wan22Sample", 2, model=model["model"], prompt=prompt["prompt"], **values)
    decoded = drawing.add("Wan22Decode", 3, model=model["model"], latent=made["latent"])
    _saved(drawing, decoded["video"], 4, name)


def _sampled(drawing: Drawing, model: Placed, prompt: str, name: str, **values: Any) -> None:
    """Sample, Decode and Save after a model."""
    made = drawing.add("Wan22Sample", 2, model=model["model"], prompt=prompt, **values)
    decoded = drawing.add("Wan22Decode", 3, model=model["model"], latent=made["latent"])
    _saved(drawing, decoded["video"], 4, name)


def t2v_a14b(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, **T2V)
    drawing.note(
        "**Text to video, A14B.** Both experts are one node: `switch_step` says when they change, as the two "
        "KSamplerAdvanced of the official template do. Wan22 Direct puts terms around the prompt; *none* adds nothing."
    )
    _directed(
        drawing, model, SIZE | SLOW_STEPS, "t2v-a14b", time="day", light_quality="soft-light", camera="static"
    )


def t2v_fast(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, **T2V, **FAST)
    drawing.note(
        "**Four steps** with the LightX2V pair of LoRAs: one for each expert, guidance 1, so every step costs half."
    )
    _directed(drawing, model, SIZE | FAST_STEPS, "t2v-fast", camera="dolly-in")


def i2v_a14b(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, **I2V)
    image = drawing.add("LoadImage", 1)
    drawing.note(
        "**Image to video, A14B.** The image is cropped to the size as the official release does it.", 1
    )
    prompt = "The white dragon warrior stands still. The camera slowly moves closer."
    _sampled(drawing, model, prompt, "i2v-a14b", image=image["IMAGE"], **SIZE, **SLOW_STEPS)


def first_last_frame(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, **I2V)
    first = drawing.add("LoadImage", 1, title="First frame", image="first.png")
    last = drawing.add("LoadImage", 1, title="Last frame", image="last.png")
    drawing.note("**First and last frame.** Both images, or either of them alone.", 1)
    steps = SLOW_STEPS | {"shift": 8.0, "guidance_low": 4.0, "guidance_high": 4.0}
    images = {"image": first["IMAGE"], "last_image": last["IMAGE"]}
    _sampled(drawing, model, "The flower opens.", "first-last-frame", **images, **SIZE, **steps)


def ti2v_5b(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, **FIVE)
    image = drawing.add("LoadImage", 1, off=True)
    drawing.note("**TI2V-5B.** Text alone; select *Load Image* and press Ctrl+B to begin with an image.", 1)
    steps = {"steps": 20, "solver": "uni_pc", "schedule": "simple", "shift": 8.0, "guidance_low": 5.0}
    size = {"width": 1280, "height": 704, "frames": 121, "fps": 24.0}
    _sampled(
        drawing, model, "Waves at night under a full moon.", "ti2v-5b", image=image["IMAGE"], **size, **steps
    )


def speech(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, **SPEECH)
    image, audio = drawing.add("LoadImage", 1), drawing.add("LoadAudio", 1)
    drawing.note(
        "**Speech to video.** As many clips as the audio is long, or `clips` of them; the official template has a "
        "group of nodes for each.", 1,
    )  # fmt: skip
    made = drawing.add(
        "Wan22Speech", 2, model=model["model"], prompt="The man plays the guitar and sings gently.",
        image=image["IMAGE"], audio=audio["AUDIO"], width=640, height=640, steps=20, solver="uni_pc",
        schedule="simple", shift=8.0, guidance_low=6.0, clips=4,
    )  # fmt: skip
    _saved(drawing, made["video"], 3, "speech")


def _animated(drawing: Drawing, name: str, more: Mapping[str, Any], **values: Any) -> None:
    model = drawing.add("Wan22Load", 0, **ANIMATE, **more)
    image, video = (
        drawing.add("LoadImage", 1, title="Who"),
        drawing.add("LoadVideo", 1, title="How they move"),
    )
    made = drawing.add(
        "Wan22Animate", 2, model=model["model"], prompt="The person dances.", image=image["IMAGE"],
        video=video["VIDEO"], width=832, height=480, **values,
    )  # fmt: skip
    _saved(drawing, made["video"], 3, name)


def animate(drawing: Drawing) -> None:
    _animated(drawing, "animate", {})
    drawing.note(
        "**Animate.** The person of the image moves as the one in the video. Pose and face are drawn by wan22; give "
        "`pose` and `face` in place of `video` to draw them with other nodes.", 1,
    )  # fmt: skip


def replace(drawing: Drawing) -> None:
    _animated(drawing, "replace", {"loras": "WanAnimate_relight_lora_fp16.safetensors"}, replace=True)
    drawing.note(
        "**Replace.** The person of the image stands in the place of the one in the video, whose background stays. The "
        "relighting LoRA fits the person's light to it.", 1,
    )  # fmt: skip


def long_video(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, **T2V, **FAST)
    drawing.note(
        "**Long video.** Clip after clip into a file, so memory does not grow. Texts after `@8s` begin there. "
        "Interrupted, the same inputs go on after the last finished clip."
    )
    made = drawing.add(
        "Wan22LongVideo", 1, model=model["model"], seconds=20.0,
        prompt="@0s A red fox sits in the snow. @8s The fox runs into the forest. @15s The fox drinks from a stream.",
        width=832, height=480, fps=16.0, color_match=0.5, **FAST_STEPS,
    )  # fmt: skip
    _saved(drawing, made["video"], 2, "long-video")


def best_of_4(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, **T2V, **FAST)
    drawing.note(
        "**The best of four.** Four takes with seeds from `seed` on; each is measured against what the prompt asks "
        "(camera, light, colours), and the one that matches best is saved."
    )
    prompt = drawing.add(
        "Wan22Direct", 1, prompt=PROMPT, camera="pan-right", time="sunset", shot_size="medium"
    )
    values = SIZE | FAST_STEPS | {"takes": 4}
    made = drawing.add("Wan22Sample", 2, model=model["model"], prompt=prompt["prompt"], **values)
    decoded = drawing.add("Wan22Decode", 3, model=model["model"], latent=made["latent"])
    measured = drawing.add("Wan22Measure", 3, video=decoded["video"], prompt=prompt["prompt"])
    _saved(drawing, measured["video"], 4, "best-of-4")
    drawing.add("PreviewAny", 4, title="What was measured", source=measured["report"])


def nano(drawing: Drawing) -> None:
    model = drawing.add("Wan22Load", 0, model="nano")
    drawing.note(
        "**Nano, on a laptop.** The model that is embedded in wan22: seconds on a CPU, nothing to download."
    )
    values = {"width": 128, "height": 80, "frames": 17, "fps": 8.0, "steps": 6, "seed": 1}
    shared = {name: value for name, value in values.items() if name != "seed"}
    plan = drawing.add("Wan22Plan", 1, model=model["model"], **shared)
    drawing.add("PreviewAny", 1, title="What it takes", source=plan["report"])
    _sampled(drawing, model, "a red ball rolls left at sunset", "nano", **values)


EXAMPLES = {
    "t2v-a14b": t2v_a14b, "t2v-fast": t2v_fast, "i2v-a14b": i2v_a14b, "first-last-frame": first_last_frame,
    "ti2v-5b": ti2v_5b, "speech": speech, "animate": animate, "replace": replace, "long-video": long_video,
    "best-of-4": best_of_4, "nano": nano,
}  # fmt: skip


def draw(name: str) -> dict[str, Any]:
    """The example of that name as ComfyUI's page saves it."""
    drawing = Drawing(schemas())
    EXAMPLES[name](drawing)
    return drawing.json()


def text_of(name: str) -> str:
    """The same as the text of its file."""
    return json.dumps(draw(name), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every example."""
    PLACE.mkdir(exist_ok=True)
    for name in EXAMPLES:
        (PLACE / f"{name}.json").write_text(text_of(name), "utf-8")


if __name__ == "__main__":
    main()
