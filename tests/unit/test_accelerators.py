"""Guidance in part of the steps and step caches: what they leave out, what they leave alone, and what is refused."""

import json
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import write_tiny, write_tiny_speech

import wan22
from wan22 import denoiser as denoiser_module
from wan22.catalog import EMBEDDED, Calibration, from_json, to_json
from wan22.cli.__main__ import main
from wan22.cli.complete import values
from wan22.errors import CheckpointError, OptionError
from wan22.files import read_json
from wan22.media.recipe import read_recipe
from wan22.memory.stream import BlockStream
from wan22.models.block import Block
from wan22.models.dit import WanDiT
from wan22.pipeline import Wan22Pipeline
from wan22.production import rerender
from wan22.production.audio import AudioOptions
from wan22.request import resolve
from wan22.sampling import cache as cache_module
from wan22.sampling import levels
from wan22.sampling.cache import CACHES, CacheChoice, FirstBlock, MagCache, StepCache, TeaCache
from wan22.sampling.calibration import Curve, Recorder
from wan22.types import Audio, Frames, Latents, Level, Progress, Reply, Request

pytestmark = pytest.mark.slow

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


# Step caches: what runs


@pytest.fixture(scope="module")
def plain(engine):
    return latents(engine)


@pytest.fixture
def ran(monkeypatch):
    """How many samples each run of a block had."""
    counted, forward = [], Block.forward

    def counting(self, x, *rest, **more):
        counted.append(len(x))
        return forward(self, x, *rest, **more)

    monkeypatch.setattr(Block, "forward", counting)
    return counted


@pytest.fixture(scope="module")
def measured(engine):
    """The engine with a calibration of its experts, such as `wan22 calibrate` makes."""
    magnitudes = Calibration((1000.0, 500.0, 1.0), (1.0, 1.01, 1.02))
    variant = replace(engine.variant, calibration=dict.fromkeys(engine.variant.experts, magnitudes))
    engine.variant = variant
    return engine


def steps_of(engine, **asked):
    return [e for e in engine.generate(replace(ASK, **asked)) if isinstance(e, Progress)]


def reused(engine, **asked):
    """A letter for each step: r for one whose blocks were left out, . for one that ran; by expert."""
    parts = {}
    for step in steps_of(engine, **asked):
        parts[step.expert] = parts.get(step.expert, "") + (".r"[step.reused])
    return parts["high"], parts["low"]


def test_the_first_step_of_an_expert_and_the_last_of_all_run_and_three_at_most_are_left_out(measured):
    assert reused(measured, cache="magcache:1") == ("..rr", ".rrr..")  # of its first fifth, every step runs
    assert reused(measured, cache="magcache:1", steps=30)[1] == ".rrr.rrr.rrr.rrr.r."


@pytest.mark.parametrize("name", ["first-block", "teacache"])
def test_steps_that_change_much_run_and_others_do_not(measured, name):
    high, low = reused(measured, cache=f"{name}:0.7", steps=30)
    assert high[0] == low[0] == low[-1] == "."
    assert "r" in low and "rrrr" not in high + low


@pytest.mark.parametrize(("cache", "blocks"), [("first-block:1", 1), ("teacache:1", 0), ("magcache:1", 0)])
def test_a_step_that_is_left_out_runs_no_blocks_or_the_first(measured, ran, cache, blocks):
    counts, before = {False: [], True: []}, 0
    for step in measured.generate(replace(ASK, cache=cache)):
        if isinstance(step, Progress):
            counts[step.reused].append(len(ran) - before)
            before = len(ran)
    assert set(counts[True]) == {blocks} and set(counts[False]) == {3}


@pytest.mark.parametrize("name", ["first-block", "teacache", "magcache"])
def test_where_nothing_is_little_enough_the_video_is_the_same(measured, plain, name):
    cached = latents(measured, cache=f"{name}:1")
    assert 1e-4 < difference(cached, plain) < 1
    assert difference(latents(measured, cache=f"{name}:1e-12"), plain) < 1e-6  # nothing is left from before


def test_more_is_left_out_at_a_higher_threshold(measured):
    counts = [sum(s.reused for s in steps_of(measured, cache=f"first-block:{t}")) for t in (0.05, 0.2, 1)]
    assert counts == sorted(counts) and counts[0] < counts[-1]


