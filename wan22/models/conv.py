"""Convolutions in time that the encoders of audio and of faces share."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class CausalConv1d(nn.Module):
    """A convolution in time that sees the present and the past, which begins as its first value; in x's dtype.

    Its kernel is three wide. The weight stands one level deeper, as the release has it.
    """

    def __init__(self, inward: int, outward: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inward, outward, 3, stride=stride)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b u o"]:
        padded = F.pad(x.transpose(1, 2), (2, 0), mode="replicate")
        weight, bias = self.conv.weight.to(x.dtype), self.conv.bias.to(x.dtype)
        return F.conv1d(padded, weight, bias, self.conv.stride).transpose(1, 2)
