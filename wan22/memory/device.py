"""What this machine has: devices, dtypes, free memory."""

import psutil
import torch

from wan22.errors import DeviceError

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


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def wait(device: torch.device) -> None:
    """Return when the device has done what it was told; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
