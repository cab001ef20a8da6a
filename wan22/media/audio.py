"""Read and write audio: what a file's header says, its samples in time, and plain WAV.

Audio comes from anyone, so the rules are those of video.py: the kind is told from the bytes, the demuxer is
forced, no protocol but `file` is allowed. Time counts from where a player begins: at the file's first
image or audio. Encoder delay is cut away, a late start and gaps are filled with silence, so that sample
`n` is heard at `n / rate` seconds. How an audio file gets under a video is in audio_track.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition

from wan22.atomic import written
from wan22.errors import MediaError, OptionError, OutputError
from wan22.files import PathLike, reading
from wan22.media.file_types import AUDIO, audio_file_type, check_whole, first_frame
from wan22.types import Audio

__all__ = [
    "MAX_SECONDS",
    "MIN_SECONDS",
    "AudioInfo",
    "AudioReader",
    "probe_audio",
    "read_audio",
    "resample",
    "resampled",
    "write_audio",
]

MAX_SECONDS = 4 * 3600.0
MIN_SECONDS = 1 / 240
"""One frame of the fastest video that is written; less cannot drive an image."""

MIN_RATE, MAX_RATE = 1_000, 768_000
MAX_CHANNELS = 64

_NAMED = 8  # beyond 7.1 there is no standard mix
_JUMP = 0.01  # seconds that time stamps may be off: containers round them to 1 ms, and players let 20 ms pass

_KERNEL = 128  # taps at the lower of both rates
RESAMPLER = {"filter_size": str(_KERNEL), "cutoff": "0.95", "filter_type": "kaiser", "kaiser_beta": "10"}
"""libswresample's own settings lose 0.4 dB at 7 kHz on the way to 16 kHz and let 8.3 kHz pass at -19 dB."""


@dataclass(frozen=True)
class AudioInfo:
    """What the audio of a file is: seconds as heard (a late start counts), samples a second, channels, codec."""

    seconds: float
    rate: int
    channels: int
    codec: str


def probe_audio(path: PathLike) -> AudioInfo:
    """Tell length, rate, channels and codec of an audio file, or of the audio of a clip; one frame is decoded.

    Where the header does not say the length (MP3, AAC, WebM), the file is read through, without decoding.
    Raises MediaError for a file that is missing, damaged, cut off, holds no audio, has a rate outside
    `MIN_RATE` to `MAX_RATE` or more than `MAX_CHANNELS` channels, or is shorter than `MIN_SECONDS`.
    """
    return AudioReader(path).info


def read_audio(
    path: PathLike, *, rate: int | None = 16_000, start: float = 0.0, seconds: float | None = None
) -> Audio:
    """Read an audio file, or the audio of a video, as one channel.

    rate: samples a second of the result; None keeps the file's. start, seconds: the part to read, in seconds; None
    reads to the end. Channels are mixed as players do (5.1: the standard mix without the low-frequency channel; more
    than 8: their mean), scaled so that nothing clips, and resampled once. Memory is that of the result.

    Raises MediaError as `probe_audio` does, if `start` lies after the end, if more than `MAX_SECONDS` would be read,
    and if the file is damaged; OptionError for an impossible `rate`, `start` or `seconds`.
    """
    reader = AudioReader(path)
    rate = reader.info.rate if rate is None else _checked_rate(rate)
    pieces = reader.pieces(start=start, seconds=seconds, mono=True)
    samples = bytearray()  # grows in place, which a list of arrays that is joined at the end does not
    for piece in resampled(pieces, reader.info.rate, rate):
        samples += np.clip(piece, -1, 1).tobytes()
    if not samples:  # the header said a little more than there is
        raise MediaError(f"{path} ends before {start} s. Start earlier.")
    return Audio(np.frombuffer(samples, np.float32), rate)


