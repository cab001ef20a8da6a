"""Dataset files of other trainers: musubi-tuner's ([general], [[datasets]]) and diffusion-pipe's ([[directory]]).

What they say of size, length and repeats holds for their clips, in place of the plan's. What is decided elsewhere here
(batches, buckets, caches) is passed over; what would change the result and is not done is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wan22.catalog import Size
from wan22.errors import OptionError
from wan22.files import parse_toml, read_bytes, reading
from wan22.train.data.found import CLIPS, FOREIGN, IMAGES, MEDIA, Found, decode, read_folder
from wan22.train.data.plan import MAX_FRAMES
from wan22.train.data.tables import read_table

_FOLDERS = {"video_directory": CLIPS | FOREIGN, "image_directory": IMAGES | FOREIGN, "path": MEDIA}
_TABLES = ("video_jsonl_file", "image_jsonl_file")
_DIFFERS = {
    "source_fps": "the times within each clip are used",
    "frame_sample": "long clips are cut from their beginning on",
    "frame_stride": "long clips are cut into pieces that do not overlap",
    "control_directory": "control clips are not trained here",
    "bucket_no_upscale": "clips are enlarged up to twice",
}
_PASSED = {
    "batch_size", "enable_bucket", "cache_directory", "skip_corrupted_cache", "debug_dataset",
    "enable_ar_bucket", "ar_buckets", "min_ar", "max_ar", "num_ar_buckets",
}  # fmt: skip
"""Decided elsewhere here: batches, shapes of buckets, caches."""
_READ = {"num_repeats", "resolution", "target_frames", "frame_extraction", "caption_extension", "subsets"}
_TOP = {"general", "datasets", "directory", "frame_buckets"}
_MAX_REPEATS = 1000


def read_toml(path: Path, found: Found) -> None:
    """Add the clips that a dataset file names. Raises OptionError if it is no TOML or names no dataset."""
    with reading(path, OptionError, "is no dataset file"):
        values = parse_toml(
            decode(read_bytes(path, OptionError, limit=1_000_000)),
            f"{path} is no dataset file: it",
            OptionError,
        )
        blocks = list(_blocks(values))
    if not blocks:
        raise OptionError(f"{path} names no dataset. Write [[datasets]] with video_directory and resolution.")
    for number, block in enumerate(blocks, 1):
        _read_block(block, path, f"dataset {number}", found)
    known = {*_FOLDERS, *_TABLES, *_DIFFERS, *_READ}
    strange = {*(values.keys() - _TOP), *(name for block in blocks for name in block.keys() - known)}
    for name in sorted(strange - _PASSED):
        found.note(path, f"{name} is not followed", "It is not known here: check its spelling, or remove it.")


def _blocks(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    general = values.get("general", {})
    for block in values.get("datasets", ()):
        for part in block.get("subsets", ({},)):
            yield {**general, **block, **part}
    shared = {"target_frames": values.get("frame_buckets")}
    for block in values.get("directory", ()):
        yield {**shared, "frame_extraction": "chunk", **block}


def _read_block(block: Mapping[str, Any], path: Path, where: str, found: Found) -> None:
    place = f"{path}, {where}"
    for name in (*_FOLDERS, *_TABLES, "caption_extension", "frame_extraction"):
        if not isinstance(block.get(name, ""), str):
            raise OptionError(f"{place}: {name} must be a text, not {block[name]!r}")
    says: dict[str, Any] = {
        "repeats": _repeats(block.get("num_repeats", 1), place),
        "size": _size(block.get("resolution"), place),
        "frames": _frames(block.get("target_frames"), place),
        "head": block.get("frame_extraction", "head") == "head",
    }
    for name in sorted(_DIFFERS.keys() & block.keys()):
        if block[name]:
            found.note(place, f"{name} is not followed", f"Here {_DIFFERS[name]}.")
    if (way := block.get("frame_extraction", "head")) not in ("head", "chunk"):
        found.note(
            place, f"frame_extraction {way!r} is not followed", "Here long clips are cut, as with 'chunk'."
        )
    named = [name for name in (*_FOLDERS, *_TABLES) if block.get(name)]
    if not named:
        known = ", ".join(("video_directory", "image_directory", *_TABLES))
        found.refuse(place, "names no clips", f"Give it one of {known}.")
    for name in named:
        target = _located(block[name], path.parent)
        if target is None:
            found.refuse(place, f"{name} {block[name]} is not there", f"It was looked for in {path.parent}.")
        elif name in _TABLES:
            read_table(target, found, **says)
        else:
            read_folder(target, found, _FOLDERS[name], block.get("caption_extension") or ".txt", **says)


def _located(name: str, folder: Path) -> Path | None:
    """A path beside the file, or from where the program runs, as musubi-tuner takes it."""
    try:
        return next((path for path in (folder / name, Path(name)) if path.exists()), None)
    except (OSError, ValueError):  # a name that no file can have
        return None


def _repeats(value: Any, place: str) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_REPEATS:
        raise OptionError(
            f"{place}: num_repeats must be a whole number from 1 to {_MAX_REPEATS}, not {value!r}"
        )
    return value


def _size(value: Any, place: str) -> Size | None:
    if value is None:
        return None
    pair = [value, value] if type(value) is int else value
    if not isinstance(pair, list) or len(pair) != 2 or any(type(v) is not int or v < 16 for v in pair):
        raise OptionError(f"{place}: resolution must be [width, height] from 16 pixels on, not {value!r}")
    return pair[0], pair[1]


def _frames(value: Any, place: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    counts = value if isinstance(value, list) else [value]
    if not counts or any(type(v) is not int or not 1 <= v <= MAX_FRAMES for v in counts):
        raise OptionError(
            f"{place}: target_frames must be whole numbers from 1 to {MAX_FRAMES}, not {value!r}"
        )
    return tuple(sorted({(count - 1) // 4 * 4 + 1 for count in counts}))  # as musubi-tuner: down to 4n + 1
