"""The place where a result goes: its kind, whether it can be written, whether there is room.

Everything that can be known about a target before hours of work are spent on it. It writes nothing.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from wan22.errors import OutputError
from wan22.media.file_types import PathLike

PATTERN = re.compile(r"%0?\d*d")
"""A number in a file name, as printf writes it: `shot-%04d.png`."""

IMAGE_KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
VIDEO_KINDS = {".mp4": "mp4", ".mov": "mov", ".webm": "webm", ".gif": "gif"}
SEQUENCE = "sequence"

# Bytes per pixel and frame, on the safe side: noise at the highest quality of each container.
_BYTES_PER_PIXEL = {"mp4": 0.8, "webm": 0.8, "mov": 1.2, "gif": 1.2, "png": 3.1, "jpeg": 2.0, "webp": 2.0}
_OVERHEAD = 2 << 20  # containers, indices, the recipe
_SPARE = 16 << 20  # a disk that is full to the last byte breaks other programs


def target_kind(path: PathLike) -> str:
    """Tell from its name what a target will be: a value of IMAGE_KINDS or VIDEO_KINDS, or SEQUENCE.

    A sequence of PNG images is a path that ends in "/", an existing folder, or a name with a number
    pattern (`shot-%04d.png`). Raises OutputError for anything else, and lists the known.
    """
    name = os.fspath(path)
    if not name:
        raise OutputError(f"the output path is empty. {_known()}")
    suffix = Path(name).suffix.lower()
    patterns = PATTERN.findall(Path(name).name)
    if patterns and suffix == ".png":
        if len(patterns) > 1:
            raise OutputError(f"{name} has {len(patterns)} number patterns; a sequence needs exactly one.")
        return SEQUENCE
    if name.endswith(("/", os.sep)) or Path(name).is_dir():
        return SEQUENCE
    kind = IMAGE_KINDS.get(suffix) or VIDEO_KINDS.get(suffix)
    if kind is None:
        what = f"the extension {suffix!r}" if suffix else "a name without an extension"
        raise OutputError(f"{name}: {what} says no known format. {_known()}")
    return kind


def estimate_bytes(size: tuple[int, int], frames: int, path: PathLike) -> int:
    """Return how many bytes `frames` images of `size` (width, height) need at most, about, at `path`."""
    kind = target_kind(path)
    per_pixel = _BYTES_PER_PIXEL["png" if kind == SEQUENCE else kind]
    return _OVERHEAD + int(size[0] * size[1] * frames * per_pixel)


def check_output(path: PathLike, *, bytes_needed: int, overwrite: bool = True) -> None:
    """Make sure, before any expensive work, that `bytes_needed` can be written to `path`.

    Raises OutputError if the format is unknown, the folder is not there and cannot be made, is not writable,
    the disk has no room, or (unless `overwrite`) the file exists.
    """
    kind = target_kind(path)
    target = Path(path)
    if kind != SEQUENCE and target.exists() and not overwrite:
        raise OutputError(f"{target} exists already. Choose another name, or allow overwriting.")
    folder = target if kind == SEQUENCE and not PATTERN.search(target.name) else target.parent
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise OutputError(f"{target} cannot be written: {there} is a file, not a folder.")
    try:
        with tempfile.TemporaryFile(dir=there):  # permission bits do not tell for root or a read-only disk
            pass
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error} in {there}. "
            "Choose a folder that you may write to."
        ) from None
    free = shutil.disk_usage(there).free
    if free < bytes_needed + _SPARE:
        raise OutputError(
            f"{target} needs about {_megabytes(bytes_needed + _SPARE)}; "
            f"the disk has {_megabytes(free)} free. "
            "Free some space, or write to another disk."
        )


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


def split_sequence(path: PathLike) -> tuple[Path, str]:
    """Return folder and name pattern of a sequence; in a folder of its own it is `frame-0000.png` and on."""
    path = Path(path)
    return (path.parent, path.name) if PATTERN.search(path.name) else (path, "frame-%04d.png")


@contextmanager
def written(target: Path, part: Path | None = None) -> Generator[Path]:
    """Lend a hidden name beside `target` (`part`, if given); put it in place at the end, or remove it.

    The target is the old file or the complete new one at every moment, also across a power cut.
    Raises OutputError if the system refuses.
    """
    part = part or hidden(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        sync(part)
        part.replace(target)
        sync(target.parent)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # what went wrong has been said; this would be said in its place
            part.unlink(missing_ok=True)


def hidden(target: Path) -> Path:
    """Return an unused hidden name beside `target`."""
    return target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")


def sync(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _known() -> str:
    return (
        f"Clips: {', '.join(VIDEO_KINDS)}; images: {', '.join(IMAGE_KINDS)}; "
        "PNG sequence: a folder ending in '/' or a name like shot-%04d.png."
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
