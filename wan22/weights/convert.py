"""Convert between dialects: one file, or a whole model folder with its configs, scheduler and tokenizer.

Tensors stream through one at a time, except into the official layout's two `.pth` files, which PyTorch can
only write whole. Nothing appears under the target's name until all of it is written.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from wan22.arch import DiTArch
from wan22.atomic import written, written_folder
from wan22.errors import CheckpointError, OptionError, OutputError, choose
from wan22.weights import configs
from wan22.weights.dialects import DIALECTS, Dialect, clip, comfy, official, wav2vec2
from wan22.weights.dialects.folds import Piece
from wan22.weights.dtypes import DTYPE_NAMES, DTYPES
from wan22.weights.find import (
    DIFFUSERS_AUDIO,
    DIFFUSERS_IMAGE,
    OFFICIAL_AUDIO,
    OFFICIAL_IMAGE,
    Layout,
    find_layout,
)
from wan22.weights.load import Progress, check_fits, meta_module
from wan22.weights.lora.write import TARGETS as LORA_TARGETS
from wan22.weights.native import Native
from wan22.weights.reader import TensorInfo, open_reader, read_json
from wan22.weights.recognise import ARCH_KEY, AudioArch, Identity, identify, open_native, parts_of
from wan22.weights.tokenizer import read_spiece
from wan22.weights.writer import SHARD_BYTES, require_room, write_json, write_safetensors, write_shards

logger = logging.getLogger("wan22")

TARGETS = ("official", "diffusers", "comfy")

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "added_tokens.json",
)
_AUDIO_FILES = (
    "config.json",
    "preprocessor_config.json",
    "vocab.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
_STEM = "diffusion_pytorch_model"


@dataclass(frozen=True)
class _Part:
    """One network on its way: what it is, and its tensors under the names of the target."""

    identity: Identity
    infos: Mapping[str, TensorInfo]
    read: Callable[[str], Tensor]

    @property
    def nbytes(self) -> int:
        return sum(info.nbytes for info in self.infos.values())

    @property
    def dtype(self) -> str:
        """The dtype of most bytes, for file names: "bf16"."""
        largest = max(self.infos.values(), key=lambda info: info.nbytes)
        return {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}.get(largest.dtype, largest.dtype.lower())


class _Counter:
    """Adds up what was read, over all parts, and reports it."""

    def __init__(self, progress: Progress | None) -> None:
        self.done, self.total, self._progress = 0, 0, progress

    def add(self, nbytes: int) -> None:
        self.done += nbytes
        if self._progress:
            self._progress(self.done, self.total)


def convert(
    source: str | Path,
    target: str | Path,
    dialect: str,
    *,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
    said: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Convert `source` to the dialect "official", "diffusers" or "comfy", and return the target.

    A model's folder becomes a folder in that layout. One network (a file, or a folder of shards) becomes one
    file if the target ends in `.safetensors`, else a folder with its config. `dtype` casts transformers and
    text encoders, and a VAE or an encoder of audio if it is converted alone; without it tensors keep theirs, and
    quantised ones become bfloat16. `progress` is called with (bytes written, bytes in all). `said` are fields of the
    model's Layout in place of its own: its boundary, its scheduler.

    Raises CheckpointError if the source is not complete, OutputError if the target exists or has no room,
    OptionError for an unknown dialect, or one of LoRAs.
    """
    if dialect in LORA_TARGETS and dialect not in TARGETS:
        raise OptionError(
            f"{source} is no LoRA, and {dialect} is a dialect of LoRAs alone; other weights convert to "
            f"{', '.join(TARGETS)}"
        )
    choose("dialect", dialect, TARGETS)
    source, target = Path(source).expanduser(), Path(target).expanduser()
    if target.exists():
        raise OutputError(f"{target} exists already. Name a new place, or remove it.")
    counter = _Counter(progress)
    layout = find_layout(source) if _is_model(source) else None
    with ExitStack() as stack:
        if layout is None:
            part = _open(source, None, dialect, dtype, counter, stack)
            _write_one(part, target, dialect, counter, shard_bytes)
        else:
            layout.require_complete()
            layout = replace(layout, **said)
            parts = {
                name: _open(
                    path, name, dialect, None if name in ("vae", "audio", "image") else dtype, counter, stack
                )
                for name, path in layout.parts.items()
                if name != "tokenizer"
            }
            counter.total = sum(part.nbytes for part in parts.values())
            require_room(target, counter.total)
            with written_folder(target) as folder:
                _WRITERS[dialect](folder, parts, layout, shard_bytes)
                if layout.relighting is not None:  # LoRAs are read in every dialect
                    place = folder / "loras" if dialect == "comfy" else folder
                    place.mkdir(exist_ok=True)
                    shutil.copyfile(layout.relighting, place / layout.relighting.name)
                own = layout.folder / "variant.json"
                if own.is_file():  # what a model of our trainer says of itself holds in every dialect
                    said = read_json(own)
                    said.pop("parts", None)  # parts that it shared lie in the new folder now
                    write_json(folder / own.name, said)
                    for file in ((said.get("fast") or {}).get("loras") or {}).values():
                        shutil.copyfile(
                            layout.folder / file, folder / file
                        )  # LoRAs are read in every dialect
    return target


