"""The place where a result goes: its name, its kind, whether it can be written, whether there is room.

Everything that can be known about a target before hours of work are spent on it. It writes nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Literal

from wan22.atomic import put
from wan22.errors import OutputError
from wan22.files import LATENTS_SUFFIX, PathLike
from wan22.media.sequence_files import (
    PATTERN,
    check_free,
    is_own_folder,
    numbered,
    publish_frames,
    split_sequence,
)

IMAGE_KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
VIDEO_KINDS = {".mp4": "mp4", ".mov": "mov", ".webm": "webm", ".gif": "gif"}
SEQUENCE = "sequence"

Existing = Literal["replace", "refuse", "next"]
"""What becomes of a file that has a result's name when it is complete: it goes, or stays; "next" takes another name."""

# Bytes per pixel and frame, on the safe side: noise at the highest quality of each container.
_BYTES_PER_PIXEL = {"mp4": 0.8, "webm": 0.8, "mov": 1.2, "gif": 1.2, "png": 3.1, "jpeg": 2.0, "webp": 2.0}
_OVERHEAD = 2 << 20  # containers, indices, the recipe
_BESIDE = 32  # bytes of a name for endings of what is kept beside a result: .latents.safetensors, .unfinished
_SPARE = 16 << 20  # a disk that is full to the last byte breaks other programs
_NAME_BYTES = 255 - _BESIDE  # of a name that we make from another one


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


def tagged(path: PathLike, tag: str) -> str:
    """Return a name beside `path`: out.mp4 -> out-TAG.mp4, shots/ -> shots-TAG/, s-%04d.png -> s-TAG-%04d.png.

    A long name is shortened before the tag.
    """
    text = os.fspath(path)
    folder, _, name = text.rstrip("/").rpartition("/")
    if match := PATTERN.search(name):
        before, after = name[: match.start()].rstrip("-_"), f"-{tag}-{name[match.start() :]}"
    else:
        slash = "/" * (text.endswith("/") or Path(text).is_dir())
        before, after = Path(name).stem, f"-{tag}{Path(name).suffix}{slash}"
    new = (shortened(before, _NAME_BYTES - len(os.fsencode(after))) + after).lstrip("-")
    return f"{folder}/{new}" if folder or text.startswith("/") else new


def shortened(text: str, limit: int) -> str:
    """Return the beginning of a text that has at most `limit` bytes as a file name."""
    return os.fsencode(text)[:limit].decode("utf-8", "ignore") if len(os.fsencode(text)) > limit else text


def names(path: PathLike) -> Iterator[str]:
    """Yield `path`, then the names that are tried if it is taken: out.mp4, out-2.mp4, out-3.mp4, ..."""
    yield os.fspath(path)
    for number in count(2):
        yield tagged(path, str(number))


def is_taken(path: PathLike, *, latents: bool = True) -> bool:
    """Whether something has that name, or an image of that sequence has, or (if asked) latents were kept of it."""
    text = os.fspath(path)
    if os.path.lexists(text.rstrip("/") or "/") or (PATTERN.search(Path(text).name) and numbered(text)):
        return True
    return latents and os.path.lexists(text.rstrip("/") + LATENTS_SUFFIX)


def free(path: PathLike, *, latents: bool = True) -> str:
    """Return the first of `names` that is not taken."""
    return next(name for name in names(path) if not is_taken(name, latents=latents))


def same_file(one: PathLike, other: PathLike) -> bool:
    """Whether both names are of one file or folder that is there."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def place(
    asked: str | None, default: str, *, overwrite: bool = True, still: bool = False, latents: bool = True
) -> tuple[str, Existing]:
    """Return where a result goes, and what becomes of a file that is there: the one rule of all commands.

    Nothing `asked`: the `default` name, or the next that nothing has. A folder: the default name in it, likewise. A
    name: that one, in the place of what has it, unless not `overwrite`.

    A folder is what is one already, but for one that holds a PNG sequence of ours and nothing else; that sequence is
    replaced. A new name that ends in "/" is a new sequence; of a `still`, which is one image, a new folder.
    """
    if asked is None:
        return free(default, latents=latents), "next"
    if _is_folder(asked, still):
        name = default.rstrip("/").rpartition("/")[2] + "/" * default.endswith("/")
        return free(f"{asked.rstrip('/')}/{name}", latents=latents), "next"
    return asked, "replace" if overwrite else "refuse"


def _is_folder(asked: str, still: bool) -> bool:
    path = Path(asked)
    if path.is_dir():
        return still or not is_own_folder(path)
    return still and asked.endswith("/")


def publish_file(part: Path, path: PathLike, existing: Existing = "replace") -> str:
    """Give the complete file `part` the name `path`, or the next one, and return it. Raises OutputError if it is taken
    and is not to be replaced.
    """
    return _published(lambda name, replace: put(part, Path(name), replace=replace), path, existing)


def publish_images(frames: Sequence[Path], path: PathLike, existing: Existing = "replace") -> str:
    """Give images of ours, in order, the names of a sequence, as `publish_file`."""
    return _published(lambda name, replace: publish_frames(frames, name, replace=replace), path, existing)


def _published(give: Callable[[str, bool], None], path: PathLike, existing: Existing) -> str:
    if existing == "replace":
        give(os.fspath(path), True)
        return os.fspath(path)
    for name in names(path):
        try:
            give(name, False)
        except FileExistsError as error:
            if existing == "refuse":
                raise OutputError(
                    f"{path} came to be while the work was done, and is left. Choose another name."
                ) from error
        else:
            return name
    raise AssertionError("names do not end")


def estimate_bytes(size: tuple[int, int], frames: int, path: PathLike) -> int:
    """Return how many bytes `frames` images of `size` (width, height) need at most, about, at `path`."""
    kind = target_kind(path)
    per_pixel = _BYTES_PER_PIXEL["png" if kind == SEQUENCE else kind]
    return _OVERHEAD + int(size[0] * size[1] * frames * per_pixel)


def check_output(
    path: PathLike, *, bytes_needed: int, overwrite: bool = True, kind: str | None = None
) -> None:
    """Make sure, before any expensive work, that `bytes_needed` can be written to `path`.

    `kind` is what will be written, where `target_kind` does not tell it.

    Raises OutputError if the format is unknown, the folder is not there and cannot be made, is not writable,
    the disk has no room, or (unless `overwrite`) the file exists.
    """
    kind = kind or target_kind(path)
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
        ) from OSError(errno.ENOSPC, "the disk has no room")


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
