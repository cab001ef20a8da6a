"""One block of the Wan transformer, and the precision contract with the official weights.

    stream        bfloat16 out of the patch embedding, float32 from the first gated addition on
    norms         float32; block 0's first norm is rounded to the stream's bfloat16
    modulation    float32, shift, scale and gate alike
    projections   the weight's dtype, in and out
    q/k norm      float32, rounded to the projection's dtype before the gain
    rotation      float32 from float64 angles
    attention     the value's dtype

All casts stand in the open here; with float32 weights every line is float32 (spec: transformer, section 5).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from wan22.models.linear import Linear
from wan22.ops.attention import Across, Attention, Local, Part
from wan22.ops.fused import Rows, add_norm_modulate, gated_add, gated_add_norm, norm_modulate, norm_rotate
from wan22.ops.rope import Rotation


class Gain(nn.Module):
    """An RMS norm over the full width, all heads jointly, with a weight; then the rotation, if there is one."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Float[Tensor, "b l n e"], table: Rotation | None = None) -> Float[Tensor, "b l n e"]:
        return norm_rotate(x, self.weight, table, self.eps)


class TimeRows(NamedTuple):
    """Vectors of the distinct noise levels, and which level each token has (None: all tokens the first).

    rows: float32 (b, k, parts, d).
    """

    rows: Float[Tensor, "b k parts d"]
    index: Tensor | None

    def parts(self) -> tuple[Rows, ...]:
        """Each part by itself."""
        return tuple(Rows(part, self.index) for part in self.rows.unbind(2))

    def of(self, tokens: slice) -> "TimeRows":
        """The rows of some of the tokens."""
        return TimeRows(self.rows, None if self.index is None else self.index[tokens])

    def plus(self, bias: Float[Tensor, "1 parts d"]) -> "TimeRows":
        return TimeRows(self.rows + bias.float().unsqueeze(1), self.index)


class Memory(NamedTuple):
    """Keys and values of the text for one block, (b, s, n, e), and the bias of each key; keys and values of the image,
    of networks that read one there.
    """

    k: Tensor
    v: Tensor
    bias: Tensor | None
    image: tuple[Tensor, Tensor] | None = None


