"""The image tower of CLIP, ViT-H/14: what an image shows, as vectors that the network of animation reads.

The vectors are those before the last block; neither it nor what follows is part of this network. Parameters bear
the official names, without "visual." in front (spec: animate, section 4).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from wan22.arch import CLIPArch
from wan22.models.linear import Linear
from wan22.ops.attention import Attention, sdpa
from wan22.ops.linear import linear
from wan22.ops.norm import layer_norm

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(image: Float[Tensor, "b 3 h w"], size: int) -> Float[Tensor, "b 3 size size"]:
    """Resize an image in [-1, 1] to a square, aspect ignored, and normalise it; all in the image's dtype.

    The cubic filter is not widened when pixels become fewer, and what it overshoots is kept: as the release does.
    """
    resized = F.interpolate(image, (size, size), mode="bicubic", align_corners=False)
    mean, std = (resized.new_tensor(numbers)[:, None, None] for numbers in (_MEAN, _STD))
    return (resized * 0.5 + 0.5 - mean) / std


class Norm(nn.LayerNorm):
    """A layer norm in float32, rounded to x's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps).to(x.dtype)


class PixelPatches(nn.Module):
    """Square patches of pixels to vectors."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.empty(dim, 3, patch, patch))
        nn.init.xavier_uniform_(self.weight.flatten(1))

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b l d"]:
        p = self.patch
        patches = rearrange(pixels, "b c (h i) (w j) -> b (h w) (c i j)", i=p, j=p)
        return linear(patches.to(self.weight.dtype), self.weight.flatten(1))


class SelfAttention(nn.Module):
    """Every token attends to every token."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv, self.proj = Linear(dim, 3 * dim), Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b l d"], attention: Attention) -> Float[Tensor, "b l d"]:
        q, k, v = rearrange(self.to_qkv(x), "b l (three n e) -> three b l n e", three=3, n=self.heads)
        return self.proj(attention(q, k, v, None).flatten(2))


class CLIPBlock(nn.Module):
    """Self-attention and feed-forward, each after a norm."""

    def __init__(self, arch: CLIPArch) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(arch.dim, arch.eps), Norm(arch.dim, arch.eps)
        self.attn = SelfAttention(arch.dim, arch.heads)
        self.mlp = nn.Sequential(Linear(arch.dim, arch.ffn_dim), nn.GELU(), Linear(arch.ffn_dim, arch.dim))

    def forward(self, x: Float[Tensor, "b l d"], attention: Attention) -> Float[Tensor, "b l d"]:
        x = x + self.attn(self.norm1(x), attention)
        return x + self.mlp(self.norm2(x))


class CLIPVision(nn.Module):
    """Images to vectors, the class's first; the stream is in the weights' dtype."""

    def __init__(self, arch: CLIPArch, attention: Attention = sdpa) -> None:
        super().__init__()
        self.arch, self.attention = arch, attention
        self.patch_embedding = PixelPatches(arch.patch, arch.dim)
        self.cls_embedding = nn.Parameter(torch.zeros(1, 1, arch.dim))
        self.pos_embedding = nn.Parameter(torch.zeros(1, arch.tokens, arch.dim))
        self.pre_norm = Norm(arch.dim, arch.eps)
        self.transformer = nn.ModuleList(CLIPBlock(arch) for _ in range(arch.layers - 1))

    def is_unused(self, name: str) -> bool:
        """Whether a tensor of a file is of the last block, or of what follows it."""
        last = f"transformer.{len(self.transformer)}."
        return name == "head" or name.startswith((last, "post_norm."))

    def forward(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b l d"]:
        """`pixels` as `clip_pixels` gives them, at arch.image_size."""
        patches = self.patch_embedding(pixels)
        x = torch.cat([self.cls_embedding.expand(patches.shape[0], -1, -1), patches], dim=1)
        x = self.pre_norm(x + self.pos_embedding)
        for block in self.transformer:
            x = block(x, self.attention)
        return x
