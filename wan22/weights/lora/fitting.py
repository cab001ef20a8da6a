"""Fit LoRAs to a model: which file changes which expert, how strongly; refuse what does not belong together.

All of it is said from headers alone, before a weight of the model is read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wan22.arch import DiTArch
from wan22.catalog import EMBEDDED, EMBEDDED_SPEECH, VARIANTS, from_json
from wan22.errors import CheckpointError, KeysError, OptionError, choose
from wan22.weights.edits.lora import AddLoRAs, Source
from wan22.weights.fingerprint import fingerprint
from wan22.weights.lora import names
from wan22.weights.lora.file import Adapter, open_adapters
from wan22.weights.reader import open_reader, read_json

if TYPE_CHECKING:
    from wan22.weights.load import Edit

EXPERTS = ("high", "low")


@dataclass(frozen=True)
class LoRA:
    """A LoRA to load: a file, or a folder with a file for each expert.

    strength: factor of what it adds; 1 is as trained, negative values subtract.
    expert: "high" or "low"; None is the one that the file names, else both.
    skip: modules of the network to leave unchanged, by the first part of their names, such as ("patch_embedding",)
    for a LoRA of a text-to-video model on an image-to-video model.
    """

    path: str | os.PathLike[str]
    strength: float = 1.0
    expert: str | None = None
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Use:
    """One adapter on one network of a model."""

    adapter: Adapter
    expert: str
    strength: float
    fingerprint: str
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """The LoRAs of a model, checked. `notices` say in words what is applied to what, and what people may not expect."""

    uses: tuple[Use, ...] = ()
    notices: tuple[str, ...] = ()

    def on(self, expert: str) -> tuple[Use, ...]:
        """What changes one expert, in an order that does not depend on who was named first."""
        return tuple(sorted((u for u in self.uses if u.expert == expert), key=lambda use: use.fingerprint))

    def recipe(self) -> dict[str, dict[str, Any]]:
        """For each file: its name, its fingerprint, and its strength for each expert, as JSON values."""
        entries: dict[str, dict[str, Any]] = {}
        for use in self.uses:
            file, label, count = use.adapter.path.name, use.adapter.path.name, 1
            said = {"file": file, "weights": use.fingerprint} | ({"skip": list(use.skip)} if use.skip else {})
            while label in entries and not said.items() <= entries[label].items():
                count += 1
                label = f"{file} ({count})"
            entry = entries.setdefault(label, said)
            entry[use.expert] = use.strength
        return entries


@contextmanager
def merging(uses: Sequence[Use]) -> Generator[Edit]:
    """Lend the edit that adds all of this to the weights of a network while they load."""
    with ExitStack() as stack:
        yield AddLoRAs(
            [
                Source(stack.enter_context(open_reader(use.adapter.path)), use.adapter.changes, use.strength)
                for use in uses
            ]
        )


def fit(
    loras: Sequence[LoRA | str | os.PathLike[str]], experts: Sequence[str], arch: DiTArch, model: str
) -> Fitted:
    """Decide what every LoRA changes in a model with these `experts` ("high" and "low", or "dit") of these sizes.

    Raises OptionError for a strength or an expert that cannot be; CheckpointError for a file that is no plain LoRA,
    or says that it is for the other expert; KeysError for one that was made for another model.
    """
    if not loras:
        return Fitted()
    shapes = shapes_of(arch)
    # By file, expert and what is left out: what is asked for twice is added once, more strongly.
    uses: dict[tuple[str, str, tuple[str, ...]], Use] = {}
    notices: list[str] = []
    for asked in loras:
        lora = asked if isinstance(asked, LoRA) else LoRA(asked)
        _check(lora, experts, model)
        for whole in _asked(lora, experts, model, image=arch.animate is not None):
            adapter = _without(whole, lora.skip, notices)
            check_fits(adapter, shapes, model)
            if adapter.skipped:
                notices.append(
                    f"{adapter.path.name}: {adapter.skipped} tensors (k_img, v_img, norm_k_img, img_emb) are for the "
                    f"image encoder of Wan2.1's image to video, which {model} has not; they are left out"
                )
            chosen = _experts(adapter, lora, experts, notices)
            name = fingerprint(adapter.path)
            for expert in chosen:
                key = (name, expert, lora.skip)
                before = uses[key].strength if key in uses else 0.0
                uses[key] = Use(adapter, expert, before + lora.strength, name, lora.skip)
    notices += [_coverage(use) for use in uses.values()]
    reached = {expert for _, expert, _ in uses}
    left = [expert for expert in experts if expert not in reached]
    if uses and left:
        notices.append(f"no LoRA changes the {left[0]}-noise expert")
    return Fitted(tuple(uses.values()), tuple(notices))


def _check(lora: LoRA, experts: Sequence[str], model: str) -> None:
    if isinstance(lora.strength, bool) or not isinstance(lora.strength, int | float):
        raise OptionError(f"the strength of a LoRA is a number, such as 0.8; not {lora.strength!r}")
    if not math.isfinite(lora.strength):
        raise OptionError(f"the strength of {lora.path} must be finite, not {lora.strength}")
    if lora.expert is None:
        return
    choose("expert", lora.expert, EXPERTS)
    if lora.expert not in experts:
        raise OptionError(
            f"{model} has one transformer, and {lora.path} is asked for on the {lora.expert}-noise expert; leave the "
            "expert away"
        )


def _asked(lora: LoRA, experts: Sequence[str], model: str, *, image: bool) -> list[Adapter]:
    """The adapters of a LoRA, or the half of a pair that is asked for; `image` as of `open_adapters`."""
    adapters = open_adapters(lora.path, image=image)
    if len(adapters) == 1:
        return adapters
    if "dit" in experts:
        raise CheckpointError(
            f"{lora.path} is a pair for two experts, and {model} has one transformer. Name the file "
            "that was made for it."
        )
    return [adapter for adapter in adapters if lora.expert in (None, adapter.expert)]


def _experts(adapter: Adapter, lora: LoRA, experts: Sequence[str], notices: list[str]) -> list[str]:
    """The networks that an adapter changes."""
    file, said = adapter.path.name, adapter.expert
    if "dit" in experts:
        if said is not None:
            notices.append(
                f"{file} says that it is for the {said}-noise expert ({adapter.said_by}); this model has one "
                "transformer"
            )
        return ["dit"]
    if lora.expert is not None:
        if said is not None and said != lora.expert:
            raise CheckpointError(
                f"{adapter.path} says that it is for the {said}-noise expert ({adapter.said_by}), and is asked for on "
                f"the {lora.expert}-noise one. Ask for it on {said!r}, or leave the expert away."
            )
        return [lora.expert]
    if said is not None:
        return [said]
    notices.append(
        f"{file} does not say which expert it is for: it is added to both. Name one with @high or @low, or give a "
        "folder with a file for each."
    )
    return list(experts)


def _without(adapter: Adapter, skip: Sequence[str], notices: list[str]) -> Adapter:
    """An adapter without what it changes in these parts of the network."""
    if not skip:
        return adapter
    left = {
        name: changes
        for name, changes in adapter.changes.items()
        if not any(name == part or name.startswith(f"{part}.") for part in skip)
    }
    gone = len(adapter.changes) - len(left)
    if not gone or not left:
        what = "everything" if gone else "nothing"
        raise OptionError(
            f"{adapter.path} changes {what} in {', '.join(skip)}: there is no sense in leaving that out"
        )
    notices.append(f"{adapter.path.name}: {gone} tensors of {', '.join(skip)} are left out, as asked")
    return replace(adapter, changes=left)


def check_fits(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]], model: str) -> None:
    """Raise KeysError unless every change of an adapter is of a parameter in `shapes`, and of its shape."""
    absent = [name for name in adapter.changes if name not in shapes]
    misshapen = [
        f"{name}: the file has {list(change.shape)}, {model} has {list(shapes[name])}"
        for name, changes in adapter.changes.items()
        if name in shapes
        for change in changes
        if not _same(change.shape, shapes[name])
    ]
    if not absent and not misshapen:
        return
    problems = []
    if misshapen:
        problems.append(f"{len(misshapen)} misshapen ({'; '.join(misshapen[:2])})")
    if absent:
        problems.append(f"{len(absent)} that it has not ({', '.join(absent[:3])})")
    fitting = fits(adapter)
    advice = ""
    hint = f"It fits {', '.join(fitting)}" if fitting else "It fits no model of the catalogue"
    wrong = {
        name for name in adapter.changes if name in absent or any(m.startswith(f"{name}:") for m in misshapen)
    }
    if wrong <= {"patch_embedding.weight", "patch_embedding.bias"} and wrong != set(adapter.changes):
        advice = (
            " Only its patch embedding does not fit: leave that out with --lora FILE~patch_embedding, or "
            'LoRA(..., skip=("patch_embedding",)).'
        )
    raise KeysError(
        f"{adapter.path} was made for another model than {model}: of {len(adapter.changes)} tensors that it changes, "
        f"{' and '.join(problems)}. {hint}. Half of a LoRA is not applied."
        f"{advice}"
    )


def fits(adapter: Adapter) -> list[str]:
    """The models of the catalogue that have every parameter which an adapter changes, in its shape."""
    return [name for name, arch in _catalogue().items() if _has_all(arch, adapter)]


def _has_all(arch: DiTArch, adapter: Adapter) -> bool:
    """Whether a network has all that an adapter changes, but for modules that read CLIP's image and are left out."""
    shapes = shapes_of(arch)
    return all(
        name in shapes and all(_same(change.shape, shapes[name]) for change in changes)
        for name, changes in adapter.changes.items()
        if arch.animate is not None or not names.reads_image(name)
    )


