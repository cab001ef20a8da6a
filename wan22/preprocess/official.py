"""The networks of the official preprocessing, run by ONNX Runtime: YOLOv10 finds people, ViTPose their 133 points.

They lie in the folder process_checkpoint of Wan2.2-Animate-14B. Its third, SAM 2, which makes the masks, is not run
here: a mask is given as a video, or comes from another network. Source: spec animate.md, section 7.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from wan22.errors import MissingModelError
from wan22.preprocess.backend import Preprocessor

DETECTOR, POSE = "det/yolov10m.onnx", "pose2d/vitpose_h_wholebody.onnx"

_SIDE = 640  # of the image that finds people
_PERSON, _SURE, _SAME = 0, 0.25, 0.5  # the class, its least score, the overlap of boxes of one person
_CROP = (192, 256)  # width, height
_MARGIN = 1.25
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_BLUR = 11  # pixels of the Gaussian that heat maps are smoothed by before the peak is refined

Network = Callable[[np.ndarray], np.ndarray]
"""Takes a batch (1, 3, H, W) float32, returns the first output."""


def is_official(folder: Path) -> bool:
    """Whether a folder has the official networks."""
    return (folder / DETECTOR).exists() and (folder / POSE).exists()


def open_official(folder: Path) -> Preprocessor:
    """Open the networks of a folder. Raises MissingModelError without ONNX Runtime, or for files it cannot read."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingModelError(
            "ONNX Runtime, which runs the official networks, is not installed: pip install 'wan22-studio[onnx]'"
        ) from error

    def opened(name: str) -> Network:
        path = folder / name
        path = path / "end2end.onnx" if path.is_dir() else path
        wanted = [
            each
            for each in ("CUDAExecutionProvider", "CPUExecutionProvider")
            if each in onnxruntime.get_available_providers()
        ]
        try:
            session = onnxruntime.InferenceSession(str(path), providers=wanted)
        except Exception as error:  # its exceptions have no common class
            raise MissingModelError(f"{path} cannot be opened by ONNX Runtime: {error}") from error
        (taken, *_) = session.get_inputs()
        return lambda batch: np.asarray(session.run(None, {taken.name: batch})[0])

    return preprocessor(opened(DETECTOR), opened(POSE))


def preprocessor(detector: Network, pose: Network) -> Preprocessor:
    """The two networks as steps."""
    return Preprocessor(
        lambda frame: people(detector, frame),
        lambda frame, box: whole_body(pose, frame, box),
        None,
        {"detect": Path(DETECTOR).name, "landmarks": Path(POSE).name},
    )


def people(network: Network, frame: np.ndarray) -> np.ndarray:
    """Boxes (n, 5) of people: the frame is stretched to a square, boxes come as (300, 6) or as (84, cells)."""
    (height, width) = frame.shape[:2]
    image = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    found = np.asarray(network(image.transpose(2, 0, 1)[None]))[0]
    if found.shape[-1] != 6:
        found = _suppressed(found.T if found.shape[0] < found.shape[1] else found)
    found = found[(found[:, 5].round() == _PERSON) & (found[:, 4] >= _SURE)]
    return (found[:, :5] * np.array([width, height, width, height, _SIDE]) / _SIDE).astype(np.float32)


def _suppressed(cells: np.ndarray) -> np.ndarray:
    """Middle, size and scores of 80 classes (n, 84) as corners, score and class (m, 6), one for each person."""
    scores = cells[:, 4 + _PERSON]
    corners = np.column_stack([cells[:, :2] - cells[:, 2:4] / 2, cells[:, 2:4]])
    kept = np.asarray(cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), _SURE, _SAME), int).reshape(-1)
    low, size = corners[kept, :2], corners[kept, 2:]
    return np.column_stack([low, low + size, scores[kept], np.full(len(kept), _PERSON)])


def whole_body(network: Network, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The 133 points (133, 3) of who is in a box: the peaks of heat maps, refined below a pixel."""
    left, top, right, bottom = box[:4].tolist()
    if right - left < 10 or bottom - top < 10:
        left, top, right, bottom = 0, 0, frame.shape[1], frame.shape[0]
    tall = max((right - left) * _CROP[1] / _CROP[0], bottom - top) * _MARGIN
    wide = tall * _CROP[0] / _CROP[1]
    x, y = (left + right) / 2 - wide / 2, (top + bottom) / 2 - tall / 2
    scale = wide / _CROP[0]
    cut = cv2.warpAffine(
        frame,
        np.array([[scale, 0, x], [0, scale, y]]),
        _CROP,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    image = ((cut / 255 - _MEAN) / _DEVIATION).astype(np.float32)
    maps = np.asarray(network(image.transpose(2, 0, 1)[None]))[0]
    places, scores = peaks(maps)
    high, across = maps.shape[1:]
    return np.column_stack([places * [wide / across, tall / high] + [x, y], scores]).astype(np.float32)


def peaks(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where heat maps (n, h, w) are highest, (n, 2) as x, y below a pixel, and how high, (n,).

    A step of Newton's method on the logarithm of the smoothed map, whose peaks are Gaussians (Zhang et al. 2020,
    "Distribution-aware coordinate representation").
    """
    count, high, across = maps.shape
    flat = maps.reshape(count, -1)
    best, scores = flat.argmax(1), flat.max(1)
    places = np.column_stack([best % across, best // across]).astype(np.float64)
    for index, (x, y) in enumerate(places.astype(int)):
        if not (scores[index] > 0 and 1 < x < across - 2 and 1 < y < high - 2):
            continue
        smooth = cv2.GaussianBlur(maps[index].astype(np.float32), (_BLUR, _BLUR), 0)
        smooth = np.log(np.maximum(smooth * (scores[index] / max(smooth.max(), 1e-10)), 1e-10))
        near = smooth[y - 2 : y + 3, x - 2 : x + 3]
        slope = np.array([near[2, 3] - near[2, 1], near[3, 2] - near[1, 2]]) / 2
        xx, yy = (
            (near[2, 4] - 2 * near[2, 2] + near[2, 0]) / 4,
            (near[4, 2] - 2 * near[2, 2] + near[0, 2]) / 4,
        )
        xy = (near[3, 3] - near[1, 3] - near[3, 1] + near[1, 1]) / 4
        bend = np.array([[xx, xy], [xy, yy]])
        if abs(np.linalg.det(bend)) > 1e-9:
            places[index] -= np.linalg.solve(bend, slope)
    return places, scores
