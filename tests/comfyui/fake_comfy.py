"""ComfyUI, as far as our nodes use it: strict about names, kinds and ranges, so that a wrong one fails here.

`install` puts its modules in place; `load_nodes` loads our folder as ComfyUI does; `Run` runs one node with checked
inputs and outputs. `tests/comfyui/test_published_schema.py` holds the signatures to a published implementation.
"""

import asyncio
import importlib.util
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

ROOT = Path(__file__).parents[2] / "comfyui_wan22"


class Interrupted(BaseException):
    """ComfyUI's InterruptProcessingException."""


class Input:
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, extra_dict=None):
        self.id, self.optional, self.tooltip, self.extra_dict = id, optional, tooltip, extra_dict or {}
        self.advanced = None


class WidgetInput(Input):
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, default=None):
        super().__init__(id, display_name, optional, tooltip, lazy)
        self.default = default


class Output:
    def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
        self.id, self.display_name, self.tooltip, self.is_output_list = (
            id,
            display_name,
            tooltip,
            is_output_list,
        )


def _type(io_type, base=Input, **members):
    """A type class with `Input` and `Output`, whose instances know their type."""
    made = type(io_type.title(), (), {"io_type": io_type})
    made.Input = type("Input", (base,), {"io_type": io_type, **members})
    made.Output = type("Output", (Output,), {"io_type": io_type})
    return made


class _Number(WidgetInput):
    def __init__(
        self, id, display_name=None, optional=False, tooltip=None, lazy=None, default=None, min=None, max=None,
        step=None, control_after_generate=None,
    ):  # fmt: skip
        super().__init__(id, display_name, optional, tooltip, lazy, default)
        self.min, self.max, self.step = min, max, step
        self.control_after_generate = control_after_generate


class _Decimal(_Number):
    def __init__(
        self, id, display_name=None, optional=False, tooltip=None, lazy=None, default=None, min=None, max=None,
        step=None, round=None,
    ):  # fmt: skip
        super().__init__(id, display_name, optional, tooltip, lazy, default, min, max, step)


class _Text(WidgetInput):
    def __init__(
        self, id, display_name=None, optional=False, tooltip=None, lazy=None, multiline=False, placeholder=None,
        default=None,
    ):  # fmt: skip
        super().__init__(id, display_name, optional, tooltip, lazy, default)
        self.multiline = multiline


class _Combo(WidgetInput):
    def __init__(
        self, id, options=None, display_name=None, optional=False, tooltip=None, lazy=None, default=None,
        control_after_generate=None,
    ):  # fmt: skip
        super().__init__(id, display_name, optional, tooltip, lazy, default)
        self.options = options


