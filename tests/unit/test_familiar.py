"""What the measure's networks do not know is not named; clips of the film set are; and users cope with unknown."""

import numpy as np
import pytest

pytest.importorskip("cv2")

import cv2

from bench import drawn
from bench.foreign import moved
from wan22.director.familiar import Familiar, familiar, look
from wan22.director.image import light_evidence
from wan22.director.judge import judge, score
from wan22.director.measure import UNKNOWN, measure
from wan22.director.subject import find_subject
from wan22.stage import Shot, render

NAMED = {
    "time": "night", "tone": "warm", "saturation": "normal", "contrast": "normal", "camera_angle": "dutch-angle",
    "shot_size": "wide", "composition": "center", "light_direction": "left", "light_quality": "soft-light",
    "colour": "red", "action": "still",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["leaves", "test card", "checkerboard", "slide"])
def test_footage_that_is_not_the_video_set_is_not_named_and_obeys_nothing(kind):
    rng = np.random.default_rng(3)
    found = measure(moved(drawn.STILLS[kind](rng), "static", rng)[::4], 2.0)
    assert {axis: found[axis].value for axis in NAMED} == dict.fromkeys(NAMED, UNKNOWN)
    assert all(found[axis].why and found[axis].confidence < 0.65 for axis in NAMED)
    verdicts = judge(found, NAMED)
    assert [verdict.matches for verdict in verdicts] == [None] * len(NAMED)
    assert score(verdicts) == 0.0


def test_the_camera_over_a_photograph_is_known_where_its_light_is_not():
    rng = np.random.default_rng(5)
    found = measure(moved(drawn.leaves(rng), "pan-right", rng), 8.0)
    assert (found["direction"].value, found["grip"].value) == ("right", "steady")
    assert (found["time"].value, found["action"].value) == (UNKNOWN, UNKNOWN)


@pytest.mark.parametrize(
    "shot",
    [
        Shot(colour="red", time="day"),
        Shot(
            subject="cube", colour="blue", surroundings="desert", time="sunset", tone="warm", shot_size="wide"
        ),
        Shot(subject="cone", colour="yellow", surroundings="snow", time="night", camera_angle="low-angle"),
        Shot(subject="robot", colour="green", time="dawn", shot_size="close-up", saturation="low-saturation"),
    ],
)
@pytest.mark.parametrize("blur", [0.0, 1.2])
def test_clips_of_the_video_set_are_named(shot, blur):
    clip = render([shot], frames=5, fps=2.0, seed=2)[0].numpy()
    if blur:
        clip = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in clip])
    found = measure(clip, 2.0)
    assert [axis for axis in ("time", "tone", "camera_angle") if found[axis].value == UNKNOWN] == []


def test_the_distance_grows_beyond_what_is_familiar():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (200, 3)) @ rng.normal(0, 1, (3, 12)) + 0.1 * rng.normal(0, 1, (200, 12))
    known = Familiar.of(rows, 3)
    near = [known.strangeness(row[None]) for row in rows]
    off = [known.strangeness(row[None] + rng.normal(0, 1, 12)) for row in rows]
    assert np.quantile(near, 0.95) < np.quantile(off, 0.05)


def test_a_mirror_is_as_familiar():
    clip = render([Shot(light_direction="left", action="travel-left")], frames=3, fps=2.0)[0].numpy()
    frames = clip.astype(np.float32) / 255
    flipped = np.ascontiguousarray(frames[:, :, ::-1])
    seen = []
    for each in (frames, flipped):
        body = find_subject(cv2, each)
        seen.append(look(cv2, each, body.mask, light_evidence(cv2, each, body, None)))
    assert familiar().strangeness(seen[0]) == pytest.approx(familiar().strangeness(seen[1]), abs=0.5)
