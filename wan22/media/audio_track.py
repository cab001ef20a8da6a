"""Put an audio file under a finished video, in sync to the sample; images and recipe stay as they are.

The original audio is used, at its full rate and with its channels. Where the container takes its codec and
nothing is cut, its packets are copied; otherwise it is encoded once. Time is counted as players count it:
what an encoder puts in front (its delay) carries negative time stamps, which the containers turn into an
edit list (mp4, mov) or a codec delay (webm).
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer

from wan22.atomic import written
from wan22.errors import OptionError, OutputError
from wan22.media.audio import RESAMPLER, AudioReader
from wan22.media.encoding import MUX_OPTIONS
from wan22.media.file_types import PathLike, file_type
from wan22.media.opening import open_clip
from wan22.media.output_paths import target_kind
from wan22.media.video import probe

__all__ = ["AudioEncoder", "add_audio", "can_carry_audio", "moment", "moved", "refused", "writing"]

_LAYOUTS = (
    "mono",
    "stereo",
    "3.0",
    "quad",
    "5.0",
    "5.1",
    "6.1",
    "7.1",
)  # by channels; both encoders take them


@dataclass(frozen=True)
class _Track:
    """How a container of videos carries audio."""

    demuxer: str
    copied: tuple[str, ...]
    """Codecs that players of this container play, so that packets can be copied."""
    encoder: str
    rates: tuple[int, ...]
    """Rates that the encoder takes; audio of another rate is resampled to 48 kHz."""


_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_PCM = ("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le")
_TRACKS = {
    "mp4": _Track("mov", ("aac", "mp3"), "aac", _AAC_RATES),
    "mov": _Track("mov", ("aac", "mp3", "alac", *_PCM), "aac", _AAC_RATES),
    "webm": _Track("matroska", ("opus", "vorbis"), "libopus", (8000, 12000, 16000, 24000, 48000)),
}
_MADE_BY_MUXER = ("major_brand", "minor_version", "compatible_brands", "encoder")


def can_carry_audio(path: PathLike) -> bool:
    """Whether a video of this name can have audio: mp4, mov and webm can, GIF and images cannot."""
    return target_kind(path) in _TRACKS


def add_audio(
    video: PathLike,
    source: PathLike,
    output: PathLike,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    offset: float = 0.0,
) -> None:
    """Write `video` to `output` with the audio of `source` (an audio file or a clip) under it.

    `start` and `seconds` choose a piece of the audio, `offset` (seconds) delays it. Before and after it there
    is silence; it ends with the video. Audio that the video had is replaced. Images are not encoded again,
    and all metadata, the recipe among them, is kept. `output` may be `video`; it is replaced at the end, whole.

    Raises MediaError for a video or audio that cannot be read, OptionError for an impossible piece or offset,
    OutputError if `output` cannot carry audio, is of another container than `video`, or cannot be written.
    """
    kind = target_kind(output)
    if kind not in _TRACKS:
        raise OutputError(
            f"{output}: {kind} carries no audio. Use {', '.join(f'.{name}' for name in _TRACKS)}, "
            "or keep the audio in a file of its own."
        )
    track = _TRACKS[kind]
    if file_type(video) != track.demuxer:
        raise OutputError(
            f"{output} is to be {kind}, and {video} is not: images are copied, so the container must stay. "
            f"Name the output {Path(output).stem}{Path(video).suffix}."
        )
    reader = AudioReader(source)
    end = probe(video).seconds
    if not 0 <= offset < end:
        raise OptionError(
            f"the audio cannot be delayed by {offset} s: 0 s to less than the video's {end:.2f} s work. "
            "`start` leaves out the beginning of the audio."
        )
    mono = reader.info.channels > len(_LAYOUTS)
    pieces = reader.pieces(start=start, seconds=seconds, mono=mono)
    target = Path(output)
    with written(target) as part, open_clip(video) as images, reader.opened() as (source_file, stream):
        with writing(target, part, kind) as out:
            out.metadata.update(
                {key: text for key, text in images.metadata.items() if key not in _MADE_BY_MUXER}
            )
            packets = moved(images, images.streams.video[0], out)
            if not start and seconds is None and stream.codec.canonical_name in track.copied:
                track_packets = moved(
                    source_file, stream, out, shift=Fraction(offset) - reader.origin, end=end
                )
            else:
                encoder = AudioEncoder(out, kind, reader.info.rate, "mono" if mono else reader.layout)
                track_packets = _encoded(encoder, pieces, reader.info.rate, offset, end)
            for packet in heapq.merge(packets, track_packets, key=moment):
                with refused(target):
                    out.mux(packet)


class AudioEncoder:
    """Encode float32 pieces (n, channels) for a stream that it adds to an open mp4, mov or webm.

    AAC with 96 kbit/s a channel for mp4 and mov, Opus likewise for webm; at `rate` where the codec has it,
    else at 48 kHz. More than eight channels must be mixed down before. Packets are the caller's to mux; the
    first ones lie before time 0 by the encoder's delay.
    """

    def __init__(self, container: OutputContainer, kind: str, rate: int, layout: str) -> None:
        row = _TRACKS[kind]
        self._channels = av.AudioLayout(layout).nb_channels
        self._source = layout
        self._rate = rate
        self._read = self._written = 0
        self._target_rate = rate if rate in row.rates else 48_000
        name = _LAYOUTS[self._channels - 1]
        self.stream = container.add_stream(row.encoder, rate=self._target_rate, layout=name)
        assert isinstance(self.stream, av.AudioStream)
        self.stream.bit_rate = 96_000 * self._channels
        self._convert = av.AudioResampler(
            format=self.stream.format.name, layout=name, rate=self._target_rate, options=RESAMPLER
        )

    def encode(self, samples: np.ndarray) -> list[av.Packet]:
        """Take float32 (n, channels) and return the packets that are ready."""
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.float32).reshape(1, -1), format="flt", layout=self._source
        )
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._read, Fraction(1, self._rate)
        self._read += len(samples)
        return self._through(frame)

    def finish(self) -> list[av.Packet]:
        """Return the last packets."""
        return self._through(None) + self.stream.encode(None)

    def _through(self, frame: av.AudioFrame | None) -> list[av.Packet]:
        packets = []
        for converted in self._convert.resample(frame):
            converted.pts, converted.time_base = self._written, Fraction(1, self._target_rate)
            self._written += converted.samples
            packets += self.stream.encode(converted)
        return packets


def moved(
    container: InputContainer,
    stream: av.VideoStream | av.AudioStream,
    out: OutputContainer,
    shift: Fraction = Fraction(0),
    end: float = float("inf"),
) -> Iterator[av.Packet]:
    """Add a stream like `stream` to `out`, and yield its packets, `shift` seconds later, up to `end`."""
    copy = out.add_stream_from_template(stream, opaque=True)  # else PyAV looks for an encoder of that name
    if isinstance(stream, av.VideoStream) and isinstance(copy, av.VideoStream):
        # The container stays, so the codec keeps its name there ("hvc1", "ap4h").
        copy.codec_context.codec_tag = stream.codec_context.codec_tag
        copy.codec_context.framerate = stream.average_rate or Fraction(0)
        copy.time_base = stream.time_base

    def packets() -> Iterator[av.Packet]:
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts is None:  # the mark at the end
                continue
            ticks = round(shift / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            if packet.pts * packet.time_base >= end:
                return
            packet.stream = copy
            yield packet

    return packets()


def _encoded(
    encoder: AudioEncoder, pieces: Iterator[np.ndarray], rate: int, offset: float, end: float
) -> Iterator[av.Packet]:
    """Yield packets of silence for `offset` seconds and of the audio then, up to `end`."""
    left, silence = round(end * rate), round(offset * rate)
    first = next(pieces)
    while silence and left:
        length = min(silence, left, rate)
        yield from encoder.encode(np.zeros((length, first.shape[1]), np.float32))
        silence, left = silence - length, left - length
    while left:
        yield from encoder.encode(first[:left])
        left -= len(first[:left])
        if (following := next(pieces, None)) is None:
            break
        first = following
    yield from encoder.finish()


def moment(packet: av.Packet) -> Fraction:
    """When a packet is decoded, in seconds."""
    return (packet.dts or 0) * packet.time_base


@contextmanager
def refused(target: Path) -> Generator[None]:
    """Tell what the system refused to write."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error


@contextmanager
def writing(target: Path, part: Path, kind: str) -> Generator[OutputContainer]:
    """Lend the open output; close it, which writes its index, only if all went well."""
    with refused(target):
        out = av.open(str(part), "w", format=kind, options=MUX_OPTIONS[kind])
    try:
        yield out
        with refused(target):
            out.close()
    except BaseException:
        with suppress(OSError, av.error.FFmpegError):  # after a failure it cannot write its index
            out.close()
        raise
