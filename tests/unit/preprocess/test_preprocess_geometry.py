"""The arithmetic of the official preprocessing: values of the spec, and rules worked out by hand."""

import numpy as np
import pytest

from wan22.errors import SizeError
from wan22.preprocess import geometry


@pytest.mark.parametrize(
    ("size", "found"),
    [
        ((1920, 1080), (1280, 720)),
        ((1080, 1920), (720, 1280)),
        ((1000, 1000), (960, 960)),
        ((640, 480), (1104, 816)),
        ((333, 777), (624, 1456)),
    ],
)
def test_size_by_area_as_in_the_spec(size, found):
    assert geometry.size_by_area(size, 1280 * 720) == found


def test_an_area_that_leaves_no_side_is_refused():
    with pytest.raises(SizeError, match="larger area"):
        geometry.size_by_area((4000, 16), 256)


def test_frames_are_rounded_half_to_even():
    assert geometry.chosen_frames(6, 15, 30).tolist() == [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 5]
    assert geometry.chosen_frames(10, 25, 30).tolist() == [0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 8, 9]
    assert geometry.chosen_frames(7, 60, 30).tolist() == [0, 2, 4]  # int(3.5) frames


def test_the_face_box_has_more_above_than_below():
    points = np.array([[100, 100], [140, 180]], float)
    side = np.sqrt(1.3) - 1
    expected = (100 - 40 * side / 2, 100 - 80 * side * 3 / 4, 140 + 40 * side / 2, 180 + 80 * side / 4)
    assert geometry.face_box(points, (400, 400)) == tuple(int(v) for v in expected)


def test_the_face_box_is_clipped():
    left, top, right, bottom = geometry.face_box(np.array([[1, 1], [99, 79]], float), (100, 80))
    assert (left, top, right, bottom) == (0, 0, 100, 80)


@pytest.mark.parametrize(("size", "inside"), [((80, 40), (30, 50, 0, 40)), ((40, 80), (0, 40, 0, 80))])
def test_letterbox_is_centred_on_black(size, inside):
    whole = geometry.letterbox(np.full((80, 40, 3), 200, np.uint8), size)
    left, right, top, bottom = inside
    assert whole.shape == (size[1], size[0], 3)
    assert (whole[top:bottom, left:right] == 200).all()
    assert whole.astype(int).sum() == 200 * 3 * (right - left) * (bottom - top)


def test_a_small_image_is_fitted_without_a_side_of_nothing():
    assert geometry.fitted(np.full((1, 1000, 3), 9, np.uint8), (64, 16)).max() == 9


def test_a_mask_in_one_block_is_its_bounding_box():
    mask = np.zeros((60, 60), np.uint8)
    mask[20, 20] = mask[40, 30] = 1
    grown = geometry.grown_mask(mask, 3, 7, 1, 1)
    assert (
        grown[11:49, 11:39].all() and not grown[:11].any() and not grown[50:].any()
    )  # the end is not in the block


def test_a_mask_in_small_blocks_follows_the_outline():
    mask = np.zeros((60, 60), np.uint8)
    mask[20, 20] = mask[40, 30] = 1
    one, many = (geometry.grown_mask(mask, 1, 3, n, n) for n in (1, 20))
    assert many.sum() < one.sum() / 4 and many[20, 20] and many[40, 30]


def test_a_mask_of_more_blocks_than_pixels_is_as_dilated():
    mask = np.zeros((20, 20), np.uint8)
    mask[9, 9] = 1
    assert geometry.grown_mask(mask, 1, 3, 50, 50).sum() == 9


@pytest.mark.parametrize("iterations", [0, 3])
def test_an_empty_mask_stays_empty(iterations):
    assert not geometry.grown_mask(np.zeros((8, 8), np.uint8), iterations, 7, 1, 1).any()


def test_no_iterations_leave_the_mask():
    mask = np.eye(8, dtype=np.uint8)
    assert (geometry.grown_mask(mask, 0, 7, 1, 1) == mask).all()
