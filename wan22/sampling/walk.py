"""The walk that most solvers share: ask, update, yield. Each solver is the update of a step."""

from collections.abc import Callable, Generator

from torch import Tensor

from wan22.sampling.denoise import Denoise, replaced
from wan22.sampling.schedule import Schedule
from wan22.types import Step

Update = Callable[[int, Tensor, Tensor, Tensor | None], Tensor]
"""`update(i, x, x0, before)`: the sample after step i, from the sample, x0, and the x0 of the step before, if any."""


def walked(denoise: Denoise, x: Tensor, schedule: Schedule, update: Update) -> Generator[Step, Tensor | None]:
    """Walk `x` by `update`; the last step gives x0 itself. The state is the sample, float32, and the last x0."""
    x = x.float()
    before: Tensor | None = None
    last = len(schedule) - 1
    for i, level in enumerate(schedule):
        x0 = denoise(x, level).float()
        x = x0 if i == last else update(i, x, x0, before)
        x = replaced((yield Step(i, x, x0, level)), x)
        before = x0
