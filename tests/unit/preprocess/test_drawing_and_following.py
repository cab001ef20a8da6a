"""The drawing of a pose, and who is followed through a video."""

import numpy as np
import pytest

from wan22.preprocess.body import COUNT, GROUPS, drawn_points, index_of
from wan22.preprocess.drawing import draw_pose
from wan22.preprocess.following import filled, follow, overlap, spans, steadied, tracks_of


def body(**places):
    points = np.zeros((COUNT, 3), np.float32)
    for name, (x, y) in places.items():
        points[index_of(name)] = x, y, 1
    return points


def drawn(points, size=(480, 640)):
    return draw_pose(np.zeros((*size, 3), np.uint8), points)


def test_a_limb_has_six_tenths_of_its_colour_and_joints_all_of_theirs():
    image = drawn(body(left_elbow=(100, 100), left_wrist=(200, 100)))
    assert tuple(image[100, 150]) == (51, 153, 0)  # of (85, 255, 0)
    assert tuple(image[100, 100]) == (0, 255, 0) and tuple(image[100, 200]) == (0, 255, 85)


def test_the_neck_is_between_the_shoulders():
    points = body(left_shoulder=(200, 100), right_shoulder=(100, 120))
    assert drawn_points(points)[1].tolist() == [150, 110, 1]
    assert tuple(drawn(points)[110, 150]) == (255, 85, 0)


def test_a_foot_is_between_its_toes():
    points = body(left_ankle=(300, 300), left_big_toe=(330, 330), left_small_toe=(340, 330))
    assert drawn_points(points)[18].tolist() == [335, 330, 1]
    assert tuple(drawn(points)[330, 335]) == (200, 200, 0)


@pytest.mark.parametrize(("size", "width"), [((480, 640), 1), ((720, 1280), 2), ((1080, 1920), 4)])
def test_widths_follow_the_shorter_side(size, width):
    image = drawn(body(left_elbow=(100, 100), left_wrist=(300, 100)), size)
    assert (image[:, 200].any(-1)).sum() == 2 * width + 1


def test_what_is_unsure_is_not_drawn():
    points = body(left_elbow=(100, 100), left_wrist=(200, 100))
    points[index_of("left_wrist"), 2] = 0.49
    image = drawn(points)
    assert image[100, 100].any() and not image[100, 150].any() and not image[100, 200].any()


def test_the_face_is_not_drawn():
    points = np.zeros((COUNT, 3), np.float32)
    points[GROUPS["face"]] = 100, 100, 1
    assert not drawn(points).any()


def test_a_hand_is_a_circle_of_colours_with_blue_points():
    points = np.zeros((COUNT, 3), np.float32)
    points[GROUPS["right_hand"]] = [(100 + 10 * (i % 5), 100 + 20 * (i // 5), 1) for i in range(21)]
    points[112] = 50, 50, 1
    image = drawn(points)
    assert tuple(image[50, 50]) == (0, 0, 255)  # the wrist
    assert tuple(image[75, 80]) == (
        255,
        0,
        0,
    )  # half way to the thumb's root: the first of the circle's colours


def test_points_far_outside_are_no_trouble():
    image = drawn(body(left_elbow=(-5000, 100), left_wrist=(200, 100), nose=(1e5, -1e5)))
    assert image.shape == (480, 640, 3)


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 5)


def person(x, side=40):
    return [x, 20, x + side, 20 + 2 * side, 0.9]


def test_people_are_kept_apart_as_they_move():
    found = [boxes(person(10 + 3 * t), person(120 - 3 * t, 20)) for t in range(10)]
    if found:  # their order in a frame says nothing
        found[4] = found[4][::-1]
    large, small = tracks_of(found, (160, 120), 10)
    assert len(large.boxes) == len(small.boxes) == 10
    assert all(box[2] - box[0] == 40 for box in large.boxes.values())


def test_the_central_one_of_equals_comes_first():
    first, _ = tracks_of([boxes(person(0), person(60))] * 3, (160, 120), 10)
    assert first.boxes[0][0] == 60


def test_who_is_gone_for_long_is_another():
    found = [boxes(person(60))] + [boxes()] * 30 + [boxes(person(60))]
    assert len(tracks_of(found, (160, 120), 10)) == 2
    assert len(tracks_of(found[:5] + found[-1:], (160, 120), 10)) == 1


def test_after_a_cut_the_next_is_followed():
    found = [boxes(person(10))] * 5 + [boxes(person(100))] * 3
    tracks = tracks_of(found, (160, 120), 10)
    chosen, changes = follow(tracks, 0)
    assert sorted(chosen) == list(range(8)) and changes == [5]


def test_overlap_is_intersection_over_union():
    assert overlap(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])) == pytest.approx(1 / 3)
    assert overlap(np.array([0, 0, 1, 1]), np.array([5, 5, 6, 6])) == 0


def test_gaps_are_filled_and_ends_held():
    values = np.array([0, 0, 10, 0, 0, 40, 0], float)[:, None]
    found = np.array([False, False, True, False, False, True, False])
    assert filled(values, found)[:, 0].tolist() == [10, 10, 10, 20, 30, 40, 40]


def test_scores_are_averaged_where_someone_was_found():
    scores, found = np.array([[1.0], [0.0], [1.0], [9.0]]), np.array([True, True, True, False])
    steady = steadied(scores, found, 5.0)
    assert np.allclose(steady[:3], 2 / 3, atol=0.02) and steady[3] == 9
    assert (steadied(scores, found, 0.0) == scores).all()


def test_more_frames_than_the_average_reaches_over():
    assert steadied(np.ones((2, 3)), np.ones(2, bool), 20.0).shape == (2, 3)


def test_times_of_gaps_in_words():
    missing = np.array([1, 0, 0, 1, 1, 0], bool)
    assert spans(missing, 10) == "0.00-0.10 s, 0.30-0.50 s"
    assert spans(np.tile([True, False], 9), 1).endswith("...")
