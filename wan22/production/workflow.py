"""A workflow of ComfyUI as a piece of work: its models, LoRAs, images and audio found by their names.

The file may come from a stranger: its names are looked for in ComfyUI's own folders and beside it, never elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from wan22 import fields
from wan22.catalog import ALIASES, variant_names
from wan22.errors import CheckpointError, MediaError, OptionError
from wan22.fields import called
from wan22.files import read_text
from wan22.production import foreign
from wan22.production.direction import Direction
from wan22.production.imported import Import, last_of
from wan22.production.options import check_task, from_json
from wan22.production.rerender import OF_FAST, REPLACED, LoRAOption

if TYPE_CHECKING:
    from wan22.production.work import Work

COMFYUI_PATH = "COMFYUI_PATH"
"""The environment variable that names ComfyUI's folder."""
_LIMIT = 8 << 20
_FOLDERS = {
    "high": ("diffusion_models", "unet", "checkpoints"), "low": ("diffusion_models", "unet", "checkpoints"),
    "dit": ("diffusion_models", "unet", "checkpoints"), "vae": ("vae",), "text": ("text_encoders", "clip"),
    "audio": ("audio_encoders",), "image": ("clip_vision",), "lora": ("loras",),
}  # fmt: skip
_NETWORKS = ("high", "low", "dit")
_REPLACED = {"seconds": ("frames",)}


@dataclass(frozen=True)
class Comfy:
    """Where ComfyUI's files may lie: folders of models, and of what is given to it, the nearest first."""

    models: tuple[Path, ...]
    inputs: tuple[Path, ...]


def read(source: str, nodes: Sequence[str] = ()) -> Import | None:
    """What a workflow (.json), or an image or video of another program, asks for; None for a file of ours or of none.

    nodes: as `comfy.request.from_graph`. Raises MediaError for a .json that is no workflow.
    """
    if Path(source).suffix.lower() == ".json":
        text = read_text(Path(source), MediaError, limit=_LIMIT)
        found = foreign.read({"workflow": text.strip().removeprefix("\ufeff")}, nodes)
        if found is None:
            raise MediaError(f"{source} is no workflow of ComfyUI: it has neither nodes nor class_type in it")
        return found
    from wan22.media.notes import read_notes
    from wan22.media.recipe import read_recipe
    from wan22.media.sequence import is_sequence

    if is_sequence(source) or read_recipe(source) is not None:
        return None
    return foreign.read(read_notes(source), nodes)


def folders(source: str, model: str | None) -> Comfy:
    """Where to look: the folder that `--model` names, that of `COMFYUI_PATH`, and the one that `source` lies in."""
    roots: list[Path] = []
    if model is not None and Path(model).expanduser().is_dir():
        path = Path(model).expanduser()
        roots += [path.parent] if path.name == "models" else [path]
    if named := os.environ.get(COMFYUI_PATH):
        roots.append(Path(named).expanduser())
    here = Path(source).absolute().parent
    roots += [up for up in (here, *here.parents) if (up / "models").is_dir() and (up / "input").is_dir()][:1]
    models = [root / "models" if (root / "models").is_dir() else root for root in roots]
    inputs = [here, here / "input", *(root / "input" for root in roots)]
    return Comfy(_once(models), _once(place for place in inputs if place.is_dir()))


def _once(paths: Any) -> tuple[Path, ...]:
    return tuple({path.resolve(): path for path in paths}.values())


def resolved(work: Work) -> Work:
    """The work, with what a workflow asks for if its source is one. Raises as `read` and `follow`."""
    source = work.source
    found = None if source is None else read(source, work.nodes)
    if source is not None and found is not None:
        return follow(work, source, found)
    if work.nodes:
        raise OptionError(
            f"{called('workflow_node')} is of a workflow of ComfyUI; give it with {called('source')} FILE"
        )
    return work


def follow(work: Work, source: str, found: Import) -> Work:
    """The work with what a workflow asks for where nothing else is said, and in `left` what of it is not done.

    Raises OptionError for a workflow of another model family, CheckpointError for networks and LoRAs, and MediaError
    for images, videos and audio that are not found; each names what gives it.
    """
    if found.impossible is not None:
        raise OptionError(f"{source}: {found.impossible}")
    places = folders(source, work.machine.model)
    left = found.left()
    given, direction = _request(found, left)
    given |= work.given
    gone = {other for name in work.given for other in (*REPLACED.get(name, ()), *_REPLACED.get(name, ()))}
    if work.given.get("fast"):
        gone |= set(OF_FAST)
    given = {name: value for name, value in given.items() if name in work.given or name not in gone}
    count = given.pop("count", 1)
    files, audio = _files(work, found, source, places)
    machine = replace(work.machine, task=_task(work, found, files, audio))
    if work.machine.whole or work.machine.model in (*ALIASES, *variant_names()):
        left += [f"{name}, because the model is named" for name in found.parts.values()]
    elif found.parts.keys() & set(_NETWORKS):
        parts = _parts(found, source, places, left)
        tree = next(iter(places.models), None)
        machine = replace(
            machine, model=None if tree is None else str(tree), parts=parts | dict(machine.parts)
        )
    elif work.machine.model is None and found.model is not None:
        machine = replace(
            machine, model=_catalogued(found.model, source), parts=_parts(found, source, places, left)
        )
    elif work.machine.model is None:
        made = f"with {' and '.join(found.models)}" if found.models else "with a model that it does not name"
        raise CheckpointError(f"{source} was made {made}; name one that is here with {called('model')}")
    return replace(
        work,
        source=None,
        workflow=source,
        given=given,
        direction=work.direction if work.direction.given else direction,
        files=files,
        audio=audio,
        machine=machine,
        replaces=work.replaces or bool(found.request.get("replace")),
        count=work.count if work.count != 1 else count,
        loras=work.loras or tuple(_loras(found, source, places)),
        left=(f"left out of {Path(source).name}, or done otherwise:", *(f"  {line}" for line in left))
        if left
        else (),
    )


