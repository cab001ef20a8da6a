"""The linear layers of the networks: which dtype each computes in, and what its weight is kept in.

What stands in place of a `Linear` has a `dtype` as well: what comes before it gives its input so.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan22.ops.linear import linear
from wan22.ops.products import multiply
from wan22.ops.stored import Form, Int4, Scaled, dequantise, empty


class Linear(nn.Linear):
    """A linear layer that computes in its weight's dtype, or in `compute` if that is given, whatever comes in."""

    compute: torch.dtype | None = None

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.compute or self.weight.dtype

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return linear(x.to(dtype), self.weight.to(dtype), bias)


class Linear32(nn.Linear):
    """A linear layer that computes in float32, whatever its weight is stored in."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.float(), self.weight.float(), self.bias.float())


class StoredLinear(nn.Module):
    """A linear layer whose weight is kept in another form than it computes in (ops/stored.py): the weight is made for
    each call and let go. The weight learns nothing; gradients reach the input.

    dtype: what it computes in.
    rank: of low-rank factors `lora_down` (rank, in) and `lora_up` (out, rank), whose product belongs to the weight and
        is not merged into it.
    products: multiply in 8 bits where the device can (ops/products.py), while no gradient is asked.
    """

    data: Tensor
    lora_down: Tensor
    lora_up: Tensor

    def __init__(
        self, base: nn.Linear, form: Form, dtype: torch.dtype, *, rank: int = 0, products: bool = False
    ) -> None:
        """In place of `base`, whose bias it takes; what it keeps is unfilled, on the device of `base`."""
        super().__init__()
        self.in_features, self.out_features = base.in_features, base.out_features
        self.form, self.dtype, self.rank, self.products = form, dtype, rank, products
        self.register_parameter("bias", base.bias)
        device = base.weight.device
        kept = empty(form, self.out_features, self.in_features, device)
        self._names = tuple(kept)
        if rank:
            kept["lora_down"] = torch.empty(rank, self.in_features, dtype=dtype, device=device)
            kept["lora_up"] = torch.empty(self.out_features, rank, dtype=dtype, device=device)
        for name, buffer in kept.items():
            self.register_buffer(name, buffer)

    @classmethod
    def quantised(cls, base: nn.Linear, form: Scaled | Int4) -> "StoredLinear":
        """A layer like `base`, with its weight rounded to a form; it computes in the dtype that the weight had."""
        made = cls(base, form, base.weight.dtype)
        for name, buffer in form.encode(base.weight).items():
            made._buffers[name] = buffer
        return made

    @property
    def kept(self) -> dict[str, Tensor]:
        """What the weight is made of, by name."""
        return {name: getattr(self, name) for name in self._names}

    @property
    def weight(self) -> Tensor:
        """The weight (out, in) in the dtype it computes in, with the product of the factors."""
        made = dequantise(self.form, self.kept, self.dtype)
        return torch.addmm(made, self.lora_up, self.lora_down) if self.rank else made

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        y = self._times(x)
        if self.rank:
            y = y + F.linear(F.linear(x, self.lora_down), self.lora_up)
        return y

    def _times(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(self.dtype)
        if torch.is_grad_enabled():
            y = _Product.apply(x, self.form, self._names, *self.kept.values())
            return y if bias is None else y + bias
        y = multiply(x, self.form, self.kept) if self.products else None
        if y is None:
            return linear(x, dequantise(self.form, self.kept, self.dtype), bias)
        return y if bias is None else y.add_(bias)


class _Product(torch.autograd.Function):
    """x @ weight.T, which keeps for its gradient what the weight is made of and not the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, form: Form, names: tuple[str, ...], *kept: Tensor) -> Tensor:
        ctx.form, ctx.names = form, names
        ctx.save_for_backward(*kept)
        return F.linear(x, dequantise(form, dict(zip(names, kept, strict=True)), x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        kept = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        return gradient @ dequantise(ctx.form, kept, gradient.dtype), *[None] * (2 + len(kept))
