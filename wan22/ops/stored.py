"""The forms that a weight is kept in when that is not the dtype it computes in.

A form is a frozen value that says how the bytes lie; the bytes are buffers, tensors by name, whose first axis is the
rows of the weight. Everything is plain PyTorch, on any device. `dequantise` makes the weight again, a few rows at a
time, so that it needs little memory beyond the result.

    Cast     another dtype, float8 included                                 data
    Scaled   8 bits times a scale of the tensor, of a row, or of a block    data, scale
    Int4     4 bits times a scale plus an offset, for each group of inputs  data, scale, low
    GGUF     the blocks of a GGUF file                                      data
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.ops.gguf_blocks import KINDS

Buffers = Mapping[str, Tensor]
Layout = dict[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape and dtype of every buffer."""

_AT_ONCE = {"cpu": 1 << 16}
_AT_ONCE_ELSEWHERE = 1 << 23
"""Numbers that are made together: what the cache of a CPU core holds, or what keeps a GPU busy."""


FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_NAMES = {torch.float8_e4m3fn: "fp8", torch.float8_e5m2: "fp8 (e5m2)", torch.int8: "int8"}


def _wide(data: Tensor) -> Tensor:
    """In float32. PyTorch converts float8 on a CPU number by number; a table is three times faster."""
    if data.dtype not in FLOAT8 or data.device.type != "cpu":
        return data.float()
    every = torch.arange(256, dtype=torch.uint8, device=data.device).view(data.dtype).float()
    return every.index_select(0, data.view(torch.uint8).reshape(-1).int()).reshape(data.shape)


@dataclass(frozen=True)
class Cast:
    """The numbers themselves, in another dtype."""

    dtype: torch.dtype

    @property
    def name(self) -> str:
        return _NAMES.get(self.dtype, str(self.dtype).removeprefix("torch."))

    def layout(self, rows: int, width: int) -> Layout:
        return {"data": ((rows, width), self.dtype)}

    def width(self, columns: int) -> int:
        return columns

    def decode(self, buffers: Buffers) -> Tensor:
        return _wide(buffers["data"])

    def encode(self, weight: Tensor) -> dict[str, Tensor]:
        return {"data": weight.to(self.dtype)}


@dataclass(frozen=True)
class Scaled:
    """8 bits (float8 or int8) times a float32 scale: one for all, one per row, or one per row and block of inputs.

    With `rotated`, each group of so many inputs was multiplied by a regular Hadamard matrix (ConvRot,
    arXiv:2512.03673), which is its own inverse.
    """

    dtype: torch.dtype
    per_row: bool = True
    blocks: int = 1
    rotated: int = 0

    @property
    def name(self) -> str:
        return _NAMES[self.dtype] + (" (ConvRot)" if self.rotated else "")

    def layout(self, rows: int, width: int) -> Layout:
        scale = (rows if self.per_row else 1, self.blocks)
        return {"data": ((rows, width), self.dtype), "scale": (scale, torch.float32)}

    def width(self, columns: int) -> int:
        return columns

    def decode(self, buffers: Buffers) -> Tensor:
        wide, scale = _wide(buffers["data"]), buffers["scale"]
        wide = (wide.unflatten(1, (self.blocks, -1)) * scale.unsqueeze(2)).flatten(1)
        return wide if not self.rotated else rotate(wide, self.rotated)

    def encode(self, weight: Tensor) -> dict[str, Tensor]:
        """Round to the nearest, each row by its largest magnitude (absmax; Dettmers et al. 2022, arXiv:2208.07339)."""
        if self != Scaled(self.dtype):
            raise ValueError(f"weights are quantised by the row, not to {self}")
        wide = weight.detach().float()
        scale = wide.abs().amax(dim=1, keepdim=True) / LARGEST[self.dtype]
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        return {"data": to_levels(wide / scale, self.dtype), "scale": scale}


LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}


