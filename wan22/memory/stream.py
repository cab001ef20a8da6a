"""Blocks that pass through the device one after the other: a network whose weights do not fit works all the same.

A network iterates over its blocks; a `BlockStream` stands in their place. At each step the next block's weights are on
the device, the one after is on its way, and the one before is let go: two blocks are there, whatever their number. A
network whose layers stand here and there keeps them, and a `LayerStream` brings each when it is called. The weights
come from host memory (pinned, copied on a stream of their own, so that copying hides behind computing) or from the
files, read ahead by a thread. A block's module is the same object all the time; only its tensors come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from typing import Any, Protocol
from weakref import ref

import torch
from torch import Tensor, nn

from wan22.memory.device import keep_no_freed_memory

Tensors = Mapping[str, Tensor]
"""The parameters and buffers of a block, by their names within it."""

ReadBlock = Callable[[int], Any]
"""Reads a block from the files, as its lane takes it: `Tensors`, on the CPU, for the lanes here."""

_ALIGN = 256
"""Bytes: where a tensor may begin in a device buffer."""


class Lane(Protocol):
    """The way of a block's tensors to the device.

    ahead: whether a thread reads blocks and sends them, ahead of what works. Else that is done when `expect` says so,
    so that it has its place in the order of what the device is told.
    """

    ahead: bool

    def send(self, block: Any, /) -> tuple[Tensors, Any]:
        """Begin to bring what was read to the device; its tensors may be used after `arrive(token)`."""
        ...

    def arrive(self, token: Any) -> None:
        """Let what is computed from now on see them."""
        ...

    def leave(self, token: Any) -> None:
        """What was computed until now is the last that reads them."""
        ...

    def close(self) -> None:
        """Let go of the device's memory, when nothing is there or on its way; `send` may follow."""
        ...


class HostLane:
    """The device is the host: nothing is copied. As memory is short, what is freed goes back to the system."""

    ahead = True

    def __init__(self) -> None:
        keep_no_freed_memory()

    def send(self, tensors: Tensors) -> tuple[Tensors, Any]:
        return tensors, None

    def arrive(self, token: Any) -> None:
        pass

    def leave(self, token: Any) -> None:
        pass

    def close(self) -> None:
        pass


class CopyLane:
    """Copies into one of two buffers on the device, in a stream of its own.

    A buffer is written again once the block that used it is computed: the streams wait for one another, the host for
    neither. `streams` is `torch.cuda`, or what stands for it in a test.
    """

    ahead = True

    def __init__(self, device: torch.device, streams: Any = torch.cuda) -> None:
        self.device = device
        self._cuda = streams
        self._stream = streams.Stream(device)
        self._buffers: list[Tensor | None] = [None, None]
        self._free: list[Any] = [None, None]  # the event after which a buffer may be written
        self._next = 0

    def send(self, tensors: Tensors) -> tuple[Tensors, Any]:
        slot, self._next = self._next, 1 - self._next
        places, size = layout(tensors)
        buffer = self._buffers[slot]
        with self._cuda.stream(self._stream):
            if self._free[slot] is not None:
                self._stream.wait_event(self._free[slot])
            if buffer is None or buffer.numel() < size:
                buffer = self._buffers[slot] = torch.empty(size, dtype=torch.uint8, device=self.device)
            there = {}
            for name, tensor in tensors.items():
                place = buffer[places[name] : places[name] + tensor.nbytes].view(tensor.dtype)
                there[name] = place.as_strided(tensor.shape, tensor.stride())  # it may lie channels last
                there[name].copy_(tensor, non_blocking=True)
            copied = self._cuda.Event()
            copied.record(self._stream)
        return there, (slot, copied)

    def arrive(self, token: tuple[int, Any]) -> None:
        self._cuda.current_stream(self.device).wait_event(token[1])

    def leave(self, token: tuple[int, Any]) -> None:
        computed = self._cuda.Event()
        computed.record(self._cuda.current_stream(self.device))
        self._free[token[0]] = computed

    def close(self) -> None:
        """A copy into new buffers waits for what is computed from the old ones: they may lie at the same place."""
        for computed in self._free:
            if computed is not None:
                self._stream.wait_event(computed)
        self._buffers, self._free = [None, None], [None, None]


