"""A group of ranks as one of them sees it: the few collectives that this project uses, and the bytes that they send.

Tensors travel as bytes, so that every dtype does; shares may be uneven, down to nothing. `gather`, `exchange`,
`swap` and `shift` have gradients, each the exact adjoint of what it does: a loss that all ranks compute alike
counts once per rank, so the mean of the parameters' gradients over all ranks is that of one process.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from wan22.errors import ParallelError

Shape = Sequence[int]
Trade = tuple[int, Sequence[int], int, Sequence[int]]
"""An axis and its parts, and the axis that is got for it, and its parts."""

_gather_bytes = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


PATIENCE = timedelta(minutes=10)
"""How long a rank waits for another in a collective: ranks have about equally much to do between two of them, so one
that takes longer does something else, or hangs.
"""


def new_group(ranks: Sequence[int], backend: str | None = None) -> dist.ProcessGroup | None:
    """A group of these ranks of all, with that patience; all ranks there are must ask alike. None: not of it."""
    made = dist.new_group(ranks, timeout=PATIENCE, backend=backend)
    return made if isinstance(made, dist.ProcessGroup) else None


def share(length: int, size: int, rank: int) -> slice:
    """Which of `length` things a rank of `size` has: contiguous, and the shares differ by at most one."""
    return slice(length * rank // size, length * (rank + 1) // size)


def shares(length: int, size: int) -> list[int]:
    """How many of `length` things each rank has."""
    bounds = [length * rank // size for rank in range(size + 1)]
    return [end - begin for begin, end in pairwise(bounds)]


class Ranks:
    """A group of ranks: `rank` of `size`, this one's `device`, and by kind of collective `traffic`, bytes that it
    sent, and `calls`.

    Every rank of the group must make the same calls in the same order. `group` is a process group of torch.distributed,
    None for all ranks.
    """

    def __init__(self, group: dist.ProcessGroup | None, device: torch.device) -> None:
        self.group, self.device = group, device
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.traffic: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._divided: dict[int, Ranks] = {self.size: self}

    def twin(self) -> Ranks:
        """The same ranks with connections of their own, so that two collectives may be under way at once. All ranks
        there are must ask alike, and `traffic` is theirs together.
        """
        made = Ranks(new_group(dist.get_process_group_ranks(self.group)), self.device)
        made.traffic = self.traffic
        return made

    def gather_into(self, whole: Tensor, mine: Tensor) -> Callable[[], None]:
        """Begin to gather everyone's bytes, equally many, into `whole`, in the order of ranks. What is returned waits
        for it, on the device: it may be called several times.
        """
        work = _gather_bytes(whole, mine, group=self.group, async_op=True)
        self.traffic["weights"] += mine.nbytes * (self.size - 1)
        done = False

        def wait() -> None:
            nonlocal done
            if not done:
                with self._patience("a gather of weights"):
                    work.wait()
                done = True

        return wait

    def divided(self, count: int) -> Ranks:
        """The neighbours of which this rank is one, `count` to a group, which divides all. All ranks there are must ask
        alike, and `traffic` is theirs together.
        """
        if count not in self._divided:
            ranks, begin = dist.get_process_group_ranks(self.group), self.rank - self.rank % count
            mine = None
            for first in range(0, self.size, count):
                group = new_group(ranks[first : first + count])
                mine = group if first == begin else mine
            assert mine is not None
            self._divided[count] = Ranks(mine, self.device)
            self._divided[count].traffic, self._divided[count].calls = self.traffic, self.calls
        return self._divided[count]

    def gather(self, x: Tensor, dim: int, sizes: Sequence[int] | None = None) -> Tensor:
        """Every rank's x along an axis, in the order of ranks. sizes: how long each is there, if they differ."""
        dim %= x.ndim
        sizes = [x.shape[dim]] * self.size if sizes is None else list(sizes)
        if len(sizes) != self.size or sizes[self.rank] != x.shape[dim]:
            raise ValueError(f"rank {self.rank} of {self.size} gathers {tuple(x.shape)} at {dim} as {sizes}")
        return _Gather.apply(x, self, dim, sizes)

    def exchange(
        self, parts: Sequence[Tensor], shapes: Sequence[Shape], kind: str = "exchange"
    ) -> list[Tensor]:
        """All to all: part i goes to rank i, and of rank i comes a tensor of shape i, of the parts' dtype."""
        if len(parts) != self.size or len(shapes) != self.size:
            raise ValueError(f"{self.size} ranks exchange {len(parts)} parts for {len(shapes)}")
        return list(_Exchange.apply(self, kind, [tuple(shape) for shape in shapes], *parts))

    def swap(self, x: Tensor, split: int, splits: Sequence[int], join: int, joins: Sequence[int]) -> Tensor:
        """All to all that trades one axis for another: of the axis `split` part i goes to rank i, as long as `splits`
        says, and what comes is put together along the axis `join`, of rank i `joins[i]` long.

        (b, l of this rank, n, e) becomes (b, l, n of this rank, e) by `swap(x, 2, heads, 1, lengths)`, and back by
        `swap(y, 1, lengths, 2, heads)`.
        """
        split, join = split % x.ndim, join % x.ndim
        if sum(splits) != x.shape[split] or joins[self.rank] != x.shape[join]:
            raise ValueError(
                f"rank {self.rank} swaps {tuple(x.shape)} at {split} as {splits}, at {join} as {joins}"
            )
        return x if self.size == 1 else _Swap.apply(x, self, (split, tuple(splits), join, tuple(joins)))

    def shift(self, tensors: Sequence[Tensor], like: Sequence[Shape]) -> list[Tensor]:
        """To the next rank of the ring, and from the one before, whose tensors have the shapes `like`."""
        return self.shift_ahead(tensors, like)()

    def shift_ahead(self, tensors: Sequence[Tensor], like: Sequence[Shape]) -> Callable[[], list[Tensor]]:
        """Begin a `shift`, which goes on while the device works; what is returned waits for it. The tensors must stay
        as they are meanwhile. Where a gradient is asked it has ended already.
        """
        after, before = (self.rank + 1) % self.size, (self.rank - 1) % self.size
        if torch.is_grad_enabled():
            pairs = zip(tensors, like, strict=True)
            found = [self._to({after: x}, {before: shape}, "shift")[before] for x, shape in pairs]
            return lambda: found
        ends = []
        for tensor, shape in zip(tensors, like, strict=True):
            nothing = tensor.new_empty(0)
            parts = [tensor if i == after else nothing for i in range(self.size)]
            shapes = [tuple(shape) if i == before else (0,) for i in range(self.size)]
            ends.append(self._exchange(parts, shapes, "shift"))
        return lambda: [end()[before] for end in ends]

    def halo(self, x: Tensor, dim: int, above: int, below: int) -> tuple[Tensor | None, Tensor | None]:
        """The last `above` rows (along an axis) of the rank before and the first `below` of the one after; None at the
        ends. A rank with fewer rows than its neighbour needs is an error.
        """
        dim %= x.ndim
        length, last = x.shape[dim], self.size - 1
        needed = max(above if self.rank < last else 0, below if self.rank else 0)
        if length < needed:
            raise ParallelError(f"rank {self.rank} has {length} rows, and its neighbours need {needed}")
        shape = [(*x.shape[:dim], rows, *x.shape[dim + 1 :]) for rows in (above, below)]
        give: dict[int, Tensor] = {}
        take: dict[int, Shape] = {}
        if self.rank:
            give[self.rank - 1], take[self.rank - 1] = x.narrow(dim, 0, below), shape[0]
        if self.rank < last:
            give[self.rank + 1], take[self.rank + 1] = x.narrow(dim, length - above, above), shape[1]
        found = self._to(give, take, "halo")
        return found.get(self.rank - 1), found.get(self.rank + 1)

    def _to(self, give: dict[int, Tensor], take: dict[int, Shape], kind: str) -> dict[int, Tensor]:
        """An exchange with some ranks only."""
        some = next(iter(give.values()), None)
        nothing = torch.empty(0, device=self.device) if some is None else some.new_empty(0)
        ranks = range(self.size)
        found = self.exchange([give.get(i, nothing) for i in ranks], [take.get(i, (0,)) for i in ranks], kind)
        return {i: found[i] for i in take}

    def mean(self, x: Tensor, count: int) -> Tensor:
        """The mean over all ranks' numbers, of which this one has `count` whose mean is `x`, a tensor without axes.

        The same bits on every rank. Without gradient.
        """
        mine = torch.stack([x.detach().double() if count else x.new_zeros((), dtype=torch.float64)])
        both = self.gather(torch.cat([mine * count, mine.new_full((1,), count)])[None], 0)
        total = both.sum(0)
        return (total[0] / total[1]).to(x.dtype)

    def broadcast(self, value: object) -> Any:
        """Rank 0's value, of any kind that can be pickled, on every rank; its tensors come on the CPU."""
        written = b""
        if self.rank == 0:
            buffer = io.BytesIO()
            torch.save(value, buffer)
            written = buffer.getvalue()
            self.traffic["broadcast"] += len(written) * (self.size - 1)
        length = torch.tensor([len(written)], device=self.device)
        with self._patience("a broadcast"):
            dist.broadcast(length, group=self.group, group_src=0)
            data = torch.empty(int(length), dtype=torch.uint8, device=self.device)
            if self.rank == 0:
                data.copy_(torch.frombuffer(bytearray(written), dtype=torch.uint8))
            dist.broadcast(data, group=self.group, group_src=0)
        if self.rank == 0:
            return value
        # It comes from our own process, over a group that only our own ranks are in.
        return torch.load(io.BytesIO(data.cpu().numpy().tobytes()), map_location="cpu", weights_only=False)

    @contextmanager
    def _patience(self, what: str) -> Generator[None]:
        """Raise ParallelError, which says who waited for whom and where, if the others do not come to a collective."""
        try:
            yield
        except RuntimeError as error:
            if "timed out" not in str(error).lower() and "timeout" not in str(error).lower():
                raise
            others = [rank for rank in dist.get_process_group_ranks(self.group) if rank != dist.get_rank()]
            named = f"rank{'s' * (len(others) > 1)} {' and '.join(map(str, others))}"
            made = sum(self.calls.values())
            raise ParallelError(
                f"rank {dist.get_rank()} waited in vain for {named} in {what}, after {made} collectives: one of them "
                "hangs, or the ranks are out of step"
            ) from None

    def _gather(self, x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
        """Every rank sends as many bytes as the longest has: a collective of unequal parts is not known everywhere."""
        rows, longest = x.movedim(dim, 0), max(sizes)
        rest = rows.shape[1:]
        mine, width = _bytes(rows), math.prod(rest) * x.element_size()
        if mine.numel() < longest * width:
            mine = torch.cat([mine, mine.new_empty(longest * width - mine.numel())])
        found = mine.new_empty(self.size * longest * width)
        with self._patience("a gather"):
            _gather_bytes(found, mine, group=self.group)
        self.calls["gather"] += 1
        self.traffic["gather"] += mine.numel() * (self.size - 1)
        if len(set(sizes)) > 1:
            found = torch.cat(
                [part[: n * width] for part, n in zip(found.view(self.size, -1), sizes, strict=True)]
            )
        return found.view(x.dtype).view(sum(sizes), *rest).movedim(0, dim)

    def _exchange(
        self, parts: Sequence[Tensor], shapes: Sequence[Shape], kind: str
    ) -> Callable[[], list[Tensor]]:
        """Begin an exchange; what is returned waits for it."""
        end = self._send(parts, [math.prod(shape) for shape in shapes], kind)

        def finish() -> list[Tensor]:
            pieces = end().split([math.prod(shape) for shape in shapes])
            return [piece.view(tuple(shape)) for piece, shape in zip(pieces, shapes, strict=True)]

        return finish

    def _swap(self, x: Tensor, trade: Trade) -> Tensor:
        split, splits, join, joins = trade
        rest = [splits[self.rank] if axis == split else side for axis, side in enumerate(x.shape)]
        del rest[join]
        parts = [part.movedim(join, 0) for part in x.split(splits, split)]
        end = self._send(parts, [rows * math.prod(rest) for rows in joins], "exchange")
        return end().view(sum(joins), *rest).movedim(0, join)

    def _send(self, parts: Sequence[Tensor], counts: Sequence[int], kind: str) -> Callable[[], Tensor]:
        """Begin to send part i to rank i; what is returned waits for so many numbers of each rank, in a row."""
        dtype = parts[0].dtype
        give = [part.numel() * dtype.itemsize for part in parts]
        take = [count * dtype.itemsize for count in counts]
        mine = torch.cat([_bytes(part) for part in parts])
        found = mine.new_empty(sum(take))
        work = dist.all_to_all_single(found, mine, take, give, group=self.group, async_op=True)
        self.calls[kind] += 1
        self.traffic[kind] += sum(give) - give[self.rank]

        def finish() -> Tensor:
            nonlocal mine
            with self._patience(f"a collective of kind {kind!r}"):
                work.wait()
            del mine  # it was read until now
            return found.view(dtype)

        return finish


def _bytes(x: Tensor) -> Tensor:
    flat = x.contiguous().view(-1)
    return flat.as_strided(flat.shape, (1,)).view(torch.uint8)  # that of one number may have any stride


class _Gather(torch.autograd.Function):
    """Its adjoint sums what all ranks found for this one's part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks, dim: int, sizes: list[int]) -> Tensor:
        ctx.ranks, ctx.dim, ctx.sizes, ctx.shape = ranks, dim, sizes, x.shape
        return ranks._gather(x, dim, sizes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        parts = grads[0].split(ctx.sizes, ctx.dim)
        found = ctx.ranks._exchange(parts, [ctx.shape] * ctx.ranks.size, "exchange")()
        return torch.stack(found).sum(0), None, None, None


class _Exchange(torch.autograd.Function):
    """Its adjoint is the exchange back."""

    @staticmethod
    def forward(ctx: Any, ranks: Ranks, kind: str, shapes: list[Shape], *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.ranks, ctx.kind, ctx.shapes = ranks, kind, [part.shape for part in parts]
        return tuple(ranks._exchange(parts, shapes, kind)())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return None, None, None, *ctx.ranks._exchange(grads, ctx.shapes, ctx.kind)()


class _Swap(torch.autograd.Function):
    """Its adjoint is the swap back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks, trade: Trade) -> Tensor:
        ctx.ranks, ctx.trade = ranks, trade
        return ranks._swap(x, trade)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        split, splits, join, joins = ctx.trade
        return ctx.ranks._swap(grads[0], (join, joins, split, splits)), None, None