def _catalogued(name: str, source: str) -> str:
    """A name of the catalogue. Raises OptionError for another: a path that a file names is not followed."""
    if name in (*ALIASES, *variant_names()):
        return name
    raise OptionError(
        f"{source} was made with the model {name[:80]!r}, which is not in the catalogue; give one with "
        f"{called('model')}"
    )


def _request(found: Import, left: list[str]) -> tuple[dict[str, Any], Direction]:
    """The fields of a request as `Work` has them, and how it is directed."""
    said = from_json(fields.VIDEO, found.request, lambda id: id)
    given = said.request()
    directed = {field.name: said[field.name] for field in dataclass_fields(Direction)}
    if "count" in found.request:
        given["count"] = found.request["count"]
    for name in (
        found.request.keys()
        - given.keys()
        - {"replace"}
        - {name for name, value in directed.items() if value}
    ):
        left.append(f"{name} = {found.request[name]!r}")
    return given, Direction(**directed)


def _files(work: Work, found: Import, source: str, places: Comfy) -> tuple[dict[str, str], Any]:
    """The images, videos and audio: those that are given, else those of their names."""
    files = dict(work.files)
    audio = work.audio
    for ours, said in found.paths.items():
        if ours == "audio":
            if not audio.given:
                audio = replace(audio, audio=str(_input(said, source, places, called("audio"))))
        elif ours not in files:
            files[ours] = str(_input(said, source, places, called(ours) if ours in fields.BY_NAME else ours))
    return files, audio


def _task(work: Work, found: Import, files: dict[str, str], audio: Any) -> str | None:
    if found.task == "animate" or work.suffix != ".mp4":
        return found.task or work.machine.task
    return check_task(None, audio, files)


def _parts(found: Import, source: str, places: Comfy, left: list[str]) -> dict[str, str]:
    """The files of the models that a workflow names. Those beside the networks may have other names here."""
    parts: dict[str, str] = {}
    missing: list[str] = []
    for part, said in found.parts.items():
        path = _model(said, part, places)
        if path is not None:
            parts[part] = str(path)
        elif part in _NETWORKS:
            missing.append(last_of(said))
        else:
            left.append(f"{last_of(said)}, which is not here: another {part} of the same folder is used")
    if missing:
        raise CheckpointError(
            f"{source} was made with {' and '.join(missing)}, which {_where(places.models)}; {called('model')} "
            f"ComfyUI/models says where they are, {called('model')} NAME takes another in their place (`wan22 models` "
            "lists them)"
        )
    return parts


def _where(places: tuple[Path, ...]) -> str:
    if not places:
        return (
            f"is looked for in ComfyUI's models folder, and none is known (nor does {COMFYUI_PATH} name it)"
        )
    return f"is not in {', '.join(str(place) for place in places[:3])}"


def _loras(found: Import, source: str, places: Comfy) -> Iterator[LoRAOption]:
    names = found.lora_names or [each[0] for each in found.loras]
    for name, (_, strength, expert) in zip(names, found.loras, strict=True):
        path = _model(name, "lora", places)
        if path is None:
            raise CheckpointError(
                f"{source} was made with the LoRA {last_of(name)} (strength {strength:g}"
                f"{f', on the expert {expert}' if expert else ''}), which {_where(places.models)}; give it with "
                f"{called('lora')}"
            )
        yield str(path), strength, expert


def _safe(name: str) -> PurePosixPath | None:
    """A name with its folders, if it leads nowhere else."""
    path = PurePosixPath(name.replace("\\", "/"))
    return (
        None if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1] or not path.name else path
    )


def _model(name: str, part: str, places: Comfy) -> Path | None:
    """The file of that name: with its folders where its kind lies, else of its last part anywhere in the tree."""
    path = _safe(name) or PurePosixPath(last_of(name) or "-")
    for place in places.models:
        for folder in (*_FOLDERS.get(part, ()), ""):
            if (exact := place / folder / path).is_file():
                return exact
    for place in places.models:
        for root, folders_here, names in os.walk(place):
            folders_here[:] = sorted(each for each in folders_here if not each.startswith("."))
            if path.name in names and (Path(root) / path.name).is_file():
                return Path(root) / path.name
    return None


def _input(name: str, source: str, places: Comfy, option: str) -> Path:
    """The image, video or audio of that name, as ComfyUI writes it ("sub/a.png", "a.png [input]")."""
    plain = name.strip()
    for ending in (" [input]", " [output]", " [temp]"):
        plain = plain.removesuffix(ending)
    path = _safe(plain) or PurePosixPath(last_of(plain) or "-")
    for place in places.inputs:
        for file in (place / path, place / path.name):
            if file.is_file() and file.resolve().is_relative_to(place.resolve()):
                return file
    looked = ", ".join(str(place) for place in places.inputs[:4])
    raise MediaError(f"{source} was made from {path.name}, which is not in {looked}; give it with {option}")
