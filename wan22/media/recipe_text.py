"""A recipe as text, and the hash of a video's pixels that it holds.

It knows how a recipe is spelt in each container, not what is in it. The text is JSON in plain ASCII
(other letters as \\u escapes), which every container, tool and code page leaves alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from wan22.errors import MediaError, OutputError
from wan22.files import PathLike, parse_object

RECIPE_KEY = "wan22"
"""Name of the metadata entry in mp4, mov, webm and PNG."""

RECIPE_LIMIT = 1_000_000
"""Longest recipe in bytes of JSON. Readers of PNG refuse text of more than 1 MiB."""

PREFIX = f"{RECIPE_KEY}:"  # marks our text where a container has one nameless comment (GIF, JPEG, WebP)
IMAGE_DESCRIPTION = 0x010E  # Exif 2.3, table 4


def dump_recipe(recipe: dict[str, Any]) -> str:
    """Spell a recipe as JSON in ASCII.

    Raises OutputError if it is longer than `RECIPE_LIMIT`, TypeError or ValueError if it is not JSON-able
    (a tensor, an array, NaN).
    """
    text = json.dumps(recipe, allow_nan=False, separators=(",", ":"))
    if len(text) > RECIPE_LIMIT:
        raise OutputError(
            f"the recipe is {len(text):,} bytes long; a file carries at most {RECIPE_LIMIT:,}. "
            "Shorten the prompt."
        )
    return text


def dump_comment(recipe: dict[str, Any]) -> bytes:
    """Spell a recipe for containers that have one nameless comment."""
    return (PREFIX + dump_recipe(recipe)).encode("ascii")


def parse_recipe(text: str, path: PathLike) -> dict[str, Any]:
    """Read a recipe as it is spelt in the file at `path`. Raises MediaError, naming the file, if it is damaged."""
    return parse_object(text, f"{path} carries a damaged recipe, which", MediaError)


class FrameHasher:
    """SHA-256 of a video's pixels, taken as the frames pass; how they are cut into pieces is no matter."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._shape: tuple[int, ...] | None = None
        self.frames = 0

    def update(self, frames: np.ndarray) -> None:
        """Add uint8 frames (T, H, W, 3); every piece must have the same H and W (ValueError)."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), not {frames.dtype} {frames.shape}")
        if self._shape not in (None, frames.shape[1:]):
            raise ValueError(f"frames of {frames.shape[1:]} after frames of {self._shape}")
        self._shape = frames.shape[1:]
        self.frames += len(frames)
        self._hash.update(np.ascontiguousarray(frames).data)

    def hexdigest(self) -> str:
        """Return the hash of all frames so far and of their shape."""
        total = self._hash.copy()
        total.update(repr((self.frames, *(self._shape or ()))).encode("ascii"))
        return total.hexdigest()


def frames_hash(frames: np.ndarray) -> str:
    """Return the SHA-256 (hex) of uint8 frames (T, H, W, 3) and of their shape."""
    hasher = FrameHasher()
    hasher.update(frames)
    return hasher.hexdigest()
