"""Guidance in part of the steps and step caches: what they leave out, what they leave alone, and what is refused."""

from dataclasses import replace

import pytest
import torch
from tiny import write_tiny

import wan22
from wan22 import denoiser as denoiser_module
from wan22.errors import OptionError
from wan22.models.dit import WanDiT
from wan22.production import rerender
from wan22.production.audio import AudioOptions
from wan22.types import Latents, Progress, Request

ASK = Request(prompt="a red ball rolls left", steps=10)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return wan22.load(write_tiny(tmp_path_factory.mktemp("tiny") / "tiny", layers=3), device="cpu")


@pytest.fixture
def samples(monkeypatch):
    """How many samples each call of a network had."""
    counted, forward = [], WanDiT.forward

    def counting(self, x, *rest, **more):
        counted.append(len(x))
        return forward(self, x, *rest, **more)

    monkeypatch.setattr(WanDiT, "forward", counting)
    return counted


def latents(engine, **asked):
    events = list(engine.generate(replace(ASK, **asked)))
    return next(event for event in events if isinstance(event, Latents)).tensors["latents"]


def difference(a, b):
    return float((a - b).norm() / b.norm())


# Guidance in part of the steps


@pytest.mark.parametrize(
    ("interval", "guided"),
    [((0.2, 0.8), range(2, 8)), ((0, 0.5), range(5)), ((0.35, 1), range(4, 10)), ((0, 1), range(10))],
)
def test_the_network_is_asked_without_the_prompt_within_the_interval_only(engine, samples, interval, guided):
    latents(engine, guidance_interval=interval)
    assert samples == [2 if step in guided else 1 for step in range(10)]


def test_branches_one_after_the_other_leave_out_the_same_calls(engine, samples, monkeypatch):
    together = latents(engine, guidance_interval=(0.2, 0.8))
    monkeypatch.setattr(denoiser_module, "BATCH_TOKENS", 0)
    samples.clear()
    assert difference(latents(engine, guidance_interval=(0.2, 0.8)), together) < 1e-4
    assert len(samples) == 10 + 6


def test_the_whole_interval_is_the_same_video_and_a_part_another(engine):
    plain = latents(engine)
    assert torch.equal(latents(engine, guidance_interval=(0, 1)), plain)
    assert difference(latents(engine, guidance_interval=(0.5, 1)), plain) > 1e-3


def test_outside_of_the_interval_it_is_a_video_without_guidance(engine):
    def first_steps(**asked):
        steps = [e for e in engine.generate(replace(ASK, **asked)) if isinstance(e, Progress)]
        return steps[2].x

    assert difference(first_steps(guidance_interval=(0.3, 1)), first_steps(guidance=1.0)) < 1e-5


@pytest.mark.parametrize("solver", ["heun", "euler", "dpm++"])
def test_the_interval_is_one_of_noise_levels_for_every_solver(engine, samples, solver):
    latents(engine, solver=solver, guidance_interval=(0.2, 0.8))
    calls = 6 if solver != "heun" else 12  # of heun's two calls of a step, one is of the next level
    assert samples.count(2) == calls


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.8, 0.2), r"begin before it ends, and 0\.8,0\.2"),
        ((0.5, 0.5), "begin before it ends"),
        ((0.51, 0.52), "no step of 10 lies from 0.51 to 0.52"),
        ((0.2,), "START,STOP"),
        (0.5, "START,STOP"),
        ("0.2,0.8", "START,STOP"),
        ((0.2, float("nan")), "must be a number, not nan"),
        ((-0.1, 1), "from 0 to 1, not -0.1"),
        ((0, 1.1), "from 0 to 1, not 1.1"),
    ],
)
def test_an_interval_that_is_none_is_refused(engine, interval, said):
    with pytest.raises(OptionError, match=f"{said}|guidance_interval.*{said}"):
        engine.check(replace(ASK, guidance_interval=interval))


def test_a_recipe_says_the_interval_and_it_is_followed(engine):
    assert "guidance_interval" not in engine.recipe(ASK)
    recipe = engine.recipe(replace(ASK, guidance_interval=(0.25, 0.75)))
    assert recipe["guidance_interval"] == [0.25, 0.75]
    again = Request(**rerender.settings(recipe, {}, AudioOptions()))
    assert engine.recipe(again) == recipe
