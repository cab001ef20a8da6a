"""FlashAttention (Dao 2023, arXiv:2307.08691; Shah et al. 2024, arXiv:2407.08608) from the packages of its authors.

They take (b, l, n, e) as it is, compute in bfloat16 or float16, and know no bias. The results are those of other exact
kernels but for rounding.
"""

import importlib

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.ops.gpu import HOPPER, why_fails, why_no_gpu, why_no_package, why_not_dtype

_TWO, _THREE = "flash_attn", "flash_attn_interface"


def flash2(
    q: Float[Tensor, "b l n e"], k: Float[Tensor, "b s n e"], v: Float[Tensor, "b s n e"]
) -> Float[Tensor, "b l n e"]:
    """FlashAttention 2 (package flash-attn)."""
    return importlib.import_module(_TWO).flash_attn_func(q, k, v)


def flash3(
    q: Float[Tensor, "b l n e"], k: Float[Tensor, "b s n e"], v: Float[Tensor, "b s n e"]
) -> Float[Tensor, "b l n e"]:
    """FlashAttention 3, for Hopper (flash_attn_interface, in the folder `hopper` of its repository)."""
    out = importlib.import_module(_THREE).flash_attn_func(q, k, v)
    return out[0] if isinstance(out, tuple) else out  # early releases also return the sums of the rows


def why_not_flash2(device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    """Why FlashAttention 2 cannot be used."""
    if head_dim > 256:
        return f"its heads are at most 256 wide, not {head_dim}"
    return (
        why_no_package(_TWO, "flash_attn_func")
        or why_no_gpu(device)
        or why_not_dtype(dtype)
        or why_fails(flash2, device, dtype, head_dim)
    )


def why_not_flash3(device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    """Why FlashAttention 3 cannot be used: it knows one generation of GPUs."""
    if head_dim > 256:
        return f"its heads are at most 256 wide, not {head_dim}"
    if why := why_no_package(_THREE, "flash_attn_func") or why_no_gpu(device, HOPPER) or why_not_dtype(dtype):
        return why
    has = torch.cuda.get_device_capability(device)
    if has[0] != HOPPER[0]:
        return f"it is made for Hopper (9.0), and this GPU has compute capability {has[0]}.{has[1]}"
    return why_fails(flash3, device, dtype, head_dim)
