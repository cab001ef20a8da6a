"""Wan22 Load: a model that the library finds, or the files that ComfyUI has, with LoRAs and a memory scheme."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from wan22.catalog import variant_names
from wan22.errors import OptionError
from wan22.fields import BY_NAME, CHOICES

from .. import host
from ..definition import NONE, Input, Node, Output, Result
from ..running import Model, Run

if TYPE_CHECKING:
    from wan22.weights.lora import LoRA

FILES = "files"
"""The choice of `model` that stands for the files below it."""

_PARTS = {
    "high": "The high-noise expert, of ComfyUI's diffusion_models.",
    "low": "The low-noise expert, likewise.",
    "dit": "The transformer of a model of one network, likewise.",
    "vae": "The VAE, of ComfyUI's vae.",
    "text": "The text encoder, of ComfyUI's text_encoders.",
    "audio": "The encoder of audio of speech to video, of ComfyUI's audio_encoders.",
    "image": "The encoder of images of Animate, of ComfyUI's clip_vision.",
}
_APART = ("text_device", "vae_device")
_ENGINE = ("memory", "dtype", "compute_dtype", "quantize", "vae_dtype", "attention")


def _models() -> list[str]:
    return [FILES, *variant_names()]


def _engine_option(name: str) -> Input:
    choices = CHOICES[name]
    return Input(id=name, kind="COMBO", help=BY_NAME[name].help, default=choices[0], options=choices)


def _file(name: str, part: str, help: str) -> Input:
    return Input(id=name, kind="COMBO", help=help, default=NONE, options=partial(host.files, part))


def _strength(name: str) -> Input:
    return Input(
        id=name,
        kind="FLOAT",
        help="How strongly; 1 is as trained.",
        default=1.0,
        low=-20.0,
        high=20.0,
        step=0.01,
    )


def load(run: Run, **values: Any) -> Result:
    """Check the choice and open the model. Raises as `wan22.load` does, and OptionError for a choice that is none."""
    parts = {part: str(host.path_of(part, values[part])) for part in _PARTS if values.get(part, NONE) != NONE}
    options = {name: values[name] for name in _ENGINE if values[name] != NONE}
    task = values["task"]
    model = Model(
        name=_name(values, parts),
        parts=tuple(sorted(parts.items())),
        options=tuple(
            {
                **options,
                "device": host.device() if values["device"] in ("", "auto") else values["device"],
                "compile": values["compile"],
                **{name: values[name].strip() for name in _APART if values[name].strip()},
                **({} if task == "auto" else {"task": task}),
            }.items()
        ),
        loras=_loras(values),
    )
    engine = model.engine()
    for notice in (*engine.notices, *engine.loras.notices):
        run.note(notice)
    loras = f", {len(model.loras)} LoRAs" if model.loras else ""
    return Result((model,), "\n".join([f"{engine.name} ({engine.variant.title}){loras}", *run.notes]))


def _name(values: dict[str, Any], parts: dict[str, str]) -> str | None:
    """The model that is named; None if the files alone are one. Raises OptionError if nothing or too much is named."""
    folder, checkpoint = values["folder"].strip(), values["checkpoint"]
    named = [name for name, given in (("folder", folder), ("checkpoint", checkpoint != NONE)) if given]
    if len(named) > 1:
        raise OptionError("give a folder or a checkpoint, not both")
    if folder:
        return folder
    if checkpoint != NONE:
        return str(host.path_of("checkpoint", checkpoint))
    if values["model"] != FILES:
        return values["model"]
    if not parts:
        raise OptionError(
            "no model is chosen: name one in model, give a folder or a checkpoint, or choose the files high and low "
            "(or dit), vae and text"
        )
    return None


def _loras(values: dict[str, Any]) -> tuple[LoRA, ...]:
    """The LoRAs of the pair and of the lines. Raises OptionError for a line that cannot be read."""
    from wan22.weights.lora import LoRA

    pair = [
        LoRA(host.path_of("lora", values[f"lora_{expert}"]), values[f"lora_{expert}_strength"], expert)
        for expert in ("high", "low")
        if values[f"lora_{expert}"] != NONE
    ]
    lines = [line.strip() for line in values["loras"].splitlines()]
    return (*pair, *(_lora(line) for line in lines if line))


def _lora(line: str) -> LoRA:
    from wan22.production.options import parse_lora
    from wan22.weights.lora import LoRA

    path, *more = parse_lora(line)
    return LoRA(host.path_of("lora", str(path)), *more)


_LORAS: Sequence[Input] = (
    _file("lora_high", "lora", "A LoRA for the high-noise expert, of ComfyUI's loras."),
    _strength("lora_high_strength"),
    _file("lora_low", "lora", "A LoRA for the low-noise expert, likewise."),
    _strength("lora_low_strength"),
    Input(
        id="loras",
        kind="STRING",
        help="More LoRAs, a line each: NAME[:STRENGTH][@high|low]. Without @ the file says which expert it is for.",
        default="",
        multiline=True,
    ),
)

LOAD = Node(
    id="Wan22Load",
    name="Wan22 Load",
    help="Opens a Wan2.2 model: one of the catalogue, a folder, or ComfyUI's own files. Weights are read when they are "
    "first needed; the model is kept between runs.",
    inputs=(
        Input(
            id="model",
            kind="COMBO",
            help="A model of the catalogue, from the hub's cache; nano is embedded. files: the files below. With a "
            "model, files that are chosen replace its own.",
            default="nano",
            options=_models,
        ),
        *(_file(part, part, help) for part, help in _PARTS.items()),
        *(_engine_option(name) for name in _ENGINE),
        *_LORAS,
        Input(
            id="folder",
            kind="STRING",
            help="A folder (official, Diffusers or ComfyUI layout), a hub id or an all-in-one file, in place of model.",
            default="",
            advanced=True,
        ),
        Input(
            id="checkpoint",
            kind="COMBO",
            help="An all-in-one file of ComfyUI's checkpoints, in place of model.",
            default=NONE,
            options=partial(host.files, "checkpoint"),
            advanced=True,
        ),
        Input(
            id="task",
            kind="COMBO",
            help="What is asked of the model, which chooses among several in one folder.",
            default="auto",
            options=("auto", *CHOICES["task"]),
            advanced=True,
        ),
        Input(
            id="device",
            kind="STRING",
            help="auto: the device that ComfyUI works on; or cpu, cuda, cuda:1, mps.",
            default="auto",
            advanced=True,
        ),
        *(
            Input(
                id=name, kind="STRING", help=f"{BY_NAME[name].help} Empty: there.", default="", advanced=True
            )
            for name in _APART
        ),
        Input(id="compile", kind="BOOLEAN", help=BY_NAME["compile"].help, default=False, advanced=True),
    ),
    outputs=(Output(id="model", kind="WAN22_MODEL", help="The model, for the other nodes of Wan22."),),
    run=load,
)
