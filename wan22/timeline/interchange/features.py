"""What a timeline may have beyond clips in a row, so that every writer says of each whether its format holds it.

A writer has a table of what it loses, with words for it; docs/timeline.md has the same as a table of all formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

from wan22.timeline.interchange.common import Notes, counts_timecode, has_audio, named, nominal, printable
from wan22.timeline.items import Clip, Timeline, Track, Transition

__all__ = ["FEATURES", "note_lost"]


def _clips(has: Callable[[Timeline, Track, Clip], object]) -> Callable[[Timeline], list[str]]:
    def names(timeline: Timeline) -> list[str]:
        return [named(clip) for track, _, clip in timeline.clips() if has(timeline, track, clip)]

    return names


def _tracks(has: Callable[[Track], object]) -> Callable[[Timeline], list[str]]:
    return lambda timeline: [track.name or track.id for track in timeline.tracks if has(track)]


def _whole(has: Callable[[Timeline], object]) -> Callable[[Timeline], list[str]]:
    return lambda timeline: [""] if has(timeline) else []


def _fills(timeline: Timeline, track: Track, clip: Clip) -> bool:
    """Whether it matters that a clip covers the image, or fits into it: its proportions are others."""
    width, height = clip.source.size or (0, 0)
    return track.kind == "video" and width * timeline.size[1] != height * timeline.size[0]


def _other_rate(timeline: Timeline, track: Track, clip: Clip) -> bool:
    return not clip.source.still and Fraction(*clip.source.rate) != timeline.fps


FEATURES: Mapping[str, Callable[[Timeline], list[str]]] = {
    "several tracks": lambda timeline: [track.name or track.id for track in timeline.tracks[1:]],
    "dissolves": lambda timeline: [
        item.id for track in timeline.tracks for item in track.items if isinstance(item, Transition)
    ],
    "fades": _clips(lambda timeline, track, clip: clip.fade_in or clip.fade_out),
    "speeds": _clips(lambda timeline, track, clip: Fraction(*clip.speed) != 1),
    "sources of another rate": _clips(_other_rate),
    "images": _clips(lambda timeline, track, clip: clip.source.still),
    "audio of videos": _clips(lambda timeline, track, clip: track.kind == "video" and has_audio(clip)),
    "takes": _clips(lambda timeline, track, clip: clip.takes),
    "recipes": _clips(lambda timeline, track, clip: clip.recipe),
    "links": _clips(lambda timeline, track, clip: clip.link),
    "clips that are switched off": _clips(lambda timeline, track, clip: not clip.enabled),
    "how sources fill the image": _clips(_fills),
    "levels": _clips(lambda timeline, track, clip: clip.gain_db),
    "levels of tracks": _tracks(lambda track: track.gain_db),
    "ducking": _tracks(lambda track: track.duck),
    "muted tracks": _tracks(lambda track: track.muted),
    "locked tracks": _tracks(lambda track: track.locked),
    "markers": lambda timeline: [marker.name or marker.id for marker in timeline.markers],
    "lengths of markers": lambda timeline: [
        marker.name or marker.id for marker in timeline.markers if marker.duration
    ],
    "colors of markers": lambda timeline: [
        marker.name or marker.id for marker in timeline.markers if marker.color != "red"
    ],
    "titles": lambda timeline: [title.text for title in timeline.titles],
    "captions": lambda timeline: [caption.text for caption in timeline.captions],
    "size of the image": _whole(lambda timeline: True),
    "first timecode": _whole(lambda timeline: timeline.start),
    "in and out": _whole(lambda timeline: timeline.first is not None or timeline.last is not None),
    "loudness": _whole(lambda timeline: timeline.loudness is not None),
    "rates without timecode": _whole(lambda timeline: not counts_timecode(timeline.fps)),
    "rates that few programs know": _whole(
        lambda timeline: nominal(timeline.fps) not in (24, 25, 30, 48, 50, 60)
    ),
    "notes of its own": _whole(lambda timeline: timeline.meta or timeline.extra),
}
"""What there may be, and the names of what has it in a timeline; none if it has it not."""


def note_lost(timeline: Timeline, notes: Notes, lost: Mapping[str, str]) -> None:
    """Note what a timeline has of the features `lost`, in the words that are given for each."""
    for feature, words in lost.items():
        if names := FEATURES[feature](timeline):
            notes.add(f"{feature}: {words}", *_short(names))


def _short(names: Iterable[str]) -> Iterable[str]:
    """Names in one line each; nothing where the whole timeline is meant."""
    return (" ".join(printable(name).split())[:60] for name in names if name)
