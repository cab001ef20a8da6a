"""What was asked, by the names of fields: typed at a terminal or said as JSON; and the work that it comes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wan22 import fields
from wan22.catalog import ALIASES, NANO_SPEECH, variant_names
from wan22.errors import OptionError, choose
from wan22.fields import IMAGE, VIDEO, Field, called
from wan22.files import check_value
from wan22.production.audio import AudioOptions
from wan22.production.direction import Direction
from wan22.production.rerender import TYPES, LoRAOption
from wan22.production.work import Machine, Takes, Work

if TYPE_CHECKING:
    from wan22.media.provenance import Marking


@dataclass(frozen=True)
class Given:
    """What was asked of a command, by the names of fields; None, False or () is what was not."""

    command: str
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """The value of a field; None for one that the command does not take."""
        return self.values.get(name)

    def request(self) -> dict[str, Any]:
        """What was given of a request, by the names of its fields, without files."""
        return {
            field.of: self.values[field.name]
            for field in fields.of_command(self.command)
            if field.of and field.kind != "file" and said(self.values[field.name])
        }

    def parts(self) -> dict[str, str]:
        """The files that were given in place of a model's own, by part."""
        return {part: path for part in fields.PARTS if (path := self[part]) is not None}

    def engine(self) -> dict[str, Any]:
        """What was given of how the engine works: keywords of `wan22.load`."""
        return {name: self[name] for name in fields.OPTIONS if said(self[name])}

    def files(self) -> dict[str, str]:
        """The images and videos that were given, by the names of their fields."""
        return {
            field.name: self.values[field.name]
            for field in fields.of_command(self.command)
            if (field.of and field.kind == "file" and field.group != "Speech") or field.name == "pose"
            if self.values.get(field.name) is not None
        }


def said(value: Any) -> bool:
    """Whether a value was given; a flag that is not set was not."""
    return value is not None and value is not False


def from_json(command: str, request: Mapping[str, Any], file: Callable[[str], str]) -> Given:
    """Read a JSON object of `fields.json_schema`, null being what was not asked; `file` gives the path of an input.

    Raises OptionError for what is unknown, of another type, against its rule, or the operator's to say.
    """
    rows = {row.name: row for row in fields.of_command(command)}
    open_to_all = tuple(name for name, row in rows.items() if "http" in row.where)
    for name in request:
        choose("field", name, open_to_all)
    values = {name: None if row.of and row.kind != "flag" else row.default for name, row in rows.items()}
    for name, value in request.items():
        if value is not None:
            values[name] = _value(rows[name], value, file)
    return Given(command, values)


def to_json(given: Given, file: Callable[[str], str]) -> dict[str, Any]:
    """What was asked as `from_json` reads it; `file` gives the id of a file. What is the default is left out.

    Raises OptionError for what is against its rule.
    """
    rows = [row for row in fields.of_command(given.command) if "http" in row.where and typed(given, row)]
    return {row.name: _json(row, given[row.name], file) for row in rows}


def typed(given: Given, row: Field) -> bool:
    """Whether a field was given, and says something else than nothing would."""
    value = given[row.name]
    return value not in (None, ()) and (value != row.default or (bool(row.of) and row.kind != "flag"))


def _json(row: Field, value: Any, file: Callable[[str], str]) -> Any:
    """The value of a field as JSON."""
    if row.kind == "file":
        return file(value)
    if row.kind == "lora":
        return [_lora_text(lora) for lora in value]
    if row.kind == "terms":
        return [value]
    if row.kind in ("integer", "number"):
        fields.check(row.name, value, called=called(row.name))
    return list(value) if isinstance(value, tuple) else value


def _value(row: Field, value: Any, file: Callable[[str], str]) -> Any:
    """The value of a field as a command would have it."""
    several = row.kind in ("lora", "terms")
    hint = tuple[str, ...] if several else str if row.kind == "file" else TYPES[row.kind]
    value = tuple(value) if isinstance(value, list) else value
    try:
        check_value(hint, value, row.name)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{error}") from None
    if row.kind == "lora":
        return tuple(parse_lora(text) for text in value)
    if row.kind == "terms":
        return ", ".join(value)
    if row.kind in ("integer", "number"):
        fields.check(row.name, value)
    if row.kind in ("number", "expert_pair", "interval", "numbers"):
        return tuple(map(float, value)) if isinstance(value, tuple) else float(value)
    return file(value) if row.kind == "file" else value


