"""Tables of clips: CSV, JSON Lines and JSON, with the column names that people use.

Paths are relative to the table; a folder `videos` or `images` beside it is looked into as well.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wan22.errors import MediaError
from wan22.files import TABLE_LIMIT, parse_json, read_bytes
from wan22.train.data.found import Found, decode, unreadable
from wan22.train.data.plan import Item

MEDIA_COLUMNS = (
    "video", "video_path", "image", "image_path", "path", "file", "file_name", "file_path", "media", "media_path",
)  # fmt: skip
TEXT_COLUMNS = ("caption", "text", "prompt", "cap", "description")
AUDIO_COLUMNS = ("input_audio", "audio", "audio_path", "sound")
REFERENCE_COLUMNS = ("reference_image", "reference")
OLD_COLUMNS = {"sound": "audio"}
"""Columns by the names that they had before; read with a notice."""
UNUSED_COLUMNS = {
    "input_image": "a clip's own first frame is its condition, as in DiffSynth-Studio",
    "control_path": "control clips are not trained here",
    "control_video": "control clips are not trained here",
    "s2v_pose_video": "poses are not trained here",
}
_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
FOLDERS = ("", "videos", "video", "images")

Row = tuple[str, Mapping[str, Any]]
"""Where a row stands ("line 3"), and its columns."""


def read_table(path: Path, found: Found, folder: Path | None = None, **says: Any) -> None:
    """Add the clips of a table; `folder` is what its paths are relative to, `says` what holds for each of its clips."""
    rows = list(_rows(path, found))
    noted: set[str] = set()
    for where, row in rows:
        clean = {str(key).strip().lower(): value for key, value in row.items() if key is not None}
        _add(clean, path, where, folder or path.parent, found, says)
        for name in sorted(OLD_COLUMNS.keys() & clean.keys() - noted):
            noted.add(name)
            new = f"its column {name} is now called {OLD_COLUMNS[name]}"
            found.note(path, new, "The old name is read for one more release.")
        for name in sorted(UNUSED_COLUMNS.keys() & clean.keys() - noted):
            noted.add(name)
            found.note(path, f"its column {name} is not read", f"{UNUSED_COLUMNS[name].capitalize()}.")


def _add(
    row: Mapping[str, Any], table: Path, where: str, folder: Path, found: Found, says: Mapping[str, Any]
) -> None:
    place = f"{table.name}, {where}"
    media = _first(row, MEDIA_COLUMNS)
    if media is None:
        known = ", ".join(MEDIA_COLUMNS[:5])
        found.refuse(f"{table}, {where}", "names no clip", f"Give it one of the columns {known}.")
        return
    path = _located(media, folder)
    if path is None:
        what = "an address on the net; download it first" if "://" in media else f"looked for in {folder}"
        found.refuse(
            media, f"is not there ({place})", f"It is {what}." if "://" in media else f"It was {what}."
        )
        return
    caption = _first(row, TEXT_COLUMNS)
    if caption is None:
        known = ", ".join(TEXT_COLUMNS[:3])
        found.refuse(path, f"has no text ({place})", f"Give its row one of the columns {known}.")
        return
    files = {}
    for name, columns in (("audio", AUDIO_COLUMNS), ("reference", REFERENCE_COLUMNS)):
        if (value := _first(row, columns)) is not None:
            files[name] = _located(value, folder)
            if files[name] is None:
                found.refuse(
                    path, f"its {name} {value} is not there ({place})", f"It was looked for in {folder}."
                )
                return
    found.items.append(Item(path, " ".join(caption.split()), place, **says, **files))


def _first(row: Mapping[str, Any], columns: tuple[str, ...]) -> str | None:
    """The first of the columns that holds a text; of a list of texts (FastVideo's captions) the first one."""
    for name in columns:
        value = row.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _located(name: str, folder: Path) -> Path | None:
    for inside in FOLDERS:
        path = folder / inside / name
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # a name that no file can have
            return None
    return None


def _rows(path: Path, found: Found) -> Iterator[Row]:
    try:
        text = decode(read_bytes(path, MediaError, limit=TABLE_LIMIT))
    except MediaError as error:
        found.refuse(path, str(error).removeprefix(f"{path} ").rstrip("."), "Name a table of clips.")
        return
    except UnicodeError as error:
        found.refuse(path, f"cannot be read: {unreadable(error)}", "Save the table as UTF-8.")
        return
    before = len(found.problems)
    rows = {".jsonl": _lines, ".json": _json}.get(path.suffix.lower(), _csv)(text, path, found)
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty and len(found.problems) == before:
        found.refuse(path, "is a table without rows", "Give it one row for each clip.")


def _csv(text: str, path: Path, found: Found) -> Iterator[Row]:
    head = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = {str(name).strip().lower() for name in reader.fieldnames or ()}
    except csv.Error as error:
        found.refuse(f"{path}, line 1", f"is no CSV: {error}", "Close its quotation marks.")
        return
    if not columns & set(MEDIA_COLUMNS):
        found.refuse(
            path,
            f"its first line names no column for clips, only {', '.join(sorted(columns)) or 'nothing'}",
            f"Name the columns in the first line: one of {', '.join(MEDIA_COLUMNS[:5])}, and caption.",
        )
        return
    try:
        for row in reader:
            surplus = row.pop(None, None) or []
            if any(field.strip() for field in surplus):  # the text would be cut at its first comma
                found.refuse(
                    f"{path}, line {reader.line_num}",
                    f"has {len(row) + len(surplus)} fields for {len(row)} columns",
                    f"Put quotation marks around a text that holds {_SEPARATORS[separator]}.",
                )
                continue
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        found.refuse(f"{path}, line {reader.line_num}", f"is no CSV: {error}", "Close its quotation marks.")


def _lines(text: str, path: Path, found: Found) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, f"line {number}", MediaError)
        except MediaError as error:
            found.refuse(f"{path}, line {number}", _why(error), "Write one object a line.")
            continue
        if isinstance(row, dict):
            yield f"line {number}", row
        else:
            found.refuse(
                f"{path}, line {number}", "is no JSON object", 'Write {"video": ..., "caption": ...}.'
            )


def _why(error: MediaError) -> str:
    """What is wrong with a text, without where it stands."""
    return "is no JSON" + str(error).partition("is no JSON")[2].rstrip(".")


def _json(text: str, path: Path, found: Found) -> Iterator[Row]:
    """A list of objects, or an object from file names to texts or objects."""
    try:
        values = parse_json(text, path.name, MediaError)
    except MediaError as error:
        found.refuse(path, _why(error), "Write a list of objects, or one object a line as .jsonl.")
        return
    if isinstance(values, dict):
        values = [
            {"path": name, **(value if isinstance(value, dict) else {"caption": value})}
            for name, value in values.items()
        ]
    for number, row in enumerate(values if isinstance(values, list) else [values], 1):
        if isinstance(row, dict):
            yield f"entry {number}", row
        else:
            found.refuse(
                f"{path}, entry {number}", "is no JSON object", 'Write {"video": ..., "caption": ...}.'
            )
