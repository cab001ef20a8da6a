"""The fused functions of a transformer's block (ops/fused.py) as Triton kernels: one program for each token.

A token's row is read once and written once, where plain PyTorch passes over it up to ten times. All is computed in
float32 and rounded where the reference rounds. Offsets are 64-bit: a stream may have more than 2**31 numbers. No
gradient. `TRITON_INTERPRET=1` runs them on a CPU, which is how they are tested.
"""

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from wan22.ops.rope import Rotation
from wan22.ops.rows import Rows

DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
"""Triton's names of the dtypes that the kernels take."""


@triton.jit
def add_norm_kernel(
    x, y, gate, shift, scale, index, total, out,
    tokens, x_b, x_l, y_b, y_l, total_b, total_l, gate_b, gate_k, shift_b, shift_k, scale_b, scale_k, eps,
    D: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr, GATED: tl.constexpr, INDEXED: tl.constexpr,
    NORM: tl.constexpr, ONE: tl.constexpr,
):  # fmt: skip
    """total = x + y * gate (if ADD, GATED); out = layer_norm(total) * (ONE + scale) + shift (if NORM).

    gate, shift and scale are rows: token t has row index[t] of each (if INDEXED), else the first.
    """
    program = tl.program_id(0).to(tl.int64)
    b = program // tokens
    token = program % tokens
    k = tl.load(index + token).to(tl.int64) if INDEXED else token * 0
    i = tl.arange(0, BLOCK)
    mask = i < D
    row = tl.load(x + b * x_b + token * x_l + i, mask=mask, other=0.0).to(tl.float32)
    if ADD:
        added = tl.load(y + b * y_b + token * y_l + i, mask=mask, other=0.0).to(tl.float32)
        if GATED:
            added *= tl.load(gate + b * gate_b + k * gate_k + i, mask=mask, other=0.0).to(tl.float32)
        row = (row + added).to(total.dtype.element_ty)
        tl.store(total + b * total_b + token * total_l + i, row, mask=mask)
        row = row.to(tl.float32)
    if NORM:
        centred = tl.where(mask, row - tl.sum(row, 0) / D, 0.0)
        row = centred * (1.0 / tl.sqrt(tl.sum(centred * centred, 0) / D + eps))
        row = row.to(total.dtype.element_ty).to(tl.float32)
        by = tl.load(scale + b * scale_b + k * scale_k + i, mask=mask, other=0.0).to(tl.float32)
        to = tl.load(shift + b * shift_b + k * shift_k + i, mask=mask, other=0.0).to(tl.float32)
        tl.store(out + program * D + i, (row * (ONE + by) + to).to(out.dtype.element_ty), mask=mask)


