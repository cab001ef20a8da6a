"""The tutorial of docs/ in miniature, and how a video is judged: by shape, not by colour."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from unit.tiny import tiny_variant, write_tiny

from wan22.errors import MediaError, OptionError

pytest.importorskip("cv2")

from bench import quality, subject, subject_judge
from bench.subject_judge import features, fit, gradients
from wan22.cli.__main__ import main as wan22_main
from wan22.nano import filmset
from wan22.train.evaluation.bands import SIGMAS

ROOT = Path(__file__).parents[2]


def video(kind, colour, *, x=48, y=30, side=14, seed=0):
    """Three frames of a body on the grass: a disc, or a flat cap on a pale stem."""
    rows, columns = np.mgrid[:64, :96]
    rng = np.random.default_rng(seed)
    image = np.zeros((64, 96, 3)) + np.where(rows[..., None] < 30, (150, 190, 230), (90, 130, 60))
    if kind == "ball":
        body, stem = (columns - x) ** 2 + (rows - y) ** 2 < side**2, np.zeros((64, 96), bool)
    else:
        body = ((columns - x) / side) ** 2 + ((rows - y + 4) / (0.5 * side)) ** 2 < 1
        stem = (abs(columns - x) < 0.3 * side) & (rows > y - 4) & (rows < y + side) & ~body
    image[body], image[stem] = colour, (235, 225, 205)
    noisy = image + rng.normal(0, 2, (3, *image.shape))
    return noisy.clip(0, 255).astype(np.uint8)


RED, BLUE = (215, 30, 30), (40, 60, 225)
KINDS = ("ball", "mushroom")


@pytest.fixture(scope="module")
def judge():
    places = [(40 + 3 * i, 26 + i, 11 + i) for i in range(6)]
    return fit(
        {k: np.concatenate([features(video(k, RED, x=x, y=y, side=s)) for x, y, s in places]) for k in KINDS}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_judge_that_saw_red_bodies_knows_blue_ones_elsewhere(judge, kind):
    for i in range(3):
        assert judge.call(video(kind, BLUE, x=35 + 9 * i, y=32, side=10 + 2 * i, seed=1)) == kind
    scores = judge.scores(video(kind, BLUE))
    assert scores.keys() == set(KINDS) and max(scores, key=scores.get) == kind


def test_edges_are_told_by_their_direction_and_not_by_their_sign():
    upright = np.zeros((32, 32))
    upright[:, 16:] = 1
    assert np.allclose(gradients(upright), gradients(-upright))
    assert np.allclose(gradients(upright), gradients(upright[:, ::-1]))
    assert np.abs(gradients(upright) - gradients(upright.T)).max() > 0.3


def test_what_is_no_video_and_a_judge_of_one_kind_are_refused():
    with pytest.raises(MediaError, match="uint8"):
        features(np.zeros((3, 8, 8, 3), np.float32))
    with pytest.raises(OptionError, match="two kinds"):
        fit({"ball": np.ones((3, 4))})


def test_a_video_without_a_body_is_looked_at_in_the_middle():
    assert np.isfinite(features(np.full((1, 40, 60, 3), 90, np.uint8))).all()


def test_prompts_are_held_out_name_the_subject_and_show_one_body():
    listed = subject.prompts(12, 0, "mushroom")
    assert listed == subject.prompts(12, 0, "mushroom")
    for shot, asked in listed:
        assert shot.held_out and shot.action in subject_judge.ACTIONS
        assert asked.labels["subject"] == "mushroom" and re.search("mushroom|toadstool", asked.prompt.lower())
    assert "mushroom" not in {shot.subject for shot, _ in subject.prompts(12, 0, None)}


def test_a_share_lies_in_its_interval():
    assert subject.wilson(0, 10) == [0.0, 0.2775] and subject.wilson(10, 10) == [0.7225, 1.0]
    low, high = subject.wilson(15, 30)
    assert low == pytest.approx(1 - high) and 0.33 < low < 0.34


def test_a_gain_counts_what_was_won_and_what_was_lost():
    gain = subject.gain_of([True, False, False, False], [False, True, True, False])
    assert (gain["bare"], gain["lora"], gain["gain"]) == (0.25, 0.5, 0.25)
    assert (gain["won"], gain["lost"]) == (2, 1)


def test_losses_are_told_for_each_expert_and_no_level_twice():
    variant = tiny_variant()
    levels = torch.arange(len(SIGMAS), dtype=torch.float64)[:, None].repeat(1, 2)
    rows = subject.bands(levels, levels / 2, variant)
    assert [(row["expert"], row["from"], row["to"]) for row in rows[-2:]] == [
        ("low", 0.75, 0.9),
        ("high", 0.9, 1),
    ]
    assert rows[-1]["bare"] == 18.5 and rows[-1]["gain"]["share"] == pytest.approx(0.5)
    assert sum(row["expert"] == "low" for row in rows) == 4


def commands():
    """The commands that the tutorial gives, as lists of words."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.slow
def test_the_tutorial_runs_in_miniature(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "docs" / "tutorial", "docs/tutorial")
    model = str(write_tiny(tmp_path / "tiny", only=True))
    for module in (quality, subject):
        monkeypatch.setattr(module, "FRAMES", 5)
    done = []
    for program, *words in commands():
        if program == "mkdir":
            Path(words[-1]).mkdir(parents=True)
        elif program == "cp":
            shrink(Path(words[0]).read_text(), Path(words[1]) / Path(words[0]).name, model)
        elif program == "wan22" and words[0] == "train":
            assert not wan22_main(words)
        elif program == "wan22" and words[0] == "generate":
            small = ["--model", model, "--size", "48x32", "--frames", "5", "--steps", "2", "--guidance", "1"]
            assert not wan22_main([*words, *small])
        elif words[:2] == ["-m", "wan22.nano.filmset"]:
            assert filmset.main([*words[2:], "--count", "2", "--size", "48x32", "--frames", "5"]) == 0
        elif words[:2] == ["-m", "bench.subject"]:
            small = "--count 1 --others 1 --clips 1 --looks 2 --checked 1 --steps 2".split()
            subject.main([*words[2:], *small, "--model", model])
        else:
            raise AssertionError(f"the tutorial gives a command that nobody runs here: {program} {words}")
        done.append(f"{program} {words[0]}")
    assert {"wan22 train", "wan22 generate", "python -m"} <= set(done)
    said = capsys.readouterr().out
    assert "called mushroom" in said and "2 clips in" in said and "mushroom/run/lora" in said
    result = json.loads(Path("mushroom/subject.json").read_text())
    assert result["videos"] == 1 and [row["expert"] for row in result["loss"]["subject"]][-1] == "high"
    assert (
        len(result["loras"]) == 2
        and Path("mushroom/subject.png").exists()
        and Path("mushroom/red.mp4").exists()
    )


def shrink(text, target, model):
    """The tutorial's recipe for a tiny model: two steps on two small clips."""
    for name, value in {
        'name = "nano"': f"name = {json.dumps(model)}",
        r"size = .*": "size = [48, 32]",
        r"frames = .*": "frames = [5]",
        r"rank = .*": "rank = 2",
        r"steps = .*": "steps = 2",
        r"warmup = .*": "warmup = 1",
        r"batch_size = .*": "batch_size = 2",
    }.items():
        text, count = re.subn(rf"^{name}", lambda _, value=value: value, text, flags=re.MULTILINE)
        assert count == 1, name
    target.write_text(text)
