"""What the options of direction are called, and which axes of the vocabulary each one answers.

The command line and scripts of several shots take the same names.
"""

from __future__ import annotations

from collections.abc import Iterable

from wan22.director.vocabulary import Term, find

OPTIONS = {
    "shot_size": ("shot_size",),
    "angle": ("camera_angle",),
    "lens": ("lens",),
    "composition": ("composition",),
    "light": ("light_source", "light_quality", "light_direction"),
    "time": ("time",),
    "tone": ("tone", "saturation", "contrast"),
    "camera": ("camera",),
    "style": ("style",),
}
"""Axes by option."""


def words(text: str | None) -> list[str]:
    """Split what stands between commas, also Chinese ones."""
    pieces = (text or "").replace("，", ",").replace("、", ",").split(",")
    return [piece.strip() for piece in pieces if piece.strip()]


def answers(option: str, given: str | Iterable[str] | None) -> list[Term]:
    """The terms that an option names: several between commas, or a list. Raises OptionError for an unknown one."""
    texts = [given] if isinstance(given, str) or given is None else given
    return [find(word, OPTIONS[option]) for text in texts for word in words(text)]
