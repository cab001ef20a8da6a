"""The Wan video transformer: a function of tokens.

It knows no device, file, rank or step. Latents become tokens (`embed`), the blocks read text and noise level
(`trunk`), the head predicts, and tokens become a velocity again (`fold`); `forward` is their composition, and
the four verbs are public because wrappers stand between them; a step cache stands around the blocks (`Around`).

A task with more to tell than text and noise level hands in `ExtraTokens`: tokens that stand behind the video's
own, and taps that change the video's tokens after chosen blocks (see speech.py). There is one forward pass for all.

Two savings are exact in algebra. A video has one or two distinct noise levels, not one per token: they are
embedded once and indexed (`NoiseLevels`). And the text's padding rows, all equal after the embedding, become one key
or two that weigh as much (`padding_bias`); with its keys and values made once per text (`read_text`), cross-attention
costs as much as the prompt is long.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from wan22.arch import DiTArch
from wan22.models.block import Block, CrossAttention, Memory, TimeRows
from wan22.models.linear import Linear, Linear32
from wan22.ops.attention import Across, Attention, attend, padding_bias, slices
from wan22.ops.fused import norm_modulate
from wan22.ops.linear import linear
from wan22.ops.rope import Rotation, rotation

Patch = tuple[int, int, int]
"""Frames, rows and columns of latents in one token."""

PATCH: Patch = (1, 2, 2)
"""The patch of the noisy latents; the same in every released model."""


@dataclass(frozen=True)
class NoiseLevels:
    """Timesteps (0..1000): the distinct `values` (b, k), and for each token the `index` of its own.

    Without an index every token has the first value. The values are best on the CPU, which embeds them: an accelerator
    that is asked for them must be waited for. The index is where the tokens are.
    """

    values: Float[Tensor, "b k"]
    index: Int[Tensor, " l"] | None = None

    @classmethod
    def uniform(cls, timestep: Float[Tensor, " b"]) -> "NoiseLevels":
        """One level for all tokens of a sample."""
        return cls(timestep[:, None])

    @classmethod
    def per_token(cls, timesteps: Float[Tensor, " l"]) -> "NoiseLevels":
        """One sample whose tokens have their own levels; equal ones are found and shared."""
        values, index = timesteps.unique(return_inverse=True)
        return cls(values[None], index)

    def of(self, tokens: slice) -> "NoiseLevels":
        """Those of some of the tokens."""
        return self if self.index is None else NoiseLevels(self.values, self.index[tokens])

    def followed_by_clean(self, tokens: int, clean: int, device: torch.device) -> "NoiseLevels":
        """The same for the first `tokens`, and level zero for `clean` more that stand behind them on `device`."""
        if not clean:
            return self
        values = torch.cat([self.values, torch.zeros_like(self.values[:, :1])], dim=1)
        first = torch.zeros(tokens, dtype=torch.int64, device=device) if self.index is None else self.index
        return NoiseLevels(values, torch.cat([first, first.new_full((clean,), values.shape[1] - 1)]))


TextMemory = tuple[Memory, ...]
"""What each block knows of the text, one entry per block."""


@runtime_checkable
class Tap(Protocol):
    """What happens to the video's own tokens after a block."""

    def __call__(
        self, x: Float[Tensor, "b l d"], chunk: int | None = None, first: int = 0
    ) -> Float[Tensor, "b l d"]:
        """Change neighbouring tokens of the video, of which the first is number `first`. Where no gradient is asked
        it is done in place, about `chunk` at a time.
        """
        ...


Walk = Generator[Float[Tensor, "b l d"]]
"""The tokens before the first block and after each; a block runs when what follows it is asked for."""

Around = Callable[[Walk, int], Float[Tensor, "b l d"]]
"""What stands around the blocks: from their walk, and how many tokens are noisy, to the tokens that the head reads."""


class ExtraTokens(NamedTuple):
    """What stands beside the noisy tokens of a clip; made once, read at every step.

    `added` is added to the noisy tokens; `tokens` stand behind them in the row, clean (noise level zero), at positions
    `table`; `taps` name what follows a block. Only the noisy tokens pass the head.
    """

    added: Float[Tensor, " b #l d"]
    tokens: Float[Tensor, "b m d"]
    table: Rotation
    taps: Mapping[int, Tap]