def _catalogue() -> dict[str, DiTArch]:
    """The transformers of all known models: the embedded ones and the releases."""
    rows = {}
    for folder in (EMBEDDED, EMBEDDED_SPEECH):
        if (folder / "variant.json").is_file():
            said = read_json(folder / "variant.json")
            said.pop("parts", None)  # where shared parts lie
            rows[folder.name] = from_json(said).dit
    return rows | {row.name: row.dit for row in VARIANTS.values()}


@lru_cache(maxsize=8)
def shapes_of(arch: DiTArch) -> Mapping[str, tuple[int, ...]]:
    """The shape of every parameter of a transformer, by its official name."""
    from wan22.weights.load import meta_module

    return {name: tuple(tensor.shape) for name, tensor in meta_module(arch).state_dict().items()}


def _same(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether shapes are equal but for axes of length one, which people add and drop."""
    return [n for n in a if n != 1] == [n for n in b if n != 1]


def _coverage(use: Use) -> str:
    """What is applied, in words: "style.safetensors (kohya, rank 32): 280 pairs on 280 tensors of ... at 0.8"."""
    adapter = use.adapter
    ranks = " and ".join(map(str, adapter.ranks)) if len(adapter.ranks) < 4 else "many"
    kind = f"{adapter.dialect}, rank {ranks}" if adapter.ranks else adapter.dialect
    parts = [f"{adapter.pairs} pairs"] if adapter.pairs else []
    parts += [f"{adapter.differences} full differences"] if adapter.differences else []
    all_of_it = "" if adapter.skipped or use.skip else ", all of its"
    where = "the transformer" if use.expert == "dit" else f"the {use.expert}-noise expert"
    return (
        f"{adapter.path.name} ({kind}): {' and '.join(parts)}{all_of_it}, change {len(adapter.changes)} tensors of "
        f"{where}, at strength {use.strength:g}"
    )
