"""What a finished run hands out: LoRAs that know their expert, or a model's folder."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from wan22.atomic import written_folder
from wan22.catalog import to_json
from wan22.library import Model
from wan22.train.checkpoint import write_json
from wan22.train.experts import Experts
from wan22.train.recipe import Recipe
from wan22.train.world import ALONE, World
from wan22.version import __version__
from wan22.weights.dtypes import DTYPE_NAMES
from wan22.weights.lora.write import write_lora
from wan22.weights.reader import TensorInfo
from wan22.weights.writer import write_safetensors

_NAMES = {"high": "high_noise", "low": "low_noise", "dit": "transformer"}


_ROWS = ("variant.json", "fast.json")
_VERSION = "wan22.version"


@contextmanager
def exported(target: Path) -> Generator[Path]:
    """Lend a hidden folder that gets the name `target` when all is in it.

    Of a folder that is there, the files of a former export go; a person's come into the new one. Raises OutputError.
    """
    with written_folder(target.resolve(), replace=_is_exported) as folder:
        yield folder


def _is_exported(path: Path) -> bool:
    if path.name in _ROWS:
        return path.is_file()
    try:
        with safe_open(path, "pt") as file:
            return _VERSION in (file.metadata() or {})
    except Exception:  # safetensors raises several kinds; what it does not read we did not write
        return False


def write_loras(recipe: Recipe, model: Model, experts: Experts, folder: Path, world: World = ALONE) -> Path:
    """Write a LoRA for each expert into `folder/lora`, which is a pair if there are two, and return that folder.

    Raises OutputError.
    """
    part = recipe.adapter
    assert part is not None
    target = folder / "lora"
    with world.leading(lambda: exported(target), target) as whole:
        for name in experts.steps:
            expert = experts.activate(name)
            assert expert.adapters is not None
            with expert.for_inference():
                factors = {
                    layer: (world.whole(down), world.whole(up))
                    for layer, (down, up) in expert.adapters.factors().items()
                }
                world.first(
                    partial(
                        write_lora,
                        whole / f"{_NAMES[name]}.safetensors",
                        factors,
                        alpha=float(part.rank if part.alpha is None else part.alpha),
                        expert=name if name in ("high", "low") else None,
                        dialect=part.dialect,
                        metadata=_metadata(recipe, model, expert.step),
                    )
                )
    return target


def write_model(recipe: Recipe, model: Model, experts: Experts, folder: Path, world: World = ALONE) -> Path:
    """Write the experts' weights, in bfloat16, into `folder/model`, and return that folder: a model that `wan22
    generate --model` takes, whose other parts are those of the model it was made from.

    Raises OutputError.
    """
    target = folder / "model"
    with world.leading(lambda: exported(target), target) as whole:
        for name in experts.steps:
            expert = experts.activate(name)
            with expert.for_inference() as network:
                _write_network(whole, name, network, _metadata(recipe, model, expert.step), world)
        world.first(
            lambda: write_json(whole / "variant.json", _row(model, experts, folder.name, target.resolve()))
        )
    return target


def _write_network(
    folder: Path, name: str, network: nn.Module, metadata: dict[str, str], world: World
) -> None:
    """Write a network tensor by tensor: of one that lies on several devices, no more than a tensor is whole."""
    tensors = network.state_dict()
    half = DTYPE_NAMES[torch.bfloat16]
    infos = {key: TensorInfo(tuple(t.shape), half, 2 * t.numel()) for key, t in tensors.items()}
    file = f"{_NAMES[name]}_model.safetensors" if name != "dit" else f"{_NAMES[name]}.safetensors"

    def read(key: str) -> torch.Tensor:
        return world.whole(tensors[key].detach()).cpu()

    if world.leads:
        write_safetensors(folder / file, infos, read, metadata)
    else:
        for key in infos:
            read(key)


def _row(model: Model, experts: Experts, name: str, base: Path) -> dict[str, Any]:
    """The row of a model at `base` whose other parts are those of `model`."""
    others = {part: path for part, path in model.parts.items() if part not in experts.steps}
    where = {**others, "tokenizer": model.tokenizer}
    # A path that climbs out of a folder climbs out of where that folder really is.
    places = {part: os.path.relpath(path.resolve(), base) for part, path in where.items()}
    # Adapters for few steps were made for the weights before.
    return {**to_json(model.variant), "name": name, "parts": places, "fast": None}


def _metadata(recipe: Recipe, model: Model, step: int) -> dict[str, str]:
    table: dict[str, Any] = recipe.as_table()
    return {
        _VERSION: __version__,
        "wan22.base": model.name,
        "wan22.step": str(step),
        "wan22.recipe": json.dumps(table, ensure_ascii=False),
    }