def _is_model(source: Path) -> bool:
    """Whether this folder or all-in-one file holds several networks, rather than the shards of one."""
    try:
        if source.is_file():
            with open_reader(source) as reader:
                return len(parts_of(reader)) > 1
        networks = find_layout(source).parts.keys() - {"tokenizer"}
    except CheckpointError:
        return False  # then it is one network, or `open_reader` says what is wrong
    return len(networks) > 1


def _open(
    path: Path,
    name: str | None,
    dialect: str,
    dtype: torch.dtype | None,
    counter: _Counter,
    stack: ExitStack,
) -> _Part:
    kind = None if name is None else "dit" if name in ("high", "low") else name
    view = open_native(stack.enter_context(open_reader(path)), kind)
    identity = identify(view)
    identity.require_supported()
    arch = identity.arch
    if not isinstance(
        arch, AudioArch | None
    ):  # of an encoder of audio all is known by now, without transformers
        check_fits(view, meta_module(arch))
    places = _places(view, _target_dialect(dialect, view))
    infos = {name: _info_out(view, place, dtype) for name, place in places.items()}

    def read(name: str) -> Tensor:
        tensor = places[name].of(view.read(places[name].ours))
        counter.add(infos[name].nbytes)
        return tensor

    return _Part(identity, infos, read)


@dataclass(frozen=True)
class _Place:
    """What a tensor of the target is of one of ours: some rows of it, in a shape."""

    ours: str
    rows: slice
    piece: Piece

    def of(self, whole: Tensor) -> Tensor:
        if self.piece.transposed:
            return whole.T.contiguous()
        return (whole if whole.ndim == 0 else whole[self.rows]).reshape(self.piece.shape)


def _target_dialect(name: str, view: Native) -> Dialect:
    """The dialect of this name that has a word for every tensor."""
    part = view.dialect.part
    candidates: tuple[Dialect, ...]
    if part == "audio":
        candidates = (wav2vec2.RELEASED,)  # every layout has these names
    elif part == "image":
        candidates = (clip.OFFICIAL if name == "official" else clip.TRANSFORMERS,)
    elif name == "comfy":
        candidates = (comfy.TEXT if part == "text" else official.DIT,)
    else:
        candidates = tuple(dialect for dialect in DIALECTS[part] if dialect.name == name)
    for dialect in candidates:
        if all(dialect.from_native(ours) for ours in view.source):
            return dialect
    raise CheckpointError(f"{view.reader.path} has tensors that the {name} dialect has no names for.")


def _places(view: Native, dialect: Dialect) -> dict[str, _Place]:
    """What each tensor of the target is made of, in the order of the source."""
    places = {}
    for ours, shape in view.shapes.items():
        if (theirs := dialect.from_native(ours)) is None:
            continue
        pieces = dialect.fold.cut(theirs, shape, dialect.prefix)
        for i, piece in enumerate(pieces):
            rows = shape[0] // len(pieces) if shape else 0
            places[piece.name] = _Place(ours, slice(i * rows, (i + 1) * rows), piece)
    return places


