"""Colours that hold: a loop that drifts stays bounded, a scene that changes is left alone, and no seam is made."""

from itertools import pairwise

import pytest
import torch

from wan22.conditioning.color_match import LIMITS, ColorMatch
from wan22.errors import OptionError
from wan22.stage import Shot, render

CLIPS = 12


def stage(frames=24, **labels):
    shot = Shot(**{"tone": "warm", "surroundings": "desert", "action": "bounce", **labels})
    video = render([shot], height=32, width=48, frames=frames, fps=8)[0]
    return video.permute(3, 0, 1, 2).float() / 127.5 - 1


@pytest.fixture(scope="module")
def clip():
    """Muted, so that a growing saturation stays within what a screen can show."""
    clip = stage()
    grey = clip.mean(dim=0, keepdim=True)
    return 0.6 * (grey + 0.5 * (clip - grey))


def brighter(frames, by):
    return (frames + by).clamp(-1, 1)


def more_saturated(frames, by):
    grey = frames.mean(dim=0, keepdim=True)
    return (grey + by * (frames - grey)).clamp(-1, 1)


def saturation(frames):
    return float((frames - frames.mean(dim=0)).square().mean().sqrt())


def loop(clip, hold):
    """Twelve clips, each the one before played backwards, 2 % more saturated and a hundredth brighter."""
    held, clips = ColorMatch.from_frames(clip), [clip]
    for _ in range(CLIPS - 1):
        drifted = brighter(more_saturated(clips[-1].flip(1), 1.02), 0.02)
        clips.append(held.correct(drifted, ease=0) if hold else drifted)
    return clips


def test_a_closed_loop_drifts_when_free_and_stays_bounded_when_held(clip):
    free, held = loop(clip, hold=False), loop(clip, hold=True)
    start = saturation(clip)
    assert float(free[-1].mean() - clip.mean()) == pytest.approx(0.02 * (CLIPS - 1), rel=0.05)
    assert saturation(free[-1]) / start == pytest.approx(1.02 ** (CLIPS - 1), rel=0.02)
    for one in held:
        assert abs(float(one.mean() - clip.mean())) < 0.004
        assert abs(saturation(one) / start - 1) < 0.02
    assert float((held[-1] - clip.flip(1)).abs().mean()) < 0.01, "and the image is the same"


def test_with_easing_the_loop_stays_within_what_one_clip_adds(clip):
    held, last = ColorMatch.from_frames(clip), clip
    for _ in range(CLIPS):
        # What a clip adds grows along it; the next goes on from its last frames.
        along = torch.linspace(0, 1, clip.shape[1]).view(1, -1, 1, 1)
        level = (last[:, -4:].mean() - clip[:, -4:].mean()) + 0.02 * along
        last = held.correct(brighter(clip, level))
        assert abs(float((last - clip)[:, -4:].mean())) < 0.02


def test_the_clip_itself_is_left_as_it_is(clip):
    torch.testing.assert_close(ColorMatch.from_frames(clip).correct(clip), clip, atol=1e-4, rtol=0)


def test_a_small_change_is_undone_wholly_or_by_the_strength_asked(clip):
    hold, changed = ColorMatch.from_frames(clip), brighter(clip, 0.03)
    before = changed.clone()
    left = [float((hold.correct(changed, strength, ease=0) - clip).mean()) for strength in (0, 0.5, 1)]
    assert left == pytest.approx([0.03, 0.015, 0], abs=0.002)
    assert torch.equal(changed, before)


def test_a_cast_and_a_loss_of_contrast_are_undone(clip):
    hold = ColorMatch.from_frames(clip)
    cast = clip + torch.tensor([0.02, 0.0, -0.02]).view(3, 1, 1, 1)
    flat = clip.mean() + 0.93 * (clip - clip.mean())
    for changed in (cast, flat):
        assert float((hold.correct(changed, ease=0) - clip).abs().mean()) < 0.35 * float(
            (changed - clip).abs().mean()
        )


@pytest.mark.parametrize(
    "change", [{"time": "night"}, {"surroundings": "snow"}, {"shot_size": "extreme-close-up"}]
)
def test_another_scene_is_left_alone(change):
    frames = stage(**change)
    assert torch.equal(ColorMatch.from_frames(stage()).correct(frames), frames)


def test_the_correction_is_bounded_and_falls_without_a_jump(clip):
    hold = ColorMatch.from_frames(clip)
    moved = [
        float((hold.correct(x, ease=0) - x).mean().abs())
        for x in (brighter(clip, 0.005 * step) for step in range(1, 60))
    ]
    top = max(moved)
    assert moved[-1] == 0 and 0.04 < top < 4 * LIMITS.lightness
    assert max(abs(a - b) for a, b in pairwise(moved)) < 0.25 * top


def test_the_correction_fades_in_so_that_no_frame_jumps(clip):
    changed = brighter(clip, 0.03)
    amount = (ColorMatch.from_frames(clip).correct(changed) - changed).mean(dim=(0, 2, 3))
    assert abs(float(amount[0])) < 0.001
    assert float(amount[-1]) == pytest.approx(-0.03, abs=0.002)
    assert float(amount.diff().abs().max()) < 0.005
    assert torch.allclose(amount[12:], amount[-1], atol=0.001), "from the twelfth frame on it is constant"


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_short_clip_is_corrected_by_its_end(clip, frames):
    short = clip[:, :frames]
    corrected = ColorMatch.from_frames(short).correct(brighter(short, 0.03))
    assert float((corrected - short)[:, -1].mean()) == pytest.approx(0, abs=0.003)


def test_the_state_survives_as_tensors_and_a_reference_image_will_do(clip):
    hold = ColorMatch.from_frames(clip[:, :1])
    again = ColorMatch.from_tensors({name: tensor.clone() for name, tensor in hold.as_tensors().items()})
    changed = brighter(clip, 0.02)
    assert torch.equal(hold.correct(changed), again.correct(changed))


def test_one_flat_colour_is_held_without_a_crash():
    grey = torch.zeros(3, 4, 8, 8)
    corrected = ColorMatch.from_frames(grey).correct(grey + 0.02, ease=0)
    torch.testing.assert_close(corrected, grey, atol=1e-3, rtol=0)


def test_what_is_beyond_black_and_white_stays_finite(clip):
    wild = clip * 3
    assert torch.isfinite(ColorMatch.from_frames(wild).correct(wild * 1.02)).all()


@pytest.mark.parametrize(("strength", "ease"), [(-0.1, 0), (1.5, 0), (float("nan"), 0), (1, -1)])
def test_an_impossible_strength_is_refused(clip, strength, ease):
    with pytest.raises(OptionError, match="strength of"):
        ColorMatch.from_frames(clip).correct(clip, strength, ease=ease)
