"""Look at a file that a stranger sent, in a process of its own with little memory:
`python -m wan22.server.checking TASK FILE`. The task is to look at it, or to take something out (extracting.py).

What it is comes from its content, never from its name. Size, frames and length come from its header and are held to the
limits before anything is decoded; then a little of it is decoded. One JSON object goes to stdout: what it is, or an
`error` with its `code`: "media_type", "media_size", "media_damaged", or "option" for what is asked of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from av.stream import Disposition

from wan22.errors import MediaError, MediaSizeError, MediaTypeError, OptionError, OutputError
from wan22.files import check_file
from wan22.media import video
from wan22.media.audio import AudioReader
from wan22.media.file_types import AUDIO, IMAGES, audio_file_type, file_type
from wan22.media.opening import check_sides, open_clip, open_image, video_stream

MAX_IMAGE_PIXELS = 40_000_000
MAX_VIDEO_PIXELS = 2_000_000_000
"""Width x height x frames."""
MAX_VIDEO_SECONDS = 600.0
MAX_AUDIO_SECONDS = 3600.0

MEMORY = 384 << 20
"""Bytes of address space beyond what the process has when its libraries are loaded."""
CPU_SECONDS = 60

_TRIED_PIXELS, _TRIED_FRAMES, _TRIED_SECONDS = 64_000_000, 24, 2.0  # of what is decoded

_MEDIA_TYPES = {
    "png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif", "bmp": "image/bmp",
    "tiff": "image/tiff", "avif": "image/avif", "heif": "image/heif",
    "avi": "video/x-msvideo",
    "wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg", "aac": "audio/aac",
    "aiff": "audio/aiff",
}  # fmt: skip


def look(path: Path) -> dict[str, Any]:
    """Tell what a file is: media `type`, and `width`, `height`, `frames`, `fps`, `seconds` of what it has.

    Raises MediaTypeError for what is no media, MediaSizeError for what is beyond the limits, MediaError for damage.
    """
    if not check_file(path).stat().st_size:
        raise MediaError(f"{path} is empty (0 bytes). Copy or download it again.")
    try:
        kind = file_type(path)
    except MediaTypeError as error:
        try:
            kind = audio_file_type(path)
        except MediaTypeError:
            raise error from None
    if kind in AUDIO:
        return _audio(path, _MEDIA_TYPES[kind])
    if kind in IMAGES:
        return _image(path, kind)
    if not _has_images(path):
        return _audio(path, _container_type(path, kind, "audio"))
    return _video(path, _container_type(path, kind, "video"))


def _container_type(path: Path, kind: str, what: str) -> str:
    """The media type of a container, whose brand or document type says which of its family it is."""
    if kind == "avi":
        return _MEDIA_TYPES[kind]
    with path.open("rb") as file:
        head = file.read(64)
    if kind == "matroska":
        return f"{what}/webm" if b"webm" in head else f"{what}/x-matroska"
    return "video/quicktime" if what == "video" and head[8:12] == b"qt  " else f"{what}/mp4"


def _has_images(path: Path) -> bool:
    """Whether a clip has images that move; the cover of a song is none."""
    with open_clip(path) as container:
        return any(not each.disposition & Disposition.attached_pic for each in container.streams.video)


def _image(path: Path, kind: str) -> dict[str, Any]:
    with open_image(path, MAX_IMAGE_PIXELS) as image:
        width, height = image.size
        moves = kind in ("gif", "webp", "png", "avif") and getattr(image, "n_frames", 1) > 1
        if moves:
            check_sides(image.size, path)
            _check_video(path, (width, height), getattr(image, "n_frames", 1), 0.0)
        else:
            image.load()
    if moves:
        return _video(path, _MEDIA_TYPES[kind])
    return {"type": _MEDIA_TYPES[kind], "width": width, "height": height}


def _video(path: Path, media_type: str) -> dict[str, Any]:
    if file_type(path) not in IMAGES or media_type == "image/gif":
        with open_clip(path) as container:
            stream = video_stream(container, path)
            _check_video(
                path, (stream.width, stream.height), stream.frames, (container.duration or 0) / 1_000_000
            )
    source = video.look(path)
    info = source.info
    _check_video(path, source.size, info.frames, info.seconds)
    tried = max(1, min(_TRIED_FRAMES, _TRIED_PIXELS // (info.width * info.height)))
    if not sum(1 for _ in islice(source.frames_from(0.0), tried)):
        raise MediaError(f"{path} holds no frame that can be decoded. Export it again.")
    return {
        "type": media_type, "width": info.width, "height": info.height, "frames": info.frames, "fps": info.fps,
        "seconds": info.seconds,
    }  # fmt: skip


def _check_video(path: Path, size: tuple[int, int], frames: int, seconds: float) -> None:
    pixels = size[0] * size[1] * frames
    if pixels > MAX_VIDEO_PIXELS:
        raise MediaSizeError(
            f"{path} has {frames:,} frames of {size[0]}x{size[1]}, {pixels / 1e9:.1f} gigapixels; "
            f"the limit is {MAX_VIDEO_PIXELS / 1e9:g}. Cut or scale it first."
        )
    if seconds > MAX_VIDEO_SECONDS:
        raise MediaSizeError(
            f"{path} lasts {seconds:,.0f} s; the limit is {MAX_VIDEO_SECONDS:g} s. Cut it first."
        )


def _audio(path: Path, media_type: str) -> dict[str, Any]:
    reader = AudioReader(path)
    seconds = reader.info.seconds
    if seconds > MAX_AUDIO_SECONDS:
        raise MediaSizeError(
            f"{path} lasts {seconds:,.0f} s; the limit is {MAX_AUDIO_SECONDS:g} s. Cut it first."
        )
    for _ in reader.pieces(seconds=min(_TRIED_SECONDS, seconds)):
        pass
    return {"type": media_type, "seconds": seconds}


def bound(written: int) -> None:
    """Limit this process: address space, processor time, and the bytes of a file that it writes."""
    with suppress(ImportError):  # Windows knows no such limits
        import resource

        pages = (
            int(Path("/proc/self/statm").read_text().split()[0])
            if Path("/proc/self/statm").exists()
            else None
        )
        limits = [
            (resource.RLIMIT_CPU, CPU_SECONDS),
            (resource.RLIMIT_FSIZE, written),
            (resource.RLIMIT_CORE, 0),
        ]
        if pages is not None:
            limits.append((resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY))
        for name, most in limits:
            hard = resource.getrlimit(name)[1]
            resource.setrlimit(name, (most if hard < 0 else min(most, hard), hard))


def peak() -> int:
    """The most bytes of memory that this process had; 0 where that is not known."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
    return 0


