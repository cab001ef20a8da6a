"""The measure: right on worlds whose movement is known, and it says what it cannot know."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest

from wan22.errors import MediaError
from wan22.stage import Shot, render

pytest.importorskip("cv2")

import cv2

from wan22.director.camera import evidence
from wan22.director.flow import PARAMETERS, camera_path, find_horizon
from wan22.director.image import light_evidence
from wan22.director.measure import UNKNOWN, judge, measure
from wan22.director.subject import find_subject

FOCAL = 1.6  # units


def noise(rows, columns, seed, blur):
    image = np.random.default_rng(seed).uniform(0, 1, (rows, columns, 3)).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), blur)
    return (image - image.mean()) / image.std()


GROUND, SKY = noise(512, 512, 0, 5), noise(200, 1024, 1, 8)


def world(frames=9, rows=80, columns=128, body=True, **moves):
    """A camera 1 m over textured ground, before a far textured sky; a red ball stands 4 m ahead.

    Each move goes from minus half to plus half of its amount: pan, tilt, roll in radians, zoom as a logarithm, truck,
    crane, dolly and walk (the ball's own) in metres.
    """
    unit = min(rows, 0.8 * columns)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    u, v = (x + 0.5 - columns / 2) / unit, (rows / 2 - y - 0.5) / unit
    video = []
    for along in np.linspace(-0.5, 0.5, frames):
        move = {
            name: along * moves.get(name, 0.0)
            for name in ("pan", "tilt", "roll", "zoom", "truck", "crane", "dolly", "walk")
        }
        sin, cos = np.sin(move["roll"]), np.cos(move["roll"])
        right, up = u * cos + v * sin, v * cos - u * sin
        focal = FOCAL * np.exp(move["zoom"])
        azimuth, slope = np.arctan(right / focal) + move["pan"], up / focal + move["tilt"]
        depth = (1 + move["crane"]) / np.maximum(-slope, 1e-3)
        across, ahead = move["truck"] + depth * np.tan(azimuth), move["dolly"] + depth
        fine = np.exp(-((depth / 14) ** 2))[..., None]
        ground = sampled(GROUND, across * 12, ahead * 12)
        low = np.float32([0.45, 0.5, 0.3]) + 0.08 * ground * fine
        high = np.float32([0.5, 0.65, 0.85]) + 0.08 * sampled(SKY, azimuth * 160, slope * 160 + 20)
        image = np.where((slope < 0)[..., None], low, high)
        if body:
            away = 4 - move["dolly"]
            off = np.hypot(
                np.tan(azimuth) * away - move["walk"] + move["truck"], slope * away + 0.6 + move["crane"]
            )
            image = np.where((off < 0.4)[..., None], np.float32([0.85, 0.1, 0.1]), image)
        video.append(image)
    return (np.stack(video).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def sampled(texture, x, y):
    return cv2.remap(
        texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


@pytest.mark.parametrize(
    ("moves", "camera", "direction"),
    [
        ({}, "static", "none"),
        ({"pan": 0.2}, "pan-right", "right"),
        ({"pan": -0.2}, "pan-left", "left"),
        ({"tilt": 0.2}, "tilt-up", "up"),
        ({"zoom": 0.4}, "zoom-in", "in"),
        ({"zoom": -0.4}, "zoom-out", "out"),
        ({"roll": 0.4}, "roll-clockwise", "clockwise"),
        ({"truck": 0.9}, "truck-right", "right"),
        ({"crane": 0.6}, "crane-up", "up"),
        ({"dolly": 1.4}, "dolly-in", "in"),
        ({"dolly": -1.4}, "dolly-out", "out"),
    ],
)
def test_the_camera_is_named_by_parallax(moves, camera, direction):
    found = measure(world(**moves), 8)
    assert (found["camera"].value, found["direction"].value) == (camera, direction)


def test_amounts_are_those_of_the_world():
    found = measure(world(pan=0.2), 8)
    assert found["camera"].amounts["pan"] == pytest.approx(0.2 * FOCAL, rel=0.1)
    assert abs(found["camera"].amounts["truck"]) < 0.05
    assert found.camera[-1, PARAMETERS.index("pan")] == pytest.approx(0.2 * FOCAL, rel=0.1)


def test_a_blurred_video_of_another_size_and_rate_is_measured_alike():
    large = np.stack([cv2.resize(frame, (448, 280)) for frame in world(frames=17, pan=0.2)])
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 5) for frame in large])
    found = measure(blurred, 16)
    assert (found["camera"].value, found.size, found.frames) == ("pan-right", (448, 280), 17)


@pytest.fixture
def named(monkeypatch):
    """Names what is seen of any footage: these worlds are not those that the gate knows."""

    class Everything:
        @staticmethod
        def strangeness(amounts):
            return -1.0

    monkeypatch.setattr(importlib.import_module("wan22.director.measure"), "familiar", Everything)


def test_a_world_that_the_gate_does_not_know_has_amounts_and_no_names():
    found = measure(world(walk=-0.8), 8)
    assert (found["camera"].value, found["action"].value) == ("static", UNKNOWN)
    assert found["action"].why and found["action"].amounts["path"] < 0


def test_mirroring_a_video_mirrors_directions_and_playing_it_backwards_turns_them(named):
    video = world(pan=0.2, walk=0.8)
    there, mirrored, back = (
        measure(each, 8) for each in (video, np.ascontiguousarray(video[:, :, ::-1]), video[::-1])
    )
    assert there["action"].value == "travel-right"
    assert (mirrored["camera"].value, mirrored["action"].value) == ("pan-left", "travel-left")
    assert (back["camera"].value, back["action"].value) == ("pan-left", "travel-left")
    assert there["action"].amounts["path"] == pytest.approx(-mirrored["action"].amounts["path"], abs=0.04)


def test_a_subject_that_travels_before_a_static_camera_moves_only_itself(named):
    found = measure(world(walk=-0.8), 8)
    assert (found["camera"].value, found["action"].value) == ("static", "travel-left")
    assert found["action"].amounts["path"] == pytest.approx(-0.8 / 4 * FOCAL, rel=0.25)


def test_a_camera_that_goes_along_follows(named):
    found = measure(world(walk=0.9, truck=0.9), 8)
    assert (found["camera"].value, found["direction"].value) == ("follow", "right")
    assert found["action"].value == "travel-right"
    assert found["action"].amounts["path"] == pytest.approx(0.9 / 4 * FOCAL, rel=0.25)


def test_a_hand_is_told_from_a_stand():
    video = world(frames=17, pan=0.2)
    rng = np.random.default_rng(0)
    shaken = np.stack([np.roll(frame, rng.integers(-2, 3, 2), axis=(0, 1)) for frame in video])
    assert measure(video, 8)["grip"].value == "steady"
    assert measure(shaken, 8)["grip"].value == "handheld"


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_video_of_one_grey_tells_nothing_and_obeys_nothing(level):
    found = measure(np.full((5, 32, 48, 3), level, np.uint8), 8)
    for axis in found.readings.keys() - {"motion", "cuts"}:
        assert found[axis].value == UNKNOWN and found[axis].why, axis
    assert "blank" in found["time"].why
    asked = {"time": "night", "tone": "warm", "contrast": "high-contrast", "camera_angle": "overhead"}
    assert [verdict.matches for verdict in judge(found, asked)] == [None] * len(asked)


def test_a_cut_is_found_and_the_longer_shot_measured():
    video = np.concatenate([world(frames=6, pan=0.2), 255 - world(frames=12, pan=-0.3)])
    found = measure(video, 8)
    assert (found.cuts, found.shot) == ((6,), (6, 17))
    assert found["direction"].value == "left"


@pytest.mark.parametrize("angle", [-0.3, 0.0, 0.25])
def test_a_horizon_is_found_where_it_is(angle):
    video = world(frames=1, roll=2 * angle, body=False)  # it begins at minus half of the amount
    line = find_horizon(video[0].astype(np.float32) / 255, np.ones(video.shape[1:3], bool))
    assert line.angle == pytest.approx(angle, abs=0.06)
    assert abs(line.offset) < 0.06


def test_a_sky_that_glows_is_no_horizon_and_one_out_of_focus_is_found():
    rows = np.linspace(0, 1, 80, dtype=np.float32)[:, None, None] + np.zeros((80, 128, 1), np.float32)
    glow = np.float32([0.5, 0.4, 0.6]) + np.float32([0.5, 0.3, -0.2]) * np.clip(rows / 0.6, 0, 1)
    sharp = np.where(rows < 0.6, glow, np.float32([0.8, 0.65, 0.4]))
    soft = cv2.GaussianBlur(
        np.where(rows < 0.6, np.float32([0.6, 0.7, 0.9]), np.float32([0.4, 0.5, 0.3])), (0, 0), 4
    )
    for image in (sharp, soft):
        line = find_horizon(image, np.ones((80, 128), bool))
        assert line.score > 1 and line.angle == 0 and line.offset == pytest.approx(0.1, abs=0.03)


def test_a_striped_body_is_one_body():
    video = np.full((5, 80, 128, 3), (0.5, 0.6, 0.4), np.float32)
    video[:, :30] = 0.6, 0.7, 0.9
    for top, colour in ((25, (0.5, 0.1, 0.6)), (38, (0.5, 0.5, 0.45)), (51, (0.5, 0.1, 0.6))):
        video[:, top : top + 13, 50:78] = colour
    found = find_subject(cv2, video)
    assert found.height == pytest.approx(np.full(5, 39 / 80), abs=0.04)


def test_a_body_that_hides_the_background_leaves_finite_evidence():
    video = np.full((17, 80, 128, 3), 0.4, np.float32)
    video[:, 2:, 2:-2] = 0.85, 0.1, 0.1
    body = find_subject(cv2, video)
    path = camera_path(cv2, video, body.free(cv2, video), ~body.mask)
    assert np.isinf(path.residual)  # nothing to follow
    # One number that is not finite would spoil the means of all that a network is fitted on.
    assert all(np.isfinite(part).all() for part in evidence(path, body))


def test_light_on_a_mirrored_video_is_mirrored():
    video = world(frames=5).astype(np.float32) / 255
    video[..., :64, :] *= 0.7
    body = find_subject(cv2, video)
    line = find_horizon(video[2], ~body.mask[2])
    other = replace(body, mask=body.mask[:, :, ::-1], x=-body.x)
    there, back = light_evidence(cv2, video, body, line)
    mirrored = light_evidence(
        cv2, np.ascontiguousarray(video[:, :, ::-1]), other, line._replace(angle=-line.angle)
    )
    assert mirrored[0] == pytest.approx(back, abs=1e-4) and mirrored[1] == pytest.approx(there, abs=1e-4)
    assert not np.allclose(there, back)


def test_a_clip_of_the_video_set_is_measured_as_its_labels_say():
    shot = Shot(colour="red", action="travel-left", time="day", camera="static", light_direction="right")
    found = measure(render([shot], frames=9, fps=4).numpy()[0], 4)
    asked = {axis: getattr(shot, axis) for axis in ("colour", "action", "time", "camera", "shot_size")}
    assert {v.axis: v.matches for v in judge(found, asked)} == dict.fromkeys(asked, True)


def test_a_measurement_is_json():
    found = measure(world(frames=5), 8)
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["readings"]["camera"]["value"] == "static"
    assert len(values["tracks"]["camera"]) == 5


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros((5, 8, 8), np.uint8),
        np.zeros((2, 32, 32, 3), np.uint8),
        np.zeros((5, 32, 32, 3), np.float32),
        np.zeros((5, 8, 32, 3), np.uint8),
    ],
)
def test_what_is_no_video_is_refused(clip):
    with pytest.raises(MediaError, match="needs"):
        measure(clip, 8)


def test_a_video_without_a_rate_is_refused():
    with pytest.raises(MediaError, match="positive"):
        measure(np.zeros((5, 32, 32, 3), np.uint8), 0)
