"""Clips of the film set as a folder: which shots, what is written, and that a mushroom is drawn as it should be."""

import json

import numpy as np
import pytest

from wan22.errors import OptionError
from wan22.media.video import read_clip
from wan22.nano.filmset import main, shots_with, write_clips
from wan22.stage.labels import Shot
from wan22.stage.render import render

pytestmark = pytest.mark.slow

SMALL = ["--size", "48x32", "--frames", "5"]


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_labels_that_are_given_hold_and_the_split_is_kept_with_them(split):
    shots = shots_with(10, 4, {"subject": "mushroom"}, split=split)
    assert len(shots) == 10 and {shot.subject for shot in shots} == {"mushroom"}
    assert all(shot.held_out == (split == "held-out") for shot in shots)
    assert len({shot.camera for shot in shots}) > 2  # the rest is drawn
    assert shots_with(4, 4, {"subject": "mushroom"}, split=split) == shots[:4]


def test_a_camera_that_follows_is_not_drawn_for_what_stands_still():
    assert all(shot.camera != "follow" for shot in shots_with(60, 0, {"action": "still"}))
    assert {shot.action for shot in shots_with(40, 0, {"camera": "follow"})} == {
        "travel-left",
        "travel-right",
    }


def test_what_cannot_be_is_said():
    with pytest.raises(OptionError, match="axis of the film set"):
        shots_with(1, 0, {"colr": "red"})
    with pytest.raises(OptionError, match="'mushroom'"):
        shots_with(1, 0, {"subject": "mushrom"})
    with pytest.raises(OptionError, match="not 1 train shots with camera=follow, action=still"):
        shots_with(1, 0, {"camera": "follow", "action": "still"})


def test_the_command_writes_clips_captions_and_labels(tmp_path, capsys):
    folder = tmp_path / "clips"
    assert main(["-o", str(folder), "--count", "2", "--seed", "3", *SMALL, "subject=mushroom"]) == 0
    assert capsys.readouterr().out == f"2 clips in {folder}\n"
    rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        assert (row["video"], row["subject"]) == (f"{i:03d}.mp4", "mushroom")
        assert (folder / f"{i:03d}.txt").read_text() == row["text"] + "\n"
        clip = read_clip(folder / row["video"])
        assert clip.frames.shape == (5, 32, 48, 3) and clip.fps == 8


def test_clips_that_are_there_are_not_overwritten(tmp_path, capsys):
    (tmp_path / "000.mp4").touch()
    assert main(["-o", str(tmp_path), "--count", "1", *SMALL]) == 2
    assert "holds clips already: name a new folder" in capsys.readouterr().err


def test_a_label_and_a_size_that_are_none_are_refused(tmp_path, capsys):
    assert main(["-o", str(tmp_path), "mushroom"]) == 2
    assert "'mushroom' is no label: say AXIS=VALUE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["-o", str(tmp_path), "--size", "small"])
    assert "'small' is no WIDTHxHEIGHT" in capsys.readouterr().err


def test_words_of_captions_can_be_replaced(tmp_path):
    shots = [Shot(subject="mushroom")] * 3
    write_clips(tmp_path, shots, seed=0, size=(32, 32), frames=1, trigger={"mushroom": "mshrm"})
    texts = [path.read_text() for path in sorted(tmp_path.glob("*.txt"))]
    assert len(texts) == 3 and not any("mushroom" in text for text in texts)


def test_a_mushroom_stands_in_the_world_that_a_ball_stands_in():
    ball, mushroom = (
        render([Shot(subject=kind, shot_size="wide")], height=32, width=48, frames=1)[0, 0].numpy()
        for kind in ("ball", "mushroom")
    )
    apart = np.abs(ball.astype(int) - mushroom).max(axis=-1)
    assert apart[:8].max() <= 1 and apart[:, :12].max() <= 1  # sky and sides
    assert (apart > 30).sum() > 10  # it is no ball
