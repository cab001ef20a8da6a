"""Schedules, solvers, guidance and noise, beyond the recorded numbers of tests/parity."""

import itertools

import pytest
import torch

from wan22.errors import OptionError
from wan22.sampling import (
    SOLVERS,
    add_noise,
    by_expert,
    cfg,
    distilled,
    draw_noise,
    high_noise_steps,
    hold,
    levels,
    rescale,
    start_at,
    velocity_to_x0,
)
from wan22.types import Level

# First and last timesteps of the official defaults, and how many belong to the high-noise expert.
OFFICIAL = [
    ("unipc", 40, 12.0, [999, 997, 995, 993, 990], [571, 492, 386, 235], 0.875, 26),
    ("unipc", 40, 5.0, [999, 994, 989, 983, 978], [356, 288, 208, 113], 0.9, 15),
    ("unipc", 50, 5.0, [999, 995, 991, 987, 982], [302, 241, 172, 92], 0.9, 18),
    ("unipc", 40, 3.0, [999, 991, 982, 973, 963], [249, 195, 136, 71], 0.9, 10),
    ("unipc", 20, 5.0, [999, 989, 978, 965, 952], [624, 555, 468, 356, 208], 0.9, 8),
    ("dpm++", 40, 12.0, [1000, 997, 995, 993, 990], [235], 0.875, 26),
    ("dpm++", 40, 5.0, [1000, 994, 989, 984], [], 0.9, 15),
]


def linear(x, level):
    """The field v = 0.5 x + t / 1000 of the published run."""
    return velocity_to_x0(x, 0.5 * x.float() + level.timestep / 1000, level)


def mixing(x, level):
    """A model in which every element sees every other one."""
    velocity = torch.tanh(x + 0.3 * x.mean() + x.roll(1, -1) * float(level.sigma))
    return velocity_to_x0(x, velocity, level)


@pytest.mark.parametrize(("solver", "steps", "shift", "first", "last", "boundary", "high"), OFFICIAL)
def test_a_schedule_begins_and_ends_as_published(solver, steps, shift, first, last, boundary, high):
    schedule = levels(solver, steps, shift)
    assert list(schedule.timesteps[: len(first)]) == first
    assert list(schedule.timesteps[steps - len(last) :]) == last
    assert high_noise_steps(schedule, boundary) == high
    assert len(schedule) == steps


def test_the_solver_keeps_the_sigma_that_the_timestep_lost():
    sigmas = levels("unipc", 40, 12.0).sigmas
    assert sigmas.dtype == torch.float32
    assert sigmas[[0, 1, -2, -1]].tolist() == pytest.approx([0.9999166131, 0.9977826476, 0.2351095378, 0.0])


def test_the_distilled_schedule_is_the_published_one_and_keeps_fractions():
    for schedule in (distilled(5.0), levels("distilled", 4, 5.0)):
        assert schedule.sigmas.tolist() == pytest.approx([1.0, 0.9375, 0.8333333, 0.625, 0.0])
        assert schedule.timesteps == pytest.approx((1000, 937.5, 833.3333333, 625))
        assert high_noise_steps(schedule, 0.9) == 2


def test_a_distilled_schedule_can_name_its_own_levels():
    assert distilled(1.0, (1000, 400)).sigmas.tolist() == pytest.approx([1.0, 0.4, 0.0])


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        (
            "unipc",
            [
                [0.92857891, -0.53568673],
                [0.83160406, -0.58185416],
                [0.69379699, -0.6416288],
                [0.48406973, -0.71475428],
                [0.04151872, -0.82448375],
            ],
        ),
        (
            "dpm++",
            [
                [0.92857146, -0.53571427],
                [0.82939178, -0.58362341],
                [0.68829918, -0.64599317],
                [0.47510427, -0.72192323],
                [0.03479752, -0.82972234],
            ],
        ),
    ],
)
def test_every_step_of_the_published_run_is_repeated(solver, expected):
    steps = SOLVERS[solver](linear, torch.tensor([1.0, -0.5]), levels(solver, 5, 5.0))
    for step, values in zip(steps, expected, strict=True):
        torch.testing.assert_close(step.x, torch.tensor(values), rtol=0, atol=2e-7)


