"""Metrics against what theory says: closed forms, invariances, and what must be refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22.errors import MediaError, OptionError
from wan22.train.evaluation.metrics import (
    MIN_SAMPLES,
    best_lag,
    cosines,
    frechet,
    mean_psnr,
    motion_amount,
    psnr,
    ssim,
)

RANDOM = np.random.default_rng(0)
VIDEO = RANDOM.integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)


# Images


def test_psnr_is_that_of_a_known_error_frame_by_frame():
    grey = np.full((2, 16, 16, 3), 100, np.uint8)
    other = grey.copy()
    other[1] += 5
    assert psnr(grey, other).tolist() == [np.inf, pytest.approx(10 * np.log10(255**2 / 25))]


def test_the_mean_psnr_is_that_of_the_mean_squared_error():
    assert mean_psnr([20.0, 40.0]) == pytest.approx(-10 * np.log10((1e-2 + 1e-4) / 2))
    assert mean_psnr([np.inf, np.inf]) == np.inf


def test_ssim_is_one_for_equal_videos_and_falls_with_noise():
    noisy = [
        (VIDEO * 0.5 + 64 + a * RANDOM.normal(size=VIDEO.shape)).clip(0, 255).astype(np.uint8)
        for a in (0, 10, 40)
    ]
    assert ssim(VIDEO, VIDEO) == pytest.approx(1.0)
    one, two = (ssim(noisy[0], each).mean() for each in noisy[1:])
    assert 1 > one > two > 0


def test_ssim_of_constant_images_is_its_luminance_term():
    a, b = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 150, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b)[0] == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))


@pytest.mark.parametrize("other", [VIDEO[:2], VIDEO.astype(np.float32), VIDEO[..., :2], VIDEO[0]])
@pytest.mark.parametrize("measure", [psnr, ssim])
def test_videos_that_cannot_be_compared_are_refused(measure, other):
    with pytest.raises(MediaError, match="both must be uint8"):
        measure(VIDEO, other)


def test_images_smaller_than_the_window_of_ssim_are_refused():
    with pytest.raises(MediaError, match="11 pixels"):
        ssim(VIDEO[:, :8], VIDEO[:, :8])


# Fréchet distance


def gaussians(count, width, mean=0.0, scale=1.0, seed=0):
    return mean + scale * np.random.default_rng(seed).normal(size=(count, width))


def test_frechet_is_the_closed_form_of_two_gaussians():
    found = frechet(gaussians(60_000, 2), gaussians(60_000, 2, mean=3.0, scale=2.0, seed=1))
    assert found.value == pytest.approx(2 * 9 + 2 * (1 + 4 - 2 * 2), rel=0.03)
    assert (found.samples, found.features, found.shrunk, found.note) == ((60_000, 60_000), 2, None, "")


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(0, 99))
def test_frechet_is_zero_with_itself_symmetric_and_blind_to_turns(width, seed):
    a, b = gaussians(40, width, seed=seed), gaussians(50, width, mean=1.0, scale=1.5, seed=seed + 1)
    turn = np.linalg.qr(gaussians(width, width, seed=seed + 2))[0]
    value = frechet(a, b).value
    assert frechet(a, a).value == pytest.approx(0, abs=1e-9)
    assert frechet(b, a).value == pytest.approx(value)
    assert frechet(a @ turn, b @ turn).value == pytest.approx(value)


def test_too_few_vectors_give_a_note_and_a_distance_that_is_nearer_to_the_truth():
    a, b = gaussians(20, 64), gaussians(20, 64, seed=1)  # of one distribution: the truth is 0
    found = frechet(a, b)
    assert "singular" in found.note and "20 vectors of 64" in found.note
    assert found.shrunk is not None and found.shrunk < found.value


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (gaussians(MIN_SAMPLES - 1, 3), gaussians(30, 3), "at least 16"),
        (gaussians(30, 3), gaussians(30, 4), "features"),
        (gaussians(30, 3), np.full((30, 3), np.nan), "finite"),
        (gaussians(30, 3)[0], gaussians(30, 3), "features"),
    ],
)
def test_features_without_a_frechet_distance_are_refused(a, b, says):
    with pytest.raises(OptionError, match=says):
        frechet(a, b)


# Identity and sync


def test_a_cosine_is_that_of_the_best_match():
    reference = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert cosines(np.array([[3.0, 0.0], [1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]), reference) == pytest.approx(
        [1, 0.5**0.5, -(0.5**0.5), 0]
    )
    with pytest.raises(OptionError, match="cosines need"):
        cosines(reference, np.ones((1, 3)))


@pytest.mark.parametrize("lag", [-3, 0, 2])
def test_the_lag_of_an_image_behind_its_audio_is_found(lag):
    audio = np.random.default_rng(3).normal(size=60)
    image = 2 + 5 * np.roll(audio, lag)
    found = best_lag(image, audio, most=5)
    assert found.frames == lag
    assert found.correlation == pytest.approx(1, abs=0.05)


def test_what_never_changes_agrees_with_nothing():
    found = best_lag(np.ones(10), np.arange(10.0), most=3)
    assert (found.frames, found.correlation) == (0, 0)


@pytest.mark.parametrize("series", [np.ones(5), np.ones((6, 1)), np.ones(3)])
def test_series_that_do_not_fit_are_refused(series):
    with pytest.raises(OptionError, match="two series"):
        best_lag(series, np.ones(6) if len(series) != 3 else np.ones(3), 2)


# Motion


def test_motion_is_the_share_of_the_width_by_which_an_image_moves():
    pytest.importorskip("cv2")
    import cv2

    wide = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (96, 192)), (0, 0), 3)
    wide = (wide - wide.min()) / np.ptp(wide) * 255
    moving = (
        np.stack([wide[:, 2 * i : 2 * i + 128] for i in range(6)])[..., None]
        .repeat(3, axis=-1)
        .astype(np.uint8)
    )
    assert motion_amount(moving) == pytest.approx(100 * 2 / 128, rel=0.15)
    assert motion_amount(np.repeat(moving[:1], 4, axis=0)) < 0.01


def test_motion_needs_two_frames():
    with pytest.raises(MediaError, match="two frames"):
        motion_amount(VIDEO[:1])
