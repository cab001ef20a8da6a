"""`wan22 show`: the recipe in a video, an image, or a latents file."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.production import rerender
from wan22.production.publish import LATENTS_SUFFIX, read_latents_recipe


def show(
    file: Annotated[str, typer.Argument(help="A video, image or latents file.", show_default=False)],
    json: o.Json = False,
) -> None:
    """Show the recipe inside a video or image.

    Prompt, seed, every setting, the hashes of the weights, versions.
    """
    recipe = read_latents_recipe(file)[0] if file.endswith(LATENTS_SUFFIX) else rerender.read(file)
    report.answer(json).result(recipe, _lines(recipe))


def _lines(entries: dict[str, Any], indent: int = 0) -> Iterator[str]:
    """A recipe's entries; those of a nested object under it."""
    for name, value in entries.items():
        if isinstance(value, dict):
            yield f"{'':{indent}}{name}"
            yield from _lines(value, indent + 2)
            continue
        text = value if isinstance(value, str) else jsonlib.dumps(value, ensure_ascii=False)
        yield f"{'':{indent}}{name:{max(18 - indent, 1)}} {text}"