def test_unipc_rounds_bfloat16_latents_as_the_official_code():
    start = torch.tensor([1.0, -0.5], dtype=torch.bfloat16)
    steps = SOLVERS["unipc"](linear, start, levels("unipc", 5, 5.0))
    expected = [
        [0.9296875, -0.53515625],
        [0.828125, -0.58203125],
        [0.69140625, -0.640625],
        [0.482421875, -0.71484375],
        [0.040283203125, -0.82421875],
    ]
    for step, values in zip(steps, expected, strict=True):
        assert step.x.dtype == torch.bfloat16
        assert step.x.tolist() == values


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_perfect_model_is_followed_to_its_video(solver):
    video = torch.linspace(-2, 2, 12)
    *_, last = SOLVERS[solver](lambda x, level: video, draw_noise((12,), 3), levels(solver, 4, 5.0))
    assert torch.equal(last.x, video)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_last_step_returns_the_last_prediction_itself(solver):
    *_, last = SOLVERS[solver](mixing, draw_noise((3, 5), 0), levels(solver, 7, 5.0))
    assert torch.equal(last.x, last.x0)
    assert last.index == 6


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_step_is_enough(solver):
    steps = list(SOLVERS[solver](mixing, draw_noise((3, 5), 0), levels(solver, 1, 5.0)))
    assert len(steps) == 1
    assert torch.isfinite(steps[0].x).all()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("steps", "shift"), [(92, 12.0), (251, 5.0), (300, 12.0), (40, 100.0), (40, 0.01)])
def test_timesteps_that_coincide_do_not_disturb_the_walk(solver, steps, shift):
    schedule = levels(solver, steps, shift)
    assert (schedule.sigmas.diff() < 0).all()
    walked = list(SOLVERS[solver](mixing, draw_noise((4,), 1), schedule))
    assert [step.index for step in walked] == list(range(steps))
    assert torch.isfinite(walked[-1].x).all()
    assert walked[0].x.dtype == torch.float32


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
def test_more_steps_come_nearer_to_the_true_path(solver):
    def end(steps):
        *_, last = SOLVERS[solver](mixing, draw_noise((3, 5), 0), levels(solver, steps, 1.0))
        return last.x

    truth = end(1000)
    assert (end(64) - truth).norm() < 0.35 * (end(16) - truth).norm()


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_seed_gives_the_same_bits_and_the_start_is_not_touched(solver):
    noise = draw_noise((2, 3, 4), 5)
    before = noise.clone()
    first, second = (list(SOLVERS[solver](mixing, noise, levels(solver, 6, 5.0))) for _ in range(2))
    assert torch.equal(noise, before)
    assert all(torch.equal(a.x, b.x) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("solver", SOLVERS)
def test_breaking_off_calls_the_model_no_more(solver):
    calls = []

    def counted(x, level):
        calls.append(level.timestep)
        return mixing(x, level)

    for step in SOLVERS[solver](counted, draw_noise((4,), 0), levels(solver, 20, 5.0)):
        if step.index == 2:
            break
    assert len(calls) == (6 if solver == "heun" else 3)


def clamped_after_each_step(solver, x, schedule, known, where):
    """The official TI2V loop: the sample is overwritten at the start and after every step of the solver.

    The overwritten sample is the one that the model sees; x0 follows from it and its velocity.
    """
    seen = torch.where(where, known, x)
    steps = SOLVERS[solver](lambda _, level: mixing(seen, level), seen, schedule)
    for step in steps:
        seen = torch.where(where, known, step.x)
    return seen


@pytest.mark.parametrize("solver", [name for name in SOLVERS if name != "heun"])  # which asks twice a step
def test_holding_known_latents_equals_overwriting_them_after_each_step(solver):
    known, where = torch.full((1, 3), 0.5), torch.tensor([[True], [False], [False], [False]])
    noise, schedule = draw_noise((4, 3), 2), levels(solver, 9, 5.0)
    *_, last = SOLVERS[solver](hold(mixing, known, where), noise, schedule)
    official = clamped_after_each_step(solver, noise, schedule, known, where)
    assert torch.equal(last.x[0], known[0])
    assert torch.equal(last.x, official)


@pytest.mark.parametrize("solver", SOLVERS)
def test_held_latents_are_seen_at_every_level_and_come_out_as_they_are(solver):
    known, where = torch.full((1, 3), 0.5), torch.tensor([[True], [False], [False], [False]])

    def looking(x, level):
        assert torch.equal(x[0], known[0])
        return mixing(x, level)

    for step in SOLVERS[solver](hold(looking, known, where), draw_noise((4, 3), 2), levels(solver, 5, 5.0)):
        assert torch.equal(step.x0[0], known[0])
        assert not torch.equal(step.x0[1], known[0])
    assert torch.equal(step.x[0], known[0])


def test_strength_means_the_share_of_noise_whatever_the_steps_and_the_shift_are():
    for steps, shift in itertools.product((20, 40), (3.0, 12.0)):
        for strength in (0.3, 0.5, 0.7, 0.9):
            schedule = levels("unipc", steps, shift)
            part = start_at(schedule, strength)
            gap = (schedule.sigmas[:-1] - strength * schedule.sigmas[0]).abs().min()
            assert abs(part.sigmas[0] - strength * schedule.sigmas[0]) == gap
            assert torch.equal(part.sigmas, schedule.sigmas[-len(part) - 1 :])
            assert part.timesteps == schedule.timesteps[-len(part) :]


def test_full_strength_is_the_whole_schedule_and_the_least_is_one_step():
    schedule = levels("unipc", 10, 5.0)
    assert len(start_at(schedule, 1)) == 10
    assert len(start_at(schedule, 1e-9)) == 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_existing_video_survives_a_weak_strength(solver):
    video = draw_noise((4, 6), 1)
    part = start_at(levels(solver, 20, 5.0), 0.4)
    start = add_noise(video, draw_noise((4, 6), 2), part[0])
    *_, last = SOLVERS[solver](lambda x, level: video, start, part)
    torch.testing.assert_close(last.x, video)


@pytest.mark.parametrize("strength", [0, -0.1, 1.01, float("nan")])
def test_an_impossible_strength_is_refused(strength):
    with pytest.raises(OptionError, match="strength"):
        start_at(levels("unipc", 10, 5.0), strength)


@pytest.mark.parametrize(
    ("solver", "steps", "shift", "said"),
    [
        ("unipc", 0, 5.0, "steps 0 "),
        ("unipc", 1001, 5.0, "1..1000"),
        ("unipc", 2.5, 5.0, "whole number"),
        ("euler", 4, 0.0, "shift 0.0 "),
        ("euler", 4, float("nan"), "shift nan"),
        ("distilled", 4, -1.0, "shift -1.0"),
        ("unipcc", 4, 5.0, "Did you mean 'unipc'"),
    ],
)
def test_an_impossible_schedule_is_refused(solver, steps, shift, said):
    with pytest.raises(OptionError, match=said):
        levels(solver, steps, shift)


@pytest.mark.parametrize("indices", [(), (500, 500), (250, 500), (1001, 500), (1000, 0)])
def test_distilled_levels_must_fall(indices):
    with pytest.raises(OptionError, match="do not fall"):
        distilled(5.0, indices)


def test_a_schedule_ends_after_its_steps():
    schedule = levels("euler", 3, 1.0)
    assert [level.timestep for level in schedule] == list(schedule.timesteps)
    for index in (-1, 3):
        with pytest.raises(IndexError, match="3 steps"):
            schedule[index]


def test_guidance_is_a_line_through_both_answers():
    cond, uncond = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 2.0])
    assert torch.equal(cfg(cond, uncond, 1), cond)
    assert torch.equal(cfg(cond, uncond, 0), uncond)
    assert cfg(cond, uncond, 4.0).tolist() == [9.0, -2.0]


