"""One person through a video: who is followed when there are several, and what stands for frames where nobody is seen.

Boxes are (left, top, right, bottom, score) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

_OVERLAP = 0.3  # of the boxes of one person in frames that follow one another, intersection over union
_LOST_SECONDS = 1.0  # after which one who comes back counts as another


@dataclass
class Track:
    """One person, as far as they are seen without a cut: the box (5,) of each frame."""

    boxes: dict[int, np.ndarray] = field(default_factory=dict)
    weight: float = 0.0
    """How large and how central, summed over the frames."""

    @property
    def last(self) -> int:
        """The last frame."""
        return max(self.boxes)

    def as_json(self) -> dict[str, object]:
        """What a person can choose by: where and when."""
        box = np.mean([each[:4] for each in self.boxes.values()], 0)
        return {
            "first": min(self.boxes),
            "last": self.last,
            "frames": len(self.boxes),
            "box": np.round(box, 1).tolist(),
        }


def tracks_of(found: list[np.ndarray], size: tuple[int, int], fps: float) -> list[Track]:
    """Join the boxes (n, 5) of each frame to people; the largest and most central comes first."""
    tracks: list[Track] = []
    patience = max(1, round(_LOST_SECONDS * fps))
    for frame, boxes in enumerate(found):
        alive = [track for track in tracks if frame - track.last <= patience]
        pairs = sorted(
            (
                (overlap(track.boxes[track.last], box), t, b)
                for t, track in enumerate(alive)
                for b, box in enumerate(boxes)
            ),
            reverse=True,
        )
        taken: set[int] = set()
        for share, t, b in pairs:
            if share >= _OVERLAP and frame not in alive[t].boxes and b not in taken:
                taken.add(b)
                _add(alive[t], frame, boxes[b], size)
        for b in sorted(set(range(len(boxes))) - taken):
            tracks.append(Track())
            _add(tracks[-1], frame, boxes[b], size)
    return sorted(tracks, key=lambda track: -track.weight)


def _add(track: Track, frame: int, box: np.ndarray, size: tuple[int, int]) -> None:
    track.boxes[frame] = box
    share = (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])
    off = abs((box[0] + box[2]) / size[0] - 1) + abs((box[1] + box[3]) / size[1] - 1)  # 0 is the middle
    track.weight += float(max(share, 0) ** 0.5 * max(1 - off / 2, 0.1))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:4], other[2:4])
    both = float(np.prod(np.clip(high - low, 0, None)))
    areas = float(np.prod(one[2:4] - one[:2]) + np.prod(other[2:4] - other[:2]))
    return both / max(areas - both, 1e-9)


def follow(tracks: list[Track], person: int) -> tuple[dict[int, np.ndarray], list[int]]:
    """The boxes of frames of one person, and of the next largest where that one's track has not begun or has ended.

    After a cut everybody is someone new: the second value lists the frames at which another track goes on.
    """
    chosen = dict(tracks[person].boxes)
    owner = dict.fromkeys(chosen, person)
    for index, track in enumerate(tracks):
        first, last = min(chosen), max(chosen)
        if index != person and (track.last < first or min(track.boxes) > last):
            chosen |= track.boxes
            owner |= dict.fromkeys(track.boxes, index)
    order = sorted(owner)
    return chosen, [b for a, b in pairwise(order) if owner[a] != owner[b]]


def filled(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Values (T, ...) with those of frames that are not `found` (T,) interpolated between the nearest that are.

    Before the first and after the last, theirs are held. At least one must be found.
    """
    known = np.flatnonzero(found)
    frames = np.arange(len(values))
    right = np.searchsorted(known, frames).clip(0, len(known) - 1)
    left = (np.searchsorted(known, frames, "right") - 1).clip(0, len(known) - 1)
    before, after = known[left], known[right]
    share = np.where(after > before, (frames - before) / np.maximum(after - before, 1), 0.0)
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    return (values[before] * (1 - share) + values[after] * share).astype(values.dtype)


def steadied(scores: np.ndarray, found: np.ndarray, frames: float) -> np.ndarray:
    """Scores (T, n) averaged over the frames around each in which someone was `found`, by a Gaussian that wide."""
    if frames <= 0:
        return scores
    reach = int(np.ceil(3 * frames))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / frames) ** 2)
    known = found.astype(np.float64)
    total = np.convolve(known, weights, "full")[reach : reach + len(known)]
    summed = [np.convolve(each * known, weights, "full")[reach : reach + len(known)] for each in scores.T]
    return np.where(found[:, None], np.stack(summed, 1) / np.maximum(total, 1e-9)[:, None], scores)


def spans(missing: np.ndarray, fps: float, most: int = 5) -> str:
    """The seconds of frames of which `missing` (T,) is true, as text: "0.00-0.10 s, 1.20-1.53 s"."""
    edges = np.diff(np.concatenate([[0], missing.astype(np.int8), [0]]))
    pairs = list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True))
    text = ", ".join(f"{a / fps:.2f}-{b / fps:.2f} s" for a, b in pairs[:most])
    return text if len(pairs) <= most else f"{text}, ..."
