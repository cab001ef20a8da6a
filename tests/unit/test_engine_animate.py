"""Videos of a driving video, with a tiny model of random weights: both modes, resumption, errors, and the command."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import FACE, WORDS, animate_modules, tiny_animate_variant, tiny_variant

from wan22.catalog import VARIANTS, from_json, to_json
from wan22.conditioning.text import Tokenizer
from wan22.engine import Engine
from wan22.errors import OptionError, RequestError, SizeError
from wan22.memory.placement import Placement
from wan22.nano.tokenizer import build_word_tokenizer
from wan22.planning import Model, plan_job
from wan22.request import resolve
from wan22.sampling import draw_noise
from wan22.types import Clip, ClipDone, Driving, Finished, Frames, Request

ROW = tiny_animate_variant()


def clip(frames, width=48, height=32, fps=8.0, seed=0):
    return Clip(np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8), fps)


def driving(frames=14, *, replaces=False, **more):
    parts = {"pose": clip(frames), "face": clip(frames, FACE, FACE, seed=1)}
    if replaces:
        parts |= {"background": clip(frames, seed=2), "mask": clip(frames, seed=3)}
    return Driving(**parts | more)


def request(length=14, *, replaces=False, **more):
    asked = {
        "prompt": "a red ball",
        "image": clip(1, 40, 40).frames[0],
        "driving": driving(length, replaces=replaces),
    }
    return Request(**asked | more)


@pytest.fixture(scope="module")
def engine():
    tokenizer = build_word_tokenizer(WORDS, 100)
    row = tiny_animate_variant(tokenizer.get_vocab_size())
    modules = animate_modules(row)
    loaders = {part: (lambda _, m=module: m.eval()) for part, module in modules.items()}
    placement = Placement(loaders, dict.fromkeys(loaders, "device"), torch.device("cpu"))
    return Engine(
        "tiny", row, tokenizer=Tokenizer(tokenizer), placement=placement, dtype=torch.float32, weights={}
    )


def shown(events):
    return np.concatenate([event.frames for event in events if isinstance(event, Frames)])


@pytest.mark.parametrize("replaces", [False, True])
def test_a_video_is_as_long_and_as_large_as_the_driving_one(engine, replaces):
    events = list(engine.generate(request(14, replaces=replaces)))
    assert shown(events).shape == (14, 32, 48, 3)
    assert [event.clip for event in events if isinstance(event, ClipDone)] == [1, 2]
    recipe = next(event for event in events if isinstance(event, Finished)).recipe
    assert recipe["task"] == "animate" and recipe["replace"] is replaces and recipe["carried"] == 1
    assert {"image", "pose", "face"} <= recipe["inputs"].keys()
    assert ("mask" in recipe["inputs"]) is replaces


def test_what_drives_a_video_is_seen_in_it(engine):
    base = shown(engine.generate(request()))
    for name, other in (("pose", clip(14, seed=7)), ("face", clip(14, FACE, FACE, seed=8))):
        assert (shown(engine.generate(request(driving=driving(**{name: other})))) != base).any(), name
    first = shown(engine.generate(request(replaces=True)))
    other = driving(replaces=True, background=clip(14, seed=9))
    assert (shown(engine.generate(request(driving=other))) != first).any()


@pytest.mark.parametrize("carried", [1, None])
def test_an_interrupted_video_goes_on_with_the_same_frames(engine, carried):
    events = list(engine.generate(request(20, carried=carried)))
    done = next(event for event in events if isinstance(event, ClipDone))
    rest = shown(engine.generate(request(20, carried=carried), done))
    assert np.array_equal(rest, shown(events)[-len(rest) :]) and len(rest) == 11


def test_clips_go_on_with_one_generator():
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn((2, 3), generator=generator) for _ in range(3)]
    assert all(torch.equal(draw_noise((2, 3), 3, turn), noise) for turn, noise in enumerate(drawn))


def test_guidance_of_at_most_one_needs_no_other_branch(engine):
    assert not engine.is_guided(request()) and not engine.is_guided(request(guidance=0.5))
    assert engine.is_guided(request(guidance=2.0))
    assert np.array_equal(shown(engine.generate(request())), shown(engine.generate(request(guidance=0.5))))
    assert (shown(engine.generate(request(guidance=2.0))) != shown(engine.generate(request()))).any()


def test_the_other_branch_is_told_a_black_face_and_all_else(engine, monkeypatch):
    network = engine.expert("dit")
    told = []
    read = network.read_animate
    monkeypatch.setattr(
        network, "read_animate", lambda pose, face: told.append((pose, face)) or read(pose, face)
    )
    list(engine.generate(request(9, guidance=2.0)))
    ((pose, face),) = told
    assert torch.equal(pose[0], pose[1])
    assert bool((face[1] == -1).all()) and not bool((face[0] == -1).all())


def test_an_empty_prompt_is_the_models_own(engine):
    assert resolve(request(prompt=""), ROW).prompts == ((0.0, "a red ball"),)
    assert engine.recipe(request(prompt=" "))["prompt"] == "a red ball"


def test_a_size_that_the_network_cannot_draw_is_drawn_around_it(engine):
    odd = Driving(clip(9, 40, 24), clip(9, FACE, FACE))
    canvas = engine.check(request(driving=odd))
    assert canvas.draw == (48, 32) and canvas.out == (40, 24) and canvas.notices
    assert shown(engine.generate(request(driving=odd))).shape == (9, 24, 40, 3)
    assert shown(engine.generate(request(9, size=(32, 32)))).shape == (9, 32, 32, 3)


def test_faces_of_another_size_are_stretched(engine):
    assert len(shown(engine.generate(request(driving=driving(9, face=clip(9, 20, 24)))))) == 9


REFUSED = {
    "no driving video": ({"driving": None}, OptionError, "needs a driving video"),
    "no image": ({"image": None}, OptionError, "needs an image"),
    "other lengths": ({"driving": driving(face=clip(13, FACE, FACE))}, OptionError, "one length.*pose 14, face 13"),
    "other rates": ({"driving": driving(face=clip(14, FACE, FACE, 16.0))}, OptionError, "one rate"),
    "other sizes": (
        {"driving": driving(replaces=True, mask=clip(14, 32, 32))}, OptionError, "one size.*mask 32x32",
    ),
    "a mask alone": ({"driving": driving(mask=clip(14))}, OptionError, "a background is missing"),
    "a background alone": ({"driving": driving(background=clip(14))}, OptionError, "a mask is missing"),
    "a grey pose": (
        {"driving": driving(pose=Clip(np.zeros((14, 32, 48), np.uint8), 8.0))}, OptionError, "pose video must be",
    ),
    "a pose without time": ({"driving": driving(pose=clip(14, fps=0.0))}, OptionError, "more than 0 frames a second"),
    "no Driving": ({"driving": clip(14)}, OptionError, "must be a Driving value"),
    "too short": ({"driving": driving(1)}, SizeError, "too short.*2 or more"),
    "too short for five": ({"driving": driving(5), "carried": 5}, SizeError, "too short.*6 or more"),
    "three carried": ({"carried": 3}, SizeError, "1 or 5"),
    "longer than the driving video": ({"frames": 15}, SizeError, "at most 14"),
    "another rate": ({"fps": 24}, SizeError, "8 frames a second"),
    "a video": ({"video": clip(5)}, OptionError, "takes no video"),
    "a last image": ({"last_image": clip(1).frames[0]}, OptionError, "takes no last_image"),
    "a pose beside": ({"pose": clip(5)}, OptionError, "takes no pose"),
    "a seed below zero": ({"seed": -1}, OptionError, "seed"),
    "too much light": ({"relight": 2.0}, OptionError, "relight"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(name):
    change, kind, message = REFUSED[name]
    row = replace(ROW, animate=replace(ROW.animate, clip_frames=13))
    with pytest.raises(kind, match=message):
        resolve(request(**change), row)


def test_clips_must_leave_room_for_what_they_carry():
    with pytest.raises(SizeError, match="carried"):
        resolve(request(carried=5), ROW)  # clips of 9 frames, of which the third would lack a frame
    with pytest.raises(ValueError, match="10 frames"):
        replace(ROW, animate=replace(ROW.animate, clip_frames=10))


@pytest.mark.parametrize("change", [{"driving": driving()}, {"carried": 1}])
def test_other_models_take_no_driving_video(change):
    with pytest.raises(RequestError, match="does not animate"):
        resolve(Request(prompt="a ball", **change), tiny_variant())


def test_a_row_is_read_back():
    assert from_json(to_json(ROW)) == ROW
    assert from_json(to_json(VARIANTS["animate-14B"])) == VARIANTS["animate-14B"]


def test_the_plan_counts_the_image_tower_and_every_frame(engine):
    made = engine.plan(request())
    assert {stage.part for stage in made.stages} == {"text", "vae", "image", "dit"}
    canvas = engine.check(request())
    assert canvas.latent[0] == 1 + 3 and canvas.tokens == 4 * 2 * 3


def test_a_plan_of_the_released_model_is_made():
    from wan22.memory.hardware import of_card

    row = VARIANTS["animate-14B"]
    many = Driving(
        Clip(np.broadcast_to(np.uint8(0), (77, 720, 1280, 3)), 30.0),
        Clip(np.broadcast_to(np.uint8(0), (77, 512, 512, 3)), 30.0),
    )
    job = resolve(Request(prompt="", image=many.pose.frames[0], driving=many), row)
    made = plan_job(job, Model(row, torch.bfloat16), of_card("H200", 200 * 10**9))
    assert made.fits and job.canvas.latent == (21, 90, 160)
    assert made.schemes["image"] and job.prompts[0][1] == "视频中的人在做动作"
