"""A long video is safe clip by clip: whatever ends the process, it goes on, and the video is the same."""

import json
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from wan22.errors import MediaError, OptionError, OutputError, SizeError
from wan22.media import long_video as video_module
from wan22.media import sequence_files
from wan22.media.image import read_image
from wan22.media.long_video import LongVideo, working_folder
from wan22.media.recipe import frames_hash, read_recipe
from wan22.media.video import VideoWriter, read_clip

LENGTHS = (5, 1, 2, 8)
"""Short clips are where reordered frames and look-ahead go wrong."""

FORMATS = [
    ("video.mp4", "h264"),
    ("video.mp4", "hevc"),
    ("video.mp4", "av1"),
    ("video.mov", "prores"),
    ("video.mov", "hevc"),
    ("video.webm", "vp9"),
    ("video.webm", "av1"),
]
SIZE = (256, 32)
"""Rows of 16 blocks: for others, x264's AVX-512 code reads memory that nobody wrote, and its bytes vary."""


def images(first, count):
    """A slowly changing image of many colours, and in it the number of the frame: nine black or white bars."""
    y, x = np.mgrid[:32, :256]
    frames = []
    for number in range(first, first + count):
        frame = np.stack([x, y * 7, 128 + 100 * np.sin(number / 5 + x / 60)], -1)
        for bit in range(9):
            frame[:16, bit * 28 : bit * 28 + 28] = 255 * (number >> bit & 1)
        frames.append(frame)
    return np.array(frames).reshape(count, 32, 256, 3).astype(np.uint8)


def number(frame):
    return sum(1 << bit for bit in range(9) if frame[4:12, bit * 28 + 6 : bit * 28 + 22].mean() > 128)


def begin(path, codec=None, **more):
    return LongVideo(path, **({"fps": 16, "size": SIZE, "codec": codec, "identity": {"seed": 1}} | more))


def grow(video, clips=4):
    """Make the clips that are missing, up to `clips` in all."""
    while video.finished < clips:
        length, first = LENGTHS[video.finished], video.frames
        if video.finished:
            assert video.carry.read_bytes() == f"after {first}".encode()
        video.add(images(first, 1)[0])
        video.add(images(first + 1, length - 1))
        video.finish_clip(f"after {first + length}".encode())


def whole(path, codec=None):
    with begin(path, codec) as video:
        grow(video)
        digest = video.digest()
        video.close({"clips_sha256": digest})
    return digest


def times(path):
    """Show what a player sees: for every frame in order, its number in the image and its time.

    As a player does, go on after what cannot be decoded: a torn fragment at the end.
    """
    frames = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            with suppress(av.error.InvalidDataError):
                frames += packet.decode()
    return [(number(frame.to_ndarray(format="rgb24")), frame.pts * frame.time_base) for frame in frames]


@contextmanager
def files_up_to(size):
    """Let the system refuse to make any file longer than `size` bytes."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize(("name", "codec"), FORMATS)
def test_every_frame_is_there_once_at_its_time(tmp_path, name, codec):
    path = tmp_path / name
    with begin(path, codec, fps=Fraction(24000, 1001)) as video:
        grow(video)
        growing = times(video.growing)
        video.close({"seed": 1})
    exact = [(index, index * Fraction(1001, 24000)) for index in range(sum(LENGTHS))]
    assert growing == exact
    if name.endswith("webm"):  # its clock ticks in milliseconds
        exact = [(index, Fraction(int(time * 1000 + Fraction(1, 2)), 1000)) for index, time in exact]
    assert times(path) == exact
    assert read_recipe(path) == {"seed": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "codec"), FORMATS)
def test_the_finished_file_is_like_one_that_was_made_at_once(tmp_path, name, codec):
    whole(tmp_path / name, codec)
    with VideoWriter(tmp_path / f"short-{name}", fps=16, size=SIZE, codec=codec) as writer:
        writer.add(images(0, sum(LENGTHS)))

    def header(path):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            colours = (
                context.color_range,
                context.colorspace,
                context.color_primaries,
                context.color_trc,
                context.pix_fmt,
            )
            return (
                context.codec_tag,
                colours,
                stream.frames,
                stream.average_rate,
                stream.start_time,
                stream.duration,
                container.duration,
                {packet.duration for packet in container.demux(stream) if packet.size},
                [box for box in boxes(path) if box != "free"],
            )

    assert header(tmp_path / name) == header(tmp_path / f"short-{name}")
    short, long = (read_clip(tmp_path / prefix).frames.astype(int) for prefix in (f"short-{name}", name))
    assert np.abs(short - long).mean() < 2


def boxes(path):
    """Names of the top-level boxes of an MP4 or MOV; moov before mdat is faststart."""
    content, found, at = path.read_bytes(), [], 0
    while content[4:8] == b"ftyp" and at < len(content):
        found.append(content[at + 4 : at + 8].decode())
        at += int.from_bytes(content[at : at + 4], "big")
    return found


def test_it_plays_while_it_grows(tmp_path):
    path = tmp_path / "video.mp4"
    with begin(path) as video:
        for clips in range(1, len(LENGTHS) + 1):
            grow(video, clips)
            video.add(images(video.frames, 3))
            assert [index for index, _ in times(video.growing)] == list(range(sum(LENGTHS[:clips])))
            video.abort()
            video.__init__(path, fps=16, size=SIZE, identity={"seed": 1})
    assert not path.exists()


WRITER = """
import os, signal, sys
sys.path[:0] = {paths!r}
import test_video
from wan22.media import long_video as module, clip_store as stores
video = test_video.begin({path!r}, {codec!r})
test_video.grow(video, 2)
{fatal}
test_video.grow(video, 3)
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
FATAL = {
    "in the middle of a clip": f"video.add(test_video.images(video.frames, 1)); {DIE}",
    "half a fragment": (
        "stores._append = lambda path, at, content: "
        f"[open(path, 'r+b').seek(0, 2), open(path, 'ab', 0).write(content[:len(content) // 2]), {DIE}]"
    ),
    "before its carry": f"module._write = lambda path, content: {DIE}",
    "before the index": (
        "write = module._write; module._write = lambda path, content: "
        f"{DIE} if path.name == 'video.json' else write(path, content)"
    ),
    "before the index is renamed": (
        "from pathlib import Path\nreplace = Path.replace\n"
        f"Path.replace = lambda path, target: {DIE} if target.name == 'video.json' else replace(path, target)"
    ),
}


