"""Attention as a function `(q, k, v, bias) -> out` on (b, l, n, e); a backend is another such function.

`bias` is added to the scores before the softmax and broadcasts over queries: it is how merged text padding is
weighted (models/dit.py). The scale is 1/sqrt(e) everywhere. `sdpa` is the reference; `attend` chooses.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wan22.ops.linear import linear

Attention = Callable[..., Tensor]

_SCORES = 2**19
"""Scores that `blocked` holds at once; they should stay in the processor's cache."""


def sdpa(
    q: Float[Tensor, "b l n e"],
    k: Float[Tensor, "b s n e"],
    v: Float[Tensor, "b s n e"],
    bias: Float[Tensor, "b 1 1 s"] | None = None,
) -> Float[Tensor, "b l n e"]:
    """PyTorch's scaled_dot_product_attention, which picks a kernel for the device.

    The kernels of accelerators take a bias in the queries' dtype only (one refuses another, cuDNN misreads it), and
    log(count) in bfloat16 would weigh the text's padding wrongly by a percent: with a float32 bias all is float32.
    """
    if bias is not None and bias.dtype != q.dtype and q.device.type != "cpu":
        return sdpa(q.to(bias.dtype), k.to(bias.dtype), v.to(bias.dtype), bias).to(v.dtype)
    q, k, v = (a.transpose(1, 2) for a in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2)


def blocked(
    q: Float[Tensor, "b l n e"],
    k: Float[Tensor, "b s n e"],
    v: Float[Tensor, "b s n e"],
    bias: Float[Tensor, "b 1 1 s"] | None = None,
) -> Float[Tensor, "b l n e"]:
    """Written out, a head and a block of queries at a time: for CPUs, whose fused kernel is slow.

    Scores and softmax are float32, the weights of the values are rounded to v's dtype; no gradient.
    """
    out = torch.empty_like(q)
    rows = max(_SCORES // k.shape[1], 64)
    for b in range(q.shape[0]):
        for n in range(q.shape[2]):
            keys = k[b, :, n].float()
            values = v[b, :, n].t().contiguous()
            for start in range(0, q.shape[1], rows):
                part = slice(start, start + rows)
                scores = linear(q[b, part, n].float() * q.shape[-1] ** -0.5, keys)
                if bias is not None:
                    scores += bias[b, 0, 0]
                out[b, part, n] = linear(scores.softmax(dim=-1).to(v.dtype), values)
    return out


def attend(
    q: Float[Tensor, "b l n e"],
    k: Float[Tensor, "b s n e"],
    v: Float[Tensor, "b s n e"],
    bias: Float[Tensor, "b 1 1 s"] | None = None,
) -> Float[Tensor, "b l n e"]:
    """The fastest of these for the device: `blocked` for many keys on the CPU, where no gradient is asked."""
    long = k.shape[1] >= 256 and q.shape[1] >= 64
    cpu = q.device.type == "cpu" and not torch.is_grad_enabled()
    return (blocked if cpu and long else sdpa)(q, k, v, bias)


ATTENTION: dict[str, Attention] = {"attend": attend, "sdpa": sdpa, "blocked": blocked}
