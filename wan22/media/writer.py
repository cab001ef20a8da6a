"""Write videos: frame by frame in, one finished file (or folder of images) out.

Images go through an encoder as they come; the small encoded packets wait in memory and the file is written
at the end. So its recipe may be known last, and a video that is given up leaves nothing on the disk. Files repeat as
far as their encoders do: one encoder thread, no dates, no random numbers. What is promised is the image: the recipe
holds the hash of the frames that went in.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import av.filter
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Interpolation

from wan22.errors import OptionError, OutputError, SizeError, choose
from wan22.media import output_paths
from wan22.media.file_types import PathLike
from wan22.media.image import save
from wan22.media.recipe import RECIPE_KEY, dump_comment, dump_recipe

_TV_RANGE, _BT709 = 1, 1  # ITU-T H.273: limited range; matrix, primaries and transfer of BT.709

EXACT = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
"""Flags for every change of pixel format. FFmpeg 8's fast paths repeat chroma instead of interpolating it
(14 dB worse on a smooth image), and those to 10 bits write random pixels at the right edge of widths that
are no multiple of 32."""

MIN_SIDE, MAX_SIDE = 16, 4096  # x265 breaks down below 16

QUALITIES = ("high", "good", "draft")

HEVC_TAG = "hvc1"
"""Apple's players know HEVC in mp4 only by this name."""


@dataclass(frozen=True)
class Codec:
    """How one codec is asked for exact sizes, high quality and repeatable bytes."""

    encoder: str
    even: str
    """Pixel format for even sizes: what every player shows."""
    odd: str
    """Pixel format for odd sizes, so that no row or column is cut or added."""
    crf: tuple[int, ...]
    """Constant rate factor for each of QUALITIES; empty if the codec has none."""
    options: dict[str, str]


# Without cutree=0, x265 4.1 writes past its buffers when the image is small.
_X265 = "log-level=none:pools=none:frame-threads=1:cutree=0"
CODECS = {
    # With its macroblock tree, x264 165 gives other packets for equal images where a row is not a multiple of 256
    # wide (it reads beyond the row's end); without it, files repeat.
    "h264": Codec(
        "libx264", "yuv420p", "yuv444p", (12, 18, 28), {"preset": "medium", "x264-params": "mbtree=0"}
    ),
    "hevc": Codec("libx265", "yuv420p", "yuv444p", (13, 20, 30), {"preset": "fast", "x265-params": _X265}),
    "av1": Codec("libsvtav1", "yuv420p", "yuv420p", (18, 28, 40), {"preset": "8", "svtav1-params": "lp=1"}),
    "vp9": Codec("libvpx-vp9", "yuv420p", "yuv420p", (15, 24, 36), {"b:v": "0", "cpu-used": "4"}),
    # Without a profile named, the encoder takes 422 HQ, and 4444 for the 4:4:4 pixels of odd sizes.
    "prores": Codec("prores_ks", "yuv422p10le", "yuv444p10le", (), {"vendor": "apl0"}),
    "gif": Codec("gif", "pal8", "pal8", (), {}),
}
CONTAINERS = {  # the first codec is the default
    "mp4": ("h264", "hevc", "av1"),
    "mov": ("prores", "h264", "hevc"),
    "webm": ("vp9", "av1"),
    "gif": ("gif",),
    output_paths.SEQUENCE: ("png",),
}
MUX_OPTIONS = {
    # Without use_metadata_tags the recipe is lost silently; faststart lets a player begin before the end.
    "mp4": {"movflags": "use_metadata_tags+faststart", "fflags": "+bitexact"},
    "mov": {"movflags": "use_metadata_tags+faststart", "fflags": "+bitexact"},
    "webm": {"fflags": "+bitexact"},
    "gif": {"fflags": "+bitexact"},
}


