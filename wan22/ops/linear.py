"""A linear map by the fastest kernel of the machine: `F.linear`, but for float32 on CPUs with AVX-512.

There PyTorch hands float32 products to MKL, which on AMD's processors runs at less than half the rate of oneDNN
(105 against 235 GFLOP/s on a Zen 5 core). It knows no module and no gradient: training takes `F.linear`.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@lru_cache(maxsize=1)
def _onednn() -> Callable[..., Tensor] | None:
    """oneDNN's product, the operator that Inductor calls; None where it is missing or has nothing to win."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def cpu_inference(x: Tensor) -> bool:
    """Whether the kernels that stand in for PyTorch's own may be used: float32 on the CPU, no gradient asked.

    The compiler sees through none of them, and has its own.
    """
    inference = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return x.device.type == "cpu" and x.dtype == torch.float32 and inference


def linear(
    x: Float[Tensor, "*rest i"], weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None
) -> Float[Tensor, "*rest o"]:
    """x @ weight.T + bias."""
    fast = _onednn() if cpu_inference(x) and weight.dtype == torch.float32 else None
    if fast is None:
        return F.linear(x, weight, bias)
    return fast(x.contiguous(), weight.contiguous(), bias, "none", [], "")  # it crawls through other strides
