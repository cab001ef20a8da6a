"""A frozen base whose blocks rest on the host and pass through the device, so that an adapter of a model that does not
fit can be trained.

A step goes up the blocks, computes each again on the way down for the gradient, and brings it both times: what it waits
for is hidden behind computing from some thousand tokens on. What learns stays on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wan22.memory.stream import CopyLane, HostLane, Lane, Stream, tensors_of
from wan22.models.dit import WanDiT


class FrozenBase(Stream):
    """The frozen tensors of blocks, brought up and down: the next block lies in the direction of the last."""

    def __init__(self, blocks: Sequence[nn.Module], kept: Sequence[Mapping[str, Tensor]], lane: Lane) -> None:
        # Read once each: the pinned copy takes the place of what was read.
        super().__init__(blocks, dict(enumerate(kept)).pop, lane, keep=True)
        self._last: int | None = None

    def next(self, i: int) -> int | None:
        """Up after a step up, at the top down again if a gradient is asked for, and at the bottom up."""
        down = self._last == i + 1
        self._last, top = i, len(self._blocks) - 1
        if top == 0:
            return None
        if i == top:
            return i - 1 if torch.is_grad_enabled() else 0
        return i - 1 if down and i else i + 1


def stream_base(network: WanDiT, device: torch.device, lane: Lane | None = None) -> FrozenBase:
    """Bring a network to the device in place, but for what is frozen in its blocks, which comes when it is needed.

    The network must be adapted already, and must keep its blocks' inputs only (`checkpoint_blocks`, called after this):
    what autograd kept of a block's weights would be overwritten. Keys and values of the text are computed again, too.
    """
    kept = [_taken(block) for block in network.blocks]
    network.to(device)
    if lane is None:
        lane = CopyLane(device) if device.type == "cuda" else HostLane()
    base = FrozenBase(list(network.blocks), kept, lane)
    for i, block in enumerate(network.blocks):
        attention: Any = block.cross_attn
        attention.read = _again(_brought(base, i, attention.read))
        setattr(block, "forward", _brought(base, i, block.forward))  # noqa: B010 - typed as a method
    return base


def _taken(block: nn.Module) -> dict[str, Tensor]:
    """The frozen tensors of a block, on the CPU; empty ones are left in their place."""
    frozen = {
        name: tensor.detach().cpu() for name, tensor in tensors_of(block).items() if not tensor.requires_grad
    }
    for name, tensor in frozen.items():
        path, _, leaf = name.rpartition(".")
        owner, empty = block.get_submodule(path), torch.empty(0, dtype=tensor.dtype)
        if leaf in owner._parameters:
            owner._parameters[leaf] = nn.Parameter(empty, requires_grad=False)
        else:
            owner._buffers[leaf] = empty
    return frozen


def _brought(base: FrozenBase, i: int, work: Callable[..., Any]) -> Callable[..., Any]:
    def with_weights(*given: Any, **more: Any) -> Any:
        base.bring(i)
        return work(*given, **more)

    return with_weights


def _again(work: Callable[..., Any]) -> Callable[..., Any]:
    """Keep only what it is given, and compute it again for the gradient."""

    def computed(*given: Any) -> Any:
        if not torch.is_grad_enabled():
            return work(*given)
        return checkpoint(work, *given, use_reentrant=False, preserve_rng_state=False)

    return computed
