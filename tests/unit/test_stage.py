"""The film set: labels that are what they say, clips that show them, captions that say them."""

import itertools
import random
import re

import pytest
import torch

from wan22.errors import OptionError, SizeError
from wan22.stage import AXES, Shot, caption, full_caption, held_out_caption, render, sample


def a_shot(**changes: str) -> Shot:
    plain = {axis: values[0] for axis, values in AXES.items()}
    return Shot(**{**plain, **changes})


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z-]+", text.lower()))


def test_an_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(OptionError, match=r"colour 'pink'.*Known: red"):
        a_shot(colour="pink")


def test_training_and_held_out_never_share_a_combination():
    assert not any(shot.held_out for shot in sample(400, 1))
    assert all(shot.held_out for shot in sample(100, 1, split="held-out"))


def test_a_tenth_of_all_combinations_is_held_out():
    corner = {axis: values[:2] for axis, values in AXES.items()}
    shots = [Shot(*values) for values in itertools.product(*corner.values())]
    assert 0.06 < sum(shot.held_out for shot in shots) / len(shots) < 0.14


def test_sampling_covers_every_value_and_repeats_with_its_seed():
    shots = sample(300, 3)
    assert shots == sample(300, 3) != sample(300, 4)
    for axis, values in AXES.items():
        assert {getattr(shot, axis) for shot in shots} == set(values)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (48, 48)])
def test_a_clip_has_the_size_that_was_asked(size):
    clips = render(sample(3, 0), height=size[0], width=size[1], frames=5)
    assert clips.shape == (3, 5, *size, 3) and clips.dtype == torch.uint8


def test_the_same_seed_gives_the_same_clip_whatever_follows_it():
    shots = sample(7, 0)
    assert torch.equal(render(shots, frames=2, seed=5)[:2], render(shots[:2], frames=2, seed=5))


def test_clips_of_the_same_labels_differ():
    one, two = render([a_shot(), a_shot()], frames=2)
    assert (one.int() - two.int()).abs().float().mean() > 1


def test_impossible_sizes_are_refused():
    with pytest.raises(SizeError, match="8x64"):
        render([a_shot()], width=8)


def test_no_shots_give_no_clips():
    assert render([]).shape == (0, 17, 64, 96, 3)


def test_a_static_still_shot_does_not_change_and_every_move_does():
    moves = [a_shot(camera=camera) for camera in AXES["camera"][1:]]
    acts = [a_shot(action=action) for action in AXES["action"][1:]]
    clips = render([a_shot(), *moves, *acts]).float()
    change = (clips[:, 8] - clips[:, 0]).abs().mean(dim=(1, 2, 3))
    assert change[0] == 0 and change[1:].min() > 0.5


def test_night_is_darker_than_day_and_warm_is_redder_than_cool():
    night, day, cool = render([a_shot(time="night"), a_shot(), a_shot(tone="cool")], frames=1).float()
    assert night.mean() < 0.5 * day.mean()
    assert day[..., 0].mean() / day[..., 2].mean() > 1.3 * cool[..., 0].mean() / cool[..., 2].mean()


def test_every_picture_is_finite_in_every_corner_of_the_stage():
    # A NaN would show as a black picture.
    clips = render(sample(120, 2), height=32, width=48, frames=3)
    assert clips.float().amax(dim=(2, 3, 4)).min() > 60


def test_captions_vary_and_always_say_shape_colour_and_action():
    rng = random.Random(0)
    shot = a_shot(shape="cube", colour="green", action="spin")
    said = {caption(shot, rng) for _ in range(200)}
    assert len(said) > 190
    for text in said:
        assert words(text) & {"cube", "box", "block"} and words(text) & {"green", "emerald"}
        assert words(text) & {"spins", "spinning", "rotates", "rotating", "turns", "turning"}


def test_captions_never_say_what_is_not_so():
    rng = random.Random(1)
    for shot in sample(300, 6):
        text = caption(shot, rng).lower()
        assert (
            not words(text)
            & {"small": {"large", "huge", "big"}, "large": {"small", "tiny", "little"}}[shot.size]
        )
        assert not words(text) & ({"warm"} if shot.tone == "cool" else {"cool", "cold"})
        if shot.time != "night":
            assert not words(text) & {"night", "moon", "moonlight"}


def test_an_axis_is_sometimes_left_unsaid():
    rng = random.Random(2)
    shot = a_shot(size="large")
    silent = sum(not words(caption(shot, rng)) & {"large", "big", "huge"} for _ in range(400)) / 400
    assert 0.08 < silent < 0.25


def test_held_out_phrasings_are_new_but_made_of_known_words():
    rng = random.Random(3)
    shots = sample(1500, 8)
    known = {text for shot in shots for text in (caption(shot, rng), caption(shot, rng))}
    vocabulary = set().union(*map(words, known))
    held_out = [held_out_caption(shot, rng) for shot in shots[:300]]
    assert not known & set(held_out)
    assert set().union(*map(words, held_out)) - vocabulary == set()


def test_the_full_caption_tells_all_combinations_apart():
    shots = set(sample(500, 9))
    assert len({full_caption(shot) for shot in shots}) == len(shots)
