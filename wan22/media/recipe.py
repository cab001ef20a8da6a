"""The recipe in a file: a JSON-able dict that travels inside a video, an image or a sequence of images."""

from __future__ import annotations

from typing import Any

from wan22.files import PathLike
from wan22.media import image
from wan22.media.file_types import IMAGES, file_type
from wan22.media.opening import open_clip
from wan22.media.recipe_text import (
    RECIPE_KEY,
    RECIPE_LIMIT,
    FrameHasher,
    dump_comment,
    dump_recipe,
    frames_hash,
    parse_recipe,
)
from wan22.media.sequence import first_of, is_sequence

__all__ = [
    "RECIPE_KEY",
    "RECIPE_LIMIT",
    "FrameHasher",
    "dump_comment",
    "dump_recipe",
    "frames_hash",
    "read_recipe",
]


def read_recipe(path: PathLike) -> dict[str, Any] | None:
    """Return the recipe in a mp4, mov, webm, gif, png, jpg, webp or PNG sequence; None if it has none.

    Of a sequence (a folder, or a name like `shot-%04d.png`) the first image carries it.
    Raises MediaError if the file cannot be read, or if its recipe is damaged.
    """
    if is_sequence(path):
        path = first_of(path)
    kind = file_type(path)
    text = image.recipe_text(path) if kind in IMAGES else _video_text(path)
    return None if text is None else parse_recipe(text, path)


def _video_text(path: PathLike) -> str | None:
    with open_clip(path) as container:
        # Matroska writers put tag names in capitals.
        return next((value for key, value in container.metadata.items() if key.lower() == RECIPE_KEY), None)
