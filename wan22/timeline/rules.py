"""What must hold in a timeline whose shape is right. Each rule yields (code, where, what is wrong)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction

from wan22.timeline.items import Clip, Item, Media, Source, Timeline, Track, Transition, whole_frames

__all__ = ["MOST_DB", "broken"]

Broken = Iterator[tuple[str, str, str]]

SIDES = 16, 4096  # pixels
RATES = 1, 240  # frames a second
SOURCE_RATES = 0, 1000
SPEEDS = Fraction(1, 4), Fraction(4)
LEAST_DB, MOST_DB = -96.0, 24.0
LOUDNESS = -70.0, -5.0  # LUFS
MOST_DUCK = 60.0  # dB
MOST_FRAMES = 10_000_000
KINDS = ("dissolve",)
MEDIA = ({"job", "file"}, {"input"}, {"path"})


def broken(timeline: Timeline) -> Broken:
    """Everything that is wrong with a timeline, in the order of the document."""
    if not _is_rate(timeline.rate, *RATES):
        yield (
            "rate",
            "rate",
            f"{_ratio(timeline.rate)} frames a second; from {RATES[0]} to {RATES[1]} are possible",
        )
        return  # nothing on the timeline means anything
    if not all(SIDES[0] <= side <= SIDES[1] for side in timeline.size):
        size = "x".join(map(str, timeline.size))
        yield "size", "size", f"{size}; sides are {SIDES[0]} to {SIDES[1]} pixels"
    if not 0 <= timeline.start <= MOST_FRAMES:
        yield "range", "start", f"it is {timeline.start}; 0 to {MOST_FRAMES} are possible"
    if timeline.loudness is not None and not LOUDNESS[0] <= timeline.loudness <= LOUDNESS[1]:
        yield "range", "loudness", f"{timeline.loudness} LUFS; {LOUDNESS[0]} to {LOUDNESS[1]} are possible"
    yield from _ids(timeline)
    for index, track in enumerate(timeline.tracks):
        yield from _track(timeline, track, f"tracks[{index}]")
    yield from _links(timeline)
    yield from _texts(timeline)
    yield from _range(timeline)


def _ids(timeline: Timeline) -> Broken:
    seen: set[str] = set()
    for where, name in _named(timeline):
        if not name:
            yield "id", where, "an id cannot be empty"
        elif name in seen:
            yield "id", where, f'the id "{name}" is given twice'
        seen.add(name)


def _named(timeline: Timeline) -> Iterator[tuple[str, str]]:
    for index, track in enumerate(timeline.tracks):
        yield f"tracks[{index}].id", track.id
        for number, item in enumerate(track.items):
            yield f"tracks[{index}].items[{number}].id", item.id
    for name, things in (
        ("markers", timeline.markers),
        ("titles", timeline.titles),
        ("captions", timeline.captions),
    ):
        for index, thing in enumerate(things):
            yield f"{name}[{index}].id", thing.id


def _track(timeline: Timeline, track: Track, where: str) -> Broken:
    yield from _gain(track.gain_db, where)
    if track.duck is not None:
        others = {each.id for each in timeline.tracks} - {track.id}
        if track.duck.under not in others:
            yield "duck", f"{where}.duck.under", f'no other track has the id "{track.duck.under}"'
        if not 0 <= track.duck.by_db <= MOST_DUCK:
            yield "duck", f"{where}.duck.by_db", f"{track.duck.by_db} dB; 0 to {MOST_DUCK} are possible"
    certain: set[str] = set()  # ids of clips whose numbers mean something
    for index, item in enumerate(track.items):
        place = f"{where}.items[{index}]"
        if isinstance(item, Clip):
            wrong = list(_clip(timeline, track, item, place))
            yield from wrong
            if not {code for code, _, _ in wrong} & {"source", "range", "speed"}:
                certain.add(item.id)
        elif not isinstance(item, Transition) and not 1 <= item.duration <= MOST_FRAMES:
            yield "duration", f"{place}.duration", f"{item.duration} frames; 1 to {MOST_FRAMES} are possible"
    yield from _transitions(timeline, track.items, certain, where)


def _clip(timeline: Timeline, track: Track, clip: Clip, where: str) -> Broken:
    yield from _media(clip.media, f"{where}.media")
    for index, take in enumerate(clip.takes):
        yield from _media(take, f"{where}.takes[{index}]")
    yield from _gain(clip.gain_db, where)
    faults = [*_source(clip.source, track.kind, f"{where}.source")]
    if not faults and not (
        0 <= clip.start < clip.end and (clip.source.still or clip.end <= clip.source.frames)
    ):
        shown = f"frames {clip.start} to {clip.end}"
        faults += [
            ("range", where, f"{shown} of {clip.source.frames}; in is at least 0, out is more than in")
        ]
    if min(clip.speed) < 1 or not SPEEDS[0] <= Fraction(*clip.speed) <= SPEEDS[1]:
        faults += [("speed", f"{where}.speed", f"{_ratio(clip.speed)}; 1/4 to 4 are possible")]
    yield from faults
    if not faults:
        length = whole_frames(
            clip.end - clip.start, Fraction(*clip.source.rate), timeline.fps, Fraction(*clip.speed)
        )
        if clip.duration != length:
            yield (
                "duration",
                f"{where}.duration",
                f"{clip.duration} frames; its range and speed make {length}",
            )
    if min(clip.fade_in, clip.fade_out) < 0 or clip.fade_in + clip.fade_out > clip.duration:
        yield (
            "fade",
            where,
            f"fades of {clip.fade_in} and {clip.fade_out} frames in a clip of {clip.duration}",
        )


def _media(media: Media, where: str) -> Broken:
    named = set(media)
    right = any(form <= named and not (named & _OTHERS) - form for form in MEDIA)
    if not right or not all(isinstance(media[key], str) and media[key] for key in named & _OTHERS):
        yield "media", where, 'media is {"job", "file"}, {"input"} or {"path"}, each a text'


_OTHERS = set().union(*MEDIA)


def _source(source: Source, kind: str, where: str) -> Broken:
    if not 1 <= source.frames <= MOST_FRAMES:
        yield "source", f"{where}.frames", f"{source.frames}; 1 to {MOST_FRAMES} are possible"
    if not _is_rate(source.rate, *SOURCE_RATES):
        yield (
            "source",
            f"{where}.rate",
            f"{_ratio(source.rate)} frames a second; up to {SOURCE_RATES[1]} are possible",
        )
    if source.size is not None and min(source.size) < 1:
        yield "source", f"{where}.size", "sides are at least 1 pixel"
    if kind == "video" and source.size is None:
        yield "source", f"{where}.size", "a clip on a video track has a size"
    if kind == "audio" and not source.audio:
        yield "source", f"{where}.audio", "a clip on an audio track has audio"


def _transitions(timeline: Timeline, items: tuple[Item, ...], certain: set[str], where: str) -> Broken:
    taken: defaultdict[str, int] = defaultdict(int)  # frames of a clip that dissolves have
    for index, item in enumerate(items):
        if not isinstance(item, Transition):
            continue
        place = f"{where}.items[{index}]"
        before = items[index - 1] if index else None
        after = items[index + 1] if index + 1 < len(items) else None
        if not (isinstance(before, Clip) and isinstance(after, Clip)):
            yield "transition", place, "a transition stands between two clips"
            continue
        if item.kind not in KINDS:
            yield "transition", f"{place}.kind", f'"{item.kind}" is not known; known: {", ".join(KINDS)}'
        if min(item.in_offset, item.out_offset) < 0 or item.in_offset + item.out_offset < 1:
            yield "transition", place, f"offsets of {item.in_offset} and {item.out_offset} frames"
            continue
        taken[before.id] += item.in_offset
        taken[after.id] += item.out_offset
        if taken[before.id] > before.duration or item.out_offset > after.duration:
            yield "transition", place, "a transition is longer than what a clip beside it has"
            continue
        if before.id in certain and not before.source.still:
            last = before.source_frame(before.duration + item.out_offset - 1, timeline.fps)
            if last >= before.source.frames:
                missing = last + 1 - before.source.frames
                yield "handles", place, f"the clip before it lacks {missing} source frames after its end"
        if after.id in certain and not after.source.still:
            first = after.source_frame(-item.in_offset, timeline.fps)
            if first < 0:
                yield "handles", place, f"the clip after it lacks {-first} source frames before its beginning"


def _links(timeline: Timeline) -> Broken:
    linked: defaultdict[str, list[str]] = defaultdict(list)
    for track, _, clip in timeline.clips():
        if clip.link is not None:
            linked[clip.link].append(track.id)
    for link, tracks in linked.items():
        if len(tracks) < 2 or max(Counter(tracks).values()) > 1:
            yield (
                "link",
                "tracks",
                f'the link "{link}" is of {len(tracks)} clips; it joins two or more, on other tracks',
            )


def _texts(timeline: Timeline) -> Broken:
    for index, marker in enumerate(timeline.markers):
        if min(marker.at, marker.duration) < 0:
            yield "marker", f"markers[{index}]", f"at {marker.at} for {marker.duration} frames; at least 0"
    for index, title in enumerate(timeline.titles):
        where = f"titles[{index}]"
        if not 0 <= title.start < title.end or not 0 <= 2 * title.fade <= title.end - title.start:
            yield "title", where, f"from {title.start} to {title.end}, with fades of {title.fade} frames"
        if not 0 < title.style.size <= 1:
            yield "title", f"{where}.style.size", f"{title.style.size}; more than 0, at most 1"
    ends: dict[str, tuple[int, str]] = {}
    order = sorted(range(len(timeline.captions)), key=lambda index: timeline.captions[index].start)
    for index in order:
        caption, where = timeline.captions[index], f"captions[{index}]"
        if not 0 <= caption.start < caption.end:
            yield "caption", where, f"from {caption.start} to {caption.end}"
            continue
        if caption.text.count("\n") > 1:
            yield "caption", where, "more than two lines"
        end, other = ends.get(caption.language, (0, ""))
        if caption.start < end:
            yield "caption", where, f"it begins before {other} ends, in the same language"
        ends[caption.language] = max((caption.end, where), (end, other))


def _range(timeline: Timeline) -> Broken:
    first, last = timeline.first, timeline.last
    if (first is not None and first < 0) or (last is not None and last <= (first or 0)):
        yield "in_out", "in", f"from {first} to {last}; in is at least 0, out is more than in"


def _gain(gain: float, where: str) -> Broken:
    if not LEAST_DB <= gain <= MOST_DB:
        yield "range", f"{where}.gain_db", f"{gain} dB; {LEAST_DB} to {MOST_DB} are possible"


def _is_rate(rate: tuple[int, int], least: int, most: int) -> bool:
    return min(rate) >= 1 and least <= Fraction(*rate) <= most


def _ratio(pair: tuple[int, int]) -> str:
    return f"{pair[0]}/{pair[1]}"
