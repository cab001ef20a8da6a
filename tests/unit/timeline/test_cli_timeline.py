"""`wan22 timeline` and `wan22 export`."""

import json
from pathlib import Path

import numpy as np
import pytest

from wan22.cli.__main__ import main
from wan22.media.audio import write_audio
from wan22.media.image import write_image
from wan22.media.provenance import Marking
from wan22.media.video import VideoWriter
from wan22.timeline.document import load
from wan22.timeline.items import Clip, Transition
from wan22.types import Audio

UNMARKED = Marking.asked(False)


def video(path, frames=24, fps=24.0, recipe=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with VideoWriter(path, fps=fps, size=(64, 48), recipe=recipe, marking=UNMARKED) as writer:
        writer.add(rng.integers(0, 255, (frames, 48, 64, 3), np.uint8))
    return str(path)


@pytest.fixture
def videos(tmp_path):
    return [video(tmp_path / "shots" / f"{name}.mp4") for name in ("one", "two", "three")]


def said(capsys):
    """What was printed with --json: the result, and the rest."""
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return events[-1], events[:-1]


def test_a_cut_of_videos_with_dissolves_goes_to_editors_and_back(videos, tmp_path, capsys):
    cut = tmp_path / "cuts" / "cut.json"
    assert main(["timeline", *videos, "-o", str(cut), "--dissolve", "6", "--json"]) == 0
    result, _ = said(capsys)
    assert (result["clips"], result["seconds"]) == (3, 2.5)
    made = load(cut)
    assert [type(item) for item in made.tracks[0].items] == [Clip, Transition, Clip, Transition, Clip]
    assert [(c.start, c.end) for _, _, c in made.clips()] == [(0, 21), (3, 21), (3, 24)]
    assert made.tracks[0].items[0].media == {"path": "../shots/one.mp4"} and made.size == (64, 48)
    target = tmp_path / "cuts" / "cut.otio"
    assert main(["export", str(cut), "-o", str(target), "--json"]) == 0
    result, notes = said(capsys)
    assert (
        result["files"] == [str(target)] and result["format"] == "otio" and len(notes) == len(result["notes"])
    )
    back = tmp_path / "cuts" / "back.json"
    assert main(["timeline", str(target), "-o", str(back), "--media", str(tmp_path / "shots")]) == 0
    assert load(back) == made
    assert main(["timeline", str(target), "-o", str(back)]) == 2, "a file is not written over unasked"
    assert "--overwrite" in capsys.readouterr().err


def test_images_and_audio_have_their_place(videos, tmp_path):
    write_image(tmp_path / "card.png", np.zeros((48, 64, 3), np.uint8))
    write_audio(tmp_path / "song.wav", Audio(np.zeros(8000, np.float32), 8000))
    files = [str(tmp_path / "card.png"), videos[0], str(tmp_path / "song.wav")]
    assert (
        main(["timeline", *files, "-o", str(tmp_path / "cut.json"), "--fps", "29.97", "--size", "128x96"])
        == 0
    )
    made = load(tmp_path / "cut.json")
    assert (made.rate, made.size) == ((30000, 1001), (128, 96))
    still, shot = made.tracks[0].items
    assert still.source.still and still.duration == 89 and shot.duration == 30
    (song,) = made.tracks[1].items
    assert song.source.audio and song.source.size is None and song.duration == 29


def board(folder, **shot):
    folder.mkdir(exist_ok=True)
    values = {
        "video": "shot-01.mp4",
        "shot": 1,
        "prompt": "a ball",
        "seed": 1,
        "takes": 2,
        "verdicts": [],
    } | shot
    shots = [values, {**values, "video": "shot-02.mp4", "shot": 2, "prompt": "a cube", "takes": 1}]
    told = {"title": "Two", "shots": shots, "not_made": [{"shot": 3, "why": "no"}]}
    (folder / "board.json").write_text(json.dumps(told))


def test_a_storyboard_is_a_clip_for_each_shot_with_takes_and_recipe(tmp_path, capsys):
    folder = tmp_path / "board"
    video(folder / "shot-01.mp4", recipe={"prompt": "a ball", "seed": 1})
    video(folder / "shot-02.mp4", recipe={"prompt": "a cube", "seed": 1})
    video(folder / "takes" / "x.mp4", recipe={"prompt": "a ball", "seed": 1})
    video(folder / "takes" / "y.mp4", recipe={"prompt": "a ball", "seed": 2})
    video(folder / "takes" / "z.mp4", recipe={"prompt": "a cone", "seed": 2})
    board(folder)
    assert main(["timeline", str(folder), "-o", str(folder / "cut.json"), "--json"]) == 0
    result, _ = said(capsys)
    assert any("could not be made" in note for note in result["notes"])
    one, two = (clip for _, _, clip in load(folder / "cut.json").clips())
    assert [take["path"] for take in one.takes] == ["shot-01.mp4", "takes/y.mp4"] and two.takes == ()
    assert (one.name, one.recipe["prompt"], one.recipe["seed"]) == ("shot 1", "a ball", 1)
    assert one.media == {"path": "shot-01.mp4"} and load(folder / "cut.json").name == "Two"


REFUSED = {
    "a dissolve longer than a video": ["{v}", "{v}", "--dissolve", "40", "-o", "{d}/a.json"],
    "a document of another kind": ["{v}", "-o", "{d}/a.mp4"],
    "a rate of nothing": ["{v}", "--fps", "0", "-o", "{d}/a.json"],
    "a rate that is no number": ["{v}", "--fps", "fast", "-o", "{d}/a.json"],
    "a size that is none": ["{v}", "--size", "big", "-o", "{d}/a.json"],
    "a size that is too small": ["{v}", "--size", "1x1", "-o", "{d}/a.json"],
    "no file": ["{d}/nothing.mp4", "-o", "{d}/a.json"],
    "no media": ["{d}/text.txt", "-o", "{d}/a.json"],
    "no board": ["{d}/board.json", "-o", "{d}/a.json"],
    "an editor's file among others": ["{d}/x.otio", "{v}", "-o", "{d}/a.json"],
    "an editor's file with a rate": ["{d}/x.otio", "--fps", "24", "-o", "{d}/a.json"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_one_line(name, tmp_path, capsys):
    shot = video(tmp_path / "one.mp4")
    (tmp_path / "text.txt").write_text("words")
    (tmp_path / "board.json").write_text('{"title": "x", "shots": [{"video": "../../etc/passwd"}]}')
    (tmp_path / "x.otio").write_text("{}")
    line = [each.format(v=shot, d=tmp_path) for each in REFUSED[name]]
    assert main(["timeline", *line]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and not (tmp_path / "a.json").exists()


def test_a_board_that_names_files_elsewhere_is_refused(tmp_path, capsys):
    board(tmp_path, video="../one.mp4")
    video(tmp_path.parent / "one.mp4")
    assert main(["timeline", str(tmp_path / "board.json"), "-o", str(tmp_path / "a.json")]) == 2
    assert "no name of a file beside it" in capsys.readouterr().err


def test_an_export_needs_a_format_that_is_known(videos, tmp_path, capsys):
    cut = str(tmp_path / "cut.json")
    main(["timeline", videos[0], "-o", cut])
    assert main(["export", cut, "-o", str(tmp_path / "cut.aaf")]) == 2
    assert ".otioz" in capsys.readouterr().err
    assert main(["export", cut, "-o", str(tmp_path / "cut.txt"), "--format", "edl"]) == 0
    assert Path(tmp_path / "cut.txt").read_text().startswith("TITLE: cut v1\nFCM: NON-DROP FRAME\n")
