"""Where a timeline goes: frames and audio in, one finished file (or folder of images) out.

Packets go to a hidden file as they come, so memory does not grow with length; the file gets its name when it is whole,
marked and signed. GIF and images are VideoWriter's.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from wan22.atomic import temporary_file
from wan22.files import PathLike
from wan22.media import output_paths
from wan22.media.audio_track import AudioEncoder, refused, writing
from wan22.media.encoding import Encoder, Encoding
from wan22.media.provenance import Marking, mark
from wan22.media.recipe_text import RECIPE_KEY, dump_recipe
from wan22.media.writer import VideoWriter
from wan22.timeline.mix import LAYOUT, SAMPLE_RATE

__all__ = ["Output", "audio_to", "images_to", "video_to"]

_REORDERED = 2
"""Frames that x265 shows later than it codes them, with its pyramid of B frames."""


class Output(Protocol):
    """Takes frames, uint8 (H, W, 3), and audio, float32 (n, 2), in the order of time."""

    place: str
    """The file's name; known at the end."""

    def image(self, frame: np.ndarray) -> None: ...

    def audio(self, samples: np.ndarray) -> None: ...


class _Video:
    """mp4, mov and webm, written as they grow."""

    place = ""

    def __init__(self, container: Any, target: Path, encoding: Encoding, *, audio: bool) -> None:
        self._container, self._target, self._encoding = container, target, encoding
        self._images = Encoder(container, encoding)
        self._sound = AudioEncoder(container, encoding.kind, SAMPLE_RATE, LAYOUT) if audio else None
        self._coded = 0

    def image(self, frame: np.ndarray) -> None:
        self._mux(self._images.encode(frame))

    def audio(self, samples: np.ndarray) -> None:
        assert self._sound is not None
        with refused(self._target):
            for packet in self._sound.encode(samples):
                self._container.mux(packet)

    def finish(self) -> None:
        self._mux(self._images.flush())
        if self._sound is not None:
            with refused(self._target):
                for packet in self._sound.finish():
                    self._container.mux(packet)

    def _mux(self, packets: list[av.Packet]) -> None:
        with refused(self._target):
            for packet in packets:
                if self._encoding.codec == "hevc":  # x265 leaves them unset where a video is short
                    packet.dts = self._coded - _REORDERED
                    self._coded += 1
                self._container.mux(packet)


@contextmanager
def video_to(
    target: PathLike,
    encoding: Encoding,
    recipe: dict[str, Any],
    *,
    audio: bool,
    existing: output_paths.Existing,
    marking: Marking | None,
) -> Generator[Output]:
    """Lend what writes mp4, mov or webm; `marking` None leaves the file unmarked."""
    path = Path(target)
    with temporary_file(path) as part:
        with writing(path, part, encoding.kind) as container:
            container.metadata[RECIPE_KEY] = dump_recipe(recipe)
            output = _Video(container, path, encoding, audio=audio)
            yield output
            output.finish()
        if marking is not None:
            mark(part, encoding.kind, recipe, marking)
        output.place = output_paths.publish_file(part, target, existing)


class _Images:
    """GIF, and numbered images."""

    place = ""

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer

    def image(self, frame: np.ndarray) -> None:
        self._writer.add(frame)

    def audio(self, samples: np.ndarray) -> None:
        raise ValueError("images have no audio")


@contextmanager
def images_to(
    target: PathLike,
    encoding: Encoding,
    recipe: dict[str, Any],
    *,
    existing: output_paths.Existing,
    marking: Marking | None,
) -> Generator[Output]:
    """Lend what writes a GIF or numbered images."""
    with VideoWriter(
        target,
        fps=encoding.rate,
        size=encoding.size,
        quality=encoding.quality,
        recipe=recipe,
        existing=existing,
        marking=Marking(on=False) if marking is None else marking,
    ) as writer:
        output = _Images(writer)
        yield output
        output.place = writer.close()


class _Audio:
    """WAV of 24 bits."""

    place = ""

    def __init__(self, container: Any, target: Path) -> None:
        self._container, self._target = container, target
        self._stream = container.add_stream("pcm_s24le", rate=SAMPLE_RATE, layout=LAYOUT)
        self._written = 0

    def image(self, frame: np.ndarray) -> None:
        raise ValueError("an audio file has no images")

    def audio(self, samples: np.ndarray) -> None:
        whole = np.clip(np.rint(samples.astype(np.float64) * (1 << 23)), -(1 << 23), (1 << 23) - 1)
        packed = np.ascontiguousarray(whole.astype(np.int32) << 8).reshape(1, -1)  # the upper 24 bits of 32
        frame = av.AudioFrame.from_ndarray(packed, format="s32", layout=LAYOUT)
        frame.sample_rate, frame.pts, frame.time_base = (
            SAMPLE_RATE,
            self._written,
            Fraction(1, SAMPLE_RATE),
        )
        self._written += len(samples)
        with refused(self._target):
            self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        with refused(self._target):
            self._container.mux(self._stream.encode(None))


@contextmanager
def audio_to(target: PathLike, *, existing: output_paths.Existing) -> Generator[Output]:
    """Lend what writes a WAV file; it carries no recipe."""
    path = Path(target)
    with temporary_file(path) as part:
        with refused(path):
            container = av.open(str(part), "w", format="wav", options={"fflags": "+bitexact"})
        try:
            output = _Audio(container, path)
            yield output
            output.finish()
            with refused(path):
                container.close()
        except BaseException:
            with suppress(OSError, av.error.FFmpegError):
                container.close()
            raise
        output.place = output_paths.publish_file(part, target, existing)
