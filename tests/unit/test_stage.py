"""The film set: labels that are what they say, and clips that show them. Captions have their own tests."""

from dataclasses import replace

import pytest
import torch

from wan22.director.terms import AXES as VOCABULARY
from wan22.errors import OptionError, SizeError
from wan22.stage import AXES, Shot, render, sample
from wan22.stage.labels import labels
from wan22.stage.scene import plan

PLAIN = Shot()


def shown(*shots: Shot, frames: int = 9, height: int = 40, width: int = 64, **options: int) -> torch.Tensor:
    return render(shots, frames=frames, height=height, width=width, **options).float()


def test_an_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(OptionError, match=r"colour 'pink'.*Known: red"):
        Shot(colour="pink")


def test_a_camera_cannot_follow_what_stays():
    with pytest.raises(OptionError, match="travel-left"):
        Shot(camera="follow")


def test_the_labels_are_those_of_the_directors_vocabulary():
    known = {axis.key: {term.key for term in axis.terms} for axis in VOCABULARY}
    own = {"light_direction": {"left", "right", "front"}, "light_source": {"sky"}, "tone": {"neutral"}}
    own |= {"saturation": {"normal"}, "contrast": {"normal"}}
    for axis in AXES.keys() & known.keys():
        words = {move for value in AXES[axis] for move in value.split("+")}
        assert words - known[axis] <= own.get(axis, set()), axis
    # Every measure of the vocabulary that light and geometry can carry is on the set.
    assert {
        "time",
        "light_source",
        "light_quality",
        "light_direction",
        "tone",
        "saturation",
        "contrast",
    } <= set(AXES)
    assert {"shot_size", "camera_angle", "lens", "composition", "camera"} <= set(AXES)


def test_training_and_held_out_never_share_a_combination():
    assert not any(shot.held_out for shot in sample(300, 1))
    assert all(shot.held_out for shot in sample(100, 1, split="held-out"))


def test_a_seed_means_another_series_in_each_split():
    train, held = sample(50, 4), sample(50, 4, split="held-out")
    assert [labels(s)["colour"] for s in train] != [labels(s)["colour"] for s in held]


def test_about_a_tenth_of_the_combinations_is_held_out():
    import itertools

    shots = [
        Shot(subject=s, colour=c, time=t, tone=tone, shot_size=size)
        for s, c, t, tone, size in itertools.product(
            *(tuple(AXES[a])[:4] for a in ("subject", "colour", "time", "tone", "shot_size"))
        )
    ]
    assert 0.06 < sum(shot.held_out for shot in shots) / len(shots) < 0.14


def test_sampling_covers_every_value_by_its_weight_and_repeats_with_its_seed():
    shots = sample(1500, 3)
    assert shots[:200] == sample(200, 3) != sample(200, 5)
    for axis, values in AXES.items():
        assert {labels(shot)[axis] for shot in shots} == {v for v, weight in values.items() if weight}
    assert 0.5 < sum(s.camera_angle == "eye-level" for s in shots) / 1500 < 0.62


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (48, 48)])
def test_a_clip_has_the_size_that_was_asked(size):
    clips = render(sample(2, 0), height=size[0], width=size[1], frames=3)
    assert clips.shape == (2, 3, *size, 3) and clips.dtype == torch.uint8


def test_the_same_seed_gives_the_same_clip_whatever_follows_it():
    shots = sample(5, 0)
    all_of_them = render(shots, frames=2, height=32, width=48, seed=5)
    assert torch.equal(all_of_them[:2], render(shots[:2], frames=2, height=32, width=48, seed=5))


def test_clips_of_the_same_labels_differ():
    one, two = shown(PLAIN, PLAIN, frames=1)
    assert (one - two).abs().mean() > 1


def test_impossible_sizes_are_refused():
    with pytest.raises(SizeError, match="8x80"):
        render([PLAIN], width=8)


def test_no_shots_give_no_clips():
    assert render([]).shape == (0, 17, 80, 128, 3)


def test_a_static_still_shot_does_not_change_and_every_move_and_action_does():
    moves = [
        replace(PLAIN, camera=camera, action="travel-left" if camera == "follow" else "still")
        for camera in AXES["camera"]
        if camera != "static"
    ]
    acts = [replace(PLAIN, subject="cube", action=action) for action in AXES["action"] if action != "still"]
    clips = shown(PLAIN, *moves, *acts, replace(PLAIN, grip="handheld"), frames=5, height=30, width=48)
    change = (clips[:, 4] - clips[:, 0]).abs().mean(dim=(1, 2, 3))
    assert change[0] == 0 and change[1:].min() > 0.4


