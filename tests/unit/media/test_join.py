"""Videos one after the other: the same images, audio where there was some, refused where they differ."""

import numpy as np
import pytest

from wan22.errors import OutputError
from wan22.media.audio import probe_audio, read_audio, write_audio
from wan22.media.audio_track import add_audio
from wan22.media.join import join_videos
from wan22.media.long_video import LongVideo
from wan22.media.recipe import read_recipe
from wan22.media.video import probe, read_clip
from wan22.media.writer import VideoWriter
from wan22.types import Audio


def frames(count, seed=0, size=(48, 32)):
    noise = np.random.default_rng(seed).integers(
        0, 255, (count, size[1] // 8, size[0] // 8, 3), dtype=np.uint8
    )
    return noise.repeat(8, 1).repeat(8, 2)


def video(path, count, seed=0, size=(48, 32), fps=8, codec=None):
    with VideoWriter(path, fps=fps, size=size, codec=codec) as writer:
        writer.add(frames(count, seed, size))
        writer.close({"seed": seed})
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm"])
@pytest.mark.parametrize("lengths", [(1, 9, 5), (9, 1, 1)])
def test_joined_videos_show_every_frame_of_each_as_it_was(tmp_path, name, lengths):
    parts = [video(tmp_path / f"{n}{name}", count, n) for n, count in enumerate(lengths)]
    join_videos(parts, tmp_path / name, {"joined": [1, 2, 3]})
    whole, info = read_clip(tmp_path / name), probe(tmp_path / name)
    assert (whole.frames == np.concatenate([read_clip(part).frames for part in parts])).all()
    assert info.frames == sum(lengths) and info.fps == pytest.approx(8, rel=1e-3) and not info.has_audio
    assert read_recipe(tmp_path / name) == {"joined": [1, 2, 3]}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_long_video_follows_a_short_one(tmp_path):
    short = video(tmp_path / "short.mp4", 5)
    with LongVideo(tmp_path / "long.mp4", fps=8, size=(48, 32), identity={}) as long:
        for clip in range(2):
            long.add(frames(5, clip + 1))
            long.finish_clip()
        long.close({})
    join_videos([short, tmp_path / "long.mp4", short], tmp_path / "all.mp4")
    assert len(read_clip(tmp_path / "all.mp4").frames) == 20


def test_audio_stays_where_it_was_and_the_rest_is_silent(tmp_path):
    silent, spoken = video(tmp_path / "a.mp4", 8), video(tmp_path / "b.mp4", 8, 1)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000)
    write_audio(tmp_path / "tone.wav", Audio(tone.astype(np.float32), 16_000))
    add_audio(spoken, tmp_path / "tone.wav", spoken)
    join_videos([silent, spoken, silent], tmp_path / "all.mp4")
    assert probe_audio(tmp_path / "all.mp4").seconds == pytest.approx(3, abs=0.1)
    heard = read_audio(tmp_path / "all.mp4").samples
    loud = [float(np.abs(heard[at : at + 6000]).mean()) for at in (8000, 17_000, 26_000, 40_000)]
    assert loud[1] > 0.2 and max(loud[0], loud[2], loud[3]) < 0.01


def test_audio_of_two_rates_is_joined(tmp_path):
    parts = [video(tmp_path / f"{n}.mp4", 8, n) for n in range(2)]
    for part, rate in zip(parts, (16_000, 44_100), strict=True):
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
        write_audio(tmp_path / "tone.wav", Audio(tone.astype(np.float32), rate))
        add_audio(part, tmp_path / "tone.wav", part)
    join_videos(parts, tmp_path / "all.mp4")
    heard = read_audio(tmp_path / "all.mp4").samples
    crossings = [int((np.diff(np.sign(heard[at : at + 8000])) != 0).sum()) for at in (4000, 20_000)]
    assert crossings == pytest.approx([440, 440], rel=0.02)


@pytest.mark.parametrize(
    ("other", "said"),
    [({"size": (32, 48)}, "32x48"), ({"fps": 16}, "16 frames"), ({"codec": "hevc"}, "hevc")],
)
def test_videos_that_differ_are_refused_and_what_was_there_stays(tmp_path, other, said):
    first, second = video(tmp_path / "a.mp4", 5), video(tmp_path / "b.mp4", 5, **other)
    (tmp_path / "all.mp4").write_bytes(b"mine")
    with pytest.raises(OutputError, match=said):
        join_videos([first, second], tmp_path / "all.mp4")
    assert (tmp_path / "all.mp4").read_bytes() == b"mine"
    with pytest.raises(OutputError, match="no video"):
        join_videos([], tmp_path / "all.mp4")
    with pytest.raises(OutputError, match="joined as"):
        join_videos([first], tmp_path / "all.gif")
