"""The nodes at work with the embedded model: two steps, one engine for all tests."""

import json

import numpy as np
import pytest
import torch
from fake_comfy import Interrupted

from wan22.errors import OptionError, SizeError
from wan22.types import Frames, Request

PROMPT = "a red ball rolls left at sunset. The camera pans left"
SMALL = {"width": 64, "height": 64, "frames": 5, "steps": 2, "preview": False, "prompt": PROMPT}


@pytest.fixture
def model(run):
    (model,) = run("Wan22Load", model="nano")
    return model


@pytest.fixture(scope="module")
def latent(loaded):
    """A LATENT of two steps; no test changes it."""
    import fake_comfy

    run = fake_comfy.Run(fake_comfy.v3_nodes(loaded[1]))
    (model,) = run("Wan22Load", model="nano")
    return run("Wan22Sample", model=model, **SMALL)[0][0]


def levels(images):
    return (images * 255).round().numpy().astype(np.uint8)


def test_from_a_prompt_to_a_video(run, model, comfy):
    latents, recipes = run("Wan22Sample", model=model, **SMALL | {"preview": True})
    images, video, fps = run("Wan22Decode", model=model, latent=latents[0])
    assert images.shape == (5, 64, 64, 3) and images.std() > 0.01
    assert video.get_components().images is images and float(video.get_components().frame_rate) == fps
    recipe = json.loads(recipes[0])
    assert recipe["steps"] == 2 and recipe["prompt"] == PROMPT
    (bar,) = [bar for bar in comfy.bars if bar.seen]
    assert [(value, total) for value, total, _ in bar.seen] == [(1, 2), (2, 2)]
    kind, still, side = bar.seen[-1][2]
    assert kind == "JPEG" and max(still.size) == side and len(still.getcolors(1 << 20)) > 10


def test_the_same_request_in_python_gives_the_same_frames(run, model, latent):
    made = model.engine().generate(Request(prompt=PROMPT, size=(64, 64), frames=5, steps=2))
    expected = np.concatenate([event.frames for event in made if isinstance(event, Frames)])
    images, *_ = run("Wan22Decode", model=model, latent=latent)
    assert np.array_equal(levels(images), expected)


def test_settings_of_both_experts_reach_the_recipe(run, model):
    given = {
        "guidance_low": 3.0,
        "guidance_high": 4.5,
        "switch_step": 1,
        "solver": "euler",
        "schedule": "simple",
        "shift": 7.0,
        "seed": 11,
        "negative": "none",
        "guidance_rescale": 0.2,
        "fps": 10.0,
    }
    _, (recipe,) = run("Wan22Sample", model=model, **SMALL | given)
    said = json.loads(recipe)
    wanted = {**given, "guidance": [3.0, 4.5], "negative": ""}
    assert {name: said[name] for name in wanted if name in said} == {
        name: wanted[name] for name in wanted if name in said
    }
    assert {
        "guidance",
        "switch_step",
        "solver",
        "schedule",
        "shift",
        "seed",
        "negative",
        "fps",
    } <= said.keys()


def test_guidance_of_one_expert_leaves_the_other_its_own(run, model):
    _, (recipe,) = run("Wan22Sample", model=model, **SMALL, guidance_high=2.0)
    own = model.engine().variant.defaults.guidance
    assert json.loads(recipe)["guidance"] == [own[0], 2.0]


def test_an_image_is_the_first_frame(run, model):
    image = torch.zeros(1, 64, 64, 3)
    image[..., 0] = 1
    _, (recipe,) = run("Wan22Sample", model=model, image=image, **SMALL)
    from wan22.request import array_hash

    expected = array_hash(np.tile(np.uint8([255, 0, 0]), (64, 64, 1)))
    assert json.loads(recipe)["inputs"] == {"image": expected}


