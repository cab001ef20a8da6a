"""Context parallelism: each rank takes a share of the tokens of a call through the network."""

from __future__ import annotations

import math
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from wan22.models.dit import Around, ExtraTokens, NoiseLevels, Share, TextMemory, WanDiT, last
from wan22.ops.attention import Across
from wan22.parallel.attention import Ring, Ulysses, apart
from wan22.parallel.mesh import Mesh
from wan22.parallel.ranks import share, shares


class ContextParallel:
    """Called like the network, with the same arguments on every rank of `mesh.context`; returns the whole velocity.

    A rank embeds its share of the video's tokens and its share of the extra ones, takes them through the blocks, whose
    self-attention alone crosses ranks, and through the head; velocities are gathered. Taps read the memory of their own
    frames. Raises ParallelError if the layout shares more heads than the network has.

    It has gradients, for training on long clips: call it in place of the network, compute the loss of the whole
    velocity on every rank, and take the *mean* of the parameters' gradients over the ranks of `mesh.context` (as FSDP
    and data parallelism do over all ranks). Blocks may be checkpointed or compiled, equally often on all ranks.
    """

    def __init__(self, network: nn.Module, mesh: Mesh) -> None:
        assert isinstance(network, WanDiT)
        self.network, self.mesh, self.ranks = network, mesh, mesh.context
        mesh.layout.check(mesh.world.size, network.arch.heads)

    def __call__(
        self,
        x: Float[Tensor, "b c t h w"],
        levels: NoiseLevels,
        text: TextMemory,
        channels: Float[Tensor, "b y t h w"] | None = None,
        extra_tokens: ExtraTokens | None = None,
        around: Around | None = None,
    ) -> Float[Tensor, "b o t h w"]:
        """Predict the velocity; `around` is given this rank's tokens, and how many of them are noisy."""
        network, rank, size = self.network, self.ranks.rank, self.ranks.size
        grid = network.grid(x)
        own = math.prod(grid)
        extra = 0 if extra_tokens is None else extra_tokens.tokens.shape[1]
        mine = Share(share(own, size, rank), share(extra, size, rank))
        noisy = shares(own, size)
        table, levels = network.places(grid, levels, extra_tokens, mine)
        embedded, projected = network.read_time(levels)
        taps = {} if extra_tokens is None else extra_tokens.taps
        taps = {i: partial(tap, first=mine.own.start) for i, tap in taps.items()}
        across = self._across([a + b for a, b in zip(noisy, shares(extra, size), strict=True)])
        tokens = network.embed(x, channels, extra_tokens, mine)
        walk = network.walk(tokens, projected, text, table, taps, noisy[rank], across)
        del tokens
        tokens = last(walk) if around is None else around(walk, noisy[rank])
        y = network.project(tokens, embedded, noisy[rank])
        return network.fold(self.ranks.gather(y, 1, noisy), grid)

    def _across(self, lengths: list[int]) -> Across:
        """Attention of shares of these lengths."""
        ulysses, ring = self.mesh.ulysses, self.mesh.ring
        places = [lengths[i : i + ulysses.size] for i in range(0, len(lengths), ulysses.size)]
        attention = self.network.attention
        if ring.size > 1:
            attention = Ring(ring, [sum(place) for place in places])
        heads = self.network.arch.heads
        across = Ulysses(ulysses, heads, places[ring.rank], attention, everywhere=max(lengths))
        return apart(across) if _is_compiled(self.network.blocks[0]) else across


def _is_compiled(block: nn.Module) -> bool:
    by_class = hasattr(type(block).forward, "_torchdynamo_orig_callable")  # assembly.compiled
    return by_class or block._compiled_call_impl is not None
