"""The block formats of GGUF as PyTorch functions: bytes of whole blocks in, float32 numbers out, on any device.

Layouts and arithmetic are those of ggml (ggml-quants.c) as the package gguf has them; a test holds every kind to that
package bit for bit. The code books of the IQ kinds are read from that package when one is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

Decode = Callable[[Tensor], Tensor]
"""From uint8 (n, bytes of a block) to float32 (n, numbers of a block)."""

_NIBBLES = (0, 4)
_PAIRS = (0, 2, 4, 6)
_BITS = (0, 1, 2, 3, 4, 5, 6, 7)


@dataclass(frozen=True)
class Kind:
    """A kind of block: how many numbers it holds, in how many bytes."""

    numbers: int
    nbytes: int
    decode: Decode


def _half(raw: Tensor) -> Tensor:
    """float16 numbers, as float32."""
    return raw.contiguous().view(torch.float16).float()


def _signed(raw: Tensor) -> Tensor:
    return raw.contiguous().view(torch.int8).float()


def _words(raw: Tensor, nbytes: int) -> Tensor:
    """Little-endian words of two or four bytes, as int32. The top bit of four bytes is the sign: mask after a shift."""
    if nbytes == 4:
        return raw.contiguous().view(torch.int32)
    pairs = raw.unflatten(-1, (-1, 2)).int()
    return pairs[..., 0] | pairs[..., 1] << 8


def _shifted(raw: Tensor, shifts: tuple[int, ...], mask: int) -> Tensor:
    """(..., k) to (..., shifts, k): the bits of every number from each shift on."""
    return torch.stack([raw >> shift & mask for shift in shifts], dim=-2)


def _spread(raw: Tensor, shifts: tuple[int, ...], mask: int) -> Tensor:
    """(..., k) to (..., k * shifts): as `_shifted`, with the bits of one number side by side."""
    return torch.stack([raw >> shift & mask for shift in shifts], dim=-1).flatten(-2)


def _runs(raw: Tensor, run: int, shifts: tuple[int, ...], mask: int) -> Tensor:
    """As `_shifted`, of every `run` bytes, in one row (n, numbers)."""
    return _shifted(raw.unflatten(-1, (-1, run)), shifts, mask).flatten(1)


def _book(name: str, device: torch.device) -> Tensor:
    return torch.tensor(_books(name), device=device)


@lru_cache(maxsize=16)
def _books(name: str) -> Any:
    """A code book of the package gguf as a NumPy array: grids (entries, numbers), or a row of values."""
    import numpy as np
    from gguf import quants

    if name == "signs":
        return np.frombuffer(quants.IQ2_XXS.ksigns, dtype=np.uint8).copy()
    kind: Any = getattr(quants, name)
    if hasattr(kind, "kvalues"):
        return np.array(kind.kvalues, dtype=np.float32)
    kind.init_grid()
    return kind.grid.reshape(kind.grid_shape).copy()


def _look(name: str, index: Tensor) -> Tensor:
    """What a code book holds for every index (...): (...) of a row of values, (..., numbers) of a grid."""
    book = _book(name, index.device)
    return book.index_select(0, index.reshape(-1).int()).reshape(*index.shape, *book.shape[1:])


def _signs(raw: Tensor) -> Tensor:
    """Eight signs of every byte, side by side: a set bit is minus."""
    return 1 - 2 * _spread(raw, _BITS, 1).float()


def _q4_0(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * (_runs(b[:, 2:], 16, _NIBBLES, 15).float() - 8)


def _q4_1(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * _runs(b[:, 4:], 16, _NIBBLES, 15).float() + _half(b[:, 2:4])


def _five_bits(high: Tensor, low: Tensor) -> Tensor:
    return (_runs(low, 16, _NIBBLES, 15) | _spread(high, _BITS, 1) << 4).float()


def _q5_0(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * (_five_bits(b[:, 2:6], b[:, 6:]) - 16)


def _q5_1(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * _five_bits(b[:, 4:8], b[:, 8:]) + _half(b[:, 2:4])


def _q8_0(b: Tensor) -> Tensor:
    return _signed(b[:, 2:]) * _half(b[:, :2])


def _q2_k(b: Tensor) -> Tensor:
    scales = b[:, :16]
    scale = _half(b[:, 80:82]) * (scales & 15).float()
    low = _half(b[:, 82:84]) * (scales >> 4).float()
    q = _runs(b[:, 16:80], 32, _PAIRS, 3).unflatten(1, (16, 16)).float()
    return (scale.unsqueeze(2) * q - low.unsqueeze(2)).flatten(1)


def _q3_k(b: Tensor) -> Tensor:
    high, low, packed = b[:, :32], b[:, 32:96], b[:, 96:108]
    scales = (
        _shifted(packed[:, :8], _NIBBLES, 15).flatten(1) | _shifted(packed[:, 8:], _PAIRS, 3).flatten(1) << 4
    )
    scale = _half(b[:, 108:]) * (scales.float() - 32)
    # The offset is none where the bit of the mask is set.
    q = _runs(low, 32, _PAIRS, 3).float() - 4 * (1 - _runs(high, 32, _BITS, 1).float())
    return (scale.unsqueeze(2) * q.unflatten(1, (16, 16))).flatten(1)


def _six_bit_scales(packed: Tensor) -> tuple[Tensor, Tensor]:
    """The eight scales and the eight minima of Q4_K and Q5_K, six bits each in twelve bytes."""
    d, m, both = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = torch.cat([d & 63, both & 15 | d >> 2 & 48], dim=1)
    return scales.float(), torch.cat([m & 63, both >> 4 | m >> 2 & 48], dim=1).float()


def _scaled_32(b: Tensor, q: Tensor) -> Tensor:
    """Eight groups of 32 numbers `q` (n, 256), each times its scale less its minimum (Q4_K, Q5_K)."""
    scales, minima = _six_bit_scales(b[:, 4:16])
    scale, low = _half(b[:, :2]) * scales, _half(b[:, 2:4]) * minima
    return (scale.unsqueeze(2) * q.unflatten(1, (8, 32)).float() - low.unsqueeze(2)).flatten(1)


def _q4_k(b: Tensor) -> Tensor:
    return _scaled_32(b, _runs(b[:, 16:], 32, _NIBBLES, 15))


def _q5_k(b: Tensor) -> Tensor:
    return _scaled_32(b, _runs(b[:, 48:], 32, _NIBBLES, 15) | _runs(b[:, 16:48], 32, _BITS, 1) << 4)


def _q6_k(b: Tensor) -> Tensor:
    scale = _half(b[:, 208:]) * _signed(b[:, 192:208])
    q = _runs(b[:, :128], 64, _NIBBLES, 15) | _runs(b[:, 128:192], 32, _PAIRS, 3) << 4
    return (scale.unsqueeze(2) * (q.float() - 32).unflatten(1, (16, 16))).flatten(1)


def _thirds(raw: Tensor, run: int, count: int) -> Tensor:
    """Numbers of three values, packed to base 3: digit i of every byte, in runs."""
    powers = torch.tensor([3**i for i in range(count)], dtype=torch.uint8, device=raw.device)
    digits = raw.unflatten(-1, (-1, run)).unsqueeze(-2) * powers.unsqueeze(-1)  # bytes wrap around
    return digits.flatten(1)


def _tq1_0(b: Tensor) -> Tensor:
    digits = torch.cat(
        [_thirds(b[:, :32], 32, 5), _thirds(b[:, 32:48], 16, 5), _thirds(b[:, 48:52], 4, 4)], dim=1
    )
    return _half(b[:, 52:]) * ((digits.short() * 3 >> 8).float() - 1)


def _tq2_0(b: Tensor) -> Tensor:
    return _half(b[:, 64:]) * (_runs(b[:, :64], 32, _PAIRS, 3).float() - 1)


def _mxfp4(b: Tensor) -> Tensor:
    e = b[:, :1].int()
    # Half of the power of two that E8M0 says, for the values are doubled.
    scale = torch.where(e < 2, 0x00200000 << e.clamp(max=1), e - 1 << 23).view(torch.float32)
    return scale * _look("MXFP4", _runs(b[:, 1:], 16, _NIBBLES, 15))


def _nvfp4(b: Tensor) -> Tensor:
    e = b[:, :4]
    exponent, mantissa = (e >> 3 & 15).float(), (e & 7).float()
    raw = torch.where(exponent == 0, mantissa * 2**-9, (1 + mantissa / 8) * torch.exp2(exponent - 7))
    scale = torch.where((e == 0) | (e == 0x7F), 0.0, raw * 0.5)
    q = _runs(b[:, 4:], 8, _NIBBLES, 15).unflatten(1, (4, 16))
    return (scale.unsqueeze(2) * _look("NVFP4", q)).flatten(1)


def _scaled_eights(scale: Tensor, grid: Tensor, signs: Tensor) -> Tensor:
    """(n, groups) times what stands in the groups of `grid`, with its signs."""
    n = len(scale)
    return (
        scale.unsqueeze(2) * grid.reshape(n, scale.shape[1], -1) * signs.reshape(n, scale.shape[1], -1)
    ).flatten(1)


def _book_signs(words: Tensor) -> Tensor:
    """The signs that four indices of seven bits in each word name."""
    return _signs(_look("signs", _spread(words, (0, 7, 14, 21), 127)))


def _iq2_xxs(b: Tensor) -> Tensor:
    words = b[:, 2:].unflatten(1, (8, 8))
    tail = _words(words[:, :, 4:].flatten(1), 4)
    scale = _half(b[:, :2]) * (0.5 + (tail >> 28 & 15).float()) * 0.25
    return _scaled_eights(scale, _look("IQ2_XXS", words[:, :, :4].flatten(1)), _book_signs(tail))


def _scaled_nibbles(b: Tensor, raw: Tensor, factor: float) -> Tensor:
    return _half(b[:, :2]) * (0.5 + _spread(raw, _NIBBLES, 15).float()) * factor


def _iq2_xs(b: Tensor) -> Tensor:
    words = _words(b[:, 2:66], 2)
    signs = _signs(_look("signs", words >> 9 & 127))
    return _scaled_eights(_scaled_nibbles(b, b[:, 66:], 0.25), _look("IQ2_XS", words & 511), signs)


def _with_high(low: Tensor, high: Tensor, shifts: tuple[int, ...], mask: int) -> Tensor:
    """Indices of more than eight bits: the low byte, and the bits of `high` above it."""
    return low.int() | _spread(high.int(), shifts, mask) << 8


def _iq2_s(b: Tensor) -> Tensor:
    index = _with_high(b[:, 2:34], b[:, 66:74], _PAIRS, 3)
    return _scaled_eights(_scaled_nibbles(b, b[:, 74:], 0.25), _look("IQ2_S", index), _signs(b[:, 34:66]))


def _iq3_xxs(b: Tensor) -> Tensor:
    tail = _words(b[:, 66:], 4)
    scale = _half(b[:, :2]) * (0.5 + (tail >> 28 & 15).float()) * 0.5
    return _scaled_eights(scale, _look("IQ3_XXS", b[:, 2:66]), _book_signs(tail))


def _iq3_s(b: Tensor) -> Tensor:
    scale = _half(b[:, :2]) * (1 + 2 * _spread(b[:, 106:], _NIBBLES, 15).float())
    index = _with_high(b[:, 2:66], b[:, 66:74], _BITS, 1)
    return _scaled_eights(scale, _look("IQ3_S", index), _signs(b[:, 74:106]))


_DELTA = 0.125


def _iq1_s(b: Tensor) -> Tensor:
    high = _words(b[:, 34:], 2)
    scale = _half(b[:, :2]) * (2 * (high >> 12 & 7) + 1).float()
    delta = torch.where(high & 0x8000 == 0, _DELTA, -_DELTA)
    grid = _look("IQ1_S", _with_high(b[:, 2:34], high, (0, 3, 6, 9), 7)).unflatten(1, (8, 4))
    return (scale[..., None, None] * (grid + delta[..., None, None])).flatten(1)


def _iq1_m(b: Tensor) -> Tensor:
    high, packed = b[:, 32:48], _words(b[:, 48:], 2)
    # The float16 scale of the block lies in the top four bits of each of four words.
    steps = torch.tensor([12, 8, 4, 0], dtype=torch.int32, device=b.device)
    d = (packed >> 12 & 15) << (12 - steps)
    d = d.sum(dim=1, keepdim=True, dtype=torch.int32).short().view(torch.float16).float()
    scale = d * (2 * _spread(packed, (0, 3, 6, 9), 7) + 1).float()
    delta = torch.where(_spread(high, _NIBBLES, 8) == 0, _DELTA, -_DELTA)
    grid = _look("IQ1_M", _with_high(b[:, :32], high, _NIBBLES, 7)) + delta.unsqueeze(2)
    return (scale[..., None, None] * grid.unflatten(1, (16, 2))).flatten(1)


def _iq4_nl(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * _look("IQ4_NL", _runs(b[:, 2:], 16, _NIBBLES, 15))


def _iq4_xs(b: Tensor) -> Tensor:
    scales = (
        _spread(b[:, 4:8], _NIBBLES, 15).int() | _spread(_words(b[:, 2:4], 2), tuple(range(0, 16, 2)), 3) << 4
    )
    scale = _half(b[:, :2]) * (scales.float() - 32)
    q = _look("IQ4_NL", _runs(b[:, 8:], 16, _NIBBLES, 15)).unflatten(1, (8, 32))
    return (scale.unsqueeze(2) * q).flatten(1)


KINDS: dict[str, Kind] = {
    "Q4_0": Kind(32, 18, _q4_0),
    "Q4_1": Kind(32, 20, _q4_1),
    "Q5_0": Kind(32, 22, _q5_0),
    "Q5_1": Kind(32, 24, _q5_1),
    "Q8_0": Kind(32, 34, _q8_0),
    "Q2_K": Kind(256, 84, _q2_k),
    "Q3_K": Kind(256, 110, _q3_k),
    "Q4_K": Kind(256, 144, _q4_k),
    "Q5_K": Kind(256, 176, _q5_k),
    "Q6_K": Kind(256, 210, _q6_k),
    "TQ1_0": Kind(256, 54, _tq1_0),
    "TQ2_0": Kind(256, 66, _tq2_0),
    "MXFP4": Kind(32, 17, _mxfp4),
    "NVFP4": Kind(64, 36, _nvfp4),
    "IQ2_XXS": Kind(256, 66, _iq2_xxs),
    "IQ2_XS": Kind(256, 74, _iq2_xs),
    "IQ2_S": Kind(256, 82, _iq2_s),
    "IQ3_XXS": Kind(256, 98, _iq3_xxs),
    "IQ3_S": Kind(256, 110, _iq3_s),
    "IQ1_S": Kind(256, 50, _iq1_s),
    "IQ1_M": Kind(256, 56, _iq1_m),
    "IQ4_NL": Kind(32, 18, _iq4_nl),
    "IQ4_XS": Kind(256, 136, _iq4_xs),
}
"""Every kind that the package gguf can dequantise."""