def resample(audio: Audio, rate: int) -> Audio:
    """Return an audio file at another rate (OptionError if impossible); n samples become ceil(n x new / old)."""
    rate, _ = _checked_rate(rate), _checked_rate(audio.rate)
    pieces = list(resampled(iter([audio.samples[:, None]]), audio.rate, rate))
    return Audio(np.clip(np.concatenate(pieces)[:, 0], -1, 1), rate)


def write_audio(path: PathLike, audio: Audio, *, exact: bool = False) -> None:
    """Write a WAV file of 16 bits a sample, or of 32-bit floats if `exact`.

    Raises OutputError for another extension than .wav, or if the place cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".wav":
        raise OutputError(f"{target}: audio is written as WAV. Use a name that ends in .wav.")
    rate = _checked_rate(audio.rate)
    codec, form = ("pcm_f32le", "flt") if exact else ("pcm_s16le", "s16")
    samples = np.asarray(audio.samples, np.float32)
    if not exact:
        samples = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    try:
        with (
            written(target) as part,
            av.open(str(part), "w", format="wav", options={"fflags": "+bitexact"}) as container,
        ):
            stream = container.add_stream(codec, rate=rate, layout="mono")
            for at in range(0, len(samples), rate):
                frame = av.AudioFrame.from_ndarray(samples[None, at : at + rate], format=form, layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}.") from error


class AudioReader:
    """The audio of a file on the file's own time line, at its own rate and with its own channels.

    `info` says what it is; `layout` names its channels as FFmpeg does ("stereo", "5.1"); `origin` is the
    moment, in the time stamps of the file, at which a player begins; `lead` is how many seconds after it the
    first image comes, in a clip. Raises MediaError as `probe_audio`.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = path
        self._kind = audio_file_type(path)
        check_whole(path, self._kind)
        with self.opened() as (container, stream):
            first = next(container.decode(stream), None)
            if first is None:
                raise MediaError(f"{path} holds an audio stream without a single sample.")
            begin = _moment(first)
            self.layout = first.layout.name
            images = list(_image_starts(container))
            self.origin = min([begin, *images])
            self.lead = float(min(images, default=self.origin) - self.origin)
            rate, channels = first.sample_rate, first.layout.nb_channels
        _check_form(path, rate, channels)
        with self.opened() as (container, stream):
            seconds = float(self._end(container, stream, begin) - self.origin)
            self.info = AudioInfo(seconds, rate, channels, stream.codec.name)
        if seconds < MIN_SECONDS:
            raise MediaError(
                f"{path} lasts {seconds * 1000:.2f} ms, less than one frame of a video (1/240 s). "
                "Give longer audio."
            )

    @contextmanager
    def opened(self) -> Generator[tuple[InputContainer, av.AudioStream]]:
        """Lend the open file and its first audio stream; what breaks in between is a MediaError."""
        with (
            reading(self.path, MediaError, "has damaged audio", "Copy, download or export it again."),
            av.open(
                f"file:{Path(self.path).absolute()}",
                format=self._kind,
                options={"protocol_whitelist": "file"},
            ) as container,
        ):
            yield container, _audio_stream(container, self.path)

    def pieces(
        self, *, start: float = 0.0, seconds: float | None = None, mono: bool = False
    ) -> Iterator[np.ndarray]:
        """Yield the audio from `start` on as float32 pieces (n, channels), or (n, 1) if `mono`, without gaps.

        Decoding always begins at the beginning: jumping into an MP3 or AAC is a guess, and never exact.
        Raises MediaError and OptionError as `read_audio`, partly while it runs.
        """
        if not 0 <= start < math.inf:
            raise OptionError(f"audio cannot be read from {start} s on; its beginning is at 0 s.")
        if seconds is not None and not seconds > 0:  # neither is what is no number
            raise OptionError(f"{seconds} s of audio cannot be read; ask for more than 0 s.")
        if start >= self.info.seconds:
            raise MediaError(
                f"{self.path} lasts {self.info.seconds:.2f} s, so it cannot be read from {start} s on."
            )
        length = min(seconds or math.inf, self.info.seconds - start)
        if length > MAX_SECONDS:
            raise MediaError(
                f"{self.path}: {length:.0f} s of audio are too much to read at once; the limit is "
                f"{MAX_SECONDS:.0f} s (4 hours). Read a piece of it, or cut it first."
            )
        if seconds is not None and seconds < MIN_SECONDS:
            raise OptionError(f"{seconds} s of audio are less than one frame of a video (1/240 s).")
        rate = self.info.rate
        first, last = round(start * rate), round((start + min(seconds or math.inf, MAX_SECONDS)) * rate)
        return _cut(self._timeline(mono), first, last)

    def _timeline(self, mono: bool) -> Iterator[np.ndarray]:
        """Decode everything from `origin` on; silence stands where the file has no audio."""
        rate, at = self.info.rate, 0
        with self.opened() as (container, stream):
            mix = _mixer(self.info.channels, mono)
            frames = container.decode(stream)
            while True:
                try:
                    frame = next(frames, None)
                except av.error.FFmpegError as error:
                    raise self._damaged(error, at / rate) from error
                if frame is None:
                    break
                if (frame.sample_rate, frame.layout.nb_channels) != (rate, self.info.channels):
                    raise MediaError(
                        f"{self.path} changes its rate or channels after {at / rate:.1f} s. "
                        "Convert it to one form first."
                    )
                samples = mix(frame)
                if not np.isfinite(samples).all():
                    raise self._damaged(ValueError("samples that are no numbers"), at / rate)
                late = 0 if frame.pts is None else round((_moment(frame) - self.origin) * rate) - at
                if at and abs(late) <= _JUMP * rate:
                    late = 0
                elif at and self._kind in AUDIO:  # only clips have gaps on purpose
                    raise self._damaged(ValueError(f"its clock jumps by {late / rate:.2f} s"), at / rate)
                while late > 0:
                    silence = np.zeros((min(late, rate), samples.shape[1]), np.float32)
                    yield silence
                    late -= len(silence)
                    at += len(silence)
                yield samples[-late:]
                at += max(0, len(samples) + late)
        if self._kind in ("flac", "mp3") and at / rate < self.info.seconds - 0.2:
            promised = f"its header promises {self.info.seconds:.1f} s"
            raise self._damaged(ValueError(f"it ends there, and {promised}"), at / rate)

    def _end(self, container: InputContainer, stream: av.AudioStream, begin: Fraction) -> Fraction:
        """Return when the audio ends: from the header if it can be trusted, or by counting packets."""
        base = stream.time_base or Fraction(1, av.time_base)
        told = ("wav", "aiff", "flac", "mov", "ogg")
        if self._kind == "mp3" and any(tag in first_frame(self.path) for tag in (b"Xing", b"Info")):
            told = ("mp3",)  # without that frame its duration is a guess from the first bit rate
        if stream.duration and self._kind in told:
            last = begin + stream.duration * base
            if self._kind == "wav" and stream.bit_rate:  # one written to a pipe promises 2 GiB
                last = min(last, begin + Fraction(Path(self.path).stat().st_size * 8, stream.bit_rate))
            return last
        ends = [
            ((packet.pts or 0) + (packet.duration or 0)) * base
            for packet in container.demux(stream)
            if packet.size
        ]
        return max(ends, default=begin)

    def _damaged(self, error: Exception, after: float = 0.0) -> MediaError:
        reason = getattr(error, "strerror", None) or str(error)
        if after:
            return MediaError(
                f"{self.path} is damaged after {after:.1f} s: {reason}. "
                "Copy, download or export it again, or use less of it."
            )
        return MediaError(f"{self.path} has damaged audio: {reason}. Copy, download or export it again.")


