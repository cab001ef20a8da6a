"""How the networks are asked and what becomes of their answers; stand-ins for them read places from colours.

In the frames, red says the column and green the row. So a stand-in can point at a place of the frame, whichever square
it sees, and whichever way that is turned.
"""

import zipfile

import numpy as np
import pytest

from wan22.errors import MissingModelError
from wan22.preprocess import installed
from wan22.preprocess import landmark_networks as networks
from wan22.preprocess.body import GROUPS, index_of
from wan22.preprocess.landmark_networks import LandmarkNetworks, Square

WIDTH, HEIGHT = 320, 240
HIPS, CROWN = (150.0, 140.0), (175.0, 85.0)  # a person who leans to the right


def frame():
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([xs / WIDTH * 255, ys / HEIGHT * 255, np.full(xs.shape, 255.0)], -1).astype(np.uint8)


def where(image, places):
    """The pixels of what a network sees at which the frame's places are; outside of the frame there are none."""
    inside = np.argwhere(image[..., 2] > 0.99)[::7]
    colours = np.column_stack([image[inside[:, 0], inside[:, 1], :2], np.ones(len(inside))])
    turn = np.linalg.lstsq(colours, inside[:, ::-1], rcond=None)[0]
    targets = np.asarray(places, float) / (WIDTH, HEIGHT)
    return np.column_stack([targets, np.ones(len(targets))]) @ turn


def places(count, seed):
    return np.random.default_rng(seed).uniform((90, 60), (220, 180), (count, 2))


BODY, HAND, FACE = places(39, 1), places(21, 2), places(468, 3)
BODY[33], BODY[34] = HIPS, CROWN
for wrist, little, index in networks._HANDS.values():  # a hand that is large enough to be cut out
    BODY[[wrist, little, index]] = (150, 160), (140, 120), (165, 118)


def body(image, seen=None, presence=0.9):
    if seen is not None:
        seen.append(image)
    raw = np.zeros((39, 5), np.float32)
    raw[:, :2], raw[:, 3:] = where(image, BODY), 5.0
    outline = np.where((np.arange(256) < 128)[None] & (image[..., 2] > 0.99), 9.0, -9.0)
    return [raw.reshape(1, 195), np.array([[presence]]), outline.reshape(1, 256, 256, 1).astype(np.float32)]


def hand(image, presence=0.8):
    raw = np.zeros((21, 3), np.float32)
    raw[:, :2] = where(image, HAND)
    return [raw.reshape(1, 63), np.array([[presence]])]


def face(image, logit=4.0):
    raw = np.zeros((468, 3), np.float32)
    raw[:, :2] = where(image, FACE)
    return [raw.reshape(1, 1, 1, 1404), np.array([[[[logit]]]])]


def person(image):
    """Raw answers (2254, 12) with people at two anchors, and their logits."""
    raw, logits = np.zeros((2254, 12), np.float32), np.full(2254, -9.0, np.float32)
    anchors = networks._anchors()
    for anchor in (700, 702, 900):
        raw[anchor, 2:4] = 80
        logits[anchor] = 3
        for at, place in ((4, HIPS), (6, CROWN)):
            shift = (0, 0) if anchor != 900 else (0, 60)
            raw[anchor, at : at + 2] = (
                where(image * 0.5 + 0.5, [np.add(place, shift)])[0] - anchors[anchor] * 224
            )
    return [raw[None], logits[None, :, None]]


def known(**parts):
    return LandmarkNetworks(**({"person": person, "body": body, "face": face, "hand": hand} | parts))


