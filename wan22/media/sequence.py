"""A clip as numbered images: `shots/` with frame-0000.png and on, or a name like `shot-%04d.png`."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from wan22.errors import MediaError
from wan22.media.file_types import PathLike
from wan22.media.image import recipe_text
from wan22.media.recipe_text import parse_recipe
from wan22.media.sequence_files import PATTERN, numbered, split_sequence, unfinished_note


def is_sequence(path: PathLike) -> bool:
    """Whether a path names numbered images: a folder, or a name with a number pattern that is no file itself."""
    path = Path(path)
    return path.is_dir() or (PATTERN.search(path.name) is not None and not path.exists())


def images_of(path: PathLike) -> list[Path]:
    """The images of a sequence in order. Raises MediaError if there is none, or if a number between is missing."""
    found = numbered(path)
    folder, name = split_sequence(path)
    if unfinished_note(path).exists():
        raise MediaError(
            f"{path} is half a sequence: writing it was interrupted. Make it again, under the same name or another."
        )
    if not found:
        raise MediaError(
            f"{path} holds no images named like {name}. Name them as they are{_example(folder)}."
        )
    before, after = PATTERN.split(name)
    numbers = [int(each.name[len(before) : len(each.name) - len(after)]) for each in found]
    for number, (earlier, later) in enumerate(pairwise(numbers)):
        if later != earlier + 1:
            raise MediaError(f"{path}: {found[number].name} is followed by {found[number + 1].name}.")
    return found


def first_of(path: PathLike) -> Path:
    """The first image of a sequence, which carries its recipe. Raises MediaError as `images_of` does."""
    return images_of(path)[0]


def _example(folder: Path) -> str:
    """The pattern of the numbered images that a folder does hold; one made up if there are none."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := re.fullmatch(
            r"([^%]*?)(\d+)([^%\d]*\.(?:png|jpe?g|webp|bmp|tiff?))", entry.name, re.IGNORECASE
        ):
            digits = len(match[2])
            number = f"%0{digits}d" if digits > 1 else "%d"
            return f": {folder / f'{match[1]}{number}{match[3]}'}"
    return f", such as {folder / 'shot-%03d.png'}"


def rate_of(path: PathLike, fps: float | None) -> float:
    """Frames a second: as given, else as the recipe in the first image says.

    Raises MediaError if neither tells: images have no rate of their own.
    """
    told = fps
    if told is None:
        first = first_of(path)
        text = recipe_text(first)
        told = None if text is None else parse_recipe(text, first).get("fps")
    if told is None:
        raise MediaError(f"{path} is a sequence of images, which has no rate of its own. Give --fps.")
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 < told <= 1000:
        raise MediaError(f"{path} cannot have {told!r} frames a second: more than 0, at most 1000.")
    return float(told)