def killed(path, codec, fatal):
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    script = WRITER.format(paths=paths, path=str(path), codec=codec, fatal=fatal)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("moment", FATAL)
def test_a_killed_video_goes_on_as_if_nothing_had_been(tmp_path, moment):
    digest = whole(tmp_path / "once.mp4", "h264")
    path = tmp_path / "video.mp4"
    killed(path, "h264", FATAL[moment])
    growing = working_folder(path) / "video.mp4"
    assert [index for index, _ in times(growing)][: sum(LENGTHS[:2])] == list(range(sum(LENGTHS[:2])))
    with begin(path, "h264") as video:
        assert (video.finished, video.frames, video.lengths) == (2, sum(LENGTHS[:2]), LENGTHS[:2])
        assert [index for index, _ in times(video.growing)] == list(range(video.frames))
        grow(video)
        assert video.digest() == digest
        video.close({"clips_sha256": digest})
    assert path.read_bytes() == (tmp_path / "once.mp4").read_bytes()


@pytest.mark.parametrize("name", ["shots/", "shot-%03d.png"])
def test_a_killed_sequence_goes_on_too(tmp_path, name):
    path = f"{tmp_path}/{name}"
    killed(path, None, FATAL["in the middle of a clip"])
    assert not sequence_files.numbered(path)
    with begin(path) as video:
        assert video.finished == 2
        assert len(sequence_files.numbered(video.growing)) == video.frames
        grow(video)
        video.close({"seed": 1})
    there = [read_image(image) for image in sequence_files.numbered(path)]
    assert np.array_equal(there, images(0, sum(LENGTHS)))
    assert read_recipe(path) == {"seed": 1}
    assert not working_folder(path).exists()


def test_a_sequence_killed_while_it_is_published_is_published_by_the_next(tmp_path, monkeypatch):
    path = f"{tmp_path}/shots/"
    with VideoWriter(path, fps=16, size=SIZE) as writer:
        writer.add(images(100, 30))
    video = begin(path)
    grow(video)

    def interrupted(one, other):
        raise KeyboardInterrupt

    monkeypatch.setattr("wan22.atomic._exchanged", interrupted)
    with pytest.raises(KeyboardInterrupt):
        video.close({"seed": 1})
    monkeypatch.undo()
    assert len(sequence_files.numbered(path)) == 30  # the former one, whole
    with begin(path) as video:
        assert video.finished == len(LENGTHS)
        video.close({"seed": 1})
    assert np.array_equal(
        [read_image(image) for image in sequence_files.numbered(path)], images(0, sum(LENGTHS))
    )
    assert read_recipe(path) == {"seed": 1}


def test_the_digest_is_that_of_the_clips_frames(tmp_path):
    import hashlib

    digest = whole(tmp_path / "video.mp4")
    starts = np.cumsum((0, *LENGTHS))
    hashes = [frames_hash(images(first, count)) for first, count in zip(starts, LENGTHS, strict=False)]
    assert digest == hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert read_recipe(tmp_path / "video.mp4") == {"clips_sha256": digest}