def test_what_guidance_spreads_is_taken_back_about_the_means_of_channels():
    cond = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    guided = 2.0 * cond + torch.tensor([1.0, -2.0, 0.0]).view(3, 1, 1, 1)

    def around(x):
        return x - x.mean(dim=(1, 2, 3), keepdim=True)

    assert rescale(guided, cond, 0.0) is guided
    whole = rescale(guided, cond, 1.0)
    assert torch.allclose(around(whole), around(cond), atol=1e-5)
    assert torch.allclose(whole.mean(dim=(1, 2, 3)), guided.mean(dim=(1, 2, 3)), atol=1e-6)
    assert torch.allclose(rescale(guided, cond, 0.5), (whole + guided) / 2, atol=1e-6)
    flat = torch.ones(3, 2, 4, 5)
    assert torch.equal(rescale(flat, flat, 1.0), flat)


def test_guidance_is_written_low_then_high_and_whole_numbers_are_numbers():
    assert by_expert((3.0, 4.0)) == {"low": 3.0, "high": 4.0}
    assert by_expert(5) == {"low": 5.0, "high": 5.0}


@pytest.mark.parametrize("scale", [(1.0, 2.0, 3.0), float("nan"), "3"])
def test_guidance_that_is_no_number_is_refused(scale):
    with pytest.raises(OptionError, match="guidance"):
        by_expert(scale)


def test_noise_depends_on_seed_and_shape_alone():
    torch.manual_seed(1)
    first = draw_noise((2, 3, 4, 5), 7)
    torch.manual_seed(2)
    assert torch.equal(first, draw_noise((2, 3, 4, 5), 7))
    assert not torch.equal(first, draw_noise((2, 3, 4, 5), 8))
    assert first.dtype == torch.float32
    for seed in (-1, 2**63):
        with pytest.raises(OptionError, match=f"seed {seed}"):
            draw_noise((1,), seed)


def test_noise_is_added_and_taken_away_along_one_line():
    clean, noise = draw_noise((4,), 0), draw_noise((4,), 1)
    level = Level(torch.tensor(0.25), 250.0)
    x = add_noise(clean, noise, level)
    torch.testing.assert_close(x, 0.75 * clean + 0.25 * noise)
    torch.testing.assert_close(velocity_to_x0(x, noise - clean, level), clean)