@dataclass(frozen=True)
class Encoding:
    """What a video is encoded as: a container, a codec, and what the encoder is told."""

    kind: str
    codec: str
    quality: str
    rate: Fraction
    size: tuple[int, int]
    """Width, height."""

    @classmethod
    def of(
        cls, path: PathLike, fps: float | Fraction, size: tuple[int, int], quality: str, codec: str | None
    ) -> Encoding:
        """Check what was asked, as VideoWriter says; the extension of `path` names the container."""
        kind = output_paths.target_kind(path)
        if kind not in CONTAINERS:
            raise OutputError(
                f"{path} names one image, not a video. Use {', '.join(output_paths.VIDEO_KINDS)}, "
                "a folder ending in '/', or a name like shot-%04d.png; write_image writes one image."
            )
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
            raise SizeError(
                f"a video of {size[0]}x{size[1]} cannot be written; sides are {MIN_SIDE} to {MAX_SIDE} pixels."
            )
        choose("quality", quality, QUALITIES)
        codec = CONTAINERS[kind][0] if codec is None else choose(f"codec for {kind}", codec, CONTAINERS[kind])
        return cls(kind, codec, quality, _rate(fps, kind), size)

    def checked(self, frames: np.ndarray) -> np.ndarray:
        """Return uint8 frames (T, H, W, 3), or one (H, W, 3), as (T, H, W, 3). Raises ValueError for others."""
        frames = frames[None] if frames.ndim == 3 else frames
        width, height = self.size
        if frames.dtype != np.uint8 or frames.shape[1:] != (height, width, 3):
            raise ValueError(
                f"frames must be uint8 (T, {height}, {width}, 3), not {frames.dtype} {frames.shape}"
            )
        return frames


class _Sink(Protocol):
    """Takes checked uint8 frames one at a time; `finish` puts everything on the disk, `discard` nothing."""

    def add(self, frame: np.ndarray) -> None: ...

    def finish(self, recipe: dict[str, Any] | None) -> None: ...

    def discard(self) -> None: ...


