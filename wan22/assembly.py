"""The parts of a model, from its files: how each is read onto a device, and what says which file it was.

The engine decides where parts rest; here is what one part is and how it is read.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wan22.arch import CLIPArch, DiTArch, UMT5Arch, VAEArch
from wan22.catalog import Variant, calibration_of
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, OptionError, ParallelError
from wan22.files import read_bytes, read_json, reading
from wan22.library import Model
from wan22.memory.device import channels_last, pick_device, pick_dtype, pick_vae_dtype
from wan22.memory.placement import Load
from wan22.memory.precision import pick_compute_dtype, pick_keep
from wan22.memory.scheme import Rest
from wan22.memory.stream import BlockStream, CopyLane, HostLane, Lane, LayerStream, OnHost, ReadBlock, Rows
from wan22.models.vae import WanVAE, layers
from wan22.ops.attention import Attention, attend, open_attention
from wan22.ops.gpu import why_no_compiler
from wan22.ops.stored import Keep
from wan22.types import Request
from wan22.weights.fingerprint import fingerprint, fingerprint_of
from wan22.weights.load import Edit, Weights, check_complete, meta_module
from wan22.weights.lora import Fitted, LoRA, fit
from wan22.weights.reader import Reader, open_reader, weight_files
from wan22.weights.tokenizer import read_spiece

if TYPE_CHECKING:
    from wan22.parallel.weights import SharedWeights

Arch = DiTArch | VAEArch | UMT5Arch | CLIPArch
Source = Path | Callable[[], Reader]
"""A file or folder of weights, or a function that opens a reader."""

SMALL = 200_000_000
"""Parameters up to which a model counts as small: float32 on the CPU, both guidance branches in one batch."""

LendEdit = Callable[[], AbstractContextManager[Edit | None]]
FLOAT32 = ("norm", "modulation", "time_embedding", "time_projection", "head.")
"""Parts of parameter names that stay float32 in every precision (spec: transformer, section 5)."""


def source_fingerprint(source: Source) -> str:
    """The fingerprint of the weights of a part, for the recipe."""
    if isinstance(source, Path):
        return fingerprint(source)
    with source() as reader:
        return fingerprint_of(reader)


def calibrated(variant: Variant, path: str | os.PathLike[str]) -> Variant:
    """The row with the calibration in a file that `wan22 generate --calibrate` wrote. Raises CheckpointError."""
    with reading(path, CheckpointError, "is no calibration of wan22"):
        experts = read_json(path, CheckpointError)["experts"]
        if set(experts) != set(variant.experts):
            raise CheckpointError(
                f"{path} was measured with a model of the experts {', '.join(experts)}, and those of {variant.name} "
                f"are {', '.join(variant.experts)}"
            )
        return replace(variant, calibration=calibration_of(experts, variant.experts, str(path)))


def digest(path: str | os.PathLike[str]) -> str:
    """A hash of a small file, for the recipe."""
    return f"sha256:{hashlib.sha256(read_bytes(path, CheckpointError)).hexdigest()}"


def fit_fast(model: Model) -> Fitted:
    """The adapters for few steps that a model ships, checked like anybody's."""
    alone = model.variant.experts == ("dit",)
    loras = [LoRA(path, expert=None if alone else expert) for expert, path in model.fast.items()]
    return fit(loras, model.variant.experts, model.variant.dit, model.name)


def fit_relight(model: Model) -> Fitted:
    """The adapter for light that lies beside a model, checked like anybody's."""
    loras = [] if model.relight is None else [LoRA(model.relight)]
    return fit(loras, model.variant.experts, model.variant.dit, model.name)


def own_adapters(request: Request, fast: Fitted, relight: Fitted) -> dict[str, Fitted]:
    """Those of a model's own adapters that a request asks for, by their names in the recipe."""
    asked = {"fast": fast} if request.fast else {}
    if relight.uses and request.relight and request.driving is not None and request.driving.replaces:
        uses = (replace(use, strength=use.strength * request.relight) for use in relight.uses)
        names = ", ".join(relight.recipe())
        asked["relighting"] = Fitted(
            tuple(uses), (f"the person's light is fitted by {names}; relight 0 leaves it",)
        )
    return asked


