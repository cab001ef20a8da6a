# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""Long videos and videos with audio on the command line: kept clip by clip, resumed, heard."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from unit.fake_engine import VARIANT, engine, everything, run  # noqa: F401 - fixtures

from wan22.catalog import Speech
from wan22.errors import DecodeError, MediaError, OptionError
from wan22.media.audio import probe_audio, read_audio, write_audio
from wan22.media.long_video import LongVideo
from wan22.media.recipe import read_recipe
from wan22.media.video import probe, read_clip
from wan22.production import rerender
from wan22.production.audio import AudioOptions
from wan22.types import Audio

SPEAKING = replace(
    VARIANT, image="reference", image_required=True, experts=("dit",), boundary=None,
    defaults=replace(VARIANT.defaults, guidance=(3.0, 3.0)),
    speech=Speech(clip_frames=8, motion_frames=5, side=16, audio=None),
)  # fmt: skip


@pytest.fixture
def speaking(engine):
    engine.variant = SPEAKING
    Image.new("RGB", (64, 32), "red").save("who.png")
    write_audio("a.wav", tone(2.5))
    return engine


def tone(seconds, rate=16_000):
    return Audio(np.sin(np.arange(round(seconds * rate)) / 20).astype(np.float32) * 0.3, rate)


LONG = ("generate", "p", "-o", "x.mp4", "--frames", 21)


def test_a_long_video_is_one_file_with_every_frame(engine, run, tmp_path):
    code, out, err = run(*LONG)
    assert (code, out) == (0, "x.mp4\n"), err
    assert "clip 1 of " in err
    assert probe("x.mp4").frames == 21
    recipe = read_recipe("x.mp4")
    assert recipe["clips"][0] == 0 and len(recipe["clips"]) > 2
    assert recipe["clips_sha256"] and set(recipe["drift_per_second"]) >= {
        "brightness",
        "contrast",
        "identity",
    }
    assert everything(tmp_path) == ["x.mp4"]


@pytest.mark.parametrize(
    "failure",
    [KeyboardInterrupt(), DecodeError("no memory"), RuntimeError("boom")],
    ids=repr,
)
def test_an_interrupted_video_goes_on_after_its_last_clip(engine, run, tmp_path, failure):
    run("generate", "p", "-o", "whole.mp4", "--frames", 21)
    engine.fail["clip 3"] = failure
    code, _, err = run(*LONG)
    assert code != 0
    assert "2 of " in err and "clips are kept in x.mp4.unfinished, and the same command goes on" in err
    assert probe("x.mp4.unfinished/video.mp4").frames > 5  # playable as it is
    engine.fail.clear()
    code, _, err = run(*LONG)
    assert code == 0, err
    assert "going on after clip 2 of" in err
    assert np.array_equal(read_clip("x.mp4").frames, read_clip("whole.mp4").frames)
    old, new = read_recipe("whole.mp4"), read_recipe("x.mp4")
    assert old["clips_sha256"] == new["clips_sha256"]
    assert old["drift_per_second"].keys() == new["drift_per_second"].keys()
    assert not Path("x.mp4.unfinished").exists()


def test_another_video_of_that_name_is_not_thrown_away_unasked(engine, run):
    engine.fail["clip 3"] = KeyboardInterrupt()
    run(*LONG)
    engine.fail.clear()
    code, _, err = run(*LONG, "--seed", 5)
    assert code == 2 and "seed" in err
    assert Path("x.mp4.unfinished").exists()
    assert run(*LONG, "--seed", 5, "--afresh")[0] == 0
    assert read_recipe("x.mp4")["seed"] == 5


def test_a_full_disk_keeps_the_clips_that_are_finished(engine, run, monkeypatch):
    finish, count = LongVideo.finish_clip, [0]

    def full_on_the_third(self, carry=None):
        count[0] += 1
        if count[0] == 3:
            raise OSError(28, "No space left on device")
        finish(self, carry)

    with monkeypatch.context() as patched:
        patched.setattr(LongVideo, "finish_clip", full_on_the_third)
        code, _, err = run(*LONG)
    assert code != 0 and "No space left" in err
    code, _, err = run(*LONG)
    assert code == 0 and "going on after clip 2" in err


