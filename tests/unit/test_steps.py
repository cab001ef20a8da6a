"""Solver, noise levels and the experts' switch as a request says them: what they come to, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from wan22.catalog import EMBEDDED, VARIANTS, from_json
from wan22.errors import OptionError
from wan22.production import rerender
from wan22.production.audio import AudioOptions
from wan22.request import resolve
from wan22.types import Clip, Request

T2V, I2V, TI2V = VARIANTS["t2v-A14B"], VARIANTS["i2v-A14B"], VARIANTS["ti2v-5B"]
PROMPT = "a red ball rolls left at sunset"


def job(variant=T2V, **asked):
    return resolve(Request(prompt=PROMPT, size=(832, 480), **asked), variant)


def high_steps(made):
    return sum(made.expert(level) == "high" for level in made.schedule)


def test_the_workflow_of_twenty_steps_that_switches_at_ten():
    made = job(steps=20, shift=8.0, switch_step=10, schedule="simple", solver="euler", guidance=3.5)
    assert made.schedule.sigmas[10] == pytest.approx(0.888889, abs=1e-6)
    assert high_steps(made) == 10
    assert [made.expert(level) for level in made.schedule] == ["high"] * 10 + ["low"] * 10
    recipe = made.as_recipe()
    assert (recipe["schedule"], recipe["switch_step"], recipe["shift"]) == ("simple", 10, 8.0)
    assert "boundary" not in recipe


@pytest.mark.parametrize(("step", "expected"), [(0, 0), (1, 1), (3, 3), (4, 4)])
def test_a_switch_may_lie_at_any_step_and_at_both_ends(step, expected):
    assert high_steps(job(steps=4, solver="euler", switch_step=step)) == expected


def test_levels_whose_timesteps_coincide_are_switched_by_their_sigma():
    made = job(steps=1000, solver="unipc", shift=12.0, switch_step=5)
    assert made.schedule.timesteps[4] == made.schedule.timesteps[5]
    assert high_steps(made) == 5


def test_a_boundary_takes_the_place_of_the_models_own():
    plain, other = job(steps=20), job(steps=20, boundary=0.5)
    assert high_steps(plain) == sum(t >= 875 for t in plain.schedule.timesteps)
    assert high_steps(other) == sum(t >= 500 for t in plain.schedule.timesteps) > high_steps(plain)
    assert high_steps(job(boundary=0)) == 40
    assert high_steps(job(boundary=1, solver="euler")) == 1
    assert other.as_recipe()["boundary"] == 0.5


def test_the_switch_is_counted_on_the_whole_schedule_with_a_video_to_start_from():
    clip = Clip(np.zeros((5, 48, 64, 3), np.uint8), 16)
    made = job(steps=20, shift=5.0, solver="euler", switch_step=10, video=clip, strength=0.9)
    assert 0 < high_steps(made) == 10 - (20 - len(made.schedule))


def test_uneven_levels_are_walked_as_given():
    row = (1, 0.97, 0.8, 0.4, 0)
    made = job(sigmas=row, solver="dpmpp_2m")
    assert made.schedule.sigmas.tolist() == pytest.approx(row)
    assert made.schedule.timesteps == pytest.approx((1000, 970, 800, 400))
    assert (made.steps, high_steps(made)) == (4, 2)
    recipe = made.as_recipe()
    assert recipe["sigmas"] == list(row) and "shift" not in recipe and "steps" not in recipe


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"boundary": 0.9, "switch_step": 10}, r"boundary \(0.9\) and switch_step \(10\)"),
        ({"boundary": 1.2}, "boundary must be from 0 to 1"),
        ({"boundary": float("nan")}, "boundary must be a number"),
        ({"boundary": "0.9"}, "boundary must be a number"),
        ({"switch_step": 41}, "from 0 to the number of steps, 40, not 41"),
        ({"switch_step": -1}, "not -1"),
        ({"switch_step": 2.5}, "not 2.5"),
        ({"switch_step": True}, "not True"),
        ({"schedule": "simpel"}, "Did you mean 'simple'"),
        ({"schedule": "simple", "solver": "distilled"}, "schedule of its own"),
        ({"solver": "dpmpp_2m_sde_gpu"}, "Did you mean 'dpmpp_2m_sde'"),
        ({"sigmas": (1, 0.5, 0), "steps": 2}, r"steps \(2\)"),
        ({"sigmas": (1, 0.5, 0), "shift": 5.0}, r"shift \(5.0\)"),
        ({"sigmas": (1, 0.5, 0), "schedule": "simple"}, r"schedule \(simple\)"),
        ({"sigmas": (1, 0.5)}, "fall from at most 1 to 0"),
        ({"sigmas": (1.1, 0.5, 0)}, "fall from at most 1 to 0"),
        ({"sigmas": (0,)}, "two or more"),
        ({"sigmas": ()}, "two or more"),
        ({"sigmas": (1, 0.5, 0.5, 0)}, "0.5 follows 0.5"),
        ({"sigmas": (1, 0.4, 0.6, 0)}, "0.6 follows 0.4"),
        ({"sigmas": (1, 0.5, -0.1, 0)}, "0 follows -0.1"),
        ({"sigmas": (1, float("nan"), 0)}, "a sigma must be a number"),
        ({"sigmas": "1,0.5,0"}, "must be numbers"),
        ({"sigmas": (1, 0.5, 0), "switch_step": 3}, "number of steps, 2"),
        ({"fast": True, "switch_step": 2}, "--steps 4 --shift 5 --guidance 1 --solver distilled"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(asked, said):
    with pytest.raises(OptionError, match=said):
        job(**asked)


@pytest.mark.parametrize("asked", [{"boundary": 0.9}, {"switch_step": 3}])
def test_one_network_has_no_switch(asked):
    with pytest.raises(OptionError, match=r"ti2v-5B is one network.*t2v-A14B"):
        resolve(Request(prompt=PROMPT, **asked), TI2V)


def test_the_recipe_of_four_steps_asks_where_their_adapters_were_made():
    made = job(steps=4, shift=5, guidance=1, solver="distilled")
    assert made.schedule.timesteps == pytest.approx((1000, 937.5, 833.3333, 625))
    assert high_steps(made) == 2
    assert not made.notices
    silent = job(steps=4, guidance=1, solver="distilled")
    assert any("1000, 973, 923, 800" in text and "--shift 5" in text for text in silent.notices)


def test_a_negative_prompt_without_guidance_is_said_to_do_nothing():
    def said(**asked):
        return [text for text in job(**asked).notices if "negative" in text]

    assert said(negative="blurry", guidance=1)
    assert said(negative="blurry", guidance=(1.0, 3.5)) == [
        "the negative prompt has no effect at the guidance of the low-noise expert, 1; more than 1 heeds it"
    ]
    assert not said(negative="blurry", guidance=(1.0, 3.5), switch_step=40)
    assert not said(guidance=1)
    assert not said(negative="", guidance=1)
    assert not said(negative="blurry")


def test_a_video_that_gets_one_step_is_told_what_strength_gives_two():
    clip = Clip(np.zeros((5, 48, 64, 3), np.uint8), 16)

    def made(strength):
        return job(steps=4, shift=5.0, solver="distilled", video=clip, strength=strength)

    few = made(0.6)
    assert len(few.schedule) == 1
    assert [
        text for text in few.notices if "takes 1 of the 4 steps" in text and "strength 0.84 takes 2" in text
    ]
    enough = made(0.84)
    assert len(enough.schedule) == 2 and not [text for text in enough.notices if "strength" in text]
    assert few.as_recipe()["strength"] == 0.6


def test_a_strength_that_is_left_out_is_the_models_own():
    clip = Clip(np.zeros((5, 48, 64, 3), np.uint8), 16)
    row = replace(T2V, defaults=replace(T2V.defaults, strength=0.9))
    assert job(row, video=clip).as_recipe()["strength"] == 0.9
    assert job(video=clip).as_recipe()["strength"] == 0.7


@pytest.mark.parametrize("asked", [{}, {"steps": 3}, {"solver": "lcm", "shift": 8.0}])
def test_a_model_is_asked_at_the_levels_that_it_was_distilled_to(asked):
    own = replace(T2V.defaults, steps=3, solver="lcm", shift=8.0, sigmas=(1.0, 0.757, 0.522))
    row = replace(T2V, defaults=own)
    made = job(row, **asked)
    assert made.schedule.sigmas.tolist() == pytest.approx([1.0, 0.757, 0.522, 0.0])
    assert (made.solver, made.notices) == ("lcm", ())
    for other in ({"steps": 4}, {"solver": "euler"}, {"shift": 5.0}, {"schedule": "simple"}):
        (notice,) = job(row, **other).notices
        assert "distilled to the noise levels 1, 0.757, 0.522, and others are walked" in notice
    assert not job(row, sigmas=(1.0, 0.5, 0.0)).notices


def test_a_model_that_was_distilled_is_not_asked_for_many_steps_in_silence():
    row = replace(T2V, defaults=replace(T2V.defaults, steps=3, guidance=(1.0, 1.0)))
    assert [text for text in job(row, steps=40).notices if "distilled to 3 steps" in text]
    assert not job(row).notices


def test_from_a_recipe_new_options_take_the_place_of_what_excludes_them():
    def fields(recipe, **given):
        return rerender.settings({"prompt": PROMPT, **recipe}, given, AudioOptions())

    sigmas = {"sigmas": [1, 0.5, 0], "solver": "euler", "boundary": 0.9}
    assert fields(sigmas) == {"prompt": PROMPT, "solver": "euler", "sigmas": (1, 0.5, 0), "boundary": 0.9}
    assert "sigmas" not in fields(sigmas, steps=4)
    assert "boundary" not in fields(sigmas, switch_step=1)
    plain = {"steps": 20, "shift": 8.0, "schedule": "simple", "switch_step": 10}
    assert fields(plain, sigmas=(1, 0)) == {"prompt": PROMPT, "sigmas": (1, 0), "switch_step": 10}
    assert "switch_step" not in fields(plain, boundary=0.9)
    assert fields(plain, fast=True) == {"prompt": PROMPT, "fast": True}
    assert (
        resolve(Request(**fields(plain)), T2V).as_recipe() | plain
        == resolve(Request(**fields(plain)), T2V).as_recipe()
    )


def test_what_the_release_does_by_itself_is_not_moved():
    made = resolve(Request(prompt=PROMPT, image=np.zeros((48, 64, 3), np.uint8)), I2V)
    assert (made.solver, made.steps, made.shift, high_steps(made)) == ("unipc", 40, 5.0, 15)


def test_nano_changes_a_video_by_itself_also_in_its_few_steps():
    row = from_json(json.loads((EMBEDDED / "variant.json").read_text()))
    clip = Clip(np.zeros((17, 320, 512, 3), np.uint8), 16)
    for fast, steps in ((False, 13), (True, 2)):
        made = resolve(Request(prompt=PROMPT, video=clip, fast=fast), row)
        assert len(made.schedule) == steps
        assert not [text for text in made.notices if "strength" in text]