def _info_out(view: Native, place: _Place, dtype: torch.dtype | None) -> TensorInfo:
    info = view.reader.infos[view.source[place.ours]]
    plain = info.dtype in ("F64", "F32", "F16", "BF16")
    name = DTYPE_NAMES[dtype] if dtype else info.dtype if plain else "BF16"
    shape = place.piece.shape
    return TensorInfo(shape, name, math.prod(shape) * DTYPES[name].itemsize)


def _write_one(part: _Part, target: Path, dialect: str, counter: _Counter, shard_bytes: int) -> None:
    counter.total = part.nbytes
    require_room(target, part.nbytes)
    if target.suffix == ".safetensors":
        target.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(target, part.infos, part.read, _metadata(part))
    elif target.suffix:
        raise OutputError(f"{target}: one network is written as .safetensors or as a folder.")
    else:
        with written_folder(target) as folder:
            transformers = {"diffusers": ("text", "audio", "image")}.get(dialect, ("audio",))
            stem = "model" if part.identity.part in transformers else _STEM
            write_shards(folder, stem, part.infos, part.read, shard_bytes=shard_bytes)
            make = configs.diffusers if dialect == "diffusers" else configs.official
            write_json(folder / "config.json", make(part.identity))


def _metadata(part: _Part) -> dict[str, str]:
    """The numbers that tensors do not show, so that a small model of ours is known from its file alone."""
    return {ARCH_KEY: json.dumps(asdict(part.identity.arch))}


def _write_official(folder: Path, parts: Mapping[str, _Part], layout: Layout, shard_bytes: int) -> None:
    vae = parts["vae"].identity
    configs.require_released_statistics(vae)
    places = {"dit": folder, "high": folder / "high_noise_model", "low": folder / "low_noise_model"}
    for name, place in places.items():
        if name in parts:
            write_shards(place, _STEM, parts[name].infos, parts[name].read, shard_bytes=shard_bytes)
            write_json(place / "config.json", configs.official(parts[name].identity))
    _write_pth(folder / configs.official_vae_file(vae), parts["vae"])
    _write_pth(folder / "models_t5_umt5-xxl-enc-bf16.pth", parts["text"])
    _write_tokenizer(layout.parts["tokenizer"], folder / "google" / "umt5-xxl")
    if "audio" in parts:
        _write_audio(folder / OFFICIAL_AUDIO, parts["audio"], layout.parts["audio"], shard_bytes)
    if "image" in parts:
        _write_pth(folder / OFFICIAL_IMAGE, parts["image"])


def _write_audio(folder: Path, part: _Part, source: Path, shard_bytes: int) -> None:
    """A folder as transformers reads it, with the small files of the source's, if that is one."""
    write_shards(folder, "model", part.infos, part.read, shard_bytes=shard_bytes)
    write_json(folder / "config.json", configs.diffusers(part.identity))
    for name in _AUDIO_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _write_pth(path: Path, part: _Part) -> None:
    tensors = {name: part.read(name).to(DTYPES[info.dtype]) for name, info in part.infos.items()}
    with written(path) as target, target.open("wb") as file:
        torch.save(tensors, file)


def _write_diffusers(folder: Path, parts: Mapping[str, _Part], layout: Layout, shard_bytes: int) -> None:
    first = parts.get("dit") or parts["high"]
    places = {
        "dit": ("transformer", _STEM),
        "high": ("transformer", _STEM),
        "low": ("transformer_2", _STEM),
        "vae": ("vae", _STEM),
        "text": ("text_encoder", "model"),
        "image": (str(DIFFUSERS_IMAGE), "model"),
    }
    for name, part in parts.items():
        if name == "audio":
            _write_audio(folder / DIFFUSERS_AUDIO, part, layout.parts[name], shard_bytes)
            continue
        if name == "image":
            write_json(
                folder / "image_processor" / "preprocessor_config.json",
                configs.image_processor(part.identity),
            )
        place, stem = places[name]
        write_shards(folder / place, stem, part.infos, part.read, shard_bytes=shard_bytes)
        write_json(folder / place / "config.json", configs.diffusers(part.identity))
    tokenizer = _write_tokenizer(layout.parts["tokenizer"], folder / "tokenizer")
    scheduler = configs.scheduler(first.identity, layout.shift, layout.scheduler)
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    index = configs.model_index(
        first.identity,
        experts=2 if "low" in parts else 1,
        boundary=layout.boundary,
        tokenizer=tokenizer,
    )
    index["scheduler"] = ["diffusers", scheduler["_class_name"]]
    index["_class_name"] = layout.pipeline or index["_class_name"]
    write_json(folder / "model_index.json", index)


