"""Find the parts of a model in a folder, however it is laid out.

Known layouts: an official release, a Diffusers folder, a ComfyUI `models` tree or any folder of single files
(recognised from their tensors), and the hub's cache folder of either. A small model of ours may share parts with
another one: the `variant.json` in its folder says where they are. It opens headers, never data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wan22.errors import CheckpointError
from wan22.files import read_text
from wan22.weights.dialects.comfy import SPIECE
from wan22.weights.reader import SUFFIXES, open_reader, read_json, weight_files
from wan22.weights.recognise import hears, open_native, recognise

_TREE = (
    "diffusion_models", "unet", "text_encoders", "clip", "vae", "audio_encoders", "HighNoise", "LowNoise", "VAE",
)  # fmt: skip
_HIGH = re.compile(r"(?<![a-z])high", re.IGNORECASE)
_LOW = re.compile(r"(?<![a-z])low", re.IGNORECASE)
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
_OFFICIAL_TOKENIZER = Path("google/umt5-xxl")
_OFFICIAL_WEIGHTS = "diffusion_pytorch_model*.safetensors"
AUDIO_HUB = "jonatasgrosman/wav2vec2-large-xlsr-53-english"
"""The hub id of the released encoder of audio."""

OFFICIAL_AUDIO = Path("wav2vec2-large-xlsr-53-english")
DIFFUSERS_AUDIO = Path("audio_encoder")
_NEEDED = {
    "dit": "the transformer (high_noise_model/ and low_noise_model/, transformer/ or diffusion_models/)",
    "high": "the high-noise expert (high_noise_model/, transformer/ or a file with 'high' in its name)",
    "low": "the low-noise expert (low_noise_model/, transformer_2/ or a file with 'low' in its name)",
    "vae": "the VAE (Wan2.1_VAE.pth, Wan2.2_VAE.pth, vae/)",
    "text": "the text encoder (models_t5_umt5-xxl-enc-bf16.pth, text_encoder/, text_encoders/)",
    "tokenizer": "the tokenizer (google/umt5-xxl/, tokenizer/)",
    "audio": f"the encoder of audio ({OFFICIAL_AUDIO}/ with its config.json, {DIFFUSERS_AUDIO}/, or a file in "
    f"audio_encoders/; `hf download {AUDIO_HUB}` gets it into the hub's cache, where it is found too)",
}


@dataclass(frozen=True)
class Layout:
    """The parts of a model: "high" and "low", or "dit"; "vae"; "text"; "tokenizer"; "audio" if audio drives it.

    `kind` is "official", "diffusers" or "files". `boundary` (the share of noise at which the experts change)
    and `shift` are given if the folder says them. `unread` says of each weight file that is no part why it is none.
    `hears` says whether audio drives the transformer, so that an encoder of audio belongs to it.
    """

    kind: str
    folder: Path
    parts: Mapping[str, Path]
    boundary: float | None = None
    shift: float | None = None
    unread: tuple[str, ...] = ()
    hears: bool = False

    @property
    def missing(self) -> list[str]:
        """The parts that a complete model would have and this one has not."""
        dits = [] if "dit" in self.parts else ["high", "low"]
        dits = dits if set(dits) & set(self.parts) or not dits else ["dit"]
        needed = (*dits, "vae", "text", "tokenizer", *(("audio",) if self.hears else ()))
        return [part for part in needed if part not in self.parts]

    def require_complete(self) -> None:
        """Raise CheckpointError that lists what is missing."""
        if self.missing:
            lacks = "; ".join(_NEEDED[part] for part in self.missing)
            unread = f" Not read: {'; '.join(self.unread[:3])}" if self.unread else ""
            raise CheckpointError(f"{self.folder} is not a complete model. Missing: {lacks}.{unread}")


def find_parts(folder: str | Path) -> dict[str, Path]:
    """The files or folders of a complete model, by part. CheckpointError lists what is missing."""
    layout = find_layout(folder)
    layout.require_complete()
    return dict(layout.parts)


def find_layout(folder: str | Path) -> Layout:
    """Find what is in a folder, complete or not. Raises CheckpointError if it is no folder or ambiguous."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}. Check the path, or `wan22 download` a model.")
    folder = snapshot(folder)
    if (folder / "model_index.json").is_file():
        return _diffusers(folder)
    if (folder / "high_noise_model").is_dir() or (folder / "low_noise_model").is_dir():
        return _official(folder, {"high": folder / "high_noise_model", "low": folder / "low_noise_model"})
    if any(folder.glob(_OFFICIAL_WEIGHTS)):
        return _official(folder, {"dit": _official_weights(folder)})
    return _files(folder)


