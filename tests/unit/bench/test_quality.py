"""The scoreboard: what is judged, how it is counted, and how it reads; with a tiny model and the real measure."""

import numpy as np
import pytest
from unit.tiny import write_tiny

import wan22
from bench import quality
from wan22.errors import OptionError
from wan22.train.evaluation.recipe import EvalPrompt
from wan22.types import Clip

pytest.importorskip("cv2")

VIDEO = np.random.default_rng(0).integers(0, 256, (17, 80, 128, 3), dtype=np.uint8)


class Verdict:
    def __init__(self, axis, asked, measured, matches):
        self.axis, self.asked, self.measured, self.matches = axis, asked, measured, matches


def saying(monkeypatch, *rows):
    monkeypatch.setattr(quality, "measure", lambda frames, fps: None)
    monkeypatch.setattr(quality, "judge", lambda measured, asked: [Verdict(*row) for row in rows])


@pytest.mark.parametrize(
    ("measured", "moves", "whither"),
    [
        ("pan-right", True, False),
        ("truck-left", True, True),
        ("zoom-in+pan-left", True, False),
        ("static", False, False),
    ],
)
def test_times_are_also_read_by_their_family_and_cameras_by_whether_and_where_they_move(
    monkeypatch, measured, moves, whither
):
    saying(monkeypatch, ("time", "dawn", "dusk", False), ("camera", "pan-left", measured, False))
    found = {each["axis"]: each["matches"] for each in quality.verdicts(VIDEO, EvalPrompt("x", {}))}
    views = {"time family": True, "still or moving": moves, "camera direction": whither}
    assert found == {"time": False, "camera": False} | views


def test_what_could_not_be_judged_has_no_coarser_reading_either(monkeypatch):
    saying(monkeypatch, ("camera", "static", "", None))
    assert [each["axis"] for each in quality.verdicts(VIDEO, EvalPrompt("x", {}))] == ["camera"]


def test_the_board_has_videos_beside_perfect_ones_with_counts_and_bars(monkeypatch):
    saying(monkeypatch, ("tone", "warm", "warm", True), ("lens", "fisheye", "normal-lens", False))
    board = quality.board([EvalPrompt("x", {})] * 2, [VIDEO] * 2, [VIDEO] * 2)
    assert board["tone"] == {"videos": 1.0, "perfect": 1.0, "vae": None, "of": 2, "target": 0.95, "wrong": {}}
    assert board["lens"]["wrong"] == {"fisheye as normal-lens": 2}
    assert (
        quality.board([EvalPrompt("x", {})] * 2, [VIDEO] * 2, [VIDEO] * 2, [VIDEO] * 2)["lens"]["vae"] == 0.0
    )
    assert board["lens"]["target"] == quality.OTHERS and board["lens"]["videos"] == 0


def test_a_share_counts_what_was_asked_and_no_view_twice():
    rows = {
        "tone": {"videos": 0.5, "perfect": 1.0, "vae": None, "of": 10},
        "grip": {"videos": 0.0, "perfect": None, "vae": None, "of": 30},
        "time family": {"videos": 1.0, "perfect": 1.0, "vae": None, "of": 100},
    }
    assert quality.share(rows) == 5 / 40
    assert quality.share(rows, "perfect") == 1.0 and quality.share(rows, "vae") == 0.0


def test_every_target_is_an_axis_or_a_view():
    from wan22.stage.labels import AXES

    assert set(quality.TARGETS) <= {*AXES, *quality.VIEWS}


def test_a_scoreboard_of_a_tiny_model_is_whole(tmp_path, monkeypatch):
    engine = wan22.load(write_tiny(tmp_path / "tiny"), device="cpu")
    monkeypatch.setattr(quality, "SIZE", (48, 32))
    monkeypatch.setattr(quality, "FRAMES", 5)
    listed = [("shot", EvalPrompt("a red ball", {"tone": "warm"}))] * 2
    monkeypatch.setattr(quality, "held_out", lambda count, seed, language: listed[:count])
    monkeypatch.setattr(quality, "renders", lambda shots, size: [VIDEO[:5, :32, :48] for _ in shots])
    monkeypatch.setattr(quality, "vae_psnr", lambda engine, seed: [33.0, 31.0])
    saying(monkeypatch, ("tone", "warm", "cool", False), ("camera", "static", "static", True))
    settings = {"steps": 2}
    result = quality.scoreboard(
        engine, 2, images=1, settings=settings, sheet=tmp_path / "sheet.png", through_vae=True
    )
    row = {"videos": 0.0, "perfect": 0.0, "vae": 0.0, "of": 2, "target": 0.95}
    assert result["adherence"]["tone"] == row | {"wrong": {"warm as cool": 2}}
    assert result["image"]["videos"] == 1 and result["image"]["moves"]["camera"]["videos"] == 1
    assert (tmp_path / "sheet.png").exists()
    shown = quality.lines(result, only=["tone"])
    assert any(line.startswith("tone") and line.endswith("missed") for line in shown)
    assert "tone: warm as cool 2" in shown
    assert any("VAE: 31.89 dB (bar 32  missed), worst frame 31.00 dB" in line for line in shown)
    assert not any(line.startswith("camera") for line in shown[:5])


def test_videos_may_begin_with_the_renders_under_noise(tmp_path):
    engine = wan22.load(write_tiny(tmp_path / "tiny"), device="cpu")
    clip, asked = VIDEO[:5, :32, :48], EvalPrompt("a red ball", {})
    settings = {"size": (48, 32), "frames": 5, "steps": 4}
    near, far = (
        quality.make(engine, asked, 0, settings | {"video": Clip(clip, 8.0), "strength": s})
        for s in (0.05, 1.0)
    )
    kept = np.stack(quality.there_and_back(engine, [clip]))[0].astype(float)
    assert abs(near - kept).mean() < abs(far - kept).mean()


def test_of_several_takes_the_one_that_obeys_best_counts_and_of_equals_the_first(monkeypatch):
    obeys = {0: 0.2, 100_000: 0.7, 200_000: 0.7}
    monkeypatch.setattr(quality, "make", lambda engine, asked, seed, settings: seed)
    monkeypatch.setattr(quality, "measure", lambda video, fps: video)
    monkeypatch.setattr(quality, "judge", lambda video, asked: video)
    monkeypatch.setattr(quality, "score", obeys.__getitem__)
    assert [quality.best(None, EvalPrompt("x", {}), 0, {}, takes) for takes in (1, 2, 3)] == [
        0,
        100_000,
        100_000,
    ]


def test_what_cannot_be_is_refused_before_a_model_is_loaded():
    with pytest.raises(OptionError, match="Did you mean 'tone'"):
        quality.main(["--only", "tome"])
    with pytest.raises(OptionError, match="strength must be above 0"):
        quality.main(["--strength", "0"])
    with pytest.raises(OptionError, match="best-of needs at least one take, not 0"):
        quality.main(["--best-of", "0"])
    with pytest.raises(OptionError, match="guidance"):
        quality._guidance("1,2,3")
