"""Attention as a function `(q, k, v, bias) -> out` on (b, l, n, e), and the backends that are such functions.

`bias` is added to the scores before the softmax and broadcasts over queries: it is how merged text padding is
weighted (models/dit.py). The scale is 1/sqrt(e) everywhere. `sdpa` is the reference; `attend` chooses between the two
that are always here; `open_attention` finds a backend by its name, or the best one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wan22.errors import OptionError, choose
from wan22.ops.flash import flash2, flash3, why_not_flash2, why_not_flash3
from wan22.ops.flex import flex, why_not_flex
from wan22.ops.gpu import HALF, why_fails, why_no_gpu, why_not_dtype
from wan22.ops.linear import linear
from wan22.ops.sage import sage, why_not_sage

Attention = Callable[..., Tensor]

_SCORES = 2**19
"""Scores that `blocked` holds at once; they should stay in the processor's cache."""


def padding_bias(count: int, dtype: torch.dtype) -> Float[Tensor, " keys"]:
    """What is added to the scores of the keys that stand for `count` (at least 1) equal ones, for queries of a dtype.

    In float32 one key has log(count). In bfloat16 that would weigh it wrongly by up to 1.6 %; there are two keys, whose
    exponentials sum to count within 0.022 % (up to 512): a number below the logarithm, and that of what is left.
    """
    if dtype == torch.float32:
        return torch.tensor([float(count)]).log()
    first = _rounded(math.log(count), dtype)
    if count == 1:
        return torch.tensor([first, -math.inf], dtype=dtype)
    pairs = []
    for _ in range(8):  # it, and numbers below it
        left = count - math.exp(first)
        if left > 0:
            pairs.append((first, _rounded(math.log(left), dtype)))
        first = _rounded(
            first - 0.51 * _spacing(first, dtype), dtype
        )  # just over half a step: the next below
    return torch.tensor(min(pairs, key=lambda pair: abs(sum(map(math.exp, pair)) - count)), dtype=dtype)


def _spacing(number: float, dtype: torch.dtype) -> float:
    """The distance from a number to the next larger one of a floating dtype."""
    return torch.finfo(dtype).eps * 2.0 ** (math.frexp(number)[1] - 1)


def _rounded(number: float, dtype: torch.dtype) -> float:
    """The nearest number of a floating dtype, found without a tensor."""
    step = _spacing(number, dtype)
    return round(number / step) * step


def sdpa(
    q: Float[Tensor, "b l n e"],
    k: Float[Tensor, "b s n e"],
    v: Float[Tensor, "b s n e"],
    bias: Float[Tensor, "b 1 1 s"] | None = None,
) -> Float[Tensor, "b l n e"]:
    """PyTorch's scaled_dot_product_attention, which picks a kernel for the device.

    The kernels of accelerators take a bias in the queries' dtype only (one refuses another, cuDNN misreads it): with a
    float32 bias all is float32. The networks' own is of the queries' dtype (`padding_bias`).
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
    lse: Float[Tensor, "b l n"] | None = None,
) -> Float[Tensor, "b l n e"]:
    """Written out, a head and a block of queries at a time: for CPUs, whose fused kernel is slow.

    Scores and softmax are float32, the weights of the values are rounded to v's dtype; no gradient. `lse` is written:
    the logarithm of the sum of the exponentials of the scores.
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
                if lse is not None:
                    lse[b, part, n] = scores.logsumexp(-1)
                out[b, part, n] = linear(scores.softmax(dim=-1).to(v.dtype), values)
    return out


def with_lse(
    q: Float[Tensor, "b l n e"], k: Float[Tensor, "b s n e"], v: Float[Tensor, "b s n e"]
) -> tuple[Float[Tensor, "b l n e"], Float[Tensor, "b l n"]]:
    """Attention to some of the keys, and the logarithm of the sum of the exponentials of their scores, in float32: by
    it `merged` puts the answers of several such parts together.

    On accelerators a kernel of PyTorch's, on CPUs as `blocked`; where a gradient is asked written out, for the gradient
    passes through the logarithm too.
    """
    if torch.is_grad_enabled():
        scores = torch.einsum("blne,bsne->bnls", q.float() * q.shape[-1] ** -0.5, k.float())
        lse = scores.logsumexp(-1)
        weights = (scores - lse[..., None]).exp().to(v.dtype)
        return torch.einsum("bnls,bsne->blne", weights, v), lse.transpose(1, 2)
    if q.device.type == "cpu":
        lse = q.new_empty(q.shape[:3], dtype=torch.float32)
        return blocked(q, k, v, lse=lse), lse
    heads = [a.transpose(1, 2) for a in (q, k, v)]
    if q.dtype in HALF and q.shape[-1] % 8 == 0 and q.shape[-1] <= 256:
        out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(*heads)
    else:
        out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(*heads, None, True)
    return out.transpose(1, 2), lse[..., : q.shape[1]].transpose(1, 2)


def merged(
    one: tuple[Float[Tensor, "b l n e"], Float[Tensor, "b l n"]],
    other: tuple[Float[Tensor, "b l n e"], Float[Tensor, "b l n"]],
) -> tuple[Float[Tensor, "b l n e"], Float[Tensor, "b l n"]]:
    """Attention to the keys of both, of two results of `with_lse`; in float32."""
    lse = torch.logaddexp(one[1], other[1])
    parts = [out.float() * (part - lse).exp()[..., None] for out, part in (one, other)]
    return parts[0] + parts[1], lse


class Part(NamedTuple):
    """Some of the tokens of a process, and `lengths`: how many tokens of every process are asked for with them."""

    tokens: slice
    lengths: tuple[int, ...] = ()


