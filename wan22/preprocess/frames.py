"""The frames of a driving video at the target rate, read anew for every pass, so that memory holds one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wan22.errors import MediaError
from wan22.files import PathLike
from wan22.media.video import look, stream_clip
from wan22.preprocess.geometry import Size, chosen_frames, fitted
from wan22.types import Clip


def read_whole(path: PathLike) -> Clip:
    """Read all frames of a video of any length. Raises MediaError as `look` and `stream_clip`."""
    seen = look(path)
    (grid, rate), (width, height) = seen.times.grid(None), seen.size
    frames, done = np.empty((len(grid), height, width, 3), np.uint8), 0
    for piece in stream_clip(path):
        frames[done : done + len(piece)] = piece
        done += len(piece)
    return Clip(frames[:done], rate)


@dataclass(frozen=True)
class DrivingVideo:
    """A driving video: `size` of what it yields, `fps` of the result, `chosen` numbers of its frames.

    source: a clip in memory, or a file. own_size, own_fps: of the source.
    """

    source: Clip | str
    own_size: Size
    own_fps: float
    fps: float
    chosen: np.ndarray
    size: Size

    @classmethod
    def of(cls, source: Clip | PathLike, fps: float, seconds: float | None = None) -> DrivingVideo:
        """Look at a driving video. Raises MediaError as `look`, or where no frame is left at `fps`."""
        if isinstance(source, Clip):
            count, rate, (height, width) = len(source.frames), source.fps, source.frames.shape[1:3]
        else:
            source = str(source)
            seen = look(source)
            (grid, rate), (width, height) = seen.times.grid(None), seen.size
            count = len(grid)
        name = "the driving video" if isinstance(source, Clip) else source
        if not 0 < fps <= 1000:
            raise MediaError(f"{name} cannot be taken at {fps!r} frames a second: more than 0, at most 1000.")
        chosen = chosen_frames(count, rate, fps)
        if seconds is not None:
            chosen = chosen[: max(1, round(seconds * fps))]
        if not len(chosen):
            raise MediaError(
                f"{name} has {count} frames at {rate:g} a second: not one is left at {fps:g}. Use a higher --fps."
            )
        return cls(source, (width, height), rate, fps, chosen, (width, height))

    def at(self, size: Size) -> DrivingVideo:
        """The same, of which frames are fitted into `size`."""
        return DrivingVideo(self.source, self.own_size, self.own_fps, self.fps, self.chosen, size)

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield each chosen frame, uint8 (H, W, 3); one that stands for several, several times."""
        at, wanted, made = 0, self.chosen.tolist(), np.empty(0)
        for number, frame in enumerate(self._own()):
            if at == len(wanted):
                return
            if number != wanted[at]:
                continue
            made = frame if self.size == self.own_size else fitted(frame, self.size)
            while at < len(wanted) and wanted[at] == number:
                yield made
                at += 1
        for _ in range(at, len(wanted)):  # the file promised more frames than it holds
            if not at:
                raise MediaError(f"{self.source} holds no frame that can be decoded. Export it again.")
            yield made

    def _own(self) -> Iterator[np.ndarray]:
        if isinstance(self.source, Clip):
            yield from self.source.frames
        else:
            for piece in stream_clip(self.source):
                yield from piece

    def as_json(self) -> dict[str, object]:
        """What finds the same frames again."""
        path = None if isinstance(self.source, Clip) else str(Path(self.source).absolute())
        return {
            "path": path,
            "size": list(self.own_size),
            "fps": self.own_fps,
            "frames": len(self.chosen),
        }
