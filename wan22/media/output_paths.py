"""The place where a result goes: its kind, whether it can be written, whether there is room.

Everything that can be known about a target before hours of work are spent on it. It writes nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from wan22.errors import OutputError
from wan22.files import PathLike
from wan22.media.sequence_files import PATTERN, check_free, split_sequence

IMAGE_KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
VIDEO_KINDS = {".mp4": "mp4", ".mov": "mov", ".webm": "webm", ".gif": "gif"}
SEQUENCE = "sequence"

# Bytes per pixel and frame, on the safe side: noise at the highest quality of each container.
_BYTES_PER_PIXEL = {"mp4": 0.8, "webm": 0.8, "mov": 1.2, "gif": 1.2, "png": 3.1, "jpeg": 2.0, "webp": 2.0}
_OVERHEAD = 2 << 20  # containers, indices, the recipe
_BESIDE = 32  # bytes of a name for endings of what is kept beside a result: .latents.safetensors, .unfinished
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
    folder = split_sequence(path)[0] if kind == SEQUENCE else target.parent
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise OutputError(f"{target} cannot be written: {there} is a file, not a folder.")
    _check_names(target, there)
    if kind == SEQUENCE:
        check_free(path, overwrite=overwrite)
    elif target.is_dir():
        raise OutputError(f"{target} is a folder, not a file. Choose another name.")
    elif os.path.lexists(target) and not overwrite:
        raise OutputError(f"{target} exists already. Choose another name, or allow overwriting.")
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


def _check_names(target: Path, there: Path) -> None:
    """Raise OutputError for a name that the disk of the folder `there` cannot hold, with what is kept beside it."""
    try:
        longest = os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError):
        longest = 255
    for name in target.parts:
        if len(os.fsencode(name)) > longest - _BESIDE:
            raise OutputError(
                f"the name {name[:40]}... has {len(os.fsencode(name))} bytes; at most {longest - _BESIDE} "
                "can be written. Choose a shorter one."
            )


def _known() -> str:
    return (
        f"Clips: {', '.join(VIDEO_KINDS)}; images: {', '.join(IMAGE_KINDS)}; "
        "PNG sequence: a folder ending in '/' or a name like shot-%04d.png."
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
