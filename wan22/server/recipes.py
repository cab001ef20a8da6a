"""The recipe in a file, or of a job, as what a form of the studio holds: ours, ComfyUI's, A1111's or Wan2GP's."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from wan22.catalog import ALIASES
from wan22.server.child import ask, in_turn
from wan22.server.native import Id
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState
from wan22.server.uploads import InputId

router = APIRouter(prefix="/v1", tags=["inputs"])

Source = Literal["wan22", "comfyui", "a1111", "wan2gp"]


class RecipeView(BaseModel):
    """What a file was made with. `request`: fields of a job of kind `kind`, as this server takes them.

    `files`: what it began with, by field: a name, not yet an input. `unknown`: what was said beside that; `notes` why.
    """

    model_config = ConfigDict(populate_by_name=True)

    source: Source = Field(alias="from")
    kind: str
    request: dict[str, Any]
    files: dict[str, str]
    unknown: dict[str, Any]
    notes: list[str]


@router.get("/inputs/{id}/recipe", summary="The recipe in a file that was sent")
async def input_recipe(id: InputId, app: App) -> RecipeView:
    """What a file says of how it was made; 404 if it says nothing. Nothing that it names is opened."""

    def found() -> RecipeView:
        row = app.store.input(id)
        said = ask("recipe", app.folder.input(row.id), row.name)["recipe"]
        if said is None:
            raise Refusal(404, "no_recipe", f"{row.name} carries no recipe that is known")
        return _view(
            app, said, "image" if (row.type or "").startswith("image/") and row.frames is None else "video"
        )

    return await in_turn(found)


@router.get("/jobs/{id}/recipe", summary="The recipe of a job", tags=["jobs"])
def job_recipe(id: Id, app: App) -> RecipeView:
    """What a job was asked, with the seed that it took; its inputs are those of this server."""
    job = app.store.job(id)
    said = (job.result or {}).get("recipe")
    request = dict(job.request)
    if isinstance(said, dict) and isinstance(seed := said.get("seed"), int):
        request.setdefault("seed", seed)
    return RecipeView(source="wan22", kind=job.kind, request=request, files={}, unknown={}, notes=[])


def _view(app: AppState, said: dict[str, Any], kind: str) -> RecipeView:
    request, unknown, notes = dict(said["request"]), dict(said["unknown"]), list(said["notes"])
    _add_loras(app, said["loras"], request, unknown)
    models = [name for each in said["models"] if (name := model_of(each)) is not None]
    here = next((name for name in models if name in app.checker.models), None)
    if here is not None:
        request["model"] = here
    if said["models"] and here is None:
        unknown["model"] = said["models"]
        notes.append(f"made with {', '.join(said['models'][:4])}, which this server does not offer")
    for name, file in said["files"].items():
        notes.append(f"made from {file or 'a file'} ({name}), which is not in the file: give it again")
    return RecipeView(
        source=said["source"], kind=kind, request=request, files=said["files"], unknown=unknown, notes=notes
    )


def _add_loras(
    app: AppState, loras: list[list[Any]], request: dict[str, Any], unknown: dict[str, Any]
) -> None:
    """LoRAs by the names that the operator gave the files that are called so."""
    named = {PurePath(path).stem.lower(): name for name, path in app.checker.operator.loras.items()}
    found = []
    for file, strength, expert in loras:
        stem = re.sub(r"\.(safetensors|pt|ckpt|gguf)$", "", file, flags=re.IGNORECASE).lower()
        name = named.get(stem) or next((n for n in app.checker.operator.loras if n.lower() == stem), None)
        said = f":{strength:g}" + (f"@{expert}" if expert else "")
        if name is None:
            unknown[f"lora {file}"] = said.removeprefix(":")
        else:
            found.append(name + said)
    if found:
        request["lora"] = found


def model_of(name: str) -> str | None:
    """The model of the catalogue that the name of a file of weights, or of a model, means."""
    from wan22.catalog import rows

    if name in rows() or name in ALIASES:
        return ALIASES.get(name, name)
    plain = re.sub(r"[^a-z0-9]+", "", name.lower())
    for parts, model in (
        (("ti2v",), "ti2v-5B"), (("s2v",), "s2v-14B"), (("animate",), None), (("i2v", "14b"), "i2v-A14B"),
        (("i2v", "a14b"), "i2v-A14B"), (("t2v", "14b"), "t2v-A14B"),
    ):  # fmt: skip
        if all(part in plain for part in parts):
            return model if model in rows() else None
    return None
