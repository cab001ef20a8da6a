"""Read clips: what the header says, and the frames; `VideoWriter` for the other direction is in writer.py.

Frames are scaled and chosen while the clip is decoded, so memory holds what is asked for and no more. Times come from
the file (times.py), so a variable frame rate is read as it is seen; how frames look is in shown.py. Audio is not read.
Numbered images (`sequence.py`) are read as a clip too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from wan22.errors import MediaError, OptionError
from wan22.files import PathLike
from wan22.media import image as still
from wan22.media.file_types import IMAGES, file_type
from wan22.media.opening import check_sides, open_clip, open_image, video_stream
from wan22.media.sequence import images_of, is_sequence, rate_of
from wan22.media.shown import Look, Size, covering, look_of
from wan22.media.times import EARLY, HELD, Times, of_starts, packet_times, seen_at
from wan22.media.writer import VideoWriter
from wan22.types import Clip

__all__ = [
    "MAX_PIXELS",
    "MAX_SECONDS",
    "ClipInfo",
    "Source",
    "VideoWriter",
    "frame_of",
    "look",
    "moments",
    "probe",
    "read_clip",
    "read_condition",
    "stream_clip",
]

MAX_SECONDS = 600.0
MAX_PIXELS = 240_000_000
"""Largest clip that is read at once: width x height x frames, after scaling. It is 720 MB."""
MAX_ANIMATION = 2_000_000_000
"""Largest animated WebP, PNG or AVIF: width x height x frames. All of it is decoded, to tell how long it lasts."""
CONDITION_AREA = 1280 * 720
"""Pixels of a frame of what a video is made from: the largest that the models were trained on."""
_SPARE = 8  # frames after the last one asked: the last latent frame is drawn whole
_PIECE_PIXELS = 32_000_000  # of a piece while streaming: 100 MB

_STILL_SECONDS = 1.0  # an image is a clip of one frame, shown for one second
_DEFAULT_STEP = 0.1  # seconds of an animation's frame that says none, as browsers take it


@dataclass(frozen=True)
class ClipInfo:
    """What a clip is: size in pixels as shown (upright, square pixels), frames, frames a second, seconds and codec.

    `fps` is the mean rate of a `variable` one. `notices` say what is changed while it is read, and what is not.
    """

    width: int
    height: int
    frames: int
    fps: float
    seconds: float
    codec: str
    has_audio: bool
    variable: bool = False
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A clip that has been looked at.

    `frames_from(second)` yields each frame, with its second, from there or from before it on; `rgb(frame, size)` makes
    uint8 (H, W, 3) of one. `look` is how the frames of a container are shown.
    """

    info: ClipInfo
    times: Times
    frames_from: Callable[[float], Iterator[tuple[float, Any]]]
    rgb: Callable[[Any, Size], np.ndarray]
    look: Look | None = None

    @property
    def size(self) -> Size:
        """(width, height) as shown."""
        return self.info.width, self.info.height


def probe(path: PathLike, fps: float | None = None) -> ClipInfo:
    """Tell size, length and codec of a clip, animated GIF, image or sequence; at most its first frame is decoded.

    (Of an animated WebP, PNG or AVIF all frames are decoded, one by one: nothing else tells how long they last.)
    `fps` is the rate of a sequence whose first image has no recipe that tells it; nothing else needs it.
    Raises MediaError for a file that is missing, not media, damaged, cut off, without images, or with
    a side of more than `MAX_SIDE` pixels. Length is not limited here: `read_clip` can take
    a piece of a long clip.
    """
    return look(path, fps).info