def architectures(model: Model) -> dict[str, Arch]:
    """The sizes of every network of a model, by part; an audio encoder has its own."""
    row = model.variant
    image = {} if row.image_encoder is None else {"image": row.image_encoder}
    return {**dict.fromkeys(row.experts, row.dit), "vae": row.vae, "text": row.text, **image}


def open_tokenizer(path: Path) -> Tokenizer:
    """From its own file, or from the SentencePiece model that ComfyUI and llama.cpp keep within the text encoder's."""
    if path.is_dir() or path.name == "tokenizer.json":
        return Tokenizer.open(path)
    data = read_spiece(path)
    return Tokenizer.open(path) if data is None else Tokenizer.from_pieces(data)


@dataclass(frozen=True)
class Skeleton:
    """A network on the meta device, with the layers that it will have.

    as_stored: how many matrices stay in each form that they are quantised to in the file, by its name; widened: how
    many are quantised there and cannot stay so.
    """

    module: nn.Module
    as_stored: Mapping[str, int]
    widened: int

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return sum(t.nbytes for t in (*self.module.parameters(), *self.module.buffers()))

    def notices(self, part: str, quantize: str | None) -> list[str]:
        """What people may not expect of how it is kept."""
        said = []
        if self.as_stored and quantize is not None:
            forms = " and ".join(f"{count} in {form}" for form, count in self.as_stored.items())
            said.append(f"--quantize {quantize} leaves what is quantised already in {part!r}: {forms}")
        if self.widened:
            said.append(
                f"{self.widened} matrices of {part!r} are dequantised: they do not lie in rows of whole blocks"
            )
        return said


