"""What a timeline can be delivered as: containers, codecs, sizes of platforms."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from wan22.errors import OptionError, OutputError, choose
from wan22.files import PathLike
from wan22.media.encoding import Encoding
from wan22.media.output_paths import SEQUENCE, target_kind

__all__ = ["FORMATS", "RATIOS", "Format", "format_of", "size_of"]


@dataclass(frozen=True)
class Format:
    """One way to deliver: the file's suffix, the codec of its images ("" for audio alone), and whether it has audio."""

    suffix: str
    codec: str
    what: str
    audio: bool = True
    deep: bool = False

    def encoding(self, target: PathLike, rate: Fraction, size: tuple[int, int], quality: str) -> Encoding:
        """How images are encoded. Raises OptionError, SizeError or OutputError for what cannot be."""
        asked = Encoding.of(target, rate, size, quality, None if self.codec == "png" else self.codec)
        return Encoding(asked.kind, asked.codec, quality, asked.rate, size, self.deep)


FORMATS = {
    "h264": Format(".mp4", "h264", "H.264 and AAC in mp4: plays everywhere"),
    "hevc": Format(".mp4", "hevc", "HEVC of 10 bits and AAC in mp4", deep=True),
    "av1": Format(".mp4", "av1", "AV1 and AAC in mp4"),
    "prores": Format(".mov", "prores", "ProRes 422 HQ and AAC in mov, for editors"),
    "webm": Format(".webm", "vp9", "VP9 and Opus in WebM"),
    "gif": Format(".gif", "gif", "an animated GIF, without audio", audio=False),
    "png": Format("/", "png", "numbered PNG images, without audio", audio=False),
    "wav": Format(".wav", "", "the audio alone, 48 kHz, 24 bits"),
}

RATIOS = ("16:9", "9:16", "1:1", "4:5")
"""Shapes that platforms ask for; others can be given too."""


def format_of(target: PathLike, asked: str | None) -> Format:
    """The format that was asked, or that the target's name says; OptionError or OutputError if they do not agree."""
    if asked is not None:
        choose("format", asked, tuple(FORMATS))
    suffix = Path(target).suffix.lower()
    if suffix == ".wav":
        kind = ".wav"
    else:
        kind = target_kind(target)
        kind = "/" if kind == SEQUENCE else f".{kind}"
    fitting = [name for name, each in FORMATS.items() if each.suffix == kind]
    if not fitting:
        raise OutputError(f"{target} names one image. {_endings()}")
    if asked is None:
        return FORMATS[fitting[0]]
    if asked not in fitting:
        raise OptionError(f"{target} cannot be of the format {asked}. {_endings()}")
    return FORMATS[asked]


def _endings() -> str:
    names = {name: each.suffix for name, each in FORMATS.items()}
    return "Endings: " + ", ".join(f"{name} {ending}" for name, ending in names.items()) + "."


def size_of(asked: str | None, own: tuple[int, int]) -> tuple[int, int]:
    """The size of what is delivered: as asked, "1080x1920" or a shape such as "9:16", or the timeline's `own`.

    Of a shape, the shorter side is the timeline's shorter side; both are even. Raises OptionError for another text.
    """
    if asked is None:
        return own
    for sign in "x:":
        first, found, second = asked.lower().partition(sign)
        if not (found and first.strip().isdecimal() and second.strip().isdecimal()):
            continue
        width, height = int(first), int(second)
        if not (0 < width <= 10_000 and 0 < height <= 10_000):
            break
        if sign == "x":
            return width, height
        short = min(own)
        scale = Fraction(short, min(width, height))
        return _even(width * scale), _even(height * scale)
    raise OptionError(
        f"a size is WIDTHxHEIGHT in pixels or a shape such as {', '.join(RATIOS)}; not {asked!r}"
    )


def _even(side: Fraction) -> int:
    return max(2, 2 * round(side / 2))
