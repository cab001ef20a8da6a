"""Open LoRA files: what they add to which parameter, how strongly, and for which expert they say they are.

Headers and the single numbers beside them (alpha) are read; the matrices stay in the file.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan22.errors import CheckpointError
from wan22.files import parse_object, reading
from wan22.weights.edits.lora import Change, Changes
from wan22.weights.experts import expert_of
from wan22.weights.lora import names
from wan22.weights.lora.names import Key
from wan22.weights.reader import SUFFIXES, Reader, open_reader

EXPERT_KEY = "wan22.expert"
"""Metadata of our own files: "high" or "low"."""

_TITLES = ("ss_output_name", "modelspec.title")
_PEFT_CONFIG = "adapter_config.json"
_PEFT_METADATA = "lora_adapter_metadata"  # where Diffusers keeps PEFT's settings, each behind "transformer."
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_WHAT_WORKS = (
    "Plain LoRA (pairs with alpha, and full differences) is supported: ask its maker for one, or have their "
    "trainer extract one from the merged weights."
)
_OTHER_MODELS = {
    "vace_": "VACE",
    "face_adapter": "the face adapters of Animate by Diffusers' names, where one matrix of ours is two",
    "lora_te": "a text encoder",
    "text_encoder": "a text encoder",
    "single_transformer_blocks": "another family of models (FLUX)",
    "double_blocks": "another family of models (FLUX, HunyuanVideo)",
    "down_blocks": "another family of models (Stable Diffusion)",
    "input_blocks": "another family of models (Stable Diffusion)",
}
"""Pieces of names that tell what else a file was made for. They only explain a refusal."""


@dataclass(frozen=True)
class Adapter:
    """What one file adds to one network.

    `dialect` is "diffusers", "comfy", "kohya", "lightx2v" or "official". `expert` is the one that the file says it is
    for, and `said_by` where it says so ("its name"); None if it says nothing. `ranks` counts the pairs of each rank.
    `skipped` counts tensors for modules that read CLIP's image, which of Wan2.2 only animation has.
    """

    path: Path
    dialect: str
    changes: Changes = field(repr=False)
    expert: str | None = None
    said_by: str = ""
    ranks: Mapping[int, int] = field(default_factory=dict)
    skipped: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def pairs(self) -> int:
        """The number of pairs of matrices."""
        return sum(change.down is not None for changes in self.changes.values() for change in changes)

    @property
    def differences(self) -> int:
        """The number of full differences."""
        return sum(change.down is None for changes in self.changes.values() for change in changes)


def holds_lora(path: str | Path) -> bool:
    """Whether there is an adapter of any kind at `path`, a file or a folder. Raises CheckpointError for no place."""
    path = Path(path).expanduser()
    for file in (_weights_in(path) if path.is_dir() else [path])[:1]:
        with open_reader(file) as reader:
            return names.is_lora(reader.infos)
    return False


def open_adapters(path: str | Path, *, image: bool | None = False) -> list[Adapter]:
    """The adapters at `path`: one file's, or those of a folder with a file for each expert. A file may hold both
    experts' too. `image` says whether to read what changes modules that read CLIP's image; None: if it is whole.

    Raises CheckpointError, naming the file and what would work, if there is no LoRA, one of another kind (LoHa, LoKr,
    DoRA, OFT), a tensor that belongs to no known parameter, or half a pair.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return _open_file(path, image, said=path.stem)
    files = _files(path)
    if len(files) == 1:
        said = path.name if files[0].name.startswith("adapter_model") else files[0].stem
        return _open_file(files[0], image, said=said)
    adapters = [adapter for file in files for adapter in _open_file(file, image, said=_stem(file, path))]
    if Counter(adapter.expert for adapter in adapters) != {"high": 1, "low": 1}:
        listed = ", ".join(str(file.relative_to(path)) for file in files[:8])
        raise CheckpointError(
            f"{path} holds {len(files)} files ({listed}). A folder is a pair, one file with high_noise in its name and "
            "one with low_noise; else name one file."
        )
    return adapters


def _stem(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder).with_suffix(""))


def _weights_in(folder: Path) -> list[Path]:
    """The weight files of a folder, or, if it has none, of its folders."""
    found = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
    return found or sorted(file for file in folder.glob("*/*") if file.suffix in SUFFIXES)


def _files(folder: Path) -> list[Path]:
    found = _weights_in(folder)
    if not found:
        raise CheckpointError(f"{folder} holds no LoRA ({', '.join(SUFFIXES)}). Check the path.")
    return found


def _open_file(path: Path, image: bool | None, *, said: str) -> list[Adapter]:
    with open_reader(path) as reader:
        return read_adapters(reader, said=said, image=image)


