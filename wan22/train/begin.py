"""Stages: a recipe that begins from what another one made, its whole model or its LoRAs.

A stage may have other sizes, lengths, noise and clips, and another model whose networks have tensors of the same names
and shapes: speech to video begins with the blocks of a model of video, and with its own parts for audio. What both have
is taken over; a model of one network begins from the low-noise expert of a pair, which works at most noise levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wan22.errors import CheckpointError, OptionError
from wan22.library import open_model
from wan22.models.dit import WanDiT
from wan22.train.adapt import Adapters
from wan22.train.recipe import Recipe, read_recipe
from wan22.weights.lora.file import open_adapters
from wan22.weights.reader import open_reader


@dataclass(frozen=True)
class Beginning:
    """What a stage begins from: a file for each expert that it trains, LoRAs or whole networks."""

    folder: Path
    lora: bool
    files: Mapping[str, Path]

    def take_over(self, name: str, network: WanDiT) -> int:
        """Let a network have the tensors of its expert's file, where names and shapes agree; return how many.

        On the meta device nothing is read. Raises CheckpointError if not even the blocks agree.
        """
        own = network.state_dict()
        with open_reader(self.files[name]) as reader:
            same = [key for key, info in reader.infos.items() if key in own and own[key].shape == info.shape]
            blocks = {key for key in own if key.startswith("blocks.")}
            if other := sorted(blocks - set(same)):
                raise CheckpointError(
                    f"begin_from: {self.files[name]} is of another network than the expert {name!r}: {len(other)} "
                    f"tensors of its blocks have other names or shapes, such as {other[0]}"
                )
            for key in same:
                if not own[key].is_meta:
                    own[key].copy_(reader.read(key))
        return len(same)

    def factors(self, name: str, scale: float) -> dict[str, tuple[Tensor, Tensor]]:
        """The factors (down, up) of an expert's LoRA, by official parameter name, for layers of this scale."""
        (adapter,) = open_adapters(self.files[name])
        found = {}
        with open_reader(adapter.path) as reader:
            for parameter, changes in adapter.changes.items():
                (change,) = changes
                found[parameter] = change.pair(reader, 1 / scale)
        return found


def beginning(recipe: Recipe, experts: tuple[str, ...]) -> Beginning | None:
    """What a recipe begins from; None: from its model. Raises OptionError or CheckpointError if that is not there."""
    if recipe.begin_from is None:
        return None
    folder = recipe.path(recipe.begin_from)
    if folder.is_file():
        other = read_recipe(folder)
        folder = other.path(other.output)
    lora, model = folder / "lora", folder / "model"
    if model.is_dir():
        found = Beginning(model, False, open_model(str(model)).parts)
    elif lora.is_dir():
        if recipe.adapter is None:
            raise OptionError(
                f"begin_from: {lora} holds LoRAs, which are continued by a recipe with an [adapter] section"
            )
        made = {adapter.expert or "dit": adapter.path for adapter in open_adapters(lora)}
        found = Beginning(lora, True, made)
    else:
        raise CheckpointError(
            f'begin_from = "{recipe.begin_from}": there is neither {model} nor {lora}; train that one to its end first'
        )
    files = {name: _file_for(name, found) for name in experts}
    return Beginning(found.folder, found.lora, files)


def _file_for(name: str, found: Beginning) -> Path:
    for able in (name, "low") if name == "dit" else (name,):
        if able in found.files:
            return found.files[able]
    raise CheckpointError(
        f"begin_from: {found.folder} has {', '.join(sorted(found.files))}, and nothing for the expert {name!r}"
    )


def begin(found: Beginning | None, name: str, recipe: Recipe, adapters: Adapters | None) -> None:
    """Let adapters go on from the LoRA that a recipe begins from, if it does."""
    if found is None or not found.lora or adapters is None or recipe.adapter is None:
        return
    rank, alpha = recipe.adapter.rank, recipe.adapter.alpha
    adapters.load(found.factors(name, (rank if alpha is None else alpha) / rank))
