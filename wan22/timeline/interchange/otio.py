"""A timeline as OpenTimelineIO: everything is in it, what editors know as OTIO's own, and all else as metadata.

Every object has what it is in our document under `metadata["wan22"]`, so that it comes back as it was, and a clip's
recipe is `metadata["wan22"]["recipe"]`. A clip's takes are media references; the chosen one is the active one. Its
`available_range` is the whole source, so that editors have handles. `source_range` begins at the first source frame and
lasts as long as the clip does on the timeline, both at the source's rate; a speed is a `LinearTimeWarp`.

OTIO has audio on tracks of its own alone: the audio of videos is given once more, on tracks that are marked as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from wan22.timeline.document import dump
from wan22.timeline.interchange.common import Find, Notes, file_url, has_audio, media_name, named, printable
from wan22.timeline.interchange.features import note_lost
from wan22.timeline.items import Clip, Gap, Item, Marker, Media, Timeline, Track, Transition

if TYPE_CHECKING:
    from opentimelineio import opentime, schema

__all__ = ["AUDIO_OF", "LOST", "META", "marker_color", "to_otio", "with_audio_tracks"]

META = "wan22"
AUDIO_OF = "audio_of"
"""In the metadata of a track or clip that is the audio of another one."""
DISSOLVE = "SMPTE_Dissolve"
_ACTIVE = "DEFAULT_MEDIA"
_LARGEST = 1 << 63

LOST = {
    "how sources fill the image": "it is in the metadata, which editors do not read",
    "levels": "they are in the metadata, which editors do not read",
    "levels of tracks": "they are in the metadata, which editors do not read",
    "ducking": "it is in the metadata, which editors do not read",
    "locked tracks": "that they are locked is in the metadata, which editors do not read",
    "links": "they are in the metadata, which editors do not read",
    "titles": "they are in the metadata, which editors do not read",
    "captions": "they are in the metadata, which editors do not read; export them as srt, vtt or ass",
    "in and out": "they are in the metadata, which editors do not read",
    "loudness": "it is in the metadata, which editors do not read",
    "size of the image": "it is in the metadata; an editor asks, or takes that of the first clip",
}
"""What is kept, and yet not seen in an editor."""


def to_otio(timeline: Timeline, find: Find, notes: Notes) -> schema.Timeline:
    """A timeline as OpenTimelineIO's."""
    from opentimelineio import opentime, schema

    rate = float(timeline.fps)
    document = dump(timeline)
    found = schema.Timeline(
        name=printable(timeline.name),
        global_start_time=opentime.RationalTime(timeline.start, rate) if timeline.start else None,
        metadata=_metadata(
            {key: value for key, value in document.items() if key not in ("tracks", "markers")}
        ),
    )
    for track in with_audio_tracks(timeline):
        kind = schema.TrackKind.Video if track.kind == "video" else schema.TrackKind.Audio
        told = schema.Track(
            name=printable(track.name or track.id), kind=kind, metadata=_metadata(_own(track)), children=[]
        )
        told.enabled = not track.muted
        told.extend(_Children(timeline, track, find, notes).all())
        found.tracks.append(told)
    found.tracks.markers.extend(_marker(marker, rate) for marker in timeline.markers)
    note_lost(timeline, notes, LOST)
    return found


def with_audio_tracks(timeline: Timeline) -> list[Track]:
    """The tracks, and after them the audio of the clips of video tracks as tracks of audio.

    What was made so has the id of what it is the audio of in `extra`, and a longer id of its own.
    """
    heard = [_audio(track) for track in timeline.tracks if track.kind == "video"]
    return [*timeline.tracks, *(track for track in heard if track is not None)]


def _audio(track: Track) -> Track | None:
    """The audio of a video track; None if nothing of it is heard."""
    items: list[Item] = []
    for index, item in enumerate(track.items):
        if isinstance(item, Clip) and has_audio(item):
            items.append(
                replace(item, id=f"{item.id}.audio", takes=(), recipe=None, extra={AUDIO_OF: item.id})
            )
        elif isinstance(item, Transition):
            beside = (track.items[index - 1], track.items[index + 1])
            if all(isinstance(each, Clip) and has_audio(each) for each in beside):
                items.append(replace(item, id=f"{item.id}.audio", extra={AUDIO_OF: item.id}))
        else:
            items.append(Gap(id=f"{item.id}.audio", duration=item.duration, extra={AUDIO_OF: item.id}))
    if not any(isinstance(item, Clip) for item in items):
        return None
    extra = {AUDIO_OF: track.id}
    name = f"{track.name or track.id} audio"
    return replace(
        track, id=f"{track.id}.audio", kind="audio", name=name, items=tuple(items), duck=None, extra=extra
    )


