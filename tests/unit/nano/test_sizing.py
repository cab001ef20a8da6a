"""How minutes are divided among the parts of the whole recipe. No clock is read: units have known lengths."""

import json

import pytest

from wan22.errors import CheckpointError, OptionError
from wan22.nano.sizing import PARTS, Part, Plan, open_plan
from wan22.nano.stages import STAGES

THREE = (Part("a", 1, "steps", 2, 100), Part("b", 2, "steps", 2, 100), Part("c", 1))


def test_the_parts_are_the_stages_in_an_order_that_they_allow_and_what_follows():
    names = [part.name for part in PARTS]
    assert sorted(names[:-2]) == sorted(STAGES) and names[-2:] == ["fast", "compare"]
    for first, later in (
        ("clips", "latents"), ("latents", "sketch"), ("text", "sketch"), ("sketch", "high"), ("high", "high-more"),
        ("low", "low-more"), ("low-more", "reward-model"), ("reward-model", "reward-tuning"),
        ("decoder", "decoder-more"), ("decoder-more", "decoder-last"), ("reward-tuning", "export"),
        ("decoder-last", "export"),
    ):  # fmt: skip
        assert names.index(first) < names.index(later)


def test_a_part_gets_its_share_of_the_time_that_is_left():
    plan = Plan(4.0, {})
    assert plan.seconds(THREE[0], THREE) == 60
    plan = plan.sized(THREE[0], 1.0, THREE)
    assert plan.units("a") == 60 and not plan.is_done("a")
    late = plan.finished("a", 120.0)  # it took twice as long: the others have less
    assert late.is_done("a") and late.seconds(THREE[1], THREE) == pytest.approx(80)
    assert late.sized(THREE[1], 2.0, THREE).units("b") == 40


@pytest.mark.parametrize(("each", "units"), [(0.0, 100), (0.1, 100), (1.0, 60), (29.9, 2), (1000.0, 2)])
def test_a_part_does_no_less_than_it_needs_and_no_more_than_its_recipe(each, units):
    assert Plan(4.0, {}).sized(THREE[0], each, THREE).units("a") == units


def test_no_time_is_left_after_too_much_was_spent():
    plan = Plan(1.0, {}).sized(THREE[0], 1.0, THREE).finished("a", 500.0)
    assert plan.seconds(THREE[1], THREE) == 0 and plan.sized(THREE[1], 1.0, THREE).units("b") == 2


def test_a_plan_is_read_as_it_was_written_and_keeps_to_its_minutes(tmp_path):
    path = tmp_path / "plan.json"
    plan = open_plan(path, 8).sized(PARTS[0], 0.01).finished("clips", 31.0).sized(PARTS[1], 0.0)
    plan.write(path)
    assert open_plan(path, 8) == plan
    with pytest.raises(OptionError, match="is of a run of 8 minutes, not 9"):
        open_plan(path, 9)
    for text in ("[]", '{"minutes": 8}', json.dumps({"minutes": 8, "parts": {"clips": 3}})):
        path.write_text(text)
        with pytest.raises(CheckpointError, match="Name another --folder"):
            open_plan(path, 8)


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_minutes_that_cannot_be_are_refused(tmp_path, minutes):
    with pytest.raises(OptionError, match="must be above 0"):
        open_plan(tmp_path / "plan.json", minutes)
