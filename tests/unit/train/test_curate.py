"""Clips measured and judged: what each number follows, what speaks against a clip, and that nothing is touched."""

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from wan22.cli.__main__ import main
from wan22.errors import MediaError, OptionError, OutputError
from wan22.media.video import VideoWriter
from wan22.train.data import DataPlan, survey
from wan22.train.data.curate import Thresholds, curate, duplicates, judge, write
from wan22.train.data.measures import measure
from wan22.train.data.overlay import steady_lines, text_lines

W, H = 192, 128


def scene(seed=0, colour=(90, 140, 200), detail=3.0):
    """Smooth clouds of one colour, wider than a frame, so that a camera can pan over them."""
    noise = np.random.default_rng(seed).normal(size=(H, 3 * W)).astype(np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), detail)
    clouds = 0.5 + 0.2 * clouds / clouds.std()
    return (np.clip(clouds, 0, 1)[..., None] * np.array(colour)).astype(np.uint8)


def pan(image, frames=16, step=4):
    return [image[:, i * step : i * step + W] for i in range(frames)]


def subtitled(frame, text="Once upon a time", at=(20, 112)):
    return cv2.putText(frame.copy(), text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)


def clip(path, frames, text="clouds pass"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=8, size=(frames[0].shape[1], frames[0].shape[0])) as writer:
        for frame in frames:
            writer.add(np.ascontiguousarray(frame))
    if text is not None:
        path.with_suffix(".txt").write_text(text)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clip for every reason, and two that are fine."""
    base = tmp_path_factory.mktemp("clips")
    first = pan(scene())
    clip(base / "a.mp4", first)
    clip(base / "copy.mp4", [cv2.resize(frame, (144, 96), interpolation=cv2.INTER_AREA) for frame in first])
    clip(base / "more/b.mp4", pan(scene(1, (220, 160, 60))), text=None)
    clip(base / "blurred.mp4", [cv2.GaussianBlur(f, (0, 0), 6) for f in pan(scene(2, (100, 200, 120)))])
    clip(base / "cut.mp4", pan(scene(3, (60, 60, 220)), 8) + pan(scene(4, (220, 220, 60)), 8))
    clip(base / "dark.mp4", [f // 32 for f in pan(scene(5))])
    clip(base / "still.mp4", [scene(6, (200, 90, 160))[:, :W]] * 16)
    clip(base / "titled.mp4", [subtitled(f) for f in pan(scene(7, (150, 90, 60)))])
    (base / "broken.mp4").write_bytes((base / "a.mp4").read_bytes()[:700])
    return base


@pytest.fixture(scope="module")
def result(folder):
    return curate(folder, Thresholds(min_sharpness=8.0, min_motion=0.01))


def of(result, name):
    return next(c for c in result.clips if c.measures.path.name == f"{name}.mp4")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("blurred", r"sharpness \d\.\d is under 8"),
        ("cut", r"cuts at 1\.0 s"),
        ("dark", r"brightness \d\.\d is under 8"),
        ("still", r"motion 0\.000 is under 0\.01"),
        ("titled", r"text over \d+% of it"),
        ("copy", r"looks like a\.mp4"),
    ],
)
def test_every_fault_is_found_and_said(result, name, reason):
    import re

    assert any(re.fullmatch(reason, said) for said in of(result, name).reasons), of(result, name).reasons


def test_what_is_fine_is_kept_and_what_cannot_be_read_is_reported(result):
    assert [c.measures.path.name for c in result.kept] == ["a.mp4", "b.mp4"]
    assert result.unread.keys() == {"broken.mp4"}
    table = "\n".join(result.table())
    assert "2 of 9 clips kept" in table and "not read: broken.mp4" in table
    assert "1 of them have no text" in table


def test_the_kept_list_is_one_that_the_trainer_reads_and_nothing_is_touched(result, folder, tmp_path):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files = write(result, tmp_path / "out")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [file.name for file in files] == ["curate.json", "kept.jsonl", "curate.png"]
    found = survey(DataPlan((tmp_path / "out/kept.jsonl",), size=(192, 128), frames=(5,), fps=8.0))
    assert [video.item.path.resolve() for video in found.videos] == [(folder / "a.mp4").resolve()]
    assert found.videos[0].item.caption == "clouds pass"
    numbers = json.loads((tmp_path / "out/curate.json").read_text())
    assert numbers["kept"] == 2 and len(numbers["clips"]) == 8
    assert numbers["thresholds"]["min_sharpness"] == 8.0
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_motion_is_in_widths_a_second_and_does_not_count_the_cut(tmp_path):
    for step in (2, 5):
        found = measure(clip(tmp_path / f"{step}.mp4", pan(scene(), step=step)))
        assert found.motion == pytest.approx(step * 8 / W, rel=0.1)
    parts = pan(scene(3, (60, 60, 220)), 8, 2) + pan(scene(4, (220, 220, 60)), 8, 2)
    found = measure(clip(tmp_path / "cut.mp4", parts))
    assert found.motion == pytest.approx(2 * 8 / W, rel=0.1) and found.cuts == (1.0,)


def test_brightness_is_mean_grey_and_sharpness_falls_with_blur(tmp_path):
    grey = measure(clip(tmp_path / "grey.mp4", [np.full((H, W, 3), 120, np.uint8)] * 4))
    assert grey.brightness == pytest.approx(120, abs=2) and grey.contrast < 1 and grey.sharpness < 0.1
    sharp = [
        measure(
            clip(tmp_path / f"{i}.mp4", [cv2.GaussianBlur(f, (0, 0), blur) for f in pan(scene(), 4)])
        ).sharpness
        for i, blur in enumerate((0.3, 1.0, 3.0))
    ]
    assert sharp[0] > 1.2 * sharp[1] and sharp[1] > 1.2 * sharp[2]


def test_a_fast_pan_and_a_flash_of_light_on_one_thing_are_no_cuts(tmp_path):
    assert not measure(clip(tmp_path / "fast.mp4", pan(scene(), step=16))).cuts
    lit = [
        f if i != 8 else np.clip(f.astype(int) + 8, 0, 255).astype(np.uint8)
        for i, f in enumerate(pan(scene()))
    ]
    assert not measure(clip(tmp_path / "lit.mp4", lit)).cuts


@pytest.mark.parametrize("text", ["Once upon a time", "SAMPLE 0423", "(music plays)"])
@pytest.mark.parametrize("light", [40, 220])
def test_lines_of_letters_are_found_bright_and_dark(text, light):
    grey = np.full((240, 384), light, np.uint8)
    colour = 255 if light < 128 else 10
    cv2.putText(grey, text, (60, 200), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2, cv2.LINE_AA)
    (line,) = text_lines(grey)[:1]
    assert 40 < line.left < 100 and 160 < line.top < line.bottom < 215


def test_fences_specks_and_clouds_are_no_text():
    fence = np.full((240, 384), 60, np.uint8)
    for x in range(20, 360, 14):
        fence[100:120, x : x + 5] = 230
    specks = np.full((240, 384), 60, np.uint8)
    specks[np.random.default_rng(0).integers(0, 240, 60), np.random.default_rng(1).integers(0, 384, 60)] = 255
    clouds = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY)
    for image in (fence, specks, clouds):
        assert not text_lines(image)


def test_only_what_stays_in_its_place_is_an_overlay(tmp_path):
    (line,) = text_lines(cv2.cvtColor(subtitled(np.zeros((H, W, 3), np.uint8)), cv2.COLOR_RGB2GRAY))[:1]
    away = line._replace(left=line.left + 60, right=line.right + 60)
    assert steady_lines([line], [line]) and not steady_lines([line], [away])
    wall = subtitled(scene(), at=(200, 70))  # it passes with the scene
    assert measure(clip(tmp_path / "wall.mp4", pan(wall, step=10))).text <= 0.4


def test_text_on_a_video_that_stands_still_is_noted_and_kept(tmp_path):
    measured = measure(clip(tmp_path / "sign.mp4", [subtitled(scene(7)[:, :W])] * 16))
    assert measured.text == 1 and not measured.text_sure
    reasons, notes = judge(measured, Thresholds())
    assert not reasons and "it stands still" in notes[0]
    assert judge(replace(measured, text_sure=True), Thresholds())[0] == ("text over 100% of it",)


def test_likes_are_found_across_size_and_text_and_the_clean_one_stays(tmp_path):
    clean, other = pan(scene(9)), pan(scene(9, (200, 60, 60)))
    marked = [subtitled(f, "no", (4, 12)) for f in clean]
    found = [
        measure(clip(tmp_path / f"{i}.mp4", frames))
        for i, frames in enumerate((clean, other, marked, clean[::-1]))
    ]
    assert found[2].sharpness > found[0].sharpness
    found[2] = replace(found[2], text=1.0)
    assert duplicates(found) == {2: 0}
    assert duplicates([]) == {} and duplicates(found[:1]) == {}


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"min_sharpness": -1.0}, "min_sharpness = -1.0 should be a number from 0 on"),
        ({"max_motion": float("nan")}, "max_motion = nan"),
        ({"min_motion": 2.0, "max_motion": 1.0}, "min_motion = 2 is more than max_motion = 1"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(OptionError, match=said):
        Thresholds(**wrong)


def test_no_folder_and_no_clips_are_one_clear_error(tmp_path):
    with pytest.raises(OptionError, match="is no folder of clips"):
        curate(tmp_path / "gone")
    with pytest.raises(MediaError, match=r"holds no clip\. Known endings: \.avi"):
        curate(tmp_path)
    with pytest.raises(OptionError, match="cut = 2 should be more than 0 and at most 1"):
        curate(tmp_path, cut=2.0)


@pytest.mark.usefixtures("quick_plots")
def test_the_command_prints_a_table_and_writes_beside_the_folder(tmp_path, capsys):
    clip(tmp_path / "clips/a.mp4", pan(scene(), 6))
    assert main(["curate", str(tmp_path / "clips") + "/", "--min-motion", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "motion 0.167 is under 0.5" in out and "0 of 1 clips kept" in out
    assert Path(out.split()[-1]) == tmp_path / "clips.curated/curate.png"
    assert main(["curate", str(tmp_path / "clips"), "-o", str(tmp_path / "o"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["clips"][0]["kept"] is True
    assert main(["curate", str(tmp_path / "gone")]) == 2


def test_a_place_that_cannot_be_written_is_said_before_any_clip_is_measured(tmp_path, capsys, monkeypatch):
    clip(tmp_path / "clips/a.mp4", pan(scene(), 6))
    (tmp_path / "afile").write_text("x")
    monkeypatch.setattr("wan22.train.data.curate.measure", lambda *_, **__: 1 / 0)
    for place in ("afile", "afile/deeper"):
        assert main(["curate", str(tmp_path / "clips"), "-o", str(tmp_path / place)]) == 2
        assert "afile is a file, not a folder." in capsys.readouterr().err


def test_what_was_measured_is_shown_though_it_cannot_be_written(tmp_path, capsys, monkeypatch):
    def refused(*_):
        raise OutputError("curate.json cannot be written")

    clip(tmp_path / "clips/a.mp4", pan(scene(), 6))
    monkeypatch.setattr("wan22.train.data.curate.write", refused)
    assert main(["curate", str(tmp_path / "clips"), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert "1 of 1 clips kept" in said.out and "curate.json cannot be written" in said.err


def test_texts_that_cannot_be_read_are_named_and_a_pipe_is_reported(tmp_path):
    for seed, name in enumerate(("good", "latin", "zero")):
        clip(tmp_path / f"{name}.mp4", pan(scene(seed, (60 + 60 * seed, 200 - 60 * seed, 90)), 6))
    (tmp_path / "latin.txt").write_bytes("ein Würfel".encode("latin-1"))
    (tmp_path / "zero.txt").write_bytes("a cube".encode("utf-16-le"))
    os.mkfifo(tmp_path / "pipe.mp4")
    result = curate(tmp_path)
    table = "\n".join(result.table())
    assert f"text not used: {tmp_path}/latin.txt: cannot be read: it is no UTF-8 text. Save it" in table
    assert f"text not used: {tmp_path}/zero.txt: cannot be read: it holds zero bytes" in table
    assert (
        "2 of them have no text that can be used, and are not in kept.jsonl: mend those named above" in table
    )
    assert result.to_json()["texts"].keys() == {str(tmp_path / "latin.txt"), str(tmp_path / "zero.txt")}
    assert result.unread["pipe.mp4"].startswith("is a named pipe, not a file.")