class Share(NamedTuple):
    """Some of the tokens: of a video's own, and of those behind them."""

    own: slice
    extra: slice


ALL = Share(slice(None), slice(None))


def sinusoid(timesteps: Float[Tensor, "*rest"], width: int) -> Float[Tensor, "*rest width"]:
    """Cosines then sines of the timestep at geometric frequencies; angles in float64, returned as float32.

    Computed on the CPU: there are few, not every device has float64, and all get the same bits.
    """
    half = width // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device="cpu") / half)
    angle = timesteps.to("cpu", torch.float64).unsqueeze(-1) * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1).float().to(timesteps.device)


class PatchEmbedding(nn.Module):
    """A convolution whose stride is its kernel, computed as a linear map of patches."""

    def __init__(self, channels: int, dim: int, patch: Patch = PATCH) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.empty(dim, channels, *patch))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.xavier_uniform_(self.weight.flatten(1))

    def forward(self, x: Float[Tensor, "b c t h w"], tokens: slice = slice(None)) -> Float[Tensor, "b l d"]:
        """All tokens, or some of them."""
        pt, ph, pw = self.patch
        patches = rearrange(x, "b c (t i) (h j) (w k) -> b (t h w) (c i j k)", i=pt, j=ph, k=pw)
        return linear(patches[:, tokens].to(self.weight.dtype), self.weight.flatten(1), self.bias)


class Head(nn.Module):
    """The last norm, modulated by the noise level, and the projection to patches; all in float32."""

    def __init__(self, dim: int, out_channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.head = Linear32(dim, PATCH[0] * PATCH[1] * PATCH[2] * out_channels)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim).div_(dim**0.5))

    def forward(
        self, x: Float[Tensor, "b l d"], time: TimeRows, chunk: int | None = None
    ) -> Float[Tensor, "b l p"]:
        m = time.plus(self.modulation)
        parts = slices(x.shape[1], chunk)
        return torch.cat(
            [self.head(norm_modulate(x[:, s], *m.of(s).parts(), eps=self.eps)) for s in parts], dim=1
        )


