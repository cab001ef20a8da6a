"""What another program says of clips as clips of ours: whole source frames, handles, and audio in one place.

Other programs trim by frames of the timeline, and have the audio of a video on tracks of its own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from wan22.timeline.interchange.common import Notes, named, whole
from wan22.timeline.items import Clip, Gap, Item, Track, Transition, whole_frames

__all__ = ["Cut", "FreshIds", "Lane", "Nothing", "Piece", "fitted", "join_audio", "laid", "linked"]

_SLOWEST, _FASTEST = Fraction(1, 4), Fraction(4)


@dataclass
class Piece:
    """A clip from frame `at` to frame `end` of the timeline, before it is laid.

    The length of its source is `measured`, or at least `known` from the other program. `of` is the id of the clip that
    it is the audio of.
    """

    at: int
    end: int
    clip: Clip
    measured: bool = False
    known: bool = False
    of: str | None = None


@dataclass
class Cut:
    """A transition from `before` frames before frame `at` to `after` frames after it; `own` is what it is in our
    document, if it is one of ours.
    """

    at: int
    before: int
    after: int
    own: dict[str, Any] = field(default_factory=dict)


@dataclass
class Nothing:
    """A gap of ours."""

    at: int
    end: int
    own: dict[str, Any]


@dataclass
class Lane:
    """What is on a track, in order: clips, transitions, and gaps of ours."""

    pieces: list[Piece] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    gaps: list[Nothing] = field(default_factory=list)


class FreshIds:
    """Ids that are given once: a wanted one if it is free."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next: Counter[str] = Counter()

    def __call__(self, letter: str, wanted: object = None) -> str:
        name = wanted if isinstance(wanted, str) and wanted else ""
        while not name or name in self._used:
            self._next[letter] += 1
            name = f"{letter}{self._next[letter]}"
        self._used.add(name)
        return name


def fitted(clip: Clip, duration: int, rate: Fraction, measured: bool, notes: Notes) -> Clip:
    """A clip that lasts `duration` frames: as many whole source frames as come near, and the rest by its speed.

    `clip` says where it begins, and how fast it is; its end is a hint. It may come out shorter if its source ends.
    """
    source, speed = Fraction(*clip.source.rate), Fraction(*clip.speed)
    if not _SLOWEST <= speed <= _FASTEST:
        notes.add("speeds are 1/4 to 4, and come as near as that", named(clip))
        speed = min(max(speed, _SLOWEST), _FASTEST)
    wanted = duration * source / rate * speed
    hints = (clip.end - clip.start, whole(wanted), *(int(wanted) + each for each in (0, 1, -1, 2)))
    counts = [count for count in hints if count > 0 and whole_frames(count, source, rate, speed) == duration]
    count = counts[0] if counts else max(1, whole(wanted))
    if not counts:
        speed = count / source * rate / duration
        if not _SLOWEST <= speed <= _FASTEST:
            speed = min(max(speed, _SLOWEST), _FASTEST)
        notes.add("clips run a little faster or slower, so that they have whole source frames", named(clip))
    frames = clip.source.frames
    if clip.source.still:
        start = clip.start
    elif measured:
        start = min(clip.start, frames - 1)
        if start + count > frames:
            notes.add("clips that are longer than their file end with it", named(clip))
            count = frames - start
    else:
        start, frames = clip.start, max(frames, clip.start + count)
    pair = speed.as_integer_ratio() if speed != Fraction(*clip.speed) else clip.speed
    return replace(
        clip,
        start=start,
        end=start + count,
        speed=pair,
        duration=whole_frames(count, source, rate, speed),
        source=replace(clip.source, frames=frames),
    )


def join_audio(videos: Iterable[list[Piece]], audios: Iterable[list[Piece]], notes: Notes, own: bool) -> None:
    """Give the audio of videos back to them, and take it from the tracks of audio.

    It is the same piece of the same media at the same place. In a file of ours (`own`) it is only what is marked, and
    a video that has lost it is muted; in another one a video is heard only if its audio is there.
    """
    heard: dict[tuple[object, ...], list[Piece]] = {}
    tracks = list(audios)
    for track in tracks:
        for piece in track:
            heard.setdefault(_place(piece, own), []).append(piece)
    joined: set[int] = set()
    for track in videos:
        for piece in track:
            found = heard.pop(_place(piece, own, of=piece.clip.id), [])
            source = piece.clip.source
            if own and (piece.clip.mute or not source.audio):
                continue
            if own and not found:
                notes.add("videos whose audio was moved or left out are muted", named(piece.clip))
            joined |= {id(audio) for audio in found}
            gain = found[0].clip.gain_db if found and not own else piece.clip.gain_db
            source = replace(source, audio=True) if found else source
            piece.clip = replace(piece.clip, mute=source.audio and not found, gain_db=gain, source=source)
    for track in tracks:
        track[:] = [piece for piece in track if id(piece) not in joined]