@pytest.mark.parametrize("cache", ["first-block:0.3", "teacache:1", "magcache:1"])
def test_branches_in_one_batch_or_one_after_the_other_are_cached_alike(measured, monkeypatch, cache):
    together = latents(measured, cache=cache)
    monkeypatch.setattr(denoiser_module, "BATCH_TOKENS", 0)
    assert difference(latents(measured, cache=cache), together) < 1e-4


def test_both_branches_of_a_step_run_or_neither(measured, samples, ran, monkeypatch):
    monkeypatch.setattr(denoiser_module, "BATCH_TOKENS", 0)
    before = 0
    for step in measured.generate(replace(ASK, cache="first-block:0.3")):
        if isinstance(step, Progress):
            assert len(ran) - before == (2 if step.reused else 6)
            before = len(ran)


@pytest.mark.parametrize(
    "solver", ["unipc", "heun", "lcm"]
)  # of several steps, of two calls a step, with noise
def test_solvers_of_every_kind_walk_with_a_cache(measured, solver):
    plain, cached = (latents(measured, solver=solver, cache=c) for c in (None, "first-block:0.2"))
    assert torch.isfinite(cached).all() and difference(cached, plain) < 1


def test_where_guidance_begins_or_ends_the_blocks_run(measured):
    assert reused(measured, cache="magcache:1", guidance_interval=(0.3, 0.6)) == ("..r.", ".r.rr.")


def test_a_reply_that_changes_the_prompt_begins_anew(measured):
    events = measured.generate(replace(ASK, cache="magcache:1"))
    event, marks = next(events), ""
    with suppress(StopIteration):
        while True:
            reply = None
            if isinstance(event, Progress):
                marks += ".r"[event.reused]
                reply = Reply(guided=False) if event.index == 2 else None
            event = events.send(reply)
    assert marks == "...r" + ".rrr.."


@pytest.mark.parametrize(("cache", "brought"), [("first-block:0.6", 1), ("teacache:1", 0)])
def test_a_step_that_is_left_out_brings_no_blocks_or_the_first(
    tmp_path, measured, monkeypatch, cache, brought
):
    folder, counted, bring = write_tiny(tmp_path / "tiny", layers=3), [], BlockStream.bring
    monkeypatch.setattr(BlockStream, "bring", lambda self, i: counted.append(i) or bring(self, i))
    streamed = wan22.load(folder, device="cpu", memory="stream")
    reused = 0
    for event in streamed.generate(replace(ASK, cache=cache)):
        if isinstance(event, Progress):
            reused += event.reused
            assert not event.reused or counted == [0] * brought
            counted.clear()
        elif isinstance(event, Latents):
            assert difference(event.tensors["latents"], latents(measured, cache=cache)) < 1e-4
    assert reused > 0


def test_bfloat16_keeps_what_was_added_as_bfloat16(tmp_path):
    engine = wan22.load(write_tiny(tmp_path / "tiny", layers=3), device="cpu", dtype="bfloat16")
    plain, cached = latents(engine), latents(engine, cache="first-block:0.1")
    assert difference(cached, plain) < 0.2
    assert difference(latents(engine, cache="first-block:1e-12"), plain) < 1e-6


def test_speech_is_read_after_blocks_that_run(tmp_path):
    pytest.importorskip("transformers")
    engine = wan22.load(write_tiny_speech(tmp_path / "speech"), device="cpu")
    asked = Request(
        prompt=ASK.prompt,
        image=np.zeros((64, 64, 3), np.uint8),
        audio=Audio(np.random.default_rng(0).standard_normal(24_000).astype(np.float32) * 0.1, 16_000),
        steps=6,
        guidance=1.0,
    )

    def made(**more):
        events = list(engine.generate(replace(asked, **more)))
        marks = "".join(".r"[e.reused] for e in events if isinstance(e, Progress))
        return marks, np.concatenate([e.frames for e in events if isinstance(e, Frames)]).astype(np.float32)

    (never, plain), (marks, cached) = (made(cache=f"first-block:{threshold}") for threshold in ("1e-12", 1))
    assert never == "." * 12
    assert marks == ".rrr.." * 2  # every clip begins anew
    assert 0 < np.abs(cached - plain).mean() < 60


