"""Clips and texts encoded once: what a row holds, and that the cache is safe to kill, to damage and to share."""

import wave

import numpy as np
import pytest
import torch
from safetensors import safe_open
from unit.tiny import write_tiny, write_tiny_speech
from unit.train.media import write_captioned_image, write_clip

import wan22
import wan22.media.video
from wan22.conditioning.image import frames, to_pixels
from wan22.errors import CheckpointError, MediaError, OptionError, OutputError, SizeError
from wan22.train.data import DataPlan, encode, prepare, survey
from wan22.train.data import cache as cache_module
from wan22.train.lock import locked

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return wan22.load(write_tiny(tmp_path_factory.mktemp("model") / "tiny", image="known"), **CPU)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return wan22.load(write_tiny(tmp_path_factory.mktemp("model") / "tiny", image="channels"), **CPU)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    pytest.importorskip("transformers")
    return wan22.load(write_tiny_speech(tmp_path_factory.mktemp("model") / "tiny"), **CPU)


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    write_clip(folder / "a.mp4", frames=9)
    write_clip(folder / "b.mp4", frames=15, text="a blue cube spins")
    write_clip(folder / "c.mp4", frames=8, width=64, height=40)
    write_captioned_image(folder / "d.png", text="a red ball rolls left")
    return folder


def seen(folder, *, size=(48, 32), frames=(5, 9), fps=8.0):
    return survey(DataPlan((folder,), size, frames, fps))


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


class Said(list):
    def __call__(self, text):
        self.append(text)

    def has(self, part):
        return any(part in line for line in self)


def test_a_row_holds_what_the_engine_makes_of_the_frames(tmp_path, clips, engine):
    said = Said()
    data = prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=said)
    assert data.buckets == {"48x32x5": [2, 3], "48x32x9": [0, 1], "48x32x1": [4]}
    assert len(data) == 5
    row = data.row(0)
    assert (row.latents.shape, row.latents.dtype) == ((4, 3, 4, 6), torch.float32)
    frames = [frame for frame in wan22.media.video.read_clip(clips / "a.mp4").frames]
    pixels = torch.stack([to_pixels(frame) for frame in frames], dim=1)
    assert torch.allclose(row.latents, engine.encode_pixels(pixels[None])[0], atol=1e-5)
    assert torch.equal(row.text, engine.encode_text(["a red ball rolls left"])[0])
    assert torch.equal(data.empty, engine.encode_text([""])[0])
    assert (row.caption, row.source.name, row.extra) == ("a red ball rolls left", "a.mp4", {})
    assert data.row(4).latents.shape == (4, 1, 4, 6)


def test_a_text_is_encoded_once_for_all_clips_that_share_it(tmp_path, clips, engine, monkeypatch):
    asked = []
    real = engine.encode_text
    monkeypatch.setattr(engine, "encode_text", lambda texts: asked.extend(texts) or real(texts))
    prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said())
    assert sorted(asked) == ["", "a blue cube spins", "a red ball rolls left"]


def test_a_second_run_encodes_nothing(tmp_path, clips, engine, monkeypatch):
    prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said())
    before = files(tmp_path / "cache")

    def never(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr(engine, "encode_text", never)
    monkeypatch.setattr(engine, "encode_pixels", never)
    said = Said()
    data = prepare(seen(clips), engine, tmp_path / "cache", task="ti2v", log=said)
    assert len(data) == 5 and files(tmp_path / "cache") == before
    assert said.has("clips: 5 ready, 0 to encode") and not said.has("other settings")


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path, clips, engine, monkeypatch):
    real, calls = engine.encode_pixels, []

    def dies(video):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(video)

    monkeypatch.setattr(engine, "encode_pixels", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said())
    assert len(files(tmp_path / "cache" / "clips")) == 2
    said = Said()
    data = prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=said)
    assert said.has("clips: 2 ready, 3 to encode") and len(calls) == 6 and len(data) == 5
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_cache_is_encoded_into_by_one_process_at_a_time(tmp_path, clips, engine):
    cache = tmp_path / "cache"
    with locked(cache / "prepare.lock", f"encodes clips into {cache}"):
        with pytest.raises(OutputError, match=r"process \d+ encodes clips into .*cache; wait for its end"):
            prepare(seen(clips), engine, cache, task="t2v", log=Said())
        assert not files(cache)
    assert len(prepare(seen(clips), engine, cache, task="t2v", log=Said())) == 5
    assert not (cache / "prepare.lock").exists()


def test_other_settings_are_never_used_by_mistake_and_both_are_kept(tmp_path, clips, engine):
    prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said())
    said = Said()
    other = prepare(seen(clips, fps=4.0, frames=(5,)), engine, tmp_path / "cache", task="t2v", log=said)
    assert said.has("made by other settings: 4 kept, 1 made")  # the image is the same at every rate
    assert len(files(tmp_path / "cache" / "clips")) == 6
    assert other.row(0).latents.shape == (4, 2, 4, 6)


