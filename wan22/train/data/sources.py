"""Where training clips come from: folders, tables, and the layouts of other trainers.

    a folder             clips and images with a .txt of the same name, however deep; or a metadata.csv or .jsonl
    .csv .jsonl .json    a column for the clip (video, image, path, ...), one for its text (caption, text, prompt, ...)
    .toml                musubi-tuner's dataset file ([general], [[datasets]]), or diffusion-pipe's ([[directory]])
    a clip               one file with its .txt

It opens tables and texts, no clip. Whatever is wrong with one file is a Problem, never the end.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wan22.errors import OptionError
from wan22.train.data.found import (
    MEDIA,
    Found,
    add_with_text,
    read_folder,
)
from wan22.train.data.plan import Item
from wan22.train.data.tables import read_table
from wan22.train.data.toml import read_toml

TABLES = {".csv", ".tsv", ".jsonl", ".json"}
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.json", "videos2caption.json")
"""Tables that a folder may hold beside its clips: DiffSynth-Studio, Hugging Face datasets, FastVideo."""


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
            read_table(table, found)
    elif source.suffix.lower() in TABLES:
        read_table(source, found)
    elif source.suffix.lower() == ".toml":
        read_toml(source, found)
    elif source.suffix.lower() in MEDIA:
        add_with_text(source, ".txt", {}, found)
    else:
        raise OptionError(
            f"{source} is no source of clips. Known: a folder, {', '.join(sorted(TABLES))}, .toml, or a clip itself."
        )


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
