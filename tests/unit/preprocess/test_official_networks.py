"""What becomes of the answers of the official networks; the networks are stand-ins."""

import numpy as np
import pytest

from wan22.errors import MissingModelError
from wan22.preprocess import installed, official

FRAME = np.zeros((480, 640, 3), np.uint8)


def test_people_come_in_pixels_of_the_frame():
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 64, 160, 320, 480, 0.9, 0
    rows[0, 1] = 0, 0, 640, 640, 0.9, 16  # a dog
    rows[0, 2] = 0, 0, 640, 640, 0.1, 0  # hardly one
    found = official.people(lambda batch: rows, FRAME)
    assert found.shape == (1, 5) and np.allclose(found[0], [64, 120, 320, 360, 0.9])


def test_people_of_a_network_without_its_own_choice():
    cells = np.zeros((1, 84, 8400), np.float32)
    for at, (x, y, score) in enumerate([(200, 300, 0.9), (204, 300, 0.8), (500, 300, 0.7), (100, 100, 0.1)]):
        cells[0, :5, at] = x, y, 100, 200, score
    found = official.people(lambda batch: cells, FRAME)
    assert np.allclose(found, [[150, 150, 250, 300, 0.9], [450, 150, 550, 300, 0.7]])


def test_the_network_of_people_sees_a_square():
    seen = []
    official.people(lambda batch: seen.append(batch) or np.zeros((1, 300, 6)), FRAME + 255)
    assert seen[0].shape == (1, 3, 640, 640) and seen[0].dtype == np.float32 and seen[0].max() == 1


def gaussians(places, deviation=2.0):
    ys, xs = np.mgrid[:64, :48]
    return np.stack([0.8 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 2 / deviation**2) for x, y in places])


def test_peaks_are_found_below_a_pixel():
    wanted = np.array([[20.3, 30.8], [11.0, 40.5], [33.45, 12.2]])
    places, scores = official.peaks(gaussians(wanted))
    assert np.allclose(places, wanted, atol=0.1) and (scores > 0.7).all()


def test_a_peak_at_the_edge_stays_where_it_is():
    places, _ = official.peaks(gaussians([(0, 0), (47, 63)]))
    assert places.tolist() == [[0, 0], [47, 63]]


def test_points_come_back_to_the_frame():
    box = np.array([200, 100, 320, 340, 0.9])
    tall, wide = 240 * 1.25, 240 * 1.25 * 0.75
    wanted = np.random.default_rng(0).uniform((220, 120), (300, 320), (133, 2))
    corner = np.array([260 - wide / 2, 220 - tall / 2])
    maps = gaussians((wanted - corner) / (wide / 48, tall / 64))
    seen = []
    points = official.whole_body(lambda batch: seen.append(batch) or maps[None], FRAME, box)
    assert points.shape == (133, 3) and np.allclose(points[:, :2], wanted, atol=0.6)
    assert seen[0].shape == (1, 3, 256, 192)


def test_a_box_without_size_is_the_whole_frame():
    seen = []

    def network(batch):
        seen.append(batch)
        return gaussians([(24, 32)] * 133)[None]

    points = official.whole_body(network, FRAME, np.array([5, 5, 9, 9, 0.9]))
    assert np.allclose(points[:, :2], [320, 240], atol=1)


def test_files_that_are_no_networks_are_named(tmp_path):
    pytest.importorskip("onnxruntime")
    for name in (official.DETECTOR, official.POSE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no network")
    with pytest.raises(MissingModelError, match=r"yolov10m.onnx cannot be opened"):
        installed.open_networks(tmp_path)


def field(number, value):
    """A field of a protocol buffer: an integer, text, or bytes of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def shaped(name, shape):
    sides = b"".join(field(1, field(1, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sides)))


def onnx_of(answer, taken):
    """An ONNX model (IR 8, opset 13) that takes an image of a shape and always gives the same answer."""
    answer = np.asarray(answer, np.float32)
    kept = b"".join(field(1, side) for side in answer.shape)
    kept += field(2, 1) + field(8, "kept") + field(9, answer.tobytes())
    node = field(1, "kept") + field(2, "answer") + field(4, "Identity")
    graph = field(1, node) + field(2, "g") + field(5, kept)
    graph += field(11, shaped("image", taken)) + field(12, shaped("answer", answer.shape))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def test_networks_run_in_onnx_runtime(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 64, 160, 320, 480, 0.9, 0
    detector, pose = (
        tmp_path / official.DETECTOR,
        tmp_path / official.POSE / "end2end.onnx",
    )  # as it is released
    for place, answer, taken in (
        (detector, rows, (1, 3, 640, 640)),
        (pose, gaussians([(24, 32)] * 133)[None], (1, 3, 256, 192)),
    ):
        place.parent.mkdir(parents=True)
        place.write_bytes(onnx_of(answer, taken))
    monkeypatch.setattr(installed, "place", lambda: tmp_path / "nothing")
    opened = installed.open_networks(tmp_path)
    (box,) = opened.detect(FRAME)
    assert np.allclose(box, [64, 120, 320, 360, 0.9])
    assert np.allclose(opened.landmarks(FRAME, box)[:, :2], [192, 240], atol=1) and opened.mask is None
    assert opened.names == {"detect": "yolov10m.onnx", "landmarks": "vitpose_h_wholebody.onnx"}