def cached_folder(hub: str) -> Path | None:
    """The folder of a repository in the hub's cache, if any of it is there."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"
    return folder if (folder / "snapshots").is_dir() and any((folder / "snapshots").iterdir()) else None


def snapshot(folder: Path) -> Path:
    """The current snapshot, if this is a model's folder in the hub's cache; else the folder itself."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    named = [_named(snapshots, main)] if main.is_file() else sorted(snapshots.iterdir())
    if len(named) != 1 or not named[0].is_dir():
        raise CheckpointError(
            f"{folder} has {len(named)} snapshots: name one of {snapshots}/*, or download again."
        )
    return named[0]


def _named(snapshots: Path, main: Path) -> Path:
    """The snapshot that refs/main names; it is a folder of its own there and nowhere else."""
    name = read_text(main, CheckpointError, limit=1000).strip()
    if Path(name).name != name:
        raise CheckpointError(f"{main} names {name!r}, which is no snapshot. Download the model again.")
    return snapshots / name


def _existing(parts: Mapping[str, Path]) -> dict[str, Path]:
    return {part: path for part, path in parts.items() if path.exists()}


def _official(folder: Path, transformers: Mapping[str, Path]) -> Layout:
    parts = _existing({**transformers, "tokenizer": folder / _OFFICIAL_TOKENIZER})
    for part, pattern in (("vae", "Wan2.?_VAE.*"), ("text", "models_t5_*")):
        found = sorted(file for file in folder.glob(pattern) if file.suffix in SUFFIXES)
        if found:
            parts[part] = _only(found, part, folder)
    return _with_audio(Layout("official", folder, parts), folder / OFFICIAL_AUDIO)


def _official_weights(folder: Path) -> Path:
    """The transformer that lies in the root, beside other weights: its index, or its one file."""
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    return index if index.is_file() else sorted(folder.glob(_OFFICIAL_WEIGHTS))[0]


def _diffusers(folder: Path) -> Layout:
    index = read_json(folder / "model_index.json")
    first = "high" if (folder / "transformer_2").is_dir() else "dit"
    parts = _existing(
        {
            first: folder / "transformer",
            "low": folder / "transformer_2",
            "vae": folder / "vae",
            "text": folder / "text_encoder",
            "tokenizer": folder / "tokenizer",
        }
    )
    if index.get("boundary_ratio") is not None and first == "dit":
        # Two experts were saved and one did not arrive.
        parts = {"high" if part == "dit" else part: path for part, path in parts.items()}
    scheduler = folder / "scheduler" / "scheduler_config.json"
    shift = _number(scheduler, read_json(scheduler), "flow_shift") if scheduler.is_file() else None
    boundary = _number(folder / "model_index.json", index, "boundary_ratio")
    layout = Layout("diffusers", folder, parts, boundary=boundary, shift=shift)
    return _with_audio(layout, folder / DIFFUSERS_AUDIO)


def _number(file: Path, said: Mapping[str, Any], name: str) -> float | None:
    """A number that a folder says of itself, or None. Raises CheckpointError for anything else."""
    value = said.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise CheckpointError(f"{file} says that {name} is {value!r}, which is no number.")
    return value


def _with_audio(layout: Layout, audio: Path) -> Layout:
    """Add the encoder of audio, if the transformer hears: from the folder `audio`, or from the hub's cache."""
    if "dit" not in layout.parts:
        return layout
    try:
        with open_reader(layout.parts["dit"]) as reader:
            heard = hears(open_native(reader))
    except CheckpointError:
        return layout  # it is not whole; who opens it for its weights is told how
    if not heard:
        return layout
    found = audio if audio.is_dir() else _cached_audio()
    return replace(
        layout, hears=True, parts=layout.parts if found is None else {**layout.parts, "audio": found}
    )


