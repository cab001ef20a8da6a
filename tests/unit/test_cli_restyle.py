# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""A video made from a video keeps its audio, in sync, or says that it does not."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from unit.fake_engine import engine, run  # noqa: F401 - fixtures

from wan22.errors import DecodeError
from wan22.media.audio import AudioReader, probe_audio
from wan22.media.recipe import read_recipe
from wan22.media.video import probe

RATE, FPS = 48_000, 8


def source(path, *, seconds=2.0, images_at=0.0, audio_at=0.0, click=0.5, channels="stereo", audio=True):
    """A video with a click `click` seconds after its first image; both tracks may begin late."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    at = round((images_at - audio_at + click) * RATE)
    samples[at : at + 480] = np.hanning(480) * np.sin(np.arange(480) / 5)
    own = {
        ".webm": ("libopus", "libvpx-vp9"),
        ".avi": ("pcm_s16le", "libx264"),
    }  # AVI knows no encoder's delay
    codec = own.get(Path(path).suffix, ("aac", "libx264"))
    with av.open(path, "w") as file:
        images = file.add_stream(codec[1], rate=FPS)
        images.width, images.height, images.pix_fmt = 64, 32, "yuv420p"
        sound = file.add_stream(codec[0], rate=RATE, layout=channels) if audio else None
        for index in range(round(seconds * FPS)):
            image = av.VideoFrame.from_ndarray(np.full((32, 64, 3), index * 9, np.uint8))
            image.pts, image.time_base = round(images_at * FPS) + index, Fraction(1, FPS)
            file.mux(images.encode(image))
        file.mux(images.encode(None))
        if sound is not None:
            number = sound.layout.nb_channels
            frame = av.AudioFrame.from_ndarray(
                np.repeat(samples[:, None], number, 1).reshape(1, -1), format="flt", layout=channels
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE, round(audio_at * RATE), Fraction(1, RATE)
            file.mux(sound.encode(frame))
            file.mux(sound.encode(None))
    return path


def clicks_at(path):
    """Seconds after the first image at which the click is heard."""
    reader = AudioReader(path)
    samples = np.concatenate(list(reader.pieces()))[:, 0].astype(np.float64) ** 2
    assert samples.max() > 0.01
    return (samples @ np.arange(len(samples))) / samples.sum() / reader.info.rate - 240 / RATE - reader.lead


RESTYLE = ("generate", "p", "--strength", 0.5, "--video")


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm", "a.mkv", "a.avi"])
@pytest.mark.parametrize("output", ["x.mp4", "x.webm", "x.mov"])
def test_a_video_from_a_video_keeps_its_audio(engine, run, name, output):
    source(name)
    code, _, err = run(*RESTYLE, name, "-o", output, "--frames", 9)
    assert code == 0 and "not kept" not in err
    assert probe(output).frames == 9
    info = probe_audio(output)
    assert info.channels == 2
    assert info.seconds == pytest.approx(9 / FPS, abs=0.05)  # a frame of the codec
    tolerance = 0.006 if name == "a.mkv" else 0.003  # Matroska counts in milliseconds, and packets are copied
    assert clicks_at(output) == pytest.approx(0.5, abs=tolerance)
    assert read_recipe(output)["audio"] == {"kept": True}


@pytest.mark.parametrize(("images_at", "audio_at"), [(0.25, 0.0), (0.0, 0.25)])
def test_audio_that_begins_before_or_after_the_images_stays_in_sync(engine, run, images_at, audio_at):
    source("a.mkv", images_at=images_at, audio_at=audio_at)
    assert run(*RESTYLE, "a.mkv", "-o", "x.mp4", "--frames", 9)[0] == 0
    assert clicks_at("x.mp4") == pytest.approx(0.5, abs=0.003)


def test_audio_that_is_shorter_than_the_video_ends_before_it(engine, run):
    source("a.mp4", seconds=1)
    assert run(*RESTYLE, "a.mp4", "-o", "x.mp4", "--frames", 17)[0] == 0
    assert probe("x.mp4").frames == 17
    assert probe_audio("x.mp4").seconds == pytest.approx(1, abs=0.05)


def test_another_rate_of_frames_keeps_the_time(engine, run):
    source("a.mp4")
    assert run(*RESTYLE, "a.mp4", "-o", "x.mp4", "--fps", 4, "--frames", 5)[0] == 0
    assert probe("x.mp4").seconds == pytest.approx(1.25)
    assert clicks_at("x.mp4") == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize(
    ("output", "kind"), [("x.gif", "a gif"), ("x/", "a PNG sequence"), ("x-%02d.png", "a PNG")]
)
def test_audio_that_has_no_place_is_named(engine, run, output, kind):
    source("a.mp4")
    code, _, err = run(*RESTYLE, "a.mp4", "-o", output, "--frames", 5)
    assert code == 0
    assert f"the audio of a.mp4 is not kept: {kind}" in err


def test_a_video_without_audio_says_nothing_of_it(engine, run):
    source("a.mp4", audio=False)
    code, _, err = run(*RESTYLE, "a.mp4", "-o", "x.mp4", "--frames", 5)
    assert (code, "audio" in err) == (0, False)
    assert not probe("x.mp4").has_audio and "audio" not in read_recipe("x.mp4")


def test_audio_that_cannot_be_read_is_named_and_costs_nothing(engine, run):
    source("a.mkv")
    content = bytearray(Path("a.mkv").read_bytes())
    reader = AudioReader("a.mkv")
    with reader.opened() as (file, stream):
        packets = [(packet.pos, packet.size) for packet in file.demux(stream) if packet.size]
    for at, size in packets[len(packets) // 4 :]:
        content[at + 8 : at + size] = b"\xff" * (size - 8)
    Path("a.mkv").write_bytes(content)
    code, _, err = run(*RESTYLE, "a.mkv", "-o", "x.webm", "--frames", 9)
    assert code == 0 and "the audio of a.mkv is not kept: " in err and "damaged" in err
    assert probe("x.webm").frames == 9 and not probe("x.webm").has_audio
    assert {path.name for path in Path().iterdir()} == {"a.mkv", "x.webm"}


def test_every_take_and_every_video_of_several_has_it(engine, run, monkeypatch):
    monkeypatch.setattr("wan22.director.measure.measure", lambda *_: None)
    monkeypatch.setattr("wan22.director.judge.judge", lambda *_: [])
    source("a.mp4")
    assert run(*RESTYLE, "a.mp4", "-o", "x.mp4", "--frames", 5, "--count", 2)[0] == 0
    assert probe("x-1.mp4").has_audio and probe("x-2.mp4").has_audio
    prompt = "a red ball, the camera pans left"
    taken = (
        "generate",
        prompt,
        "--video",
        "a.mp4",
        "-o",
        "y.mp4",
        "--frames",
        9,
        "--best-of",
        2,
        "--keep-takes",
    )
    assert run(*taken)[0] == 0
    assert probe("y.mp4").has_audio and probe("y-take-0.mp4").has_audio


def test_made_again_it_has_its_audio_again(engine, run):
    source("a.mp4")
    assert run(*RESTYLE, "a.mp4", "-o", "x.mp4")[0] == 0
    code, _, err = run("generate", "--from", "x.mp4", "-o", "y.mp4")
    assert code == 0 and "identical: " in err
    assert clicks_at("y.mp4") == pytest.approx(0.5, abs=0.003)


def test_decode_finds_the_audio_beside_the_latents_or_says_that_it_is_missing(engine, run):
    source("a.mp4")
    engine.fail["decode"] = DecodeError("no memory")
    assert run(*RESTYLE, "a.mp4", "-o", "x.mp4", "--frames", 9)[0] != 0
    engine.fail.clear()
    latents = "x.mp4.latents.safetensors"
    assert run("decode", latents, "-o", "one.mp4")[0] == 0
    assert clicks_at("one.mp4") == pytest.approx(0.5, abs=0.003)
    source("a.mp4", seconds=1)
    code, _, err = run("decode", latents, "-o", "two.mp4")
    assert code == 0 and "is not kept: the video beside the file is another one" in err
    Path("a.mp4").unlink()
    code, _, err = run("decode", latents, "-o", "three.mp4")
    assert code == 0 and "is not kept: " in err and "a.mp4, which is not beside it" in err
    assert not probe("two.mp4").has_audio and not probe("three.mp4").has_audio


@pytest.mark.parametrize("output", ["a.mp4", "./a.mp4", "link.mp4"])
@pytest.mark.parametrize("option", ["--video", "--from"])
def test_what_a_video_is_made_from_is_not_replaced(engine, run, output, option):
    assert run("generate", "p", "-o", "a.mp4")[0] == 0
    Path("link.mp4").symlink_to("a.mp4")
    before = Path("a.mp4").read_bytes()
    prompt = ("p",) if option == "--video" else ()
    code, _, err = run("generate", *prompt, option, "a.mp4", "-o", output)
    assert code == 2 and f"{output} is what the video is made from" in err
    assert Path("a.mp4").read_bytes() == before
