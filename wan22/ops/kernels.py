"""When a function of ops/fused.py is computed by its Triton kernel: on an NVIDIA or AMD GPU, where Triton is installed.

The kernel is a function of the same name and arguments in another file; elsewhere the reference is computed.
"""

import importlib
import importlib.util
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

Function = TypeVar("Function", bound=Callable[..., Any])

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_CAPABILITY = (8, 0)
"""The oldest NVIDIA generation (Ampere) for which the kernels are compiled and checked."""


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
    """Why Triton cannot run on a GPU."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    if torch.version.hip is None and (has := torch.cuda.get_device_capability(device)) < _CAPABILITY:
        return f"compute capability {has[0]}.{has[1]} is below {_CAPABILITY[0]}.{_CAPABILITY[1]}"
    return None


def with_kernel(module: str) -> Callable[[Function], Function]:
    """Compute a function of a tensor by the one of its name in `module` wherever `why_not` has nothing against it."""

    def decorate(reference: Function) -> Function:
        name = reference.__name__  # ty: ignore[missing-attribute]

        @wraps(reference)
        def choose(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if why_not(x) is not None:
                return reference(x, *args, **kwargs)
            return getattr(importlib.import_module(module), name)(x, *args, **kwargs)

        return cast(Function, choose)

    return decorate