@runtime_checkable
class Across(Protocol):
    """Self-attention of the tokens of a process to all tokens, wherever they are.

    Every process must call its methods equally often, with parts of the same number.
    """

    def parts(self, length: int, chunk: int | None) -> list[Part]:
        """Of `length` tokens, parts of at most `chunk` where that is possible."""
        ...

    def keys(self, k: Float[Tensor, "b l n e"], v: Float[Tensor, "b l n e"]) -> tuple[Tensor, Tensor]:
        """Keys and values of this process's tokens to those that `ask` needs: once a block."""
        ...

    def ask(
        self, q: Float[Tensor, "b l n e"], keys: tuple[Tensor, Tensor], part: Part
    ) -> Float[Tensor, "b l n e"]:
        """What the tokens of a part find: once for each part."""
        ...


class Local(NamedTuple):
    """All tokens are here."""

    attention: Attention

    def parts(self, length: int, chunk: int | None) -> list[Part]:
        """As `slices` cuts."""
        return [Part(tokens) for tokens in slices(length, chunk)]

    def keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The same."""
        return k, v

    def ask(self, q: Tensor, keys: tuple[Tensor, Tensor], part: Part) -> Tensor:
        """By the kernel."""
        return self.attention(q, *keys)


def slices(length: int, most: int | None) -> list[slice]:
    """Parts of at most `most` that make up a length, all about equally long; one part without `most`."""
    count = 1 if most is None else max(-(-length // most), 1)
    step = max(-(-length // count), 1)
    return [slice(begin, min(begin + step, length)) for begin in range(0, length, step)] or [slice(0, 0)]


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


def forced(
    kernel: str, q: Float[Tensor, "b l n e"], k: Float[Tensor, "b s n e"], v: Float[Tensor, "b s n e"]
) -> Float[Tensor, "b l n e"]:
    """`sdpa` by one kernel of PyTorch's and no other; RuntimeError where it cannot."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(getattr(SDPBackend, kernel)):
        return sdpa(q, k, v)


Why = Callable[[torch.device, torch.dtype, int], str | None]


@dataclass(frozen=True)
class Backend:
    """A way to compute attention.

    attention: of (q, k, v), and of a bias too if `biased`. A call with a bias goes to `sdpa` where it is not: it has a
        few hundred keys (the text), so nothing is lost.
    why_not: of the device, the dtype of q, k and v, and the width of a head: why it cannot be used, or None.
    """

    attention: Attention
    why_not: Why
    biased: bool = False

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is None:
            return self.attention(q, k, v)
        return (self.attention if self.biased else sdpa)(q, k, v, bias)


def _anywhere(device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    return None


def _on_cpu(device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    return None if device.type == "cpu" else f"it is made for CPUs, not for {device.type}"


def _forced(kernel: str, widest: int = 0, dtypes: tuple[torch.dtype, ...] = HALF) -> Backend:
    """One kernel of PyTorch's, for GPUs, these dtypes, and heads up to a width (0: of any)."""
    attention = partial(forced, kernel)

    def why_not(device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
        if widest and (head_dim > widest or head_dim % 8):
            return f"its heads are multiples of 8 and at most {widest} wide, not {head_dim}"
        why = why_no_gpu(device) or why_not_dtype(dtype, dtypes)
        return why or why_fails(attention, device, dtype, head_dim)

    return Backend(attention, why_not)


ATTENTION: dict[str, Backend] = {
    "sdpa": Backend(sdpa, _anywhere, biased=True),
    "blocked": Backend(blocked, _on_cpu, biased=True),
    "flash3": Backend(flash3, why_not_flash3),
    "flash2": Backend(flash2, why_not_flash2),
    "sdpa_flash": _forced("FLASH_ATTENTION", 256),
    "cudnn": _forced("CUDNN_ATTENTION", 128),
    "efficient": _forced("EFFICIENT_ATTENTION", dtypes=(*HALF, torch.float32)),
    "sage": Backend(sage, why_not_sage),
    "flex": Backend(flex, why_not_flex),
}
"""Every backend by its name."""

ORDERS: dict[str, tuple[str, ...]] = {"auto": ("flash3",), "flash": ("flash3", "flash2", "sdpa_flash")}
"""Names that stand for the first of these that can be used. After the last, "auto" takes `attend`: on a GPU PyTorch's
choice among its own kernels (which are FlashAttention 2 and cuDNN's), on a CPU `blocked` or `sdpa` by the call."""


def attention_names() -> tuple[str, ...]:
    """What `open_attention` takes."""
    return (*ORDERS, *ATTENTION)


def open_attention(name: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> Attention:
    """Return the backend of a name, for heads of this width whose q, k and v are `dtype`.

    Raises OptionError for an unknown name, and for a backend that cannot be used here: it says why, and which can.
    """
    choose("attention backend", name, attention_names())
    reasons = {one: ATTENTION[one].why_not(device, dtype, head_dim) for one in ORDERS.get(name, (name,))}
    usable = next((one for one, why in reasons.items() if why is None), None)
    if usable is not None:
        return ATTENTION[usable]
    if name == "auto":
        return attend
    why = "; ".join(f"{one}: {said}" for one, said in reasons.items()) if len(reasons) > 1 else reasons[name]
    others = [
        one for one in ATTENTION if one not in reasons and not ATTENTION[one].why_not(device, dtype, head_dim)
    ]
    raise OptionError(
        f"attention {name!r} cannot be used: {why}. What can, for {device.type} and "
        f"{str(dtype).removeprefix('torch.')}: auto, {', '.join(others)}"
    )
