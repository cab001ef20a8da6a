"""When the frames of a clip are shown: read from its packets or its image headers; nothing is decoded.

Headers lie (frame counts, rates, lengths), so each packet's time is read. Edit lists and a start that is not 0 are in
these times; the first frame that is shown comes at 0 here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import av
import numpy as np
from av.container import InputContainer

from wan22.errors import MediaError
from wan22.files import PathLike

EARLY = 0.002
"""Seconds that a frame may come late and count as on time: containers round times to 1 ms."""

HELD = 1.0
"""Seconds that a clip's last frame is taken to last at most; also what it may stand in for frames that do not come."""

MAX_FRAMES = 5_000_000

F = TypeVar("F")


@dataclass(frozen=True)
class Times:
    """`starts` (n,): the second at which each frame comes, from 0; `end`: when the last one goes.

    `origin` is the first frame's time in the container. `rate` is the constant rate, or the mean one of a `variable`
    clip, whose frames last differently, so that their number says nothing of their time.
    """

    starts: np.ndarray
    end: float
    origin: float
    rate: float
    variable: bool

    def grid(self, fps: float | None) -> tuple[np.ndarray, float]:
        """The times of the frames that are read, and their rate: the clip's own, or regular ones by `fps`.

        A constant rate is never raised: such a clip's frames come as they are.
        """
        rate = self.rate if fps is None or (fps > self.rate and not self.variable) else fps
        if not self.variable and abs(rate - self.rate) < 1e-3 * self.rate:
            return self.starts, self.rate
        return np.arange(max(1, round(self.end * rate))) / rate, rate


def packet_times(
    container: InputContainer,
    stream: av.VideoStream,
    begin: float | None,
    path: PathLike,
    drawn: bool = False,
) -> Times:
    """Read the times of a stream's packets; `begin` is the time of its first decoded frame in seconds. The last frame
    of a `drawn` clip lasts as long as it says; that of a film says it by chance.

    Raises MediaError for a stream without frames, with more than `MAX_FRAMES`, or of no length.
    """
    base, stamps, last = float(stream.time_base or 0), [], 0.0
    for packet in container.demux(stream):
        if packet.size and not packet.is_discard:
            stamps.append(packet.pts)
            last = float(packet.duration or 0) * base
            if len(stamps) > MAX_FRAMES:
                raise MediaError(f"{path} has more than {MAX_FRAMES:,} frames. Cut it first.")
    nominal = stream.average_rate or stream.guessed_rate
    known = float(nominal) if nominal and 0 < nominal <= 1000 else None
    if not stamps or (known is None and (len(stamps) < 2 or None in stamps)):
        raise MediaError(f"{path} has no usable length: {len(stamps)} frames at {nominal} a second.")
    if None in stamps or not base:  # AVI keeps no times
        assert known is not None
        return of_starts(np.arange(len(stamps)) / known, len(stamps) / known, nominal=known)
    shown = np.unique(np.array(stamps)) * base
    origin = float(shown[0] if begin is None else max(shown[0], begin))
    shown = shown[shown >= origin - 1e-6] - origin
    step = float(np.median(np.diff(shown))) if len(shown) > 1 else 1 / (known or 1.0)
    return of_starts(shown, shown[-1] + ((last if drawn else min(last, HELD)) or step), origin, known, drawn)


def of_starts(
    starts: np.ndarray, end: float, origin: float = 0.0, nominal: float | None = None, drawn: bool = False
) -> Times:
    """Times whose constant rate is `nominal`, where the frames agree with it within 2 %."""
    mean = len(starts) / float(end)
    steps = np.diff(np.append(starts, end) if drawn else starts)
    if len(steps) < 2 - drawn or not starts[-1]:
        return Times(starts, float(end), origin, nominal or mean, False)
    step, slope = float(np.median(steps)), (len(starts) - 1) / float(starts[-1])
    off_line = np.abs(starts - np.arange(len(starts)) / slope).max()
    # Containers round times to 1 ms.
    if steps.max() - steps.min() > 0.25 * step + EARLY or off_line > 0.5 * step + EARLY:
        return Times(starts, float(end), origin, mean, True)
    rate = nominal if nominal and abs(slope / nominal - 1) < 0.02 else slope
    return Times(starts, float(end) if drawn else float(starts[-1]) + 1 / rate, origin, rate, False)


def seen_at(moments: Iterable[tuple[float, F]], times: Sequence[float]) -> Iterator[tuple[float, F]]:
    """Yield what is on screen at each of `times` (not falling): the last of `moments` whose time has come.

    The last moment is yielded for all times after it; before the first one, the first.
    """
    held: tuple[float, F] | None = None
    at = 0
    for moment in moments:
        while at < len(times) and moment[0] > times[at] + EARLY:
            yield held or moment
            at += 1
        if at == len(times):
            return
        held = moment
    if held is not None:
        for _ in range(at, len(times)):
            yield held
