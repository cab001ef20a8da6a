"""Frames of a clip by time: what a viewer sees at each moment that is asked, upright, in square pixels.

A variable frame rate needs nothing special: the frame on screen at a moment is the last one whose time has come.
Memory holds one frame, whatever the clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from PIL import Image

from wan22.catalog import Size
from wan22.errors import MediaError
from wan22.media import image as still
from wan22.media import video
from wan22.media.encoding import EXACT
from wan22.media.file_types import IMAGES, sniff

EARLY = 0.002
"""Seconds that a frame may come late and count as on time: containers round times to 1 ms."""

_BT709, _UNSPECIFIED = 1, 2  # ITU-T H.273, table 4
HELD = 1.0
"""Seconds that a clip's last frame is taken to last at most; also what it may stand in for frames that do not come."""

_DEFAULT_STEP = 0.1  # seconds of a GIF's frame that says none, as browsers take it


@dataclass(frozen=True)
class Clock:
    """How a clip's own times are read: the seconds at which its first frame comes, the rate for clips without times."""

    origin: float
    fps: float


def frames_at(
    path: Path, times: Sequence[float], clock: Clock, size: Size, shape: Size
) -> Iterator[np.ndarray]:
    """Yield the frame seen at each of `times` (seconds, not falling) as uint8 (H, W, 3) of `size` (width, height).

    `shape` is the size as shown (square pixels). The image is scaled until it covers `size` (Lanczos, antialiased)
    and cut to its centre, in one step. Raises MediaError where the clip is damaged, or ends before the last time.
    """
    drawn = sniff(path) in IMAGES
    moments = _image_moments(path) if drawn else _moments(path, times[0], clock)
    held: Moment | None = None
    made: np.ndarray | None = None
    at = 0
    for moment in moments:
        while at < len(times) and moment.time > times[at] + EARLY:
            made = (held or moment).image(path, size, shape) if made is None else made
            yield made
            at += 1
        if at == len(times):
            return
        held, made = moment, None
    if held is None:
        raise MediaError(f"{path} holds no frame that can be decoded. Export it again.")
    if not drawn and times[-1] > held.time + HELD + 1 / clock.fps:
        raise MediaError(
            f"{path} ends at {held.time:.2f} s, and its header promises {times[-1]:.2f} s. Export it again."
        )
    made = held.image(path, size, shape) if made is None else made
    for _ in range(at, len(times)):
        yield made


def cover(image: np.ndarray, size: Size, shape: Size) -> np.ndarray:
    """Scale an image (H, W, 3) that is shown as `shape` until it covers `size`, and cut its centre; both (w, h)."""
    height, width = image.shape[:2]
    wide, high = 1.0, 1.0  # shares of the image that are seen
    if shape[0] * size[1] > shape[1] * size[0]:
        wide = shape[1] * size[0] / (size[1] * shape[0])
    else:
        high = shape[0] * size[1] / (size[0] * shape[1])
    left, top = width * (1 - wide) / 2, height * (1 - high) / 2
    box = (left, top, left + width * wide, top + height * high)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=box))


@dataclass(frozen=True)
class Moment:
    """A decoded frame and the seconds at which it comes, counted from the clip's first."""

    time: float
    frame: av.VideoFrame | np.ndarray

    def image(self, path: Path, size: Size, shape: Size) -> np.ndarray:
        """The frame upright, scaled and cut."""
        rgb = self.frame if isinstance(self.frame, np.ndarray) else upright(self.frame, path)
        return cover(rgb, size, shape)


def upright(frame: av.VideoFrame, path: Path) -> np.ndarray:
    """Turn a decoded frame to uint8 RGB (H, W, 3), as the clip's rotation says. Colours as in media/video.py.

    Raises MediaError for a frame that the decoder could only guess.
    """
    if frame.is_corrupt:
        raise MediaError(f"{path} is damaged at {frame.time or 0:.2f} s. Copy, download or export it again.")
    source = frame.colorspace
    if source == _UNSPECIFIED and frame.height >= 720:
        source = _BT709
    rgb = frame.reformat(format="rgb24", src_colorspace=source, interpolation=EXACT).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90) % 4))


def _moments(path: Path, start: float, clock: Clock) -> Iterator[Moment]:
    """Decode from the key frame before `start` on; from the beginning where the file cannot be entered there."""
    with video.opened(path) as container:
        if start > 1 and _enter(container, start, clock):
            container.seek(int((clock.origin + start) * av.time_base), backward=True)
        else:
            container.seek(0)
        for number, frame in enumerate(container.decode(video=0)):
            time = number / clock.fps if frame.time is None else frame.time - clock.origin
            yield Moment(time, frame)


def _enter(container: InputContainer, start: float, clock: Clock) -> bool:
    """Whether jumping to `start` lands on a frame with a time, and not behind it."""
    container.seek(int((clock.origin + start) * av.time_base), backward=True)
    first = next(container.decode(video=0), None)
    return first is not None and first.time is not None and first.time - clock.origin <= start + EARLY


def image_times(path: Path) -> list[float]:
    """When each frame of an animated image comes, and at the end when the last one goes; [0, 1] for a still one."""
    with still.opened(path) as image:
        count = getattr(image, "n_frames", 1)
        if count == 1:
            return [0.0, 1.0]
        times = [0.0]
        for index in range(count):
            image.seek(index)
            times.append(times[-1] + (image.info.get("duration", 0) / 1000 or _DEFAULT_STEP))
    return times


def _image_moments(path: Path) -> Iterator[Moment]:
    times = image_times(path)
    with still.opened(path) as image:
        for index in range(len(times) - 1):
            image.seek(index)
            yield Moment(times[index], still.decode(image.copy() if len(times) > 2 else image))