def _audio_stream(container: InputContainer, path: PathLike) -> av.AudioStream:
    if not container.streams.audio:
        found = "only images" if container.streams.video else "no stream"
        raise MediaError(f"{path} holds no audio, {found}. Give a file with audio.")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise MediaError(
            f"{path} uses an audio codec that cannot be decoded here. Convert it to WAV or FLAC."
        )
    _check_form(path, stream.rate, stream.channels)
    return stream


def _check_form(path: PathLike, rate: int, channels: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise MediaError(
            f"{path} claims {rate} samples a second; {MIN_RATE} to {MAX_RATE} are read. Resample it first."
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(
            f"{path} claims {channels} channels; 1 to {MAX_CHANNELS} are read. Mix it down first."
        )


def _checked_rate(rate: int) -> int:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise OptionError(f"audio cannot have {rate} samples a second; {MIN_RATE} to {MAX_RATE} work.")
    return rate


def _image_starts(container: InputContainer) -> Iterator[Fraction]:
    """Say when each video in the file begins; cover art has no time."""
    for stream in container.streams.video:
        if stream.start_time is not None and stream.time_base:
            if not stream.disposition & Disposition.attached_pic:
                yield stream.start_time * stream.time_base


def _moment(frame: av.AudioFrame) -> Fraction:
    return (frame.pts or 0) * (frame.time_base or Fraction(0))


def _mixer(channels: int, mono: bool) -> Callable[[av.AudioFrame], np.ndarray]:
    """Return a function from a decoded frame to float32 (n, channels), or (n, 1)."""
    # Packed samples only: PyAV 18 reads past its buffers with planes of more than eight channels.
    layout = "mono" if mono and channels <= _NAMED else None
    convert = av.AudioResampler(format="flt", layout=layout, options={"rematrix_maxval": "1"})

    def mix(frame: av.AudioFrame) -> np.ndarray:
        length = frame.samples
        if frame.duration and frame.time_base:
            # The last frame of AAC in mp4 is padded; its duration says so, rounded to a tick.
            told = frame.duration * frame.time_base * frame.sample_rate
            if length - told > frame.time_base * frame.sample_rate:
                length = round(told)
        width = 1 if layout else channels
        parts = [part.to_ndarray().reshape(-1, width) for part in convert.resample(frame)]
        samples = np.concatenate(parts)[:length] if parts else np.empty((0, width), np.float32)
        return samples.mean(1, keepdims=True) if mono and not layout else samples

    return mix


def _cut(pieces: Iterator[np.ndarray], first: int, last: int) -> Iterator[np.ndarray]:
    """Yield what lies between two samples."""
    at = 0
    for piece in pieces:
        begin, at = at, at + len(piece)
        kept = piece[max(0, first - begin) : last - begin]
        if len(kept):
            yield kept
        if at >= last:
            return


def resampled(pieces: Iterator[np.ndarray], old: int, new: int, layout: str = "mono") -> Iterator[np.ndarray]:
    """Resample float32 pieces (n, channels of `layout`) in one stream; n samples become ceil(n x new / old)."""
    if old == new:
        yield from pieces
        return
    convert = av.AudioResampler(format="flt", layout=layout, rate=new, options=RESAMPLER)
    channels = av.AudioLayout(layout).nb_channels
    read = written = 0

    def through(samples: np.ndarray) -> Iterator[np.ndarray]:
        nonlocal read
        packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = old, read, Fraction(1, old)
        read += len(samples)
        for part in convert.resample(frame):
            yield part.to_ndarray().reshape(-1, channels)

    for piece in pieces:
        for part in through(piece):
            written += len(part)
            yield part
    # Silence pushes the last samples out of the filter; its own flush drops audio shorter than the filter.
    total = -(-read * new // old)
    for part in through(np.zeros((2 * _KERNEL * max(1, -(-old // new)), channels), np.float32)):
        kept = part[: total - written]
        written += len(kept)
        yield kept
