import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.tiny import tiny_variant
from unit.train.small import SMALL

from wan22.errors import OptionError
from wan22.train.noise_ranges import generator, noise_range, noise_ranges, trained_experts
from wan22.train.recipe import NoisePart, parse_recipe

BOUNDARIES = st.floats(0.05, 0.99)
SHIFTS = st.floats(0.1, 50)


def recipe(more=""):
    return parse_recipe(tomllib.loads(SMALL + more))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(boundary=BOUNDARIES, shift=SHIFTS, seed=st.integers(0, 2**31), count=st.integers(1, 9))
def test_an_expert_never_leaves_its_side_of_the_boundary(boundary, shift, seed, count):
    variant = replace(tiny_variant(), boundary=boundary)
    for expert in ("high", "low"):
        drawn = noise_range(expert, NoisePart(shift=shift), variant).draw(
            count, generator(seed, expert, 0, 0)
        )
        assert drawn.shape == (count,) and drawn.dtype == torch.float32
        sigmas = drawn.double().numpy()  # as exact numbers, against the exact boundary
        assert ((sigmas >= boundary) & (sigmas <= 1)).all() if expert == "high" else (sigmas < boundary).all()
        assert (sigmas >= 0).all()


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    shift=SHIFTS,
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    boundary=BOUNDARIES,
    seed=st.integers(0, 99),
)
def test_a_narrower_range_is_kept_within_the_side_or_refused(shift, ends, boundary, seed):
    variant = replace(tiny_variant(), boundary=boundary)
    for expert, (low, high) in (("high", (boundary, 1.0)), ("low", (0.0, boundary))):
        noise = NoisePart(shift=shift, **{expert: ends})
        if max(ends[0], low) >= min(ends[1], high):
            with pytest.raises(OptionError, match=f"noise.{expert} = .* leaves the expert nothing"):
                noise_range(expert, noise, variant)
            continue
        drawn = noise_range(expert, noise, variant).draw(5, generator(seed, expert, 1, 0)).double().numpy()
        # Ranges that no float32 lies in are as good as one number.
        room = np.spacing(np.float32(1))
        assert (drawn >= max(ends[0], low) - room).all() and (drawn <= min(ends[1], high) + room).all()


def test_the_extremes_of_what_is_drawn_stay_on_their_sides():
    """A generator that gives 0 and nearly 1 meets both ends of the range."""
    variant = replace(tiny_variant(), boundary=0.875)
    for shift in (0.3, 1.0, 5.0, 12.0):
        high, low = (noise_range(e, NoisePart(shift=shift), variant) for e in ("high", "low"))
        many = [s.draw(20_000, generator(0, s.expert, 0, 0)) for s in (high, low)]
        assert many[0].min() >= 0.875 > many[1].max()
        assert many[0].max() > 0.999 and many[1].min() < 0.01
        assert many[0].min() < 0.88 and many[1].max() > 0.86


def test_a_range_beyond_the_boundary_is_refused_with_the_numbers():
    variant = tiny_variant()  # boundary 0.9
    with pytest.raises(
        OptionError,
        match=r"noise\.high = \[0\.1, 0\.5\] leaves the expert nothing: its side is 0\.9 to 1 .*boundary of tiny",
    ):
        noise_ranges(recipe("[noise]\nhigh = [0.1, 0.5]\n"), variant)
    with pytest.raises(
        OptionError, match=r"noise\.low = \[0\.9, 1\.0\] leaves the expert nothing: its side is 0 to 0\.9"
    ):
        noise_ranges(recipe("[noise]\nlow = [0.9, 1.0]\n"), variant)
    kept = noise_ranges(recipe("[noise]\nhigh = [0.5, 0.95]\nlow = [0.2, 1.0]\n"), variant)
    assert (kept["high"].low, kept["high"].high) == (0.9, 0.95)
    assert (kept["low"].low, kept["low"].high, kept["low"].open) == (0.2, 0.9, True)
    assert str(kept["low"]) == "sigma 0.2 to below 0.9, shift 5"


def test_experts_are_those_of_the_model_in_its_order():
    variant = tiny_variant()
    assert trained_experts(recipe(), variant) == ("high", "low")
    one = recipe().model
    assert trained_experts(replace(recipe(), model=replace(one, experts=("low", "high"))), variant) == (
        "high",
        "low",
    )
    only = replace(recipe("[noise]\nhigh = [0.9, 1.0]\n"), model=replace(one, experts=("low",)))
    with pytest.raises(
        OptionError, match=r"noise\.high is the range of an expert that is not trained; trained: low"
    ):
        noise_ranges(only, variant)
    with pytest.raises(OptionError, match=r"model\.experts names dit, and tiny has high, low"):
        trained_experts(replace(recipe(), model=replace(one, experts=("dit",))), variant)


def test_a_lone_network_learns_all_noise():
    variant = replace(tiny_variant(), experts=("dit",), boundary=None)
    (whole,) = noise_ranges(recipe(), variant).values()
    drawn = whole.draw(5000, generator(1, "dit", 0, 0))
    assert (whole.low, whole.high) == (0, 1) and drawn.min() < 0.01 and 0.99 < drawn.max() <= 1


def test_randomness_is_a_function_of_seed_expert_step_and_part():
    def first(*what):
        return torch.rand(4, generator=generator(*what)).tolist()

    same = first(1, "high", 5, 0)
    assert same == first(1, "high", 5, 0)
    others = [first(2, "high", 5, 0), first(1, "low", 5, 0), first(1, "high", 6, 0), first(1, "high", 5, 1)]
    assert all(other != same for other in others)
