"""Load a checkpoint into a module: read a tensor, rename it, undo its quantisation, add LoRAs, cast it, place it.

One tensor is in flight at a time, so a network is never in memory twice. Everything that can be wrong with
names and shapes is said before any data is read. What is quantised may stay so (`Keep`): then a `StoredLinear` stands
in place of a `Linear`, and LoRAs are beside its weight and not in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from wan22.errors import CheckpointError, KeysError
from wan22.models.clip import CLIPVision
from wan22.models.linear import Linear, StoredLinear
from wan22.models.meta import meta_module  # noqa: F401 - for all who fill one
from wan22.ops.stored import FLOAT8, Int4, Keep, Scaled, form_for
from wan22.weights.dialects import ALL, dialects_in
from wan22.weights.edits.quantised import find_scales
from wan22.weights.native import Native, seen_through
from wan22.weights.reader import Reader

DtypeOf = Callable[[str], torch.dtype]
"""The dtype that the parameter of this (official) name is to have."""


class Edit(Protocol):
    """What changes tensors while they load, by their official names."""

    def __call__(self, name: str, tensor: Tensor, /) -> Tensor:
        """The tensor to use in place of this one, dequantised, and of the same shape."""
        ...

    def rank(self, name: str) -> int | None:
        """The rank of what is added to a matrix, 0 if nothing is; None if it is no product of two factors."""
        ...

    def factors(self, name: str) -> tuple[Tensor, Tensor]:
        """Float32 factors down (rank, in) and up (out, rank), whose product up @ down is added."""
        ...


Progress = Callable[[int, int], None]
"""Called with (bytes read, bytes in all)."""

Module = TypeVar("Module", bound=nn.Module)
Value = TypeVar("Value")


def load_module(
    module: Module,
    reader: Reader,
    *,
    dtype: torch.dtype | DtypeOf,
    device: str | torch.device = "cpu",
    edit: Edit | None = None,
    progress: Progress | None = None,
) -> Module:
    """Fill `module`, which is on the meta device and has the official names, and return it in eval mode.

    `dtype` is one dtype for all, or a function of the official name. `edit` may change a tensor before it is cast.
    The dialect is the one in which most names are the module's. Parameters do not require gradients afterwards.

    Raises KeysError, before reading data, if a tensor is missing, unexpected or misshapen; CheckpointError if
    the file is quantised in a way not known here, or damaged.
    """
    Weights(module, reader, dtype=dtype, edit=edit).fill(module, device, progress=progress)
    check_complete(module)
    return module.eval()


class Weights:
    """The tensors of an open checkpoint for one module, checked by names and shapes: all at once, or a block at a time.

    It reads when it is asked, so the reader, and what `edit` reads from, must stay open as long.
    """

    def __init__(
        self,
        module: nn.Module,
        reader: Reader,
        *,
        dtype: torch.dtype | DtypeOf,
        edit: Edit | None = None,
        keep: Keep | None = None,
    ) -> None:
        """With `keep`, `StoredLinear`s take the place of linear layers in `module`. Raises as `load_module` does."""
        self._view = _nearest(reader, module.state_dict())
        check_fits(self._view, module)
        self._view = replace(self._view, source=_used(self._view.source, module))
        self._dtype: DtypeOf = (lambda name: dtype) if isinstance(dtype, torch.dtype) else dtype
        self._edit, self._keep = edit, keep
        self._layers: dict[str, StoredLinear] = {}
        self._linears: list[str] = []
        if keep is not None:
            self._store_all(module, keep)

    @property
    def as_stored(self) -> Counter[str]:
        """How many matrices are kept in each quantised form that the file has them in."""
        of_file = {name: self._view.form(name) for name in self._layers}
        return Counter(form.name for name, form in of_file.items() if form == self._layers[name].form)

    @property
    def widened(self) -> list[str]:
        """Matrices that are quantised in the file and cannot stay so."""
        return [name for name in self._linears if self._view.quantised(name) and name not in self._layers]

    def _store_all(self, module: nn.Module, keep: Keep) -> None:
        for path, layer in list(module.named_modules()):
            if type(layer) is Linear:
                self._linears.append(f"{path}.weight")
                self._store(module, path, layer, keep)
        # So that the bytes of the module are those that it will hold.
        for name, tensor in module.state_dict().items():
            if name in self._view.source:
                assign(module, name, torch.empty_like(tensor, dtype=self._dtype(name), device="meta"))

    def _store(self, module: nn.Module, path: str, layer: Linear, keep: Keep) -> None:
        """Say what a layer computes in, or put a `StoredLinear` in its place if its weight is kept in another form."""
        name = f"{path}.weight"
        rank = 0 if self._edit is None else self._edit.rank(name)
        form = None if rank is None else self._view.form(name)
        if form is not None and not keep.float8 and form.layout(1, 1)["data"][1] in FLOAT8:
            form = None
        elif form is None and rank is not None and keep.quantize is not None:
            form = form_for(keep.quantize, layer.in_features)
        if form is None:
            layer.compute = keep.compute
            return
        dtype = keep.compute or self._dtype(name)
        stored = StoredLinear(layer, form, dtype, rank=rank or 0, products=keep.products)
        parent, _, leaf = path.rpartition(".")
        setattr(module.get_submodule(parent), leaf, stored)
        self._layers[name] = stored

    def nbytes(self, name: str) -> int:
        """Bytes of a tensor in the file."""
        return self._view.reader.infos[self._view.source[name]].nbytes

    def names(self, prefix: str = "") -> list[str]:
        """The official names that begin so, in the order of the files: disks like that."""
        return [name for name in self._view.source if name.startswith(prefix)]

    def parts(self, name: str) -> list[str]:
        """The names in the module of what `read(name)` gives."""
        layer = self._layers.get(name)
        return [name] if layer is None else [name.removesuffix("weight") + part for part in layer._buffers]

    def read(self, name: str, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """Read one tensor, changed and cast; or what stands in its place in the module, by name."""
        layer = self._layers.get(name)
        if layer is None:
            return {name: self._whole(name).to(device=device, dtype=self._dtype(name))}
        prefix = name.removesuffix("weight")
        kept = {part: tensor.to(device) for part, tensor in self._kept(name, layer, device).items()}
        if layer.rank and self._edit is not None:
            down, up = self._edit.factors(name)
            kept |= {"lora_down": down.to(device, layer.dtype), "lora_up": up.to(device, layer.dtype)}
        return {f"{prefix}{part}": tensor for part, tensor in kept.items()}

    def _kept(self, name: str, layer: StoredLinear, device: str | torch.device) -> Mapping[str, Tensor]:
        """The buffers of a stored weight: as the file has them, or quantised on the device."""
        if self._view.form(name) == layer.form:
            return self._view.read_stored(name)
        assert isinstance(layer.form, Scaled | Int4)
        weight = self._view.read(name).to(device)
        if not bool(weight.isfinite().all()):
            raise CheckpointError(f"{self._view.reader.path}: {name} holds numbers that are not finite")
        return layer.form.encode(weight)

    def _whole(self, name: str) -> Tensor:
        tensor = self._view.read(name)
        return tensor if self._edit is None else self._edit(name, tensor)

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        """Read some rows (n,) of a matrix, as `read` gives them, on the CPU. It must not have an edit."""
        return self._view.read_rows(name, rows).to(self._dtype(name))

    def fill(
        self,
        module: nn.Module,
        device: str | torch.device,
        names: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Read tensors (all, or those named) into `module`, onto the device."""
        names = self.names() if names is None else names
        total, done = sum(map(self.nbytes, names)), 0
        for name in names:
            for part, tensor in self.read(name, device).items():
                assign(module, part, tensor)
            done += self.nbytes(name)
            if progress:
                progress(done, total)