@pytest.mark.slow
def test_every_axis_shows():
    shots = {}
    for axis, values in AXES.items():
        for value in values:
            action = "travel-left" if value == "follow" else "still"
            shot = replace(PLAIN, **{"action": action, axis: value})
            if shot != PLAIN:
                shots[axis, value] = shot
    # Clip i of a batch has its own numbers: each is compared with the plain shot in the same place.
    small = {"frames": 3, "height": 20, "width": 32}
    images, plain = shown(*shots.values(), **small), shown(*[PLAIN] * len(shots), **small)
    assert images.isfinite().all()
    differ = (images - plain).abs().amax(dim=(1, 2, 3, 4))
    assert [where for where, most in zip(shots, differ, strict=True) if most <= 8] == []


def test_night_is_darker_than_day_and_warm_is_redder_than_cool():
    night, day = (shown(replace(PLAIN, time=t), frames=1) for t in ("night", "day"))
    warm, cool = (shown(replace(PLAIN, tone=t), frames=1) for t in ("warm", "cool"))
    assert night.mean() < 0.5 * day.mean()
    assert warm[..., 0].mean() / warm[..., 2].mean() > 1.3 * cool[..., 0].mean() / cool[..., 2].mean()


def test_a_shot_size_is_the_subjects_height_through_every_lens():
    for lens in AXES["lens"]:
        heights = {}
        for size in ("close-up", "medium", "wide"):
            with_, without = (
                shown(
                    replace(PLAIN, shot_size=size, lens=lens, subject="ball", colour=c), frames=1, height=80
                )
                for c in ("red", "blue")
            )
            rows = ((with_ - without).abs().amax(dim=-1) > 60)[0, 0].any(dim=1)
            heights[size] = float(rows.sum()) / 51.2  # unit of 64x80 is 0.8 x 64
        assert 0.45 < heights["close-up"] < 0.75 and 0.27 < heights["medium"] < 0.48, (lens, heights)
        assert 0.14 < heights["wide"] < 0.29, (lens, heights)


def test_light_falls_from_where_it_is_said():
    left, right = (
        shown(replace(PLAIN, light_direction=d, surroundings="snow"), frames=1)[0, 0]
        for d in ("left", "right")
    )
    # The shadow lies on the other side of the ball.
    below = slice(20, 34)
    assert left[below, 36:60].mean() < left[below, 4:28].mean()
    assert right[below, 36:60].mean() > right[below, 4:28].mean()


def test_what_falls_obeys_gravity_and_comes_to_rest():
    scene = plan([Shot(action="drop")], height=80, width=128, frames=33, fps=16.0, seed=1)
    y = scene.y.flatten()
    assert y.min() >= 0 and y[0] > 0.5 * scene.metre.item() * 0.4 and y[-1] < 0.02
    fall = y[:6]
    second = fall.diff().diff()
    assert (second < 0).all() and second.std() < 0.05 * second.abs().mean()  # constant acceleration


def test_a_ball_rolls_without_sliding_and_a_robots_feet_hold():
    scene = plan([Shot(action="travel-right")], height=80, width=128, frames=9, fps=8.0, seed=1)
    moved, turned = scene.x.flatten().diff(), scene.rolled.flatten().diff()
    assert torch.allclose(moved, -0.5 * turned) and moved.min() > 0
    robot = plan(
        [Shot(subject="robot", action="travel-right")], height=80, width=128, frames=9, fps=8.0, seed=1
    )
    assert robot.stride.abs().max() > 0.3


def test_the_camera_never_goes_under_the_ground():
    shots = [s for s in sample(400, 9) if "crane" in s.camera or s.camera_angle == "low-angle"]
    scene = plan(shots, height=80, width=128, frames=17, fps=8.0, seed=2)
    assert scene.camera_y.min() > 0.04


@pytest.mark.slow
def test_every_image_is_finite_in_every_corner_of_the_stage():
    # A NaN would show as a black image.
    clips = render(sample(60, 2), height=20, width=30, frames=2)
    assert clips.float().amax(dim=(2, 3, 4)).min() > 40