@pytest.mark.parametrize("name", ["video.mp4", "video.webm", "shots/"])
def test_a_full_disk_costs_one_clip_and_the_same_request_goes_on(tmp_path, name):
    whole(f"{tmp_path}/once-{name}")
    path = f"{tmp_path}/{name}"
    video = begin(path)
    grow(video, 2)
    size = video.growing.stat().st_size + 100 if video.growing.exists() else 100
    with (
        files_up_to(size),
        pytest.raises(OutputError, match=r"Kept in .*: 2 finished clips \(0.4 s\); .*goes on"),
    ):
        grow(video)
    if video.growing.exists():
        assert video.growing.stat().st_size == size - 100
        assert len(times(video.growing)) == sum(LENGTHS[:2])
    with pytest.raises(ValueError, match="closed"):
        video.add(images(0, 1))
    with begin(path) as video:
        assert video.finished == 2
        grow(video)
        video.close()
    made, once = (
        [read_image(image) for image in sequence_files.numbered(there)]
        if name.endswith("/")
        else read_clip(there).frames
        for there in (path, f"{tmp_path}/once-{name}")
    )
    assert np.array_equal(made, once)


@pytest.mark.parametrize("what", ["carry", "index", "publish"])
def test_a_disk_that_fills_up_later_loses_no_finished_clip(tmp_path, monkeypatch, what):
    path = tmp_path / "video.mp4"
    path.write_text("an old video")
    video = begin(path)
    grow(video, 2)
    if what == "publish":
        with (
            files_up_to(video.growing.stat().st_size // 2),
            pytest.raises(OutputError, match="2 finished clips"),
        ):
            video.close({"seed": 1})
    else:
        written = video_module.written

        def full(target, part=None):
            if target.name.startswith("carry" if what == "carry" else "video.json"):
                raise OSError(28, "No space left on device")
            return written(target, part)

        monkeypatch.setattr(video_module, "written", full)
        with pytest.raises(OutputError, match=r"No space left on device\. Kept in .*: 2 finished clips"):
            grow(video, 3)
        monkeypatch.undo()
    assert path.read_text() == "an old video"
    with begin(path) as video:
        assert video.finished == 2
        assert {entry.name for entry in video.folder.iterdir()} == {
            "video.mp4",
            "video.json",
            "carry-0002",
            "lock",
        }
        grow(video)
        video.close()
    assert len(times(path)) == sum(LENGTHS)


def test_another_video_is_refused_with_what_differs_unless_begun_afresh(tmp_path):
    path = tmp_path / "video.mp4"
    long = {"seed": 1, "prompts": ["a" * 90], "model": {"name": "nano", "steps": 4}}
    with begin(path, identity=long) as video:
        grow(video, 2)
    other = {"seed": 2, "prompts": ["b" * 90], "model": {"name": "nano", "steps": 5}, "pose": "p.mp4"}
    with pytest.raises(OutputError) as refused:
        begin(path, identity=other, codec="hevc", fps=24)
    message = str(refused.value)
    assert message.startswith(f"{working_folder(path)} holds 2 finished clips of another video: ")
    for part in (
        'codec is "h264" there, "hevc" asked',
        'fps is "16" there, "24" asked',
        "seed is 1 there, 2 asked",
        "prompts differs",
        "model.steps is 4 there, 5 asked",
        'pose is null there, "p.mp4" asked',
        "afresh",
    ):
        assert part in message
    with begin(path, identity=long) as video:
        assert video.finished == 2
    with begin(path, identity=other, restart=True) as video:
        assert (video.finished, video.frames, video.carry) == (0, 0, None)
        grow(video)
        video.close()
    assert len(times(path)) == sum(LENGTHS)


def test_an_identity_is_compared_as_json(tmp_path):
    with begin(tmp_path / "video.mp4", identity={"size": (48, 32), "steps": {4: 1.0}}) as video:
        grow(video, 1)
    with begin(tmp_path / "video.mp4", identity={"size": [48, 32], "steps": {"4": 1.0}}) as video:
        assert video.finished == 1


def test_two_processes_do_not_make_the_same_video(tmp_path):
    with begin(tmp_path / "video.mp4") as video:
        with pytest.raises(OutputError, match="by another process"):
            begin(tmp_path / "video.mp4", restart=True)
        grow(video)
        video.close()
    assert len(times(tmp_path / "video.mp4")) == sum(LENGTHS)


def test_without_a_finished_clip_nothing_is_left(tmp_path):
    with begin(tmp_path / "video.mp4") as video:
        video.add(images(0, 3))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="not a single clip"):
        begin(tmp_path / "video.mp4").close()
    assert list(tmp_path.iterdir()) == []