class VideoWriter:
    """Write uint8 RGB frames to a video; the extension says how.

    .mp4 H.264 (or codec="hevc", "av1") · .mov ProRes 422 HQ (or "h264", "hevc") · .webm VP9 (or "av1") · .gif
    PNG sequence: a folder, written "folder/", or a name with a number pattern, "shot-%04d.png"; it replaces
    a former sequence of that name.

    `size` is (width, height), 16 to 4096 pixels, odd sizes included: the decoded video has exactly that size.
    `fps` is exact for an int or Fraction; a float is taken as the nearest fraction with a denominator of at
    most 1001. GIF and WebM round times to 1/100 and 1/1000 s.

        with VideoWriter("out.mp4", fps=24, size=(832, 480)) as writer:
            for frames in pieces:          # uint8 (T, H, W, 3)
                writer.add(frames)
            writer.close(recipe)           # optional: the recipe may be known only now

    Leaving the block after an exception leaves no file. An old file of that name stays until the new one is
    complete. Raises OutputError if the place cannot be written, OptionError for an unknown codec or quality
    or an impossible rate, SizeError for an impossible size.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        fps: float | Fraction,
        size: tuple[int, int],
        recipe: dict[str, Any] | None = None,
        quality: str = "high",
        codec: str | None = None,
    ) -> None:
        encoding = Encoding.of(path, fps, size, quality, codec)
        output_paths.check_output(path, bytes_needed=0)
        self.path = Path(path)
        self.frames = 0
        self._encoding = encoding
        self._recipe = recipe
        self._open = True
        self._sink: _Sink = (
            _Images(path) if encoding.kind == output_paths.SEQUENCE else _Video(self.path, encoding)
        )

    def add(self, frames: np.ndarray) -> None:
        """Add uint8 frames (T, H, W, 3) or one frame (H, W, 3) of exactly the size given at the beginning."""
        if not self._open:
            raise ValueError(f"the writer of {self.path} is closed")
        frames = self._encoding.checked(frames)
        try:
            for frame in frames:
                self._sink.add(frame)
                self.frames += 1
        except BaseException as error:
            self.abort()
            if isinstance(error, (OSError, av.error.FFmpegError)):
                raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error
            raise

    def close(self, recipe: dict[str, Any] | None = None) -> None:
        """Finish the file and put it in its place, with `recipe` inside (or the one given at the beginning).

        A second call does nothing. Raises OutputError if there were no frames, or if writing fails.
        """
        if not self._open:
            return
        if not self.frames:
            self.abort()
            raise OutputError(f"{self.path} was not written: there was not a single frame.")
        self._open = False
        try:
            self._sink.finish(recipe if recipe is not None else self._recipe)
        except (OSError, av.error.FFmpegError) as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        finally:
            self._sink.discard()

    def abort(self) -> None:
        """Give the video up: nothing of it stays on the disk. A finished video stays."""
        if self._open:
            self._open = False
            self._sink.discard()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _rate(fps: float | Fraction, kind: str) -> Fraction:
    try:
        rate = fps if isinstance(fps, Fraction) else Fraction(fps).limit_denominator(1001)
    except (ValueError, OverflowError, TypeError):
        rate = Fraction(0)
    most = 50 if kind == "gif" else 240  # browsers slow a GIF down that asks for more
    if not Fraction(1, 10) <= rate <= most:
        raise OptionError(f"a {kind} cannot have {fps} frames a second; 0.1 to {most} can be written.")
    return rate


def _encoder_options(codec: Codec, quality: str) -> dict[str, str]:
    crf = {"crf": str(codec.crf[QUALITIES.index(quality)])} if codec.crf else {}
    return codec.options | crf


class Encoder:
    """The encoder of one stream in `container`: uint8 frames (H, W, 3) in, packets out; times count frames."""

    def __init__(self, container: OutputContainer, encoding: Encoding) -> None:
        if encoding.codec == "av1":
            os.environ.setdefault("SVT_LOG", "1")  # its encoder prints a banner; there is no other switch
        row = CODECS[encoding.codec]
        width, height = encoding.size
        pixels = row.odd if width % 2 or height % 2 else row.even
        self._rate, self._count = encoding.rate, 0
        self._convert = _Palette(encoding.size, self._rate) if encoding.kind == "gif" else _Yuv(pixels)
        options = _encoder_options(row, encoding.quality)
        stream = container.add_stream(row.encoder, rate=self._rate, options=options)
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        stream.width, stream.height = width, height
        stream.pix_fmt = pixels
        context = stream.codec_context
        context.thread_count = 1  # the number of threads changes the bytes of some encoders
        if encoding.codec == "hevc":
            context.codec_tag = HEVC_TAG
        if encoding.kind != "gif":
            context.color_range = _TV_RANGE
            context.colorspace = context.color_primaries = context.color_trc = _BT709

    def encode(self, frame: np.ndarray) -> list[av.Packet]:
        """Take the next frame; packets come when the encoder has seen enough."""
        image = self._convert(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
        image.pts, image.time_base, image.duration = self._count, 1 / self._rate, 1
        self._count += 1
        return self._stream.encode(image)

    def flush(self) -> list[av.Packet]:
        """Return the packets that are still missing. No frame can follow."""
        return self._stream.encode(None)


class _Video:
    """An encoder, and its packets in memory until the recipe is known."""

    def __init__(self, target: Path, encoding: Encoding) -> None:
        self._target, self._kind, self._codec = target, encoding.kind, encoding.codec
        self._packets: list[av.Packet] = []
        # PyAV creates the file with the first packet that is muxed: nothing is on the disk until `finish`.
        self._part = output_paths.hidden(target)
        self._container = av.open(str(self._part), "w", format=self._kind, options=MUX_OPTIONS[self._kind])
        self._encoder = Encoder(self._container, encoding)

    def add(self, frame: np.ndarray) -> None:
        self._packets += self._encoder.encode(frame)

    def finish(self, recipe: dict[str, Any] | None) -> None:
        self._packets += self._encoder.flush()
        if self._codec == "hevc":
            _stamp(self._packets)
        if recipe is not None and self._kind != "gif":
            self._container.metadata[RECIPE_KEY] = dump_recipe(recipe)
        with output_paths.written(self._target, self._part) as part:
            for packet in self._packets:
                self._container.mux(packet)
            self._container.close()
            if recipe is not None and self._kind == "gif":
                _insert_comment(part, dump_comment(recipe))

    def discard(self) -> None:
        self._packets.clear()
        with suppress(OSError, av.error.FFmpegError):  # after a failure it cannot write its index
            self._container.close()
        self._part.unlink(missing_ok=True)


def _stamp(packets: list[av.Packet]) -> None:
    """Count decoding times anew: x265 leaves them unset, random, when a video is shorter than its look-ahead."""
    delay = max(index - (packet.pts or 0) for index, packet in enumerate(packets))
    for index, packet in enumerate(packets):
        packet.dts = index - delay


class _Yuv:
    """RGB to the encoder's pixel format, by the same matrix and range that the file is tagged with."""

    def __init__(self, pixels: str) -> None:
        self._pixels = pixels

    def __call__(self, image: av.VideoFrame) -> av.VideoFrame:
        return image.reformat(
            format=self._pixels, dst_colorspace=_BT709, dst_color_range=_TV_RANGE, interpolation=EXACT
        )


