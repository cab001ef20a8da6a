"""Schedulers of Diffusers by their configurations: which solver, schedule and shift of ours walk as they do.

It knows names and numbers, no class of Diffusers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from wan22.errors import OptionError

FLOW: Mapping[str, Any] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "solver_order": 2,
    "thresholding": False,
    "lower_order_final": True,
    "final_sigmas_type": "zero",
}
_PLAIN = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}


class Known(NamedTuple):
    """A class: its solver and schedule here (None: the solver's own), its name of the shift, and what its other
    settings must be for that.
    """

    solver: str
    schedule: str | None
    shift: str
    settings: Mapping[str, Any]


CLASSES: Mapping[str, Known] = {
    "UniPCMultistepScheduler": Known(
        "unipc",
        None,
        "flow_shift",
        {
            **FLOW,
            **_PLAIN,
            "solver_type": "bh2",
            "predict_x0": True,
            "use_dynamic_shifting": False,
            "disable_corrector": [],
        },
    ),
    "DPMSolverMultistepScheduler": Known(
        "dpm++",
        None,
        "flow_shift",
        {
            **FLOW,
            **_PLAIN,
            "algorithm_type": "dpmsolver++",
            "solver_type": "midpoint",
            "use_lu_lambdas": False,
            "euler_at_final": False,
        },
    ),
    "FlowMatchEulerDiscreteScheduler": Known(
        "euler",
        "normal",
        "shift",
        {
            **_PLAIN,
            "use_dynamic_shifting": False,
            "stochastic_sampling": False,
            "invert_sigmas": False,
            "shift_terminal": None,
        },
    ),
}


def known(name: str, config: Mapping[str, Any]) -> Known:
    """What a scheduler of this class and configuration is here. Raises OptionError if there is no such walk."""
    if name not in CLASSES:
        raise OptionError(f"{name} is no scheduler that is known here; {', '.join(CLASSES)} are")
    for key, value in CLASSES[name].settings.items():
        found = config.get(key, value)
        if (found or False) != (value or False):
            raise OptionError(
                f"{name} with {key}={found!r} is not known here; {key}={value!r} is, and other samplers by solver="
            )
    return CLASSES[name]