def test_a_clip_whose_content_changed_is_made_again(tmp_path, clips, engine):
    first = prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said()).row(0).latents
    write_clip(clips / "a.mp4", frames=11, text="a red ball rolls left")
    said = Said()
    write_captioned_image(clips / "d.png", 64, 64)
    data = prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=said)
    assert said.has("made by other settings: 2 kept, 2 made")
    assert data.row(0).latents.shape == first.shape


def test_another_vae_makes_other_entries(tmp_path, clips, engine, monkeypatch):
    prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said())
    monkeypatch.setitem(engine.weights, "vae", "sha256:other")
    said = Said()
    prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=said)
    assert said.has("made by other settings: 5 kept, 5 made")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap"])
def test_a_damaged_entry_is_noticed_at_a_read_and_made_again(tmp_path, clips, engine, damage):
    data = prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said())
    whole = data.row(0).latents
    path = data.clips.path(data.entries[0].key)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    damaged = {
        "flip": bytes(content),
        "cut": bytes(content[:-100]),
        "empty": b"",
        "swap": data.clips.path(data.entries[4].key).read_bytes(),
    }[damage]
    path.write_bytes(damaged)
    if damage != "swap":  # whole in itself, but not what this name stands for
        with pytest.raises(CheckpointError, match="Prepare the data again"):
            data.row(0)
    said = Said()
    again = prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=said)
    assert said.has(f"damaged, made again: {path}") and said.has("4 ready, 1 to encode")
    assert torch.equal(again.row(0).latents, whole)


def test_an_entry_says_what_made_it(tmp_path, clips, engine):
    data = prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said())
    with safe_open(data.clips.path(data.entries[0].key), "pt") as file:
        notes = file.metadata()
    assert engine.weights["vae"] in notes["settings"] and '"frames": 9' in notes["settings"]


def test_a_clip_that_breaks_on_the_way_is_dropped_with_a_word(tmp_path, clips, engine):
    found = seen(clips)
    (clips / "b.mp4").write_bytes(b"no video any more, but some bytes")
    said = Said()
    data = prepare(found, engine, tmp_path / "cache", task="t2v", log=said)
    assert {entry.video.item.path.name for entry in data.entries} == {"a.mp4", "c.mp4", "d.png"}
    assert [problem.file for problem in data.dropped] == [str(clips / "b.mp4")]
    assert said.has("not used: ")
    for name in ("a.mp4", "c.mp4", "d.png"):
        (clips / name).unlink()
    with pytest.raises(MediaError, match="no clip could be encoded"):
        prepare(found, engine, tmp_path / "other", task="t2v", log=Said())


def test_repeats_stand_in_the_buckets_and_not_on_the_disk(tmp_path, clips, engine):
    (tmp_path / "set.toml").write_text(
        "[[datasets]]\nvideo_directory='clips'\nnum_repeats=3\nframe_extraction='chunk'\n"
    )
    data = prepare(seen(tmp_path / "set.toml"), engine, tmp_path / "cache", task="t2v", log=Said())
    assert len(data) == 4 and data.buckets["48x32x9"] == [0, 0, 0, 1, 1, 1]
    assert len(files(tmp_path / "cache" / "clips")) == 4


def test_a_video_that_begins_with_its_image_is_told_by_channels(tmp_path, clips, told):
    said = Said()
    data = prepare(seen(clips), told, tmp_path / "cache", task="i2v", log=said)
    assert said.has("d.png: is one image")
    known = data.row(0).extra["channels"]
    assert (known.shape, known.dtype) == ((8, 3, 4, 6), torch.float32)
    assert torch.equal(known[:4, 0], torch.ones(4, 4, 6)) and not known[:4, 1:].any()
    frames = wan22.media.video.read_clip(clips / "a.mp4").frames
    video = torch.zeros(3, 9, 32, 48)
    video[:, 0] = to_pixels(frames[0])
    assert torch.allclose(known[4:], told.encode_pixels(video[None])[0], atol=1e-5)


def test_a_video_that_may_end_on_a_known_image_keeps_it_as_the_engine_tells_it(tmp_path, clips, engine):
    data = prepare(seen(clips), engine, tmp_path / "cache", task="ti2v", ends=True, log=Said())
    plain = prepare(seen(clips), engine, tmp_path / "cache", task="ti2v", log=Said())
    row, still = data.row(0), data.row(4)
    assert row.extra.keys() == {"last"} and still.extra == {} and plain.row(0).extra == {}
    assert torch.equal(row.latents, plain.row(0).latents)
    request = wan22.Request(prompt="a red ball", size=(48, 32), frames=9)
    image = wan22.media.video.read_clip(clips / "a.mp4").frames[8]
    known = frames(None, image, engine.check(request), engine.encode_pixels)
    assert torch.allclose(row.extra["last"], known.latents[:, -1], atol=1e-5)
    with pytest.raises(OptionError, match="last images are for ti2v, not for t2v"):
        prepare(seen(clips), engine, tmp_path / "cache", task="t2v", ends=True, log=Said())


