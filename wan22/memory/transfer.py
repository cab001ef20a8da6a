"""Tensors from the device to the host without the device waiting for what the host does with them."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor


def to_host(parts: Iterable[Tensor], streams: Any = torch.cuda) -> Iterator[Tensor]:
    """Bring tensors to the host, in order. Of those of CUDA one is always under way: while the caller works on one,
    the device already makes the next.

    streams: `torch.cuda`, or what stands for it in a test.
    """
    under_way: tuple[Tensor, Any] | None = None
    for part in parts:
        if part.device.type != "cuda" and streams is torch.cuda:
            yield part.cpu()
            continue
        copied = part.to("cpu", non_blocking=True)  # into pinned memory
        there = streams.Event()
        there.record(streams.current_stream(part.device))
        del part
        before, under_way = under_way, (copied, there)
        if before is not None:
            before[1].synchronize()
            yield before[0]
    if under_way is not None:
        under_way[1].synchronize()
        yield under_way[0]
