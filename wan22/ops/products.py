"""Products of 8-bit numbers with 8-bit weights (W8A8): activations are rounded too, row by row, while they come.

Each row of the input is divided by its largest magnitude; the integer or float8 product is multiplied by the row's
factor and by the weight's. It is faster than a product with the weight made again where the hardware has such products,
and its error is that of two roundings. It is used where a person asked for it, and `why_not` says where it cannot be.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.ops.stored import LARGEST, Buffers, Form, Scaled, to_levels

_AT_ONCE = 1 << 13
"""Rows of the input that are rounded together, so that the work space stays small."""

_FLOAT8_SINCE = (8, 9)  # compute capability: Ada, Hopper and later
_INT8_SINCE = (7, 5)


def why_not(kind: str, device: torch.device) -> str | None:
    """Why "int8" or "fp8" products are not to be had on a device; None if they are."""
    if device.type == "cpu":
        if kind == "fp8":
            return "CPUs have no products of float8"
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return f"int8 products are known of x86 CPUs, and this is {platform.machine()}"
        if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
            return f"this CPU has neither AVX2 nor AVX-512 ({torch.backends.cpu.get_cpu_capability()})"
        if not torch.backends.mkldnn.is_available():
            return "this PyTorch was built without oneDNN"
        return None if _levels() else "oneDNN does not multiply 8 bits exactly on this CPU"
    if device.type != "cuda":
        return f"no 8-bit products are known on {device.type}"
    if torch.version.hip is not None:
        return "8-bit products are not known of ROCm here"
    needed = _FLOAT8_SINCE if kind == "fp8" else _INT8_SINCE
    has = torch.cuda.get_device_capability(device)
    if has < needed:
        return f"{kind} products need compute capability {needed[0]}.{needed[1]}, and {device} has {has[0]}.{has[1]}"
    return None


def multiply(x: Float[Tensor, "*rest i"], form: Form, buffers: Buffers) -> Float[Tensor, "*rest o"] | None:
    """x @ weight.T in x's dtype, with x rounded to 8 bits; None where there is no such product for this weight."""
    data = buffers["data"]
    # Fake tensors are counted without it: oneDNN's weights cannot be faked.
    if not isinstance(form, Scaled) or form.blocks > 1 or form.rotated or type(data) is not Tensor:
        return None
    kind = {torch.int8: "int8", torch.float8_e4m3fn: "fp8"}.get(form.dtype)
    if kind is None or x.device.type not in ("cpu", "cuda"):
        return None
    if torch.compiler.is_compiling():
        if x.device.type == "cpu":
            return None  # oneDNN's weights are no tensors that a compiler knows
    elif _refused(kind, x.device):
        return None
    rows = x.reshape(-1, x.shape[-1])
    if x.device.type == "cuda" and (data.shape[0] % 16 or data.shape[1] % 16):
        return None
    product = product_of(kind, x.device.type)(data, buffers["scale"])
    out = torch.empty(len(rows), len(data), dtype=x.dtype, device=x.device)
    for first in range(0, len(rows), _AT_ONCE):
        out[first : first + _AT_ONCE] = product(rows[first : first + _AT_ONCE])
    return out.reshape(*x.shape[:-1], len(data))


@lru_cache(maxsize=8)
def _refused(kind: str, device: torch.device) -> bool:
    return why_not(kind, device) is not None


_ROWS_OF_INT_MM = 17
"""The fewest that torch._int_mm takes on CUDA."""

Rows = Callable[[Float[Tensor, "m i"]], Float[Tensor, "m o"]]
"""Multiplies rows by one weight."""


def product_of(kind: str, device: str) -> Callable[[Tensor, Tensor], Rows]:
    """The product of a kind on a type of device: a function of the weight (o, i) and its scale (1 or o, 1)."""
    if kind == "fp8":
        return float8_product
    return onednn_product if device == "cpu" else int8_product


def _row_factors(x: Tensor, levels: float) -> Tensor:
    """What each row is divided by, float32 (m, 1)."""
    return x.abs().amax(dim=1, keepdim=True).float().clamp_(min=1e-30) / levels


def float8_product(weight: Tensor, scale: Tensor) -> Rows:
    """By torch._scaled_mm, scaled by row on either side: bfloat16 out, both extents multiples of 16."""
    columns = scale.expand(len(weight), 1).t().contiguous()

    def product(x: Tensor) -> Tensor:
        factors = _row_factors(x, LARGEST[weight.dtype])
        levels = to_levels(x / factors, weight.dtype)
        return torch._scaled_mm(levels, weight.t(), factors, columns, out_dtype=torch.bfloat16)

    return product


def int8_product(weight: Tensor, scale: Tensor) -> Rows:
    """By torch._int_mm: int32 out, exact."""

    def product(x: Tensor) -> Tensor:
        factors = _row_factors(x, LARGEST[torch.int8])
        levels = to_levels(x / factors, torch.int8)
        rows = len(levels)
        if rows < _ROWS_OF_INT_MM:
            levels = torch.nn.functional.pad(levels, (0, 0, 0, _ROWS_OF_INT_MM - rows))
        y = torch._int_mm(levels, weight.t())
        return (y if len(y) == rows else y[:rows]).float() * factors * scale.t()

    return product


def onednn_product(weight: Tensor, scale: Tensor) -> Rows:
    """By oneDNN: unsigned activations around a zero point, as many levels as this CPU multiplies exactly."""
    levels = _levels()
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    factors_of_weight = scale.expand(len(weight), 1).reshape(-1).contiguous()

    def product(x: Tensor) -> Tensor:
        factors = _row_factors(x, levels)
        numbers = (x / factors).round_().add_(levels + 1).to(torch.uint8)
        return _onednn(numbers, levels + 1, packed, factors_of_weight).mul_(factors)

    return product


def _onednn(x: Tensor, zero: int, packed: Tensor, scale: Tensor) -> Tensor:
    zeros = torch.zeros(len(scale), dtype=torch.int32)
    return torch.ops.onednn.qlinear_pointwise(
        x, 1.0, zero, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


@lru_cache(maxsize=1)
def _levels() -> int:
    """How many levels to either side activations may have: 127 where oneDNN adds products of 8 bits exactly (VNNI), 63
    where it adds pairs in 16 bits that overflow beyond (AVX2), 0 if neither is exact. Tried, because what oneDNN takes
    depends on the CPU, its own version and its environment (ONEDNN_MAX_CPU_ISA).
    """
    weight = torch.full((64, 256), 127, dtype=torch.int8)
    weight[::2] = -127
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    for levels in (127, 63):
        x = torch.full((64, 256), 2 * levels + 1, dtype=torch.uint8)
        wanted = (x.double() - levels - 1) @ weight.double().t()
        if torch.equal(_onednn(x, levels + 1, packed, torch.ones(64)).double(), wanted):
            return levels
    return 0
