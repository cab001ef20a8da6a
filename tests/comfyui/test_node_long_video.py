"""Wan22 Long Video: a file that grows clip by clip, in ComfyUI's folder of temporary files."""

import json
import sys
from pathlib import Path

import pytest
import torch
from fake_comfy import Interrupted, VideoFromFile

from wan22.errors import OptionError

PROMPT = "@0s a red ball rolls left @5s it bounces"


@pytest.fixture
def model(run):
    (model,) = run("Wan22Load", model="nano")
    return model


@pytest.fixture
def asked(model):
    """A video of two clips, a step each."""
    frames = max(model.engine().variant.trained.frames)
    return {
        "prompt": PROMPT,
        "frames": 2 * frames - 1,
        "width": 64,
        "height": 64,
        "steps": 1,
        "preview": False,
    }


def test_a_video_of_two_clips_is_a_file_that_goes_on_after_an_interrupt(run, model, asked, comfy):
    bar = sys.modules["comfy.utils"].ProgressBar
    update = bar.update_absolute
    with pytest.MonkeyPatch.context() as patch:

        def updated(self, value, total=None, preview=None):
            if value == 2:
                raise Interrupted
            update(self, value, total, preview)

        patch.setattr(bar, "update_absolute", updated)
        with pytest.raises(Interrupted):
            run("Wan22LongVideo", model=model, **asked)
    assert any("1 clip is kept" in text for _, text in comfy.texts)
    comfy.begin()
    video, last, recipe, fps = run("Wan22LongVideo", model=model, **asked)
    assert [bar.seen for bar in comfy.bars] == [[(2, 2, None)]]  # the first clip is not made again
    assert any("going on after clip 1 of 2" in text for _, text in comfy.texts)
    shown = video.get_components()
    assert isinstance(video, VideoFromFile) and shown.images.shape == (asked["frames"], 64, 64, 3)
    assert float(shown.frame_rate) == fps and torch.equal(last, shown.images[-1:])
    assert json.loads(recipe)["clips"] == [0, asked["frames"] // 2 + 1]
    assert Path(video.file).parent == comfy.folder / "temp" / "wan22"


def test_a_short_video_is_made_as_well(run, model, asked):
    video, _, recipe, _ = run("Wan22LongVideo", model=model, **asked | {"prompt": "a ball", "frames": 5})
    assert len(video.get_components().images) == 5 and "clips" not in json.loads(recipe)


def test_a_model_of_speech_needs_audio(run):
    (model,) = run("Wan22Load", model="nano-s2v")
    with pytest.raises(OptionError, match="nano-s2v is driven by audio"):
        run("Wan22LongVideo", model=model, prompt="a puppet", seconds=1.0)


def test_audio_is_put_under_a_video_that_it_drives(run):
    from wan22.media.audio import probe_audio

    (model,) = run("Wan22Load", model="nano-s2v")
    audio = {"waveform": torch.sin(torch.arange(12_000) / 9)[None, None], "sample_rate": 24_000}
    video, *_ = run(
        "Wan22LongVideo", model=model, prompt="a puppet speaks", image=torch.rand(1, 96, 64, 3), audio=audio, steps=1,
        preview=False,
    )  # fmt: skip
    assert probe_audio(video.file).seconds == pytest.approx(0.5, abs=0.1)