@pytest.mark.parametrize(("cache", "most"), [("first-block:0.3", 1), ("teacache:0.3", 0), ("magcache:1", 0)])
def test_a_step_needs_one_number_of_the_device_at_most(measured, monkeypatch, cache, most):
    """Of tensors that hold tokens, which are there; the time modulation lies on the host."""
    relative = cache_module.relative
    measured_on = []
    monkeypatch.setattr(cache_module, "relative", lambda a, b: measured_on.append(a.ndim) or relative(a, b))
    before = 0
    for step in measured.generate(replace(ASK, cache=cache)):
        if isinstance(step, Progress):
            numbers = [n for n in measured_on[before:] if n == 3]  # of tokens, which are on the device
            assert len(numbers) <= most
            before = len(measured_on)


# The cache by itself


class Changes:
    """A rule that says what it is told."""

    head = 0

    def __init__(self, *said):
        self.said = list(said)

    def change(self, level, grown):
        return self.said.pop(0)

    def ran(self, level, grown):
        pass


def walk_of(tokens, *added, behind=0):
    """Blocks that add. All but the first write over what the one before gave, as they may."""
    tokens = torch.cat([tokens, torch.zeros(len(tokens), behind, tokens.shape[2])], dim=1)
    yield tokens
    tokens = tokens + added[0]
    yield tokens
    for one in added[1:]:
        tokens += one
        yield tokens


def cached(rule, calls, *, threshold=0.5, behind=0):
    schedule = levels("euler", len(calls), 1.0)
    cache = StepCache(CacheChoice("teacache", threshold), rule, schedule)
    for level, (given, added) in zip(schedule, calls, strict=True):
        cache.begin(level)
        tokens = torch.full((1, 2, 3), float(given))
        out = cache.around((0,), walk_of(tokens, *added, behind=behind), 2)
        assert out.shape == tokens.shape and (out == out[0, 0, 0]).all()
        yield cache.skipped, float(out[0, 0, 0])


@pytest.mark.parametrize("behind", [0, 4])
def test_what_was_added_when_the_blocks_last_ran_is_added_again(behind):
    calls = [(1, (1, 10)), (2, (9, 9)), (3, (2, 20)), (4, (9, 9)), (5, (1, 2))]
    found = list(cached(Changes(0.1, 0.9, 0.1), calls, behind=behind))
    assert found == [(False, 12), (True, 13), (False, 25), (True, 26), (False, 8)]


def test_a_change_that_is_no_number_runs_the_blocks():
    assert [skip for skip, _ in cached(Changes(float("nan"), 0.1), [(1, (1,))] * 4)] == [
        False, False, True, False,
    ]  # fmt: skip


def test_the_first_block_is_compared_with_what_it_added_when_all_ran():
    calls = [(0, (1, 1)), (0, (1.3, 1)), (0, (1.6, 1)), (0, (1.7, 1)), (0, (1, 1)), (0, (1, 1))]
    found = [skip for skip, _ in cached(FirstBlock(), calls, threshold=0.5)]
    assert found == [False, True, False, True, True, False]  # 1.6 differs from 1 by 0.6, from 1.3 by less


def test_teacache_sums_changes_from_call_to_call():
    steps = [Level(torch.tensor(0.5), float(t)) for t in range(5)]
    modulation = {float(t): torch.tensor([1.0 + 0.1 * t]) for t in range(5)}
    plain, fitted = TeaCache(modulation), TeaCache(modulation, (2.0, 0.0))
    for rule in (plain, fitted):
        rule.ran(steps[0], None)
    first, second = plain.change(steps[1], None), plain.change(steps[2], None)
    assert (first, second) == (pytest.approx(0.1), pytest.approx(0.1 + 0.1 / 1.1))
    assert fitted.change(steps[1], None) == pytest.approx(0.2)
    plain.ran(steps[3], None)
    assert plain.change(steps[4], None) == pytest.approx(0.1 / 1.3)


def test_magcache_sums_errors_of_magnitude():
    rule = MagCache(lambda timestep: 2.0**timestep)
    steps = [Level(torch.tensor(0.5), float(t)) for t in range(3)]
    rule.ran(steps[0], None)
    assert [rule.change(step, None) for step in steps[1:]] == [pytest.approx(1), pytest.approx(1 + 3)]


