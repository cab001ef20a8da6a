"""PyTorch's FlexAttention (Dong et al. 2024, arXiv:2412.05496): an exact kernel that the compiler writes."""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.ops.gpu import why_no_compiler, why_no_gpu


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return cast(
        Callable[..., Tensor], torch.compile(flex_attention)
    )  # as it is, it would write out all scores


def flex(
    q: Float[Tensor, "b l n e"], k: Float[Tensor, "b s n e"], v: Float[Tensor, "b s n e"]
) -> Float[Tensor, "b l n e"]:
    """FlexAttention without a rule: full attention. The first call compiles."""
    return _compiled()(*(a.transpose(1, 2) for a in (q, k, v))).transpose(1, 2)


def why_not_flex(device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    """Why FlexAttention cannot be used. It is not tried, for its compiler takes long."""
    if device.type == "cuda" and head_dim < 16:
        return f"its heads are at least 16 wide, not {head_dim}"
    return (None if device.type == "cpu" else why_no_gpu(device)) or why_no_compiler(device)
