"""The sheet to look at: some frames with what was found in them, and beside each the images that were made."""

from __future__ import annotations

import cv2
import numpy as np

from wan22.media.image import contact_sheet
from wan22.preprocess.body import GROUPS
from wan22.preprocess.drawing import draw_pose
from wan22.preprocess.geometry import letterbox
from wan22.preprocess.record import Record

_ROWS, _TILE = 8, (320, 240)
_BOX, _FACE, _GUESSED = (255, 255, 255), (0, 255, 128), (255, 64, 64)


class Sheet:
    """Collects rows of tiles from frames that are spread over the video."""

    def __init__(self, count: int) -> None:
        self._wanted = set(np.linspace(0, count - 1, min(count, _ROWS)).round().astype(int).tolist())
        self._tiles: list[np.ndarray] = []
        self._columns = 0

    def add(self, index: int, frame: np.ndarray, record: Record, *images: np.ndarray | None) -> None:
        """Take a frame, if it is one of those: with its boxes, body and face; and the images made of it.

        A frame in which nobody was found has a red box.
        """
        if index not in self._wanted:
            return
        marked = draw_pose((frame * 0.6).astype(np.uint8), record.points[index])
        colour = _BOX if record.found[index] else _GUESSED
        for box, shade in ((record.boxes[index], colour), (record.face_boxes[index], _FACE)):
            left, top, right, bottom = (int(value) for value in box)
            cv2.rectangle(marked, (left, top), (right, bottom), shade, max(1, min(frame.shape[:2]) // 300))
        for x, y, score in record.points[index, GROUPS["face"]]:
            if score > 0:
                cv2.circle(marked, (int(x), int(y)), max(1, min(frame.shape[:2]) // 400), (255, 255, 255), -1)
        tiles = [letterbox(tile, _TILE, cv2.INTER_AREA) for tile in (marked, *images) if tile is not None]
        self._columns = len(tiles)
        self._tiles += tiles

    def image(self) -> np.ndarray:
        """The sheet: uint8 (H, W, 3)."""
        return contact_sheet(np.stack(self._tiles), self._columns)
