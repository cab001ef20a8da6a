"""Read clips: what the header says, and the frames; `VideoWriter` for the other direction is in writer.py.

A clip comes from anyone, so: its kind is told from its bytes and the demuxer is forced, no protocol but
`file` is allowed, and sides, seconds and pixels are limited from the header, before anything is decoded.
Pixels are taken as square; audio is not read. Numbered images (`sequence.py`) are read as a clip too.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from wan22.errors import MediaError
from wan22.files import PathLike, reading
from wan22.media import image as still
from wan22.media.encoding import EXACT
from wan22.media.file_types import IMAGES, check_whole, sniff
from wan22.media.sequence import images_of, is_sequence, rate_of, read_images
from wan22.media.writer import VideoWriter
from wan22.types import Clip

__all__ = [
    "MAX_PIXELS",
    "MAX_SECONDS",
    "MAX_SIDE",
    "ClipInfo",
    "VideoWriter",
    "probe",
    "read_clip",
    "stream_clip",
]

MAX_SIDE = 4096
MAX_SECONDS = 600.0
MAX_PIXELS = 2_000_000_000
"""Largest clip that is decoded: width x height x frames read."""
_PIECE_PIXELS = 64_000_000  # of a piece while streaming: 200 MB

_BT709, _UNSPECIFIED = 1, 2  # ITU-T H.273, table 4
_STILL_FPS = 1.0  # an image is a clip of one frame, shown for one second


@dataclass(frozen=True)
class ClipInfo:
    """What a clip's header says: size in pixels as shown (turned upright), frames, seconds and codec."""

    width: int
    height: int
    frames: int
    fps: float
    seconds: float
    codec: str
    has_audio: bool


def probe(path: PathLike, fps: float | None = None) -> ClipInfo:
    """Tell size, length and codec of a clip, animated GIF, image or sequence; at most its first frame is decoded.

    `fps` is the rate of a sequence whose first image has no recipe that tells it; nothing else needs it.
    Raises MediaError for a file that is missing, not media, damaged, cut off, without images, or with
    a side of more than `MAX_SIDE` pixels. Length is not limited here: `read_clip` can take
    a piece of a long clip.
    """
    if is_sequence(path):
        return _probe_sequence(path, rate_of(path, fps))
    if sniff(path) in IMAGES:
        return _probe_image(path)
    with opened(path) as container:
        stream = _stream(container, path)
        frames, rate = _length(container, path)
        width, height = stream.width, stream.height
        container.seek(0)
        first = next(container.decode(stream), None)
        if first is None:
            raise MediaError(f"{path} holds a video stream without a single frame.")
        if first.rotation % 180:
            width, height = height, width
        return ClipInfo(
            width,
            height,
            frames,
            float(rate),
            float(frames / rate),
            stream.codec.name,
            bool(container.streams.audio),
        )


def read_clip(
    path: PathLike,
    max_frames: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    fps: float | None = None,
) -> Clip:
    """Read frames of a clip, animated GIF, image or sequence, from `start` seconds on, upright, as uint8 RGB.

    Reading ends after `seconds`, after `max_frames`, or with the clip, whichever comes first. Frames are
    taken as they come; the clip's `fps` is their mean rate, and the argument that of a sequence, as in
    `probe`. Images without colour tags are taken as BT.709 from 720 rows on and as BT.601 below, as
    players do.

    Raises MediaError as `probe`, and if more than `MAX_SECONDS` or `MAX_PIXELS` would be decoded, if `start`
    lies after the end, or if the clip changes its size.
    """
    if start < 0 or (seconds is not None and seconds <= 0) or (max_frames is not None and max_frames < 1):
        raise MediaError(
            f"cannot read from {start} s on for {seconds} s and {max_frames} frames: "
            "start must be at least 0, the others more than 0."
        )
    info = probe(path, fps)
    first = _index(start, info.fps)
    if first >= info.frames:
        raise MediaError(f"{path} lasts {info.seconds:.2f} s, so it cannot be read from {start} s on.")
    count = info.frames - first
    if seconds is not None:
        count = min(count, max(1, _index(seconds, info.fps)))
    if max_frames is not None:
        count = min(count, max_frames)
    _check_budget(path, info, count)
    if is_sequence(path):
        shown = images_of(path)[first : first + count]
        return Clip(read_images(path, shown, (info.width, info.height)), info.fps)
    if sniff(path) in IMAGES:
        return Clip(_image_frames(path, first, count), info.fps)
    frames = np.empty((count, info.height, info.width, 3), np.uint8)
    read = 0
    with opened(path) as container:
        for frame in _frames_from(container, path, start, info.fps):
            frames[read] = _to_rgb(frame, path, (info.height, info.width))
            read += 1
            if read == count:
                break
    if not read:
        raise MediaError(f"{path} has no frame from {start} s on.")
    return Clip(frames[:read], info.fps)