@triton.jit
def norm_rotate_kernel(
    x, gain, cos, sin, out, tokens, x_b, x_l, eps,
    D: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr, PRODUCT: tl.constexpr, ROTATE: tl.constexpr,
):  # fmt: skip
    """RMS norm over all heads, rounded to x's dtype, times the gain in dtype PRODUCT; then channels turn in pairs."""
    program = tl.program_id(0).to(tl.int64)
    b = program // tokens
    token = program % tokens
    i = tl.arange(0, BLOCK)
    mask = i < D
    row = tl.load(x + b * x_b + token * x_l + i, mask=mask, other=0.0).to(tl.float32)
    row *= 1.0 / tl.sqrt(tl.sum(row * row, 0) / D + eps)
    by = tl.load(gain + i, mask=mask, other=0.0).to(tl.float32)
    row = (row.to(x.dtype.element_ty).to(tl.float32) * by).to(PRODUCT).to(tl.float32)
    if ROTATE:
        even, odd = tl.split(tl.reshape(row, (BLOCK // 2, 2)))
        pair = tl.arange(0, BLOCK // 2)
        at = token * (E // 2) + pair % (E // 2)
        c = tl.load(cos + at, mask=pair < D // 2, other=0.0)
        s = tl.load(sin + at, mask=pair < D // 2, other=0.0)
        row = tl.reshape(tl.join(even * c - odd * s, even * s + odd * c), (BLOCK,))
    tl.store(out + program * D + i, row.to(out.dtype.element_ty), mask=mask)


def options(block: int) -> dict[str, Any]:
    """How a kernel whose program holds `block` numbers is compiled."""
    return {"num_warps": 8 if block >= 4096 else 4, "enable_fp_fusion": True}


def launch(kernel: Any, programs: int, x: Tensor, *args: Any, **constants: Any) -> None:
    """Run `kernel(x, *args)` with this many programs on x's device."""
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        kernel[(programs,)](x, *args, **constants, **options(constants["BLOCK"]))


def _rows(rows: Rows | None, like: Tensor) -> tuple[Tensor, int, int]:
    """The values of rows, and the steps in memory from a sample to the next and from a row to the next."""
    if rows is None:
        return like, 0, 0
    values = rows.values if rows.values.stride(-1) == 1 else rows.values.contiguous()
    return (
        values,
        values.stride(0) if values.shape[0] > 1 else 0,
        values.stride(1) if rows.index is not None else 0,
    )


def _stream(x: Tensor) -> tuple[Tensor, int, int]:
    x = x if x.stride(-1) == 1 else x.contiguous()
    return x, x.stride(0), x.stride(1)


def _add_norm(
    x: Tensor,
    y: Tensor | None,
    gate: Rows | None,
    norm: tuple[Rows, Rows, float, float] | None,
    dtype: torch.dtype,
    total: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return x + y gate (in `total`, if given), and its norm in `dtype`; `norm` is shift, scale, what is added to the
    scale, epsilon.
    """
    like = x
    x, *x_steps = _stream(x)
    y_, *y_steps = (x, 0, 0) if y is None else _stream(y)
    if y is None:
        total = x
    elif total is None:
        kind = torch.result_type(like, y) if gate is None else torch.float32
        total = torch.empty(x.shape, dtype=kind, device=x.device)
    shift, scale, one, eps = norm or (None, None, 0.0, 0.0)
    gates, *gate_steps = _rows(gate, x)
    shifts, *shift_steps = _rows(shift, x)
    scales, *scale_steps = _rows(scale, x)
    index = next((r.index for r in (gate, shift, scale) if r is not None and r.index is not None), None)
    normed = x if norm is None else torch.empty(x.shape, dtype=dtype, device=x.device)
    b, tokens, d = x.shape
    launch(
        add_norm_kernel, b * tokens, x, y_, gates, shifts, scales, x if index is None else index, total, normed,
        tokens, *x_steps, *y_steps, total.stride(0), total.stride(1), *gate_steps, *shift_steps, *scale_steps, eps,
        D=d, BLOCK=triton.next_power_of_2(d), ADD=y is not None, GATED=gate is not None, INDEXED=index is not None,
        NORM=norm is not None, ONE=one,
    )  # fmt: skip
    return total, normed


def norm_modulate(
    x: Float[Tensor, "b l d"], shift: Rows, scale: Rows, eps: float, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "b l d"]:
    """As `fused.norm_modulate`."""
    return _add_norm(x, None, None, (shift, scale, 1.0, eps), dtype)[1]


def gated_add(
    x: Float[Tensor, "b l d"], y: Float[Tensor, "b l d"], gate: Rows | None = None, out: Tensor | None = None
) -> Float[Tensor, "b l d"]:
    """As `fused.gated_add`."""
    return _add_norm(x, y, gate, None, x.dtype, out)[0]


def gated_add_norm(
    x: Float[Tensor, "b l d"],
    y: Float[Tensor, "b l d"],
    gate: Rows,
    weight: Float[Tensor, " d"],
    bias: Float[Tensor, " d"],
    eps: float,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b l d"]]:
    """As `fused.gated_add_norm`."""
    affine = Rows(bias[None, None]), Rows(weight[None, None])
    return _add_norm(x, y, gate, (*affine, 0.0, eps), dtype, out)


def add_norm_modulate(
    x: Float[Tensor, "b l d"],
    y: Float[Tensor, "b l d"],
    shift: Rows,
    scale: Rows,
    eps: float,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b l d"]]:
    """As `fused.add_norm_modulate`."""
    return _add_norm(x, y, None, (shift, scale, 1.0, eps), dtype, out)


def norm_rotate(
    x: Float[Tensor, "b l n e"], gain: Float[Tensor, " n*e"], table: Rotation | None, eps: float
) -> Float[Tensor, "b l n e"]:
    """As `fused.norm_rotate`."""
    b, tokens, heads, e = x.shape
    flat, *steps = _stream(x.flatten(2))
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    cos, sin = (flat, flat) if table is None else (part.contiguous() for part in table)
    launch(
        norm_rotate_kernel, b * tokens, flat, gain.contiguous(), cos, sin, out, tokens, *steps, eps,
        D=heads * e, E=e, BLOCK=triton.next_power_of_2(heads * e),
        PRODUCT=DTYPES[torch.result_type(x, gain)], ROTATE=table is not None,
    )  # fmt: skip
    return out
