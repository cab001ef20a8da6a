"""`wan22 show`: the recipe in a video, an image, or a latents file, and who signed it."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.errors import MediaError
from wan22.production import rerender
from wan22.production.publish import LATENTS_SUFFIX, read_latents_recipe

if TYPE_CHECKING:
    from wan22.production.imported import Import


def show(
    file: Annotated[
        str, typer.Argument(help="A video, image, latents file or workflow.", show_default=False)
    ],
    json: o.Json = False,
) -> None:
    """Show the recipe inside a video or image, and what says that a model made it.

    Prompt, seed, every setting, the hashes of the weights, versions; who signed the file, and whether it was changed
    since (docs/provenance.md). Of a workflow of ComfyUI, or what it made: what `generate --from` would make, and what
    it leaves out.
    """
    told = read_latents_recipe(file)[0] if file.endswith(LATENTS_SUFFIX) else _read(file)
    report.answer(json).result(told, _lines(told))


def _read(file: str) -> dict[str, Any]:
    """The recipe of a video or image with its provenance; of another program's, that alone if it has one."""
    from wan22.media import provenance
    from wan22.media.recipe import read_recipe
    from wan22.media.sequence import first_of, is_sequence
    from wan22.production import workflow

    if file.lower().endswith(".json"):
        return _foreign(workflow.read(file))
    try:
        found = provenance.read(first_of(file) if is_sequence(file) else file)
    except MediaError:
        found = None  # who reads the recipe says what is wrong with it
    if read_recipe(file) is None and (other := workflow.read(file)) is not None:
        recipe = _foreign(other)
    elif found is None:
        return rerender.read(file)
    else:
        recipe = {} if read_recipe(file) is None else rerender.read(file)
    return recipe if found is None else recipe | {"provenance": found.as_json()}


def _foreign(found: Import | None) -> dict[str, Any]:
    """What another program's file asks for, by our names, and what of it is left out."""
    if found is None:
        return {}
    told = {"made_by": found.source, "task": found.task} | found.request
    told |= {"models": found.parts or found.models, "files": found.files}
    told["loras"] = [
        f"{file}:{strength:g}" + (f"@{expert}" if expert else "") for file, strength, expert in found.loras
    ]
    told["impossible"] = found.impossible
    told["left_out"] = {str(at): line for at, line in enumerate(found.left(), 1)}
    return {name: value for name, value in told.items() if value not in (None, [], {})}


def _lines(entries: dict[str, Any], indent: int = 0) -> Iterator[str]:
    """A recipe's entries; those of a nested object under it."""
    for name, value in entries.items():
        if isinstance(value, dict):
            yield f"{'':{indent}}{name}"
            yield from _lines(value, indent + 2)
            continue
        text = value if isinstance(value, str) else jsonlib.dumps(value, ensure_ascii=False)
        yield f"{'':{indent}}{name:{max(18 - indent, 1)}} {text}"