class WanDiT(nn.Module):
    """The network of one expert. Parameters bear the official names and shapes.

    `attention` and `chunk` are how it computes, and may be set at any time: with `chunk`, at most so many tokens go
    through a block at a time wherever no gradient is asked (see `Block`); None is all, which is faster.
    """

    cross_attention: ClassVar[type[CrossAttention]] = CrossAttention
    """What its blocks attend to a prompt with."""

    def __init__(self, arch: DiTArch, attention: Attention = attend, chunk: int | None = None) -> None:
        super().__init__()
        self.arch = arch
        self.attention, self.chunk = attention, chunk
        dim = arch.dim
        self.patch_embedding = PatchEmbedding(arch.in_channels, dim)
        self.text_embedding = nn.Sequential(Linear(arch.text_dim, dim), nn.GELU("tanh"), Linear(dim, dim))
        self.time_embedding = nn.Sequential(Linear32(arch.freq_dim, dim), nn.SiLU(), Linear32(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), Linear32(dim, 6 * dim))
        self.blocks = nn.ModuleList(
            Block(dim, arch.ffn_dim, arch.heads, arch.eps, self.cross_attention) for _ in range(arch.layers)
        )
        self.head = Head(dim, arch.out_channels, arch.eps)

    def forward(
        self,
        x: Float[Tensor, "b c t h w"],
        levels: NoiseLevels,
        text: TextMemory,
        channels: Float[Tensor, "b y t h w"] | None = None,
        extra_tokens: ExtraTokens | None = None,
        around: Around | None = None,
    ) -> Float[Tensor, "b o t h w"]:
        """Predict the flow velocity (noise - clean) of noisy latents `x`, in float32.

        `channels` are known channels told beside the noisy ones (first-image mask and latents); c + y must be
        `arch.in_channels`. h and w must be even. `levels` are those of the noisy tokens. `around` may leave out blocks.
        """
        grid = self.grid(x)
        own = math.prod(grid)
        table, levels = self.places(grid, levels, extra_tokens)
        embedded, projected = self.read_time(levels)
        taps = {} if extra_tokens is None else extra_tokens.taps
        # The first tokens are nobody's but the walk's: it lets go of them after its first block.
        walk = self.walk(self.embed(x, channels, extra_tokens), projected, text, table, taps, own)
        tokens = last(walk) if around is None else around(walk, own)
        return self.fold(self.project(tokens, embedded, own), grid)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw the parameters of a new network as the official release does (spec: transformer, section 9).

        The head begins at zero, so that a new network predicts nothing rather than noise.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("modulation"):
                nn.init.normal_(parameter, std=self.arch.dim**-0.5)
            elif name.endswith(".bias") or name == "head.head.weight":
                nn.init.zeros_(parameter)
            elif name.startswith(("text_embedding", "time_embedding")):
                nn.init.normal_(parameter, std=0.02)
            elif parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter.flatten(1))
            else:
                nn.init.ones_(parameter)

    def grid(self, x: Float[Tensor, "b c t h w"]) -> tuple[int, int, int]:
        """Frames, rows and columns of tokens."""
        t, h, w = x.shape[2:]
        return t // PATCH[0], h // PATCH[1], w // PATCH[2]

    def embed(
        self,
        x: Tensor,
        channels: Tensor | None = None,
        extra_tokens: ExtraTokens | None = None,
        share: Share = ALL,
    ) -> Float[Tensor, "b l d"]:
        """Latents to tokens, noisy channels first, and the extra tokens behind them; of both, a share or all."""
        both = x if channels is None else torch.cat([x, channels.to(x.dtype)], dim=1)
        tokens = self.patch_embedding(both, share.own)
        if extra_tokens is None:
            return tokens
        added = extra_tokens.added
        added = added[:, share.own] if added.shape[1] > 1 else added
        return torch.cat([tokens + added, extra_tokens.tokens[:, share.extra]], dim=1)

    def places(
        self,
        grid: tuple[int, int, int],
        levels: NoiseLevels,
        extra_tokens: ExtraTokens | None,
        share: Share = ALL,
    ) -> tuple[Rotation, NoiseLevels]:
        """The positions and noise levels of the tokens that `embed` gives, from the levels of all noisy ones."""
        own, device = math.prod(grid), self.head.modulation.device
        table = rotation(grid, self.arch.dim // self.arch.heads, device)
        if extra_tokens is None:
            return _some(table, share.own), levels.of(share.own)
        clean = len(range(extra_tokens.tokens.shape[1])[share.extra])
        noisy = len(range(own)[share.own])
        table = _joined(_some(table, share.own), _some(extra_tokens.table, share.extra))
        return table, levels.of(share.own).followed_by_clean(noisy, clean, device)

    @property
    def _chunk(self) -> int | None:
        return None if torch.is_grad_enabled() else self.chunk

    def trunk(
        self,
        tokens: Float[Tensor, "b l d"],
        time: TimeRows,
        text: TextMemory,
        table: Rotation,
        taps: Mapping[int, Tap],
        own: int,
        across: Across | None = None,
    ) -> Float[Tensor, "b l d"]:
        """All blocks, in order; after block i, tap i changes the first `own` tokens. `across`: see `Block`."""
        return last(self.walk(tokens, time, text, table, taps, own, across))

    def walk(
        self,
        tokens: Float[Tensor, "b l d"],
        time: TimeRows,
        text: TextMemory,
        table: Rotation,
        taps: Mapping[int, Tap],
        own: int,
        across: Across | None = None,
    ) -> Walk:
        """As `trunk`, block by block: yields the tokens as they are given, and after each block.

        Where no gradient is asked, each block writes over what the one before gave, but not over `tokens`.
        """
        yield tokens
        stream = None
        if not torch.is_grad_enabled():
            stream, tokens = tokens.dtype, tokens.to(torch.float32, copy=True)
        for i, (block, memory) in enumerate(zip(self.blocks, text, strict=True)):
            tokens = block(tokens, time, table, memory, self.attention, self._chunk, stream, across)
            if i in taps:
                changed = taps[i](tokens[:, :own], self._chunk)
                if torch.is_grad_enabled():
                    tokens = torch.cat([changed, tokens[:, own:]], dim=1)
            stream = None if torch.is_grad_enabled() else tokens.dtype
            yield tokens

    def project(self, tokens: Float[Tensor, "b l d"], time: TimeRows, own: int) -> Float[Tensor, "b own p"]:
        """The head, of the first `own` tokens."""
        return self.head(tokens[:, :own], time.of(slice(own)), self._chunk)

    def fold(self, y: Float[Tensor, "b l p"], grid: tuple[int, int, int]) -> Float[Tensor, "b o t h w"]:
        """Tokens to latents; the channel is the fastest axis of a token's output."""
        t, h, w = grid
        pt, ph, pw = PATCH
        return rearrange(y, "b (t h w) (i j k c) -> b c (t i) (h j) (w k)", t=t, h=h, w=w, i=pt, j=ph, k=pw)

    def read_time(self, levels: NoiseLevels) -> tuple[TimeRows, TimeRows]:
        """Embed the distinct noise levels: for the head (1 vector each) and for the blocks (6 each)."""
        waves = sinusoid(levels.values, self.arch.freq_dim)
        e = self.time_embedding(waves.to(self.head.modulation.device, non_blocking=True))
        six = self.time_projection(e).unflatten(-1, (6, self.arch.dim))
        return TimeRows(e.unsqueeze(2), levels.index), TimeRows(six, levels.index)

    def read_text(
        self, contexts: Sequence[Float[Tensor, "_ text"]], lengths: Sequence[int] | None = None
    ) -> TextMemory:
        """Make every block's keys and values of the encoded prompts, one prompt per sample of the batch.

        Each context is (s_i, text_dim), without padding, which is added: to `lengths` rows, at least s_i, or else to
        arch.text_len, as in training.
        """
        embedded, bias = self.embed_text(contexts, lengths)
        return tuple(block.cross_attn.read(embedded, bias) for block in self.blocks)

    def embed_text(
        self, contexts: Sequence[Float[Tensor, "_ text"]], lengths: Sequence[int] | None
    ) -> tuple[Float[Tensor, "b s d"], Tensor | None]:
        """What the blocks read of the prompts, and the bias of each row."""
        dtype = self.text_embedding[0].dtype
        text, bias = _merge_padding(contexts, lengths or [self.arch.text_len] * len(contexts), dtype)
        return self.text_embedding(text), bias


def _merge_padding(
    contexts: Sequence[Tensor], lengths: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Stack contexts with few zero rows each for their padding, and the bias that weighs them, in `dtype`."""
    longest = max(c.shape[0] for c in contexts)
    if any(context.shape[0] > length for context, length in zip(contexts, lengths, strict=True)):
        raise ValueError(f"a context of {longest} rows is longer than text_len {max(lengths)}")
    if all(c.shape[0] == longest == length for c, length in zip(contexts, lengths, strict=True)):
        return torch.stack(list(contexts)), None
    few = len(padding_bias(1, dtype))
    text = contexts[0].new_zeros(len(contexts), longest + few, contexts[0].shape[1])
    bias = torch.full((len(contexts), 1, 1, longest + few), -torch.inf, dtype=dtype)
    for i, (context, length) in enumerate(zip(contexts, lengths, strict=True)):
        rows = context.shape[0]
        text[i, :rows] = context
        bias[i, ..., :rows] = 0.0
        if rows < length:
            bias[i, ..., longest:] = padding_bias(length - rows, dtype)
    return text, bias.to(text.device, non_blocking=True)


def last(walk: Walk) -> Float[Tensor, "b l d"]:
    """The tokens after all blocks."""
    next(walk)  # nobody keeps the tokens before the blocks
    return deque(walk, maxlen=1).pop()


def _joined(first: Rotation, second: Rotation) -> Rotation:
    return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])


def _some(table: Rotation, tokens: slice) -> Rotation:
    return table[0][tokens], table[1][tokens]
