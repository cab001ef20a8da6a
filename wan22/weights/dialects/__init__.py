"""All dialects, by part. To add one: write a file with its table, and put a line here."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from wan22.weights.dialects import clip, comfy, diffusers, gguf, official, wav2vec2
from wan22.weights.dialects.table import Dialect

# The more particular comes first: the text names of ComfyUI are those of transformers and one more.
DIALECTS: dict[str, tuple[Dialect, ...]] = {
    "dit": (official.DIT, comfy.DIT, comfy.DIT_SHORT, diffusers.DIT),
    "vae": (official.VAE_2_1, official.VAE_2_2, *diffusers.VAE_2_1, *diffusers.VAE_2_2),
    "text": (official.TEXT, comfy.TEXT, diffusers.TEXT, gguf.TEXT),
    "audio": wav2vec2.AUDIO,
    "image": clip.IMAGE,
}

ALL = tuple(dialect for dialects in DIALECTS.values() for dialect in dialects)

__all__ = ["ALL", "DIALECTS", "Dialect", "dialects_in"]


def dialects_in(names: Mapping[str, Any]) -> list[Dialect]:
    """Every dialect that these tensor names are in, also behind a prefix that stands before all of its names.

    A file with several networks is in several dialects, of different parts.
    """
    known = {(dialect.part, dialect.prefix) for dialect in ALL if dialect.prefix}
    found = []
    for dialect in ALL:
        here = (dialect, *_prefixed(dialect, names)) if not dialect.prefix else (dialect,)
        found += [d for d in here if d.matches(names) and (d is dialect or (d.part, d.prefix) not in known)]
    return found


def _prefixed(dialect: Dialect, names: Mapping[str, Any]) -> Iterator[Dialect]:
    """The dialect behind each prefix that its first mark has in these names."""
    mark = f".{dialect.marks[0]}"
    for name in names:
        if name.endswith(mark):
            yield replace(dialect, prefix=name[: -len(mark) + 1])
