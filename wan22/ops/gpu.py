"""What the kernels of accelerators need, asked of the machine once: each answer is None or the reason why not."""

import importlib
import importlib.util
import math
import os
import shutil
import sys
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)
"""What the fast attention kernels compute in."""

AMPERE, HOPPER = (8, 0), (9, 0)
"""Compute capabilities of NVIDIA's generations."""


def why_no_gpu(device: torch.device, at_least: tuple[int, int] = AMPERE) -> str | None:
    """Why a device is not a GPU of this generation or a later one; AMD's are not told apart."""
    if device.type != "cuda":
        return f"it runs on NVIDIA GPUs, not on {device.type}"
    if torch.version.hip is None and (has := torch.cuda.get_device_capability(device)) < at_least:
        needed = ".".join(map(str, at_least))
        return f"it needs compute capability {needed}, and this GPU has {has[0]}.{has[1]}"
    return None


def why_not_dtype(dtype: torch.dtype, known: tuple[torch.dtype, ...] = HALF) -> str | None:
    """Why a kernel that computes in the known dtypes cannot compute in this one."""
    names = [str(one).removeprefix("torch.") for one in (*known, dtype)]
    return None if dtype in known else f"it computes in {' and '.join(names[:-1])}, not in {names[-1]}"


@lru_cache(maxsize=16)
def why_no_package(package: str, name: str) -> str | None:
    """Why `name` cannot be had from an installed package."""
    try:
        getattr(importlib.import_module(package), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == package.partition(".")[0]:
            return f"the package {package} is not installed"
        return f"the package {package} cannot be imported: {error}"
    except (ImportError, OSError, AttributeError) as error:  # built for another PyTorch or Python
        return f"the package {package} cannot be imported: {error}"
    return None


@lru_cache(maxsize=64)
def why_fails(
    attention: Callable[[Tensor, Tensor, Tensor], Tensor],
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
) -> str | None:
    """What a kernel says when it is tried on a few numbers: the last word on whether it works on a machine."""
    with torch.inference_mode():
        shape = (3, 1, 128, 2, head_dim)
        q, k, v = torch.linspace(-2, 2, math.prod(shape), device=device).sin().to(dtype).view(shape)
        try:
            out = attention(q, k, v)
        except Exception as error:  # foreign code: whatever it raises is the reason
            return f"it fails here: {str(error).strip().partition(os.linesep)[0] or type(error).__name__}"
        return None if bool(torch.isfinite(out).all()) else "it gives numbers that are not finite"


def why_no_compiler(device: torch.device) -> str | None:
    """Why `torch.compile` cannot compile for a device."""
    if device.type == "mps":
        return "it compiles for CPUs and NVIDIA or AMD GPUs, not for mps"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "it needs triton (pip install triton)"
    known = {"win32": "cl", "darwin": "clang++"}
    compiler = os.environ.get("CXX", known.get(sys.platform, "g++"))
    if shutil.which(compiler) is None:
        return f"it needs a C++ compiler, and {compiler} is not installed (or name another in CXX)"
    return None
