"""Numbered PNG images as they are written: whose they are, and how all of them come to their names as one.

Each image that is written here carries a mark: the SHA-256 of its own compressed pixels. So an image is known as
ours, unchanged, from its bytes alone. Nothing else is ever replaced or removed.

A sequence that has its folder for itself comes by one rename. In a folder with other files the images are moved one
by one, behind a note, `.NAME.unfinished`, that readers obey; it goes last.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from wan22.atomic import put, sync, temporary_folder, written_folder
from wan22.errors import OutputError
from wan22.files import PathLike
from wan22.media.provenance import XMP_KEY, xmp
from wan22.media.recipe_text import RECIPE_KEY, dump_recipe

PATTERN = re.compile(r"%0?\d*d")
"""A number in a file name, as printf writes it: `shot-%04d.png`."""

_MARK = b"wan22-frame"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def split_sequence(path: PathLike) -> tuple[Path, str]:
    """Return folder and name pattern of a sequence; in a folder of its own it is `frame-0000.png` and on."""
    path = Path(path)
    return (path.parent, path.name) if PATTERN.search(path.name) else (path, "frame-%04d.png")


def numbered(path: PathLike) -> list[Path]:
    """List the images of a sequence in order: of a folder, or of a name with a number pattern."""
    folder, name = split_sequence(path)
    before, after = PATTERN.split(name)
    form = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        if match := form.fullmatch(entry.name):
            found.append((int(match[1]), entry))
    return [entry for _, entry in sorted(found)]


def save_frame(
    path: Path, frame: np.ndarray, recipe: dict[str, Any] | None = None, *, marked: bool = False
) -> None:
    """Write uint8 RGB (H, W, 3) as a PNG with our mark, `recipe` inside; `marked`: as made by a model (XMP)."""
    notes = PngImagePlugin.PngInfo()
    if recipe is not None:
        notes.add_text(RECIPE_KEY, dump_recipe(recipe))
    if marked:
        notes.add_itxt(XMP_KEY, xmp().decode("ascii"))
    content = io.BytesIO()
    Image.fromarray(frame).save(content, "PNG", pnginfo=notes, compress_level=4)
    path.write_bytes(_marked(content.getvalue()))


def is_ours(path: Path) -> bool:
    """Whether a file is a PNG that `save_frame` wrote, and its pixels are still those."""
    if path.is_symlink() or not path.is_file():
        return False
    pixels, mark = hashlib.sha256(), b""
    for kind, body in _chunks(path.read_bytes()):
        if kind == b"IDAT":
            pixels.update(body)
        elif kind == b"tEXt" and body.startswith(_MARK + b"\0"):
            mark = body[len(_MARK) + 1 :]
    return mark == pixels.hexdigest().encode()


def _marked(content: bytes) -> bytes:
    """Put the mark before the last chunk of a PNG."""
    pixels = hashlib.sha256()
    for kind, body in _chunks(content):
        if kind == b"IDAT":
            pixels.update(body)
    chunk = b"tEXt" + _MARK + b"\0" + pixels.hexdigest().encode()
    end = len(content) - 12  # IEND: length, name, checksum
    whole = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return content[:end] + whole + content[end:]


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, as far as they go: name and body."""
    at = len(_SIGNATURE)
    while content.startswith(_SIGNATURE) and at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length


def check_free(path: PathLike, *, overwrite: bool = True) -> None:
    """Raise OutputError if images stand under a sequence's names that are not ours, or must not be replaced."""
    for image in numbered(path):
        if not overwrite:
            raise OutputError(f"{image} exists already. Choose another name, or allow overwriting.")
        if not is_ours(image):
            raise OutputError(
                f"{path} would replace {image}, which wan22 did not write, or which was changed since. "
                f"Name another folder or pattern, such as {_other(path)}."
            )


def _other(path: PathLike) -> str:
    folder, name = split_sequence(path)
    return f"{folder}-2/" if not PATTERN.search(Path(path).name) else f"{folder / ('new-' + name)}"


def publish_frames(frames: Sequence[Path], path: PathLike, *, replace: bool = True) -> None:
    """Give the images `frames` (files of ours, in order) the names of the sequence `path`, as one; they stay.

    A former sequence of that name goes, if it may `replace` it; else FileExistsError. Raises OutputError, and leaves
    everything as it was, for images under those names that are not ours.
    """
    if not replace and is_there(path):
        raise FileExistsError(f"{path} exists already")
    check_free(path)
    folder, name = split_sequence(path)
    names = [name % index for index in range(len(frames))]
    if _has_folder_for_itself(path):
        with written_folder(folder.resolve(), replace=is_ours if replace else None) as part:
            _link(frames, part, names)
        return
    with temporary_folder(folder / name) as part:
        _link(frames, part, names)
        for each in names:
            sync(part / each)
        former = part / "former"
        former.mkdir()
        note = unfinished_note(path)
        try:
            note.touch()
            sync(folder)
            for old in filter(is_ours, numbered(path)):
                old.rename(former / old.name)
            for each in names:
                put(part / each, folder / each, replace=False)
            sync(folder)
        except OSError:
            for each in names:
                if not (part / each).exists():
                    (folder / each).unlink()
            for old in former.iterdir():
                old.rename(folder / old.name)
            note.unlink(missing_ok=True)
            raise
        note.unlink()
        sync(folder)


def frames_folder(path: PathLike) -> AbstractContextManager[Path]:
    """Lend a hidden folder for the images of the sequence `path` while they are made."""
    folder, name = split_sequence(path)
    return temporary_folder(folder.resolve() if _has_folder_for_itself(path) else folder / name)


def remove_frames(path: PathLike) -> None:
    """Remove the images of a sequence that are ours, and its own folder if nothing else is there."""
    for image in numbered(path):
        if is_ours(image):
            image.unlink()
    folder, _ = split_sequence(path)
    if not PATTERN.search(Path(path).name) and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def unfinished_note(path: PathLike) -> Path:
    """The file that stands beside the images of a sequence while they come to their names."""
    folder, name = split_sequence(path)
    return folder / f".{name}.unfinished"


def _has_folder_for_itself(path: PathLike) -> bool:
    """Whether a sequence may come by a rename of its folder: nothing else is in it, and nobody works in it."""
    folder, _ = split_sequence(path)
    if not folder.exists():
        return True
    if PATTERN.search(Path(path).name) or folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        return False
    return not any(folder.iterdir()) or is_own_folder(folder)


def is_own_folder(folder: Path) -> bool:
    """Whether a folder holds images of one sequence of ours, and nothing else."""
    images = numbered(folder)
    return bool(images) and len(list(folder.iterdir())) == len(images) and all(map(is_ours, images))


def is_there(path: PathLike) -> bool:
    """Whether something has the names of a sequence: one of its images, or a folder that is not empty, or a file."""
    folder, _ = split_sequence(path)
    if PATTERN.search(Path(path).name):
        return bool(numbered(path))
    return os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir()))


def _link(frames: Sequence[Path], part: Path, names: Sequence[str]) -> None:
    for frame, name in zip(frames, names, strict=True):
        try:
            os.link(frame, part / name)
        except OSError:  # a file system without links
            shutil.copyfile(frame, part / name)