def as_work(given: Given) -> Work:
    """What was asked of `wan22 generate` or `wan22 image` as a piece of work."""
    image = given.command == IMAGE
    work = Work(
        given=given.request(),
        files=given.files(),
        source=given["source"],
        output=given["output"],
        suffix=".png" if image else ".mp4",
        machine=machine(given),
        quality=given["quality"] or "high",
        codec=given["codec"],
        count=given["count"],
        overwrite=given["overwrite"],
        audio=AudioOptions(
            given["audio"], given["say"], given["audio_start"], given["seconds"], given["speaker"], given["voice"],
            given["language"], given["voice_sample"],
        ),
        restart=bool(given["restart"]),
        loras=given["lora"] or (),
        direction=Direction(**{field.name: given[field.name] for field in dataclass_fields(Direction)}),
        takes=Takes(given["best_of"], bool(given["keep_takes"])),
        calibrate=given["calibrate"],
        marking=marking(given),
        label=given["label"],
        nodes=_nodes(given["workflow_node"]),
        replaces=bool(given["replace"]),
    )  # fmt: skip
    if image:
        return replace(work, given=work.given | {"frames": 1}, machine=replace(work.machine, task="t2v"))
    if given.command != VIDEO:
        raise AssertionError(f"{given.command} makes more than a video or an image")
    task = check_task(given["task"], work.audio, work.files)
    own = work.machine.model is None and work.source is None and not work.machine.whole
    model = _MODELS.get(task) if own else work.machine.model
    return replace(work, machine=replace(work.machine, model=model, task=task))


def _nodes(text: str | None) -> tuple[str, ...]:
    """Nodes of a workflow, and values of nodes: "61, 129=true"."""
    return tuple(each.strip() for each in text.split(",") if each.strip()) if text else ()


def marking(given: Given) -> Marking:
    """How files are marked as made by a model, as asked or as the environment says."""
    from wan22.media.provenance import Marking

    return Marking.asked(given["provenance"], given["certificate"])


def machine(given: Given) -> Machine:
    """With what to work, as asked."""
    return Machine(given["model"], given.engine(), given.parts())


_MODELS = {"s2v": NANO_SPEECH, "animate": "animate-14B"}
"""The model of a task, where none is named."""

TASKS = ("t2v", "i2v", "v2v", "s2v", "animate")
_ANIMATES = ("face", "background", "mask")


def check_task(task: str | None, audio: AudioOptions, files: Mapping[str, str]) -> str:
    """The task that the options ask for. Raises OptionError if another one is named."""
    has_image = "image" in files or "last_image" in files
    asked = "s2v" if audio.given else "v2v" if "video" in files else "i2v" if has_image else "t2v"
    if any(name in files for name in _ANIMATES) or (task == "animate" and {"video", "pose"} & files.keys()):
        asked = "animate"
    if task is not None and task not in TASKS and task in (*ALIASES, *variant_names()):
        raise OptionError(
            f"{called('task')} {task} is a model here: {called('model')} {task}. What is made follows from what is "
            "given"
        )
    if task is None or choose("task", task, TASKS) == asked:
        return asked
    needs = {
        "animate": f"a driving video: {called('video')} FILE|FOLDER, or {called('pose')} FILE {called('face')} FILE",
        "s2v": f"an audio file: {called('audio')} FILE, or {called('say')} TEXT",
        "v2v": f"a clip: {called('video')} FILE",
        "i2v": f"an image: {called('image')} FILE",
        "t2v": "a prompt alone",
    }
    raise OptionError(f"{called('task')} {task} takes {needs[task]}; what is given asks for {asked}")


_LORA = re.compile(
    r"(?P<path>.+?)(?::(?P<strength>[-+]?(?:\d+\.?\d*|\.\d+)))?(?:@(?P<expert>[A-Za-z]+))?(?P<skip>(?:~[a-z_]+)*)"
)


def parse_lora(text: str) -> LoRAOption:
    """Read "style.safetensors:0.8@high": path, strength (1 if left out), expert (None if left out).

    "style.safetensors~patch_embedding" has the parts of the network that are left out as a fourth.
    """
    match = _LORA.fullmatch(text)
    if match is None:
        raise OptionError(f"{called('lora')} is empty; give FILE, FILE:0.8 or FILE:0.8@high")
    asked = match["path"], float(match["strength"] or 1.0), match["expert"]
    return (*asked, tuple(match["skip"][1:].split("~"))) if match["skip"] else asked


def _lora_text(lora: LoRAOption) -> str:
    """What `parse_lora` reads as this LoRA."""
    path, strength, expert, *skip = lora
    left_out = "".join(f"~{part}" for parts in skip for part in parts)
    return f"{path}:{Decimal(repr(strength)):f}" + (f"@{expert}" if expert else "") + left_out
