"""Schedulers in Diffusers' words: which of them is which solver of ours.

A scheduler says the solver, the shift and the schedule. FlowMatchEulerDiscreteScheduler has the levels of the schedule
"normal", exactly. Of the others the levels are the official release's for that solver: those of Diffusers differ by up
to 0.3 % (UniPC) and 0.05 % (DPM++) of their norm. Of random networks asked six times that moves the latents by 7 % and
4 % (tests/crosscheck); at equal levels they are the same to rounding.
"""

from dataclasses import dataclass
from typing import Any

from wan22.errors import OptionError
from wan22.weights.schedulers import CLASSES, FLOW, known

_OF_SOLVER = {row.solver: name for name, row in CLASSES.items()}


class Config(dict):
    """Settings by key or by attribute, as Diffusers' configurations are read."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no setting {name!r}; there are: {', '.join(self)}") from None


@dataclass(frozen=True)
class Scheduler:
    """What `pipe.scheduler` is: a solver, its shift, and its schedule (None: its own). `config` is what `from_config`
    of Diffusers' classes takes.
    """

    solver: str
    shift: float
    schedule: str | None = None

    @property
    def config(self) -> Config:
        """The settings, of the class of Diffusers that is nearest."""
        name = _OF_SOLVER.get(self.solver, "FlowMatchEulerDiscreteScheduler")
        return Config(
            _class_name=name,
            num_train_timesteps=1000,
            flow_shift=self.shift,
            shift=self.shift,
            **{**FLOW, **CLASSES[name].settings},
        )


def read_scheduler(given: Any) -> Scheduler:
    """A scheduler of Diffusers, or of another pipeline, as ours; OptionError if we have no such steps."""
    if isinstance(given, Scheduler):
        return given
    name = type(given).__name__
    kind = next((kind.__name__ for kind in type(given).__mro__ if kind.__name__ in CLASSES), None)
    if kind is None:
        raise OptionError(
            f"{name} is no scheduler that is known here; take one of {', '.join(CLASSES)}, or give solver= and shift="
        )
    row = known(kind, given.config)
    return Scheduler(row.solver, float(given.config[row.shift]), row.schedule)
