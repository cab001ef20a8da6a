"""Where training clips come from: folders, tables, and the layouts of other trainers.

    a folder             clips and images with a .txt of the same name, however deep; or a metadata.csv or .jsonl
    .csv .jsonl .json    a column for the clip (video, image, path, ...), one for its text (caption, text, prompt, ...)
    .toml                musubi-tuner's dataset file ([general], [[datasets]]), or diffusion-pipe's ([[directory]])
    a clip               one file with its .txt

It opens tables and texts, no clip. Whatever is wrong with one file is a Problem, never the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wan22.errors import OptionError
from wan22.train.data.plan import Item, Problem

CLIPS = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif"}
IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
FOREIGN = {".heic", ".avif", ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".ogv", ".3gp"}
"""Named so that they are reported and not passed over."""
MEDIA = CLIPS | IMAGES | FOREIGN
TABLES = {".csv", ".tsv", ".jsonl", ".json"}
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.json", "videos2caption.json")
"""Tables that a folder may hold beside its clips: DiffSynth-Studio, Hugging Face datasets, FastVideo."""

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


def collect(sources: tuple[Path, ...]) -> Found:
    """Name every clip of the sources once, in a fixed order; its text is read, the clip is not opened.

    Raises OptionError for a source that is not there or of no known kind.
    """
    found = Found()
    for source in sources:
        _read_source(source, found)
    found.items = _once(found)
    return found


def _read_source(source: Path, found: Found) -> None:
    from wan22.train.data import tables

    if not source.exists():
        raise OptionError(
            f"there is no {source}. Name a folder of clips, a table (.csv, .jsonl), or a .toml."
        )
    if not source.is_dir() and not source.is_file():
        raise OptionError(
            f"{source} is no file and no folder, and reading it might wait for ever. Name a file."
        )
    if source.is_dir():
        table = next((source / name for name in METADATA if (source / name).is_file()), None)
        if table is None:
            read_folder(source, found, MEDIA)
        else:
            tables.read_table(table, found)
    elif source.suffix.lower() in TABLES:
        tables.read_table(source, found)
    elif source.suffix.lower() == ".toml":
        from wan22.train.data.toml import read_toml

        read_toml(source, found)
    elif source.suffix.lower() in MEDIA:
        _with_text(source, ".txt", {}, found)
    else:
        raise OptionError(
            f"{source} is no source of clips. Known: a folder, {', '.join(sorted(TABLES))}, .toml, or a clip itself."
        )


def read_folder(folder: Path, found: Found, kinds: set[str], extension: str = ".txt", **says: Any) -> None:
    """Add every clip and image below `folder` that has a text beside it; `says` is what the source says of each."""
    before = len(found.items) + len(found.problems)
    for path in walk(folder):
        if path.suffix.lower() in kinds:
            _with_text(path, extension, says, found)
    if len(found.items) + len(found.problems) == before:
        found.refuse(
            folder, "holds no clip or image", f"ImageCondition endings: {', '.join(sorted(kinds - FOREIGN))}."
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


def _with_text(path: Path, extension: str, says: dict[str, Any], found: Found) -> None:
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


def _once(found: Found) -> list[Item]:
    """Leave out what is named twice; say which files share one text."""
    kept: dict[Path, Item] = {}
    stems: dict[tuple[Path, str, str], Path] = {}
    for item in found.items:
        real = item.path.resolve()
        if real in kept:
            other = kept[real]
            found.refuse(
                item.path,
                f"is named twice: in {other.where} and in {item.where}"
                if other.path == item.path
                else f"is the same file as {other.path}",
                "The first one counts; to weigh a clip more, use num_repeats.",
            )
            continue
        kept[real] = replace(item, path=item.path)
        stem = (item.path.parent, item.path.stem, item.caption)
        if stem in stems:
            found.note(
                item.path,
                f"has the name and the text of {stems[stem].name}",
                "Rename one of them if they show different things; remove it if it is only a preview.",
            )
        stems.setdefault(stem, item.path)
    return list(kept.values())
