"""The bench of consistency: the same subject is more like itself than like another one."""

import numpy as np
import pytest
from unit.tiny import write_tiny

import wan22
from bench import continuity
from wan22.storyboard.continuity import hues_alike, portrait

PAINTS = {"red": (220, 30, 30), "blue": (30, 40, 220)}


def disc(colour):
    rows, columns = np.mgrid[:64, :96]
    frame = np.full((64, 96, 3), (90, 150, 80), np.uint8)
    frame[(rows - 32) ** 2 + (columns - 48) ** 2 < 225] = PAINTS[colour]
    return np.stack([frame] * 3)


def test_hues_are_alike_of_one_colour_and_not_of_two():
    red, blue = (portrait(disc(colour)) for colour in PAINTS)
    assert hues_alike(red, red) == pytest.approx(1)
    assert hues_alike(red, blue) == hues_alike(blue, red) < 0.2


def test_same_and_other_balls_are_compared_in_every_place_and_time(tmp_path, monkeypatch):
    engine = wan22.load(write_tiny(tmp_path / "tiny"), device="cpu")
    asked = []

    def made(request):
        asked.append(request)
        return next(colour for colour in PAINTS if colour in request.prompt)

    monkeypatch.setattr(engine, "generate", made)
    monkeypatch.setattr(continuity, "collect", lambda colour: type("Video", (), {"frames": disc(colour)}))
    found = continuity.scores(engine, 5)
    assert len({request.prompt for request in asked}) == 18 and {request.seed for request in asked} == {5}
    assert min(found["same"]) == pytest.approx(1) and max(found["other"]) < 0.2