class SelfAttention(nn.Module):
    """Every token attends to every token; positions by rotation."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = Gain(dim, eps), Gain(dim, eps)

    def forward(self, x: Tensor, table: Rotation, across: Across, part: Part) -> Tensor:
        return self.ask(x, table, across.keys(*self.read(x, table)), across, part)

    def read(self, x: Tensor, table: Rotation) -> tuple[Float[Tensor, "b l n e"], Float[Tensor, "b l n e"]]:
        """Keys and values of tokens at the positions `table`."""
        k, v = (rearrange(part(x), "b l (n e) -> b l n e", n=self.heads) for part in (self.k, self.v))
        return self.norm_k(k, table), v

    def ask(
        self, x: Tensor, table: Rotation, keys: tuple[Tensor, Tensor], across: Across, part: Part
    ) -> Tensor:
        """What a part of the tokens, at the positions `table`, finds among keys and values."""
        q = self.norm_q(rearrange(self.q(x), "b l (n e) -> b l n e", n=self.heads), table)
        return self.o(across.ask(q, keys, part).flatten(2))


class CrossAttention(nn.Module):
    """Every token attends to the text. Keys and values are made once per text, by `read`."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = Gain(dim, eps), Gain(dim, eps)

    def read(self, text: Float[Tensor, "b s d"], bias: Tensor | None) -> Memory:
        """Project the embedded text to this block's keys and values."""
        k, v = (rearrange(part(text), "b s (n e) -> b s n e", n=self.heads) for part in (self.k, self.v))
        return Memory(self.norm_k(k), v, bias)

    def forward(self, x: Tensor, memory: Memory, attention: Attention) -> Tensor:
        q = self.norm_q(rearrange(self.q(x), "b l (n e) -> b l n e", n=self.heads))
        return self.o(attention(q, memory.k, memory.v, memory.bias).flatten(2))


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward on one residual stream.

    The vectors of the noise level are, in order: shift, scale and gate of the self-attention, then of the
    feed-forward. Cross-attention has neither modulation nor gate; its norm is the affine `norm3`.
    """

    def __init__(
        self, dim: int, ffn_dim: int, heads: int, eps: float, cross: type[CrossAttention] = CrossAttention
    ) -> None:
        super().__init__()
        self.eps = eps
        self.self_attn = SelfAttention(dim, heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps)
        self.cross_attn = cross(dim, heads, eps)
        self.ffn = nn.Sequential(Linear(dim, ffn_dim), nn.GELU("tanh"), Linear(ffn_dim, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim).div_(dim**0.5))

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        time: TimeRows,
        table: Rotation,
        memory: Memory,
        attention: Attention,
        chunk: int | None = None,
        stream: torch.dtype | None = None,
        across: Across | None = None,
    ) -> Float[Tensor, "b l d"]:
        """The stream after this block, in float32. `attention` is that of the tokens here to what is here; `across`,
        if not all tokens are here, that of them to all.

        With `chunk`, the keys and values of all tokens are made first, then all else for at most so many tokens at a
        time: the same numbers in a fraction of the memory. With `stream`, x is float32 and may be overwritten; its
        numbers are of that dtype. Both are for where no gradient is asked.
        """
        m = time.plus(self.modulation)
        across = Local(attention) if across is None else across
        parts = across.parts(x.shape[1], chunk)
        if len(parts) == 1:
            out = None if stream is None else x
            y = self.self_attn(self._normed(x, m, stream), table, across, parts[0])
            return self._rest(x, y, m, memory, attention, out)
        if stream is None:
            x, stream = x.to(torch.float32, copy=True), x.dtype
        keys = across.keys(*self._read(x, m, table, [part.tokens for part in parts], stream))
        for part in parts:
            own, of, at = x[:, part.tokens], m.of(part.tokens), _positions(table, part.tokens)
            y = self.self_attn.ask(self._normed(own, of, stream), at, keys, across, part)
            self._rest(own, y, of, memory, attention, own)
        return x

    def _normed(self, x: Tensor, m: TimeRows, stream: torch.dtype | None) -> Tensor:
        """What self-attention sees of the stream: its norm is rounded to the stream's dtype."""
        shift, scale, *_ = m.parts()
        x = x if stream is None else x.to(stream)
        return norm_modulate(x, shift, scale, self.eps, self.self_attn.q.dtype)

    def _read(
        self, x: Tensor, m: TimeRows, table: Rotation, parts: Sequence[slice], stream: torch.dtype
    ) -> list[Tensor]:
        """Keys and values of all tokens, made part by part."""
        whole: list[Tensor] = []
        for part in parts:
            h = self._normed(x[:, part], m.of(part), stream)
            read = self.self_attn.read(h, _positions(table, part))
            whole = whole or [a.new_empty(*x.shape[:2], *a.shape[2:]) for a in read]
            for a, piece in zip(whole, read, strict=True):
                a[:, part] = piece
        return whole

    def _rest(
        self, x: Tensor, y: Tensor, m: TimeRows, memory: Memory, attention: Attention, out: Tensor | None
    ) -> Tensor:
        """What follows self-attention, which found y; each token by itself."""
        _, _, gate, shift2, scale2, gate2 = m.parts()
        norm = self.norm3
        x, h = gated_add_norm(x, y, gate, norm.weight, norm.bias, self.eps, self.cross_attn.q.dtype, out)
        out = None if torch.is_grad_enabled() else x
        y = self.cross_attn(h, memory, attention)
        x, h = add_norm_modulate(x, y, shift2, scale2, self.eps, self.ffn[0].dtype, out)
        del y
        return gated_add(x, self.ffn(h), gate2, out)


def _positions(table: Rotation, tokens: slice) -> Rotation:
    return table[0][tokens], table[1][tokens]
