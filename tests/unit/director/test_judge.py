"""The judge: what was asked beside what was measured; what cannot be known is no pass."""

import numpy as np
import pytest

from wan22.director.judge import Verdict, action_said, check_labels, colour_said, judge, score, wanted
from wan22.director.reading import UNKNOWN, Measurement, Reading
from wan22.director.shot import ShotSpec
from wan22.errors import OptionError
from wan22.stage.labels import AXES

SEEN = {
    "camera": "pan-left",
    "direction": "left",
    "grip": "steady",
    "camera_angle": "eye-level",
    "colour": "red",
    "action": "travel-right",
    "shot_size": "close-up",
    "composition": "center",
    "time": "golden",
    "tone": "warm",
    "saturation": "normal",
    "contrast": "normal",
    "light_direction": "left",
    "light_quality": "soft-light",
    "motion": "much",
    "cuts": "0",
}


def seen(**changes):
    values = SEEN | changes
    readings = {axis: Reading(value, 0.0 if value == UNKNOWN else 0.8) for axis, value in values.items()}
    track = np.zeros((5, 1))
    return Measurement(
        (128, 80), 5, 8.0, readings, np.arange(5), track, track[:, 0], track, track, track[:, 0], (), (0, 4)
    )


def matches(asked, **changes):
    return {verdict.axis: verdict.matches for verdict in judge(seen(**changes), asked)}


def test_a_prompt_is_judged_by_what_it_says_and_no_more():
    asked = "Sunset time, warm colors, close-up shot. A red ball rolls to the right. The camera pans left."
    assert matches(asked) == dict.fromkeys(("time", "tone", "shot_size", "camera", "colour", "action"), True)


@pytest.mark.parametrize(
    ("prompt", "axis"),
    [
        ("the camera pans right", "camera"),
        ("at night", "time"),
        ("cool tones, a cat", "tone"),
        ("a wide shot of a house", "shot_size"),
        ("a blue ball in the snow", "colour"),
        ("a ball rolls to the left", "action"),
        ("handheld camera", "grip"),
    ],
)
def test_what_is_not_shown_is_not_obeyed(prompt, axis):
    assert matches(prompt) == {axis: False}


def test_a_camera_that_stays_in_a_hand_is_asked_for_both():
    assert wanted("a static shot, handheld camera") == [("camera", "static"), ("grip", "handheld")]


def test_a_spec_and_labels_say_the_same_as_a_prompt():
    spec = ShotSpec("a red ball", time="sunset", camera=("pan-left",), light_direction=("side-light",))
    assert matches(spec) == {"time": True, "camera": True, "light_direction": True, "colour": True}
    labels = {"time": "sunrise", "camera": "pan-left", "colour": "red", "grip": "handheld"}
    assert matches(labels) == {"time": True, "camera": True, "colour": True, "grip": False}


@pytest.mark.parametrize("axis", ["camera", "time", "colour", "action", "shot_size", "tone"])
def test_what_is_unknown_is_never_a_pass_and_says_why(axis):
    asked = {"camera": "static", "time": "day", "colour": "red", "action": "still", "shot_size": "wide"}
    verdict = judge(seen(**{axis: UNKNOWN}), {axis: asked.get(axis, "warm")})[0]
    assert verdict.matches is None and verdict.measured == UNKNOWN and verdict.why


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ("style", "anime"),
        ("lens", "fisheye"),
        ("light_source", "moonlight"),
        ("material", "glossy"),
        ("tone", "mixed-colors"),
        ("light_direction", "underlight"),
        ("composition", "symmetrical"),
        ("camera_angle", "over-the-shoulder"),
    ],
)
def test_what_is_not_measured_is_none_and_says_why(axis, value):
    verdict = judge(seen(), {axis: value})[0]
    assert verdict.matches is None and verdict.why


