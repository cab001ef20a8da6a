"""Guidance parallelism: the branch of the prompt and the one without it are computed by different ranks."""

from __future__ import annotations

from torch import Tensor

from wan22.parallel.ranks import Ranks


class GuidanceParallel:
    """Two ranks that have the same tokens, each of one branch. Where there is no guidance both compute the prompt's."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def groups(self, groups: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """The branch of this rank, of [(0,), (1,)]; or the one that there is."""
        return [groups[self.ranks.rank % len(groups)]]

    def join(self, velocities: Tensor) -> Tensor:
        """Both velocities (2, ...), the prompt's first, from this rank's (1, ...)."""
        return self.ranks.gather(velocities, 0)
