"""Where media lies, and what a file of it holds.

`Folders` finds the media that an editor's file names, in folders that the user gave and nowhere else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO

from wan22.atomic import written
from wan22.errors import MediaError, MediaTypeError
from wan22.timeline.interchange.common import Find, exact_rate, path_of
from wan22.timeline.items import Media, Source

__all__ = ["RATE", "Folders", "files_of", "held_by", "kept_beside", "relative"]

RATE = Fraction(24)
"""Of a timeline, where nothing says another."""
_STILL_SECONDS = 3
_NAME_BYTES = 200


def held_by(path: Path, rate: Fraction = RATE) -> Source:
    """What a file holds. Audio alone is counted in frames of `rate`. Raises MediaError for what is no media."""
    from wan22.media.audio import probe_audio
    from wan22.media.file_types import IMAGES, file_type
    from wan22.media.sequence import is_sequence
    from wan22.media.video import probe

    numbered = is_sequence(path)
    try:
        info = probe(path, float(rate) if numbered else None)
    except MediaTypeError:
        seconds = probe_audio(path).seconds
        frames = max(1, int(Fraction(seconds).limit_denominator(1_000_000) * rate))
        return Source(frames=frames, rate=rate.as_integer_ratio(), audio=True)
    size = (info.width, info.height)
    if not numbered and info.frames == 1 and file_type(path) in IMAGES:
        frames = max(1, int(_STILL_SECONDS * rate))
        return Source(frames=frames, rate=rate.as_integer_ratio(), size=size, still=True)
    pair = exact_rate(info.fps).as_integer_ratio()
    return Source(frames=info.frames, rate=pair, size=size, audio=info.has_audio)


def relative(path: Path, base: Path) -> str:
    """A path as it is written into a document in the folder `base`: relative to it, if they are on one disk."""
    try:
        return Path(os.path.relpath(path.absolute(), base.absolute())).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def files_of(base: Path) -> Find:
    """Where the media of a document in the folder `base` lies."""

    def find(media: Media) -> Path | None:
        if "path" not in media:
            return None
        path = base / Path(media["path"]).expanduser()
        return path.absolute() if path.is_file() or path.is_dir() else None

    return find


class Folders:
    """The media that an editor's file names: only what lies in these folders, by its place or by its name.

    A file may say any path, and a link may lead anywhere; neither is followed out of the folders.
    """

    def __init__(self, folders: Sequence[Path], base: Path) -> None:
        self._folders = [folder.absolute() for folder in folders]
        self._base = base

    def __call__(self, url: str, said: Media | None) -> Media | None:
        for name in ((said or {}).get("path"), path_of(url)):
            if name and (found := self._within(name)) is not None:
                return {"path": relative(found, self._base)}
        return None

    def _within(self, name: str) -> Path | None:
        if "\0" in name:
            return None
        last = name.rstrip("/").rpartition("/")[2]
        for folder in self._folders:
            for candidate in (folder / name, folder / last):
                try:
                    inside = candidate.resolve().is_relative_to(folder.resolve())
                    if inside and last and (candidate.is_file() or self._is_numbered(candidate)):
                        return Path(os.path.normpath(candidate))
                except (OSError, ValueError, RuntimeError):
                    continue
        return None

    @staticmethod
    def _is_numbered(candidate: Path) -> bool:
        from wan22.media.sequence import is_sequence
        from wan22.media.sequence_files import numbered

        return "%" in candidate.name and is_sequence(candidate) and bool(numbered(candidate))

    def look(self, media: Media) -> Source | None:
        """What a media's file holds; None for audio alone, whose length an editor's file says, and what is not read."""
        if "path" not in media:
            return None
        path = self._base / media["path"]
        try:
            found = held_by(path) if path.is_file() else None
        except MediaError:
            return None
        return found if found is not None and found.size is not None else None


def kept_beside(output: Path, name: str, stream: IO[bytes]) -> Media:
    """Take a media's file out of a bundle, into a folder beside the document `output`; nothing there is replaced."""
    folder = output.parent / f"{output.stem}-media"
    safe = os.fsencode(name.lstrip(".") or "media")[-_NAME_BYTES:].decode("utf-8", "ignore")
    stem, dot, suffix = safe.rpartition(".")
    number, target = 1, folder / safe
    while target.exists():
        number += 1
        target = folder / (f"{stem}-{number}{dot}{suffix}" if dot else f"{safe}-{number}")
    with written(target, replace=False) as part, part.open("wb") as place:
        shutil.copyfileobj(stream, place, 1 << 20)
    return {"path": relative(target, output.parent)}