def read_clip(
    path: PathLike,
    max_frames: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    fps: float | None = None,
    cover: Size | int | None = None,
) -> Clip:
    """Read frames of a clip, animated GIF, image or sequence, from `start` seconds on, upright, as uint8 RGB.

    Reading ends after `seconds`, after `max_frames`, or with the clip, whichever comes first. Frames of a constant rate
    are taken as they come. A variable rate becomes regular by the frames' times, at `fps` or else its mean; a
    constant one above `fps` is brought down to it likewise. Of a sequence, `fps` is the rate, as in `probe`.
    Larger frames are scaled down while they are read until they just cover `cover` (width, height), or have that area.
    Images without colour tags are taken as BT.709 from 720 rows on and as BT.601 below, as players do; HDR becomes SDR.
    The clip's `notices` say what was changed.

    Raises MediaError as `probe`, and if more than `MAX_SECONDS` or `MAX_PIXELS` would be read, if `start`
    lies after the end, or if the clip changes its size.
    """
    if start < 0 or (seconds is not None and seconds <= 0) or (max_frames is not None and max_frames < 1):
        raise MediaError(
            f"cannot read from {start} s on for {seconds} s and {max_frames} frames: "
            "start must be at least 0, the others more than 0."
        )
    if fps is not None and not 0 < fps <= 1000:
        raise MediaError(f"{path} cannot have {fps!r} frames a second: more than 0, at most 1000.")
    source = look(path, fps)
    info = source.info
    grid, rate = source.times.grid(fps)
    first = int(np.searchsorted(grid, start - 0.5 / rate - EARLY)) if start else 0
    if first >= len(grid) or start >= info.seconds:
        raise MediaError(f"{path} lasts {info.seconds:.2f} s, so it cannot be read from {start} s on.")
    count = len(grid) - first
    if seconds is not None:
        count = min(count, max(1, round(seconds * rate)))
    if max_frames is not None:
        count = min(count, max_frames)
    size = covering(source.size, cover)
    _check_budget(path, size, count, rate)
    frames = np.empty((count, size[1], size[0], 3), np.uint8)
    for frame, made in zip(frames, _frames(source, path, grid[first : first + count], size), strict=True):
        frame[:] = made
    notices = info.notices
    if size != source.size:
        notices += (f"{path} ({info.width}x{info.height}) is read at {size[0]}x{size[1]}",)
    return Clip(frames, rate, notices)


def frame_of(path: PathLike, which: str) -> tuple[np.ndarray, int]:
    """One frame of a clip or an image, uint8 (H, W, 3), and its number. which: "first", "last" or a number from 0.

    Raises OptionError for a frame that is not there, MediaError as `probe`.
    """
    source = look(path)
    starts = source.times.starts
    number = {"first": 0, "last": len(starts) - 1}.get(which)
    number = int(which) if number is None else number
    if not 0 <= number < len(starts):
        raise OptionError(f"{path} has no frame {number}: it has {len(starts)}, from 0 to {len(starts) - 1}")
    at, last = float(starts[number]), None
    for time, frame in source.frames_from(at):
        last = frame
        if time >= at - EARLY:
            break
    if last is None:
        raise MediaError(f"{path} holds no frame that can be decoded. Export it again.")
    return source.rgb(last, source.size), number


def read_condition(
    path: PathLike, fps: float | None = None, frames: int | None = None, seconds: float | None = None
) -> Clip:
    """Read a clip that a video is made from, of at most `CONDITION_AREA` pixels a frame.

    `fps`, `frames` and `seconds` are those of the video that will be made; None for what is not known. No more is read
    than it needs. What is read is the same whether a length is given in seconds or frames. Raises MediaError as
    `read_clip`.
    """
    if frames is None and seconds is None:
        return read_clip(path, fps=fps, cover=CONDITION_AREA)
    info = probe(path, fps)
    wanted = fps or info.fps
    rate = wanted if info.variable else min(info.fps, wanted)
    count = max(1, round(seconds * wanted)) if frames is None and seconds else frames
    needed = max(1, round((count or 1) / wanted * rate))
    return read_clip(path, max_frames=needed + _SPARE, fps=fps, cover=CONDITION_AREA)