class _Children:
    """The items of a track as OTIO's: fades to and from nothing are transitions beside a gap or the track's end."""

    def __init__(self, timeline: Timeline, track: Track, find: Find, notes: Notes) -> None:
        self.track, self.find, self.notes = track, find, notes
        self.fps, self.rate = timeline.fps, float(timeline.fps)

    def all(self) -> Iterator[schema.Clip | schema.Gap | schema.Transition]:
        from opentimelineio import schema

        items = self.track.items
        for index, item in enumerate(items):
            if isinstance(item, Transition):
                yield self._transition(item.in_offset, item.out_offset, _own(item))
            elif isinstance(item, Gap):
                yield schema.Gap(source_range=self._range(0, item.duration), metadata=_metadata(_own(item)))
            else:
                before = index == 0 or isinstance(items[index - 1], Gap)
                after = index + 1 == len(items) or isinstance(items[index + 1], Gap)
                yield from self._clip(index, item, before, after)

    def _clip(self, index: int, clip: Clip, before: bool, after: bool) -> Iterator[Any]:
        """A clip, and its fades where OTIO has them: `before` and `after` say that nothing stands there."""
        own = _own(clip)
        if clip.fade_in and before:
            del own["fade_in"]
            yield self._transition(0, clip.fade_in, {"fade": "in"})
        if clip.fade_out and after:
            del own["fade_out"]
        if own.get("fade_in") or own.get("fade_out"):
            self.notes.add(
                "fades where other clips or dissolves are: they are in the metadata, which editors do not read",
                named(clip),
            )
        yield self._told(clip, own)
        if clip.fade_out and after:
            yield self._transition(clip.fade_out, 0, {"fade": "out"})

    def _told(self, clip: Clip, own: dict[str, Any]) -> schema.Clip:
        from opentimelineio import opentime, schema

        source, speed = Fraction(*clip.source.rate), Fraction(*clip.speed)
        lasts = opentime.RationalTime(float(clip.duration * source / self.fps), float(source))
        told = schema.Clip(
            name=printable(named(clip)),
            source_range=opentime.TimeRange(opentime.RationalTime(clip.start, float(source)), lasts),
            metadata=_metadata(own),
        )
        told.enabled = clip.enabled
        if speed != 1:
            told.effects.append(schema.LinearTimeWarp(name="Speed", time_scalar=float(speed)))
        told.set_media_references(*self._references(clip))
        return told

    def _references(self, clip: Clip) -> tuple[dict[str, Any], str]:
        """The media of a clip, with its takes, and which of them is shown."""
        found = {f"take-{number}": self._reference(take, clip) for number, take in enumerate(clip.takes, 1)}
        if clip.media in clip.takes:
            return found, f"take-{clip.takes.index(clip.media) + 1}"
        return {_ACTIVE: self._reference(clip.media, clip), **found}, _ACTIVE

    def _reference(self, media: Media, clip: Clip) -> schema.ExternalReference | schema.MissingReference:
        """A media; all takes of a clip are as long as it."""
        from opentimelineio import opentime, schema

        rate = float(Fraction(*clip.source.rate))
        whole = opentime.TimeRange(
            opentime.RationalTime(0, rate), opentime.RationalTime(clip.source.frames, rate)
        )
        path = self.find(media)
        about: dict[str, Any] = {
            "available_range": None if clip.source.still else whole,
            "metadata": _metadata({"media": media}),
        }
        if path is None:
            self.notes.add("media that is not there", media_name(media))
            told = schema.MissingReference(name=media_name(media), **about)
        else:
            told = schema.ExternalReference(target_url=file_url(path), **about)
            told.name = path.name
        return told

    def _transition(self, before: int, after: int, own: dict[str, Any]) -> schema.Transition:
        from opentimelineio import opentime, schema

        return schema.Transition(
            name="Dissolve",
            transition_type=DISSOLVE,
            in_offset=opentime.RationalTime(before, self.rate),
            out_offset=opentime.RationalTime(after, self.rate),
            metadata=_metadata(own),
        )

    def _range(self, start: int, duration: int) -> opentime.TimeRange:
        from opentimelineio import opentime

        return opentime.TimeRange(
            opentime.RationalTime(start, self.rate), opentime.RationalTime(duration, self.rate)
        )


def _marker(marker: Marker, rate: float) -> schema.Marker:
    from opentimelineio import opentime, schema

    place = opentime.TimeRange(
        opentime.RationalTime(marker.at, rate), opentime.RationalTime(marker.duration, rate)
    )
    return schema.Marker(
        name=printable(marker.name),
        marked_range=place,
        color=marker_color(marker.color),
        metadata=_metadata(_own(marker)),
    )


def marker_color(color: str) -> str:
    """The color of OTIO's that stands for one of ours: red for those that it does not know."""
    from opentimelineio import schema

    known = {each for name, each in vars(schema.MarkerColor).items() if name.isupper()}
    return color.upper() if color.upper() in known else schema.MarkerColor.RED


def _own(thing: Track | Item | Marker) -> dict[str, Any]:
    """What something is in our document; of a track, without its items."""
    from wan22.timeline.shapes import Record

    told = Record(type(thing)).dump(thing)
    told.pop("items", None)
    return told


def _metadata(own: dict[str, Any]) -> dict[str, Any]:
    """Values as metadata of OTIO; as JSON text where it cannot hold them."""
    return {META: own if _holds(own) else {"json": json.dumps(own)}}


def _holds(value: Any) -> bool:
    """Whether OTIO can hold a value: whole numbers have 64 bits, its reader is exact to 15 digits, and an object that
    names a schema is one.
    """
    match value:
        case dict():
            return "OTIO_SCHEMA" not in value and all(
                _holds(key) and _holds(each) for key, each in value.items()
            )
        case list() | tuple():
            return all(map(_holds, value))
        case str():
            return not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value)
        case bool():
            return True
        case int():
            return -_LARGEST <= value < _LARGEST
        case float():
            return float(f"{value:.15g}") == value and (value == 0 or 1e-15 < abs(value) < 1e15)
    return True
