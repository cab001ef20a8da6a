"""The audio of a timeline: every clip at its sample, with levels, fades, crossfades and ducking.

All is mixed at 48 kHz in two channels. A clip of another speed keeps its pitch: its audio is stretched (FFmpeg's
atempo), not resampled, as browsers play it. A fade is linear in amplitude, a crossfade has equal power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import av
import av.filter
import numpy as np

from wan22.media.audio import AudioReader, resampled
from wan22.timeline.items import Clip, Span, Timeline, Track
from wan22.timeline.sources import Sources, named

__all__ = ["BLOCK", "LAYOUT", "SAMPLE_RATE", "has_audio", "mixed", "sample_at"]

SAMPLE_RATE = 48_000
LAYOUT = "stereo"
BLOCK = 4800
"""Samples that are mixed at once."""

_NAMED = 8  # channels; beyond 7.1 there is no standard mix
_STEP = 480  # samples between two looks at what ducks a track: 10 ms
_AUDIBLE = 10 ** (-40 / 20)  # RMS from which it counts as audible: -40 dBFS
_ATTACK, _HOLD, _RELEASE = 0.1, 0.25, 0.5  # seconds: down, waiting in pauses, up


def sample_at(frame: int, fps: Fraction) -> int:
    """The sample at which a frame of the timeline begins: the nearest one."""
    return math.floor(frame * SAMPLE_RATE / fps + Fraction(1, 2))


def has_audio(timeline: Timeline, sources: Sources) -> bool:
    """Whether there is any audio in it."""
    return any(
        clip.enabled and not track.muted and sources.audio(clip) is not None
        for track, _, clip in timeline.clips()
    )


def mixed(timeline: Timeline, sources: Sources, first: int, last: int) -> Iterator[np.ndarray]:
    """Yield the audio of frames `first` to `last` (without it) as float32 blocks (n, 2) of at most BLOCK samples.

    Values may lie beyond 1: what is delivered is limited elsewhere.
    """
    begin, end = sample_at(first, timeline.fps), sample_at(last, timeline.fps)
    tracks = [
        (track, _voices(timeline, track, sources, begin)) for track in timeline.tracks if not track.muted
    ]
    duckers = {track.id: _Ducker(track.duck.by_db) for track, _ in tracks if track.duck is not None}
    try:
        for at in range(begin, end, BLOCK):
            length = min(BLOCK, end - at)
            audible = {track.id: _of_track(track, voices, at, length) for track, voices in tracks}
            total = np.zeros((length, 2), np.float32)
            for track, _ in tracks:
                block = audible[track.id]
                if track.duck is not None:
                    key = audible.get(track.duck.under)  # a muted track ducks nothing
                    block = block * duckers[track.id].gains(np.zeros_like(block) if key is None else key)
                total += block
            yield total
    finally:
        for _, voices in tracks:
            for voice in voices:
                voice.close()


def _of_track(track: Track, voices: list[_Voice], at: int, length: int) -> np.ndarray:
    block = np.zeros((length, 2), np.float32)
    for voice in voices:
        if voice.first < at + length and at < voice.last:
            voice.add(block, at)
        elif voice.last <= at:
            voice.close()
    return block * np.float32(_gain(track.gain_db))


def _gain(decibels: float) -> float:
    return 10 ** (decibels / 20)


@dataclass(frozen=True)
class _Ramp:
    """What grows from 0 to 1 from one sample to another, or (`down`) falls; as a fade, or with equal power."""

    first: int
    last: int
    down: bool = False
    power: bool = False

    def __call__(self, at: np.ndarray) -> np.ndarray:
        share = np.clip((at - self.first + 0.5) / max(1, self.last - self.first), 0, 1)
        share = 1 - share if self.down else share
        return np.sin(share * (np.pi / 2)) if self.power else share


def _voices(timeline: Timeline, track: Track, sources: Sources, begin: int) -> list[_Voice]:
    """The clips of a track that have audio and are audible from sample `begin` on."""
    found, fps = [], timeline.fps
    for span in track.spans():
        clip = span.clip
        reader = sources.audio(clip) if clip.enabled else None
        first, last = sample_at(span.first, fps), sample_at(span.last, fps)
        if reader is None or last <= begin:
            continue
        skipped = max(0, begin - first)
        speed = Fraction(*clip.speed)
        # Seconds of the source at the first sample; its first image may come after its first audio.
        second = clip.start / Fraction(*clip.source.rate) + (span.first - span.at) / fps * speed
        second += Fraction(skipped, SAMPLE_RATE) * speed
        source = partial(_source, clip, track, reader, float(second) + reader.lead)
        found.append(_Voice(first + skipped, last, source, (_gain(clip.gain_db), _ramps(span, fps))))
    return found


def _ramps(span: Span, fps: Fraction) -> list[_Ramp]:
    """What the level of a clip follows: its fades, and the dissolves at its ends."""
    clip, begin, end = span.clip, span.at, span.at + span.clip.duration
    found = []
    if clip.fade_in:
        found.append(_Ramp(sample_at(begin, fps), sample_at(begin + clip.fade_in, fps)))
    if clip.fade_out:
        found.append(_Ramp(sample_at(end - clip.fade_out, fps), sample_at(end, fps), down=True))
    if span.before is not None:
        last = sample_at(begin + span.before.out_offset, fps)
        found.append(_Ramp(sample_at(span.first, fps), last, power=True))
    if span.after is not None:
        first = sample_at(end - span.after.in_offset, fps)
        found.append(_Ramp(first, sample_at(span.last, fps), down=True, power=True))
    return found


def _source(clip: Clip, track: Track, reader: AudioReader, second: float) -> Iterator[np.ndarray]:
    """The audio of a clip from a second of its source on, at its speed: float32 pieces (n, 2)."""
    if second >= reader.info.seconds:
        return
    with named(clip, track):
        pieces = resampled(_in_stereo(reader, second), reader.info.rate, SAMPLE_RATE, LAYOUT)
        yield from _stretched(pieces, Fraction(*clip.speed))


def _in_stereo(reader: AudioReader, second: float) -> Iterator[np.ndarray]:
    """Two channels: one is audible in both, two as they are, more are mixed as players do."""
    channels = reader.info.channels
    plain = channels > _NAMED or channels == 1
    convert = av.AudioResampler(format="flt", layout=LAYOUT, options={"rematrix_maxval": "1"})
    at = 0
    for piece in reader.pieces(start=second, mono=plain):
        if plain:
            yield piece.repeat(2, axis=1)
        elif channels == 2:
            yield piece
        else:
            packed = np.ascontiguousarray(piece).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=reader.layout)
            frame.sample_rate, frame.pts, frame.time_base = (
                reader.info.rate,
                at,
                Fraction(1, reader.info.rate),
            )
            at += len(piece)
            for part in convert.resample(frame):
                yield part.to_ndarray().reshape(-1, 2)


def _stretched(pieces: Iterator[np.ndarray], speed: Fraction) -> Iterator[np.ndarray]:
    """The same at another speed and the same pitch."""
    if speed == 1:
        yield from pieces
        return
    graph = av.filter.Graph()
    last = source = graph.add_abuffer(
        sample_rate=SAMPLE_RATE, format="flt", layout=LAYOUT, time_base=Fraction(1, SAMPLE_RATE)
    )
    for factor in _factors(float(speed)):
        stretch = graph.add("atempo", f"tempo={factor:.9f}")
        last.link_to(stretch)
        last = stretch
    form = graph.add("aformat", f"sample_fmts=flt:channel_layouts={LAYOUT}:sample_rates={SAMPLE_RATE}")
    sink = graph.add("abuffersink")
    last.link_to(form)
    form.link_to(sink)
    graph.configure()
    at = 0
    for piece in pieces:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(piece).reshape(1, -1), format="flt", layout=LAYOUT
        )
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
        at += len(piece)
        source.push(frame)
        yield from _pulled(graph)
    source.push(None)
    yield from _pulled(graph)


def _factors(speed: float) -> list[float]:
    """A speed as a product of ones that the filter does well: a half to two."""
    count = max(1, math.ceil(abs(math.log2(speed))))
    return [speed ** (1 / count)] * count


def _pulled(graph: av.filter.Graph) -> Iterator[np.ndarray]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.AudioFrame)
        yield frame.to_ndarray().reshape(-1, 2)


class _Voice:
    """A clip as it is audible: from sample `first` to `last` of the timeline."""

    def __init__(
        self,
        first: int,
        last: int,
        source: Callable[[], Iterator[np.ndarray]],
        level: tuple[float, list[_Ramp]],
    ) -> None:
        self.first, self.last = first, last
        self._source, (self._gain, self._ramps) = source, level
        self._pieces: Iterator[np.ndarray] | None = None
        self._left = np.zeros((0, 2), np.float32)

    def add(self, block: np.ndarray, at: int) -> None:
        """Add what is audible from sample `at` on to a block."""
        first, last = max(at, self.first), min(at + len(block), self.last)
        samples = self._next(last - first)
        gain = np.full(len(samples), self._gain)
        places = np.arange(first, first + len(samples))
        for ramp in self._ramps:
            gain *= ramp(places)
        block[first - at : first - at + len(samples)] += (samples * gain[:, None]).astype(np.float32)

    def close(self) -> None:
        """Close its file."""
        if isinstance(self._pieces, Generator):
            self._pieces.close()
        self._pieces = iter(())

    def _next(self, count: int) -> np.ndarray:
        """The next samples; fewer at the end of the audio."""
        if self._pieces is None:
            self._pieces = self._source()
        parts, missing = [self._left], count - len(self._left)
        while missing > 0 and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            missing -= len(piece)
        samples = np.concatenate(parts)
        self._left = samples[count:]
        return samples[:count]


class _Ducker:
    """How far a track is turned down, by what another one does: down at once, up after a pause."""

    def __init__(self, decibels: float) -> None:
        self._most, self._now, self._hold = decibels, 0.0, 0.0

    def gains(self, key: np.ndarray) -> np.ndarray:
        """The gain at each sample (n, 1), while the other track is `key` (n, 2)."""
        parts = []
        seconds = _STEP / SAMPLE_RATE
        for at in range(0, len(key), _STEP):
            part = key[at : at + _STEP]
            audible = math.sqrt(float(np.mean(np.square(part, dtype=np.float64)))) >= _AUDIBLE
            self._hold = _HOLD if audible else self._hold - seconds
            if self._hold > 0:
                then = min(self._most, self._now + self._most * seconds / _ATTACK)
            else:
                then = max(0.0, self._now - self._most * seconds / _RELEASE)
            parts.append(np.linspace(self._now, then, len(part), endpoint=False))
            self._now = then
        return (10 ** (-np.concatenate(parts)[:, None] / 20)).astype(np.float32)