class Hidden(StrEnum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    hidden: list = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False


class NodeOutput:
    def __init__(self, *args, ui=None, expand=None, block_execution=None):
        self.args, self.ui = args, ui


class ComfyNode:
    hidden = None

    @classmethod
    def define_schema(cls):
        raise NotImplementedError

    @classmethod
    def execute(cls, **values):
        raise NotImplementedError


class ComfyExtension(ABC):
    @abstractmethod
    async def get_node_list(self): ...


@dataclass
class VideoComponents:
    images: torch.Tensor
    frame_rate: Fraction
    audio: dict | None = None


class VideoFromComponents:
    def __init__(self, components):
        assert isinstance(components.frame_rate, Fraction) and components.images.ndim == 4
        self._components = components

    def get_components(self):
        return self._components


class VideoFromFile:
    def __init__(self, file):
        self.file = file

    def get_components(self):
        from wan22.media.video import read_clip

        clip = read_clip(self.file)
        return VideoComponents(
            torch.from_numpy(clip.frames).float() / 255, Fraction(clip.fps).limit_denominator(1001)
        )


def _module(name, **members):
    made = ModuleType(name)
    vars(made).update(members)
    return made


@dataclass
class Comfy:
    """What a test sees of the fake: what nodes did with it, and what it does to them."""

    folder: Path
    bars: list = field(default_factory=list)
    texts: list = field(default_factory=list)
    interrupt_after: int | None = None
    freed: list = field(default_factory=list)
    free: float = 1e12

    def begin(self):
        """A test begins."""
        self.bars, self.texts, self.freed, self.interrupt_after, self.free = [], [], [], None, 1e12

    def checked(self):
        if self.interrupt_after is not None:
            self.interrupt_after -= 1
            if self.interrupt_after < 0:
                raise Interrupted

    def file(self, folder, name):
        """Put an empty file where ComfyUI looks for models of a kind."""
        path = self.folder / "models" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path


def install(monkeypatch, folder, v3=True):
    """Put the fake's modules in place for a test."""
    comfy = Comfy(folder)

    class ProgressBar:
        def __init__(self, total):
            self.total, self.seen = total, []
            comfy.bars.append(self)

        def update_absolute(self, value, total=None, preview=None):
            comfy.checked()
            self.seen.append((value, total, preview))

    io = _module(
        "comfy_api.latest._io", ComfyNode=ComfyNode, Schema=Schema, NodeOutput=NodeOutput, Hidden=Hidden,
        String=_type("STRING", _Text), Int=_type("INT", _Number), Float=_type("FLOAT", _Decimal),
        Boolean=_type("BOOLEAN", WidgetInput), Combo=_type("COMBO", _Combo), Image=_type("IMAGE"),
        Mask=_type("MASK"), Latent=_type("LATENT"), Audio=_type("AUDIO"), Video=_type("VIDEO"), Custom=_type,
    )  # fmt: skip
    names = (
        "diffusion_models",
        "text_encoders",
        "vae",
        "loras",
        "checkpoints",
        "clip_vision",
        "audio_encoders",
    )
    folders = {name: ([str(folder / "models" / name)], {".safetensors"}) for name in names}

    def listed(name):
        return sorted(path.name for path in Path(folders[name][0][0]).glob("*.safetensors"))

    def full_path(name, file):
        path = Path(folders[name][0][0]) / file
        return str(path) if path.is_file() else None

    management = _module(
        "comfy.model_management",
        throw_exception_if_processing_interrupted=comfy.checked,
        get_torch_device=lambda: torch.device("cpu"),
        get_free_memory=lambda device=None: comfy.free,
        soft_empty_cache=lambda force=False: None,
        free_memory=lambda memory_required, device, keep_loaded=(): comfy.freed.append(memory_required) or [],
        unload_all_models=lambda: comfy.freed.append("all"),
    )
    server = SimpleNamespace(send_progress_text=lambda text, node: comfy.texts.append((node, text)))
    implementation = SimpleNamespace(VideoFromComponents=VideoFromComponents, VideoFromFile=VideoFromFile)
    modules = {
        "comfy": _module("comfy", model_management=management),
        "comfy.model_management": management,
        "comfy.utils": _module("comfy.utils", ProgressBar=ProgressBar),
        "folder_paths": _module(
            "folder_paths", folder_names_and_paths=folders, get_filename_list=listed, get_full_path=full_path,
            get_temp_directory=lambda: str(folder / "temp"),
        ),
        "server": _module("server", PromptServer=SimpleNamespace(instance=server)),
        "comfy_api": _module("comfy_api"),
    }  # fmt: skip
    if v3:
        modules["comfy_api.latest"] = _module(
            "comfy_api.latest", io=io, ComfyExtension=ComfyExtension, InputImpl=implementation,
            Types=SimpleNamespace(VideoComponents=VideoComponents),
        )  # fmt: skip
    else:
        modules["comfy_api.latest"] = None
        modules["comfy_api.input_impl"] = _module("comfy_api.input_impl", **vars(implementation))
        modules["comfy_api.util"] = _module("comfy_api.util", VideoComponents=VideoComponents)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return comfy


def load_nodes(monkeypatch, name="/custom_nodes/comfyui-wan22"):
    """Load our folder as ComfyUI does: by its path, under a name of its own."""
    for old in [each for each in sys.modules if each.startswith(name)]:
        monkeypatch.delitem(sys.modules, old)
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def v3_nodes(package):
    """The node classes of a loaded package, by id."""

    async def listed():
        return await (await package.comfy_entrypoint()).get_node_list()

    return {each.define_schema().node_id: each for each in asyncio.run(listed())}


OF_TYPE = {
    "STRING": lambda value: isinstance(value, str),
    "INT": lambda value: isinstance(value, int),
    "FLOAT": lambda value: isinstance(value, float),
    "BOOLEAN": lambda value: isinstance(value, bool),
    "IMAGE": lambda value: (
        value.dtype == torch.float32 and value.ndim == 4 and 0 <= value.min() <= value.max() <= 1
    ),
    "LATENT": lambda value: value["samples"].dtype == torch.float32 and value["samples"].ndim == 5,
    "AUDIO": lambda value: value["waveform"].ndim == 3 and isinstance(value["sample_rate"], int),
    "VIDEO": lambda value: isinstance(value, VideoFromComponents | VideoFromFile),
    "WAN22_MODEL": lambda value: value is not None,
}
"""What a value of each type of ComfyUI is."""


class Run:
    """Runs nodes: what is not given has its default, values must be of the widget, outputs of their types."""

    def __init__(self, nodes):
        self.nodes, self.ui = nodes, None

    def __call__(self, node, **given):
        schema = self.nodes[node].define_schema()
        known = {each.id: each for each in schema.inputs}
        assert not given.keys() - known.keys(), f"{node} has no input {given.keys() - known.keys()}"
        values = {}
        for each in schema.inputs:
            if each.id in given:
                values[each.id] = given[each.id]
            elif isinstance(each, WidgetInput):
                values[each.id] = each.default
            else:
                assert each.optional, f"{node} needs {each.id}"
                continue
            if isinstance(each, WidgetInput) and not schema.is_input_list:
                self.check(each, values[each.id])
            elif schema.is_input_list and each.id not in given:
                values[each.id] = [values[each.id]]
        executed = type(node, (self.nodes[node],), {"hidden": SimpleNamespace(unique_id="7")})
        with torch.inference_mode():  # as ComfyUI runs nodes
            made = executed.execute(**values)
        self.ui = made.ui
        assert len(made.args) == len(schema.outputs)
        for each, value in zip(schema.outputs, made.args, strict=True):
            assert not each.is_output_list or isinstance(value, list)
            for one in value if each.is_output_list else [value]:
                assert OF_TYPE[each.io_type](one), (each.id, one)
        return made.args

    @staticmethod
    def check(widget, value):
        match widget.io_type:
            case "COMBO":
                assert value in widget.options, (widget.id, value, widget.options)
            case "INT" | "FLOAT":
                assert widget.min <= value <= widget.max, (widget.id, value)
            case "STRING":
                assert isinstance(value, str), (widget.id, value)