def read_adapters(reader: Reader, *, said: str = "", image: bool | None = False) -> list[Adapter]:
    """The adapters of an open file; `said` is the name that may tell their expert. `image` and what is raised are as of
    `open_adapters`.
    """
    if image is None:
        try:
            return read_adapters(reader, said=said, image=True)
        except CheckpointError:
            return read_adapters(reader, said=said, image=False)
    keys, skipped = _read_keys(reader, image)
    prefixed = {key.expert for key in keys.values()}
    both = {"high", "low"} <= prefixed
    if both and None in prefixed:
        raise CheckpointError(
            f"{reader.path} has tensors for each expert (transformer, transformer_2) and some that name none. Save one "
            "file for each expert."
        )
    expert, said_by = _expert(reader, said)
    if (
        not both and "low" in prefixed
    ):  # a prefix of the first network alone says nothing: it is also the only one's
        expert, said_by = "low", "its names (transformer_2)"
    dialect = _dialect(list(keys.values()))
    settings = _peft_settings(reader)
    adapters = []
    for which in ("high", "low") if both else (None,):
        mine = {name: key for name, key in keys.items() if which is None or key.expert == which}
        changes, ranks = _changes(reader, mine, settings)
        who = (which, "its names (transformer and transformer_2)") if which else (expert, said_by)
        adapters.append(Adapter(reader.path, dialect, changes, *who, ranks, skipped, reader.metadata))
    return adapters


def _read_keys(reader: Reader, image: bool) -> tuple[dict[str, Key], int]:
    """Every tensor's key, and how many are left out because they change modules that read CLIP's image, unless `image`;
    raises unless all others are known.
    """
    keys: dict[str, Key] = {}
    unknown, skipped = [], 0
    for name in reader.infos:
        if kind := names.other_kind(name):
            raise CheckpointError(
                f"{reader.path} is a {kind}, not a plain LoRA ({name}): merging it needs other arithmetic, which "
                f"is not here. {_WHAT_WORKS}"
            )
        key = names.read_key(name)
        if not image and names.is_image_only(name):
            skipped += 1
        elif key is None or key.parameter is None:
            unknown.append(name)
        else:
            keys[name] = _checked(reader, name, key)
    if not any(key.role != "alpha" for key in keys.values()) and not names.is_lora(reader.infos):
        raise CheckpointError(
            f"{reader.path} is no LoRA: it holds {', '.join(list(reader.infos)[:3])}, ... `wan22 inspect` says what it "
            "is. A whole network is given as the model."
        )
    if unknown:
        other = sorted({model for piece, model in _OTHER_MODELS.items() if any(piece in n for n in unknown)})
        hint = f" They belong to {' and '.join(other)}." if other else ""
        raise CheckpointError(
            f"{reader.path}: {len(unknown)} of {len(reader.infos)} tensors belong to no parameter of a Wan2.2 "
            f"transformer: {', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}.{hint} Half of a LoRA is not "
            "applied: take the file that was made for this model."
        )
    if skipped and not any(key.role != "alpha" for key in keys.values()):
        raise CheckpointError(
            f"{reader.path} changes nothing that Wan2.2 has, but for Animate: all of it is for the image encoder of "
            "Wan2.1's image to video."
        )
    return keys, skipped


def _checked(reader: Reader, name: str, key: Key) -> Key:
    """The key of a tensor that holds plain numbers; a quantised matrix would be added as something else."""
    kind = reader.infos[name].dtype
    if key.role != "alpha" and kind not in _FLOATS:
        raise CheckpointError(
            f"{reader.path}: {name} is stored as {kind}, quantised in a way that is not read of a LoRA. Take the bf16, "
            "fp16 or fp32 file instead."
        )
    return key


def _changes(
    reader: Reader, keys: Mapping[str, Key], settings: Mapping[str, Any]
) -> tuple[Changes, Mapping[int, int]]:
    """What these tensors add, by parameter, and how many pairs there are of each rank."""
    roles: dict[str, dict[str, str]] = {}  # parameter -> role -> name in the file
    for name, key in keys.items():
        mine = roles.setdefault(str(key.parameter), {})
        if key.role in mine:
            raise CheckpointError(
                f"{reader.path} holds two tensors for the {key.role} of {key.parameter}: {mine[key.role]} and {name}. "
                "Save one adapter a file."
            )
        mine[key.role] = name
    changes: dict[str, list[Change]] = {}
    ranks: Counter[int] = Counter()
    for parameter, mine in roles.items():
        made = changes.setdefault(parameter, [])
        if "down" in mine or "up" in mine:
            pair, rank = _pair(reader, mine, settings)
            made.append(pair)
            ranks[rank] += 1
        if "up_bias" in mine:  # the bias of the second matrix, which is scaled as the pair is
            pairs = roles.get(f"{names.module_of(parameter)}.weight", {})
            if "up" not in pairs:
                raise CheckpointError(f"{reader.path}: {mine['up_bias']} stands alone, without its pair")
            made.append(_difference(reader, mine["up_bias"], _pair(reader, pairs, settings)[0].scale))
        made += [
            _difference(reader, mine[role], 1.0) for role in ("diff", "diff_b", "diff_m") if role in mine
        ]
        if not made:
            raise CheckpointError(
                f"{reader.path}: {', '.join(mine.values())} stands alone, without its matrices; "
                "the file is not whole. Download it again."
            )
    return {parameter: tuple(made) for parameter, made in changes.items()}, dict(sorted(ranks.items()))


