"""Open the media of strangers: the kind is told from the bytes, and sizes are checked from the header.

The decoder of that kind is forced, no protocol but `file` is allowed, and whatever breaks is a MediaError.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from PIL import Image

from wan22.errors import MediaError, MediaSizeError, MediaTypeError
from wan22.files import PathLike, reading
from wan22.media.file_types import IMAGES, check_whole, file_type

MAX_SIDE = 4096
"""Longest side of a clip's frame in pixels."""

MAX_IMAGE_PIXELS = 110_000_000
"""Largest image that is decoded, width x height: the photographs of 108-megapixel phones."""


@contextmanager
def open_image(path: PathLike, most: int = MAX_IMAGE_PIXELS) -> Generator[Image.Image]:
    """Open an image: only its header is read, and its size is held to `most` pixels, before the caller decodes.

    Raises MediaError for anything that goes wrong, here or while the caller decodes.
    """
    kind = file_type(path)
    if kind not in IMAGES:
        raise MediaTypeError(
            f"{path} is a clip, not an image. Give it as the video, or save one frame as PNG."
        )
    check_whole(path, kind)
    what, remedy = f"cannot be read as {kind.upper()}", "Copy, download or export it again."
    # Pillow warns of what is refused below anyway (size) or does no harm (odd EXIF).
    with reading(path, MediaError, what, remedy), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "heif":
            from pillow_heif import register_heif_opener

            register_heif_opener(thumbnails=False)
        try:
            with Image.open(path, formats=[kind]) as image:
                width, height = image.size
                if width * height > most:
                    claimed = f"{width}x{height}, {width * height / 1e6:.0f} megapixels"
                    raise MediaSizeError(_too_large(path, claimed, most))
                yield image
        except OSError as error:
            if "truncated" not in str(error):
                raise
            raise MediaError(f"{path} is cut off: {error}. {remedy}") from error
        except Image.DecompressionBombError:
            raise MediaSizeError(_too_large(path, "more than 178 megapixels", most)) from None


@contextmanager
def open_clip(path: PathLike) -> Generator[InputContainer]:
    """Open a clip or a GIF with the demuxer of its kind; whatever breaks, here or in the caller, is a MediaError."""
    kind = file_type(path)
    if kind in IMAGES and kind != "gif":
        raise MediaTypeError(f"{path} is an image, not a clip.")
    check_whole(path, kind)
    if kind == "gif":  # FFmpeg tells of one that is too large without its size
        with Path(path).expanduser().open("rb") as file:
            check_sides(struct.unpack("<HH", file.read(10)[6:].ljust(4, b"\0")), path)
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


def video_stream(container: InputContainer, path: PathLike) -> av.VideoStream:
    """The video stream of a clip. Raises MediaError if there is none, or if it is too large or cannot be decoded."""
    if not container.streams.video:
        found = "only audio" if container.streams.audio else "no stream"
        raise MediaError(f"{path} holds no video, {found}. Give a file with images.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise MediaError(f"{path} uses a codec that cannot be decoded here. Convert it to H.264.")
    check_sides((stream.width, stream.height), path)
    stream.thread_type = "AUTO"
    return stream


def check_sides(size: tuple[int, int], path: PathLike) -> None:
    """Raise MediaError for frames whose sides are not 1 to `MAX_SIDE` pixels."""
    if max(size) > MAX_SIDE or min(size) < 1:
        raise MediaSizeError(
            f"{path} claims {size[0]}x{size[1]}; sides from 1 to {MAX_SIDE} pixels are read. Scale it first."
        )


def _too_large(path: PathLike, what: str, most: int) -> str:
    return f"{path} claims {what}; the limit is {most // 1_000_000} megapixels. Scale it down first."
