"""Make a film again: its recipe as a request, and what differs between two recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from wan22 import fields
from wan22.errors import CheckpointError, MediaError
from wan22.production.audio import Asked

AskedLoRA = tuple[str, float, str | None]
"""Path, strength, and expert, if one is named."""

_OF_FAST = ("steps", "solver", "shift", "guidance", "guidance_rescale")  # what the adapters for few steps fix

_NO_CAUSE = frozenset(
    {"frames_sha256", "clips_sha256", "drift_per_second", "canvas", "task", "size_given", "best_of"}
)  # the outcome, and what follows from settings
_FILES = "files"  # our note in a recipe: the names of the pictures and clips that were given


def read(path: str) -> dict[str, Any]:
    """The recipe in a film or picture. Raises MediaError if it has none."""
    from wan22.media.recipe import read_recipe

    recipe = read_recipe(path)
    if recipe is None:
        raise MediaError(
            f"{path} carries no recipe of wan22: it was made by something else, or its notes were removed"
        )
    return recipe


def settings(recipe: dict[str, Any], given: dict[str, Any], sound: Asked) -> dict[str, Any]:
    """The fields of a request: those of a recipe, with what is `given` in their place.

    A film that was as long as its sound becomes as long as the `sound` that is asked now.
    """
    found = fields.from_recipe(recipe)
    if not recipe.get("size_given", True):
        del found["size"]  # the engine chose it; from the same picture it chooses the same
    if "seconds" in given or (sound != Asked() and _follows_sound(recipe)):
        found.pop("frames", None)
    if given.get("fast") or "fast" in recipe:
        found = {name: value for name, value in found.items() if name not in _OF_FAST} | {"fast": True}
    pairs = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return pairs | given


def _follows_sound(recipe: dict[str, Any]) -> bool:
    if "sound_seconds" not in recipe or "seconds" in (recipe.get("sound") or {}):
        return False
    return recipe["frames"] == max(1, round(recipe["sound_seconds"] * recipe["fps"]))


def note_files(files: dict[str, str]) -> dict[str, Any]:
    """What to note in a recipe of the files that were given: their names, not their folders, which are private."""
    return {_FILES: {name: Path(path).name for name, path in files.items()}} if files else {}


def find_files(recipe: dict[str, Any], source: str, given: dict[str, str]) -> dict[str, str]:
    """The pictures and clips that a recipe needs: those `given`, else those of its names beside `source` or here.

    Raises MediaError, naming the option, if one is not found.
    """
    if made := recipe.get("given"):
        raise MediaError(
            f"{source} was made from tensors that were given in Python ({', '.join(made)}), which a recipe cannot "
            "hold; it cannot be made again from here"
        )
    found = dict(given)
    for name in recipe.get("inputs") or {}:
        if name in found or name == "sound":
            continue
        found[name] = _find(_file(recipe, name), source, f"--{name.replace('_', '-')}")
    return found


def _file(recipe: dict[str, Any], name: str) -> str | None:
    return (recipe.get(_FILES) or {}).get(name)


def _find(file: str | None, source: str, option: str) -> str:
    if file is None:
        raise MediaError(f"{source} was made from a file that has no name; give it with {option}")
    here = [place for place in (Path(source).parent / file, Path(file)) if place.is_file()]
    if not here:
        raise MediaError(f"{source} was made from {file}, which is not beside it; give it with {option}")
    return str(here[0])


def find_loras(recipe: dict[str, Any], source: str) -> tuple[AskedLoRA, ...]:
    """The LoRAs that a recipe names, found beside `source` or here, known by their bytes.

    Raises CheckpointError, naming the option, if one is not found.
    """
    asked: list[AskedLoRA] = []
    for entry in (recipe.get("loras") or {}).values():
        path = _find_lora(entry, source)
        strengths = {name: entry[name] for name in ("high", "low", "dit") if name in entry}
        asked += [(path, strength, None if name == "dit" else name) for name, strength in strengths.items()]
    return tuple(asked)


def _find_lora(entry: dict[str, Any], source: str) -> str:
    from wan22.weights.fingerprint import fingerprint

    file, wanted = entry["file"], entry["weights"]
    here = [place for place in (Path(source).parent / file, Path(file)) if place.is_file()]
    for place in here:
        if fingerprint(place) == wanted:
            return str(place)
    found = f"{here[0]} is another one" if here else "which is not beside it"
    strengths = ", ".join(f"{name} {entry[name]:g}" for name in ("high", "low", "dit") if name in entry)
    raise CheckpointError(
        f"{source} was made with the LoRA {file} ({wanted[:19]}...), {found}; give it with --lora "
        f"(strength: {strengths})"
    )


def find_sound(recipe: dict[str, Any], source: str, asked: Asked) -> Asked:
    """What was heard: what is `asked` now, the rest as the recipe says: a file beside `source` or here, or a text to
    speak.

    Raises MediaError, naming the option, if it is not found.
    """
    if asked.given or "sound" not in (recipe.get("inputs") or {}):
        return asked
    noted = recipe.get("sound") or {}
    said = noted.get("said")
    if said is None:
        found = Asked(audio=_find(_file(recipe, "sound"), source, "--audio"))
    elif asked.speaker is not None:  # another one has other voices
        found = Asked(say=said.get("text"))
    else:
        found = _spoken(said, source, asked)
    found = replace(found, start=noted.get("start"), seconds=noted.get("seconds"))
    return replace(found, **{name: value for name, value in vars(asked).items() if value is not None})


def _spoken(said: dict[str, Any], source: str, asked: Asked) -> Asked:
    """The text and the speaker of a recipe's entry."""
    if said.get("engine") == "espeak":
        language, _, variant = said.get("voice", "").partition("+")
        return Asked(say=said.get("text"), language=language or None, voice=variant or None)
    sample = asked.voice_sample
    if sample is None and "sample" in said:
        sample = _find(said["sample"].get("name"), source, "--voice-sample")
    return Asked(
        say=said.get("text"),
        speaker=said.get("url"),
        voice=said.get("voice"),
        language=said.get("language"),
        voice_sample=sample,
    )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str] | None:
    """None if both films have the same frames; else what their recipes say is different."""
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