def _difference(reader: Reader, name: str, scale: float) -> Change:
    return Change(name, None, scale, reader.infos[name].shape)


def _pair(reader: Reader, mine: Mapping[str, str], settings: Mapping[str, Any]) -> tuple[Change, int]:
    """Two matrices: up (out, rank), down (rank, in...)."""
    if "down" not in mine or "up" not in mine:
        raise CheckpointError(
            f"{reader.path} has half of a pair: {', '.join(mine.values())} without its other matrix. "
            "The file is not whole: download it again."
        )
    up, down = reader.infos[mine["up"]].shape, reader.infos[mine["down"]].shape
    if len(up) < 2 or len(down) < 2 or math.prod(up[1:]) != down[0]:
        raise CheckpointError(
            f"{reader.path}: {mine['up']} {list(up)} and {mine['down']} {list(down)} do not multiply: "
            "expected [out, rank] and [rank, in]."
        )
    rank = down[0]
    scale = _scale(reader, mine, rank, settings)
    return Change(mine["up"], mine["down"], scale, (up[0], *down[1:])), rank


def _scale(reader: Reader, mine: Mapping[str, str], rank: int, settings: Mapping[str, Any]) -> float:
    """Alpha over rank; 1 for a file that says no alpha."""
    if "alpha" in mine:
        info = reader.infos[mine["alpha"]]
        alpha = float(reader.read(mine["alpha"]).float()) if info.count == 1 else math.nan
        if not math.isfinite(alpha):
            raise CheckpointError(
                f"{reader.path}: {mine['alpha']} must be one finite number, not {list(info.shape)}"
            )
        return alpha / rank
    with reading(f"{reader.path}: its {_PEFT_CONFIG}", CheckpointError, "is damaged"):
        alpha = _peft_alpha(mine["down"], settings)
    if alpha is None:
        return 1.0
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _peft_alpha(name: str, settings: Mapping[str, Any]) -> float | None:
    """PEFT's alpha of a module: that of the first pattern which its own name ends with, or the one for all.

    As `get_pattern_key` of PEFT matches: a pattern that begins with ^ is of the whole name, without the prefixes of a
    file.
    """
    module = names.module_in_file(name)
    for pattern, alpha in (settings.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return float(alpha)
    alpha = settings.get("lora_alpha")
    return None if alpha is None else float(alpha)


def _peft_settings(reader: Reader) -> Mapping[str, Any]:
    """PEFT's settings, of the file's metadata or of the adapter_config.json beside it."""
    if raw := reader.metadata.get(_PEFT_METADATA):
        said = parse_object(raw, f"{reader.path}: its {_PEFT_METADATA}", CheckpointError)
        found = {key.rpartition("transformer.")[2]: value for key, value in said.items()}
    else:
        found = reader.beside(_PEFT_CONFIG) if reader.files[0].name.startswith("adapter_model") else {}
    if found.get("use_dora"):
        raise CheckpointError(f"{reader.path} is a DoRA (use_dora), not a plain LoRA. {_WHAT_WORKS}")
    return found


def _expert(reader: Reader, said: str) -> tuple[str | None, str]:
    """The expert that a file says it is for, and where it says so."""
    own = reader.metadata.get(EXPERT_KEY)
    if own in ("high", "low"):
        return own, f"its metadata ({EXPERT_KEY})"
    for text, where in (
        (said, "its name"),
        *((reader.metadata.get(key, ""), f"its metadata ({key})") for key in _TITLES),
    ):
        if found := expert_of(text):
            return found, where
    return None, ""


def _dialect(keys: list[Key]) -> str:
    """The dialect that most of a file is in."""
    naming = Counter(key.naming for key in keys).most_common(1)[0][0]
    if naming == "flat":
        return "kohya"
    if naming == "diffusers":
        return "diffusers"
    if any(key.role in ("diff", "diff_b", "diff_m") for key in keys):
        return "lightx2v"
    return "comfy" if any("diffusion_model." in key.prefix for key in keys) else "official"
