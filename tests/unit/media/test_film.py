"""A long film is safe clip by clip: whatever ends the process, it goes on, and the film is the same."""

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
from wan22.media import output_paths
from wan22.media.film import LongFilm, working_folder
from wan22.media.image import read_image
from wan22.media.recipe import frames_hash, read_recipe
from wan22.media.video import VideoWriter, read_clip

LENGTHS = (5, 1, 2, 8)
"""Short clips are where reordered frames and look-ahead go wrong."""

FORMATS = [
    ("film.mp4", "h264"),
    ("film.mp4", "hevc"),
    ("film.mp4", "av1"),
    ("film.mov", "prores"),
    ("film.mov", "hevc"),
    ("film.webm", "vp9"),
    ("film.webm", "av1"),
]
SIZE = (256, 32)
"""Rows of 16 blocks: for others, x264's AVX-512 code reads memory that nobody wrote, and its bytes vary."""


def pictures(first, count):
    """A slowly changing picture of many colours, and in it the number of the frame: nine black or white bars."""
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
    return LongFilm(path, **({"fps": 16, "size": SIZE, "codec": codec, "identity": {"seed": 1}} | more))


def grow(film, clips=4):
    """Make the clips that are missing, up to `clips` in all."""
    while film.finished < clips:
        length, first = LENGTHS[film.finished], film.frames
        if film.finished:
            assert film.carry.read_bytes() == f"after {first}".encode()
        film.add(pictures(first, 1)[0])
        film.add(pictures(first + 1, length - 1))
        film.finish_clip(f"after {first + length}".encode())


def whole(path, codec=None):
    with begin(path, codec) as film:
        grow(film)
        digest = film.digest()
        film.close({"clips_sha256": digest})
    return digest


def times(path):
    """Show what a player sees: for every frame in order, its number in the picture and its time.

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
    with begin(path, codec, fps=Fraction(24000, 1001)) as film:
        grow(film)
        growing = times(film.growing)
        film.close({"seed": 1})
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
        writer.add(pictures(0, sum(LENGTHS)))

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
    path = tmp_path / "film.mp4"
    with begin(path) as film:
        for clips in range(1, len(LENGTHS) + 1):
            grow(film, clips)
            film.add(pictures(film.frames, 3))
            assert [index for index, _ in times(film.growing)] == list(range(sum(LENGTHS[:clips])))
            film.abort()
            film.__init__(path, fps=16, size=SIZE, identity={"seed": 1})
    assert not path.exists()


WRITER = """
import os, signal, sys
sys.path[:0] = {paths!r}
import test_film
from wan22.media import film as module
film = test_film.begin({path!r}, {codec!r})
test_film.grow(film, 2)
{fatal}
test_film.grow(film, 3)
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
FATAL = {
    "in the middle of a clip": f"film.add(test_film.pictures(film.frames, 1)); {DIE}",
    "half a fragment": (
        "module._append = lambda path, at, content: "
        f"[open(path, 'r+b').seek(0, 2), open(path, 'ab', 0).write(content[:len(content) // 2]), {DIE}]"
    ),
    "before its carry": f"module._write = lambda path, content: {DIE}",
    "before the index": (
        "write = module._write; module._write = lambda path, content: "
        f"{DIE} if path.name == 'film.json' else write(path, content)"
    ),
    "before the index is renamed": (
        "from pathlib import Path\nreplace = Path.replace\n"
        f"Path.replace = lambda path, target: {DIE} if target.name == 'film.json' else replace(path, target)"
    ),
}


def killed(path, codec, fatal):
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    script = WRITER.format(paths=paths, path=str(path), codec=codec, fatal=fatal)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


@pytest.mark.parametrize("moment", FATAL)
def test_a_killed_film_goes_on_as_if_nothing_had_been(tmp_path, moment):
    digest = whole(tmp_path / "once.mp4", "h264")
    path = tmp_path / "film.mp4"
    killed(path, "h264", FATAL[moment])
    growing = working_folder(path) / "film.mp4"
    assert [index for index, _ in times(growing)][: sum(LENGTHS[:2])] == list(range(sum(LENGTHS[:2])))
    with begin(path, "h264") as film:
        assert (film.finished, film.frames, film.lengths) == (2, sum(LENGTHS[:2]), LENGTHS[:2])
        assert [index for index, _ in times(film.growing)] == list(range(film.frames))
        grow(film)
        assert film.digest() == digest
        film.close({"clips_sha256": digest})
    assert path.read_bytes() == (tmp_path / "once.mp4").read_bytes()


@pytest.mark.parametrize("name", ["shots/", "shot-%03d.png"])
def test_a_killed_sequence_goes_on_too(tmp_path, name):
    path = f"{tmp_path}/{name}"
    killed(path, None, FATAL["in the middle of a clip"])
    assert not output_paths.numbered(path)
    with begin(path) as film:
        assert film.finished == 2
        assert len(output_paths.numbered(film.growing)) == film.frames
        grow(film)
        film.close({"seed": 1})
    there = [read_image(picture) for picture in output_paths.numbered(path)]
    assert np.array_equal(there, pictures(0, sum(LENGTHS)))
    assert read_recipe(path) == {"seed": 1}
    assert not working_folder(path).exists()