@dataclass(frozen=True)
class PartSource:
    """How one network of a model is read: from where, its sizes, the dtype and the form of its matrices, and the edit
    that changes its tensors on the way (`lend` opens what that reads from). A transformer computes by `attention`, and
    what is between by PyTorch's compiler if `compiled`. Convolutions have their channels last if `channels_last`.
    `shared` divides blocks among ranks, where they rest there.
    """

    source: Source
    arch: Arch
    dtype: torch.dtype
    keep: Keep = Keep()  # noqa: RUF009 - it is frozen
    lend: LendEdit = nullcontext
    attention: Attention = attend
    compiled: bool = False
    channels_last: bool = False
    shared: SharedWeights | None = None

    def skeleton(self) -> Skeleton:
        """The network on the meta device, as it will be. Raises as `load_module` does."""
        with ExitStack() as stack:
            module = meta_module(self.arch)
            weights = self._weights(module, stack)
            return Skeleton(module, weights.as_stored, len(weights.widened))

    def __call__(self, device: torch.device) -> nn.Module:
        """Read it whole onto a device."""
        with ExitStack() as stack:
            module = self._module()
            self._weights(module, stack).fill(module, device)
        check_complete(module)
        for weight in module.parameters() if self.channels_last else ():
            weight.data = channels_last(weight.data)
        return module.eval()

    def stream(self, device: torch.device, rest: Rest) -> nn.Module:
        """Read what is at work all the time; its blocks come one by one, from the host, the disk or the ranks.

        Raises ParallelError for blocks that rest on ranks if there are none.
        """
        stack = ExitStack()
        module = self._module()
        weights = self._weights(module, stack)
        weakref.finalize(module, stack.close)  # it reads as long as it lives
        chains = passing(module)
        hosted = [path for path in ON_HOST if _has(module, path)] if device.type != "cpu" else []
        away = tuple(f"{path}." for path in (*(p for chain in chains for p in chain), *hosted, EMBEDDING))
        weights.fill(module, device, [name for name in weights.names() if not name.startswith(away)])
        for path in hosted:
            weights.fill(module, "cpu", weights.names(f"{path}."))
            setattr(module, path, OnHost(module.get_submodule(path)))
        if isinstance(self.arch, UMT5Arch):
            setattr(module, EMBEDDING, Rows(partial(weights.read_rows, f"{EMBEDDING}.weight")))
        self._stream(module, chains, weights, device, rest)
        return module.eval()

    def _stream(
        self,
        module: nn.Module,
        chains: Sequence[Sequence[str]],
        weights: Weights,
        device: torch.device,
        rest: Rest,
    ) -> None:
        """Have these chains of a network pass through the device."""
        keep = rest in ("host", "ranks")

        def lane(paths: Sequence[str]) -> tuple[ReadBlock, Lane]:
            read = partial(self._read, weights, paths)
            if rest != "ranks":
                return read, HostLane() if device.type == "cpu" else CopyLane(device)
            if self.shared is None:
                raise ParallelError("weights cannot rest on ranks, for there is one process")
            return self.shared.reading([module.get_submodule(p) for p in paths], read), self.shared.lane()

        if isinstance(module, WanVAE):
            layers = [[module.get_submodule(path) for path in chain] for chain in chains]
            every = [path for chain in chains for path in chain]
            module.add_module("stream", LayerStream(layers, *lane(every), keep=keep))
            return
        for chain in chains:
            path = chain[0].rpartition(".")[0]
            parent, _, leaf = path.rpartition(".")
            stream = BlockStream(list(module.get_submodule(path)), *lane(chain), keep=keep)
            setattr(module.get_submodule(parent), leaf, stream)

    def _read(
        self, weights: Weights, paths: Sequence[str], i: int, some: Container[str] | None = None
    ) -> dict[str, Tensor]:
        """A block, by the names within it: all of it, or at least `some`."""
        prefix = f"{paths[i]}."
        names = [
            name
            for name in weights.names(prefix)
            if some is None or any(part.removeprefix(prefix) in some for part in weights.parts(name))
        ]
        read = [weights.read(name) for name in names]
        found = {part.removeprefix(prefix): tensor for tensors in read for part, tensor in tensors.items()}
        return {part: channels_last(t) for part, t in found.items()} if self.channels_last else found

    def read_ahead(self) -> None:
        """Have the system read the files into its cache, while something else is computed."""
        if isinstance(self.source, Path) and hasattr(os, "posix_fadvise"):
            for path in weight_files(self.source):
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def _module(self) -> nn.Module:
        if not (self.compiled and isinstance(self.arch, DiTArch)):
            return meta_module(self.arch, self.attention)
        module = meta_module(self.arch, torch.compiler.disable(self.attention))
        for path in STREAMED:
            for block in module.get_submodule(path).children() if _has(module, path) else ():
                block.__class__ = compiled(type(block))
        return module

    def _weights(self, module: nn.Module, stack: ExitStack) -> Weights:
        source = self.source
        reader = stack.enter_context(open_reader(source) if isinstance(source, Path) else source())
        edit = stack.enter_context(self.lend())
        return Weights(module, reader, dtype=self._dtype_of, edit=edit, keep=self.keep)

    def _dtype_of(self, name: str) -> torch.dtype:
        keep = isinstance(self.arch, DiTArch) and any(part in name for part in FLOAT32)
        return torch.float32 if keep else self.dtype


def image_dtype(compute: torch.dtype) -> torch.dtype:
    """What the image tower computes in: float16 as in the release, or float32 if the transformer does."""
    return torch.float32 if compute == torch.float32 else torch.float16


@dataclass(frozen=True)
class Numerics:
    """What a model computes with: the dtype that its large matrices are kept in, the one that they are multiplied in,
    that of the VAE, the form of the matrices, the backend of attention, whether blocks are compiled, and what people
    may not expect of it.
    """

    dtype: torch.dtype
    compute: torch.dtype
    vae: torch.dtype
    keep: Keep
    attention: Attention
    compiled: bool
    notices: tuple[str, ...]