def _place(piece: Piece, own: bool, of: str | None = None) -> tuple[object, ...]:
    named_as = (of or piece.of) if own else repr(sorted(piece.clip.media.items()))
    return piece.at, piece.end, piece.clip.start, Fraction(*piece.clip.speed), named_as


def linked(tracks: tuple[Track, ...]) -> tuple[Track, ...]:
    """Tracks without the links that join nothing: clips of one link are two or more, on as many tracks."""
    count: dict[str, Counter[str]] = {}
    for track in tracks:
        for item in track.items:
            if isinstance(item, Clip) and item.link is not None:
                count.setdefault(item.link, Counter())[track.id] += 1
    joining = {link for link, of in count.items() if len(of) > 1 and max(of.values()) == 1}

    def kept(item: Item) -> Item:
        return replace(item, link=None) if isinstance(item, Clip) and item.link not in joining else item

    return tuple(replace(track, items=tuple(kept(item) for item in track.items)) for track in tracks)


def laid(lane: Lane, rate: Fraction, notes: Notes, fresh: FreshIds) -> tuple[Item, ...]:
    """What is on a track as its items, with gaps where nothing is."""
    pieces, cuts = lane.pieces, lane.cuts
    begins = {piece.at: piece for piece in pieces}
    ends = {piece.at + piece.clip.duration: piece for piece in pieces}
    taken: Counter[str] = Counter()
    dissolves: dict[int, Cut] = {}
    for cut in cuts:
        left, right = ends.get(cut.at), begins.get(cut.at)
        if left is not None and right is not None:
            if possible := _dissolve(cut, left, right, taken, rate):
                dissolves[cut.at] = possible
                if (possible.before, possible.after) == (cut.before, cut.after):
                    continue
            notes.add("dissolves are as long as the sources around the cut allow", named(right.clip))
        elif left is not None or right is not None:
            _fade(cut, left, right)
        else:
            notes.add(f"transitions beside no clip are not taken: at frame {cut.at}")
    items: list[Item] = []
    gaps = deque(lane.gaps)
    at = 0
    for piece in pieces:
        if piece.at > at:
            items += _gaps(gaps, at, piece.at, fresh)
        elif cut := dissolves.get(piece.at):
            items.append(_transition(cut, fresh))
        items.append(piece.clip)
        at = piece.at + piece.clip.duration
    end = max((gap.end for gap in lane.gaps), default=at)
    return (*items, *_gaps(gaps, at, end, fresh))


def _gaps(gaps: deque[Nothing], start: int, end: int, fresh: FreshIds) -> Iterator[Gap]:
    """Nothing from one frame to another: our own gaps where there were some, which are taken from those to come."""
    while gaps and gaps[0].at < end:
        gap = gaps.popleft()
        if gap.at < start or gap.end > end:
            continue
        if gap.at > start:
            yield Gap(id=fresh("g"), duration=gap.at - start)
        extra = {key: value for key, value in gap.own.items() if key not in ("id", "type", "duration")}
        yield Gap(id=fresh("g", gap.own.get("id")), duration=gap.end - gap.at, extra=extra)
        start = gap.end
    if end > start:
        yield Gap(id=fresh("g"), duration=end - start)


def _transition(cut: Cut, fresh: FreshIds) -> Transition:
    known = ("id", "type", "kind", "in_offset", "out_offset")
    extra = {key: value for key, value in cut.own.items() if key not in known}
    name = fresh("t", cut.own.get("id"))
    return Transition(id=name, in_offset=cut.before, out_offset=cut.after, extra=extra)


def _dissolve(cut: Cut, left: Piece, right: Piece, taken: Counter[str], rate: Fraction) -> Cut | None:
    """The longest dissolve up to `cut` for which both clips have frames; None if there is none.

    A source whose length nobody knows is taken to be long enough.
    """
    before = min(cut.before, left.clip.duration - taken[left.clip.id])
    after = min(cut.after, right.clip.duration)
    if not left.clip.source.still:
        frames = left.clip.source.frames
        if not (left.measured or left.known):
            frames = max(frames, left.clip.source_frame(left.clip.duration + after - 1, rate) + 1)
            left.clip = replace(left.clip, source=replace(left.clip.source, frames=frames))
        while after > 0 and left.clip.source_frame(left.clip.duration + after - 1, rate) >= frames:
            after -= 1
    if not right.clip.source.still:
        while before > 0 and right.clip.source_frame(-before, rate) < 0:
            before -= 1
    if before < 0 or before + after < 1:
        return None
    taken[left.clip.id] += before
    taken[right.clip.id] += after
    return replace(cut, before=before, after=after)


def _fade(cut: Cut, left: Piece | None, right: Piece | None) -> None:
    """A transition beside nothing is a fade of the clip that is there."""
    if left is not None:
        clip = left.clip
        left.clip = replace(clip, fade_out=min(cut.before or cut.after, clip.duration - clip.fade_in))
    elif right is not None:
        clip = right.clip
        right.clip = replace(clip, fade_in=min(cut.after or cut.before, clip.duration - clip.fade_out))
