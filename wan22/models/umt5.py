"""The UMT5 text encoder: token ids in, one row of features per token out.

It knows no tokenizer, file or device. Parameter names are those of the official release. It differs from T5
in one point: every layer has its own table of relative positions (Chung et al. 2023, arXiv:2304.09151).

Precision (spec: text_encoder, section 3): everything runs in the dtype of the weights, bfloat16 as released;
only the mean of the norms and the softmax are float32. Scores are not divided by sqrt(e).
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from wan22.arch import UMT5Arch
from wan22.models.linear import Linear
from wan22.ops.norm import rms_norm


class UMT5Encoder(nn.Module):
    """Embedding, blocks, norm; no projection."""

    def __init__(self, arch: UMT5Arch) -> None:
        super().__init__()
        self.arch = arch
        self.token_embedding = nn.Embedding(arch.vocab, arch.dim)
        self.blocks = nn.ModuleList(Block(arch) for _ in range(arch.layers))
        self.norm = Norm(arch)

    def forward(self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"]) -> Float[Tensor, "b s d"]:
        """Return the features of each token, and zeros at the padding, where `mask` is 0.

        Real tokens come first, at least one in every row. Only as many columns as the longest text has are
        computed: padding is attended by nobody, and what it attends to is dropped by the official code too. The mask
        is best on the CPU, where nobody waits to know how long the texts are.
        """
        longest = int(mask.sum(dim=1).max())
        x = self.token_embedding(ids[:, :longest])
        real = mask[:, :longest].bool().to(x.device, non_blocking=True)
        buckets = relative_buckets(longest, self.arch.buckets, self.arch.max_distance)
        buckets = buckets.to(x.device, non_blocking=True)
        for block in self.blocks:
            x = block(x, buckets, real)
        x = self.norm(x) * real.unsqueeze(-1)
        return F.pad(x, (0, 0, 0, mask.shape[1] - longest))

    def contexts(self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"]) -> list[Float[Tensor, "s_i d"]]:
        """Return the features of each text's real tokens: what the video network is told."""
        rows = self(ids, mask)
        return [row[: int(length)] for row, length in zip(rows, mask.sum(dim=1), strict=True)]

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw fresh weights from torch's global generator, scaled so that unscaled scores start small."""
        dim, dim_attn = self.arch.dim, self.arch.dim_attn
        deviation = {
            "token_embedding": 1.0,
            "attn.q": (dim * dim_attn / self.arch.heads) ** -0.5,
            "attn.o": dim_attn**-0.5,
            "ffn.fc2": self.arch.ffn_dim**-0.5,
        }
        for name, weight in self.named_parameters():
            if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                nn.init.ones_(weight)
            else:
                part = next((part for part in deviation if part in name), None)
                nn.init.normal_(weight, std=deviation[part] if part else dim**-0.5)


class Block(nn.Module):
    """Attention and feed-forward, each added to what it reads a norm of."""

    def __init__(self, arch: UMT5Arch) -> None:
        super().__init__()
        self.norm1 = Norm(arch)
        self.attn = Attention(arch)
        self.norm2 = Norm(arch)
        self.ffn = FeedForward(arch)
        self.pos_embedding = PositionBias(arch)

    def forward(
        self, x: Float[Tensor, "b s d"], buckets: Int[Tensor, "s s"], real: Bool[Tensor, "b s"]
    ) -> Float[Tensor, "b s d"]:
        x = _representable(x + self.attn(self.norm1(x), self.pos_embedding(buckets), real))
        return _representable(x + self.ffn(self.norm2(x)))


class Attention(nn.Module):
    """Self-attention with a position bias and unscaled scores."""

    def __init__(self, arch: UMT5Arch) -> None:
        super().__init__()
        self.heads = arch.heads
        self.q = Linear(arch.dim, arch.dim_attn, bias=False)
        self.k = Linear(arch.dim, arch.dim_attn, bias=False)
        self.v = Linear(arch.dim, arch.dim_attn, bias=False)
        self.o = Linear(arch.dim_attn, arch.dim, bias=False)

    def forward(
        self, x: Float[Tensor, "b s d"], bias: Float[Tensor, "n s s"], real: Bool[Tensor, "b s"]
    ) -> Float[Tensor, "b s d"]:
        q, k, v = (
            rearrange(part(x), "b s (n e) -> b n s e", n=self.heads) for part in (self.q, self.k, self.v)
        )
        # Padded keys: the bias is overwritten, not added to, as the official code does.
        bias = bias.to(q.dtype).masked_fill(~real[:, None, None, :], torch.finfo(q.dtype).min)
        scores = q @ k.transpose(-1, -2) + bias
        out = scores.float().softmax(dim=-1).to(v.dtype) @ v
        return self.o(rearrange(out, "b n s e -> b s (n e)"))


class FeedForward(nn.Module):
    """fc2(fc1(x) gelu(gate(x)))."""

    def __init__(self, arch: UMT5Arch) -> None:
        super().__init__()
        self.gate = nn.Sequential(Linear(arch.dim, arch.ffn_dim, bias=False))
        self.fc1 = Linear(arch.dim, arch.ffn_dim, bias=False)
        self.fc2 = Linear(arch.ffn_dim, arch.dim, bias=False)

    def forward(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        return self.fc2(self.fc1(x) * _gelu(self.gate(x)))


class PositionBias(nn.Module):
    """What each head adds to a score for the distance between the two tokens."""

    def __init__(self, arch: UMT5Arch) -> None:
        super().__init__()
        self.embedding = nn.Embedding(arch.buckets, arch.heads)

    def forward(self, buckets: Int[Tensor, "s s"]) -> Float[Tensor, "n s s"]:
        return rearrange(self.embedding(buckets), "i j n -> n i j")


class Norm(nn.Module):
    """Root-mean-square norm with a weight, without a mean or bias."""

    def __init__(self, arch: UMT5Arch) -> None:
        super().__init__()
        self.eps = arch.eps
        self.weight = nn.Parameter(torch.ones(arch.dim))

    def forward(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        return rms_norm(x, self.weight, self.eps)


def relative_buckets(length: int, buckets: int, max_distance: int) -> Int[Tensor, "s s"]:
    """Return the bucket of key j as query i sees it, (i, j), on the CPU.

    Half of the buckets are for keys at or before the query, half for those after it. In each half the first
    half are single distances, the others grow by a constant ratio up to `max_distance`, and the last is for
    all beyond. Always computed on the CPU: the float32 logarithm of another device could round a distance at
    an edge (16, 32, 64) into the wrong bucket.
    """
    position = torch.arange(length, device="cpu")
    offset = position[None, :] - position[:, None]
    half = buckets // 2
    single = half // 2
    distance = offset.abs()
    ratio = torch.log(distance.clamp(min=1).float() / single) / math.log(max_distance / single)
    far = (single + (ratio * (half - single)).long()).clamp(max=half - 1)
    return torch.where(distance < single, distance, far) + half * (offset > 0)


def _gelu(x: Tensor) -> Tensor:
    """The tanh approximation, in elementary operations: each rounds to x's dtype, as in the official code."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def _representable(x: Tensor) -> Tensor:
    """Keep float16 sums finite. Other dtypes, the released bfloat16 among them, have room enough."""
    if x.dtype != torch.float16:
        return x
    limit = torch.finfo(torch.float16).max - 1000
    return x.clamp(-limit, limit)
