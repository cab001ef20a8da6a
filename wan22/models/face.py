"""From the pixels of a face to the tokens that a transformer reads: the motion encoder and the face encoder.

Each frame is encoded by itself to a few coefficients, which weigh learned directions of motion; the motions of a clip
then become a few tokens of each latent frame. Parameters bear the official names (spec: animate, sections 1 and 2).

    pixels, convolutions, linear maps   the weight's dtype, in and out
    equalised weights                   multiplied by their scale in the weight's dtype, so rounded once more
    directions                          orthogonalised in float32, rounded to the weight's dtype
    motion                              float32
    norms and activations of tokens     float32
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from wan22.arch import AnimateArch
from wan22.models.conv import CausalConv1d
from wan22.models.linear import Linear
from wan22.ops.norm import layer_norm

_FRAMES = 8
"""Frames of faces that are encoded at a time."""


class EqualConv(nn.Module):
    """A convolution whose weight is scaled by the root of what it sums over; no bias."""

    def __init__(self, inward: int, outward: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outward, inward, kernel, kernel))
        self.stride, self.padding = stride, padding
        self.scale = 1 / math.sqrt(inward * kernel**2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o i j"]:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class EqualLinear(nn.Module):
    """A linear map whose weight is scaled by the root of its width; the bias is not."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outward, inward))
        self.bias = nn.Parameter(torch.zeros(outward))
        self.scale = 1 / math.sqrt(inward)

    def forward(self, x: Float[Tensor, "b i"]) -> Float[Tensor, "b o"]:
        return F.linear(x, self.weight * self.scale, self.bias)


class Activation(nn.Module):
    """A bias, then a leaky rectifier that keeps the variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.leaky_relu(x + self.bias, 0.2) * math.sqrt(2)


def blur_kernel() -> Float[Tensor, "4 4"]:
    """The binomial kernel of the blurs; files of official weights hold it 14 times. Exact in bfloat16."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return row[:, None] * row / 64


class Blur(nn.Module):
    """Low-pass filter before pixels are left out; `stride` leaves out those that nobody reads."""

    def __init__(self, padding: int, stride: int = 1) -> None:
        super().__init__()
        self.padding, self.stride = padding, stride
        self.register_buffer("kernel", blur_kernel())

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        planes = x.flatten(0, 1).unsqueeze(1)
        kernel = self.get_buffer("kernel").to(x.dtype)[None, None]
        blurred = F.conv2d(planes, kernel, stride=self.stride, padding=self.padding)
        return blurred.squeeze(1).unflatten(0, x.shape[:2])


class Halving(nn.Module):
    """A residual block that halves height and width."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(EqualConv(inward, inward, 3, padding=1), Activation(inward))
        self.conv2 = nn.Sequential(Blur(2), EqualConv(inward, outward, 3, stride=2), Activation(outward))
        # The release blurs everywhere, and its 1x1 convolution reads every second pixel: the same numbers.
        self.skip = nn.Sequential(Blur(1, stride=2), EqualConv(inward, outward, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o i j"]:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


class Appearance(nn.Module):
    """A face to one vector."""

    def __init__(self, arch: AnimateArch) -> None:
        super().__init__()
        widths = arch.channels[::-1]
        halvings = (Halving(a, b) for a, b in pairwise(widths))
        first = nn.Sequential(EqualConv(3, widths[0], 1), Activation(widths[0]))
        self.convs = nn.ModuleList([first, *halvings, EqualConv(widths[-1], arch.style_dim, 4)])

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b v"]:
        for conv in self.convs:
            x = conv(x)
        return x.flatten(1)


class Coefficients(nn.Module):
    """A face to the coefficients of its motion."""

    def __init__(self, arch: AnimateArch) -> None:
        super().__init__()
        self.net_app = Appearance(arch)
        widths = [*[arch.style_dim] * 5, arch.motion_dim]
        self.fc = nn.Sequential(*(EqualLinear(a, b) for a, b in pairwise(widths)))

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b k"]:
        return self.fc(self.net_app(x))


class Directions(nn.Module):
    """Orthogonal directions of motion."""

    def __init__(self, arch: AnimateArch) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(arch.direction_dim, arch.motion_dim))

    def basis(self) -> Float[Tensor, "m k"]:
        """The orthonormal columns, in the weight's dtype.

        Their signs are those that LAPACK's Householder reflections leave; other conventions turn motions around. So
        they are always made on the CPU, in float32.
        """
        q, _ = torch.linalg.qr((self.weight + 1e-8).to("cpu", torch.float32))
        return q.to(self.weight)

    def forward(self, coefficients: Float[Tensor, "b k"]) -> Float[Tensor, "b m"]:
        return coefficients.float() @ self.basis().float().T


class _Decoder(nn.Module):
    def __init__(self, arch: AnimateArch) -> None:
        super().__init__()
        self.direction = Directions(arch)


class MotionEncoder(nn.Module):
    """Faces to motions, each frame by itself."""

    def __init__(self, arch: AnimateArch) -> None:
        super().__init__()
        self.size = arch.face_size
        self.enc = Coefficients(arch)
        self.dec = _Decoder(arch)

    def forward(self, faces: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n m"]:
        """Pixels in [-1, 1] to motions in float32. Raises ValueError unless the faces are of arch.face_size."""
        if faces.shape[1:] != (3, self.size, self.size):
            raise ValueError(
                f"faces are (n, 3, {self.size}, {self.size}) to this network, not {tuple(faces.shape)}"
            )
        weight = self.dec.direction.weight
        few = [self.enc(part.to(weight.device, weight.dtype)) for part in faces.split(_FRAMES)]
        return self.dec.direction(torch.cat(few))


class FaceEncoder(nn.Module):
    """The motions of a clip to tokens of its latent frames, a quarter as many; one more token is learned."""

    def __init__(self, arch: AnimateArch, dim: int) -> None:
        super().__init__()
        self.groups, wide = arch.face_groups, arch.conv_dim
        self.conv1_local = CausalConv1d(arch.direction_dim, wide * self.groups)
        self.conv2 = CausalConv1d(wide, wide, stride=2)
        self.conv3 = CausalConv1d(wide, wide, stride=2)
        self.out_proj = Linear(wide, dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, motion: Float[Tensor, "b T m"]) -> Float[Tensor, "b t n d"]:
        """t = (T - 1) // 4 + 1; n is one more than the groups."""
        dtype = self.conv2.conv.weight.dtype
        x = self.conv1_local(motion.to(dtype))
        x = rearrange(x, "b t (g c) -> (b g) t c", g=self.groups)
        for conv in (self.conv2, self.conv3):
            x = conv(_normed(x).to(dtype))
        tokens = rearrange(self.out_proj(_normed(x)), "(b g) t d -> b t g d", g=self.groups)
        return torch.cat(
            [tokens, self.padding_tokens.to(tokens.dtype).expand(*tokens.shape[:2], 1, -1)], dim=2
        )


def _normed(x: Tensor) -> Tensor:
    return F.silu(layer_norm(x, eps=1e-6))
