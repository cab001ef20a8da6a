"""Attention as a function `(q, k, v, bias) -> out` on (b, l, n, e); a backend is another such function.

`bias` is added to the scores before the softmax and broadcasts over queries: it is how merged text padding is
weighted (models/dit.py). The scale is 1/sqrt(e) everywhere.
"""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Attention = Callable[..., Tensor]


def sdpa(
    q: Float[Tensor, "b l n e"],
    k: Float[Tensor, "b s n e"],
    v: Float[Tensor, "b s n e"],
    bias: Float[Tensor, "b 1 1 s"] | None = None,
) -> Float[Tensor, "b l n e"]:
    """PyTorch's scaled_dot_product_attention, which picks a kernel for the device."""
    q, k, v = (a.transpose(1, 2) for a in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2)


ATTENTION: dict[str, Attention] = {"sdpa": sdpa}