def test_a_video_has_its_audio_as_long_as_the_audio(speaking, run):
    code, _, err = run("generate", "p", "-o", "x.mp4", "--image", "who.png", "--audio", "a.wav")
    assert code == 0, err
    assert probe("x.mp4").frames == 20 and probe("x.mp4").has_audio  # 2.5 s at 8 frames a second
    heard = read_audio("x.mp4")
    assert abs(np.corrcoef(heard.samples[4000:30_000], tone(2.5).samples[4000:30_000])[0, 1]) > 0.99
    recipe = read_recipe("x.mp4")
    assert recipe["task"] == "s2v" and recipe["inputs"].keys() == {"image", "audio"}
    assert recipe["files"] == {"image": "who.png", "audio": "a.wav"}


def test_a_piece_of_an_audio_file_is_heard_and_shown(speaking, run):
    code, _, err = run(
        "generate",
        "p",
        "-o",
        "x.mp4",
        "--image",
        "who.png",
        "--audio",
        "a.wav",
        "--audio-start",
        1,
        "--seconds",
        1,
    )
    assert code == 0, err
    assert probe("x.mp4").frames == 8
    assert speaking.requests[0].audio.seconds == 1.0
    assert read_recipe("x.mp4")["audio"] == {"start": 1.0, "seconds": 1.0}


