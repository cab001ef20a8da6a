"""Scaled fp8 and int8: find each quantised weight's scale, and multiply it back in while loading.

All producers store `X.weight` in 8 bits beside a scale, and differ in its name and shape: one number, one per output
channel [out, 1], or one per block of inputs [out, blocks, 1]. int8 may be rotated too (ConvRot, arXiv 2512.03673):
each group of inputs was multiplied by a regular Hadamard matrix, which is its own inverse. Weights in fp8 without a
scale are ordinary tensors (their values are plain casts). What else is said of a weight is in `markers.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan22.errors import CheckpointError
from wan22.weights.edits.markers import FORMATS, MARKER, WHAT_WORKS, Marker, read_markers, refuse_foreign

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wan22.ops.stored import Scaled
    from wan22.weights.reader import Reader

_SCALES = (".scale_weight", ".weight_scale")  # until 2025 and since; both are around
_ASIDE = (".scale_input", ".input_scale", MARKER)  # for fp8 arithmetic, which is not used here
_LEGACY = "scaled_fp8"
_EIGHT_BITS = ("F8_E4M3", "F8_E5M2", "I8")
_PLAIN = ("F64", "F32", "F16", "BF16")
_NO_NUMBERS = ("F8_E8M0", "I64", "I32", "I16", "U8", "BOOL")
_PARAMETERS = ("weight", "weights", "bias", "gamma", "modulation", "scale_shift_table")
_WIDTH = {"dit": ("patch_embedding.weight", 0), "text": ("token_embedding.weight", 1)}
"""Where a part shows how wide its blocks are: a tensor that no one quantises to 4 bits, and the axis."""
_OF_WIDTH = re.compile(r"^blocks\.\d+\.(?:\w*attn\.[qkv]|ffn\.(?:0|fc1|gate\.0))\.weight$")
"""Matrices with as many inputs."""
_KINDS = {"F8_E4M3": "nvfp4", "F8_E8M0": "mxfp8 or mxfp4", "U8": "mxfp8 or mxfp4"}
"""What a scale of this dtype is a sign of."""


@dataclass(frozen=True)
class Scales:
    """`of` maps a quantised weight to its scale, `rotated` a rotated one to the size of its groups; `aside` are the
    names that only serve quantisation.
    """

    of: Mapping[str, str]
    aside: frozenset[str]
    rotated: Mapping[str, int]


def find_scales(reader: Reader) -> Scales:
    """Pair weights with scales, by the names of the file and its markers.

    Raises CheckpointError, before a weight is read, if the file is quantised in any way that is not known here.
    """
    markers = read_markers(reader)
    refuse_foreign(reader)
    of: dict[str, str] = {}
    aside = set()
    for name in reader.infos:
        suffix = next((s for s in _SCALES if name.endswith(s)), None)
        if suffix and (weight := f"{name.removesuffix(suffix)}.weight") in reader.infos:
            if weight in of:
                raise CheckpointError(
                    f"{reader.where(name)}: {weight} has two scales, {of[weight]} and {name}. {WHAT_WORKS}"
                )
            of[weight] = name
            aside.add(name)
        elif name.endswith(_ASIDE) or name.rpartition(".")[2] == _LEGACY:
            aside.add(name)
    for weight, scale in tuple(of.items()):
        if reader.infos[weight].dtype in _PLAIN:
            _check_one(reader, weight, scale)
            del of[weight]
        else:
            _check_scale(reader, weight, scale)
    for weight, marker in markers.items():
        _check_marker(reader, weight, marker, of.get(weight))
    rotated = {weight: marker.rotated for weight, marker in markers.items() if marker.rotated}
    return Scales(of, frozenset(aside), rotated)


def check_numbers(reader: Reader, name: str, scales: Scales) -> None:
    """Raise CheckpointError if a parameter is stored as whole numbers whose meaning nothing says."""
    kind = reader.infos[name].dtype
    if name.rpartition(".")[2] not in _PARAMETERS:
        return  # other bytes that lie in such files, as a tokenizer does
    if kind == "I8" and name not in scales.of:
        raise CheckpointError(f"{reader.where(name)}: {name} is int8 without a scale. {WHAT_WORKS}")
    if kind in _NO_NUMBERS:
        raise CheckpointError(
            f"{reader.where(name)}: {name} is stored as {kind}, packed in a way that is not known. {WHAT_WORKS}"
        )


def check_unpacked(reader: Reader, part: str, source: Mapping[str, str]) -> None:
    """Raise CheckpointError if weights that are said to be int8 have two numbers of 4 bits in each byte, which shows in
    their shapes alone. `source` maps official names to those of the file.
    """
    name, axis = _WIDTH.get(part, ("", 0))
    width = reader.infos[source[name]].shape[axis] if name in source else 0
    for ours, theirs in source.items():
        info = reader.infos[theirs]
        if (
            info.dtype == "I8"
            and len(info.shape) == 2
            and 2 * info.shape[1] == width
            and _OF_WIDTH.search(ours)
        ):
            raise CheckpointError(
                f"{reader.where(theirs)}: {theirs} is stored as int8 {list(info.shape)} and has {width} inputs: these "
                f"are two numbers of 4 bits in each byte (int4), which is not read. {WHAT_WORKS}"
            )


def _check_one(reader: Reader, weight: str, scale: str) -> None:
    """A scale beside a weight that is not quantised says nothing, if it is 1; else nobody knows if it is in there."""
    value = reader.read(scale).float()
    if not bool((value == 1).all()):
        raise CheckpointError(
            f"{reader.where(weight)}: {weight} is stored as {reader.infos[weight].dtype} and has a scale that is not "
            f"1 ({scale}): whether it is multiplied already is not said. {WHAT_WORKS}"
        )


def _check_scale(reader: Reader, weight: str, scale: str) -> None:
    stored, kind = reader.infos[weight], reader.infos[scale]
    if stored.dtype not in _EIGHT_BITS or kind.dtype not in _PLAIN:
        looks = f", which looks like {_KINDS[kind.dtype]}" if kind.dtype in _KINDS else ""
        raise CheckpointError(
            f"{reader.where(weight)}: {weight} ({stored.dtype}, scale {kind.dtype}{looks}) is quantised in a way that "
            f"is not known. {WHAT_WORKS}"
        )
    if not _fits(stored.shape, kind.shape):
        raise CheckpointError(
            f"{reader.where(scale)}: {scale} has the shape {kind.shape}, which does not fit its weight "
            f"{stored.shape}: known are [], [1], [out], [out, 1] and [out, blocks, 1]. {WHAT_WORKS}"
        )


def _check_marker(reader: Reader, weight: str, marker: Marker, scale: str | None) -> None:
    """Raise CheckpointError unless a marker is of the weight that is there."""
    info = reader.infos.get(weight)
    if info is None:
        raise CheckpointError(f"{reader.path}: {weight} is marked as {marker.format} and is not there.")
    if info.dtype in _PLAIN and not marker.rotated:
        return  # ComfyUI marks some that it then left as they were
    problem = None
    if info.dtype != FORMATS[marker.format]:
        problem = f"is stored as {info.dtype}"
    elif scale is None:
        problem = "has no scale"
    elif marker.shape not in (None, info.shape):
        problem = f"was {list(marker.shape or ())} and is {list(info.shape)}"
    elif marker.per_row is not None and marker.per_row != (reader.infos[scale].count == info.shape[0]):
        problem = f"has a scale of {list(reader.infos[scale].shape)} where per_row is {marker.per_row}"
    elif marker.rotated and (len(info.shape) != 2 or info.shape[1] % marker.rotated):
        problem = f"is {list(info.shape)}, which groups of {marker.rotated} inputs do not divide"
    if problem:
        raise CheckpointError(
            f"{reader.where(weight)}: {weight} is marked as {marker.format} and {problem}. {WHAT_WORKS}"
        )


def _fits(weight: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    if not weight:
        return False
    if math.prod(scale) == 1 or (scale[0] == weight[0] and math.prod(scale[1:]) == 1):
        return True
    if len(weight) != 2 or len(scale) != 3:
        return False
    return scale[0] == weight[0] and scale[2] == 1 and scale[1] > 0 and weight[1] % scale[1] == 0


def dequantise(weight: Tensor, scale: Tensor, rotated: int = 0) -> Tensor:
    """The weight [out, in, ...] in float32: its stored value times its scale, of any shape that is named above, with
    the rotation of every `rotated` inputs undone.
    """
    import torch

    from wan22.ops import stored

    form = form_of(weight.dtype, tuple(scale.shape), rotated)
    buffers = {"data": weight.reshape(len(weight), -1), "scale": scale_buffer(scale)}
    return stored.dequantise(form, buffers, torch.float32).reshape(weight.shape)


def form_of(dtype: torch.dtype, scale: tuple[int, ...], rotated: int) -> Scaled:
    """How a weight of this dtype is kept, with a scale of this shape."""
    from wan22.ops.stored import Scaled

    blocks = scale[1] if len(scale) == 3 else 1
    return Scaled(dtype, per_row=math.prod(scale) > 1, blocks=blocks, rotated=rotated)


def scale_buffer(scale: Tensor) -> Tensor:
    """A scale of any shape that is named above as float32 [1 or out, blocks]."""
    return scale.float().reshape(scale.shape[0] if scale.numel() > 1 else 1, -1)
