"""What this machine has: devices, dtypes, free memory."""

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch import Tensor

from wan22.errors import DeviceError, OptionError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def devices() -> list[str]:
    """The names of the devices that are here, the best first."""
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def pick_device(name: str | torch.device) -> torch.device:
    """Turn a name ("auto", "cpu", "cuda", "cuda:1", "mps") into a device that exists, or raise DeviceError."""
    here = devices()
    name = str(name)
    if name == "auto":
        return torch.device(here[0])
    if name == "cuda" and here[0].startswith("cuda"):
        return torch.device(here[0])
    if name not in here:
        raise DeviceError(
            f"there is no device {name!r} on this machine. Here are: {', '.join(here)} (or auto)"
        )
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """What kind of device it is: the card's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def pick_dtype(name: str | torch.dtype, device: torch.device, small: bool) -> torch.dtype:
    """Turn a name into the dtype of the large matrices.

    "auto" is float32 for a small model on the CPU, where it is exact and fast enough, else bfloat16 (what the official
    release computes in).
    """
    if isinstance(name, torch.dtype):
        name = str(name).removeprefix("torch.")
    name = _SHORT.get(name, name)
    if name == "auto":
        return torch.float32 if small and device.type == "cpu" else torch.bfloat16
    if name not in DTYPES:
        raise DeviceError(f"unknown dtype {name!r}. Known: auto, {', '.join(DTYPES)}, {', '.join(_SHORT)}")
    if name == "float16" and device.type == "cpu":
        raise DeviceError("float16 is not usable on the CPU; take bfloat16 or float32")
    return DTYPES[name]


VAE_DTYPES = ("float32", "bfloat16")


def pick_vae_dtype(name: str | torch.dtype) -> torch.dtype:
    """Turn a name into the dtype of the VAE, whose official release is float32 whatever the rest is."""
    name = str(name).removeprefix("torch.")
    name = _SHORT.get(name, name)
    if name not in VAE_DTYPES:
        raise OptionError(f"the VAE computes in {' or '.join(VAE_DTYPES)}, not in {name!r} (vae_dtype)")
    return DTYPES[name]


@contextmanager
def tf32_convolutions() -> Generator[None]:
    """Within, CUDA multiplies float32 in convolutions as TF32: 10 bits of mantissa, added up in float32.

    It is said here because the default differs between versions of PyTorch and cuDNN, by five times the speed. Other
    devices have no TF32.
    """
    convolutions: Any = torch.backends.cudnn.conv  # ty: ignore[missing-attribute]
    before, convolutions.fp32_precision = convolutions.fp32_precision, "tf32"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def channels_last(weight: Tensor) -> Tensor:
    """A convolution's weight with its channels last, as cuDNN's fastest kernels read it; any other tensor as it is."""
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(weight.dim())
    return weight if layout is None else weight.contiguous(memory_format=layout)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def keep_no_freed_memory() -> bool:
    """Have the C library give memory that is freed back to the system, from now on in this process; False where it is
    not glibc, which alone needs it.

    glibc takes tensors of up to 32 MB from a heap that becomes full of holes: at the peak a process can hold half
    as much again as its tensors need. Without the heap each tensor's pages are cleared anew, which costs time (a third
    more for small networks on a busy machine; not measured on a quiet one): it is for where memory is short.
    """
    mmap_threshold, trim_threshold = -3, -1  # malloc.h
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # other systems
        return False
    return bool(set_option(mmap_threshold, 2**20) and set_option(trim_threshold, 2**23))


def wait(device: torch.device) -> None:
    """Return when the device has done what it was told; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
