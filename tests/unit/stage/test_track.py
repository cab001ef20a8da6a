"""What camera and subject do in a clip, as numbers: beside what the clip itself shows."""

import cv2
import numpy as np
import pytest
import torch

from wan22.director.subject import find_subject
from wan22.stage.labels import AXES, Shot, mirrored, sample
from wan22.stage.render import render
from wan22.stage.track import QUANTITIES, mirrored_tracks, tracks

SIZE = {"height": 80, "width": 128, "frames": 9, "fps": 8.0}
NAMES = list(QUANTITIES)


def found(shot: Shot, seed: int = 0, **changes) -> dict[str, np.ndarray]:
    """The quantities of a shot, in their own units, (T,) each."""
    rows = tracks([shot], **(SIZE | changes), seed=seed)[0]
    return {name: (rows[:, i] * QUANTITIES[name][0]).numpy() for i, name in enumerate(NAMES)}


SHOTS = [
    Shot(camera="pan-right", light_direction="front"),
    Shot(camera="truck-left", composition="right-heavy", subject="cube"),
    Shot(camera="tilt-up", lens="wide-angle"),
    Shot(action="travel-right", lens="fisheye"),
    Shot(action="bounce", shot_size="wide", camera_angle="high-angle"),
    Shot(camera="roll-clockwise", composition="left-heavy"),
    Shot(camera="zoom-in", camera_angle="dutch-angle"),
]


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: f"{shot.camera}, {shot.action}, {shot.lens}")
def test_the_subject_is_where_it_is_said_to_be(shot):
    clip = render([shot], **SIZE, seed=3)[0].numpy()
    seen = find_subject(cv2, clip.astype(np.float32) / 255)
    said = found(shot, 3)
    assert np.abs(said["u"] - seen.x).mean() < 0.05
    assert np.abs(-said["v"] - seen.y).mean() < 0.05
    assert abs(np.log(seen.height).mean() - said["size"].mean()) < 0.25
    if np.ptp(said["size"]) > 0.1:
        assert np.corrcoef(said["size"], np.log(seen.height))[0, 1] > 0.9


@pytest.mark.parametrize(
    "camera, name",
    [
        ("pan-right", "pan"), ("tilt-up", "tilt"), ("roll-clockwise", "turn"), ("zoom-in", "zoom"),
        ("truck-right", "truck"), ("crane-up", "crane"), ("dolly-in", "dolly"),
    ],
)  # fmt: skip
def test_a_movement_is_its_quantity_and_hardly_another(camera, name):
    moved = {each: float(np.ptp(rows)) for each, rows in found(Shot(camera=camera)).items()}
    whole = found(Shot(camera=camera))[name]
    assert whole[-1] > whole[0] and moved[name] > 0.1
    # Who cranes or dollies goes on looking at the subject, and so tilts a little.
    others = {"pan", "turn", "zoom", "truck", "crane", "dolly"} - {name}
    assert all(moved[other] < 0.25 * moved[name] for other in others), moved


def test_a_resting_scene_does_not_move():
    rows = found(Shot())
    for name in ("pan", "tilt", "turn", "zoom", "truck", "crane", "dolly", "path"):
        assert np.abs(rows[name]).max() < 1e-4
    assert np.abs(rows["other"]).max() == 0


def test_light_is_told_in_the_cameras_axes():
    assert found(Shot(light_direction="left"))["light x"][0] < -0.5
    assert found(Shot(light_direction="right"))["light x"][0] > 0.5
    assert found(Shot(light_direction="front"))["light z"][0] < -0.3
    assert found(Shot(light_direction="backlight"))["light z"][0] > 0.5


def test_a_mirror_swaps_sides_and_nothing_else():
    shot = Shot(
        action="travel-left", camera="pan-left+zoom-in", light_direction="right", composition="left-heavy"
    )
    there = mirrored(shot)
    assert (there.action, there.camera, there.light_direction, there.composition) == (
        "travel-right", "pan-right+zoom-in", "left", "right-heavy",
    )  # fmt: skip
    assert mirrored(Shot(camera="roll-clockwise")).camera == "roll-counterclockwise"
    shots = sample(200, seed=1)
    assert [mirrored(mirrored(each)) for each in shots] == shots
    for axis in set(AXES) - {"action", "camera", "light_direction", "composition"}:
        assert all(getattr(each, axis) == getattr(mirrored(each), axis) for each in shots)


def test_tracks_in_a_mirror_are_those_of_the_mirrored_shot():
    shot = Shot(camera="pan-left", action="travel-right", light_direction="left")
    here = mirrored_tracks(tracks([shot], **SIZE, seed=0))[0]
    there = tracks([mirrored(shot)], **SIZE, seed=0)[0]
    for name in ("pan", "path", "truck", "tilt", "height"):
        i = NAMES.index(name)
        assert torch.allclose(here[:, i], there[:, i], atol=1e-3), name
    x = NAMES.index("light x")
    assert here[0, x] * there[0, x] > 0
