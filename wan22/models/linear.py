"""The linear layers of the networks: which dtype each computes in.

What stands in place of a `Linear` has a `dtype` as well: what comes before it gives its input so.
"""

import torch
from torch import Tensor, nn

from wan22.ops.linear import linear


class Linear(nn.Linear):
    """A linear layer that computes in its weight's dtype, whatever comes in."""

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.weight.dtype

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.to(self.weight.dtype), self.weight, self.bias)


class Linear32(nn.Linear):
    """A linear layer that computes in float32, whatever its weight is stored in."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.float(), self.weight.float(), self.bias.float())