def choose_numerics(
    model: Model,
    device: torch.device,
    dtype: str,
    compute_dtype: str,
    vae_dtype: str,
    quantize: str | None,
    attention: str,
    *,
    compiled: bool,
) -> Numerics:
    """What people asked for, as values. Raises OptionError or DeviceError for what cannot be used here."""
    arches = architectures(model).values()
    small = sum(p.numel() for arch in arches for p in meta_module(arch).parameters()) <= SMALL
    held = pick_dtype(dtype, device, small=small)
    compute = pick_compute_dtype(compute_dtype, held, device)
    keep, notices = pick_keep(quantize, compute, device)
    row = model.variant.dit
    attend = open_attention(attention, device, compute, row.dim // row.heads)
    if compiled and (why := why_no_compiler(device)):
        raise OptionError(f"compile cannot be used: {why}")
    return Numerics(held, compute, pick_vae_dtype(vae_dtype), keep, attend, compiled, tuple(notices))


def sources(
    model: Model, source: Mapping[str, Source], how: Numerics, shared: SharedWeights | None = None
) -> dict[str, PartSource]:
    """How each network of a model is read. shared: divides it among ranks, if there are some."""
    return {
        part: PartSource(
            source[part],
            arch,
            {"vae": how.vae, "image": image_dtype(how.compute)}.get(part, how.dtype),
            Keep() if part == "image" else how.keep,
            attention=how.attention,
            compiled=how.compiled,
            shared=shared,
        )
        for part, arch in architectures(model).items()
    }


def said(
    how: Numerics, attention: str, quantize: str | None, calibration: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """The options that a recipe says, without those that are as ever."""
    return {
        **({"attention": attention} if attention != "auto" else {}),
        **({"compile": True} if how.compiled else {}),
        **({"quantize": quantize} if how.keep.quantize else {}),
        **({"vae_dtype": "bfloat16"} if how.vae == torch.bfloat16 else {}),
        **({"calibration": digest(calibration)} if calibration is not None else {}),
    }


def apart(asked: Mapping[str, str | None], device: torch.device, how: Numerics) -> dict[str, torch.device]:
    """The devices of parts that are asked for, where they are others than that of the rest.

    Raises DeviceError if one is not here, or does not have the dtype.
    """
    found = {part: pick_device(name) for part, name in asked.items() if name is not None}
    for place in found.values():
        pick_dtype(how.dtype, place, small=False)
    return {part: place for part, place in found.items() if place != device}


def loaders(
    model: Model, read: Mapping[str, PartSource], device: torch.device
) -> tuple[dict[str, Load], dict[str, int]]:
    """What reads each part, the VAE for this device, with the encoder of audio, if there is one, and its bytes."""
    made: dict[str, Load] = dict(read)
    if device.type == "cuda":
        made["vae"] = replace(read["vae"], channels_last=True)
    if model.variant.speech is None:
        return made, {}
    from wan22.weights.wav2vec2 import audio_parameters, load_audio_encoder

    made["audio"] = partial(load_audio_encoder, model.parts["audio"])
    return made, {"audio": audio_parameters(model.parts["audio"]) * torch.float32.itemsize}


STREAMED = (
    "blocks",
    "audio_injector.injector",
    "audio_injector.injector_adain_layers",
    "face_adapter.fuser_blocks",
)
"""Lists of a network whose members are used one after the other."""

ON_HOST = ("time_embedding", "time_projection")
"""Large weights with little work: one vector a step."""

EMBEDDING = "token_embedding"
"""Of the text encoder: a quarter of a million rows, of which a prompt needs a few."""


@lru_cache(maxsize=8)
def compiled(block: type[nn.Module]) -> type[nn.Module]:
    """The class of blocks that are compiled: the first call does it, for all blocks of a network at once.

    A class has no state: copies of a block, and blocks whose tensors come and go, are compiled like any other.
    Attention is left out, for it is a kernel already.
    """
    return type(block.__name__, (block,), {"forward": torch.compile(block.forward), "__doc__": block.__doc__})


def passing(network: nn.Module) -> list[list[str]]:
    """What of a network passes through the device where it is streamed: chains of modules, by their paths, each in the
    order of its work. Of the transformers and the text encoder, two of each chain are there at once; of the VAE, two in
    all, for it is at work with one of its chains or the other.
    """
    if isinstance(network, WanVAE):
        return [
            [path for path, _ in layers(network.get_submodule(half), f"{half}.")]
            for half in ("encoder", "decoder")
        ]
    lists = {path: network.get_submodule(path) for path in STREAMED if _has(network, path)}
    return [[f"{path}.{name}" for name, _ in blocks.named_children()] for path, blocks in lists.items()]


def _has(module: nn.Module, path: str) -> bool:
    return any(name == path for name, _ in module.named_modules())
