"""Scaled fp8 and int8: find each quantised weight's scale, and multiply it back in while loading.

All producers store `X.weight` in 8 bits beside a scale, and differ in its name and shape: one number, one per
output channel [out, 1], or one per block of inputs [out, blocks, 1]. It knows names, shapes and numbers only;
weights in fp8 without a scale are ordinary tensors (their values are plain casts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan22.errors import CheckpointError
from wan22.files import parse_object

if TYPE_CHECKING:
    from torch import Tensor

    from wan22.weights.reader import Reader, TensorInfo

_SCALES = (".scale_weight", ".weight_scale")  # until 2025 and since; both are around
_ASIDE = (".scale_input", ".input_scale", ".comfy_quant")  # for fp8 arithmetic, which is not used here
_MARKER = "scaled_fp8"
_FORMATS = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise")
_EIGHT_BITS = ("F8_E4M3", "F8_E5M2", "I8")
_WHAT_WORKS = "Take the bf16, fp16, fp8_scaled or GGUF file instead."


@dataclass(frozen=True)
class Scales:
    """`of` maps a quantised weight to its scale; `aside` are the names that only serve quantisation."""

    of: Mapping[str, str]
    aside: frozenset[str]


def find_scales(infos: Mapping[str, TensorInfo]) -> Scales:
    """Pair weights with scales, by the names of the file."""
    of, aside = {}, set()
    for name in infos:
        suffix = next((s for s in _SCALES if name.endswith(s)), None)
        if suffix and (weight := f"{name.removesuffix(suffix)}.weight") in infos:
            of[weight] = name
            aside.add(name)
        elif name.endswith(_ASIDE) or name.rpartition(".")[2] == _MARKER:
            aside.add(name)
    return Scales(of, frozenset(aside))


def check_scales(reader: Reader, scales: Scales) -> None:
    """Raise CheckpointError, before weights are read, if the file is quantised in a way not known here."""
    for name in scales.aside:
        if name.endswith(".comfy_quant"):
            _check_format(reader, name, bytes(reader.read(name).tolist()))
    for weight, scale in scales.of.items():
        stored, kind = reader.infos[weight], reader.infos[scale]
        if stored.dtype not in _EIGHT_BITS or kind.dtype not in ("F32", "F16", "BF16"):
            raise CheckpointError(
                f"{reader.where(weight)}: {weight} ({stored.dtype}, scale {kind.dtype}) is quantised in a "
                f"way that is not known. {_WHAT_WORKS}"
            )
        if len(stored.shape) != 2 or not _fits(stored.shape, kind.shape):
            raise CheckpointError(
                f"{reader.where(scale)}: {scale} has the shape {kind.shape}, which does not fit its weight "
                f"{stored.shape}: known are [], [1], [out], [out, 1] and [out, blocks, 1]."
            )
    for name, info in reader.infos.items():
        if info.dtype == "I8" and name not in scales.of:
            raise CheckpointError(f"{reader.where(name)}: {name} is int8 without a scale. {_WHAT_WORKS}")


def _check_format(reader: Reader, name: str, raw: bytes) -> None:
    kind = parse_object(raw, f"{reader.where(name)}: {name}", CheckpointError).get("format")
    if kind not in _FORMATS:
        raise CheckpointError(
            f"{reader.where(name)}: quantised as {kind!r}; known are {', '.join(_FORMATS)}. {_WHAT_WORKS}"
        )


def _fits(weight: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    out, into = weight
    if scale in ((), (1,), (1, 1), (out,), (out, 1)):
        return True
    return len(scale) == 3 and scale[0] == out and scale[2] == 1 and scale[1] > 0 and into % scale[1] == 0


def dequantise(weight: Tensor, scale: Tensor) -> Tensor:
    """The weight [out, in] in float32: its stored value times its scale, of any shape that is named above."""
    weight, scale = weight.float(), scale.float()
    if scale.ndim == 3:
        out, blocks, _ = scale.shape
        return (weight.reshape(out, blocks, -1) * scale).reshape(weight.shape)
    return weight.mul_(scale.reshape(-1, 1))
