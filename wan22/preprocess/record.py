"""`preprocess.json`: the landmarks and boxes of every frame, which a person may edit, and how the images were made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wan22.errors import MediaError
from wan22.files import read_json
from wan22.preprocess.body import COUNT, GROUPS
from wan22.preprocess.geometry import Size
from wan22.version import __version__

_FORMAT = 1
_LIMIT = 1 << 28  # bytes: an hour at 20 frames a second


@dataclass(frozen=True)
class Record:
    """What was found in a driving video, and what the images are drawn from.

    points: (T, 133, 3) float32, pixels of frames of `size`, and scores. boxes: (T, 4) of the person; face_boxes: (T, 4)
    int, left, top, right, bottom. found: (T,) bool; other frames are interpolated. canvas: the size of the pose images.
    settings: everything else that the file says, as JSON values: "driving", "replace", "models", "people" ...
    """

    points: np.ndarray
    boxes: np.ndarray
    face_boxes: np.ndarray
    found: np.ndarray
    fps: float
    size: Size
    canvas: Size
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points)

    def dump(self) -> str:
        """The file's text: one line for each frame."""
        head = {
            "wan22": __version__,
            "format": _FORMAT,
            "fps": self.fps,
            "size": list(self.size),
            "canvas": list(self.canvas),
            **self.settings,
        }
        lines = [json.dumps(self._frame(index)) for index in range(len(self))]
        opening = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
        return opening + ',\n "frames": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"

    def _frame(self, index: int) -> dict[str, Any]:
        groups = {
            name: [
                [round(float(x), 1), round(float(y), 1), round(float(s), 3)]
                for x, y, s in self.points[index, part]
            ]
            for name, part in GROUPS.items()
        }
        return {
            "time": round(index / self.fps, 4),
            "found": bool(self.found[index]),
            "box": [round(float(v), 1) for v in self.boxes[index]],
            "face_box": [int(v) for v in self.face_boxes[index]],
            **groups,
        }

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a file, edited or not. Raises MediaError that names the frame and what is wrong there."""
        said = read_json(path, MediaError, limit=_LIMIT)
        if (
            not isinstance(said, dict)
            or said.get("format") != _FORMAT
            or not isinstance(said.get("frames"), list)
        ):
            raise MediaError(f"{path} is no record of `wan22 preprocess` of format {_FORMAT}. Run it again.")
        frames = said.pop("frames")
        if not frames:
            raise MediaError(f"{path} has no frames. Run `wan22 preprocess` again.")
        try:
            fps, size, canvas = float(said["fps"]), _pair(said["size"]), _pair(said["canvas"])
        except (KeyError, TypeError, ValueError) as error:
            raise MediaError(
                f"{path} needs fps (a number), size and canvas ([width, height]): {error}."
            ) from error
        points = np.zeros((len(frames), COUNT, 3), np.float32)
        boxes, face_boxes = np.zeros((len(frames), 4), np.float32), np.zeros((len(frames), 4), np.int64)
        found = np.zeros(len(frames), bool)
        for index, frame in enumerate(frames):
            where = f"{path}, frame {index}"
            if not isinstance(frame, dict):
                raise MediaError(f"{where} is no object.")
            for name, part in GROUPS.items():
                points[index, part] = _numbers(frame.get(name), points[index, part].shape, f"{where}: {name}")
            boxes[index] = _numbers(frame.get("box"), (4,), f"{where}: box")
            face_boxes[index] = _numbers(frame.get("face_box"), (4,), f"{where}: face_box")
            left, top, right, bottom = face_boxes[index]
            if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
                raise MediaError(
                    f"{where}: face_box {face_boxes[index].tolist()} must be left < right, top < bottom within "
                    f"{size[0]}x{size[1]}."
                )
            found[index] = bool(frame.get("found", True))
        settings = {
            name: said[name] for name in said if name not in ("wan22", "format", "fps", "size", "canvas")
        }
        return cls(points, boxes, face_boxes, found, fps, size, canvas, settings)


def _pair(value: Any) -> Size:
    width, height = value
    return int(width), int(height)


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        wanted = " lists of ".join(str(n) for n in shape)
        raise MediaError(f"{where} must be {wanted} numbers.")
    return numbers