def test_takes_are_a_list_of_which_the_best_is_passed_on(run, model):
    latents, recipes = run("Wan22Sample", model=model, **SMALL, takes=2, seed=5)
    assert [json.loads(recipe)["seed"] for recipe in recipes] == [5, 6]
    made = [run("Wan22Decode", model=model, latent=each) for each in latents]
    assert not torch.equal(made[0][0], made[1][0])
    video, images, take, score, report, table = run(
        "Wan22Measure", video=[each[1] for each in made], prompt=[PROMPT]
    )
    scores = [each["score"] or 0 for each in json.loads(table)]
    assert scores[take] == max(scores) == score
    assert video is made[take][1] and np.array_equal(levels(images), levels(made[take][0]))
    assert report.splitlines()[0].startswith("take 1: ") and "camera: asked pan-left" in report


def test_takes_of_a_prompt_that_says_nothing_measurable_are_refused(run, model, latent):
    *_, video, _ = run("Wan22Decode", model=model, latent=latent)
    with pytest.raises(OptionError, match="2 videos are compared"):
        run("Wan22Measure", video=[video, video], prompt=["a thing"])


def test_an_interrupt_ends_the_engine_and_the_next_run_works(run, model, comfy, kept):
    comfy.interrupt_after = 8
    with pytest.raises(Interrupted):
        run("Wan22Sample", model=model, **SMALL | {"steps": 30})
    assert not kept.working and kept.engine is model.engine()
    comfy.interrupt_after = None
    assert len(run("Wan22Sample", model=model, **SMALL)[0]) == 1


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"height": 0}, OptionError, "width 64 and height 0: give both"),
        ({"frames": 9999}, OptionError, "use Wan22 Long Video, or at most"),
        ({"prompt": " "}, OptionError, "the prompt is empty"),
        ({"sigmas": "1,x,0"}, OptionError, "sigmas must be numbers"),
        ({"width": 4}, SizeError, "width must be"),
        (
            {"image": torch.zeros(2, 64, 64, 3)},
            OptionError,
            "image must be one image, not IMAGE .2, 64, 64, 3.",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_before_any_work(run, model, comfy, given, error, words):
    with pytest.raises(error, match=words):
        run("Wan22Sample", model=model, **SMALL | given)
    assert comfy.bars == []


def test_notices_are_shown_on_the_node(run, model, comfy):
    run("Wan22Sample", model=model, **SMALL, negative="rain", guidance_low=1.0, guidance_high=1.0)
    assert any(node == "7" and "the negative prompt has no effect" in text for node, text in comfy.texts)
    assert "the negative prompt has no effect" in run.ui["text"][0]


def test_a_plan_says_what_a_video_takes(run, model):
    report, fits, peak, seconds = run("Wan22Plan", model=model, frames=5, steps=2)
    assert fits and peak > 0 and seconds > 0 and report.endswith("it fits")


def test_a_model_of_speech_is_refused_by_the_node_of_text(run):
    (model,) = run("Wan22Load", model="nano-s2v")
    with pytest.raises(OptionError, match="use Wan22 Speech to Video"):
        run("Wan22Sample", model=model, **SMALL)
    report, fits, *_ = run("Wan22Plan", model=model, steps=1)
    assert fits and "audio" in report


def test_audio_drives_a_video(run, comfy):
    (model,) = run("Wan22Load", model="nano-s2v")
    waveform = torch.sin(torch.arange(2 * 12_000) / 12_000 * 2 * torch.pi * 220).reshape(2, 1, 12_000).mean(0)
    audio = {"waveform": torch.stack([waveform, waveform], dim=1), "sample_rate": 24_000}
    images, under, video, fps = run(
        "Wan22Speech", model=model, prompt="a puppet speaks", image=torch.rand(1, 96, 64, 3), audio=audio, steps=1,
        preview=False,
    )  # fmt: skip
    assert len(images) == round(0.5 * fps) and under["sample_rate"] == 24_000
    assert video.get_components().audio is under and under["waveform"].shape == (1, 2, 12_000)
    (bar,) = [bar for bar in comfy.bars if bar.seen]
    assert bar.seen == [(1, 1, None)]


def test_a_model_without_speech_takes_no_audio(run, model):
    audio = {"waveform": torch.zeros(1, 1, 16_000), "sample_rate": 16_000}
    with pytest.raises(OptionError, match="nano is not driven by audio; load"):
        run("Wan22Speech", model=model, prompt="x", image=torch.zeros(1, 64, 64, 3), audio=audio)