@pytest.mark.parametrize(
    ("asked", "camera", "answer"),
    [
        ("dolly-in+crane-up", "crane-up+dolly-in", True),
        ("dolly-in+crane-up", "dolly-in", False),
        ("pan-left", "pan-left+zoom-in", False),
        ("static", "pan-left", False),
        ("orbit", "orbit-right", True),
        ("compound", "pan-left+zoom-in", True),
        ("compound", "pan-left", False),
        ("truck-left", "left", None),
        ("truck-left", "right", False),
        ("follow", "follow", True),
        ("follow", "right", True),
        ("follow", "static", False),
    ],
)
def test_movements_are_compared_as_sets_and_a_direction_alone_is_no_pass(asked, camera, answer):
    assert matches({"camera": asked}, camera=camera) == {"camera": answer}


def test_sizes_between_two_take_both_neighbours():
    assert matches("a medium close-up shot of a dog") == {"shot_size": True}
    assert matches("a medium close-up shot of a dog", shot_size="wide") == {"shot_size": False}


def test_a_turn_on_the_spot_is_not_measured_but_leaving_the_place_is():
    assert matches({"action": "spin"}, action="still") == {"action": None}
    assert matches({"action": "spin"}) == {"action": False}


def test_an_axis_that_does_not_exist_and_words_that_clash_are_refused():
    with pytest.raises(OptionError, match="axis"):
        judge(seen(), {"mood": "sad"})
    with pytest.raises(OptionError, match="exclude"):
        judge(seen(), "day time, night time, a dog")


def test_the_score_weighs_by_confidence_and_leaves_out_what_is_unknown():
    verdicts = [
        Verdict("time", "day", "day", True, confidence=0.9),
        Verdict("tone", "warm", "cool", False, confidence=0.3),
        Verdict("lens", "fisheye", UNKNOWN, None),
    ]
    assert score(verdicts) == pytest.approx(0.75)
    assert score(verdicts[2:]) == 0.0


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("a crimson ball rolls", "red"),
        ("a small glossy green cube in a meadow", "green"),
        ("a ball on a green meadow", None),
        ("a red ball hits a blue ball", None),
        ("一个红色的球", "red"),
    ],
)
def test_the_colour_is_that_of_the_thing(text, colour):
    assert colour_said(text) == colour


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("the ball slides to the left", "travel-left"),
        ("a robot walking right", "travel-right"),
        ("a ball bounces in the snow", "bounce"),
        ("a cube stands still", "still"),
        ("a cone spins", "spin"),
        ("a cube rests. The camera moves to the left", None),
        ("The camera does not move. A cat sleeps.", None),
    ],
)
def test_the_action_is_the_subjects_and_not_the_cameras(text, action):
    assert action_said(text) == action


def refused(labels) -> bool:
    try:
        check_labels(labels)
    except OptionError:
        return True
    return False


def test_labels_are_what_the_video_set_or_the_vocabulary_says():
    told = [{axis: value} for axis, values in AXES.items() for value in values]
    told += [
        {"camera": "pan-left+zoom-in", "time": "golden", "subject": "a dog"},
        {"direction": "left", "cuts": "0"},
    ]
    assert [each for each in told if refused(each)] == []


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"colour": "reed"}, r"unknown colour of labels 'reed'\. Did you mean 'red'\? Known: red, orange"),
        ({"camera": "pan-left+zoomin"}, r"unknown camera of labels 'zoomin'\. Did you mean 'zoom-in'"),
        ({"lens": "telefoto"}, r"unknown lens of labels 'telefoto'\. Did you mean 'telephoto'"),
        ({"tone": ""}, r"unknown tone of labels ''"),
        ({"time": 3}, r"time of labels must be a text, not 3"),
        ({"color": "red"}, r"unknown axis of labels 'color'\. Did you mean 'colour'"),
    ],
)
def test_a_label_that_is_no_value_of_its_axis_is_refused(labels, said):
    with pytest.raises(OptionError, match=said):
        check_labels(labels)
