"""Tensors without memory, and operators on them: what they give has a shape and no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class Sizes(Tensor):
    """A tensor of the CPU without memory: sizes and strides, with the tensor of the meta device that stands for it."""

    meta: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type[Sizes], meta: Tensor) -> Sizes:
        # A view of a tensor that was made outside inference mode must be no inference tensor either.
        with torch._C._InferenceMode(False):
            made = Tensor._make_wrapper_subclass(
                cls,
                meta.shape,
                strides=meta.stride(),
                storage_offset=meta.storage_offset(),
                dtype=meta.dtype,
                device="cpu",
            )
        made.meta = meta
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a tensor without memory; it has no numbers")


def call(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator on the meta device. For the commonest ones PyTorch does that in Python, with a compiler's care,
    which takes a millisecond each; of plain tensors of one floating dtype their result is plain.
    """
    if name in _IN_PLACE:
        return args[0]
    plain = _PLAIN.get(name)
    if plain is None or kwargs.keys() - {"dtype"}:
        return func(*args, **kwargs)
    tensors = list(tensors_of(args))
    first = tensors[0]
    if not first.is_floating_point() or any(t.dtype != first.dtype or not t.is_contiguous() for t in tensors):
        return func(*args, **kwargs)
    return first.new_empty(plain(tensors, *args[1:]), dtype=kwargs.get("dtype") or first.dtype)


def _joined(tensors: list[Tensor], axis: int = 0) -> list[int]:
    shape = list(tensors[0].shape)
    shape[axis] = sum(t.shape[axis] for t in tensors)
    return shape


def _normed(tensors: list[Tensor], order: float = 2, axes: Any = None, keepdim: bool = False) -> list[int]:
    whole = list(tensors[0].shape)
    gone = {axis % len(whole) for axis in (range(len(whole)) if axes is None else axes)}
    return [1 if i in gone else side for i, side in enumerate(whole) if keepdim or i not in gone]


def _broadcast(tensors: list[Tensor], *_: Any) -> torch.Size:
    shapes = [t.shape for t in tensors]
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    longest = max(map(len, shapes))
    padded = [(1,) * (longest - len(shape)) + tuple(shape) for shape in shapes]
    return torch.Size(max(sides) if 0 not in sides else 0 for sides in zip(*padded, strict=True))


_SMALL = 64
"""Elements up to which a tensor that is made of numbers has them, so that they can be read back."""


def run_sizes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator of the CPU on what stands for its tensors, or as it is on a few numbers."""
    given: dict[int, Tensor] = {}
    inputs = list(tensors_of((*args, *kwargs.values())))
    if inputs and not any(isinstance(t, Sizes) or t.numel() > _SMALL for t in inputs):
        return func(*args, **kwargs)
    inside = {name: _stand_in(value, given) for name, value in kwargs.items()}
    if any(argument.name == "device" for argument in func._schema.arguments):
        inside["device"] = torch.device("meta")
    out = _sizes(call(func, func._schema.name, _stand_in(args, given), inside), given)
    if not inputs and isinstance(out, Sizes) and out.numel() <= _SMALL and "empty" not in func._schema.name:
        return func(*args, **kwargs)
    return out


def _stand_in(value: Any, given: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        meta = value.meta if isinstance(value, Sizes) else value.to("meta")
        given[id(meta)] = value
        return meta
    return type(value)(_stand_in(v, given) for v in value) if isinstance(value, list | tuple) else value


def _sizes(value: Any, given: Mapping[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return given[id(value)] if id(value) in given else Sizes(value)
    return type(value)(_sizes(v, given) for v in value) if isinstance(value, list | tuple) else value


def storage_of(tensor: Tensor) -> Any:
    """What has the bytes of a tensor; its views share it."""
    return (tensor.meta if isinstance(tensor, Sizes) else tensor).untyped_storage()


def tensors_of(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among values, in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_of(value)


_POINTWISE = {
    f"aten::{name}"
    for name in (
        "add", "sub", "mul", "div", "addcmul", "silu", "gelu", "neg", "tanh", "exp", "pow", "reciprocal", "rsqrt",
        "sigmoid", "clamp", "clamp_min", "_to_copy", "clone",
    )
}  # fmt: skip
_IN_PLACE = {f"{name}_" for name in _POINTWISE}
_PLAIN: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_POINTWISE, _broadcast),
    "aten::cat": _joined,
    "aten::linalg_vector_norm": _normed,
}
"""The shape of what contiguous tensors give."""
