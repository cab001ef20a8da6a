"""Schedulers in Diffusers' words: which of them is which solver of ours.

A scheduler says the solver, the shift and the schedule. FlowMatchEulerDiscreteScheduler has the levels of the schedule
"normal", exactly. Of the others the levels are the official release's for that solver: those of Diffusers differ by up
to 0.3 % (UniPC) and 0.05 % (DPM++) of their norm. Of random networks asked six times that moves the latents by 7 % and
4 % (tests/crosscheck); at equal levels they are the same to rounding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from wan22.errors import OptionError

_FLOW = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "solver_order": 2,
    "thresholding": False,
    "lower_order_final": True,
    "final_sigmas_type": "zero",
}
_PLAIN = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}

_CLASSES: Mapping[str, tuple[str, str | None, Mapping[str, Any]]] = {
    "UniPCMultistepScheduler": (
        "unipc",
        None,
        {
            **_FLOW,
            **_PLAIN,
            "solver_type": "bh2",
            "predict_x0": True,
            "use_dynamic_shifting": False,
            "disable_corrector": [],
        },
    ),
    "DPMSolverMultistepScheduler": (
        "dpm++",
        None,
        {
            **_FLOW,
            **_PLAIN,
            "algorithm_type": "dpmsolver++",
            "solver_type": "midpoint",
            "use_lu_lambdas": False,
            "euler_at_final": False,
        },
    ),
    "FlowMatchEulerDiscreteScheduler": (
        "euler",
        "normal",
        {
            **_PLAIN,
            "use_dynamic_shifting": False,
            "stochastic_sampling": False,
            "invert_sigmas": False,
            "shift_terminal": None,
        },
    ),
}
"""For each class: the solver, the schedule (None: the solver's own), and what its settings must be for that."""

_OF_SOLVER = {solver: name for name, (solver, _, _) in _CLASSES.items()}


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
            **{**_FLOW, **_CLASSES[name][2]},
        )


def read_scheduler(given: Any) -> Scheduler:
    """A scheduler of Diffusers, or of another pipeline, as ours; OptionError if we have no such steps."""
    if isinstance(given, Scheduler):
        return given
    name = type(given).__mro__[0].__name__
    known = next((kind.__name__ for kind in type(given).__mro__ if kind.__name__ in _CLASSES), None)
    if known is None:
        raise OptionError(
            f"{name} is no scheduler that is known here; take one of {', '.join(_CLASSES)}, or give solver= and shift="
        )
    solver, schedule, wanted = _CLASSES[known]
    config = SimpleNamespace(**given.config)
    for key, value in wanted.items():
        found = getattr(config, key, value)
        if (found or False) != (value or False):
            raise OptionError(
                f"{name} with {key}={found!r} is not known here; {key}={value!r} is, and other samplers by solver="
            )
    shift = config.shift if known == "FlowMatchEulerDiscreteScheduler" else config.flow_shift
    return Scheduler(solver, float(shift), schedule)
