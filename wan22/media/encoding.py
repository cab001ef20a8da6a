"""How videos are encoded: containers, codecs and their settings, and frames to packets.

Files repeat as far as their encoders do: one encoder thread, no dates, no random numbers; but for the signature
(provenance.py), which is another one each time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
import av.filter
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Interpolation

from wan22.errors import OptionError, OutputError, SizeError, choose
from wan22.files import PathLike
from wan22.media import output_paths

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
    deep: bool = False
    """10 bits a channel, where the codec's usual pixels have 8."""

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
        if encoding.deep and not pixels.endswith("10le"):
            pixels += "10le"
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
