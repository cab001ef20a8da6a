"""What a finished run hands out: LoRAs that know their expert, or a model's folder."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from wan22.catalog import to_json
from wan22.library import Model
from wan22.train.checkpoint import write_json
from wan22.train.experts import Experts
from wan22.train.recipe import Recipe
from wan22.version import __version__
from wan22.weights.dtypes import DTYPE_NAMES
from wan22.weights.lora.write import write_lora
from wan22.weights.reader import TensorInfo
from wan22.weights.writer import write_safetensors

_NAMES = {"high": "high_noise", "low": "low_noise", "dit": "transformer"}


def write_loras(recipe: Recipe, model: Model, experts: Experts, folder: Path) -> Path:
    """Write a LoRA for each expert into `folder/lora`, which is a pair if there are two, and return that folder.

    Raises OutputError.
    """
    part = recipe.adapter
    assert part is not None
    target = folder / "lora"
    for name in experts.steps:
        expert = experts.activate(name)
        assert expert.adapters is not None
        with expert.for_inference():
            write_lora(
                target / f"{_NAMES[name]}.safetensors",
                expert.adapters.factors(),
                alpha=float(part.rank if part.alpha is None else part.alpha),
                expert=name if name in ("high", "low") else None,
                dialect=part.dialect,
                metadata=_metadata(recipe, model, expert.step),
            )
    return target


def write_model(recipe: Recipe, model: Model, experts: Experts, folder: Path) -> Path:
    """Write the experts' weights, in bfloat16, into `folder/model`, and return that folder: a model that `wan22
    generate --model` takes, whose other parts are those of the model it was made from.

    Raises OutputError.
    """
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    for name in experts.steps:
        expert = experts.activate(name)
        with expert.for_inference() as network:
            tensors = network.state_dict()
            half = DTYPE_NAMES[torch.bfloat16]
            infos = {key: TensorInfo(tuple(t.shape), half, 2 * t.numel()) for key, t in tensors.items()}
            file = f"{_NAMES[name]}_model.safetensors" if name != "dit" else f"{_NAMES[name]}.safetensors"
            metadata = _metadata(recipe, model, expert.step)
            write_safetensors(
                target / file, infos, lambda key, held=tensors: held[key].detach().cpu(), metadata
            )
    others = {part: path for part, path in model.parts.items() if part not in experts.steps}
    where = {**others, "tokenizer": model.tokenizer}
    # A path that climbs out of a folder climbs out of where that folder really is.
    base = target.resolve()
    places = {part: os.path.relpath(path.resolve(), base) for part, path in where.items()}
    # Adapters for few steps were made for the weights before.
    row = {**to_json(model.variant), "name": folder.name, "parts": places, "fast": None}
    write_json(target / "variant.json", row)
    return target


def _metadata(recipe: Recipe, model: Model, step: int) -> dict[str, str]:
    table: dict[str, Any] = recipe.as_table()
    return {
        "wan22.version": __version__,
        "wan22.base": model.name,
        "wan22.step": str(step),
        "wan22.recipe": json.dumps(table, ensure_ascii=False),
    }