# What is refused, and what recipes say


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cache": "fbcache"}, "unknown cache 'fbcache'.*Known: first-block, teacache, magcache"),
        ({"cache": "first-blok:0.1"}, "Did you mean 'first-block'.*Known"),
        ({"cache": ""}, "unknown cache ''.*Known"),
        ({"cache": "teacache:0"}, "above 0 and at most 1, such as teacache:.*not '0'"),
        ({"cache": "teacache:1.1"}, "not '1.1'"),
        ({"cache": "teacache:-0.1"}, "not '-0.1'"),
        ({"cache": "teacache:nan"}, "not 'nan'"),
        ({"cache": "teacache:"}, "not ''"),
        ({"cache": "teacache:0.1:2"}, "not '0.1:2'"),
        ({"cache": 0.1}, "cache must be a name such as first-block:0.1, not 0.1"),
        ({"cache": True}, "not True"),
        ({"cache": "first-block", "steps": 4}, "nothing to leave out in 4 steps; it needs 5"),
        ({"cache": "first-block", "sigmas": (1.0, 0.9, 0.5, 0.0)}, "nothing to leave out in 3 steps"),
    ],
)
def test_a_cache_that_is_none_is_refused(engine, asked, said):
    with pytest.raises(OptionError, match=said):
        engine.check(replace(ASK, **({"steps": None} if "sigmas" in asked else {}), **asked))


def test_magcache_without_magnitudes_says_how_to_measure_them(tmp_path):
    plain = wan22.load(write_tiny(tmp_path / "plain"), device="cpu")
    with pytest.raises(OptionError, match=r"magcache needs magnitudes.*with tiny"):
        plain.check(replace(ASK, cache="magcache"))


def test_a_cache_cannot_be_asked_for_in_the_few_steps_of_adapters():
    nano = from_json(read_json(EMBEDDED / "variant.json", OptionError))
    for asked in ({"cache": "first-block"}, {"guidance_interval": (0.0, 0.5)}):
        with pytest.raises(OptionError, match=f"{next(iter(asked))} is fixed in the 4 steps .* leave"):
            resolve(Request(prompt=ASK.prompt, fast=True, **asked), nano)


def test_a_recipe_says_the_cache_with_its_threshold_and_it_is_followed(measured):
    assert "cache" not in measured.recipe(ASK)
    recipe = measured.recipe(replace(ASK, cache="first-block"))
    assert recipe["cache"] == "first-block:0.1"
    again = Request(**rerender.settings(recipe, {}, AudioOptions()))
    assert measured.recipe(again) == recipe
    fast = rerender.settings(recipe | {"guidance_interval": [0, 0.5]}, {"fast": True}, AudioOptions())
    assert "cache" not in fast and "guidance_interval" not in fast


def test_the_caches_that_tab_completes_are_those_that_there_are():
    assert values("cache") == list(CACHES)


# Measuring what caches need to know


def test_the_recorder_lets_all_blocks_run_and_keeps_magnitudes_and_changes_of_the_prompts_branch():
    recorder, modulation = (
        Recorder(),
        {3.0: torch.ones(1), 2.0: torch.ones(1) * 1.1, 1.0: torch.ones(1) * 1.2},
    )
    recorder.arrive("dit", modulation)
    for timestep, added in ((3.0, 8.0), (2.0, 4.0), (1.0, 1.0)):
        recorder.begin(Level(torch.tensor(0.5), timestep))
        for branch, factor in (((0,), 1), ((1,), 100)):
            tokens = torch.zeros(1, 2, 3)
            out = recorder.around(branch, walk_of(tokens, added * factor / 2, added * factor / 2), 2)
            assert out[0, 0, 0] == added * factor
    (found,) = recorder.calibrations().values()
    assert found.timesteps == (3.0, 2.0, 1.0) and found.magnitudes == pytest.approx((1, 1 / 2, 1 / 8))
    assert recorder._curves["dit"].changes[2.0] == [(pytest.approx(0.1), pytest.approx(0.5))]


def test_a_slope_goes_through_zero_and_what_was_measured():
    curve = Curve({1.0: [1.0]}, {1.0: [(0.1, 0.2), (0.3, 0.6)], 2.0: [(0.2, 0.4)]})
    assert curve.calibration().teacache == pytest.approx((2, 0))
    assert Curve({1.0: [1.0]}).calibration().teacache == ()


def test_a_video_is_the_same_while_it_is_measured_and_several_are_averaged(engine):
    plain = latents(engine)
    engine.recorder = Recorder()
    try:
        measured = [latents(engine), latents(engine, solver="heun", seed=1)]
        found = engine.recorder.calibrations()
    finally:
        engine.recorder = None
    assert difference(measured[0], plain) < 1e-6
    assert set(found) == {"high", "low"}
    for each in found.values():
        assert len(each.timesteps) == len(each.magnitudes) and each.magnitudes[0] == 1
        assert all(a > b for a, b in pairwise(each.timesteps))