class _Palette:
    """RGB to 256 colours, chosen for each frame; ordered dither, which does not crawl between frames."""

    def __init__(self, size: tuple[int, int], rate: Fraction) -> None:
        self._graph = graph = av.filter.Graph()
        source = graph.add_buffer(
            width=size[0], height=size[1], format=av.VideoFormat("rgb24"), time_base=1 / rate
        )
        split = graph.add("split")
        choose_colours = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        use_colours = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(use_colours, 0, 0)
        split.link_to(choose_colours, 1, 0)
        choose_colours.link_to(use_colours, 0, 1)
        use_colours.link_to(sink)
        graph.configure()
        self._time_base = 1 / rate
        self._count = 0

    def __call__(self, image: av.VideoFrame) -> av.VideoFrame:
        image.pts, image.time_base = self._count, self._time_base
        self._count += 1
        self._graph.push(image)
        coloured = self._graph.pull()
        assert isinstance(coloured, av.VideoFrame)
        return coloured


def _insert_comment(path: Path, comment: bytes) -> None:
    """Put a comment extension (GIF89a, section 24) behind the header and its colour table."""
    content = path.read_bytes()
    table = 3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0
    blocks = [comment[at : at + 255] for at in range(0, len(comment), 255)]
    extension = b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\x00"
    path.write_bytes(content[: 13 + table] + extension + content[13 + table :])


class _Images:
    """Numbered PNG files, kept in a hidden folder until all are there; the recipe is in the first."""

    def __init__(self, path: PathLike) -> None:
        self._path = path
        self._folder, self._name = output_paths.split_sequence(path)
        self._first: np.ndarray | None = None
        self._count = 0
        self._made = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._part = output_paths.hidden(self._folder / "frames")
        self._part.mkdir()

    def add(self, frame: np.ndarray) -> None:
        if self._first is None:
            self._first = frame.copy()  # written last, with the recipe
        else:
            save(self._part / (self._name % self._count), frame, "png", None)
        self._count += 1

    def finish(self, recipe: dict[str, Any] | None) -> None:
        assert self._first is not None
        save(self._part / (self._name % 0), self._first, "png", recipe)
        names = [self._name % index for index in range(self._count)]
        for name in names:
            output_paths.sync(self._part / name)
        for old in output_paths.numbered(self._path):
            if old.name not in names:
                old.unlink()  # the tail of a longer video would become a part of this one
        for name in names:
            (self._part / name).replace(self._folder / name)
        output_paths.sync(self._folder)
        self._made = False

    def discard(self) -> None:
        shutil.rmtree(self._part, ignore_errors=True)
        if self._made and not any(self._folder.iterdir()):
            self._folder.rmdir()
