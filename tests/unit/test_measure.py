"""The measure: right on clips whose labels are known, crisp and blurred, and it says what it cannot measure."""

import numpy as np
import pytest

from wan22.errors import MediaError
from wan22.stage import AXES, Shot, render, sample

pytest.importorskip("cv2")

from wan22.director.measure import MEASURED, accuracy, measure, soften


@pytest.fixture(scope="module")
def stage():
    shots = sample(24, 21, split="held-out")
    return shots, render(shots, seed=21).numpy()


def test_crisp_clips_are_measured_right(stage):
    found = accuracy(*stage)
    assert tuple(found) == MEASURED
    assert min(found.values()) >= 0.95, found


def test_blurred_and_noisy_clips_are_measured_nearly_as_well(stage):
    shots, clips = stage
    found = accuracy(shots, soften(clips, sigma=1.5, noise=4.0))
    assert min(found.values()) >= 0.87, found


def test_mirroring_a_clip_mirrors_all_directions():
    plain = {axis: values[0] for axis, values in AXES.items()}
    shot = Shot(**{**plain, "action": "roll right", "camera": "pan left", "light": "left"})
    clip = render([shot]).numpy()[0]
    there, back = measure(clip, 8), measure(np.ascontiguousarray(clip[:, :, ::-1]), 8)
    assert (there.action, there.camera, there.light) == ("roll right", "pan left", "left")
    assert (back.action, back.camera, back.light) == ("roll left", "pan right", "right")
    assert there.pan == pytest.approx(-back.pan, abs=0.004)


def test_a_clip_played_backwards_dollies_the_other_way():
    plain = {axis: values[0] for axis, values in AXES.items()}
    clip = render([Shot(**{**plain, "camera": "dolly in"})]).numpy()[0]
    assert measure(clip, 8).camera == "dolly in"
    assert measure(np.ascontiguousarray(clip[::-1]), 8).camera == "dolly out"


def test_a_clip_of_one_grey_is_measured_without_a_crash():
    assert measure(np.full((5, 32, 48, 3), 128, np.uint8), 8).camera == "static"


@pytest.mark.parametrize("clip", [np.zeros((5, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)])
def test_what_is_no_clip_is_refused(clip):
    with pytest.raises(MediaError, match="needs uint8"):
        measure(clip, 8)


def test_unequal_numbers_of_shots_and_clips_are_refused(stage):
    with pytest.raises(MediaError, match="one clip for each"):
        accuracy(stage[0], stage[1][:2])
