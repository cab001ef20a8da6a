"""The schedules and solvers that ComfyUI names, against closed forms, scipy, Diffusers, and a path that is known."""

import itertools
import math

import diffusers
import numpy as np
import pytest
import scipy.stats
import torch

from wan22.errors import OptionError
from wan22.sampling import (
    SCHEDULE_NAMES,
    SOLVERS,
    STOCHASTIC,
    draw_noise,
    explicit,
    levels,
    solve,
    velocity_to_x0,
)
from wan22.sampling.comfy import SCHEDULES
from wan22.sampling.noise import step_noise

# What ComfyUI's ModelSamplingDiscreteFlow gives for the published workflow: 20 steps, shift 8, simple.
WORKFLOW = [
    1.0, 0.993464, 0.986301, 0.978417, 0.969697, 0.960000, 0.949153, 0.936937, 0.923077, 0.907216,
    0.888889, 0.867470, 0.842105, 0.811594, 0.774194, 0.727273, 0.666667, 0.585366, 0.470588, 0.296296, 0.0,
]  # fmt: skip

SHIFTS = (1.0, 3.0, 5.0, 8.0, 12.0)
STEPS = (1, 2, 4, 7, 20, 30, 50)


def table(shift):
    t = np.arange(1, 1001) / 1000
    return shift * t / (1 + (shift - 1) * t)


def sigmas(name, steps, shift, solver="euler"):
    return levels(solver, steps, shift, name).sigmas.double().numpy()


def test_the_workflow_of_twenty_steps_has_comfyuis_levels():
    schedule = levels("euler", 20, 8.0, "simple")
    assert schedule.sigmas.tolist() == pytest.approx(WORKFLOW, abs=1e-6)
    assert schedule.timesteps == pytest.approx(
        [1000 * s for s in WORKFLOW[:-1]], abs=1e-3
    )  # fractions, not truncated


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("steps", STEPS)
def test_named_schedules_equal_their_definitions(steps, shift):
    rows = table(shift)
    low = rows[0]
    ramp = np.linspace(0, 1, steps)

    def shifted(t):
        return shift * t / (1 + (shift - 1) * t)

    expected = {
        "simple": [rows[999 - math.floor(i * (1000 / steps))] for i in range(steps)],
        "normal": shifted(np.linspace(1000, 1000 * low, steps) / 1000),
        "sgm_uniform": shifted(np.linspace(1000, 1000 * low, steps + 1)[:-1] / 1000),
        "karras": (1 + ramp * (low ** (1 / 7) - 1)) ** 7,
        "exponential": low**ramp,
        "kl_optimal": np.tan(ramp * math.atan(low) + (1 - ramp) * math.atan(1.0)),
        "ddim_uniform": rows[1 :: 1000 // steps][::-1],
    }
    for name, row in expected.items():
        assert sigmas(name, steps, shift) == pytest.approx([*row, 0.0], abs=1e-6), name


@pytest.mark.parametrize("steps", [*STEPS, 333, 999])
def test_the_beta_schedule_is_scipys_quantiles_without_repeats(steps):
    quantiles = scipy.stats.beta.ppf(1 - np.linspace(0, 1, steps, endpoint=False), 0.6, 0.6)
    rows = list(dict.fromkeys(np.rint(quantiles * 999).astype(int).tolist()))
    assert sigmas("beta", steps, 5.0) == pytest.approx([*table(5.0)[rows], 0.0], abs=1e-6)


@pytest.mark.parametrize("steps", [2, 3, 20, 41])
def test_the_linear_quadratic_schedule_goes_on_without_a_kink(steps):
    row = 1 - sigmas("linear_quadratic", steps, 8.0)
    half = steps // 2
    assert row[: half + 1] == pytest.approx(0.025 * np.arange(half + 1) / half, abs=1e-6)
    bend = np.diff(row[half:], n=2)
    assert bend == pytest.approx(np.full(len(bend), bend[0] if len(bend) else 0), abs=1e-5)
    assert (row[0], row[-1]) == (0, 1)
    assert np.array_equal(sigmas("linear_quadratic", steps, 3.0), 1 - row)


@pytest.mark.parametrize(
    ("name", "flag"), [("karras", "use_karras_sigmas"), ("exponential", "use_exponential_sigmas")]
)
def test_karras_and_exponential_levels_are_those_of_diffusers(name, flag):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**{flag: True})
    low = float(table(5.0)[0])
    scheduler.set_timesteps(sigmas=np.linspace(1, low, 10).tolist())
    assert sigmas(name, 10, 5.0) == pytest.approx(scheduler.sigmas.numpy(), abs=1e-6)


def test_the_names_of_schedules_are_those_that_are_made():
    assert set(SCHEDULE_NAMES) == {"official", *SCHEDULES}


def test_unipc_of_comfyui_leaves_out_the_last_level_before_zero():
    for name in ("uni_pc", "uni_pc_bh2"):
        plain = sigmas("simple", 21, 8.0)
        assert sigmas("simple", 20, 8.0, name) == pytest.approx([*plain[:-2], 0.0])
        assert np.array_equal(levels(name, 20, 8.0).sigmas, levels(name, 20, 8.0, "simple").sigmas)


