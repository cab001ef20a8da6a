"""What a clip really is: its times read from its packets, its size as shown, and whether it can be decoded.

Headers lie (frame counts, rates, lengths), so each packet's time is read; only the first frame is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wan22.catalog import Size
from wan22.media import video
from wan22.media.colour import HLG, PQ
from wan22.media.file_types import file_type
from wan22.train.data.frames import Clock

FREEZE = 2.0
"""Seconds without a new frame that are worth a word."""

_HDR = {PQ: "PQ", HLG: "HLG"}


@dataclass(frozen=True)
class Facts:
    """What a clip is: its kind, size as shown (upright, square pixels), frames, seconds and times.

    `fps` is the mean rate; `variable` says that frames last differently; `longest` is the longest one, in seconds.
    """

    kind: str
    size: Size
    frames: int
    seconds: float
    clock: Clock
    variable: bool
    longest: float
    has_audio: bool
    hdr: str | None = None
    interlaced: bool = False

    @property
    def fps(self) -> float:
        """Frames a second, in the mean."""
        return self.clock.fps

    @property
    def still(self) -> bool:
        """Whether it is one image."""
        return self.frames == 1


def probe(path: Path) -> Facts:
    """Tell what a clip is. Raises MediaError, as `media.video.probe`, for what cannot be read."""
    source = video.look(path)
    info, times, look = source.info, source.times, source.look
    frames = len(times.starts)
    return Facts(
        kind=file_type(path),
        size=source.size,
        frames=frames,
        seconds=times.end,
        clock=Clock(times.origin, frames / times.end),
        variable=times.variable,
        longest=float(np.diff(np.append(times.starts, times.end)).max()),
        has_audio=info.has_audio,
        hdr=None if look is None else _HDR.get(look.transfer),
        interlaced=look is not None and look.interlaced,
    )