def test_a_text_is_spoken_once_and_kept(speaking, run, monkeypatch, tmp_path):
    from wan22.media import say
    from wan22.production import audio as audio

    class Parrot:
        said = 0

        def say(self, text):
            Parrot.said += 1
            return tone(1.0, 22_050)

        def describe(self, text):
            return {"engine": "espeak", "voice": "en", "text": text}

    monkeypatch.setattr(audio, "speech_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(say, "open_tts", lambda *_, **__: Parrot())
    ask = ("generate", "p", "--image", "who.png", "--say", "good morning", "-o")
    assert run(*ask, "x.mp4")[0] == run(*ask, "y.mp4")[0] == 0
    assert Parrot.said == 1
    assert read_recipe("x.mp4")["audio"]["said"]["text"] == "good morning"
    assert probe_audio("x.mp4").seconds == pytest.approx(1.0, abs=0.1)
    code, _, err = run("generate", "--from", "x.mp4", "-o", "z.mp4", "--model", "fake")
    assert code == 0, err
    assert "identical" in err


def test_a_video_made_again_takes_the_audio_that_is_asked_now(speaking, run):
    assert run("generate", "p", "-o", "x.mp4", "--image", "who.png", "--audio", "a.wav")[0] == 0  # 2.5 s
    write_audio("b.wav", tone(1.5))
    ask = ("generate", "--from", "x.mp4", "--model", "fake", "-o")
    for options, seconds in [
        (("--audio", "b.wav"), 1.5),
        (("--audio-start", 2), 0.5),
        (("--frames", 4), 2.5),
    ]:
        code, _, err = run(*ask, "y.mp4", *options)
        assert code == 0, err
        assert speaking.requests[-1].audio.seconds == pytest.approx(seconds)
        assert probe("y.mp4").frames == (4 if "--frames" in options else seconds * 8)
    code, _, err = run(*ask, "z.mp4", "--voice", "f3")
    assert code == 2 and "--voice is for a text" in err


def test_what_a_recipe_says_of_a_voice_is_asked_again():
    said = {"engine": "espeak", "voice": "de+f3", "text": "Guten Tag"}
    recipe = {"inputs": {"audio": "sha256:0"}, "audio": {"said": said, "start": 0.5}}
    told = AudioOptions(say="Guten Tag", start=0.5, language="de", voice="f3")
    assert rerender.find_audio(recipe, "x.mp4", AudioOptions()) == told
    assert rerender.find_audio(recipe, "x.mp4", AudioOptions(voice="m1")) == replace(told, voice="m1")
    server = AudioOptions(speaker="http://here")
    assert rerender.find_audio(recipe, "x.mp4", server) == replace(server, say="Guten Tag", start=0.5)
    entry = {"engine": "server", "url": "http://a/v1/audio/speech", "voice": "v", "text": "Hi"}
    recipe["audio"]["said"] = entry | {"sample": {"name": "gone.wav", "sha256": "0"}}
    with pytest.raises(OptionError, match="An address in a file is not asked: give it with --speaker"):
        rerender.find_audio(recipe, "x.mp4", AudioOptions())
    with pytest.raises(MediaError, match=r"gone\.wav, which is not beside it; give it with --voice-sample"):
        rerender.find_audio(recipe, "x.mp4", AudioOptions(speaker=entry["url"]))
    found = rerender.find_audio(recipe, "x.mp4", AudioOptions(voice_sample="b.wav", speaker=entry["url"]))
    assert (found.speaker, found.voice, found.voice_sample) == (entry["url"], "v", "b.wav")


SAID_NO = {
    "both": (["--audio", "a.wav", "--say", "hm"], "not both"),
    "a voice without a text": (["--audio", "a.wav", "--voice", "f3"], "--voice is for a text"),
    "a start without an audio file": (["--audio-start", "2"], "--audio-start says where"),
    "no such audio": (["--audio", "none.wav"], "none.wav"),
    "an image for an audio file": (["--audio", "who.png"], "who.png"),
    "a start beyond the end": (["--audio", "a.wav", "--audio-start", "9"], "a.wav lasts"),
    "a GIF": (["--audio", "a.wav", "-o", "x.gif"], "x.gif"),
    "no clips": (["--audio", "a.wav", "--clips", "0"], "clips must be a whole number from 1"),
    "another rate": (["--audio", "a.wav", "--fps", "24"], "fps cannot be 24"),
    "another task": (["--audio", "a.wav", "--task", "i2v"], "--task i2v takes an image"),
    "no audio for it": (["--task", "s2v"], "--task s2v takes an audio file"),
    "too short an audio file": (["--audio", "blip.wav"], "less than one frame"),
    "a last image": (["--audio", "a.wav", "--last-image", "who.png"], "takes no last image"),
    "no strength of colour": (["--audio", "a.wav", "--color-match", "2"], "color_match must be from 0"),
}


@pytest.mark.parametrize("name", SAID_NO)
def test_bad_audio_is_one_line_and_nothing_is_made(speaking, run, tmp_path, name):
    write_audio("blip.wav", tone(0.05))
    before = everything(tmp_path)
    options, message = SAID_NO[name]
    code, out, err = run("generate", "p", "--image", "who.png", *options)
    assert (code, out) == (2, ""), err
    assert message in err and len(err.strip().splitlines()) == 1
    assert everything(tmp_path) == before
    assert not speaking.requests


def test_machines_are_told_what_can_be_played(engine, run):
    engine.fail["clip 3"] = KeyboardInterrupt()

    def playable():
        _, out, _ = run(*LONG, "--json")
        events = [json.loads(line) for line in out.splitlines()]
        return [event for event in events if event["event"] == "playable"]

    first = playable()
    assert [event["total"] for event in first] == [21, 21]
    assert first[1]["path"] == str(Path("x.mp4.unfinished/video.mp4"))
    assert probe(first[1]["path"]).frames == first[1]["frames"] == first[1]["seconds"] * 8
    engine.fail.clear()
    assert playable()[0]["frames"] == first[1]["frames"], "what was there when it went on"


def test_machines_are_told_of_clips(engine, run):
    code, out, _ = run(*LONG, "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    clips = len(events[-1]["recipe"]["clips"])
    assert [e["clip"] for e in events if e["event"] == "clip"] == [*range(1, clips + 1)]
