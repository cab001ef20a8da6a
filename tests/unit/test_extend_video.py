"""A video goes on: the same size and rate, its last frame where they meet, its audio kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import write_tiny

from wan22.errors import OptionError, OutputError
from wan22.media.audio import read_audio, write_audio
from wan22.media.audio_track import add_audio
from wan22.media.provenance import Marking, read
from wan22.media.recipe import read_recipe
from wan22.media.video import VideoWriter, probe, read_clip
from wan22.production.extend import extend
from wan22.production.work import Machine, Work
from wan22.types import Audio

SIZE, FPS, FRAMES = (48, 32), 8, 6


class Sink:
    def __init__(self):
        self.results, self.notes = [], []

    def event(self, event):
        pass

    def note(self, text):
        self.notes.append(text)

    def compared(self, source, differences):
        pass

    def made(self, path, recipe):
        self.results.append((path, recipe))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny")


def video(path: Path, *, size=SIZE, fps=FPS, quality="high", **more) -> Path:
    ramp = np.linspace(40, 180, size[0])[None, :, None] + np.linspace(0, 30, size[1])[:, None, None]
    frames = np.stack([np.repeat(ramp + 5 * turn, 3, axis=2) for turn in range(FRAMES)]).astype(np.uint8)
    with VideoWriter(path, fps=fps, size=size, quality=quality, **more) as writer:
        writer.add(frames)
    return path


def work(tiny, source, output=None, **given) -> Work:
    asked = {"prompt": "a red ball rolls left at sunset", "steps": 1, **given}
    return Work(
        given=asked,
        files={"video": str(source)},
        source=None,
        output=str(output) if output else None,
        suffix=".mp4",
        machine=Machine(str(tiny), {"device": "cpu"}),
    )


def close(one, other):
    """Whether frames are alike up to what encoding changes."""
    return np.abs(one.astype(float) - other).mean() < 4


@pytest.mark.parametrize("asked, added", [({"frames": 4}, 4), ({"seconds": 0.5}, 4), ({"frames": 1}, 1)])
def test_the_video_is_longer_by_what_was_asked(tiny, tmp_path, asked, added):
    source, output, sink = video(tmp_path / "a.mp4"), tmp_path / "b.mp4", Sink()
    before = source.read_bytes()
    extend(work(tiny, source, output, **asked), sink)
    info = probe(output)
    assert (info.width, info.height, info.fps, info.frames) == (*SIZE, FPS, FRAMES + added)
    assert np.array_equal(read_clip(output).frames[:FRAMES], read_clip(source).frames), "copied, not encoded"
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    [(place, recipe)] = sink.results
    assert place == str(output)
    assert read_recipe(output) == recipe
    assert recipe["joined"][1]["frames"] == added + 1


def test_the_doubled_frame_is_left_out(tiny, tmp_path, monkeypatch):
    source, seen = video(tmp_path / "a.mp4"), {}

    def made(part, events, journal=None, load=None):
        from wan22.media.image import read_image

        seen["image"], seen["given"] = read_image(part.files["image"]), part.given
        frames = np.stack([np.full((SIZE[1], SIZE[0], 3), 40 * turn, np.uint8) for turn in range(4)])
        with VideoWriter(part.output, fps=FPS, size=SIZE) as writer:
            writer.add(frames)
            writer.close({"prompt": "p", "fps": FPS})
        events.made(part.output, {"prompt": "p"})

    monkeypatch.setattr("wan22.production.extend.make", made)
    extend(work(tiny, source, tmp_path / "b.mp4", frames=3), Sink())
    frames = read_clip(tmp_path / "b.mp4").frames
    assert [int(frame.mean().round(-1)) for frame in frames[FRAMES:]] == [40, 80, 120]
    assert close(seen["image"], read_clip(source).frames[-1])
    assert seen["given"]["size"] == SIZE
    assert seen["given"]["fps"] == FPS
    assert seen["given"]["frames"] == 4


@pytest.mark.parametrize(
    "name, more",
    [("a.mov", {}), ("a.mp4", {"quality": "draft"}), ("a.mp4", {"fps": 7.5}), ("a.webm", {}), ("a.gif", {})],
    ids=["prores", "other quality", "other rate", "webm", "gif"],
)
def test_videos_of_other_kinds_are_encoded_once_more(tiny, tmp_path, name, more):
    source = video(tmp_path / name, **more)
    extend(work(tiny, source, tmp_path / "b.mp4", frames=2), Sink())
    info = probe(tmp_path / "b.mp4")
    assert info.frames == FRAMES + 2
    assert abs(info.fps - probe(source).fps) < 0.01
    assert close(read_clip(tmp_path / "b.mp4").frames[:FRAMES], read_clip(source).frames)


@pytest.mark.parametrize("quality", ["high", "draft"])
def test_audio_is_kept_and_silence_follows(tiny, tmp_path, quality):
    silent, source = video(tmp_path / "silent.mp4", quality=quality), tmp_path / "a.mp4"
    tone = np.sin(np.arange(16_000) * 0.2).astype(np.float32) * 0.5
    write_audio(tmp_path / "tone.wav", Audio(tone, 16_000))
    add_audio(silent, tmp_path / "tone.wav", source)
    extend(work(tiny, source, tmp_path / "b.mp4", frames=8), Sink())
    heard = read_audio(tmp_path / "b.mp4", rate=16_000).samples
    length = int(FRAMES / FPS * 16_000)
    assert heard[2000 : length - 2000].std() > 0.3
    assert not np.abs(heard[length + 2000 :]).max(initial=0) > 0.01


def test_without_an_output_it_goes_beside_the_video(tiny, tmp_path):
    source, sink = video(tmp_path / "a.mp4"), Sink()
    extend(work(tiny, source, frames=1), sink)
    assert sink.results[0][0] == str(tmp_path / "a-extended.mp4")


def test_an_interrupted_extension_goes_on(tiny, tmp_path, monkeypatch):
    source, output = video(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    monkeypatch.setattr("wan22.media.join.join_videos", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extend(work(tiny, source, output, frames=2), Sink())
    assert not output.exists()
    monkeypatch.undo()
    extend(work(tiny, source, output, frames=2), Sink())
    assert probe(output).frames == FRAMES + 2


@pytest.mark.parametrize(
    "change, error, says",
    [
        (lambda w: replace(w, files={}), OptionError, "no video to extend"),
        (lambda w: replace(w, files=w.files | {"image": "x.png"}), OptionError, "--image"),
        (lambda w: replace(w, given=w.given | {"size": (64, 64)}), OptionError, "--size"),
        (lambda w: replace(w, given=w.given | {"fps": 24}), OptionError, "--fps"),
        (lambda w: replace(w, count=2), OptionError, "--count"),
        (lambda w: replace(w, output=w.files["video"]), OutputError, "is the video that is extended"),
        (lambda w: replace(w, output="b.gif"), OutputError, "extended to a .mp4"),
    ],
)
def test_what_does_not_go_with_it_is_said_first(tiny, tmp_path, monkeypatch, change, error, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wan22.production.extend.make", lambda *_: pytest.fail("nothing is made"))
    with pytest.raises(error, match=says):
        extend(change(work(tiny, video(tmp_path / "a.mp4"))), Sink())
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("on", "quality"), [(True, "high"), (True, "draft"), (False, "high")])
def test_it_is_marked_as_made_in_part_unless_that_is_off(tiny, tmp_path, monkeypatch, on, quality):
    monkeypatch.setenv("WAN22_PROVENANCE", "on")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    source, target = video(tmp_path / "a.mp4", quality=quality), tmp_path / "b.mp4"
    extend(replace(work(tiny, source, target, frames=4), marking=Marking(on=on)), Sink())
    found = read(target)
    if on:
        assert found.source_type == found.signed_type == "compositeWithTrainedAlgorithmicMedia"
        assert found.signer and not found.problems
    else:
        assert found is None
