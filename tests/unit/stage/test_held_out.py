"""What is held out is apart from training: combinations by their hash, videos by their seed, phrasings by
themselves.
"""

import hashlib
import random

import pytest

from wan22.errors import OptionError
from wan22.stage.caption import LANGUAGES, caption, phrasings
from wan22.stage.labels import AXES, Shot, labels, sample
from wan22.train.evaluation.material import STAGE_SEED, held_out

RULED_BY = ("subject", "colour", "surroundings", "action", "time", "tone", "shot_size", "camera")
COUNT = 400


def ruled(shot):
    return tuple(getattr(shot, axis) for axis in RULED_BY)


def test_combinations_of_the_two_splits_never_meet():
    trained = {ruled(shot) for seed in range(3) for shot in sample(COUNT, seed=seed)}
    kept = {ruled(shot) for seed in range(3) for shot in sample(COUNT, seed=seed, split="held-out")}
    assert not trained & kept
    assert len(kept) > COUNT


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_a_split_holds_only_its_own(split):
    assert {shot.held_out for shot in sample(COUNT, split=split)} == {split == "held-out"}


def test_the_rule_is_a_hash_of_eight_axes_that_nothing_may_change():
    """A change of this hash would move what published models were trained on into their test."""
    for shot in sample(50) + sample(50, split="held-out"):
        digest = hashlib.sha256("|".join(ruled(shot)).encode()).digest()
        assert shot.held_out == (int.from_bytes(digest[:4], "big") % 10 == 0)
    assert not Shot().held_out
    assert sum(shot.held_out for shot in _any(2000)) / 2000 == pytest.approx(0.1, abs=0.025)


def _any(count):
    rng = random.Random(0)
    shots = []
    while len(shots) < count:
        drawn = {axis: rng.choice(list(values)) for axis, values in AXES.items()}
        if drawn["camera"] != "follow" or drawn["action"].startswith("travel"):
            shots.append(Shot(**drawn))
    return shots


def test_every_value_is_still_seen_in_training():
    shots = sample(4000)
    for axis, values in AXES.items():
        seen = {getattr(shot, axis) for shot in shots}
        assert {value for value, weight in values.items() if weight > 0} == seen


def test_a_seed_means_another_series_in_each_split():
    trained, kept = sample(COUNT, seed=3), sample(COUNT, seed=3, split="held-out")
    assert not set(trained) & set(kept)
    assert sample(COUNT, seed=3, split="held-out") == kept


def test_held_out_phrasings_are_never_said_in_training():
    shots = sample(30) + sample(30, split="held-out")
    trained = {caption(shot, random.Random(i)).text for shot in shots for i in range(20)}
    kept = {caption(shot, random.Random(i), held_out=True).text for shot in shots for i in range(20)}
    assert not trained & kept


@pytest.mark.parametrize("language", LANGUAGES)
def test_frames_of_the_two_kinds_are_apart_in_every_language(language):
    trained, kept = (phrasings(language, held_out=held) for held in (False, True))
    assert trained and kept and not trained & kept


def test_a_list_may_be_in_one_language():
    assert all(asked.prompt.isascii() for _, asked in held_out(20, language="en"))
    with pytest.raises(OptionError, match="language"):
        held_out(1, language="xx")


def test_the_list_is_fixed_and_grows_at_its_end():
    listed = held_out(12)
    assert held_out(20)[:12] == listed
    assert [shot for shot, _ in listed] == sample(12, seed=STAGE_SEED, split="held-out")
    assert held_out(12, seed=1) != listed
    assert [list(asked.labels or ()) for _, asked in listed] == [
        [axis for axis in AXES if axis in (asked.labels or ())] for _, asked in listed
    ]


def test_only_what_is_said_is_judged_and_it_is_the_shots():
    for shot, asked in held_out(40):
        values = labels(shot)
        assert asked.labels and asked.labels.keys() <= values.keys()
        assert all(values[axis] == value for axis, value in asked.labels.items())
        assert asked.prompt and asked.prompt != caption(shot, random.Random(0)).text
    said = {axis for _, asked in held_out(200) for axis in asked.labels or ()}
    assert {"colour", "tone", "camera", "shot_size", "time"} <= said