def layout(tensors: Tensors) -> tuple[dict[str, int], int]:
    """Where each tensor begins in one buffer, and the size of that."""
    places, end = {}, 0
    for name, tensor in tensors.items():
        places[name] = end
        end += -(-tensor.nbytes // _ALIGN) * _ALIGN
    return places, end


class _AtOnce(Executor):
    """Does what it is told when it is told."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Stream(nn.Module):
    """Parts of a network, on the meta device, that are filled while they are at work. They are no children of it.

    read: gives a part as the lane takes it.
    keep: whether it stays in memory once it is read (pinned, if the lane copies).
    """

    def __init__(self, blocks: Sequence[nn.Module], read: ReadBlock, lane: Lane, *, keep: bool) -> None:
        super().__init__()
        self._blocks = tuple(blocks)
        self._read, self._lane, self._keep = read, lane, keep
        self._kept: dict[int, Any] = {}
        self._empty = [tensors_of(block) for block in blocks]
        self._fetches: Executor = (
            ThreadPoolExecutor(max_workers=1, thread_name_prefix="wan22-stream") if lane.ahead else _AtOnce()
        )
        self._coming: tuple[int, Future[tuple[Tensors, Any]]] | None = None
        self._here: tuple[int, Any] | None = None

    def next(self, i: int) -> int | None:
        """What works after `i`, as far as it is known: the first after the last."""
        return (i + 1) % len(self._blocks)

    def bring(self, i: int) -> nn.Module:
        """Return block `i` with its weights on the device, and begin to bring the `next` one.

        The block that was there before is let go.
        """
        if self._here is not None and self._here[0] == i:
            return self._blocks[i]
        coming = self._coming if self._coming is not None and self._coming[0] == i else None
        if coming is None:
            self._forget_coming()
            self._let_go()  # what comes may take its place
            coming = (i, self._fetches.submit(self._fetch, i))
        tensors, token = coming[1].result()
        self._coming = None
        self._let_go()
        _fill(self._blocks[i], tensors)
        self._lane.arrive(token)
        self._here = (i, token)
        follower = self.next(i)
        if follower is not None:
            self.expect(follower)
        return self._blocks[i]

    def expect(self, i: int = 0) -> None:
        """Begin to bring block `i`, which will be the next; nothing happens if it is there or on its way."""
        if self._coming is None and (self._here is None or self._here[0] != i):
            self._coming = (i, self._fetches.submit(self._fetch, i))

    def release(self) -> None:
        """Let go of all that is on the device."""
        self._forget_coming()
        self._let_go()
        self._lane.close()

    def _fetch(self, i: int) -> tuple[Tensors, Any]:
        block = self._kept.get(i)
        if block is None:
            block = self._read(i)
            if self._keep:
                if isinstance(self._lane, CopyLane) and self._lane.device.type == "cuda":
                    block = {name: tensor.pin_memory() for name, tensor in block.items()}
                self._kept[i] = block
        return self._lane.send(block)

    def _let_go(self) -> None:
        if self._here is not None:
            i, token = self._here
            self._lane.leave(token)
            _fill(self._blocks[i], self._empty[i])
            self._here = None

    def _forget_coming(self) -> None:
        if self._coming is not None:
            _, future = self._coming
            self._coming = None
            if future.exception() is None:  # what nobody asks for may have failed
                self._lane.leave(future.result()[1])


class BlockStream(Stream, nn.ModuleList):
    """Blocks of which one works after the other. Iterate over it as over the list it replaces."""

    def __init__(self, blocks: Sequence[nn.Module], read: ReadBlock, lane: Lane, *, keep: bool) -> None:
        super().__init__(blocks, read, lane, keep=keep)
        self.extend(blocks)

    def __iter__(self) -> Iterator[nn.Module]:
        return map(self.bring, range(len(self)))

    def __getitem__(self, i: int) -> nn.Module:  # one block, never a slice
        return self.bring(i)


class LayerStream(Stream):
    """Layers that stand anywhere in a network, each of which is brought when it is called. The network must own this.

    chains: of layers, each in the order of its work. After the last of a chain, any may follow.
    """

    def __init__(
        self, chains: Sequence[Sequence[nn.Module]], read: ReadBlock, lane: Lane, *, keep: bool
    ) -> None:
        super().__init__([layer for chain in chains for layer in chain], read, lane, keep=keep)
        self._last = {end - 1 for end in accumulate(map(len, chains))}
        this = ref(self)
        for i, layer in enumerate(self._blocks):
            layer.register_forward_pre_hook(partial(_bring, this, i))

    def next(self, i: int) -> int | None:
        """What works after `i`; None after the last of a chain."""
        return None if i in self._last else i + 1


def _bring(stream: ref[LayerStream], i: int, layer: nn.Module, given: object) -> None:
    """Before a layer works, bring it; the hook is no owner of the stream."""
    owner = stream()
    if owner is not None:
        owner.bring(i)


def tensors_of(block: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a block, by their names within it."""
    return {**dict(block.named_parameters()), **dict(block.named_buffers())}


def _fill(block: nn.Module, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        owner = block.get_submodule(path)
        if leaf in owner._parameters:
            owner._parameters[leaf] = (
                tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, requires_grad=False)
            )
        else:
            owner._buffers[leaf] = tensor


class OnHost(nn.Module):
    """A small part of a network that is computed in host memory, because its weights are large and its work is not.

    The embedding of the noise level is such a part: one vector a step, and 0.6 GB of weights in the 14B networks.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.cpu()).to(x.device, non_blocking=True)


class Rows(nn.Module):
    """An embedding whose rows are looked up where they rest: in host memory, or in the file.

    read: gives the rows (n, d) of the numbers (n,), on the CPU.
    """

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._read = read

    def forward(self, ids: Tensor) -> Tensor:
        numbers, inverse = ids.cpu().unique(return_inverse=True)
        return self._read(numbers)[inverse].to(ids.device)
