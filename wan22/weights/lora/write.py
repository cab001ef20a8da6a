"""Write LoRAs: a file from tensors (a trainer's end), and one dialect from another.

What a dialect has no word for is refused, never dropped: Diffusers and kohya know pairs of matrices only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from wan22.atomic import written_folder
from wan22.errors import CheckpointError, OutputError, choose
from wan22.weights.dtypes import DTYPE_NAMES
from wan22.weights.edits.lora import Change, finite
from wan22.weights.lora import names
from wan22.weights.lora.file import EXPERT_KEY, Adapter, open_adapters
from wan22.weights.reader import Reader, TensorInfo, open_reader
from wan22.weights.writer import require_room, write_safetensors

TARGETS = ("diffusers", "comfy", "kohya", "lightx2v")

_STALE = ("format", "lora_adapter_metadata")  # what metadata says of the names and scales of another dialect
_Tensors = dict[str, tuple[TensorInfo, Callable[[], Tensor]]]


def convert_lora(source: str | Path, target: str | Path, dialect: str) -> Path:
    """Convert a LoRA to the dialect "diffusers", "comfy", "kohya" or "lightx2v", and return the target.

    A file becomes a file (`.safetensors`); a pair becomes a folder with `high_noise.safetensors` and
    `low_noise.safetensors`. Matrices keep their dtype. Diffusers' names carry no alpha: there the second matrix of a
    scaled pair is multiplied by the scale, in float32.

    Raises CheckpointError if the source is no plain LoRA, holds numbers that are not finite, or has a full difference
    for which the dialect has no word, OutputError if the target exists or has no room, OptionError for an unknown
    dialect.
    """
    choose("LoRA dialect", dialect, TARGETS)
    target = Path(target).expanduser()
    if target.exists():
        raise OutputError(f"{target} exists already. Name a new place, or remove it.")
    adapters = open_adapters(source, image=None)
    if len(adapters) == 1 and target.suffix != ".safetensors":
        raise OutputError(f"{target}: a LoRA is written as one .safetensors file")
    if len(adapters) > 1 and target.suffix:
        raise OutputError(f"{target}: {source} is a pair, which is written as a folder")
    for adapter in adapters:  # all of a pair, before any of it is written
        _check_finite(adapter)
    if len(adapters) == 1:
        _convert(adapters[0], target, dialect)
        return target
    with written_folder(target) as folder:
        for adapter in adapters:
            _convert(adapter, folder / f"{adapter.expert}_noise.safetensors", dialect)
    return target


def write_lora(
    path: str | Path,
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    *,
    alpha: float,
    expert: str | None = None,
    dialect: str = "comfy",
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write `pairs` of (down (rank, in), up (out, rank)) by official parameter name, such as
    "blocks.0.self_attn.q.weight", as one LoRA of scale alpha / rank, and return the path.

    `expert` ("high", "low") is told in the metadata. Raises OutputError if the place cannot be written, OptionError
    for an unknown dialect.
    """
    choose("LoRA dialect", dialect, TARGETS)
    path = Path(path).expanduser()
    tensors: _Tensors = {}
    for parameter, (down, up) in pairs.items():
        _put_pair(tensors, parameter, (_held(down), _held(up)), alpha / down.shape[0], dialect)
    _write(path, tensors, (metadata or {}) | ({EXPERT_KEY: expert} if expert else {}))
    return path


def _check_finite(adapter: Adapter) -> None:
    with open_reader(adapter.path) as reader:
        for change in (change for changes in adapter.changes.values() for change in changes):
            for name in filter(None, (change.down, change.up)):
                finite(reader, name)


def _convert(adapter: Adapter, path: Path, dialect: str) -> None:
    metadata = {key: value for key, value in adapter.metadata.items() if key not in _STALE}
    if adapter.expert is not None:
        metadata[EXPERT_KEY] = adapter.expert
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader(adapter.path))
        tensors: _Tensors = {}
        for parameter, changes in adapter.changes.items():
            for change in changes:
                if change.down is None:
                    _put_difference(
                        tensors, adapter, parameter, (change, _stored(reader, change.up)), dialect
                    )
                else:
                    two = _stored(reader, change.down), _stored(reader, change.up)
                    _put_pair(tensors, parameter, two, change.scale, dialect)
        _write(path, tensors, metadata)


_Held = tuple[TensorInfo, Callable[[], Tensor]]
"""A tensor that is there when it is asked for."""


def _stored(reader: Reader, name: str) -> _Held:
    return reader.infos[name], lambda: reader.read(name)


def _held(tensor: Tensor) -> _Held:
    tensor = tensor.detach().cpu()
    return TensorInfo(tuple(tensor.shape), DTYPE_NAMES[tensor.dtype], tensor.nbytes), lambda: tensor


def _put_pair(
    tensors: _Tensors, parameter: str, pair: tuple[_Held, _Held], scale: float, dialect: str
) -> None:
    down, up = pair
    module = _module(names.module_of(parameter), parameter, dialect)
    kohya_endings = dialect in ("kohya", "lightx2v")
    first, second = ("lora_down", "lora_up") if kohya_endings else ("lora_A", "lora_B")
    if dialect == "diffusers" and scale != 1:
        up = _scaled(up, scale)
    tensors[f"{module}.{first}.weight"] = down
    tensors[f"{module}.{second}.weight"] = up
    if dialect == "kohya" or (dialect != "diffusers" and scale != 1):
        tensors[f"{module}.alpha"] = _held(torch.tensor(scale * down[0].shape[0], dtype=torch.float32))


def _put_difference(
    tensors: _Tensors, adapter: Adapter, parameter: str, given: tuple[Change, _Held], dialect: str
) -> None:
    if dialect in ("diffusers", "kohya"):
        raise CheckpointError(
            f"{adapter.path} has {adapter.differences} full differences, such as that of {parameter}, and the "
            f"{dialect} dialect has no word for them; convert it to lightx2v or comfy."
        )
    change, held = given
    module, _, leaf = parameter.rpartition(".")
    # ComfyUI finds a parameter that is no weight or bias by its whole name.
    endings = {"weight": f"{module}.diff", "bias": f"{module}.diff_b"}
    other = f"{module}.diff_m" if dialect == "lightx2v" else f"{parameter}.diff"
    name = endings.get(leaf, other)
    tensors[f"diffusion_model.{name}"] = held if change.scale == 1 else _scaled(held, change.scale)


def _scaled(held: _Held, scale: float) -> _Held:
    info, read = held
    shape, wide = info.shape, torch.float32
    return TensorInfo(shape, DTYPE_NAMES[wide], info.count * wide.itemsize), lambda: read().float() * scale


def _module(module: str, parameter: str, dialect: str) -> str:
    """What stands before the ending of a key."""
    if dialect == "kohya":
        return f"lora_unet_{names.flat(module)}"
    if dialect == "diffusers":
        theirs = names.diffusers_name(parameter)
        assert theirs is not None, f"{parameter} was read by the same table"
        if names.is_cut_by_diffusers(theirs):
            raise CheckpointError(
                f"Diffusers has two matrices where {parameter} is one: convert this LoRA to comfy, kohya or lightx2v."
            )
        return f"transformer.{names.module_of(theirs)}"
    return f"diffusion_model.{module}"


def _write(path: Path, tensors: _Tensors, metadata: Mapping[str, str]) -> None:
    infos = {name: info for name, (info, _) in tensors.items()}
    require_room(path, sum(info.nbytes for info in infos.values()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    write_safetensors(path, infos, lambda name: tensors[name][1](), metadata)