def test_a_sequence_killed_while_it_is_published_is_published_by_the_next(tmp_path, monkeypatch):
    path = f"{tmp_path}/shots/"
    with VideoWriter(path, fps=16, size=SIZE) as writer:
        writer.add(pictures(100, 30))
    film = begin(path)
    grow(film)
    replace = Path.replace

    def interrupted(source, target):
        if target.name == "frame-0004.png":
            raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        film.close({"seed": 1})
    monkeypatch.undo()
    with begin(path) as film:
        assert film.finished == len(LENGTHS)
        film.close({"seed": 1})
    assert np.array_equal(
        [read_image(picture) for picture in output_paths.numbered(path)], pictures(0, sum(LENGTHS))
    )
    assert read_recipe(path) == {"seed": 1}


def test_the_digest_is_that_of_the_clips_frames(tmp_path):
    import hashlib

    digest = whole(tmp_path / "film.mp4")
    starts = np.cumsum((0, *LENGTHS))
    hashes = [frames_hash(pictures(first, count)) for first, count in zip(starts, LENGTHS, strict=False)]
    assert digest == hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert read_recipe(tmp_path / "film.mp4") == {"clips_sha256": digest}


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "shots/"])
def test_a_full_disk_costs_one_clip_and_the_same_request_goes_on(tmp_path, name):
    whole(f"{tmp_path}/once-{name}")
    path = f"{tmp_path}/{name}"
    film = begin(path)
    grow(film, 2)
    size = film.growing.stat().st_size + 100 if film.growing.exists() else 100
    with (
        files_up_to(size),
        pytest.raises(OutputError, match=r"Kept in .*: 2 finished clips \(0.4 s\); .*goes on"),
    ):
        grow(film)
    if film.growing.exists():
        assert film.growing.stat().st_size == size - 100
        assert len(times(film.growing)) == sum(LENGTHS[:2])
    with pytest.raises(ValueError, match="closed"):
        film.add(pictures(0, 1))
    with begin(path) as film:
        assert film.finished == 2
        grow(film)
        film.close()
    made, once = (
        [read_image(picture) for picture in output_paths.numbered(there)]
        if name.endswith("/")
        else read_clip(there).frames
        for there in (path, f"{tmp_path}/once-{name}")
    )
    assert np.array_equal(made, once)


@pytest.mark.parametrize("what", ["carry", "index", "publish"])
def test_a_disk_that_fills_up_later_loses_no_finished_clip(tmp_path, monkeypatch, what):
    path = tmp_path / "film.mp4"
    path.write_text("an old film")
    film = begin(path)
    grow(film, 2)
    if what == "publish":
        with (
            files_up_to(film.growing.stat().st_size // 2),
            pytest.raises(OutputError, match="2 finished clips"),
        ):
            film.close({"seed": 1})
    else:
        written = output_paths.written

        def full(target, part=None):
            if target.name.startswith("carry" if what == "carry" else "film.json"):
                raise OSError(28, "No space left on device")
            return written(target, part)

        monkeypatch.setattr(output_paths, "written", full)
        with pytest.raises(OutputError, match=r"No space left on device\. Kept in .*: 2 finished clips"):
            grow(film, 3)
        monkeypatch.undo()
    assert path.read_text() == "an old film"
    with begin(path) as film:
        assert film.finished == 2
        assert {entry.name for entry in film.folder.iterdir()} == {
            "film.mp4",
            "film.json",
            "carry-0002",
            "lock",
        }
        grow(film)
        film.close()
    assert len(times(path)) == sum(LENGTHS)


def test_another_film_is_refused_with_what_differs_unless_begun_afresh(tmp_path):
    path = tmp_path / "film.mp4"
    long = {"seed": 1, "prompts": ["a" * 90], "model": {"name": "nano", "steps": 4}}
    with begin(path, identity=long) as film:
        grow(film, 2)
    other = {"seed": 2, "prompts": ["b" * 90], "model": {"name": "nano", "steps": 5}, "pose": "p.mp4"}
    with pytest.raises(OutputError) as refused:
        begin(path, identity=other, codec="hevc", fps=24)
    message = str(refused.value)
    assert message.startswith(f"{working_folder(path)} holds 2 finished clips of another film: ")
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
    with begin(path, identity=long) as film:
        assert film.finished == 2
    with begin(path, identity=other, afresh=True) as film:
        assert (film.finished, film.frames, film.carry) == (0, 0, None)
        grow(film)
        film.close()
    assert len(times(path)) == sum(LENGTHS)


def test_an_identity_is_compared_as_json(tmp_path):
    with begin(tmp_path / "film.mp4", identity={"size": (48, 32), "steps": {4: 1.0}}) as film:
        grow(film, 1)
    with begin(tmp_path / "film.mp4", identity={"size": [48, 32], "steps": {"4": 1.0}}) as film:
        assert film.finished == 1


def test_two_processes_do_not_make_the_same_film(tmp_path):
    with begin(tmp_path / "film.mp4") as film:
        with pytest.raises(OutputError, match="by another process"):
            begin(tmp_path / "film.mp4", afresh=True)
        grow(film)
        film.close()
    assert len(times(tmp_path / "film.mp4")) == sum(LENGTHS)


def test_without_a_finished_clip_nothing_is_left(tmp_path):
    with begin(tmp_path / "film.mp4") as film:
        film.add(pictures(0, 3))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="not a single clip"):
        begin(tmp_path / "film.mp4").close()
    assert list(tmp_path.iterdir()) == []


