"""One rank of several that train one recipe together, with torch.distributed.

Weights, gradients and moments are sharded over all ranks, block by block (FSDP2: Zhao et al. 2023, arXiv:2304.11277;
Rajbhandari et al. 2020, arXiv:1910.02054), whatever learns. The clips of a step are divided by shares of ranks, and
within a share the tokens of a clip, if the recipe asks for that (parallel/context.py). Every rank calls the same, in
step; the leader alone reads what people gave and writes what they see.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from wan22.errors import CheckpointError, OutputError, Wan22Error
from wan22.files import reading
from wan22.models.block import CrossAttention
from wan22.models.speech import AudioEncoder, Scale
from wan22.parallel.context import ContextParallel
from wan22.parallel.layout import Layout
from wan22.parallel.mesh import Mesh
from wan22.parallel.ranks import Ranks, new_group
from wan22.train import checkpoint, sharded
from wan22.train.recipe import ParallelPart
from wan22.train.world import World, shares_of

if TYPE_CHECKING:
    from wan22.models.dit import WanDiT
    from wan22.train.expert import Expert

T = TypeVar("T")

_VERBS = ("embed", "read_time", "read_text", "read_speech", "project")
"""What is called of a network beside its forward pass: its own weights are brought together for these."""


class DistributedWorld(World):
    """This rank of all. `control` are all ranks on the CPU; `context` of them share the tokens of a clip."""

    gathers = True

    def __init__(self, control: Ranks, device: torch.device, parallel: ParallelPart | None = None) -> None:
        self._control, self._device = control, device
        self._parallel = parallel or ParallelPart()
        self.rank, self.size = control.rank, control.size
        context = self._parallel.context
        self.shares, self.share = shares_of(self.size, context, heads=self.size), self.rank // context
        self._mesh = init_device_mesh(device.type, (self.size,))
        self._tokens = _context(self.size, context, device) if context > 1 else None

    def device(self, asked: str) -> torch.device:
        """The device that this rank has."""
        return self._device

    def first(self, work: Callable[[], T]) -> T:
        """Let the leader do `work`, whose result, or error, all get."""
        said: tuple[Any, Wan22Error | None] = (None, None)
        if self.leads:
            try:
                said = work(), None
            except Wan22Error as error:
                said = None, error
        value, error = self._control.broadcast(said)
        if error is not None:
            raise error
        return value

    def leading(
        self, context: Callable[[], AbstractContextManager[T]], other: T
    ) -> AbstractContextManager[T]:
        """The leader's context; the others get `other`."""
        return context() if self.leads else nullcontext(other)

    def agreed(self, value: T) -> T:
        """What the leader says."""
        return self._control.broadcast(value)

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return bool(self._control.gather(torch.tensor([flag]), 0).any())

    def gathered(self, sigmas: Tensor, errors: Tensor, counts: bool) -> tuple[Tensor, Tensor]:
        """Noise levels and errors of all ranks' clips, in the order of the batch."""
        counts = counts and self.rank % self._parallel.context == 0
        mine = torch.stack([sigmas.cpu(), errors.detach().cpu()], dim=1)[: len(sigmas) if counts else 0]
        sizes = self._control.gather(torch.tensor([len(mine)]), 0).tolist()
        seen, off = self._control.gather(mine, 0, sizes).unbind(1)
        return seen, off

    def place(self, network: WanDiT, device: torch.device) -> None:
        """Shard a network over all ranks in place: what reads text and audio, each block, and what is left.

        Text and audio are read before the blocks, and their gradients come after those of the blocks: what makes them
        has its weights brought together for itself.
        """
        for module in list(network.modules()):
            if isinstance(module, CrossAttention):
                self._shard(module, ("read",))
            elif isinstance(module, Scale | AudioEncoder):
                self._shard(module)
        for block in network.blocks:
            self._shard(block)
        self._shard(network, _VERBS)
        # What is made while weights first come together must not belong to an inference, which may come first.
        for module in network.modules():
            if isinstance(module, FSDPModule):
                module.unshard()
                module.reshard()
        # Nothing is written over the outputs of these methods.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)

    def call(self, network: WanDiT) -> Callable[..., Tensor]:
        """The network, or, if several ranks share the tokens of a clip, what does that."""
        return network if self._tokens is None else ContextParallel(network, self._tokens)

    def _shard(self, module: torch.nn.Module, verbs: tuple[str, ...] = ()) -> None:
        fully_shard(module, mesh=self._mesh)
        for verb in verbs:
            if hasattr(module, verb):
                register_fsdp_forward_method(module, verb)

    def synchronise(self, network: WanDiT, last: bool) -> None:
        """Let gradients be put together after this backward pass, or only after the last one of a step."""
        assert isinstance(network, FSDPModule)
        network.set_requires_gradient_sync(last or self._parallel.gradient_sync == "each")

    def reshard(self, network: WanDiT) -> None:
        """Let every rank have its shards only, so that what changes them is seen."""
        for module in network.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor; all ranks call it in one order."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """This rank's shard of a tensor, where `like` is sharded."""
        if not isinstance(like, DTensor):
            return whole
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    def save(
        self, folder: Path, expert: str, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint, every rank its shards."""
        said = {"expert": expert, "step": step, "notes": dict(notes)}
        try:
            sharded.write(self._control, checkpoint.folder_of(folder, expert, step), tensors, said)
        except OutputError as error:
            raise checkpoint.unsaved(folder, expert, step, str(error)) from error
        if self.leads:
            checkpoint.let_go(folder, expert)

    def newest(self, folder: Path, expert: str, log: Callable[[str], object]) -> checkpoint.Checkpoint | None:
        """The newest whole checkpoint, without its tensors."""

        def look() -> checkpoint.Checkpoint | None:
            found = checkpoint.newest(folder, expert, log)
            return None if found is None else replace(found, tensors={})

        return self.first(look)

    def load(self, expert: Expert, found: checkpoint.Checkpoint) -> None:
        """Let an expert take over its shards of a checkpoint, whatever number of ranks wrote it."""
        tensors = expert.blank(found.names)
        with reading(found.path, CheckpointError, "is damaged"):
            if found.path.is_dir():
                sharded.read(self._control, found.path, tensors)
            else:
                with safe_open(found.path, "pt") as file:
                    tensors = {name: self.part(file.get_tensor(name), like) for name, like in tensors.items()}
        expert.load(tensors, found.step)


def _context(size: int, context: int, device: torch.device) -> Mesh:
    """The ranks that share the tokens of this one's clips: neighbours, of which each has some heads."""
    rank = dist.get_rank()
    groups = [new_group(list(range(first, first + context))) for first in range(0, size, context)]
    alone = [new_group([one]) for one in range(size)]
    together, single = Ranks(groups[rank // context], device), Ranks(alone[rank], device)
    return Mesh(
        Layout(context=context),
        world=together,
        guidance=single,
        context=together,
        ulysses=together,
        ring=single,
        control=together,
    )