def _write_comfy(folder: Path, parts: Mapping[str, _Part], layout: Layout, shard_bytes: int) -> None:
    del shard_bytes  # this layout has no shards
    for name, part in parts.items():
        infos, read = dict(part.infos), part.read
        if name == "text":
            place, stem = "text_encoders", f"umt5_xxl_{part.dtype}"
            infos, read = _with_spiece(infos, read, layout)
        elif name == "vae":
            place, stem = "vae", configs.comfy_vae_stem(part.identity)
        elif name == "image":
            place, stem = "clip_vision", "clip_vision_h" if part.identity.variant else "clip_vision"
        elif name == "audio":
            place, stem = "audio_encoders", f"{configs.comfy_audio_stem(part.identity)}_{part.dtype}"
        else:
            place, stem = "diffusion_models", _comfy_stem(name, part)
        path = folder / place / f"{stem}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, infos, read, _metadata(part))
    # ComfyUI has its tokenizer in the text encoder; we and others read tokenizer.json.
    if layout.parts["tokenizer"].is_dir():
        _write_tokenizer(layout.parts["tokenizer"], folder / "tokenizer")


def _comfy_stem(name: str, part: _Part) -> str:
    arch = part.identity.arch
    assert isinstance(arch, DiTArch)
    expert = {"high": "high_noise_", "low": "low_noise_", "dit": ""}[name]
    size = f"{sum(info.count for info in part.infos.values()) / 1e9:.0f}B"
    return f"wan2.2_{part.identity.task}_{expert}{size}_{part.dtype}"


def _with_spiece(
    infos: dict[str, TensorInfo], read: Callable[[str], Tensor], layout: Layout
) -> tuple[dict[str, TensorInfo], Callable[[str], Tensor]]:
    """The text encoder with its tokenizer's bytes as one more tensor, as ComfyUI reads it: those of `spiece.model`, or
    made from a `tokenizer.json`. A tokenizer of another kind has no such bytes: it is copied beside the parts, and a
    warning says that ComfyUI can't read it (of our own models none does: no other program runs them).
    """
    tokenizer = layout.parts["tokenizer"]
    raw = read_spiece(tokenizer)
    if raw is None:
        if not (layout.folder / "variant.json").is_file():
            logger.warning(
                "%s is no SentencePiece tokenizer of the Unigram kind, which ComfyUI needs within the text encoder: "
                "wan22 reads what was written, ComfyUI does not. The tokenizer of the release is google/umt5-xxl.",
                tokenizer,
            )
        return infos, read
    infos[comfy.SPIECE] = TensorInfo((len(raw),), "U8", len(raw))

    def read_more(name: str) -> Tensor:
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8) if name == comfy.SPIECE else read(name)

    return infos, read_more


def _write_tokenizer(source: Path, folder: Path) -> str:
    """Copy the tokenizer's files, and return the class of transformers that opens them."""
    folder.mkdir(parents=True)
    source = source.parent if source.name in _TOKENIZER_FILES else source
    if source.is_dir():
        for name in _TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
    else:
        (folder / "spiece.model").write_bytes(read_spiece(source) or b"")
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        write_json(config, configs.TOKENIZER)
    kind = str(read_json(config).get("tokenizer_class", ""))
    # The UMT5 release says T5Tokenizer, and every Diffusers folder of it T5TokenizerFast.
    return "T5TokenizerFast" if kind in ("", "T5Tokenizer") else kind


_WRITERS = {"official": _write_official, "diffusers": _write_diffusers, "comfy": _write_comfy}
