# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""`wan22 preprocess`: a folder of a driving video, drawn again, and the networks that it takes."""

import json

import numpy as np
import pytest
from PIL import Image
from unit.fake_engine import everything, run  # noqa: F401 - fixtures
from unit.preprocess.puppet import FPS, FRAMES, models, puppet

from wan22.media.video import VideoWriter
from wan22.preprocess import installed

NAMES = ["preprocess.json", "preprocess.png", "src_face.mp4", "src_pose.mp4"]


@pytest.fixture
def driving(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "open_networks", lambda folder=None: models())
    with VideoWriter(tmp_path / "driving.mp4", fps=FPS, size=(160, 128)) as writer:
        writer.add(puppet()[0])
    return tmp_path / "driving.mp4"


def made(run, driving, *more):
    return run("preprocess", driving, "--fps", FPS, "--size", "160x128", *more)


def test_it_makes_a_folder(run, driving, tmp_path):
    code, out, _ = made(run, driving, "-o", tmp_path / "out")
    assert code == 0 and f"{FRAMES} frames of 160x128 at 15 a second" in out
    assert everything(tmp_path / "out") == NAMES


def test_to_replace_someone_it_makes_mask_and_background(run, driving, tmp_path):
    Image.new("RGB", (40, 60), "red").save(tmp_path / "who.png")
    code, out, _ = made(
        run, driving, "-o", tmp_path / "out", "--replace", "--image", tmp_path / "who.png", "--json"
    )
    assert code == 0 and json.loads(out.splitlines()[-1])["size"] == [160, 128]
    assert everything(tmp_path / "out") == sorted([*NAMES, "src_bg.mp4", "src_mask.mp4", "src_ref.png"])


def test_it_is_drawn_again(run, driving, tmp_path):
    made(run, driving, "-o", tmp_path / "out")
    record = tmp_path / "out" / "preprocess.json"
    values = json.loads(record.read_text())
    for frame in values["frames"]:
        frame["body"] = [[x, y, 0.0] for x, y, _ in frame["body"]]
        frame["left_hand"] = frame["right_hand"] = [[0, 0, 0]] * 21
    record.write_text(json.dumps(values))
    code, out, _ = run("preprocess", tmp_path / "out", "--redraw")
    assert code == 0 and out.strip() == str(tmp_path / "out")
    from wan22.preprocess import Prepared

    assert Prepared.open(tmp_path / "out").pose.frames.max() < 10


def test_a_folder_that_is_there_is_refused_before_any_work(run, driving, tmp_path, monkeypatch):
    made(run, driving, "-o", tmp_path / "out")
    monkeypatch.setattr(installed, "open_networks", None)
    code, _, err = made(run, driving, "-o", tmp_path / "out")
    assert code == 2 and "exists already" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a video"),
        (("a.mp4",), "-o FOLDER"),
        (("a.mp4", "-o", "out", "--mask-blocks", "3"), "--mask-blocks must be W,H"),
        (("a.mp4", "-o", "out", "--mask-blocks", "0,1"), "mask columns 0 is too small"),
        (("a.mp4", "--redraw", "-o", "out"), "--redraw goes without --output"),
        (("a.mp4", "--setup"), "--setup goes without a video"),
        (("a.mp4", "-o", "out", "--person", "-1"), "person -1 is too small"),
        (("a.mp4", "-o", "out", "--seconds", "0"), "more than 0"),
        (("nobody.mp4", "--redraw"), "has no preprocess.json"),
    ],
)
def test_what_cannot_be_is_refused(run, arguments, said):
    code, out, err = run("preprocess", *arguments)
    assert code == 2 and said in err and not out


def test_without_networks_it_says_how_to_get_them(run, tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "place", lambda: tmp_path / "nothing")
    code, _, err = run("preprocess", tmp_path / "a.mp4", "-o", tmp_path / "out")
    assert code == 2 and "wan22 preprocess --setup" in err and not (tmp_path / "out").exists()


def test_nobody_in_the_video_leaves_nothing(run, driving, tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "open_networks", lambda folder=None: models(unseen=range(FRAMES)))
    code, _, err = made(run, driving, "-o", tmp_path / "out")
    assert code == 2 and "nobody was found" in err and everything(tmp_path) == ["driving.mp4"]


def test_what_is_interpolated_is_said(run, driving, tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "open_networks", lambda folder=None: models(unseen=(3,)))
    code, _, err = made(run, driving, "-o", tmp_path / "out")
    assert code == 0 and "note: nobody was found at 0.20-0.27 s" in err
    assert np.array(json.loads((tmp_path / "out" / "preprocess.json").read_text())["frames"][3]["found"]) == 0