def _cached_audio() -> Path | None:
    """The released encoder of audio, which is a model of its own on the hub, if its cache has it."""
    folder = cached_folder(AUDIO_HUB)
    return None if folder is None else snapshot(folder)


def _files(folder: Path) -> Layout:
    """A ComfyUI tree, or a plain folder of single files: every file is asked what it is."""
    root = folder / "models" if (folder / "models" / "diffusion_models").is_dir() else folder
    places = [root, *(root / name for name in _TREE if (root / name).is_dir())]
    found: dict[str, list[Path]] = {}
    unread: list[str] = []
    spiece: Path | None = None
    said = _said(root / "variant.json")
    heard = said.get("speech") is not None
    for file in sorted({file for place in places for file in place.iterdir() if file.suffix in SUFFIXES}):
        try:
            if weight_files(file)[0] != file:
                continue  # a later shard: the first stands for all
            with open_reader(file) as reader:
                identity = recognise(reader)
                if SPIECE in reader.infos:
                    spiece = file
        except CheckpointError as error:
            unread.append(str(error))
            continue  # models of other families lie in such folders too
        heard = heard or identity.task == "s2v"
        part = _expert(file.relative_to(root)) if identity.part == "dit" else identity.part
        found.setdefault(part, []).append(file)
    found |= {part: [path] for part, path in _shared(root, said).items()}
    found["audio"] = (found.get("audio") or _audio_folders(root)) if heard else []
    parts = {part: _only(files, part, folder) for part, files in found.items() if files}
    for tokenizer in (root / "tokenizer", root / _OFFICIAL_TOKENIZER, root):
        if any((tokenizer / name).is_file() for name in _TOKENIZER_FILES):
            parts.setdefault("tokenizer", tokenizer)
    if spiece is not None:
        parts.setdefault("tokenizer", spiece)
    if not parts:
        raise CheckpointError(f"{folder} holds no part of a Wan model. Check the path.")
    variant, defaults = root / "variant.json", said.get("defaults")
    shift = _number(variant, defaults, "shift") if isinstance(defaults, dict) else None
    return Layout("files", folder, parts, _number(variant, said, "boundary"), shift, tuple(unread), heard)


def _said(variant: Path) -> dict[str, Any]:
    """What the folder says that it holds, if it is our trainer's."""
    return read_json(variant) if variant.is_file() else {}


def _shared(root: Path, said: Mapping[str, Any]) -> dict[str, Path]:
    """The parts that lie with another model: `{"parts": {"vae": "../nano/vae.safetensors"}}` in variant.json."""
    where, parts = said.get("parts") or {}, {}
    if not isinstance(where, dict) or not where.keys() <= _NEEDED.keys():
        raise CheckpointError(
            f"{root / 'variant.json'} says that its parts are {where}. It should name, of {', '.join(_NEEDED)}, those "
            "that lie elsewhere, each with its path from that folder."
        )
    for part, place in where.items():
        path = root / str(place)
        if Path(str(place)).is_absolute() or not path.exists():
            raise CheckpointError(
                f"{root / 'variant.json'} says that its {part} is at {place!r}, and there is none. It should be the "
                f"path, from {root}, of a file or folder that exists."
            )
        parts[part] = path
    return parts


def _audio_folders(root: Path) -> list[Path]:
    """Encoders of audio in the layout of Hugging Face: beside single files, or else in the hub's cache."""
    places = (root / OFFICIAL_AUDIO, root / DIFFUSERS_AUDIO, *sorted(root.glob("audio_encoders/*/")))
    beside = [place for place in places if (place / "config.json").is_file()]
    return beside or [place for place in (_cached_audio(),) if place is not None]


def _expert(path: Path) -> str:
    words = path.as_posix()
    high, low = bool(_HIGH.search(words)), bool(_LOW.search(words))
    return "dit" if high == low else "high" if high else "low"


def _only(files: list[Path], part: str, folder: Path) -> Path:
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file in files)
        raise CheckpointError(
            f"{folder} holds several files for the part {part!r}: {names}. Keep one, or name it."
        )
    return files[0]
