"""When a function of ops/fused.py is computed by its Triton kernel: on an NVIDIA or AMD GPU, where Triton is installed.

The kernel is a function of the same name and arguments in another file; elsewhere the reference is computed.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from wan22.ops.gpu import why_no_gpu

Function = TypeVar("Function", bound=Callable[..., Any])

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


Count = Callable[[Callable[[], Any], tuple[Any, ...]], Any]
"""Gets the reference, to be called without arguments, and its arguments; returns what it does."""

_count: ContextVar[Count | None] = ContextVar("count", default=None)


@contextmanager
def counted(count: Count) -> Generator[None]:
    """Within, every function that has a kernel goes to `count`, which takes it for one (memory/meter.py)."""
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)


def why_not(x: Tensor) -> str | None:
    """Why a kernel cannot compute with this tensor; None if it can.

    A compiler fuses the reference by itself, and sees through no kernel; a gradient needs the reference.
    """
    if x.device.type != "cuda":
        return f"there are kernels for GPUs, not for {x.device.type}"
    if type(x) not in (Tensor, nn.Parameter):
        return f"a {type(x).__name__} holds no numbers"
    if torch.compiler.is_compiling():
        return "the compiler fuses the reference"
    if torch.is_grad_enabled():
        return "a kernel has no gradient (torch.inference_mode)"
    if x.dtype not in _DTYPES:
        return f"the kernels take {', '.join(str(d).removeprefix('torch.') for d in _DTYPES)}, not {x.dtype}"
    return why_no_triton(x.device)


@lru_cache(maxsize=16)
def why_no_triton(device: torch.device) -> str | None:
    """Why Triton cannot run on a GPU. It is tried: it also needs a C compiler and the headers of Python."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    if why := why_no_gpu(device):
        return why
    try:
        with torch.inference_mode():
            x = torch.ones(1, 2, 8, device=device)
            twice = importlib.import_module("wan22.ops.triton_block").gated_add(x, x)
            return None if bool((twice == 2).all()) else "triton computes wrongly on this GPU"
    except Exception as error:  # whatever fails in its compiler or the driver is the reason
        return f"triton fails here: {str(error).strip().partition(os.linesep)[0] or type(error).__name__}"


def with_kernel(module: str) -> Callable[[Function], Function]:
    """Compute a function of a tensor by the one of its name in `module` wherever `why_not` has nothing against it."""

    def decorate(reference: Function) -> Function:
        name = reference.__name__  # ty: ignore[missing-attribute]

        @wraps(reference)
        def choose(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            # A compiler cannot see into a context variable: it would break its graph here.
            count = None if torch.compiler.is_compiling() else _count.get()
            if count is not None:
                return count(partial(reference, x, *args, **kwargs), (x, *args, *kwargs.values()))
            if why_not(x) is not None:
                return reference(x, *args, **kwargs)
            return getattr(importlib.import_module(module), name)(x, *args, **kwargs)

        return cast(Function, choose)

    return decorate
