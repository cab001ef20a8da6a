"""What is found in sources of training clips, and the reading of folders and texts that every kind of source shares.

It opens texts, no clip. Whatever is wrong with one file is a Problem, never the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan22.train.data.plan import Item, Problem

CLIPS = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif"}
IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
FOREIGN = {".heic", ".avif", ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".ogv", ".3gp"}
"""Named so that they are reported and not passed over."""
MEDIA = CLIPS | IMAGES | FOREIGN

MAX_TEXT = 64 * 1024
"""Bytes of a caption file; more is another kind of file."""


@dataclass
class Found:
    """What was found so far; readers of sources add to it."""

    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, file: Path | str, reason: str, help_: str) -> None:
        """Note a file that is not used."""
        self.problems.append(Problem(str(file), reason, help_))

    def note(self, file: Path | str, reason: str, help_: str) -> None:
        """Note something about a file that is used."""
        self.problems.append(Problem(str(file), reason, help_, used=True))


def read_folder(folder: Path, found: Found, kinds: set[str], extension: str = ".txt", **says: Any) -> None:
    """Add every clip and image below `folder` that has a text beside it; `says` is what the source says of each."""
    before = len(found.items) + len(found.problems)
    for path in walk(folder):
        if path.suffix.lower() in kinds:
            add_with_text(path, extension, says, found)
    if len(found.items) + len(found.problems) == before:
        found.refuse(
            folder, "holds no clip or image", f"Known endings: {', '.join(sorted(kinds - FOREIGN))}."
        )


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order of name; hidden ones are left out, links are followed once."""
    seen: set[str] = set()
    for top, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(top)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        yield from (Path(top, name) for name in sorted(files) if not name.startswith("."))


def add_with_text(path: Path, extension: str, says: dict[str, Any], found: Found) -> None:
    text = path.with_suffix(extension if extension.startswith(".") else f".{extension}")
    if not text.is_file():
        text = path.with_name(path.name + text.suffix)  # clip.mp4.txt
    if not text.is_file():
        name = path.with_suffix(text.suffix).name
        found.refuse(path, "has no text", f"Write what is seen into {name} beside it.")
        return
    caption = read_text(text, found)
    if caption is not None:
        found.items.append(Item(path, caption, str(path.parent), **says))


def read_text(path: Path, found: Found) -> str | None:
    """Read a caption, white space collapsed; None, with a Problem, if it is empty or no text."""
    try:
        if path.stat().st_size > MAX_TEXT:
            found.refuse(path, f"has {path.stat().st_size:,} bytes, too many for a caption", "Shorten it.")
            return None
        caption = " ".join(decode(path.read_bytes()).split())
    except (OSError, UnicodeError) as error:
        found.refuse(path, f"cannot be read: {unreadable(error)}", "Save it as UTF-8 text.")
        return None
    if not caption:
        found.refuse(path, "is an empty text", "Write what is seen in the clip.")
        return None
    return caption


def decode(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 with its mark, as editors write it. Raises UnicodeError for others."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    text = data.decode("utf-8-sig")
    if "\0" in text:
        raise UnicodeError("it holds zero bytes: UTF-16 without its mark, or no text")
    return text


def unreadable(error: OSError | UnicodeError) -> str:
    """Why a text could not be read, for people."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is no {'UTF-16' if error.encoding.startswith('utf-16') else 'UTF-8'} text"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