@pytest.mark.parametrize(
    ("task", "error", "part"),
    [
        ("i2v", None, None), ("s2v", OptionError, "it can for t2v, i2v, ti2v"), ("x2v", OptionError, "unknown task"),
    ],
)  # fmt: skip
def test_a_task_that_the_model_cannot_be_trained_for_is_refused(tmp_path, clips, engine, task, error, part):
    if error is None:
        assert len(prepare(seen(clips), engine, tmp_path / "cache", task=task, log=Said())) == 5
        return
    with pytest.raises(error, match=part):
        prepare(seen(clips), engine, tmp_path / "cache", task=task, log=Said())


def test_lengths_that_only_audio_drives_are_refused_before_anything_is_encoded(tmp_path, clips, engine):
    (clips / "d.png").unlink()
    with pytest.raises(SizeError, match="plan 9"):
        prepare(seen(clips, frames=(8,)), engine, tmp_path / "cache", task="t2v", log=Said())
    assert not (tmp_path / "cache").exists()


def test_a_disk_without_room_is_said_before_the_work(tmp_path, clips, engine, monkeypatch):
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        OutputError, match=r"needs \S+ MB for .* 16 MB to spare, and the disk has 0\.001 MB free"
    ):
        prepare(seen(clips), engine, tmp_path / "cache", task="t2v", log=Said())


def test_a_full_disk_is_room_enough_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 20_000_000}))
    cache_module.check_room(tmp_path, 200_000)
    with pytest.raises(OutputError, match=r"needs 8\.4 MB .* has 20 MB free"):
        cache_module.check_room(tmp_path, 8_400_000)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0}))
    cache_module.check_room(tmp_path, 0)


# Audio


def speaking(folder, seconds=5.0):
    """A clip of `seconds` at 8 frames a second and its audio in a table."""
    write_clip(folder / "a.mp4", frames=int(seconds * 8), width=64, height=64)
    time = np.arange(int(seconds * 16000)) / 16000
    samples = (np.sin(2 * np.pi * 200 * time) * time / seconds * 20000).astype(np.int16)
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    (folder / "metadata.csv").write_text("video,prompt,input_audio\na.mp4,a red ball,a.wav\n")
    return folder


def test_a_video_that_audio_drives_is_told_its_reference_its_past_and_what_is_heard(tmp_path, speaker):
    found = seen(speaking(tmp_path / "clips"), size=(64, 64), frames=(8,))
    data = prepare(found, speaker, tmp_path / "cache", task="s2v", log=Said())
    assert data.buckets == {"64x64x8": [0, 1, 2, 3, 4]}
    first, later = data.row(0), data.row(4)
    shapes = {name: tuple(tensor.shape) for name, tensor in later.extra.items()}
    assert shapes == {"reference": (4, 1, 8, 8), "motion": (4, 7, 8, 8), "audio": (3, 8, 8)}
    assert later.latents.shape == first.latents.shape == (4, 2, 8, 8)
    assert first.extra.keys() == {"reference", "audio"}
    # The past that starts before its clip is the same video: 25 frames, then the clip's eight.
    frames = wan22.media.video.read_clip(tmp_path / "clips/a.mp4").frames
    video = torch.stack([to_pixels(frame) for frame in frames[7:40]], dim=1)
    whole = speaker.encode_pixels(video[None])[0]
    assert torch.allclose(torch.cat([later.extra["motion"], later.latents], dim=1), whole, atol=1e-5)
    audio = wan22.read_audio(tmp_path / "clips/a.wav")
    hearing = encode.AudioFeatures(audio, speaker.encode_audio)
    assert torch.allclose(later.extra["audio"], hearing.clip(4, 8, 8.0)[0], atol=1e-5)
    assert not torch.allclose(first.extra["audio"], later.extra["audio"])


def test_a_clip_without_audio_or_of_another_length_cannot_be_driven_by_it(tmp_path, speaker):
    write_clip(tmp_path / "clips/a.mp4", frames=16, width=64, height=64)
    with pytest.raises(SizeError, match="has no audio"):
        prepare(
            seen(tmp_path / "clips", size=(64, 64), frames=(8,)),
            speaker,
            tmp_path / "cache",
            task="s2v",
            log=Said(),
        )
    with pytest.raises(SizeError, match="multiples of 4"):
        prepare(
            seen(tmp_path / "clips", size=(64, 64), frames=(9,)),
            speaker,
            tmp_path / "cache",
            task="s2v",
            log=Said(),
        )
    with pytest.raises(SizeError, match="multiples of 64"):
        prepare(
            seen(tmp_path / "clips", size=(48, 32), frames=(8,)),
            speaker,
            tmp_path / "cache",
            task="s2v",
            log=Said(),
        )
