"""Self-attention of tokens that lie on several ranks: heads shared (`Ulysses`), keys passed on (`Ring`), or both.

Ulysses (Jacobs et al. 2023, arXiv:2309.14509): each rank has some of the tokens; for attention it gets all tokens of
some heads, and gives the answers back. Any number of ranks up to that of heads, evenly or not. Ring (Liu et al. 2023,
arXiv:2310.01889): the keys and values go round, and what each part of them answers is put together by the logarithms
of the sums. A ring of R places with U ranks that share heads in each is USP (Fang and Zhao 2024, arXiv:2405.07719): a
`Ulysses` whose attention is a `Ring`.

Shares may be uneven, down to no token at all; there is no padding and no mask. All of it has gradients; where one is
asked, a ring writes its scores out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from wan22.ops.attention import Attention, Part, merged, with_lse
from wan22.parallel.ranks import Ranks, shares


class Ring:
    """Attention `(q, k, v) -> out` (b, l, n, e) to the keys and values of all ranks of a ring; each has its own.

    lengths: how many keys each rank has. Queries may be of any number.
    """

    def __init__(self, ranks: Ranks, lengths: Sequence[int]) -> None:
        self.ranks, self.lengths = ranks, lengths

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        size, found = self.ranks.size, None
        for turn in range(size):
            after = None
            if turn < size - 1:  # the next keys come while these answer
                rows = self.lengths[(self.ranks.rank - turn - 1) % size]
                shape = (k.shape[0], rows, *k.shape[2:])
                after = self.ranks.shift_ahead([k, v], [shape, shape])
            if k.shape[1]:
                answer = with_lse(q, k, v)
                found = answer if found is None else merged(found, answer)
            if after is not None:
                k, v = after()
        assert found is not None
        return found[0].to(v.dtype)


class Ulysses:
    """`Across` (ops/attention.py) for ranks that share heads; `attention` answers for all tokens and some heads.

    heads: how many there are. lengths: how many tokens each rank has; the parts of a chunked block are as many on
    every rank, however long its share is. everywhere: the longest share of all ranks that work in step, if more do.
    """

    def __init__(
        self, ranks: Ranks, heads: int, lengths: Sequence[int], attention: Attention, everywhere: int = 0
    ) -> None:
        self.ranks, self.lengths, self.attention = ranks, tuple(lengths), attention
        self.heads = shares(heads, ranks.size)
        self.longest = max(everywhere, *lengths)

    def parts(self, length: int, chunk: int | None) -> list[Part]:
        """Equally many on all ranks; a rank with few tokens may have parts without any."""
        count = 1 if chunk is None else max(-(-self.longest // chunk), 1)
        lengths = zip(*(shares(each, count) for each in self.lengths), strict=True)
        ends = list(accumulate(shares(length, count), initial=0))
        return [
            Part(slice(begin, end), of) for begin, end, of in zip(ends[:-1], ends[1:], lengths, strict=True)
        ]

    def keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Of all tokens, this rank's heads."""
        return self._to_heads(k, self.lengths), self._to_heads(v, self.lengths)

    def ask(self, q: Tensor, keys: tuple[Tensor, Tensor], part: Part) -> Tensor:
        """All tokens of a part ask this rank's heads; the answers go back to where the tokens are."""
        found = self.attention(self._to_heads(q, part.lengths), *keys)
        return self.ranks.swap(found, 1, part.lengths, 2, self.heads)

    def _to_heads(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        return self.ranks.swap(x, 2, self.heads, 1, lengths)


def apart(across: Ulysses) -> Ulysses:
    """The same for blocks that are compiled: collectives are left to Python, as attention is."""
    for name in ("parts", "keys", "ask"):
        setattr(across, name, torch.compiler.disable(getattr(across, name)))
    return across
