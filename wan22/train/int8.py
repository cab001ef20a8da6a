"""A frozen base in eight bits, so that an adapter can be trained on a small card.

Every row of a weight is held as whole numbers from -127 to 127 and one float32 factor, as `--quantize int8` holds it
(ops/stored.py). The product is made in the precision that the weight had, from a copy that lives for one layer;
gradients reach the input, never the weight.
"""

from dataclasses import dataclass

import torch
from torch import nn

from wan22.errors import OptionError
from wan22.models.linear import Linear, StoredLinear
from wan22.ops.stored import Scaled, dequantise

INT8 = Scaled(torch.int8)


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
        small = StoredLinear.quantised(module, INT8)
        exact = module.weight.detach().float()
        lost = (exact - dequantise(INT8, small.kept, torch.float32)).norm()
        errors[name] = float(lost / exact.norm()) if exact.any() else 0.0
        before += module.weight.nbytes
        after += sum(kept.nbytes for kept in small.kept.values())
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, small)
    worst = max(errors, key=lambda name: errors[name], default="")
    mean = sum(errors.values()) / max(1, len(errors))
    return Rounding(len(errors), mean, errors.get(worst, 0.0), worst, before, after)
