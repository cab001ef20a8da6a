"""A call of the denoiser, divided over the ranks of a mesh: what `Undivided` (denoiser.py) is for one process."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from wan22.parallel.context import ContextParallel
from wan22.parallel.guidance import GuidanceParallel
from wan22.parallel.mesh import Mesh


class Divided:
    """Guidance and context parallel as the mesh has them; decisions are rank 0's."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._guidance = GuidanceParallel(mesh.guidance) if mesh.layout.guidance > 1 else None
        self.in_step = self._guidance is not None

    def call(self, network: nn.Module) -> Callable[..., Tensor]:
        """What is called like the network, and returns the velocity of all tokens."""
        return ContextParallel(network, self.mesh) if self.mesh.layout.context > 1 else network

    def groups(self, groups: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Of all branches of guidance, in the groups that are computed at once, those of this rank."""
        return groups if self._guidance is None else self._guidance.groups(groups)

    def join(self, velocities: Tensor) -> Tensor:
        """The velocities of both branches, from those of this rank."""
        return velocities if self._guidance is None else self._guidance.join(velocities)

    def mean(self, x: Tensor) -> Tensor:
        """The mean of numbers of all tokens of a branch, from those of this rank."""
        return self.mesh.context.mean(x.mean(), x.numel())

    def agree(self, skip: bool) -> bool:
        """What rank 0 decides: it has the prompt's branch, as the one process of one device has."""
        return bool(self.mesh.control.broadcast(skip))