def test_damage_is_told_and_not_built_on(tmp_path):
    path = tmp_path / "video.mp4"
    with begin(path) as video:
        grow(video, 2)
        folder = video.folder
    index = (folder / "video.json").read_bytes()
    carry = (folder / "carry-0002").read_bytes()
    faults = [
        ("video.json", b"{", "video.json is no JSON"),
        ("video.json", b"[]", "video.json is no JSON"),
        ("video.json", json.dumps({"format": 9}).encode(), "has format 9"),
        ("video.json", index.replace(b'"carry-0002"', b'"../../carry"'), "is no name of what a clip leaves"),
        ("video.json", index.replace(b'"carry-0002"', b"[1]"), "cannot be resumed"),
        ("video.json", index.replace(b'"end"', b'"ends"'), "cannot be resumed"),
        ("video.json", index.replace(b'"end": ', b'"end": -'), "end is -"),
        ("video.json", b"[" * 5000, "nested too deeply"),
        ("carry-0002", None, "carry-0002 is missing"),
        ("video.mp4", b"short", "video.mp4 has 5 bytes"),
        ("video.mp4", None, "video.mp4 has 0 bytes"),
    ]
    for name, content, message in faults:
        (folder / "video.json").write_bytes(index)
        (folder / "carry-0002").write_bytes(carry)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(OutputError, match=message):
            begin(path)
    with begin(path, restart=True) as video:
        grow(video)
        video.close()
    assert len(times(path)) == sum(LENGTHS)


def test_another_encoder_cannot_go_on(tmp_path):
    path = tmp_path / "video.mp4"
    with begin(path) as video:
        grow(video, 1)
        with video.growing.open("r+b") as file:
            file.seek(40)
            file.write(b"x")
    with begin(path) as video, pytest.raises(OutputError, match="another version of the h264 encoder"):
        grow(video)


def test_audio_is_added_before_the_video_is_published(tmp_path):
    path = tmp_path / "video.mp4"

    def finish(silent, to):
        assert not path.exists()
        assert silent.suffix == to.suffix == ".mp4"
        assert read_recipe(silent) == {"seed": 1}
        assert not to.exists()
        to.write_bytes(silent.read_bytes() + b"\0\0\0\x0cfreewave")

    def broken(silent, to):
        to.write_text("half")
        raise MediaError("the audio is damaged")

    video = begin(path)
    grow(video)
    with pytest.raises(MediaError, match="audio is damaged"):
        video.close({"seed": 1}, broken)
    assert not path.exists()
    with begin(path) as video:
        assert video.finished == len(LENGTHS)
        video.close({"seed": 1}, finish)
        video.close({"seed": 2})
    assert path.read_bytes().endswith(b"freewave")
    assert list(tmp_path.iterdir()) == [path]
    video = begin(f"{tmp_path}/shots/")
    grow(video)
    with pytest.raises(ValueError, match="no audio"):
        video.close(None, finish)


def test_clips_need_frames_of_the_size_and_an_end(tmp_path):
    with begin(tmp_path / "video.mp4") as video:
        with pytest.raises(ValueError, match="without frames"):
            video.finish_clip()
        with pytest.raises(ValueError, match=r"uint8 \(T, 32, 256, 3\)"):
            video.add(np.zeros((1, 48, 32, 3), np.uint8))
        video.add(images(0, 2))
        with pytest.raises(ValueError, match="in progress"):
            video.close()
        video.finish_clip()
        assert video.carry is None
        video.close()
    assert len(times(tmp_path / "video.mp4")) == 2


def test_what_cannot_be_made_is_refused_at_once(tmp_path):
    for error, name, more, message in [
        (OutputError, "a.gif", {}, "GIF cannot be made clip by clip"),
        (OutputError, "a.png", {}, "names one image"),
        (OutputError, "a.avi", {}, "says no known format"),
        (SizeError, "a.mp4", {"size": (8, 8)}, "8x8"),
        (OptionError, "a.mp4", {"codec": "vp9"}, "codec for mp4"),
        (OptionError, "a.mp4", {"quality": "best"}, "quality"),
        (OptionError, "a.mp4", {"fps": 0}, "frames a second"),
    ]:
        with pytest.raises(error, match=message):
            begin(f"{tmp_path}/{name}", **more)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="not a folder"):
        begin(tmp_path / "file" / "a.mp4")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_odd_sizes_keep_every_row_and_column(tmp_path):
    frames = images(0, 4)[:, :31, :47]
    with begin(tmp_path / "video.mp4", size=(47, 31)) as video:
        video.add(frames)
        video.finish_clip()
        video.close()
    assert np.abs(read_clip(tmp_path / "video.mp4").frames.astype(int) - frames).mean() < 4