def stream_clip(path: PathLike, piece: int = 64) -> Iterator[np.ndarray]:
    """Read all frames of a clip of any length in pieces of at most `piece`, uint8 (n, H, W, 3), upright.

    Pieces of large frames are shorter, so that memory is bounded whatever the clip. Colours as `read_clip`; `probe`
    tells the rate. Raises MediaError as `probe`, and on the way where the clip is damaged or changes its size.
    """
    if piece < 1:
        raise MediaError(f"cannot read pieces of {piece} frames: at least 1.")
    # How fast images follow one another does not matter here.
    info = _probe_sequence(path, 1.0) if is_sequence(path) else probe(path)
    count = max(1, min(piece, _PIECE_PIXELS // (info.width * info.height)))
    if is_sequence(path):
        images = images_of(path)
        for first in range(0, info.frames, count):
            yield read_images(path, images[first : first + count], (info.width, info.height))
        return
    if sniff(path) in IMAGES:
        for first in range(0, info.frames, count):
            yield _image_frames(path, first, min(count, info.frames - first))
        return
    with opened(path) as container:
        frames = _frames_from(container, path, 0.0, info.fps)
        while part := list(islice(frames, count)):
            yield np.stack([_to_rgb(frame, path, (info.height, info.width)) for frame in part])


@contextmanager
def opened(path: PathLike) -> Generator[InputContainer]:
    """Open a clip with the demuxer of its kind; whatever breaks, here or in the caller, is a MediaError."""
    kind = sniff(path)
    if kind in IMAGES:
        raise MediaError(f"{path} is an image, not a clip.")
    check_whole(path, kind)
    options = {
        "protocol_whitelist": "file",
        "max_pixels": str(MAX_SIDE * MAX_SIDE),  # also stops a stream that is larger than its header says
        "threads": "2",
    }
    with (
        reading(path, MediaError, "is a damaged clip", "Copy, download or export it again."),
        av.open(f"file:{Path(path).absolute()}", format=kind, options=options) as container,
    ):
        yield container


def _stream(container: InputContainer, path: PathLike) -> av.VideoStream:
    if not container.streams.video:
        found = "only audio" if container.streams.audio else "no stream"
        raise MediaError(f"{path} holds no video, {found}. Give a file with images.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise MediaError(f"{path} uses a codec that cannot be decoded here. Convert it to H.264.")
    if max(stream.width, stream.height) > MAX_SIDE or min(stream.width, stream.height) < 1:
        raise MediaError(
            f"{path} claims {stream.width}x{stream.height}; sides from 1 to {MAX_SIDE} pixels are read. "
            "Scale it first."
        )
    stream.thread_type = "AUTO"
    return stream


def _length(container: InputContainer, path: PathLike) -> tuple[int, Fraction]:
    """Frames and rate: from the header, or by counting packets (no decoding) where the header has none."""
    stream = container.streams.video[0]
    frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
    rate = stream.average_rate or stream.guessed_rate
    if not frames or not rate or not 0 < rate <= 1000:
        raise MediaError(f"{path} has no usable length: {frames} frames at {rate} a second.")
    return frames, Fraction(rate)


def _check_budget(path: PathLike, info: ClipInfo, count: int) -> None:
    seconds = count / info.fps
    pixels = count * info.width * info.height
    if seconds <= MAX_SECONDS and pixels <= MAX_PIXELS:
        return
    most = int(min(MAX_SECONDS * info.fps, MAX_PIXELS // (info.width * info.height)))
    raise MediaError(
        f"{path}: {count} frames of {info.width}x{info.height} ({seconds:.0f} s, {pixels / 1e9:.1f} Gpx) "
        f"are too much to read at once; limits: {MAX_SECONDS:.0f} s and {MAX_PIXELS / 1e9:.0f} gigapixels. "
        f"Read at most {most} frames, or cut or scale the clip first."
    )


def _frames_from(
    container: InputContainer, path: PathLike, start: float, fps: float
) -> Iterator[av.VideoFrame]:
    """Decode from the key frame before `start` and drop what lies before it."""
    stream = _stream(container, path)
    origin = stream.start_time * stream.time_base if stream.start_time and stream.time_base else 0
    wanted = float(origin) + start - 0.5 / fps
    if start:
        container.seek(int((float(origin) + start) * av.time_base), backward=True)
    for index, frame in enumerate(container.decode(stream)):
        if not start or frame.time is None or frame.time >= wanted:
            yield frame
        elif index > MAX_SECONDS * fps + MAX_PIXELS / (frame.width * frame.height):
            raise MediaError(
                f"{path} has no key frame within {MAX_SECONDS:.0f} s before {start} s. Cut it first."
            )


def _to_rgb(frame: av.VideoFrame, path: PathLike, shape: tuple[int, int]) -> np.ndarray:
    source = frame.colorspace
    if source == _UNSPECIFIED and frame.height >= 720:
        source = _BT709
    rgb = frame.reformat(format="rgb24", src_colorspace=source, interpolation=EXACT).to_ndarray()
    rgb = np.rot90(rgb, (round(frame.rotation / 90)) % 4)  # FFmpeg and numpy both count counter-clockwise
    if rgb.shape[:2] != shape:
        raise MediaError(
            f"{path} changes its size on the way, from {shape[::-1]} to {rgb.shape[1::-1]} (width, height). "
            "Convert it to one size first."
        )
    return rgb


def _index(seconds: float, fps: float) -> int:
    return round(seconds * fps)


def _probe_image(path: PathLike) -> ClipInfo:
    with still.opened(path) as image:
        frames = getattr(image, "n_frames", 1)
        kind = str(image.format).lower()
        width, height = image.size
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # EXIF orientation: a quarter turn
            width, height = height, width
        if max(width, height) > MAX_SIDE:
            raise MediaError(
                f"{path} is {width}x{height}; sides up to {MAX_SIDE} pixels are read. Scale it first."
            )
        seconds = 0.0
        for index in range(frames if frames * width * height <= MAX_PIXELS else 1):
            image.seek(index)
            seconds += image.info.get("duration", 0) / 1000
    fps = frames / seconds if seconds > 0 else _STILL_FPS
    return ClipInfo(width, height, frames, fps, frames / fps, kind, False)


def _probe_sequence(path: PathLike, fps: float) -> ClipInfo:
    images = images_of(path)
    info = _probe_image(images[0])
    count = len(images)
    return ClipInfo(info.width, info.height, count, fps, count / fps, info.codec, has_audio=False)


def _image_frames(path: PathLike, first: int, count: int) -> np.ndarray:
    frames = []
    with still.opened(path) as image:
        for index in range(first, first + count):
            image.seek(index)
            frames.append(still.decode(image.copy() if count > 1 else image))
    return np.stack(frames)