def to_levels(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Round numbers within the range of int8 or float8 (e4m3) to it; what lies beyond becomes its end."""
    end = LARGEST[dtype]
    return (x.round() if dtype == torch.int8 else x).clamp(-end, end).to(dtype)


@dataclass(frozen=True)
class Int4:
    """0..15 times a scale plus an offset, both float16, for each group of inputs; two neighbours share a byte."""

    group: int = 32

    @property
    def name(self) -> str:
        return "int4"

    def layout(self, rows: int, width: int) -> Layout:
        each = ((rows, width // self.group), torch.float16)
        return {"data": ((rows, width // 2), torch.uint8), "scale": each, "low": each}

    def width(self, columns: int) -> int:
        return 2 * columns

    def decode(self, buffers: Buffers) -> Tensor:
        data = buffers["data"]
        numbers = torch.stack([data & 15, data >> 4], dim=2).flatten(1).unflatten(1, (-1, self.group)).float()
        scale, low = (buffers[name].float().unsqueeze(2) for name in ("scale", "low"))
        return (numbers * scale + low).flatten(1)

    def encode(self, weight: Tensor) -> dict[str, Tensor]:
        """From the smallest to the largest of each group first, then scale and offset fitted twice by least squares,
        which takes 6 % off the error.
        """
        wide = weight.detach().float().unflatten(1, (-1, self.group))
        low, high = wide.amin(dim=2, keepdim=True), wide.amax(dim=2, keepdim=True)
        scale = (high - low) / 15
        for _ in range(2):
            levels = self._levels(wide, scale, low)
            off, mean = levels - levels.mean(dim=2, keepdim=True), wide.mean(dim=2, keepdim=True)
            spread = off.square().sum(dim=2, keepdim=True)
            fitted = (off * (wide - mean)).sum(dim=2, keepdim=True) / spread
            scale = torch.where(spread > 0, fitted, scale)
            low = torch.where(spread > 0, mean - scale * levels.mean(dim=2, keepdim=True), low)
        scale, low = scale.half(), low.half()
        levels = self._levels(wide, scale.float(), low.float()).to(torch.uint8).flatten(1)
        return {
            "data": levels[:, ::2] | levels[:, 1::2] << 4,
            "scale": scale.squeeze(2),
            "low": low.squeeze(2),
        }

    def _levels(self, wide: Tensor, scale: Tensor, low: Tensor) -> Tensor:
        return ((wide - low) / torch.where(scale > 0, scale, 1.0)).round_().clamp_(0, 15)


@dataclass(frozen=True)
class GGUF:
    """The blocks of a kind of GGUF, row by row."""

    kind: str

    @property
    def name(self) -> str:
        return self.kind

    def layout(self, rows: int, width: int) -> Layout:
        kind = KINDS[self.kind]
        return {"data": ((rows, width // kind.numbers * kind.nbytes), torch.uint8)}

    def width(self, columns: int) -> int:
        kind = KINDS[self.kind]
        return columns // kind.nbytes * kind.numbers

    def decode(self, buffers: Buffers) -> Tensor:
        data, kind = buffers["data"], KINDS[self.kind]
        return kind.decode(data.reshape(-1, kind.nbytes)).reshape(len(data), -1)


Form = Cast | Scaled | Int4 | GGUF
"""How a weight is kept. `layout` says the buffers of a weight (rows, width), `width` how wide one is whose "data" has
so many columns, `decode` makes it in float32; `encode` quantises one, where that can be done here.
"""


def empty(form: Form, rows: int, width: int, device: torch.device | str = "meta") -> dict[str, Tensor]:
    """Unfilled buffers of a weight of this shape."""
    return {
        name: torch.empty(shape, dtype=dtype, device=device)
        for name, (shape, dtype) in form.layout(rows, width).items()
    }


def dequantise(form: Form, buffers: Buffers, dtype: torch.dtype) -> Float[Tensor, "rows width"]:
    """The weight in `dtype`: made in float32, and rounded once."""
    data = buffers["data"]
    if isinstance(form, Cast) and data.dtype not in FLOAT8:
        return data.to(dtype)
    rows, width = len(data), form.width(data.shape[1])
    step = max(1, _AT_ONCE.get(data.device.type, _AT_ONCE_ELSEWHERE) // width)
    # A compiler makes one kernel of it, without the work space; where sizes are counted, pieces only take time.
    if step >= rows or torch.compiler.is_compiling() or _counted():
        return form.decode(buffers).to(dtype)
    out = torch.empty(rows, width, dtype=dtype, device=data.device)
    for first in range(0, rows, step):
        some = {n: b[first : first + step] if len(b) == rows else b for n, b in buffers.items()}
        out[first : first + step] = form.decode(some)
    return out


def _counted() -> bool:
    """Whether tensors have sizes and no numbers (FakeTensorMode)."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None


def rotate(x: Float[Tensor, "*rest i"], group: int) -> Float[Tensor, "*rest i"]:
    """Multiply each group of the last axis by the regular Hadamard matrix of its size, a power of four."""
    matrix = torch.tensor(_hadamard(group), dtype=x.dtype, device=x.device)
    return (x.unflatten(-1, (-1, group)) @ matrix).flatten(-2)


@lru_cache(maxsize=4)
def _hadamard(size: int) -> Any:
    """The regular Hadamard matrix of this size, of length one: symmetric, and its own inverse. A NumPy array, because
    a tensor in a cache may be a fake one.
    """
    import numpy as np

    four, matrix = np.ones((4, 4)) - 2 * np.fliplr(np.eye(4)), np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.kron(matrix, four)
    return (matrix / size**0.5).astype(np.float32)


KINDS_TO_QUANTISE = ("fp8", "int8", "int4")
"""What weights can be quantised to."""

_GROUPS = (32, 16, 8)


def form_for(kind: str, width: int) -> Scaled | Int4 | None:
    """The form that weights of this many inputs are quantised to; None if groups of 4 bits do not come out even."""
    if kind != "int4":
        return Scaled({"fp8": torch.float8_e4m3fn, "int8": torch.int8}[kind])
    group = next((group for group in _GROUPS if width % group == 0), None)
    return None if group is None else Int4(group)


@dataclass(frozen=True)
class Keep:
    """How the matrices (`Linear`) of a network are kept and multiplied. What is quantised in the file stays as it is.

    compute: the dtype of products; None is the dtype of the weights.
    quantize: what weights are quantised to while they load: "fp8", "int8" or "int4"; None leaves them.
    products: multiply in 8 bits where that can be (ops/products.py).
    float8: whether the device has that dtype; else fp8 files are dequantised.
    """

    compute: torch.dtype | None = None
    quantize: str | None = None
    products: bool = False
    float8: bool = True
