"""`wan22 drift`: any video in, a table, numbers and a plot out; and reading videos of any length in pieces."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from wan22.cli import drift
from wan22.cli.__main__ import main
from wan22.errors import MediaError
from wan22.media import video as video_module
from wan22.media.video import VideoWriter, read_clip, stream_clip

pytestmark = pytest.mark.usefixtures("quick_plots")


def video(seconds=3.0, fps=8, growth=0.0):
    """A gradient with a square that goes round; `growth` levels brighter a second."""
    frames = round(seconds * fps)
    y, x = np.mgrid[:32, :48]
    result = np.stack([60 + x + 0 * y, 60 + 2 * y, 90 + 0 * x], -1)[None] + growth * (
        np.arange(frames)[:, None, None, None] / fps
    )
    for index in range(frames):
        result[index, 4:12, 2 + index % fps : 10 + index % fps] += [60, 20, -30]
    return result.astype(np.uint8)


def write(path, frames, recipe=None, fps=8):
    with VideoWriter(path, fps=fps, size=(frames.shape[2], frames.shape[1])) as writer:
        writer.add(frames)
        writer.close(recipe)
    return str(path)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(["drift", *arguments])
        return code, *capsys.readouterr()

    return run


# What it says


@pytest.mark.parametrize("name", ["video.mp4", "video.webm", "video.gif"])
def test_a_video_of_any_container_is_measured_and_the_numbers_lie_beside_it(run, tmp_path, name):
    code, out, err = run(write(tmp_path / name, video()))
    assert code == 0 and "note" not in err
    assert out.splitlines()[0].split()[:3] == ["axis", "start", "end"]
    assert "24 frames of 48x32" in out
    assert out.splitlines()[-2:] == [f"{tmp_path / name}.drift.json", f"{tmp_path / name}.drift.png"]
    assert json.loads((tmp_path / f"{name}.drift.json").read_text())["frames"] == 24
    with Image.open(tmp_path / f"{name}.drift.png") as plot:
        assert plot.format == "PNG"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_video_that_grows_brighter_is_told_to_drift(run, tmp_path):
    out = run(write(tmp_path / "video.mp4", video(growth=10)))[1]
    verdicts = {line.split()[0]: line.split()[-1] for line in out.splitlines()[1:10]}
    assert verdicts["brightness"] == "drifts" and verdicts["sharpness"] == "steady"


def test_the_seams_come_from_the_recipe_in_the_video(run, tmp_path):
    frames = video()
    frames[8:] += 12
    out = run(write(tmp_path / "video.mp4", frames, {"clips": [0, 8, 16]}), "--json")[1]
    first, second = json.loads(out)["seams"]
    assert (first["frame"], second["frame"]) == (8, 16)
    assert first["brightness"] > 3 > abs(second["brightness"])
    assert "2 seams between clips; the largest step is" in run("video.mp4")[1]


def test_a_cut_is_told(run, tmp_path):
    frames = video(6)
    frames[20:] = 255 - frames[20:]
    assert "1 cut, at 2.5 s: slopes are those within shots" in run(write(tmp_path / "video.mp4", frames))[1]


def test_json_is_one_object_and_the_files_go_where_they_are_told(run, tmp_path):
    write(tmp_path / "video.mp4", video())
    code, out, _ = run("video.mp4", "--json", "--plot", "new/plot.png", "-o", "new/numbers.json")
    assert code == 0
    files = {"files": ["new/numbers.json", "new/plot.png"], "event": "result"}
    numbers = json.loads((tmp_path / "new" / "numbers.json").read_text())
    assert json.loads(out.splitlines()[-1]) == numbers | files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "video.mp4"]
    assert (tmp_path / "new" / "plot.png").exists()


def test_numbers_and_plot_replace_their_own_kind_alone(run, tmp_path, monkeypatch):
    write(tmp_path / "video.mp4", video())
    named = ("video.mp4", "--plot", "plot.png", "-o", "numbers.json")
    assert run(*named)[0] == 0
    found = drift._measure("video.mp4", None, lambda _: None)
    monkeypatch.setattr(drift, "_measure", lambda *_: found)
    monkeypatch.setattr("wan22.director.drift_plot.plot_drift", lambda _, part: part.write_text("anew"))
    assert run(*named)[0] == 0
    assert (tmp_path / "plot.png").read_text() == "anew"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["numbers.json", "plot.png", "video.mp4"]
    for option, name, text in (
        ("-o", "mine.json", '{"axes": 3}'),
        ("-o", "mine.md", "# x"),
        ("--plot", "p.png", "x"),
    ):
        (tmp_path / name).write_text(text)
        code, _, err = run("video.mp4", option, name)
        assert code == 2 and f"{name} exists and is no " in err
        assert (tmp_path / name).read_text() == text
    before = (tmp_path / "video.mp4").read_bytes()
    assert run("video.mp4", "-o", "video.mp4")[0] == 2
    assert (tmp_path / "video.mp4").read_bytes() == before
    assert run("video.mp4", "-o", "new/", "--plot", "new/")[0] == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "video.mp4.drift.json",
        "video.mp4.drift.png",
    }


# What is refused


@pytest.fixture
def files(tmp_path):
    Image.fromarray(video()[0]).save(tmp_path / "still.png")
    (tmp_path / "text.mp4").write_text("I am no video")
    write(tmp_path / "short.mp4", video(1.5))
    write(tmp_path / "strange.mp4", video(), {"clips": ["first"]})
    whole = (tmp_path / "short.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["still.png"], "is an image; drift is measured on a video"),
        (["text.mp4"], "text.mp4 is text"),
        (["nowhere.mp4"], "does not exist"),
        (["short.mp4"], "lasts 1.50 s; drift is measured from 2 s on"),
        (["cut.mp4"], "cut off"),
        (["strange.mp4"], "clips must be a list of frame numbers"),
        (["strange.mp4", "--plot", "plot.jpg"], "--plot writes PNG"),
        (["strange.mp4", "--plot", "still.png/plot.png"], "is a file, not a folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, files, arguments, expected):
    before = sorted(files.iterdir())
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and expected in err and len(err.splitlines()) == 1, err
    assert sorted(files.iterdir()) == before


# Reading in pieces


@pytest.mark.parametrize("name", ["video.mp4", "video.webm", "video.gif"])
def test_the_pieces_of_a_video_are_its_frames(tmp_path, name):
    path = write(tmp_path / name, video(2.1))
    pieces = list(stream_clip(path, 5))
    assert [len(piece) for piece in pieces] == [5, 5, 5, 2]
    assert np.array_equal(np.concatenate(pieces), read_clip(path).frames)


def test_the_length_of_a_video_that_is_read_in_pieces_is_not_limited(tmp_path, monkeypatch):
    path = write(tmp_path / "video.mp4", video())
    monkeypatch.setattr(video_module, "MAX_SECONDS", 0.5)
    monkeypatch.setattr(video_module, "MAX_PIXELS", 48 * 32)
    with pytest.raises(MediaError, match="too much to read at once"):
        read_clip(path)
    assert sum(map(len, stream_clip(path))) == 24


def test_pieces_of_large_frames_are_shorter(tmp_path, monkeypatch):
    path = write(tmp_path / "video.mp4", video())
    monkeypatch.setattr(video_module, "_PIECE_PIXELS", 48 * 32 * 3)
    assert {len(piece) for piece in stream_clip(path)} == {3}


def test_pieces_of_no_frames_are_refused(tmp_path):
    with pytest.raises(MediaError, match="at least 1"):
        next(stream_clip(write(tmp_path / "video.mp4", video()), 0))


def test_the_command_line_starts_without_drawing_libraries():
    import subprocess

    program = (
        "import sys, wan22.cli.app; sys.exit(any(m in sys.modules for m in ('matplotlib', 'av', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
