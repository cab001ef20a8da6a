"""How shots go together: what raises the score, what lowers it, and what does not count."""

import numpy as np
import pytest

from wan22.director.shot import ShotSpec
from wan22.errors import MediaError
from wan22.storyboard.continuity import compare, portrait

GRASS, SAND, NIGHT = (96, 150, 80), (220, 160, 90), (30, 40, 80)
RED, BLUE = (200, 30, 30), (30, 60, 200)
DAY, DARK = ShotSpec("a ball", time="day"), ShotSpec("a ball", time="night")


def shot(ball, ground, *, at=48, radius=10, gain=1.0):
    """Three frames, (3, 64, 96, 3), of a disc on a ground of some texture."""
    y, x = np.mgrid[:64, :96]
    texture = np.random.default_rng(0).integers(-8, 9, (64, 96, 1))
    frame = np.asarray(ground) + texture
    frame[(y - 34) ** 2 + (x - at) ** 2 < radius**2] = ball
    return np.repeat(np.clip(frame * gain, 0, 255).astype(np.uint8)[None], 3, axis=0)


def pair(one, two, specs=(DAY, DAY), shared=(True, True)):
    return compare([portrait(one), portrait(two)], specs, shared).pairs[0]


def test_a_shot_goes_with_itself():
    same = pair(shot(RED, GRASS), shot(RED, GRASS))
    assert (same.hues, same.palette, same.light, same.score) == pytest.approx((1, 1, 1, 1))


def test_the_subject_is_known_again_elsewhere_larger_and_on_other_ground():
    there = pair(shot(RED, GRASS), shot(RED, SAND, at=30, radius=16))
    assert there.hues > 0.9 and there.palette < 0.5


def test_a_subject_of_another_colour_is_told():
    other = pair(shot(RED, GRASS), shot(BLUE, GRASS))
    assert other.hues < 0.1 and other.palette > 0.9 and other.light > 0.7
    assert other.score == pytest.approx((2 * other.hues + other.palette + other.light) / 4)


def test_exposure_lowers_light_and_leaves_the_hues():
    darker = pair(shot(RED, GRASS), shot(RED, GRASS, gain=0.6))
    assert darker.hues > 0.9 and darker.light < 0.7


def test_light_counts_only_between_shots_that_ask_for_the_same():
    night = pair(shot(RED, GRASS), shot(RED, NIGHT, gain=0.7), specs=(DAY, DARK))
    assert night.counted == ("hues",) and night.score == night.hues > 0.8


def test_hues_count_only_if_both_show_the_subject_and_nothing_counts_if_nothing_is_shared():
    assert pair(shot(RED, GRASS), shot(BLUE, GRASS), shared=(True, False)).counted == ("palette", "light")
    found = compare([portrait(shot(RED, GRASS)), portrait(shot(RED, SAND))], (DAY, DARK), (True, False))
    assert found.score is None and found.weakest is None and found.pairs[0].score is None


def test_the_video_is_the_mean_over_its_pairs_and_the_weakest_is_named():
    shots = [portrait(shot(ball, GRASS)) for ball in (RED, RED, BLUE)]
    found = compare(shots, [DAY] * 3, [True] * 3)
    scores = [p.score for p in found.pairs]
    assert found.score == pytest.approx(np.mean(scores)) and found.weakest.second == 2
    matrix = found.matrix(3)
    assert matrix[0][1] == matrix[1][0] == scores[0] and matrix[2][2] == 1.0
    entry = found.as_json([1, 2, 3])
    assert entry["pairs"][0]["shots"] == [1, 2] and entry["score"] == round(found.score, 3)


def test_a_grey_subject_is_not_a_coloured_one():
    assert pair(shot((40, 40, 40), GRASS), shot((40, 40, 40), SAND)).hues > 0.8
    assert pair(shot((40, 40, 40), GRASS), shot(RED, GRASS)).hues < 0.5


def test_images_of_one_colour_have_a_score():
    flat = np.full((2, 32, 32, 3), 128, np.uint8)
    assert pair(flat, flat).score == pytest.approx(1)


@pytest.mark.parametrize(
    "frames", [np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 32, 32, 3)), np.zeros(3, np.uint8)]
)
def test_other_arrays_are_refused(frames):
    with pytest.raises(MediaError, match="cannot compare"):
        portrait(frames)
