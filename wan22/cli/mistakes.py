"""What a person who typed a command wrongly is told: one line that says what would work.

Options have other names in Diffusers, ComfyUI and the official `generate.py`; the table of fields knows them.
"""

from __future__ import annotations

import difflib
import shlex
from typing import TYPE_CHECKING, Any

from wan22 import fields

if TYPE_CHECKING:
    from wan22.fields import Field

_NO_SUCH = {
    "ulysses-size": "a video is made on one device",
    "ring-size": "a video is made on one device",
    "dit-fsdp": "a video is made on one device; --memory says where weights wait",
    "t5-fsdp": "a video is made on one device; --memory says where weights wait",
    "clip-skip": "the text encoder of these models has no layers to skip",
    "strict": "everything is read strictly",
    "safety-checker": "there is none",
    "prompt": "the prompt stands alone, between quotes",
}
"""Options of other programs that have no counterpart, and why."""

_CHANGED = {
    "width": "--size WIDTHxHEIGHT",
    "height": "--size WIDTHxHEIGHT",
    "w": "--size WIDTHxHEIGHT",
    "h": "--size WIDTHxHEIGHT",
    "guidance-scale-2": "--guidance LOW,HIGH",
    "use-relighting-lora": "--relight 0..1, which is 1 with --replace where the model has that LoRA",
    "src-root-path": "--video FOLDER with --task animate; or --pose FILE for a video that audio drives",
    "offload-model": "--memory host (or disk, device)",
    "t5-cpu": "--memory host (or disk, device)",
    "prompt": 'the prompt alone: wan22 generate "PROMPT"',
}
"""Where another program's option says more or less than ours: how it is said here."""


def unknown_option(option: str, context: Any) -> str:
    """An option that a command does not have: the one that was meant, if it can be told, and all that there are."""
    known = [
        name
        for parameter in context.command.params
        if not getattr(parameter, "hidden", False)
        for name in parameter.opts
        if name.startswith("-")
    ]
    return f"unknown option {option}.{_meant(option, known)} Known: {', '.join([*known, '--help'])}"


def _meant(option: str, known: list[str]) -> str:
    plain = option.lstrip("-").replace("_", "-").lower()
    if plain in _CHANGED:
        said = _CHANGED[plain]
        if said.split()[0] in known or not said.startswith("--"):
            return f" Here it is {said}."
    field = _called(plain)
    if field is not None and field.option in known:
        value = f" {field.metavar}" if field.metavar else ""
        return f" Here it is {field.option}{value}."
    if plain in _NO_SUCH:
        return f" It has no counterpart: {_NO_SUCH[plain]}."
    if near := difflib.get_close_matches(f"--{plain}", known, n=1):
        return f" Did you mean {near[0]}?"
    if field is not None:
        return f" It is an option of {' and '.join(f'`wan22 {name}`' for name in field.commands)}: {field.option}."
    return ""


def _called(plain: str) -> Field | None:
    """The field of that name, here or in another program; a near one of another program, too."""
    names = {
        name: field for field in fields.FIELDS for name in (field.name.replace("_", "-"), *field.foreign)
    }
    near = difflib.get_close_matches(plain, list(names), n=1, cutoff=0.85) if len(plain) > 3 else []
    return names.get(plain) or (names[near[0]] if near and near[0] not in fields.BY_NAME else None)


def unquoted(extra: list[str], context: Any) -> str:
    """More words than a command takes: a prompt without quotes, or a word that does not belong there."""
    command = context.command_path
    first = next(
        (parameter.name for parameter in context.command.params if parameter.opts[0][:1] != "-"), None
    )
    said = context.params.get(first) if first else None
    if first == "prompt":
        words = " ".join([str(said), *extra]) if said else " ".join(extra)
        return f"the prompt has {len(words.split())} words without quotes; put them between quotes: " + (
            f"{command} {_quoted(words)}"
        )
    takes = f"one {first}" if first else "options only"
    return f"{command} takes {takes}, and {' '.join(map(shlex.quote, extra))} follows. See: {command} --help"


def _quoted(words: str) -> str:
    return f'"{words}"' if not set('"$`\\!') & set(words) else shlex.quote(words)


def unknown_command(message: str, context: Any) -> str:
    """A word that is no command: the one that was meant, or how a video is made from a prompt."""
    known = [name for name, command in context.command.commands.items() if not command.hidden]
    path = "wan22 generate" if context.parent is None else context.command_path
    hint = f'To make a video: {path} "PROMPT"' if context.parent is None else f"See: {path} --help"
    return f"{message}. Known: {', '.join(known)}. {hint}"


_EXAMPLES = {
    "image": '"a red ball at sunset"',
    "storyboard": "docs/examples/red-ball.txt",
    "decode": "out/video.mp4.latents.safetensors",
    "extend": '"a red ball" --engine rules',
    "download": "ti2v-5B",
    "inspect": "wan2.2_ti2v_5B_fp16.safetensors",
    "verify": "ti2v-5B",
    "convert": "ti2v.safetensors ti2v-diffusers --to diffusers",
    "train": "recipe.toml",
    "curate": "clips/",
    "caption": "clips/",
    "show": "out/video.mp4",
    "measure": "out/video.mp4",
    "drift": "out/video.mp4",
    "eval": "recipe.toml",
    "cache": "data.toml",
    "check": "data.toml",
}
"""What completes a command, by its name."""


def missing(error: Any, context: Any) -> str:
    """What a command needs and did not get, with an example."""
    parameter = error.param
    name = (parameter.metavar or parameter.name).upper()
    if parameter.opts[0].startswith("-"):
        name = f"{parameter.opts[0]} {name}"
    what = parameter.help.split(". ")[0].rstrip(".")
    command = context.command_path
    group = context.parent.command.name if context.parent is not None else None
    example = _EXAMPLES.get(str(context.command.name)) if group != "jobs" else None
    shown = f"Such as: {command} {example}" if example else f"See: {command} --help"
    return f"{command} needs {name} ({what}). {shown}"