def _code(error: Exception) -> str:
    if isinstance(error, MediaTypeError):
        return "media_type"
    too_large = isinstance(error, MediaSizeError) or isinstance(error.__cause__ or error, MemoryError)
    return "media_size" if too_large else "media_damaged"


def main() -> None:
    """Do one task with one file, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("look", "frame", "recipe", "peaks", "stills"))
    parser.add_argument("path", type=Path)
    parser.add_argument("place", type=Path, nargs="?", help="where images are written")
    parser.add_argument("which", nargs="?", default="first", help="of the frames: first, last or a number")
    asked = parser.parse_args()
    from wan22.server import extracting

    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        "look": lambda: look(asked.path),
        "frame": lambda: look(asked.path) | extracting.frame(asked.path, asked.place, asked.which),
        "recipe": lambda: extracting.recipe(asked.path),
        "peaks": lambda: extracting.peaks(asked.path),
        "stills": lambda: extracting.stills(asked.path, asked.place),
    }
    bound(0 if asked.place is None else 128 << 20)
    try:
        found = tasks[asked.task]()
    except OptionError as error:
        found = {"error": str(error), "code": "option"}
    except (MediaError, OutputError, MemoryError) as error:
        found = {"error": str(error) or "it asks for more memory than there is", "code": _code(error)}
    sys.stdout.write(json.dumps(found | {"peak": peak()}) + "\n")


if __name__ == "__main__":
    main()
