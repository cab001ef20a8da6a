"""SageAttention (Zhang et al. 2024, arXiv:2411.10958) from the package of its authors.

Queries and keys are rounded to 8 bits, so the results differ from those of exact kernels: no one gets it who did not
name it.
"""

import importlib

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.ops.gpu import why_fails, why_no_gpu, why_no_package, why_not_dtype

_PACKAGE = "sageattention"


def sage(
    q: Float[Tensor, "b l n e"], k: Float[Tensor, "b s n e"], v: Float[Tensor, "b s n e"]
) -> Float[Tensor, "b l n e"]:
    """The kernel that the package picks for the GPU. Its layout "NHD" is ours."""
    q, k, v = (a if a.stride(-1) == 1 else a.contiguous() for a in (q, k, v))
    return importlib.import_module(_PACKAGE).sageattn(q, k, v, tensor_layout="NHD", is_causal=False)


def why_not_sage(device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    """Why SageAttention cannot be used. Which GPUs it knows depends on its version: it is tried."""
    if head_dim > 128:
        return f"its heads are at most 128 wide, not {head_dim}"
    return (
        why_no_package(_PACKAGE, "sageattn")
        or why_no_gpu(device)
        or why_not_dtype(dtype)
        or why_fails(sage, device, dtype, head_dim)
    )
