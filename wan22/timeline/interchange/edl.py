"""CMX3600 edit decision lists: one for each track.

An event has a reel, a channel, a kind of edit, and four timecodes: in and out of the source, in and out of the record.
All are counted at the timeline's rate. A dissolve begins where its event does, and the clip before ends there: the
event's first line is that clip, with no length. A fade is a dissolve from or to BL, black. M2 says the frames a second
at which a source runs, where it is not played as it is.

The layout is that of the CMX 3600 manual and of SMPTE ST 258; comments (*) are those that Avid and Resolve read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from wan22.timeline.interchange.common import (
    Find,
    Notes,
    around,
    check_rate,
    has_audio,
    is_drop,
    media_name,
    named,
    printable,
    timecode,
    whole,
)
from wan22.timeline.interchange.features import note_lost
from wan22.timeline.items import Clip, Timeline, Track

__all__ = ["LOST", "lists"]

LOST = {
    "sources of another rate": "their timecode is counted in frames of the timeline",
    "takes": "only the chosen one is written",
    "recipes": "they are not written",
    "links": "they are not written",
    "clips that are switched off": "they are not written",
    "how sources fill the image": "it is not written",
    "levels": "they are not written",
    "levels of tracks": "they are not written",
    "ducking": "it is not written",
    "muted tracks": "they are not written",
    "locked tracks": "that they are locked is not written",
    "lengths of markers": "they are not written",
    "titles": "they are not written",
    "captions": "they are not written; export them as srt, vtt or ass",
    "size of the image": "an EDL has none",
    "in and out": "they are not written",
    "loudness": "it is not written",
    "rates that few programs know": "few read such timecode",
    "notes of its own": "they are not written",
}
"""What the format does not hold. (A rate without timecode is refused.)"""

_EVENTS = 999  # that a number of three digits counts
_DISSOLVE = 255  # frames, the longest of the machine that the format is named after
_COLORS = ("RED", "GREEN", "BLUE", "YELLOW", "CYAN", "MAGENTA", "BLACK", "WHITE")


@dataclass(frozen=True)
class _Reels:
    """Names of at most eight capitals and digits, one for each media."""

    names: dict[str, str]

    def of(self, clip: Clip) -> str:
        key = repr(sorted(clip.media.items()))
        if key not in self.names:
            stem = re.sub("[^A-Z0-9]", "", media_name(clip.media).rsplit(".", 1)[0].upper()) or "REEL"
            name, number = stem[:8], 1
            while name in (*self.names.values(), "BL", "AX"):
                number += 1
                name = f"{stem[: 8 - len(str(number))]}{number}"
            self.names[key] = name
        return self.names[key]


def lists(timeline: Timeline, find: Find, notes: Notes) -> list[tuple[str, str]]:
    """The lists of a timeline: names ("v1", "a1") and texts. Raises OutputError for a rate without timecode."""
    check_rate(timeline, "an EDL")
    writer = _Writer(timeline, find, notes)
    counts = {"video": 0, "audio": 0}
    found = []
    for track in timeline.tracks:
        counts[track.kind] += 1
        name = f"{track.kind[0]}{counts[track.kind]}"
        if not any(isinstance(item, Clip) for item in track.items):
            continue
        if track.muted:
            continue
        found.append((name, writer.text(track, name, markers=not found)))
    if not found:
        found = [("v1", writer.text(Track(id="", kind="video", items=()), "v1", markers=True))]
    note_lost(timeline, notes, LOST)
    return found


class _Writer:
    def __init__(self, timeline: Timeline, find: Find, notes: Notes) -> None:
        self.timeline, self.find, self.notes = timeline, find, notes
        self.rate, self.drop = timeline.fps, is_drop(timeline)
        self.reels = _Reels({})

    def text(self, track: Track, name: str, *, markers: bool) -> str:
        """A track as a list."""
        title = " ".join(printable(f"{self.timeline.name or 'timeline'} {name}").split())
        lines = [f"TITLE: {title[:70]}", f"FCM: {'' if self.drop else 'NON-'}DROP FRAME", ""]
        number = 0
        for index, (at, item) in enumerate(track.placed()):
            if not isinstance(item, Clip):
                continue
            if not item.enabled:
                continue
            for event in self._events(track, index, at, item):
                number += 1
                lines += [
                    f"{number:03d}  {line}" if not line.startswith(("*", "M2")) else line for line in event
                ]
        if number > _EVENTS:
            self.notes.add(f"a list has {number} events; the format counts to {_EVENTS}", name)
        if markers:
            lines += self._markers()
        return "\n".join(lines) + "\n"

    def _events(self, track: Track, index: int, at: int, clip: Clip) -> Iterator[list[str]]:
        """What a clip is in a list: itself, cut or dissolved into, and the dissolve to black if it fades out."""
        before, after = around(track, index)
        fade_in = 0 if before else clip.fade_in
        fade_out = 0 if after else clip.fade_out
        if (before and clip.fade_in) or (after and clip.fade_out):
            self.notes.add("a fade where a dissolve is, is not written", named(clip))
        start = at - (before.in_offset if before else 0)
        end = at + clip.duration - (after.in_offset if after else fade_out)
        length = before.in_offset + before.out_offset if before else fade_in
        lines = []
        if before:
            left = track.items[index - 2]
            assert isinstance(left, Clip)
            lines.append(self._line(track, left, at - left.duration, (start, start), "C"))
        elif length:
            lines.append(self._black(track, (0, 0), (start, start), "C"))
        if end > start:
            lines.append(self._line(track, clip, at, (start, end), f"D    {length:03d}" if length else "C"))
            lines += self._comments(track, index, clip, start - at)
            yield lines
        if length > _DISSOLVE:
            self.notes.add(f"dissolves are longer than the format's {_DISSOLVE} frames", named(clip))
        if fade_out:
            yield [
                self._line(track, clip, at, (end, end), "C"),
                self._black(track, (0, fade_out), (end, end + fade_out), f"D    {fade_out:03d}"),
                f"* FROM CLIP NAME:  {_one_line(named(clip))}",
            ]

    def _line(self, track: Track, clip: Clip, at: int, record: tuple[int, int], kind: str) -> str:
        """A clip that begins at frame `at`, of which the frames `record` are shown."""
        speed = Fraction(*clip.speed)
        first = clip.start * self.rate / Fraction(*clip.source.rate)
        begin = max(0, whole(first + (record[0] - at) * speed))
        return self._row(
            self.reels.of(clip),
            self._channel(track, clip),
            kind,
            (begin, begin + whole((record[1] - record[0]) * speed)),
            record,
        )

    def _black(self, track: Track, source: tuple[int, int], record: tuple[int, int], kind: str) -> str:
        return self._row("BL", "V" if track.kind == "video" else "AA", kind, source, record)

    def _row(
        self, reel: str, channel: str, kind: str, source: tuple[int, int], record: tuple[int, int]
    ) -> str:
        start = self.timeline.start
        if start + record[1] > 86_400 * self.rate:
            self.notes.add("timecode begins anew after 24 hours")
        places = (*source, record[0] + start, record[1] + start)
        codes = " ".join(timecode(place, self.rate, self.drop) for place in places)
        return f"{reel:<8} {channel:<5} {kind:<8} {codes}"

    @staticmethod
    def _channel(track: Track, clip: Clip) -> str:
        if track.kind == "audio":
            return "AA"
        return "AA/V" if has_audio(clip) else "V"

    def _comments(self, track: Track, index: int, clip: Clip, moved: int) -> Iterator[str]:
        """What is beside an event; its source begins `moved` frames from where the clip does."""
        before = track.items[index - 2] if around(track, index)[0] else None
        if isinstance(before, Clip):
            yield from self._speed(before, moved + before.duration)
        yield from self._speed(clip, moved)
        if isinstance(before, Clip):
            yield f"* FROM CLIP NAME:  {_one_line(named(before))}"
            yield f"* TO CLIP NAME:  {_one_line(named(clip))}"
        else:
            yield f"* FROM CLIP NAME:  {_one_line(named(clip))}"
        path = self.find(clip.media)
        if path is None:
            self.notes.add("media that is not there", media_name(clip.media))
        yield f"* SOURCE FILE: {_one_line(path or media_name(clip.media))}"

    def _speed(self, clip: Clip, moved: int) -> Iterator[str]:
        """How fast a source runs, from the frame `moved` after the clip's beginning on."""
        speed = Fraction(*clip.speed)
        if speed == 1:
            return
        runs = self.rate * speed
        source = max(0, whole(clip.start * self.rate / Fraction(*clip.source.rate) + moved * speed))
        code = timecode(source, self.rate, self.drop)
        yield f"M2   {self.reels.of(clip):<8}       {float(runs):05.1f}                {code}"
        if (runs * 10).denominator != 1:
            self.notes.add("speeds are written to a tenth of a frame a second", named(clip))

    def _markers(self) -> Iterator[str]:
        for marker in sorted(self.timeline.markers, key=lambda marker: marker.at):
            color = marker.color.upper()
            if color not in _COLORS:
                self.notes.add(
                    "colors of markers that the format does not know are red", marker.name or marker.id
                )
                color = "RED"
            code = timecode(marker.at + self.timeline.start, self.rate, self.drop)
            yield f"* LOC: {code} {color:<7} {_one_line(marker.name or marker.id)}"


def _one_line(text: object) -> str:
    return " ".join(printable(text).split())
