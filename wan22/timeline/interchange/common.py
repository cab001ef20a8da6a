"""What the formats of editors share: rates, timecode, addresses of files, and notes of what a format cannot hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from wan22.errors import OutputError
from wan22.timeline.items import Clip, Media, Source, Timeline, Track, Transition

__all__ = [
    "Find",
    "Imported",
    "Look",
    "Notes",
    "Relink",
    "around",
    "centred",
    "check_rate",
    "counts_timecode",
    "exact_rate",
    "file_url",
    "has_audio",
    "is_drop",
    "media_name",
    "named",
    "nominal",
    "path_of",
    "printable",
    "timecode",
    "whole",
]

Find = Callable[[Media], Path | None]
"""The file of a clip's media; None if it is not there."""
Relink = Callable[[str, Media | None], Media | None]
"""The media for an address in a file, and for what our own metadata in it says the media is; None if there is none.

Files come from strangers: it says what may be reached.
"""
Look = Callable[[Media], Source | None]
"""What a media's file holds; None if it cannot be told."""

_SHOWN = 5  # names in one note
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # what XML 1.0 cannot hold


@dataclass(frozen=True)
class Imported:
    """A timeline from another program's file, and what of the file was not taken."""

    timeline: Timeline
    notes: tuple[str, ...]


class Notes:
    """What could not be taken along; equal notes are gathered, with the names that they are about."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, None]] = {}

    def add(self, what: str, *names: str) -> None:
        """Note `what`, of things with these names."""
        self._names.setdefault(what, {}).update(dict.fromkeys(names))

    def take(self, others: Notes) -> None:
        """Add those of `others`."""
        for what, names in others._names.items():
            self.add(what, *names)

    def lines(self) -> tuple[str, ...]:
        """A sentence each: "fades at a cut are not kept: ball, cube and 3 more"."""
        return tuple(
            what if not names else f"{what}: {', '.join(list(names)[:_SHOWN])}{_more(len(names))}"
            for what, names in self._names.items()
        )


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""


def exact_rate(rate: float) -> Fraction:
    """A rate as it is meant: 23.976, 23.98 and 23.97602 are 24000/1001."""
    if not 0 < rate <= 1_000_000:
        raise ValueError(f"{rate} is no rate")
    if abs(rate - round(rate)) < 0.001 and round(rate):
        return Fraction(round(rate))
    ntsc = Fraction(-int(-rate // 1) * 1000, 1001)
    if abs(rate - ntsc) < 0.006:
        return ntsc
    near = Fraction(rate).limit_denominator(1001)
    return near if abs(float(near) - rate) < 1e-9 * rate else Fraction(rate).limit_denominator(100_000)


def nominal(rate: Fraction) -> int:
    """Frames that timecode counts in a second: 30 at 30000/1001."""
    return -int(-rate // 1)


def counts_timecode(rate: Fraction) -> bool:
    """Whether timecode knows a rate: a whole one, or one of NTSC."""
    return rate.denominator == 1 or rate == Fraction(nominal(rate) * 1000, 1001)


def is_drop(timeline: Timeline) -> bool:
    """Whether timecode leaves out numbers so that it keeps to the clock: of 29.97 and 59.94, unless `meta.drop_frame`
    says otherwise.
    """
    can = timeline.fps in (Fraction(30000, 1001), Fraction(60000, 1001))
    return can and timeline.meta.get("drop_frame", True) is not False


def timecode(frame: int, rate: Fraction, drop: bool = False) -> str:
    """HH:MM:SS:FF of a frame; HH:MM:SS;FF where numbers are dropped. After 24 hours it begins anew.

    Drop frame leaves out the numbers 0 and 1 (0 to 3 at 59.94) at every minute but the tenth ones (SMPTE ST 12-1).
    """
    count = nominal(rate)
    if drop:
        left_out = count // 15
        tens, rest = divmod(frame, 600 * count - 9 * left_out)
        minutes = max(0, (rest - left_out) // (60 * count - left_out))
        frame += left_out * (9 * tens + minutes)
    seconds, frames = divmod(frame, count)
    hours, minutes, seconds = seconds // 3600 % 24, seconds // 60 % 60, seconds % 60
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{';' if drop else ':'}{frames:02d}"


def whole(value: Fraction) -> int:
    """The nearest whole number, halves up."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def file_url(path: Path) -> str:
    """The address of a file, absolute and percent-encoded."""
    return path.absolute().as_uri()


def path_of(url: str) -> str | None:
    """The path that an address in a file of any program means; None for one that is of no file.

    "file://localhost/Volumes/a%20b.mov", "/Volumes/a b.mov", "C:\\a.mov" and "clips/a.mov" are all seen.
    """
    if "\x00" in url or not url:
        return None
    if re.match(r"[A-Za-z]:[\\/]", url):
        return url.replace("\\", "/")
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("", "file"):
        return None
    if not parts.scheme:
        return url.replace("\\", "/") if not parts.netloc else None
    path = unquote(parts.path)
    if "\x00" in path:
        return None
    if re.match(r"/[A-Za-z]:/", path):
        path = path[1:]
    return f"//{parts.netloc}{path}" if parts.netloc not in ("", "localhost") else path or None


def media_name(media: Media) -> str:
    """What a media is called: its file's name."""
    for key in ("path", "file", "input"):
        if value := media.get(key):
            return PurePosixPath(value.replace("\\", "/")).name or value
    return "media"


def named(clip: Clip) -> str:
    """What a clip is called: by its person, or as its file."""
    return clip.name or media_name(clip.media)


def printable(text: Any) -> str:
    """A text without what XML and lines of text cannot hold."""
    return _CONTROL.sub(" ", str(text))


def check_rate(timeline: Timeline, form: str) -> None:
    """Raise OutputError if a format that counts timecode cannot count the timeline's frames."""
    if not counts_timecode(timeline.fps):
        raise OutputError(
            f"{form} counts whole frames a second, or 1000/1001 of that; this timeline has {timeline.fps}. Give it "
            "another rate, or export OTIO."
        )


def around(track: Track, index: int) -> tuple[Transition | None, Transition | None]:
    """The transitions before and after an item of a track."""
    items = track.items
    before = items[index - 1] if index else None
    after = items[index + 1] if index + 1 < len(items) else None
    return (
        before if isinstance(before, Transition) else None,
        after if isinstance(after, Transition) else None,
    )


def has_audio(clip: Clip) -> bool:
    """Whether a clip on a video track is heard."""
    return clip.source.audio and not clip.mute


def centred(track: Track, index: int, rate: Fraction) -> int:
    """Half the frames of a transition that is centred on its cut, for formats that know no other: as long as it is if
    the clips around it have the frames, and the shorter of its sides at least; 0 for one that is on one side alone and
    cannot be moved.
    """
    item, left, right = track.items[index], track.items[index - 1], track.items[index + 1]
    assert isinstance(item, Transition) and isinstance(left, Clip) and isinstance(right, Clip)
    before, after = around(track, index - 1)[0], around(track, index + 1)[1]
    free = (
        left.duration - ((before.in_offset + before.out_offset + 1) // 2 if before else 0),
        right.duration - ((after.in_offset + after.out_offset + 1) // 2 if after else 0),
    )
    half = (item.in_offset + item.out_offset) // 2
    while half > min(item.in_offset, item.out_offset):
        fits = left.source.still or left.source_frame(left.duration + half - 1, rate) < left.source.frames
        if fits and (right.source.still or right.source_frame(-half, rate) >= 0) and half <= min(free):
            break
        half -= 1
    return half