def _nearest(reader: Reader, wanted: Mapping[str, object]) -> Native:
    scales = find_scales(reader)
    views = [seen_through(reader, dialect, scales) for dialect in dialects_in(reader.infos) or ALL]
    return max(views, key=lambda view: len(view.source.keys() & wanted.keys()) - len(view.unknown))


def check_fits(view: Native, module: nn.Module) -> None:
    """Raise KeysError unless the checkpoint has exactly the tensors of `module`. Reads no weights."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    shapes = view.shapes
    missing = [name for name in wanted if name not in shapes]
    used = _used(shapes, module)
    unexpected = [view.source[name] for name in used if name not in wanted] + list(view.unknown)
    misshapen = [
        f"{view.source[name]} is {list(shapes[name])}, not {list(shape)}"
        for name, shape in wanted.items()
        if name in shapes and shapes[name] != shape
    ]
    problems = [
        f"{len(names)} {kind}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if names
    ]
    if problems:
        known = len(wanted) - len(missing)
        raise KeysError(
            f"{view.reader.path} does not fit {type(module).__name__}. {'; '.join(problems)}. "
            f"Nearest dialect: {view.dialect.name} ({known} of {len(wanted)} names). "
            "`wan22 inspect` says what the file is."
        )


def _used(names: Mapping[str, Value], module: nn.Module) -> dict[str, Value]:
    """What a module computes with, of the tensors of its checkpoint: all but the end of CLIP's tower."""
    leaves = module.is_unused if isinstance(module, CLIPVision) else lambda _: False
    return {name: value for name, value in names.items() if not leaves(name)}


def check_reader(reader: Reader, module: nn.Module) -> None:
    """Raise as `check_fits` unless `load_module` could fill `module` from these tensors, whatever their dialect."""
    check_fits(_nearest(reader, module.state_dict()), module)


def assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of the parameter or buffer of this name."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor


def check_complete(module: nn.Module) -> None:
    """Raise CheckpointError for a buffer on the meta device: one that no file holds must be made by the module."""
    left = [name for name, tensor in module.named_buffers() if tensor.is_meta]
    if left:
        raise CheckpointError(
            f"{type(module).__name__} leaves {left[0]} on the meta device: no file holds it."
        )
