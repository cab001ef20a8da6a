"""What is taken out of a stranger's file, in the process that looks at it (checking.py): a frame, its recipe, the peaks
of its audio, small images. Every function returns what is printed as JSON.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wan22 import fields
from wan22.errors import MediaError, MediaTypeError, OptionError
from wan22.media import video
from wan22.media.audio import AudioReader
from wan22.media.file_types import AUDIO, IMAGES, audio_file_type, file_type
from wan22.media.image import save
from wan22.media.notes import read_notes
from wan22.media.opening import open_clip

MOST_PEAKS = 1000


def frame(path: Path, place: Path, which: str) -> dict[str, Any]:
    """Write a frame of a video, or an image, as PNG to `place`. which: "first", "last" or a number from 0.

    Raises MediaTypeError for audio, OptionError for a frame that is not there.
    """
    if _is_audio(path):
        raise MediaTypeError(f"{path} is audio and has no frame. Give a video or an image.")
    image, number = video.frame_of(path, which)
    save(place, image, "png", None)
    return {"frame": number}


def _is_audio(path: Path) -> bool:
    try:
        kind = file_type(path)
    except MediaTypeError:
        audio_file_type(path)  # raises if it is neither
        return True
    if kind in IMAGES:
        return False
    with open_clip(path) as container:
        return not container.streams.video


def peaks(path: Path) -> dict[str, Any]:
    """The lowest and the highest sample of up to `MOST_PEAKS` equal parts of a file's audio, all channels together.

    `peaks` are pairs in -1..1, empty for a file without audio; `seconds` from the beginning of the file.
    """
    if not _has_audio(path):
        return {"seconds": 0.0, "peaks": []}
    reader = AudioReader(path)
    total = max(1, round(reader.info.seconds * reader.info.rate))
    parts = min(MOST_PEAKS, total)
    low, high = np.zeros(parts, np.float32), np.zeros(parts, np.float32)
    at = 0
    for piece in reader.pieces():
        index = np.minimum((np.arange(at, at + len(piece)) * parts) // total, parts - 1)
        np.minimum.at(low, index, piece.min(axis=1))
        np.maximum.at(high, index, piece.max(axis=1))
        at += len(piece)
    pairs = np.stack([low, high], axis=1).clip(-1, 1).round(3)
    return {"seconds": reader.info.seconds, "peaks": pairs.tolist()}


def _has_audio(path: Path) -> bool:
    try:
        kind = file_type(path)
    except MediaTypeError:
        kind = audio_file_type(path)
    if kind in AUDIO:
        return True
    if kind in IMAGES:
        return False
    with open_clip(path) as container:
        return bool(container.streams.audio)


def stills(path: Path, place: Path) -> dict[str, Any]:
    """Write thumbnail and sheet of a video, or of an image, into the folder `place`; they bear no mark of ours."""
    from wan22.jobs.stills import write_stills

    if _is_audio(path):
        raise MediaTypeError(f"{path} is audio and has no frame. Give a video or an image.")
    return {"files": list(write_stills(path, place, marked=False))}


def recipe(path: Path) -> dict[str, Any]:
    """The recipe in a video or image, of ours or another program's, as production/foreign.py reads it.

    `recipe` is None where there is none.
    """
    from wan22.production import foreign

    if _is_audio(path):
        return {"recipe": None}
    found = _own(path)
    if found is None:
        found = foreign.read(read_notes(path))
    return {"recipe": None if found is None else asdict(found)}


def _own(path: Path) -> Any:
    """Our own recipe as what a form holds; None if there is none."""
    from wan22.media.recipe import read_recipe
    from wan22.production import rerender
    from wan22.production.audio import AudioOptions
    from wan22.production.foreign import Import, shown
    from wan22.production.join import KEY

    said = read_recipe(path)
    if said is None:
        return None
    said = fields.renewed(said)
    found = Import("wan22")
    if KEY in said:
        found.notes.append("joined from several videos, each of which has a recipe of its own")
    try:
        asked = rerender.settings(said, {}, AudioOptions())
    except (OptionError, MediaError, ValueError, TypeError, KeyError) as error:
        found.notes.append(" ".join(str(error).split())[:500])
        asked = {name: said[name] for name in ("prompt", "negative", "seed") if name in said}
    for name, value in asked.items():
        found.say(name, list(value) if isinstance(value, tuple) else value)
    for entry in _dicts(said.get("loras")):
        for expert in ("high", "low", "dit"):
            if isinstance(strength := entry.get(expert), (int, float)):
                found.loras.append(
                    (str(entry.get("file"))[:200], float(strength), None if expert == "dit" else expert)
                )
    if isinstance(model := said.get("model"), str):
        found.models.append(model[:200])
    named = said.get("files")
    given = said.get("inputs")
    for name in given if isinstance(given, dict) else {}:
        file = named.get(name) if isinstance(named, dict) else None
        found.files[str(name)[:40]] = str(file or "")[:200]
    spoken = said.get("audio")
    if isinstance(spoken, dict) and isinstance(line := spoken.get("said"), dict):
        found.say("say", line.get("text"))
        found.files.pop("audio", None)
    known = {*found.request, "loras", "model", "files", "inputs", "audio"}
    for name, value in said.items():
        if name not in known:
            found.unknown[str(name)[:100]] = shown(value)
    return found


def _dicts(said: Any) -> list[dict[str, Any]]:
    return [each for each in said.values() if isinstance(each, dict)] if isinstance(said, dict) else []
