"""What operators on tensors without memory do to the counts, remembered by what they were given.

A network is a few hundred different operators, thousands of times: blocks, layers and frames are alike. What one gives
follows from the sizes of its tensors and its other arguments. So the second of a kind need not be taken apart and run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wan22.memory.sizes import Sizes, storage_of

Work = tuple[str, torch.dtype]
"""A kind of product ("matmul", "attention", "conv") and the dtype it is made in."""


class New(NamedTuple):
    """A tensor with memory of its own, of so many bytes."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    size: int
    label: str


class View(NamedTuple):
    """A view of the tensor that was given at `index`; it begins `offset` elements behind that."""

    index: int
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int


class Same(NamedTuple):
    """The tensor that was given at `index`."""

    index: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What an operator counts to: bytes at its peak above those before it, and what they are; products, kernels,
    traffic, synchronisations; and what it makes: a New, View or Same, None, or a sequence of such.
    """

    peak: int
    largest: tuple[tuple[int, str], ...]
    flops: Mapping[Work, float]
    kernels: float
    traffic: float
    syncs: float
    made: Any


class _Unknown(Exception):
    pass


_EFFECTS: dict[Any, Effect] = {}
_MOST = 20_000
"""Effects that are remembered, of some hundred bytes each; a video of any model has some hundred."""


def recall(key: Any) -> Effect | None:
    """What an operator of this key did."""
    return _EFFECTS.get(key)


def remember(key: Any, effect: Effect) -> None:
    """Note what an operator did, unless that is not known well enough to be repeated."""
    if effect.made is not _Unknown:
        if len(_EFFECTS) >= _MOST:
            _EFFECTS.clear()
        _EFFECTS[key] = effect


def key_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], given: list[Tensor]) -> Any:
    """That from which the effect of an operator follows; None if it must be run: it has real numbers, goes from one
    device to another, or changes the sizes of what it is given. Its tensors are added to `given`.
    """
    try:
        told = [_told(value, given) for value in args]
        for name, value in kwargs.items():
            told += name, _told(value, given)
    except _Unknown:
        return None
    return (func, given[0].device, *told) if given and not _changes_sizes(func) else None


def _told(value: Any, given: list[Tensor]) -> Any:
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if isinstance(value, Tensor):
        if kind is not Sizes and not value.is_meta:
            raise _Unknown
        given.append(value)
        return value.shape, value.stride(), value.dtype, storage_of(value).nbytes()
    if kind in _PLAIN:
        return kind, value  # 1, 1.0 and True are equal, and not the same
    if kind is tuple or kind is list:
        return tuple([_told(part, given) for part in value])
    raise _Unknown


_PLAIN = {float, bool, torch.dtype, torch.layout, torch.memory_format}


@lru_cache(maxsize=1024)
def _changes_sizes(func: Any) -> bool:
    return torch.Tag.inplace_view in func.tags


def described(out: Any, given: Sequence[Tensor], known: Mapping[int, tuple[int, str]]) -> Any:
    """What an operator made of `given`, for an Effect. known: bytes and label of all that lives, by storage."""
    try:
        return _described(out, given, known, set())
    except _Unknown:
        return _Unknown


def _described(out: Any, given: Sequence[Tensor], known: Mapping[int, tuple[int, str]], new: set[int]) -> Any:
    if out is None:
        return None
    if isinstance(out, list | tuple):
        return type(out)(_described(part, given, known, new) for part in out)
    if not isinstance(out, Tensor) or (type(out) is not Sizes and not out.is_meta):
        raise _Unknown
    storage = storage_of(out)
    key = storage._cdata
    for index, tensor in enumerate(given):
        if tensor is out:
            return Same(index)
        if storage_of(tensor)._cdata == key:
            if tensor.dtype != out.dtype:
                raise _Unknown
            return View(index, out.shape, out.stride(), out.storage_offset() - tensor.storage_offset())
    extent = 1 + sum((side - 1) * step for side, step in zip(out.shape, out.stride(), strict=True))
    if (
        key in new
        or out.storage_offset()
        or storage.nbytes() != out.element_size() * extent * (out.numel() > 0)
    ):
        raise _Unknown
    new.add(key)
    return New(out.shape, out.stride(), out.dtype, *known[key])


def made_again(made: Any, given: Sequence[Tensor], hold: Callable[[Any, int, str], None]) -> Any:
    """What an operator made before, of these tensors. `hold` is called with each new storage, its bytes and label."""
    kind = type(made)
    if kind is Same:
        return given[made.index]
    sizes = type(given[0]) is Sizes
    if kind is View:
        base = given[made.index]
        base = base.meta if isinstance(base, Sizes) else base
        view = base.as_strided(made.shape, made.stride, base.storage_offset() + made.offset)
        return Sizes(view) if sizes else view
    if kind is New:
        tensor = torch.empty_strided(made.shape, made.stride, dtype=made.dtype, device=_META)
        hold(tensor.untyped_storage(), made.size, made.label)
        return Sizes(tensor) if sizes else tensor
    return None if made is None else kind(made_again(part, given, hold) for part in made)


_META = torch.device("meta")
