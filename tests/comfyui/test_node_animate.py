"""Wan22 Animate, with a tiny model of random weights."""

import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from unit.tiny import WORDS, animate_modules, tiny_animate_variant, write_tiny_animate

from wan22.conditioning.text import Tokenizer
from wan22.engine import Engine
from wan22.errors import OptionError
from wan22.memory.placement import Placement
from wan22.nano.tokenizer import build_word_tokenizer
from wan22.types import Frames, Request

FRAMES = 12  # two clips of the tiny model


@pytest.fixture(scope="module")
def engine():
    tokenizer = build_word_tokenizer(WORDS, 100)
    row = tiny_animate_variant(tokenizer.get_vocab_size())
    loaders = {
        part: (lambda _, module=module: module.eval()) for part, module in animate_modules(row).items()
    }
    placement = Placement(loaders, dict.fromkeys(loaders, "device"), torch.device("cpu"))
    return Engine(
        "tiny", row, tokenizer=Tokenizer(tokenizer), placement=placement, dtype=torch.float32, weights={}
    )


@pytest.fixture
def model(run, kept, engine, monkeypatch):
    kept.drop()
    monkeypatch.setattr(kept, "load", lambda name, **options: engine)
    (model,) = run("Wan22Load", folder="tiny")
    yield model
    kept.drop()


def images(seed, size=(32, 48), count=FRAMES):
    levels = torch.randint(0, 256, (count, *size, 3), generator=torch.Generator().manual_seed(seed))
    return levels / 255


@pytest.fixture
def asked(model):
    return {
        "model": model, "prompt": "", "image": images(0, count=1), "steps": 1, "preview": False, "fps": 25.0,
        "pose": images(1), "face": images(2, (16, 16)),
    }  # fmt: skip


def levels(shown):
    return (shown * 255).round().numpy().astype(np.uint8)


def test_pose_and_face_drive_a_video_of_several_clips(run, model, asked, comfy):
    shown, video, fps = run("Wan22Animate", **asked)
    assert len(shown) == FRAMES and fps == 25.0 and shown.shape[1:3] == (32, 48)
    assert float(video.get_components().frame_rate) == 25.0
    (bar,) = [bar for bar in comfy.bars if bar.seen]
    assert [value for value, *_ in bar.seen] == [1, 2]


def test_the_same_request_in_python_gives_the_same_frames(run, model, asked):
    from wan22.types import Clip, Driving

    mask = torch.zeros(FRAMES, 32, 48)
    mask[:, 8:24, 8:24] = 1
    more = {"background": images(3), "mask": mask, "replace": True, "carried": 1, "seed": 3}
    shown, *_ = run("Wan22Animate", **asked | more)
    clips = {
        **{name: levels(images(seed)) for name, seed in (("pose", 1), ("background", 3))},
        "face": levels(images(2, (16, 16))),
        "mask": levels(mask[..., None].expand(-1, -1, -1, 3)),
    }
    request = Request(
        prompt="", image=levels(images(0, count=1))[0], steps=1, carried=1, seed=3,
        driving=Driving(**{name: Clip(pixels, 25.0) for name, pixels in clips.items()}),
    )  # fmt: skip
    made = model.engine().generate(request)
    expected = np.concatenate([event.frames for event in made if isinstance(event, Frames)])
    assert np.array_equal(levels(shown), expected)


def test_audio_is_put_under_the_video(run, asked):
    audio = {"waveform": torch.zeros(1, 2, 48_000), "sample_rate": 24_000}
    _, video, fps = run("Wan22Animate", **asked | {"audio": audio})
    assert video.get_components().audio["waveform"].shape[-1] == round(FRAMES / fps * 24_000)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"face": None}, "face missing: give video"),
        ({"replace": True}, "background and mask missing"),
        ({"background": images(3)}, "background are for replace, which is off"),
        ({"pose": images(1, count=9)}, "9"),
    ],
)
def test_what_does_not_go_together_is_refused(run, asked, comfy, more, words):
    given = {name: value for name, value in (asked | more).items() if value is not None}
    with pytest.raises(OptionError, match=words):
        run("Wan22Animate", **given)
    assert comfy.bars == []


def test_a_video_is_preprocessed_here(run, asked, monkeypatch):
    """The networks that find people are not in tests: what they are asked, and that it drives the video."""
    calls = []

    def prepared(video, who, replace, *, seen, **how):
        calls.append((video.frames.shape, video.fps, who.shape, replace, how))
        seen("bodies", 1, FRAMES)
        clip = type(video)(video.frames, how["fps"])
        return SimpleNamespace(pose=clip, face=clip, background=None, mask=None, notices=("nobody at 3 s",))

    monkeypatch.setattr("wan22.preprocess.prepare", prepared)
    implementation = sys.modules["comfy_api.latest"]
    video = implementation.InputImpl.VideoFromComponents(
        implementation.Types.VideoComponents(images=images(4), frame_rate=Fraction(50))
    )
    given = {name: value for name, value in asked.items() if name not in ("pose", "face")}
    shown, _, fps = run("Wan22Animate", **given | {"video": video, "frames": 10})
    assert len(shown) == 10 and fps == 25.0
    ((shape, rate, who, replace, how),) = calls
    assert (shape, rate, who, replace) == ((FRAMES, 32, 48, 3), 50.0, (32, 48, 3), False)
    assert how["fps"] == 25.0 and how["options"].seconds == 0.4 and how["size"] is None
    assert "nobody at 3 s" in run.ui["text"][0]
    with pytest.raises(OptionError, match="give video, or pose, face as they were drawn, not both"):
        run("Wan22Animate", **asked | {"video": video})


def test_another_model_is_named(run, asked, kept, monkeypatch):
    monkeypatch.setattr(kept, "load", None)
    (nano,) = run("Wan22Load", model="nano")
    with pytest.raises(OptionError, match="nano is not driven by a video; load animate-14B"):
        run("Wan22Animate", **asked | {"model": nano})


def test_a_plan_counts_a_driving_video(run, kept, tmp_path):
    (model,) = run("Wan22Load", folder=str(write_tiny_animate(tmp_path / "model")))
    report, fits, *_ = run("Wan22Plan", model=model, seconds=2.0, steps=1)
    assert fits and "image" in report
    kept.drop()