@pytest.mark.parametrize("name", SCHEDULE_NAMES)
@pytest.mark.parametrize("solver", [name for name in SOLVERS if name != "distilled"])
@pytest.mark.parametrize(("steps", "shift"), [(1, 5.0), (2, 0.01), (40, 100.0), (1000, 5.0)])
def test_every_schedule_falls_from_one_to_zero_for_every_solver(name, solver, steps, shift):
    row = levels(solver, steps, shift, name).sigmas
    assert 0 < row[0] <= 1 and row[-1] == 0 and (row.diff() < 0).all()


def test_four_simple_steps_at_shift_five_are_those_of_distilled_models():
    assert levels("euler", 4, 5.0, "simple").timesteps == pytest.approx(
        (1000, 937.5, 833.3333, 625), abs=1e-3
    )
    assert levels("distilled", 4, 5.0).timesteps == pytest.approx((1000, 937.5, 833.3333, 625), abs=1e-3)


def test_a_schedule_of_its_own_is_not_changed_and_an_unknown_one_is_refused():
    with pytest.raises(OptionError, match="distilled has a schedule of its own"):
        levels("distilled", 4, 5.0, "simple")
    with pytest.raises(OptionError, match=r"Did you mean 'karras'.*simple, normal"):
        levels("euler", 4, 5.0, "karas")


# The field of a Gaussian N(mu, s^2): x0 = mu + k (x - (1 - sigma) mu), and its path in closed form.
MU, SPREAD = 0.7, 0.5


def gaussian(x, level):
    sigma = float(level.sigma)
    variance = ((1 - sigma) * SPREAD) ** 2 + sigma**2
    return MU + (1 - sigma) * SPREAD**2 / variance * (x - (1 - sigma) * MU)


def end_of(start):
    """Where the path from sigma 1 ends: the deviation from the mean keeps its share of the spread."""
    return MU + SPREAD * start


@pytest.mark.parametrize(
    ("solver", "order"),
    [("euler", 1), ("unipc", 2), ("dpm++", 1.5), ("heun", 2), ("dpmpp_2m", 1.5), ("res_multistep", 1.5), ("uni_pc", 3),
     ("uni_pc_bh2", 1.5)],
)  # fmt: skip
def test_solvers_come_nearer_to_a_known_path_at_their_order(solver, order):
    """Their first and last steps are first order, which keeps the two-step ones under 2 at these numbers."""
    start = torch.linspace(-2, 2, 9)

    def error(steps):
        *_, last = SOLVERS[solver](gaussian, start, explicit(np.linspace(1.0, 0.0, steps + 1).tolist()))
        return float((last.x - end_of(start)).norm())

    assert error(80) < error(20) * 4**-order * 1.3


def test_the_solvers_of_comfyui_walk_as_diffusers_solvers_do():
    """Diffusers has DPM-Solver++(2M) and UniPC for x = alpha (x0 + sigma noise), which is the same path, scaled."""
    row = levels("euler", 9, 5.0, "simple").sigmas
    video, start = draw_noise((1, 6), 1), draw_noise((1, 6), 2)

    def field(x, sigma):
        return torch.tanh(x * 0.7 + 0.3 * sigma) * 0.5 + 0.2 * video

    def scaled(scheduler):
        scheduler.set_timesteps(9)
        scheduler.sigmas = row.clone()
        scheduler.timesteps = torch.arange(9, 0, -1).float()
        scheduler.num_inference_steps = 9
        y = start / (1 + row[0] ** 2) ** 0.5
        for i, t in enumerate(scheduler.timesteps):
            grown = (1 + row[i] ** 2) ** 0.5
            if i == 8:  # theirs cannot end at 0 with B(h) = h; ours gives x0 there
                return y * grown
            y = scheduler.step(field(y * grown, row[i]), t, y).prev_sample
        raise AssertionError

    common = {"prediction_type": "sample", "final_sigmas_type": "zero", "lower_order_final": True}
    theirs = {
        "dpmpp_2m": diffusers.DPMSolverMultistepScheduler(
            solver_order=2, solver_type="midpoint", euler_at_final=True, **common
        ),
        "uni_pc": diffusers.UniPCMultistepScheduler(solver_order=3, solver_type="bh1", **common),
        "uni_pc_bh2": diffusers.UniPCMultistepScheduler(solver_order=3, solver_type="bh2", **common),
    }
    for name, scheduler in theirs.items():
        *_, late, last = SOLVERS[name](lambda x, level: field(x, level.sigma), start, explicit(row.tolist()))
        torch.testing.assert_close(late.x, scaled(scheduler), rtol=2e-5, atol=2e-5, msg=name)
        assert torch.equal(last.x, last.x0)