def stream_clip(path: PathLike, piece: int = 64, cover: Size | int | None = None) -> Iterator[np.ndarray]:
    """Read all frames of a clip of any length in pieces of at most `piece`, uint8 (n, H, W, 3), upright.

    Pieces of large frames are shorter, so that memory is bounded whatever the clip. Rate, `cover` and colours as in
    `read_clip`; `probe` tells the rate. Raises MediaError as `probe`, and on the way where the clip is damaged or
    changes its size.
    """
    if piece < 1:
        raise MediaError(f"cannot read pieces of {piece} frames: at least 1.")
    # How fast images follow one another does not matter here.
    source = look(path, 1.0 if is_sequence(path) else None)
    size = covering(source.size, cover)
    count = max(1, min(piece, _PIECE_PIXELS // (size[0] * size[1])))
    frames = _frames(source, path, source.times.grid(None)[0], size)
    while part := list(islice(frames, count)):
        yield np.stack(part)


def moments(path: PathLike, origin: float, fps: float, start: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decode a clip from the key frame before `start` on; from the beginning where it cannot be entered there.

    Yields each frame with its second, counted from the first one, which comes at `origin`; `fps` counts where there are
    no times. Raises MediaError where the clip is damaged.
    """
    with open_clip(path) as container:
        stream = video_stream(container, path)
        if start > 1 and _enter(container, stream, origin + start):
            container.seek(int((origin + start) * av.time_base), backward=True)
        else:
            container.seek(0)
        for number, frame in enumerate(container.decode(stream)):
            yield (number / fps if frame.time is None else frame.time - origin), frame


def _enter(container: InputContainer, stream: av.VideoStream, at: float) -> bool:
    """Whether jumping to a time of the container lands on a frame with a time, and not behind it."""
    container.seek(int(at * av.time_base), backward=True)
    first = next(container.decode(stream), None)
    return first is not None and first.time is not None and first.time <= at + EARLY


def _frames(source: Source, path: PathLike, grid: np.ndarray, size: Size) -> Iterator[np.ndarray]:
    """The frame seen at each time of the grid, made once however long it is held.

    Raises MediaError if there is none, or if frames do not come that the file promised.
    """
    starts, held, made, at = source.times.starts, None, np.empty(0), 0
    promised = starts[np.searchsorted(starts, grid + EARLY, "right") - 1]
    for at, (time, frame) in enumerate(seen_at(source.frames_from(float(grid[0])), grid.tolist()), 1):
        if time < promised[at - 1] - HELD:
            raise MediaError(
                f"{path} ends at {time:.2f} s, and it promises frames up to {starts[-1]:.2f} s. Export it again."
            )
        if frame is not held:
            held, made = frame, source.rgb(frame, size)
        yield made
    if not at:
        raise MediaError(f"{path} holds no frame that can be decoded. Export it again.")


def look(path: PathLike, fps: float | None = None) -> Source:
    """Look at a clip, animated image, image or sequence; arguments and errors as in `probe`."""
    if is_sequence(path):
        return _look_at_sequence(path, rate_of(path, fps))
    kind = file_type(path)
    return _look_at_clip(path) if kind not in IMAGES or kind == "gif" else _look_at_image(path)


def _look_at_clip(path: PathLike) -> Source:
    drawn = file_type(path) == "gif"
    shown, times, codec, has_audio = _look_at(path)
    check_sides(shown.size, path)
    notices = tuple(f"{path} {told}" for told in shown.notices)
    if times.variable and not drawn:
        notices += (
            f"{path} has a variable frame rate, {times.rate:.4g} a second in the mean; it is read by its times",
        )
    info = _info(shown.size, times, codec, has_audio, notices)
    return Source(
        info,
        times,
        lambda start: moments(path, times.origin, times.rate, start),
        lambda frame, size: shown.rgb(frame, path, size),
        shown,
    )


def _look_at(path: PathLike) -> tuple[Look, Times, str, bool]:
    """How a clip's frames are shown, and when; its codec, and whether it has audio. Its first frame is decoded.

    Raises MediaError as `probe`.
    """
    with open_clip(path) as container:
        stream = video_stream(container, path)
        first = next(container.decode(stream), None)
        if first is None:
            raise MediaError(f"{path} holds a video stream without a single frame.")
        drawn = file_type(path) == "gif"
        ratio = 1.0 if drawn else float(stream.sample_aspect_ratio or 1) or 1.0
        shown = look_of(first, path, ratio)
        codec, has_audio, begin = stream.codec.name, bool(container.streams.audio), first.time
    with open_clip(path) as container:
        times = packet_times(container, container.streams.video[0], begin, path, drawn)
    return shown, times, codec, has_audio


def _look_at_image(path: PathLike) -> Source:
    with open_image(path) as image:
        kind = file_type(path)
        width, height = image.size
        # EXIF orientation: a quarter turn. Pillow gives a TIFF's size as shown.
        if kind != "tiff" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
        count = getattr(image, "n_frames", 1) if kind in ("webp", "png", "avif") else 1
        if count > 1:
            check_sides((width, height), path)
            _check_animation(path, count, (width, height))
        times = of_starts(np.zeros(1), _STILL_SECONDS)
        if count > 1:
            ends = np.cumsum([_step(image, index) for index in range(count)])
            times = of_starts(np.append(0, ends[:-1]), ends[-1], drawn=True)
    size = covering((width, height), still.MAX_PIXELS)
    codes = still.colour_codes(path)

    def frames_from(start: float) -> Iterator[tuple[float, Any]]:
        with open_image(path) as image:
            for index, time in enumerate(times.starts.tolist()):
                image.seek(index)
                yield time, still.decode(image.copy() if count > 1 else image, codes)

    return Source(_info(size, times, kind), times, frames_from, still.resize)


def _step(image: Any, index: int) -> float:
    image.seek(index)
    image.load()  # WebP and AVIF tell the duration of a frame with its pixels
    return image.info.get("duration", 0) / 1000 or _DEFAULT_STEP


def _check_animation(path: PathLike, count: int, size: Size) -> None:
    if count * size[0] * size[1] > MAX_ANIMATION:
        raise MediaError(
            f"{path} holds {count} frames of {size[0]}x{size[1]}, {count * size[0] * size[1] / 1e9:.1f} gigapixels; an "
            f"animated image is read up to {MAX_ANIMATION / 1e9:g}. Convert it to a video, or scale it first."
        )


def _look_at_sequence(path: PathLike, fps: float) -> Source:
    images = images_of(path)
    first = _look_at_image(images[0]).info
    size = first.width, first.height
    times = of_starts(np.arange(len(images)) / fps, len(images) / fps, nominal=fps)

    def frames_from(start: float) -> Iterator[tuple[float, Any]]:
        index = max(0, int(np.searchsorted(times.starts, start + EARLY, "right")) - 1)
        yield from zip(times.starts[index:].tolist(), images[index:], strict=True)

    def rgb(image: Path, wanted: Size) -> np.ndarray:
        found = still.read_image(image)
        if found.shape[1::-1] != size:
            raise MediaError(
                f"{path}: {image.name} is {found.shape[1]}x{found.shape[0]}, the first is "
                f"{size[0]}x{size[1]}. Scale them to one size first."
            )
        return still.resize(found, wanted)

    return Source(_info(size, times, first.codec), times, frames_from, rgb)


def _info(
    size: Size, times: Times, codec: str, has_audio: bool = False, notices: tuple[str, ...] = ()
) -> ClipInfo:
    return ClipInfo(
        *size, len(times.starts), times.rate, times.end, codec, has_audio, times.variable, notices
    )


def _check_budget(path: PathLike, size: Size, count: int, rate: float) -> None:
    seconds = count / rate
    pixels = count * size[0] * size[1]
    if seconds <= MAX_SECONDS and pixels <= MAX_PIXELS:
        return
    most = int(min(MAX_SECONDS * rate, MAX_PIXELS // (size[0] * size[1])))
    raise MediaError(
        f"{path}: {count} frames of {size[0]}x{size[1]} ({seconds:.0f} s, {pixels / 1e6:.0f} Mpx) are too much to read "
        f"at once; limits: {MAX_SECONDS:.0f} s and {MAX_PIXELS / 1e6:.0f} Mpx. "
        f"Read at most {most} frames, or cut or scale the clip first."
    )
