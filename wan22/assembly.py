"""The parts of a model, from its files: how each is read onto a device, and what says which file it was.

The engine decides where parts rest; here is what one part is and how it is read.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

from wan22.arch import DiTArch, UMT5Arch, VAEArch
from wan22.conditioning.text import Tokenizer
from wan22.library import Model
from wan22.weights.fingerprint import fingerprint, fingerprint_of
from wan22.weights.load import Edit, load_module, meta_module
from wan22.weights.lora import Fitted, LoRA, fit
from wan22.weights.reader import Reader, open_reader
from wan22.weights.tokenizer import read_spiece

Arch = DiTArch | VAEArch | UMT5Arch
Source = Path | Callable[[], Reader]
"""A file or folder of weights, or a function that opens a reader."""

LendEdit = Callable[[], AbstractContextManager[Edit | None]]
ReadPart = Callable[..., nn.Module]
"""Reads a part onto a device; with `lend`, through the edit that it lends meanwhile."""

FLOAT32 = ("norm", "modulation", "time_embedding", "time_projection", "head.")
"""Parts of parameter names that stay float32 in every precision (spec: transformer, section 5)."""


def source_fingerprint(source: Source) -> str:
    """The fingerprint of the weights of a part, for the recipe."""
    if isinstance(source, Path):
        return fingerprint(source)
    with source() as reader:
        return fingerprint_of(reader)


def fit_fast(model: Model) -> Fitted:
    """The adapters for few steps that a model ships, checked like anybody's."""
    alone = model.variant.experts == ("dit",)
    loras = [LoRA(path, expert=None if alone else expert) for expert, path in model.fast.items()]
    return fit(loras, model.variant.experts, model.variant.dit, model.name)


def architectures(model: Model) -> dict[str, Arch]:
    """The sizes of every network of a model, by part; an audio encoder has its own."""
    row = model.variant
    return {**dict.fromkeys(row.experts, row.dit), "vae": row.vae, "text": row.text}


def open_tokenizer(path: Path) -> Tokenizer:
    """From its own file, or from the SentencePiece model that ComfyUI and llama.cpp keep within the text encoder's."""
    if path.is_dir() or path.name == "tokenizer.json":
        return Tokenizer.open(path)
    data = read_spiece(path)
    return Tokenizer.open(path) if data is None else Tokenizer.from_pieces(data)


def read_part(
    source: Source, arch: Arch, dtype: torch.dtype, device: torch.device, lend: LendEdit = nullcontext
) -> nn.Module:
    """Read a network onto a device. Matrices are `dtype`; what FLOAT32 names stays float32 in a transformer."""

    def dtype_of(name: str) -> torch.dtype:
        keep = isinstance(arch, DiTArch) and any(part in name for part in FLOAT32)
        return torch.float32 if keep else dtype

    with open_reader(source) if isinstance(source, Path) else source() as reader, lend() as edit:
        return load_module(meta_module(arch), reader, dtype=dtype_of, device=device, edit=edit)
