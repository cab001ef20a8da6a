"""Wan22 Direct: terms around a prompt, which is shown before and after."""

import pytest

from wan22.director.shot import parse
from wan22.errors import OptionError


def test_terms_stand_around_a_prompt_that_stays_as_it_is(run):
    prompt, change = run(
        "Wan22Direct", prompt="a fox sleeps", style="claymation", camera="dolly-in", camera_2="tilt-up",
        more="moonlight, backlight",
    )  # fmt: skip
    shot = parse(prompt)
    assert shot.style == "claymation" and set(shot.camera) == {"dolly-in", "tilt-up"}
    assert shot.light_source == ("moonlight",) and shot.light_direction == ("backlight",)
    assert "a fox sleeps" in prompt
    assert change == f"before: a fox sleeps\nafter: {prompt}"
    assert run.ui["text"] == [change]


def test_nothing_chosen_changes_nothing(run):
    assert run("Wan22Direct", prompt="a fox sleeps")[0] == "a fox sleeps"


def test_terms_in_other_languages_are_taken(run):
    assert parse(run("Wan22Direct", prompt="a fox", more="镜头推进")[0]).camera == ("dolly-in",)


def test_a_prompt_is_extended_by_rules(run):
    prompt, change = run("Wan22Direct", prompt="a fox", extend="rules")
    assert len(prompt) > len("a fox") and change.startswith("before: a fox\nafter: ")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"more": "sparkly"}, "more: 'sparkly' names no term"),
        ({"prompt": "a fox. The camera pans left", "camera": "static"}, "static"),
        ({"camera": "dolly-in", "camera_2": "dolly-out"}, "dolly-out"),
    ],
)
def test_what_cannot_be_together_is_named(run, given, words):
    with pytest.raises(OptionError, match=words):
        run("Wan22Direct", **{"prompt": "a fox"} | given)
