"""What a clip really is: its times read from its packets, its size as shown, and whether it can be decoded.

Headers lie (frame counts, rates, lengths), so each packet's time is read; only the first frame is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wan22.catalog import Size
from wan22.media import video
from wan22.media.file_types import IMAGES, sniff
from wan22.train.data.frames import HELD, Clock, image_times

FREEZE = 2.0
"""Seconds without a new frame that are worth a word."""

_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics, ITU-T H.273, table 3


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
    info = video.probe(path)
    kind = sniff(path)
    if kind in IMAGES:
        return _facts(kind, (info.width, info.height), np.array(image_times(path)), False, 0.0)
    with video.opened(path) as container:
        stream = container.streams.video[0]
        stamps, last = [], 0.0
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                base = float(packet.time_base or 0)
                stamps.append(None if packet.pts is None else packet.pts * base)
                last = float(packet.duration or 0) * base
    with video.opened(path) as container:
        first = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        ratio = float(container.streams.video[0].sample_aspect_ratio or 1) or 1.0
        turned = bool(first.rotation % 180)
        size = _shown((info.width, info.height), 1 / ratio if turned else ratio)
        hdr, interlaced = _HDR.get(int(context.color_trc or 0)), bool(first.interlaced_frame)
        begin = first.time
    times = [time for time in stamps if time is not None]
    if len(times) < len(stamps) or not times:  # AVI keeps no times
        ends, origin = np.arange(len(stamps) + 1) / info.fps, 0.0
    else:
        shown = np.unique(np.array(times))
        origin = float(shown[0] if begin is None else max(shown[0], begin))
        shown = shown[shown >= origin - 1e-6] - origin
        step = float(np.median(np.diff(shown))) if len(shown) > 1 else 1 / info.fps
        ends = np.append(shown, shown[-1] + (min(last, HELD) or step))
    return _facts(kind, size, ends, info.has_audio, origin, hdr, interlaced)


def _facts(
    kind: str,
    size: Size,
    times: np.ndarray,
    audio: bool,
    origin: float,
    hdr: str | None = None,
    interlaced: bool = False,
) -> Facts:
    """`times` (frames + 1,): when each frame comes, and when the last one goes."""
    steps = np.diff(times)
    seconds, frames = float(times[-1]), len(steps)
    spread = float(steps[:-1].max() - steps[:-1].min()) if frames > 2 else 0.0
    variable = spread > 0.25 * float(np.median(steps)) + 0.002  # containers round times to 1 ms
    clock = Clock(origin, frames / seconds)
    return Facts(kind, size, frames, seconds, clock, variable, float(steps.max()), audio, hdr, interlaced)


def _shown(size: Size, ratio: float) -> Size:
    """Make pixels square by stretching the width; `ratio` is a pixel's width over its height."""
    return max(1, round(size[0] * ratio)), size[1]
