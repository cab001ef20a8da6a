"""`wan22 show`: the recipe in a video, an image, or a latents file."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer

from wan22.cli import options as o
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
    if json:
        print(jsonlib.dumps(recipe))
        return
    for name, value in recipe.items():
        print_entry(name, value)


def print_entry(name: str, value: Any, indent: int = 0) -> None:
    """Print one entry of a recipe; those of a nested object under it."""
    if isinstance(value, dict):
        print(f"{'':{indent}}{name}")
        for inner, content in value.items():
            print_entry(inner, content, indent + 2)
        return
    text = value if isinstance(value, str) else jsonlib.dumps(value, ensure_ascii=False)
    print(f"{'':{indent}}{name:{18 - indent}} {text}")
