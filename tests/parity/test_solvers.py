"""Schedules, solvers and noise against the recorded numbers; solvers run on an analytic field."""

import math
import re

import pytest
import torch

from wan22.sampling import SOLVERS, draw_noise, levels, velocity_to_x0

NAME = re.compile(r"(?P<solver>.+)\.steps(?P<steps>\d+)\.shift(?P<shift>[\d.]+)\.final")


def denoise(x, level):
    velocity = torch.tanh(0.7 * x + math.sin(level.timestep / 300)) - 0.3 * x
    return velocity_to_x0(x, velocity, level)


@pytest.mark.golden("solvers*")
def test_timesteps_sigmas_and_final_states_equal_the_official_ones(golden, relative_error):
    cases = [match for name in golden.outputs if (match := NAME.fullmatch(name))]
    assert cases
    for case in cases:
        start = case[0].removesuffix("final")
        schedule = levels(case["solver"], int(case["steps"]), float(case["shift"]))
        assert list(schedule.timesteps) == golden.outputs[f"{start}timesteps"].tolist(), case[0]
        assert torch.equal(schedule.sigmas, golden.outputs[f"{start}sigmas"]), case[0]
        *_, final = SOLVERS[case["solver"]](denoise, golden.inputs["noise"], schedule)
        assert relative_error(final.x, golden.outputs[case[0]]) <= 1e-6, case[0]


@pytest.mark.golden("pipeline_[!s]*")
def test_the_noise_of_a_seed_is_the_recorded_one(golden, relative_error):
    """The same generator, so the same numbers; their last bit is the kernel's, which may be another processor's."""
    recorded = {name: noise for name, noise in golden.inputs.items() if name.startswith("noise")}
    assert recorded
    for name, noise in recorded.items():
        assert relative_error(draw_noise(tuple(noise.shape), golden.config["seed"]), noise) <= 1e-6, name
