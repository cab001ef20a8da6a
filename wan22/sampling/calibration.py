"""What step caches need to know of a model, measured while it makes a video with all of its blocks.

The magnitude of what the blocks add changes from step to step by a ratio that hardly depends on the prompt (Ma et al.
2025, arXiv:2506.09045, section 3): here it is kept as a curve over timesteps, so that it serves any number of steps.
The change of what they add, beside the change of the time modulation, gives TeaCache its polynomial (Liu et al. 2024,
arXiv:2411.19108, section 3.3). Both are of the branch of the prompt.
"""

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from jaxtyping import Float
from torch import Tensor

from wan22.catalog import Calibration
from wan22.sampling.cache import Walk, relative
from wan22.types import Level


@dataclass
class Curve:
    """What was measured of one expert, by timestep: ratios of magnitude, and changes, to the step before."""

    ratios: dict[float, list[float]] = field(default_factory=dict)
    changes: dict[float, list[tuple[float, float]]] = field(default_factory=dict)

    def calibration(self) -> Calibration:
        """The curve of magnitudes, and the slope from one change to the other.

        The slope is TeaCache's polynomial, of degree 1. Its authors fit degree 4 to one network; a polynomial through
        the few steps of one expert falls where steps are larger than those that were measured.
        """
        timesteps = sorted(self.ratios, reverse=True)
        magnitudes = np.cumprod([fmean(self.ratios[t]) for t in timesteps])
        points = np.array([pair for pairs in self.changes.values() for pair in pairs])
        polynomial: tuple[float, ...] = ()
        if len(points):
            of_time, of_blocks = points.T
            polynomial = (float(of_time @ of_blocks / (of_time @ of_time)), 0.0)
        return Calibration(
            tuple(float(t) for t in timesteps),
            tuple(float(f"{m:.5g}") for m in magnitudes),
            tuple(float(f"{c:.5g}") for c in polynomial),
        )


class Recorder:
    """Stands where a step cache stands, lets all blocks run, and measures what they add. It may see many videos."""

    skipped = False

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}
        self._level: Level | None = None
        self._curve = Curve()
        self._modulation: Mapping[float, Tensor] = {}
        self._before: tuple[float, Tensor] | None = None

    def calibrations(self) -> dict[str, Calibration]:
        """What was measured, by expert."""
        return {name: curve.calibration() for name, curve in self._curves.items()}

    def arrive(self, expert: str, modulation: Mapping[float, Tensor]) -> None:
        """An expert begins; `modulation` is its own, by timestep."""
        self._curve = self._curves.setdefault(expert, Curve())
        self._modulation, self._before = modulation, None

    def begin(self, level: Level) -> None:
        """Say that a call of all branches begins, at this level."""
        self._level = level

    def around(self, branch: Hashable, walk: Walk, own: int) -> Float[Tensor, "b l d"]:
        """The first `own` tokens after all blocks."""
        del branch
        start = next(walk)[:1, :own]  # the first block leaves them as they are
        tokens = deque(walk, maxlen=1).pop()[:, :own]
        level, self._level = self._level, None
        if level is not None:  # the first branch, which is the prompt's
            self._measure(level.timestep, (tokens[:1] - start).float())
        return tokens

    def _measure(self, timestep: float, added: Tensor) -> None:
        ratio = 1.0
        if self._before is not None and self._before[0] > timestep:
            earlier, before = self._before
            ratio = float((added.norm(dim=-1) / before.norm(dim=-1)).mean())
            of_time = float(relative(self._modulation[timestep], self._modulation[earlier]))
            self._curve.changes.setdefault(timestep, []).append((of_time, float(relative(added, before))))
        if self._before is None or self._before[0] > timestep:
            self._curve.ratios.setdefault(timestep, []).append(ratio)
            self._before = timestep, added
