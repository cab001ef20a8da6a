"""Several videos one after the other as one: images are copied, not encoded again; audio is encoded once.

All must have one size, rate and codec, as videos have that were made with the same settings.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer

from wan22.atomic import written
from wan22.errors import MediaError, OutputError
from wan22.media.audio import AudioReader, resampled
from wan22.media.audio_track import AudioEncoder, can_carry_audio, moment, moved, refused, writing
from wan22.media.file_types import PathLike
from wan22.media.opening import open_clip
from wan22.media.output_paths import target_kind
from wan22.media.provenance import Marking, mark
from wan22.media.recipe import RECIPE_KEY, dump_recipe

__all__ = ["can_follow", "join_videos"]


@dataclass(frozen=True)
class _Part:
    """One of the videos: what must be the same in all, its frames, and whether it has audio."""

    path: PathLike
    form: tuple[object, ...]
    """Codec, width, height, frames a second, and the encoder's header."""
    frames: int
    delay: int
    """Frames that decoding runs ahead of showing."""
    audio: bool

    @property
    def rate(self) -> Fraction:
        rate = self.form[3]
        assert isinstance(rate, Fraction)
        return rate


def join_videos(
    paths: Sequence[PathLike],
    output: PathLike,
    recipe: dict[str, Any] | None = None,
    marking: Marking | None = None,
) -> None:
    """Write `paths`, in order, as one video to `output` (mp4, mov or webm), with `recipe` inside, marked and
    signed by it as `marking` says (provenance.py).

    Where a video has audio it is kept, mixed to one channel if they differ in channels; where one has none there is
    silence. `output` is the old file or the complete new one at every moment.

    Raises OutputError for no videos, another container, or videos that differ in size, rate or codec, naming the
    first that does; MediaError for one that cannot be read.
    """
    if not paths:
        raise OutputError(f"{output} was not written: there is no video to join.")
    kind = target_kind(output)
    if not can_carry_audio(output):
        raise OutputError(f"{output}: videos are joined as .mp4, .mov or .webm, like themselves.")
    parts = [_part(path) for path in paths]
    for part in parts[1:]:
        if part.form != parts[0].form:
            raise OutputError(
                f"{part.path} ({_in_words(part)}) cannot follow {parts[0].path} ({_in_words(parts[0])}): joined videos "
                "have one size, rate and codec, encoded alike. Make them again with the same settings."
            )
    target = Path(output)
    with written(target) as place:
        _write(parts, target, place, kind, recipe)
        mark(place, kind, recipe, marking)


def _write(parts: list[_Part], target: Path, place: Path, kind: str, recipe: dict[str, Any] | None) -> None:
    with writing(target, place, kind) as out:
        if recipe is not None:
            out.metadata[RECIPE_KEY] = dump_recipe(recipe)
        packets = [_images(parts, out)]
        if any(part.audio for part in parts):
            packets.append(_audio(parts, out, kind))
        for packet in heapq.merge(*packets, key=moment):
            with refused(target):
                out.mux(packet)


def can_follow(first: PathLike, second: PathLike) -> bool:
    """Whether two videos have one size, rate and codec and are encoded alike, so that they can be joined."""
    try:
        return _part(first).form == _part(second).form
    except (OutputError, MediaError):
        return False


def _part(path: PathLike) -> _Part:
    with open_clip(path) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or 0)
        form = (
            stream.codec.name,
            stream.width,
            stream.height,
            rate,
            bytes(stream.codec_context.extradata or b""),
        )
        shown = [_frame(packet, rate) for packet in container.demux(stream) if packet.size]
        if not shown or sorted(shown) != list(range(len(shown))):
            raise OutputError(f"{path} cannot be joined: its frames do not follow one another at one rate.")
        delay = max(index - frame for index, frame in enumerate(shown))
        return _Part(path, form, len(shown), delay, bool(container.streams.audio))


def _frame(packet: av.Packet, rate: Fraction) -> int:
    """Which frame of the video a packet is."""
    return round((packet.pts or 0) * packet.time_base * rate)


def _in_words(part: _Part) -> str:
    codec, width, height, rate, _ = part.form
    return f"{codec}, {width}x{height}, {float(rate):g} frames a second"


def _images(parts: list[_Part], out: OutputContainer) -> Iterator[av.Packet]:
    """Add a stream like the first video's to `out`; yield the packets of all, whose times count frames."""
    rate, delay = parts[0].rate, max(part.delay for part in parts)
    with open_clip(parts[0].path) as container:
        moved(container, container.streams.video[0], out)
    stream = out.streams.video[0]
    stream.time_base = 1 / rate
    return _numbered(parts, stream, rate, delay)


def _numbered(parts: list[_Part], stream: av.VideoStream, rate: Fraction, delay: int) -> Iterator[av.Packet]:
    first = 0
    for part in parts:
        with open_clip(part.path) as container:
            packets = (packet for packet in container.demux(container.streams.video[0]) if packet.size)
            for index, packet in enumerate(packets):
                shown = _frame(packet, rate)
                packet.time_base = 1 / rate
                packet.pts, packet.dts, packet.duration = first + shown, first + index - delay, 1
                packet.stream = stream
                yield packet
        first += part.frames


def _audio(parts: list[_Part], out: OutputContainer, kind: str) -> Iterator[av.Packet]:
    """The audio of all, each as long as its video, at the highest of their rates."""
    readers = {index: AudioReader(part.path) for index, part in enumerate(parts) if part.audio}
    layouts = {reader.layout for reader in readers.values()}
    rates = {reader.info.rate for reader in readers.values()}
    channels = max(reader.info.channels for reader in readers.values())
    mono = len(layouts) > 1 or len(rates) > 1 or channels > 8  # only one channel is resampled
    rate, layout = max(rates), "mono" if mono else layouts.pop()
    encoder = AudioEncoder(out, kind, rate, layout)
    return _encoded(parts, readers, encoder, rate, channels=1 if mono else channels, mono=mono)


def _encoded(
    parts: list[_Part],
    readers: dict[int, AudioReader],
    encoder: AudioEncoder,
    rate: int,
    *,
    channels: int,
    mono: bool,
) -> Iterator[av.Packet]:
    end = Fraction(0)
    done = 0
    for index, part in enumerate(parts):
        end += part.frames / part.rate
        reader = readers.get(index)
        if reader is not None:
            pieces = reader.pieces(mono=mono)
            for piece in resampled(pieces, reader.info.rate, rate):
                kept = piece[: round(end * rate) - done]
                done += len(kept)
                if len(kept):
                    yield from encoder.encode(kept)
        while silence := min(rate, round(end * rate) - done):
            done += silence
            yield from encoder.encode(np.zeros((silence, channels), np.float32))
    yield from encoder.finish()