BOX = np.array([50, 20, 250, 220, 0.9], np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_what_is_in_a_square_is_found_back(angle):
    square = Square(150, 120, 100, angle)
    seen = square.cut(frame(), 64)
    corner = square.back(np.array([[10.5, 50.5]]), 64)[0]
    assert np.allclose(seen[50, 10, :2] * (WIDTH, HEIGHT), corner, atol=2.5)


def test_anchors_are_those_of_the_grids():
    anchors = networks._anchors()
    assert anchors.shape == (2254, 2)
    assert anchors[0].tolist() == [0.5 / 28, 0.5 / 28] and anchors[2].tolist() == [1.5 / 28, 0.5 / 28]
    assert anchors[1568].tolist() == [0.5 / 14, 0.5 / 14] and anchors[-1].tolist() == [6.5 / 7, 6.5 / 7]


def test_boxes_of_one_person_are_one():
    raw, logits = np.zeros((2254, 12), np.float32), np.full(2254, -9.0, np.float32)
    raw[[700, 702, 1900], 2:4] = 60
    logits[[700, 702, 1900]] = 3
    assert len(networks._decoded(raw, logits)) == 2


def test_people_are_squares_around_their_hips():
    boxes = known().detect(frame())
    radius = 1.25 * np.hypot(CROWN[0] - HIPS[0], CROWN[1] - HIPS[1])
    expected = [HIPS[0] - radius, HIPS[1] - radius, HIPS[0] + radius, HIPS[1] + radius]
    assert len(boxes) and np.allclose(boxes[0][:4], expected, atol=4)


def test_points_come_back_to_the_frame():
    whole = known().landmarks(frame(), BOX)
    for name, at in networks._BODY.items():
        assert np.allclose(whole[index_of(name), :2], BODY[at], atol=3), name
        assert whole[index_of(name), 2] > 0.98
    assert np.allclose(whole[GROUPS["left_hand"], :2], HAND, atol=3)
    assert np.allclose(whole[GROUPS["face"], :2], FACE[list(networks._FACE_OF_468)], atol=3)


def test_the_body_is_looked_at_again_upright():
    seen = []
    known(body=lambda image: body(image, seen)).landmarks(frame(), BOX)
    hips, crown = where(seen[1], [HIPS, CROWN])
    assert len(seen) == 2 and abs(hips[0] - crown[0]) < 4 and crown[1] < hips[1]
    assert np.allclose(hips, 128, atol=3)


@pytest.mark.parametrize(("looks", "there"), [((0.3, 0.9), True), ((0.9, 0.3), True), ((0.3, 0.3), False)])
def test_one_look_that_finds_the_body_is_enough(looks, there):
    turn = iter(looks)
    whole = known(body=lambda image: body(image, presence=next(turn))).landmarks(frame(), BOX)
    assert (whole[index_of("nose"), 2] > 0.9) == there


def test_a_box_of_nothing_holds_nobody():
    assert not known().landmarks(frame(), np.array([50, 50, 50, 50, 0.9])).any()


def test_both_big_and_small_toe_are_the_tip_of_the_foot():
    whole = known().landmarks(frame(), BOX)
    assert (whole[index_of("left_big_toe")] == whole[index_of("left_small_toe")]).all()


@pytest.mark.parametrize(
    ("parts", "groups"),
    [
        ({"body": lambda image: body(image, presence=0.2)}, tuple(GROUPS)),
        ({"hand": lambda image: hand(image, 0.2)}, ("left_hand", "right_hand")),
        ({"face": lambda image: face(image, -4.0)}, ("face",)),
    ],
)
def test_what_is_not_there_has_no_score(parts, groups):
    whole = known(**parts).landmarks(frame(), BOX)
    for name, part in GROUPS.items():
        assert (whole[part, 2].max() == 0) == (name in groups), name


def test_points_outside_of_the_frame_have_no_score():
    def far(image):
        answers = body(image)
        answers[0].reshape(39, 5)[27, :2] = -2000
        return answers

    whole = known(body=far).landmarks(frame(), BOX)
    assert whole[index_of("left_ankle"), 2] == 0 and whole[index_of("right_ankle"), 2] > 0.9


def test_the_mask_is_the_outline_turned_back():
    points = known().landmarks(frame(), BOX)
    mask = known().mask(frame(), points)
    assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.float32
    along = np.subtract(CROWN, HIPS) / np.hypot(*np.subtract(CROWN, HIPS))
    right = np.array([-along[1], along[0]])
    left_side, right_side = (np.round(np.add(HIPS, side * 30 * right)).astype(int) for side in (-1, 1))
    assert mask[left_side[1], left_side[0]] > 0.9 and mask[right_side[1], right_side[0]] < 0.1


def test_specks_are_no_part_of_the_outline():
    outline = np.zeros((64, 64), np.float32)
    outline[10:40, 10:40], outline[50:60, 50:60], outline[2:5, 60:62] = 0.9, 0.8, 0.99
    kept = networks._without_specks(outline)
    assert kept[20, 20] and kept[55, 55] and not kept[3, 61]
    assert not networks._without_specks(outline * 0).any()


def test_every_point_of_the_face_is_one_of_the_468():
    chosen = networks._FACE_OF_468
    assert len(chosen) == 68 and len(set(chosen)) >= 67 and max(chosen) < 468


def test_networks_that_are_not_here_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "place", lambda: tmp_path)
    with pytest.raises(MissingModelError, match="wan22 preprocess --setup"):
        installed.open_networks()
    with pytest.raises(MissingModelError, match="yolov10m"):
        installed.open_networks(tmp_path)


def wheel(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name in installed.FILES:
            archive.writestr(f"mediapipe/modules/some/{name}", content)
    return path


def test_a_wheel_with_other_files_is_refused(tmp_path):
    given = wheel(tmp_path / "mediapipe.whl", b"other")
    with pytest.raises(MissingModelError, match="hash differs"):
        installed.install(tmp_path / "cache", given)
    (tmp_path / "text.whl").write_text("no wheel")
    with pytest.raises(MissingModelError, match="no wheel of mediapipe"):
        installed.install(tmp_path / "cache", tmp_path / "text.whl")
    assert not (tmp_path / "cache").exists()


def test_the_files_of_a_wheel_are_installed(tmp_path, monkeypatch):
    import hashlib

    digest = hashlib.sha256(b"network").hexdigest()
    monkeypatch.setattr(installed, "FILES", dict.fromkeys(installed.FILES, digest))
    place = installed.install(tmp_path / "cache", wheel(tmp_path / "mediapipe.whl", b"network"))
    assert {path.name for path in place.iterdir()} == set(installed.FILES)
    again = installed.install(tmp_path / "cache", wheel(tmp_path / "mediapipe.whl", b"network"))
    assert again == place and installed.is_installed(place)


def test_a_download_that_fails_says_what_pip_said(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "WHEEL", "mediapipe==0.0.0.nothing")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MissingModelError, match="--wheel FILE"):
        installed.install(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_network_that_is_no_network_is_named(tmp_path):
    pytest.importorskip("ai_edge_litert")
    for name in installed.FILES:
        (tmp_path / name).write_bytes(b"no network at all")
    with pytest.raises(MissingModelError, match=r"pose_detection.tflite cannot be read"):
        installed.open_networks(tmp_path)
