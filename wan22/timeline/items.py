"""What is in a timeline: tracks of clips, gaps and transitions; markers, titles, captions.

All numbers on the timeline are whole frames of its rate, from 0. A track's items follow one another; a transition
stands between two clips and takes no time.
"""

# ruff: noqa: RUF009 (`part` makes a dataclass's field; it is no default)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from wan22.timeline.shapes import (
    COLOR,
    FLAG,
    NUMBER,
    OBJECT,
    PAIR,
    TEXT,
    WHOLE,
    List,
    Maybe,
    OneOf,
    Record,
    Union,
    part,
)

__all__ = [
    "DOCUMENT",
    "VERSION",
    "Caption",
    "Clip",
    "Duck",
    "Gap",
    "Item",
    "Marker",
    "Media",
    "Source",
    "Style",
]
__all__ += ["Style", "Timeline", "Title", "Track", "Transition", "whole_frames"]

VERSION = 1

Media = dict[str, str]
"""{"job": id, "file": name}, {"input": id} or {"path": path}."""


def whole_frames(count: int, source_rate: Fraction, rate: Fraction, speed: Fraction) -> int:
    """How many frames of `rate` show `count` frames of `source_rate`: the nearest number, halves up, at least 1."""
    exact = count / source_rate * rate / speed
    return max(1, (2 * exact.numerator + exact.denominator) // (2 * exact.denominator))


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of a clip's media. `rate` is what `in` and `out` are counted in; `size` is null for audio alone.

    A `still` is an image: it lasts as long as one likes.
    """

    frames: int = part(WHOLE)
    rate: tuple[int, int] = part(PAIR)
    size: tuple[int, int] | None = part(Maybe(PAIR), default=None)
    audio: bool = part(FLAG, default=False)
    still: bool = part(FLAG, default=False)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A piece of a video or of audio: frames `start` to `end` (not shown any more) of its source."""

    id: str = part(TEXT)
    media: Media = part(OBJECT)
    start: int = part(WHOLE, "in")
    end: int = part(WHOLE, "out")
    source: Source = part(Record(Source))
    duration: int = part(WHOLE)
    name: str = part(TEXT, default="")
    speed: tuple[int, int] = part(PAIR, default=(1, 1))
    fit: str = part(OneOf("cover", "fit"), default="cover")
    gain_db: float = part(NUMBER, default=0.0)
    mute: bool = part(FLAG, default=False)
    fade_in: int = part(WHOLE, default=0)
    fade_out: int = part(WHOLE, default=0)
    link: str | None = part(Maybe(TEXT), default=None)
    enabled: bool = part(FLAG, default=True)
    recipe: dict[str, Any] | None = part(Maybe(OBJECT), default=None)
    takes: tuple[Media, ...] = part(List(OBJECT), default=())
    extra: dict[str, Any] = field(default_factory=dict)

    def step(self, rate: Fraction) -> Fraction:
        """Source frames that pass in one frame of a timeline of `rate`."""
        return Fraction(*self.source.rate) / rate * Fraction(*self.speed)

    def source_frame(self, at: int, rate: Fraction) -> int:
        """Which source frame is seen `at` frames after the clip's beginning; before it or after its end: a handle."""
        if self.source.still:
            return 0
        return self.start + int(at * self.step(rate) // 1)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Nothing, for some frames."""

    id: str = part(TEXT)
    duration: int = part(WHOLE)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Transition:
    """From `in_offset` frames before a cut to `out_offset` after it."""

    id: str = part(TEXT)
    in_offset: int = part(WHOLE)
    out_offset: int = part(WHOLE)
    kind: str = part(TEXT, default="dissolve")
    extra: dict[str, Any] = field(default_factory=dict)

    duration = 0


@dataclass(frozen=True)
class Span:
    """A clip in its place: it begins at frame `at`, between the dissolves `before` and `after` it, if there are any."""

    clip: Clip
    at: int
    before: Transition | None
    after: Transition | None

    @property
    def first(self) -> int:
        """The first frame at which anything of it is seen or audible: that of the dissolve before it."""
        return self.at - (self.before.in_offset if self.before else 0)

    @property
    def last(self) -> int:
        """The frame at which nothing of it is seen or audible any more."""
        return self.at + self.clip.duration + (self.after.out_offset if self.after else 0)


Item = Clip | Gap | Transition
_ITEM = Union({"clip": Clip, "gap": Gap, "transition": Transition})


@dataclass(frozen=True, kw_only=True)
class Duck:
    """A track that falls by `by_db` while the track `under` is audible."""

    under: str = part(TEXT)
    by_db: float = part(NUMBER)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Track:
    """Items one after another; later video tracks cover earlier ones."""

    id: str = part(TEXT)
    kind: str = part(OneOf("video", "audio"))
    items: tuple[Item, ...] = part(List(_ITEM))
    name: str = part(TEXT, default="")
    muted: bool = part(FLAG, default=False)
    locked: bool = part(FLAG, default=False)
    gain_db: float = part(NUMBER, default=0.0)
    duck: Duck | None = part(Maybe(Record(Duck)), default=None)
    extra: dict[str, Any] = field(default_factory=dict)

    def placed(self) -> list[tuple[int, Item]]:
        """Each item with the frame at which it begins; a transition with that of its cut."""
        at, found = 0, []
        for item in self.items:
            found.append((at, item))
            at += item.duration
        return found

    def spans(self) -> list[Span]:
        """The clips in their places."""
        around = (None, *self.items, None)
        return [
            Span(
                item,
                at,
                *(each if isinstance(each, Transition) else None for each in (around[i], around[i + 2])),
            )
            for i, (at, item) in enumerate(self.placed())
            if isinstance(item, Clip)
        ]

    @property
    def length(self) -> int:
        """Frames from the timeline's beginning to the end of the last item."""
        return sum(item.duration for item in self.items)


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A note at a frame, or over some."""

    id: str = part(TEXT)
    at: int = part(WHOLE)
    duration: int = part(WHOLE, default=0)
    name: str = part(TEXT, default="")
    color: str = part(TEXT, default="red")
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a title looks; `size` is the height of its letters as a part of the image's height."""

    place: str = part(OneOf("center", "lower", "upper"), default="center")
    size: float = part(NUMBER, default=0.08)
    color: str = part(COLOR, default="#ffffff")
    background: str | None = part(Maybe(COLOR), default=None)
    bold: bool = part(FLAG, default=False)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Title:
    """A text over the image, from frame `start` to frame `end`, where it is not seen any more."""

    id: str = part(TEXT)
    start: int = part(WHOLE, "from")
    end: int = part(WHOLE, "to")
    text: str = part(TEXT)
    style: Style = part(Record(Style), default_factory=Style)
    fade: int = part(WHOLE, default=0)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What is said, in at most two lines."""

    id: str = part(TEXT)
    start: int = part(WHOLE, "from")
    end: int = part(WHOLE, "to")
    text: str = part(TEXT)
    language: str = part(TEXT, default="")
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A whole document. `start` is the frame that the first one is called in timecode."""

    version: int = part(WHOLE, "wan22_timeline", default=VERSION)
    name: str = part(TEXT, default="")
    rate: tuple[int, int] = part(PAIR)
    size: tuple[int, int] = part(PAIR)
    start: int = part(WHOLE, default=0)
    tracks: tuple[Track, ...] = part(List(Record(Track)))
    markers: tuple[Marker, ...] = part(List(Record(Marker)), default=())
    titles: tuple[Title, ...] = part(List(Record(Title)), default=())
    captions: tuple[Caption, ...] = part(List(Record(Caption)), default=())
    first: int | None = part(Maybe(WHOLE), "in", default=None)
    last: int | None = part(Maybe(WHOLE), "out", default=None)
    """The range that is rendered: from frame `first` to before frame `last`."""
    loudness: float | None = part(Maybe(NUMBER), default=None)
    meta: dict[str, Any] = part(OBJECT, default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        return Fraction(*self.rate)

    @property
    def length(self) -> int:
        """Frames to the end of its longest track."""
        return max((track.length for track in self.tracks), default=0)

    def clips(self) -> Iterator[tuple[Track, int, Clip]]:
        """Every clip, with its track and the frame at which it begins."""
        for track in self.tracks:
            for at, item in track.placed():
                if isinstance(item, Clip):
                    yield track, at, item


DOCUMENT = Record(Timeline)
"""The shape of a whole document."""
