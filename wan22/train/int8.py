"""A frozen base in eight bits, so that an adapter can be trained on a small card.

Every row of a weight is held as whole numbers from -127 to 127 and one float32 factor, the row's largest magnitude over
127 (absmax quantisation per output channel, Dettmers et al. 2022, arXiv:2208.07339, section 2.1). The product is made
in the precision that the weight had, from a copy that lives for one layer; gradients reach the input, never the weight.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8
from torch import Tensor, nn

from wan22.errors import OptionError
from wan22.models.linear import Linear

_LEVELS = 127


@dataclass(frozen=True)
class Rounding:
    """What eight bits cost. Errors are norms of what was lost over norms of what was there, per matrix.

    `before` and `after` are bytes of the matrices; `worst` names the matrix with the largest error.
    """

    matrices: int
    mean_error: float
    worst_error: float
    worst: str
    before: int
    after: int

    def __str__(self) -> str:
        return (
            f"{self.matrices} matrices in 8 bits: {self.before / 1e9:.2f} -> {self.after / 1e9:.2f} GB, relative error "
            f"{self.mean_error:.2%} in the mean, {self.worst_error:.2%} at most ({self.worst})"
        )


def quantise(weight: Float[Tensor, "o i"]) -> tuple[Int8[Tensor, "o i"], Float[Tensor, "o 1"]]:
    """Return whole numbers and the float32 factor of each row; a row of zeros stays one."""
    wide = weight.detach().float()
    scale = wide.abs().amax(dim=1, keepdim=True) / _LEVELS
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (wide / scale).round_().clamp_(-_LEVELS, _LEVELS).to(torch.int8), scale


def dequantise(weight: Int8[Tensor, "o i"], scale: Float[Tensor, "o 1"], dtype: torch.dtype) -> Tensor:
    """The weight again; its product with the factor is rounded once, to `dtype`."""
    return (weight.float() * scale).to(dtype)


class _Product(torch.autograd.Function):
    """x @ weight.T, which keeps for its gradient the eight bits and not the weight made of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return F.linear(x, dequantise(weight, scale, x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        (gradient,) = gradients
        return gradient @ dequantise(weight, scale, gradient.dtype), None, None


class Int8Linear(nn.Module):
    """A frozen linear layer whose weight is held in eight bits; it computes in `dtype`, which the weight had."""

    weight: Tensor
    scale: Tensor

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.dtype = (
            base.in_features,
            base.out_features,
            base.weight.dtype,
        )
        weight, scale = quantise(base.weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.bias = base.bias

    def forward(self, x: Tensor) -> Tensor:
        y = _Product.apply(x.to(self.dtype), self.weight, self.scale)
        return y if self.bias is None else y + self.bias.to(y.dtype)


def freeze_int8(network: nn.Module) -> Rounding:
    """Freeze a network and hold its large matrices in eight bits, in place; return what was lost and won.

    Norms, modulation, the embedding of the noise level and the head, which the network computes in float32, stay as
    they are. Weights that are not finite raise OptionError, before anything is changed.
    """
    found = [(name, module) for name, module in network.named_modules() if type(module) is Linear]
    for name, module in found:
        if not bool(torch.isfinite(module.weight).all()):
            raise OptionError(f"{name}.weight has values that are not finite; the base's file is damaged")
    network.requires_grad_(False)
    errors: dict[str, float] = {}
    before = after = 0
    for name, module in found:
        small = Int8Linear(module)
        exact = module.weight.detach().float()
        lost = (exact - dequantise(small.weight, small.scale, torch.float32)).norm()
        errors[name] = float(lost / exact.norm()) if exact.any() else 0.0
        before += module.weight.nbytes
        after += small.weight.nbytes + small.scale.nbytes
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, small)
    worst = max(errors, key=lambda name: errors[name], default="")
    mean = sum(errors.values()) / max(1, len(errors))
    return Rounding(len(errors), mean, errors.get(worst, 0.0), worst, before, after)