def test_damage_is_told_and_not_built_on(tmp_path):
    path = tmp_path / "film.mp4"
    with begin(path) as film:
        grow(film, 2)
        folder = film.folder
    index = (folder / "film.json").read_bytes()
    carry = (folder / "carry-0002").read_bytes()
    faults = [
        ("film.json", b"{", "film.json is no JSON"),
        ("film.json", b"[]", "film.json is no JSON"),
        ("film.json", json.dumps({"format": 9}).encode(), "has format 9"),
        ("film.json", index.replace(b'"carry-0002"', b'"../../carry"'), "is no name of what a clip leaves"),
        ("film.json", index.replace(b'"carry-0002"', b"[1]"), "cannot be resumed"),
        ("film.json", index.replace(b'"end"', b'"ends"'), "cannot be resumed"),
        ("film.json", index.replace(b'"end": ', b'"end": -'), "end is -"),
        ("film.json", b"[" * 5000, "nested too deeply"),
        ("carry-0002", None, "carry-0002 is missing"),
        ("film.mp4", b"short", "film.mp4 has 5 bytes"),
        ("film.mp4", None, "film.mp4 has 0 bytes"),
    ]
    for name, content, message in faults:
        (folder / "film.json").write_bytes(index)
        (folder / "carry-0002").write_bytes(carry)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(OutputError, match=message):
            begin(path)
    with begin(path, afresh=True) as film:
        grow(film)
        film.close()
    assert len(times(path)) == sum(LENGTHS)


def test_another_encoder_cannot_go_on(tmp_path):
    path = tmp_path / "film.mp4"
    with begin(path) as film:
        grow(film, 1)
        with film.growing.open("r+b") as file:
            file.seek(40)
            file.write(b"x")
    with begin(path) as film, pytest.raises(OutputError, match="another version of the h264 encoder"):
        grow(film)


def test_sound_is_added_before_the_film_is_published(tmp_path):
    path = tmp_path / "film.mp4"

    def finish(silent, to):
        assert not path.exists()
        assert silent.suffix == to.suffix == ".mp4"
        assert read_recipe(silent) == {"seed": 1}
        assert not to.exists()
        to.write_bytes(silent.read_bytes() + b"\0\0\0\x0cfreewave")

    def broken(silent, to):
        to.write_text("half")
        raise MediaError("the sound is damaged")

    film = begin(path)
    grow(film)
    with pytest.raises(MediaError, match="sound is damaged"):
        film.close({"seed": 1}, broken)
    assert not path.exists()
    with begin(path) as film:
        assert film.finished == len(LENGTHS)
        film.close({"seed": 1}, finish)
        film.close({"seed": 2})
    assert path.read_bytes().endswith(b"freewave")
    assert list(tmp_path.iterdir()) == [path]
    film = begin(f"{tmp_path}/shots/")
    grow(film)
    with pytest.raises(ValueError, match="no sound"):
        film.close(None, finish)


def test_clips_need_frames_of_the_size_and_an_end(tmp_path):
    with begin(tmp_path / "film.mp4") as film:
        with pytest.raises(ValueError, match="without frames"):
            film.finish_clip()
        with pytest.raises(ValueError, match=r"uint8 \(T, 32, 256, 3\)"):
            film.add(np.zeros((1, 48, 32, 3), np.uint8))
        film.add(pictures(0, 2))
        with pytest.raises(ValueError, match="in progress"):
            film.close()
        film.finish_clip()
        assert film.carry is None
        film.close()
    assert len(times(tmp_path / "film.mp4")) == 2


def test_what_cannot_be_made_is_refused_at_once(tmp_path):
    for error, name, more, message in [
        (OutputError, "a.gif", {}, "GIF cannot be made clip by clip"),
        (OutputError, "a.png", {}, "names one picture"),
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
    frames = pictures(0, 4)[:, :31, :47]
    with begin(tmp_path / "film.mp4", size=(47, 31)) as film:
        film.add(frames)
        film.finish_clip()
        film.close()
    assert np.abs(read_clip(tmp_path / "film.mp4").frames.astype(int) - frames).mean() < 4