def test_what_one_command_measures_another_one_uses(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path / "tiny", layers=2)
    command = ["generate", ASK.prompt, "--model", "tiny", "--device", "cpu", "--steps", "8"]
    assert main([*command, "--cache", "magcache", "-o", "one.mp4"]) == 2
    assert "--calibrate FILE measures" in capsys.readouterr().err
    assert main([*command, "--calibrate", "tiny.json", "-o", "one.mp4", "--count", "2"]) == 0
    assert set(json.loads(Path("tiny.json").read_text())["experts"]) == {"high", "low"}
    cached = [*command, "--cache", "magcache:0.9", "--calibration", "tiny.json", "-o", "two.mp4"]
    assert main(cached) == 0
    recipe = read_recipe("two.mp4")
    assert recipe["cache"] == "magcache:0.9" and recipe["calibration"].startswith("sha256:")
    assert main([*command, "--calibrate", "tiny.json", "-o", "three.mp4"]) == 2
    assert "tiny.json exists already" in capsys.readouterr().err
    assert not Path("three.mp4").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("{}", "is no calibration of wan22: 'experts' is missing"),
        ('{"experts": {"dit": {"timesteps": [1.0], "magnitudes": [1.0]}}}', "of the experts dit, and those of tiny"),
        ('{"experts": {"high": 1, "low": 2}}', "holds no calibration|is no calibration"),
        ('{"experts": {"high": {"timesteps": [1.0, 2.0], "magnitudes": [1.0, 1.0]}, "low": {}}}', "calibration"),
        ('{"experts": {"high": {"timesteps": [1.0], "magnitudes": [0.0]}, "low": {}}}', "calibration"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text, said):
    (tmp_path / "it.json").write_text(text)
    folder = write_tiny(tmp_path / "tiny")
    with pytest.raises(CheckpointError, match=said):
        wan22.load(folder, device="cpu", calibration=tmp_path / "it.json")


def test_the_nano_model_ships_its_calibration():
    nano = from_json(read_json(EMBEDDED / "variant.json", OptionError))
    assert set(nano.calibration) == {"high", "low"}
    assert from_json(json.loads(json.dumps(to_json(nano)))) == nano
    resolve(Request(prompt=ASK.prompt, cache="magcache"), nano)


# As Diffusers names it


def test_the_pipeline_is_told_of_caches_as_diffusers_is(tmp_path):
    hooks = pytest.importorskip("diffusers.hooks")
    ratios = [1.0] * 28
    first, mag = hooks.FirstBlockCacheConfig, hooks.MagCacheConfig
    pipeline = Wan22Pipeline.from_pretrained(write_tiny(tmp_path / "tiny", layers=2), device="cpu")

    def recipe(**asked):
        return pipeline(ASK.prompt, num_inference_steps=6, seed=0, **asked).recipe

    pipeline.transformer.enable_cache(first(threshold=0.25))
    assert recipe()["cache"] == "first-block:0.25"
    assert recipe(cache="teacache:0.5", guidance_interval=(0, 0.5))["cache"] == "teacache:0.5"
    assert Wan22Pipeline.from_pipe(pipeline)._cache == "first-block:0.25"
    pipeline.transformer_2.disable_cache()
    assert "cache" not in recipe()
    for config, said in (
        (
            hooks.TaylorSeerCacheConfig(),
            "TaylorSeerCacheConfig is no step cache.*FirstBlockCacheConfig, MagCacheConfig",
        ),
        (
            mag(max_skip_steps=5, mag_ratios=ratios),
            "max_skip_steps is 3 in every step cache here, .* asks for 5",
        ),
        (mag(calibrate=True), "--calibrate FILE"),
        (first(threshold=2.0), "above 0 and at most 1"),
        ("unheard", "unknown cache 'unheard'"),
    ):
        with pytest.raises(OptionError, match=said):
            pipeline.transformer.enable_cache(config)
    pipeline.transformer.enable_cache(mag(threshold=0.1, mag_ratios=ratios))
    with pytest.raises(OptionError, match="magcache needs magnitudes"):
        recipe()
    with pytest.raises(AttributeError, match="the vae has no enable_cache; the transformer has"):
        pipeline.vae.enable_cache("first-block")
