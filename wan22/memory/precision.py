"""What weights are kept in and computed in on a device: two things, and a third where they are quantised."""

import os
import platform

import torch

from wan22.errors import DeviceError, OptionError
from wan22.memory.device import pick_dtype
from wan22.ops.products import why_not
from wan22.ops.stored import Keep

QUANTIZE = ("none", "fp8", "int8", "int4", "fp8-weights", "int8-weights")
"""What `--quantize` takes: kinds of weights, which multiply in 8 bits where the device can; "-weights" forbids that."""

_WEIGHTS_ONLY = "-weights"
_ISA_WITH_BFLOAT16 = ("BF16", "FP16", "AMX", "AVX10", "ALL", "DEFAULT")


def has_bfloat16_products() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware. Limits that the environment sets are kept to
    (ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA): they stand for an older CPU.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "ALL")).upper()
    if (
        not any(name in limit for name in _ISA_WITH_BFLOAT16)
        or torch.backends.cpu.get_cpu_capability() != "AVX512"
    ):
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def pick_compute_dtype(name: str, dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype that weights of `dtype` compute in: the one of that name, or with "auto" the same, but float32 for
    bfloat16 on a CPU without bfloat16 products, where it is six times as fast and the numbers are closer.
    """
    if name != "auto":
        return pick_dtype(name, device, small=False)
    slow = device.type == "cpu" and dtype == torch.bfloat16 and not has_bfloat16_products()
    return torch.float32 if slow else dtype


def pick_keep(
    quantize: str | None, compute: torch.dtype, device: torch.device
) -> tuple[Keep, tuple[str, ...]]:
    """How matrices are kept, and in words what people may not expect of it.

    Raises OptionError for an unknown name, DeviceError for a kind that the device has no dtype for.
    """
    float8 = device.type != "mps"
    asked = quantize or "none"
    if asked not in QUANTIZE:
        raise OptionError(f"unknown kind of quantised weights {asked!r}. Known: {', '.join(QUANTIZE)}")
    if asked == "none":
        return Keep(compute, float8=float8), ()
    kind = asked.removesuffix(_WEIGHTS_ONLY)
    if kind == "fp8" and not float8:
        raise DeviceError("there is no float8 on mps; take --quantize int8 or int4")
    if asked != kind or kind == "int4":
        return Keep(compute, kind, float8=float8), ()
    why = why_not(kind, device)
    if why is None:
        return Keep(compute, kind, products=True, float8=float8), ()
    return Keep(compute, kind, float8=float8), (
        f"--quantize {kind} keeps weights in 8 bits and multiplies in more: {why}",
    )
