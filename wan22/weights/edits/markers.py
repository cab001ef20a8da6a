"""What a file says of how it is quantised: the tensors that quantisers leave, and their JSON.

ComfyUI marks a layer by a tensor `X.comfy_quant` (the bytes of a JSON object), or all layers by one JSON object in the
header, `_quantization_metadata`. The fields of both are read one by one; a field, a format or a tensor that is not
understood is an error that names it, because a weight that is read in the wrong way is still a weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wan22.errors import CheckpointError
from wan22.files import parse_object

if TYPE_CHECKING:
    from wan22.weights.reader import Reader

WHAT_WORKS = "Take the bf16, fp16, fp8_scaled or GGUF file instead."
MARKER = ".comfy_quant"
FORMATS: Mapping[str, str] = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int8_tensorwise": "I8"}
"""The formats that are read, and the dtype that their weights have in a file."""

_HEADER = "_quantization_metadata"
_HEADERS = ("quantization_config", "quantization_map", "quant_config", "quantization_metadata")
_ROTATED_GROUP = 256  # inputs, where a marker says none

_OTHERS = {
    "quanto": r".*\.(?:weight|bias)\._(?:data|scale|shift|zeropoint)(?:\..*)?|.*\.output_scale",
    "bitsandbytes": r".*\.weight\.(?:absmax|quant_map|nested_\w+|quant_state\..+)|.*\.(?:SCB|weight_format)",
    "nvfp4": r".*\.(?:weight_global_scale|input_global_scale|weight_scale_2)",
    "SVDQuant": r".*\.(?:wscales|wcscales|wtscale|smooth_(?:orig|factor\w*)|proj_(?:up|down)|svd_(?:up|down)|"
    r"weight_(?:proj_(?:up|down)|smooth_factor))",
    "AWQ or GPTQ": r".*\.(?:qweight|qzeros|g_idx|scales)",
    "compressed-tensors": r".*\.weight_(?:packed|shape|g_idx)",
    "W4A8": r".*\.weight_s_\w+",
    "a scheme with zero points": r".*\.(?:(?:weight_)?(?:zero_point|zeros?|zp)|wzeros|azp_adj)",
    "SmoothQuant": r".*\.(?:pre_quant_scale|smooth_scale|act_scales?)",
    "fp8 with block scales (scale_inv)": r".*[._]scale_inv",
    "HQQ": r".*\.W_q(?:\..+)?",
    "torchao": r".*\.weight[.:_]+(?:_?(?:weight_)?qdata|tensor_impl\b.*|layout_tensor\b.*|int_data)",
    "a rotation": r".*[._](?:convrot|hadamard|rotation)\w*",
}
_FOREIGN = {kind: re.compile(pattern) for kind, pattern in _OTHERS.items()}


@dataclass(frozen=True)
class Marker:
    """How one layer is quantised. `rotated` is the number of inputs that were rotated together (ConvRot), 0 for none;
    `per_row` and `shape` are what the marker says of scale and weight, None if nothing.
    """

    format: str
    rotated: int = 0
    per_row: bool | None = None
    shape: tuple[int, ...] | None = None


def refuse_foreign(reader: Reader) -> None:
    """Raise CheckpointError that names the scheme, if the file has tensors or a header of one that is not read."""
    for name in reader.infos:
        for kind, pattern in _FOREIGN.items():
            if pattern.fullmatch(name):
                raise CheckpointError(
                    f"{reader.where(name)} is quantised as {kind} ({name}), which is not read. {WHAT_WORKS}"
                )
    for key in _HEADERS:
        for said in _said(reader, key):
            raise CheckpointError(
                f"{reader.path}: its header says that it is quantised ({key}: {said[:120]}), in a way that is not "
                f"read. {WHAT_WORKS}"
            )


def plain_names(reader: Reader) -> set[str]:
    """The names that a file would have if no quantiser had replaced its weights: those that it has,
    and the weight of every module that it names.
    """
    names = set(reader.infos)
    for name in reader.infos:
        parts = name.split(".")
        names |= {f"{'.'.join(parts[:i])}.weight" for i in range(1, len(parts))}
    return names


def read_markers(reader: Reader) -> Mapping[str, Marker]:
    """The marker of every marked weight, by the weight's name in the file.

    Raises CheckpointError for a format or a field that is not understood, for markers that contradict one another, and
    for one of a layer that is not there, if it changes what a weight means.
    """
    markers: dict[str, Marker] = {}
    for name in reader.infos:
        if name.endswith(MARKER):
            where = f"{reader.where(name)}: {name}"
            said = parse_object(bytes(reader.read(name).flatten().tolist()), where, CheckpointError)
            markers[f"{name.removesuffix(MARKER)}.weight"] = _marker(said, where)
    for layer, marker, where in _header_markers(reader):
        weights = _named(reader, layer)
        if len(weights) != 1 and marker.rotated:
            raise CheckpointError(
                f"{where} is of {len(weights)} weights of this file, not of one. {WHAT_WORKS}"
            )
        for weight in weights:
            if markers.setdefault(weight, marker) != marker:
                raise CheckpointError(
                    f"{where} contradicts {weight.removesuffix('.weight')}{MARKER}: {marker} and {markers[weight]}. "
                    f"{WHAT_WORKS}"
                )
    return markers


def _said(reader: Reader, key: str) -> list[str]:
    """What a header says under this key, and where shards say different things, what each of them says."""
    return [value for name, value in reader.metadata.items() if name.partition(" of ")[0] == key]


def _header_markers(reader: Reader) -> list[tuple[str, Marker, str]]:
    found = []
    for raw in _said(reader, _HEADER):
        where = f"{reader.path}: {_HEADER}"
        said = parse_object(raw, where, CheckpointError)
        layers = said.pop("layers", None)
        version = str(said.pop("format_version", "1.0"))
        if said or not isinstance(layers, dict) or version not in ("1.0", "1"):
            what = ", ".join(said) or f"format_version {version}"
            raise CheckpointError(f"{where} is not understood: {what}. {WHAT_WORKS}")
        for layer, fields in layers.items():
            found.append((layer, _marker(fields, f"{where} of {layer}"), f"{where} of {layer}"))
    return found


def _named(reader: Reader, layer: str) -> list[str]:
    """The weights that a header means by a layer: it may name them with a prefix that the file has not, or without."""
    weight = f"{layer}.weight"
    parts = weight.split(".")
    for i in range(len(parts) - 1):
        if (shorter := ".".join(parts[i:])) in reader.infos:
            return [shorter]
    return [name for name in reader.infos if name.endswith(f".{weight}")]


def _marker(said: Any, where: str) -> Marker:
    """Read a marker's fields, which may lie in its "params" too."""
    if not isinstance(said, dict) or not isinstance(said.get("params", {}), dict):
        raise CheckpointError(f"{where} is no JSON object. Download it again.")
    fields = {key: value for key, value in said.items() if key != "params"}
    for key, value in said.get("params", {}).items():
        if fields.setdefault(key, value) != value:
            raise CheckpointError(
                f"{where} says two things of {key}: {fields[key]!r} and {value!r}. {WHAT_WORKS}"
            )
    kind = fields.pop("format", None)
    if kind not in FORMATS:
        said_so = f"quantised as {kind!r}" if kind is not None else f"a marker without a format, {said}"
        raise CheckpointError(f"{where}: {said_so}; known are {', '.join(FORMATS)}. {WHAT_WORKS}")
    for key, value in fields.items():
        if key not in _FIELDS or not _FIELDS[key](value):
            raise CheckpointError(
                f"{where}: its {key} = {value!r} is not understood, so {kind} cannot be read with certainty. "
                f"{WHAT_WORKS}"
            )
    rotated = fields.get("convrot_groupsize", _ROTATED_GROUP) if fields.get("convrot") else 0
    if rotated and kind != "int8_tensorwise":
        raise CheckpointError(f"{where}: {kind} with convrot is not read. {WHAT_WORKS}")
    shape = fields.get("orig_shape")
    return Marker(kind, rotated, fields.get("per_row"), None if shape is None else tuple(shape))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_group(value: Any) -> bool:
    """Whether regular Hadamard matrices of this size are made: a power of four."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and value >= 4 and value & (value - 1) == 0 and value.bit_length() % 2 == 1


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)


_FIELDS = {
    "convrot": _is_bool,
    "convrot_groupsize": _is_group,
    "per_row": _is_bool,
    "orig_shape": _is_shape,
    "orig_dtype": lambda value: isinstance(value, str),  # what the weight was, which changes nothing
    "full_precision_matrix_mult": _is_bool,  # how ComfyUI multiplies
}
"""The fields of a marker that are understood, and what each may be."""
