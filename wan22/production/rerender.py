"""Make a video again: its recipe as a request, and what differs between two recipes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22 import fields
from wan22.catalog import ALIASES, released, variant_names
from wan22.errors import CheckpointError, MediaError, OptionError
from wan22.fields import called
from wan22.files import check_value, reading
from wan22.production.animate import DRIVEN
from wan22.production.audio import AudioOptions, AudioTrack, of_video
from wan22.production.join import KEY

if TYPE_CHECKING:
    from wan22.production.events import EventSink
    from wan22.types import Request

LoRAOption = tuple[str, float, str | None] | tuple[str, float, str | None, tuple[str, ...]]
"""Path, strength, expert if one is named, and parts of the network that are left out, if any."""

TYPES: dict[str, Any] = {
    "text": str,
    "integer": int,
    "number": float,
    "flag": bool,
    "size": tuple[int, int],
    "expert_pair": float | tuple[float, float],
    "interval": tuple[float, float],
    "numbers": tuple[float, ...],
}
"""What a value of a recipe or of JSON may be, by the kind of its field."""
_LEVELS = ("steps", "shift", "schedule")
OF_FAST = (
    *_LEVELS, "sigmas", "boundary", "switch_step", "solver", "guidance", "guidance_rescale", "guidance_interval",
    "cache",
)  # fmt: skip
"""What the adapters for few steps fix."""
REPLACED = {
    "sigmas": _LEVELS,
    **dict.fromkeys(_LEVELS, ("sigmas",)),
    "boundary": ("switch_step",),
    "switch_step": ("boundary",),
}
"""Entries of a recipe that cannot stand beside an option that is given now."""

_NO_CAUSE = frozenset(
    {"frames_sha256", "clips_sha256", "drift_per_second", "canvas", "task", "size_given", "best_of"}
)  # the outcome, and what follows from settings
_FILES = "files"  # our note in a recipe: the names of the images and clips that were given


@dataclass(frozen=True)
class Found:
    """What a recipe asks for, as `Work` has it, and what it says that was not followed."""

    recipe: dict[str, Any]
    given: dict[str, Any]
    files: dict[str, str]
    audio: AudioOptions
    loras: tuple[LoRAOption, ...]
    notes: tuple[str, ...] = ()


def follow(
    source: str,
    given: dict[str, Any],
    files: dict[str, str],
    audio: AudioOptions,
    loras: tuple[LoRAOption, ...],
) -> Found:
    """Read the recipe in a video or image, with what was given on the command line in its place.

    The file may come from a stranger, so nothing that it says leads anywhere: its inputs are looked for beside it, by
    the last part of their names, and a speech server is asked only if it was given.

    Raises MediaError or CheckpointError for a file without a recipe, one that cannot be followed, and inputs that are
    not beside it, naming the option that gives them.
    """
    recipe = read(source)
    if KEY in recipe:
        raise MediaError(
            f"{source} was joined from {len(recipe[KEY])} videos; each of them is made again from its own file, such "
            f"as {called('source')} shot-01.mp4"
        )
    with reading(source, MediaError, "carries a recipe that cannot be followed"):
        check_value(str | None, recipe.get("label"), "label")
        return Found(
            recipe,
            settings(recipe, given, audio),
            find_files(recipe, source, files),
            find_audio(recipe, source, audio),
            loras or find_loras(recipe, source),
            tuple(_not_followed(recipe)),
        )


def _not_followed(recipe: dict[str, Any]) -> Iterator[str]:
    """Say which paths a recipe names that are looked for beside the file alone."""
    said = (recipe.get("audio") or {}).get("said") or {}
    named = {**(recipe.get(_FILES) or {}), "voice_sample": (said.get("sample") or {}).get("name")}
    paths = [(called(name), path) for name, path in named.items()]
    paths += [(called("lora"), entry["file"]) for entry in (recipe.get("loras") or {}).values()]
    for option, path in paths:
        if path is not None and _name(path) != path:
            yield (
                f"the file names {path}, a path that is not followed: {_name(path)} beside it is read; "
                f"{option} gives another"
            )


def _name(path: str) -> str:
    """The last part of a path, of whatever system; what no file can be called is an error."""
    name = path.replace("\\", "/").rpartition("/")[2]
    if name in ("", ".", ".."):
        raise ValueError(f"{path!r} is no name of a file")
    return name


def _beside(source: str, path: str) -> Path | None:
    """The file of that name beside `source`, if there is one; a link that leads out of the folder is none."""
    folder = Path(source.rstrip("/")).parent
    place = folder / _name(path)
    if not place.is_file() or place.resolve().parent != folder.resolve():
        return None
    return place


def read(path: str) -> dict[str, Any]:
    """The recipe in a video or image. Raises MediaError if it has none."""
    from wan22.media.recipe import read_recipe

    recipe = read_recipe(path)
    if recipe is None:
        raise MediaError(
            f"{path} carries no recipe of wan22: it was made by something else, or its notes were removed"
        )
    return fields.renewed(recipe)


def model_of(recipe: dict[str, Any]) -> str:
    """The model that a recipe names, from the catalogue. Raises OptionError for another: a path is not followed."""
    name = recipe.get("model")
    if not isinstance(name, str):
        raise OptionError(
            f"the recipe does not say with which model it was made; name it with {called('model')}"
        )
    if name in ALIASES or name in variant_names():
        return name
    try:
        return released(name).name
    except OptionError as error:
        raise OptionError(
            f"made with the model {name[:80]!r}, which is not in the catalogue, and a folder that a file names is not "
            f"opened; give it with {called('model')}"
        ) from error


def settings(recipe: dict[str, Any], given: dict[str, Any], audio: AudioOptions) -> dict[str, Any]:
    """The fields of a request: those of a recipe, with what is `given` in their place.

    A video that was as long as its audio becomes as long as the `audio` that is asked now.
    """
    found = fields.from_recipe(recipe)
    if not recipe.get("size_given", True):
        found.pop("size", None)  # the engine chose it; from the same image it chooses the same
    if "seconds" in given or (audio != AudioOptions() and _follows_audio(recipe)):
        found.pop("frames", None)
    if given.get("fast") or "fast" in recipe:
        found = {name: value for name, value in found.items() if name not in OF_FAST} | {"fast": True}
    for name in given:
        for other in REPLACED.get(name, ()):
            found.pop(other, None)
    pairs = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    for field in fields.in_recipe():
        if field.of in pairs:
            check_value(TYPES[field.kind], pairs[field.of], field.name)
    return pairs | given


def _follows_audio(recipe: dict[str, Any]) -> bool:
    if "audio_seconds" not in recipe or "seconds" in (recipe.get("audio") or {}):
        return False
    return recipe["frames"] == max(1, round(recipe["audio_seconds"] * recipe["fps"]))


def note_files(files: dict[str, str]) -> dict[str, Any]:
    """What to note in a recipe of the files that were given: their names, not their folders, which are private."""
    return {_FILES: {name: Path(path).name for name, path in files.items()}} if files else {}


def find_files(recipe: dict[str, Any], source: str, given: dict[str, str]) -> dict[str, str]:
    """The images and clips that a recipe needs: those `given`, else those of its names beside `source`.

    Raises MediaError, naming the option, if one is not found.
    """
    if made := recipe.get("given"):
        raise MediaError(
            f"{source} was made from tensors that were given in Python ({', '.join(made)}), which a recipe cannot "
            "hold; it cannot be made again from here"
        )
    found = dict(given)
    place = _within(recipe, source)
    for name in recipe.get("inputs") or {}:
        if name in found or name == "audio" or (name in DRIVEN and "video" in given):
            continue
        found[name] = _find(_file(recipe, name), place if name in DRIVEN else source, called(name))
    return found


def _within(recipe: dict[str, Any], source: str) -> str:
    """A name in the folder beside `source` that has what moves a person, if the recipe names one; else `source`."""
    named = recipe.get("driving")
    check_value(str | None, named, "driving")
    if named is None:
        return source
    folder = Path(source.rstrip("/")).parent
    place = folder / _name(named)
    return (
        str(place / "video.mp4") if place.is_dir() and place.resolve().parent == folder.resolve() else source
    )


def _file(recipe: dict[str, Any], name: str) -> str | None:
    return (recipe.get(_FILES) or {}).get(name)


def _find(file: str | None, source: str, option: str) -> str:
    if file is None:
        raise MediaError(f"{source} was made from a file that has no name; give it with {option}")
    place = _beside(source, file)
    if place is None:
        raise MediaError(
            f"{source} was made from {_name(file)}, which is not beside it; give it with {option}"
        )
    return str(place)


def check_inputs(recipe: dict[str, Any], request: Request, typed: Collection[str]) -> None:
    """Raise MediaError if an input that was found by its name is not what the recipe was made from.

    `typed` are the inputs that the user named, which may be others.
    """
    from wan22.request import input_hashes

    told = dict(recipe.get("inputs") or {})
    if (recipe.get("audio") or {}).get("said"):
        told.pop("audio", None)  # another machine's voice may differ a little
    if not told.keys() - typed:
        return
    for name, found in input_hashes(request).items():
        if name in told and name not in typed and told[name] != found:
            raise MediaError(
                f"the {name.replace('_', ' ')} beside the file is another one than it was made from; if it shall be "
                f"used, give it with {called(name)}"
            )


def find_loras(recipe: dict[str, Any], source: str) -> tuple[LoRAOption, ...]:
    """The LoRAs that a recipe names, found beside `source`, known by their bytes.

    Raises CheckpointError, naming the option, if one is not found.
    """
    asked: list[LoRAOption] = []
    for entry in (recipe.get("loras") or {}).values():
        path = _find_lora(entry, source)
        strengths = {name: entry[name] for name in ("high", "low", "dit") if name in entry}
        skip = tuple(entry.get("skip") or ())
        asked += [
            (path, strength, None if name == "dit" else name, skip) for name, strength in strengths.items()
        ]
    return tuple(asked)


def _find_lora(entry: dict[str, Any], source: str) -> str:
    from wan22.weights.fingerprint import fingerprint

    file, wanted = _name(entry["file"]), entry["weights"]
    place = _beside(source, file)
    if place is not None and fingerprint(place) == wanted:
        return str(place)
    found = f"{place} is another one" if place is not None else "which is not beside it"
    strengths = ", ".join(f"{name} {entry[name]:g}" for name in ("high", "low", "dit") if name in entry)
    raise CheckpointError(
        f"{source} was made with the LoRA {file} ({wanted[:19]}...), {found}; give it with {called('lora')} "
        f"(strength: {strengths})"
    )


def find_audio(recipe: dict[str, Any], source: str, asked: AudioOptions) -> AudioOptions:
    """The audio: what is `asked` now, the rest as the recipe says: a file beside `source`, or a text to speak.

    Raises MediaError, naming the option, if it is not found, and OptionError if a speech server spoke, whose address
    must be given again.
    """
    if asked.given or "audio" not in (recipe.get("inputs") or {}):
        return asked
    noted = recipe.get("audio") or {}
    said = noted.get("said")
    if said is None:
        found = AudioOptions(audio=_find(_file(recipe, "audio"), source, called("audio")))
    elif asked.speaker is not None and asked.speaker != said.get("url"):  # another one has other voices
        found = AudioOptions(say=said.get("text"))
    else:
        found = _spoken(said, source, asked)
    found = replace(found, start=noted.get("start"), seconds=noted.get("seconds"))
    return replace(found, **{name: value for name, value in vars(asked).items() if value is not None})


def find_kept_audio(recipe: dict[str, Any], source: str, output: str, events: EventSink) -> AudioTrack | None:
    """The audio of the video from which kept latents were made, for a video that kept it: from its file beside
    `source`, if that is still the same. What it cannot be put under, or where it is missing, is said.
    """
    if not (recipe.get("audio") or {}).get("kept"):
        return None
    from wan22.media.video import read_condition
    from wan22.types import Request

    try:
        video = find_files({"inputs": {"video": ""}, _FILES: recipe.get(_FILES)}, source, {})["video"]
        clip = read_condition(video, recipe["fps"], frames=recipe["frames"])
        check_inputs(recipe, Request(prompt="", video=clip), ())
    except MediaError as error:
        events.note(f"the audio of the video that it is made from is not kept: {error}")
        return None
    return of_video(video, output, events)


def _spoken(said: dict[str, Any], source: str, asked: AudioOptions) -> AudioOptions:
    """The text and the speaker of a recipe's entry."""
    if said.get("engine") == "espeak":
        language, _, variant = said.get("voice", "").partition("+")
        return AudioOptions(say=said.get("text"), language=language or None, voice=variant or None)
    if asked.speaker is None:
        raise OptionError(
            f"{source} was spoken by the server {said.get('url')}. An address in a file is not asked: give it with "
            f"{called('speaker')} if you trust it, or another speaker, or the audio with {called('audio')}"
        )
    sample = asked.voice_sample
    if sample is None and "sample" in said:
        sample = _find(said["sample"].get("name"), source, called("voice_sample"))
    return AudioOptions(
        say=said.get("text"),
        speaker=said.get("url"),
        voice=said.get("voice"),
        language=said.get("language"),
        voice_sample=sample,
    )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str] | None:
    """None if both videos have the same frames; else what their recipes say is different."""
    hashes = [[recipe.get(name) for name in ("frames_sha256", "clips_sha256")] for recipe in (old, new)]
    if any(hashes[0]) and hashes[0] == hashes[1]:
        return None
    lines = []
    if not any(hashes[0]):
        lines.append("its recipe does not say what its frames were")
    flat_old, flat_new = (
        _flat({k: v for k, v in recipe.items() if k not in _NO_CAUSE}) for recipe in (old, new)
    )
    for name in [*flat_old, *(name for name in flat_new if name not in flat_old)]:
        before, after = flat_old.get(name), flat_new.get(name)
        if before != after:
            lines.append(f"{name} {_short(before)} -> {_short(after)}")
    return lines or [
        "the recipes are equal, so it is the machine: another processor, or another number of threads"
    ]


def _flat(recipe: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in recipe.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _short(value: Any) -> str:
    if value is None:
        return "(nothing)"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