def test_heun_and_euler_are_the_textbook_steps():
    row = [1.0, 0.6, 0.3, 0.0]
    x = e = torch.tensor([1.5, -0.5])

    def slope(x, sigma):
        return (x - (0.5 * x + 0.1 * sigma)) / sigma

    for now, after in itertools.pairwise(row):
        e = e + (after - now) * slope(e, now)
        first = slope(x, now)
        there = x + (after - now) * first
        x = there if after == 0 else x + (after - now) * (first + slope(there, after)) / 2
    for name, expected in (("heun", x), ("euler", e)):
        start = torch.tensor([1.5, -0.5])
        *_, last = SOLVERS[name](lambda x, level: 0.5 * x + 0.1 * level.sigma, start, explicit(row))
        torch.testing.assert_close(last.x, expected)


def test_res_multistep_integrates_a_line_of_x0_exactly():
    """x0 that is linear in lambda = -ln sigma: only a first-order first step errs, and here x0 is constant on it."""
    row = [0.9, 0.7, 0.45, 0.2, 0.05]
    lam = [-math.log(s) for s in row]

    def x0_at(value):
        return 0.0 if value <= lam[1] else 0.8 * (value - lam[1])

    steps = SOLVERS["res_multistep"](
        lambda x, level: torch.full_like(x, x0_at(-math.log(float(level.sigma)))),
        torch.tensor([1.0]),
        explicit(row),
    )
    walked = [float(step.x) for step in steps]
    h = lam[3] - lam[2]
    exact = math.exp(-h) * walked[1] + 0.8 * ((lam[3] - lam[1] - 1) - math.exp(-h) * (lam[2] - lam[1] - 1))
    assert walked[2] == pytest.approx(exact, rel=1e-5)


def test_lcm_is_diffusers_lcm_with_this_noise(monkeypatch):
    schedule = levels("lcm", 4, 5.0)
    scheduler = diffusers.FlowMatchLCMScheduler(shift=1.0)
    scheduler.set_timesteps(sigmas=schedule.sigmas[:-1].tolist())
    assert scheduler.sigmas.tolist() == pytest.approx(schedule.sigmas.tolist(), abs=1e-6)
    x = start = draw_noise((4,), 3)

    def velocity(x):
        return torch.tanh(x)

    module = __import__("diffusers.schedulers.scheduling_flow_match_lcm", fromlist=["randn_tensor"])
    for i, t in enumerate(scheduler.timesteps):
        monkeypatch.setattr(module, "randn_tensor", lambda shape, i=i, **_: step_noise(tuple(shape), 5, i))
        x = scheduler.step(velocity(x), t, x).prev_sample
    *_, last = solve("lcm", lambda x, level: velocity_to_x0(x, velocity(x), level), start, schedule, seed=5)
    torch.testing.assert_close(last.x, x, rtol=1e-5, atol=1e-5)


def test_dpmpp_2m_sde_is_diffusers_with_this_noise():
    row = [0.95, 0.8, 0.6, 0.4, 0.2, 0.0]
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", solver_order=2, solver_type="midpoint", prediction_type="sample",
        use_flow_sigmas=True, euler_at_final=True, final_sigmas_type="zero",
    )  # fmt: skip
    scheduler.set_timesteps(5)
    scheduler.sigmas = torch.tensor(row)
    scheduler.timesteps = torch.arange(5, 0, -1).float()
    x = start = draw_noise((4,), 3)
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(torch.tanh(x), t, x, variance_noise=step_noise((4,), 5, i)).prev_sample
    *_, last = solve("dpmpp_2m_sde", lambda x, level: torch.tanh(x), start, explicit(row), seed=5)
    torch.testing.assert_close(last.x, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["dpmpp_2m_sde", "euler_ancestral"])
def test_stochastic_solvers_keep_the_distribution_of_a_gaussian(solver):
    start = draw_noise((20_000,), 1)
    *_, last = solve(solver, gaussian, start, levels(solver, 60, 1.0, "sgm_uniform"), seed=3)
    assert float(last.x.mean()) == pytest.approx(MU, abs=0.02)
    assert float(last.x.std()) == pytest.approx(SPREAD, abs=0.04)


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_noise_of_steps_follows_the_seed(solver):
    def walk(seed):
        *_, last = solve(solver, gaussian, draw_noise((8,), 1), levels(solver, 5, 3.0), seed=seed)
        return last.x

    assert torch.equal(walk(1), walk(1))
    assert not torch.equal(walk(1), walk(2))
    assert not torch.equal(step_noise((8,), 1, 1), draw_noise((8,), 1))
    assert not torch.equal(step_noise((8,), 1, 1), step_noise((8,), 1, 2))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", ["simple", "karras", "linear_quadratic"])
def test_every_solver_walks_every_kind_of_levels_from_pure_noise(solver, name):
    schedule = levels("euler", 8, 5.0, name)
    *_, last = SOLVERS[solver](gaussian, draw_noise((8,), 1), schedule)
    assert torch.isfinite(last.x).all()
    assert float((last.x - MU).abs().max()) < 4 * SPREAD
