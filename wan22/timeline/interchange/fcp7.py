"""FCP7 XML (xmeml), which Premiere, Resolve, Flame and others read and write; by OpenTimelineIO's adapter.

In it a clip counts in one rate, which is the timeline's here, after its speed; a dissolve is centred on its cut, or
begins or ends there; audio is on tracks of its own, and a clip's audio is linked to its images. What the adapter does
not write (links, rates without timecode) is added to its XML.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

from wan22.timeline.interchange.common import (
    Find,
    Notes,
    around,
    centred,
    check_rate,
    counts_timecode,
    file_url,
    is_drop,
    media_name,
    named,
    nominal,
    printable,
    timecode,
)
from wan22.timeline.interchange.features import note_lost
from wan22.timeline.interchange.otio import AUDIO_OF, DISSOLVE, META, with_audio_tracks
from wan22.timeline.items import Clip, Gap, Timeline, Track

if TYPE_CHECKING:
    from opentimelineio import schema

__all__ = ["LOST", "to_fcp7"]

_NAME = "fcp_xml"  # of the adapter, and of its metadata
_MOST_DB = 12.0  # that a level can be
_KNOWN = 24.0  # a rate that the adapter can count timecode in
LOST = {
    "sources of another rate": "their in points are counted in frames of the timeline",
    "takes": "only the chosen one is written",
    "recipes": "only the prompt is written, as a note",
    "levels of tracks": "they are added to those of their clips",
    "ducking": "it is not written",
    "colors of markers": "they are not written",
    "titles": "they are not written",
    "captions": "they are not written; export them as srt, vtt or ass",
    "loudness": "it is not written",
    "rates that few programs know": "few programs take it",
    "notes of its own": "they are not written",
}
"""What the format does not hold. (A rate without timecode is refused.)"""


def to_fcp7(timeline: Timeline, find: Find, notes: Notes) -> str:
    """A timeline as XML. Raises OutputError for a rate without timecode."""
    from opentimelineio import adapters, opentime, schema

    check_rate(timeline, "FCP7 XML")
    rate = float(timeline.fps)
    told = schema.Timeline(
        name=printable(timeline.name) or "timeline",
        metadata={_NAME: _sequence_values(timeline)},
    )
    writer = _Writer(timeline, find, notes)
    tracks = with_audio_tracks(timeline)
    for track in tracks:
        kind = schema.TrackKind.Video if track.kind == "video" else schema.TrackKind.Audio
        values = {"enabled": _flag(not track.muted), "locked": _flag(track.locked)}
        one = schema.Track(name=printable(track.name or track.id), kind=kind, metadata={_NAME: values})
        one.extend(writer.items(track))
        told.tracks.append(one)
    for marker in timeline.markers:
        place = opentime.TimeRange(
            opentime.RationalTime(marker.at, rate), opentime.RationalTime(marker.duration, rate)
        )
        told.tracks.markers.append(schema.Marker(name=printable(marker.name), marked_range=place))
    note_lost(timeline, notes, LOST)
    root = ElementTree.fromstring(adapters.write_to_string(told, _NAME))
    _timed(root, timeline, writer.files)
    _linked(root, writer.ids, tracks)
    ElementTree.indent(root)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n{ElementTree.tostring(root, "unicode")}\n'
    )


def _sequence_values(timeline: Timeline) -> dict[str, Any]:
    width, height = map(str, timeline.size)
    image = {"width": width, "height": height, "anamorphic": "FALSE", "pixelaspectratio": "square"}
    audio = {"depth": "16", "samplerate": "48000"}
    return {
        "in": str(-1 if timeline.first is None else timeline.first),
        "out": str(-1 if timeline.last is None else timeline.last),
        "media": {
            "video": {"format": {"samplecharacteristics": image | {"fielddominance": "none"}}},
            "audio": {"numOutputChannels": "2", "format": {"samplecharacteristics": audio}},
        },
    }


class _Writer:
    def __init__(self, timeline: Timeline, find: Find, notes: Notes) -> None:
        self.timeline, self.find, self.notes = timeline, find, notes
        self.fps, self.rate = timeline.fps, float(timeline.fps)
        self.ids: dict[str, str] = {}
        """The id in the XML of every clip."""
        self.files: dict[str, tuple[Fraction, int]] = {}
        """The rate and length of every file, by its address; the adapter knows the rates of SMPTE timecode alone."""

    def items(self, track: Track) -> Iterator[Any]:
        """The items of a track as OTIO's, as the adapter wants them."""
        from opentimelineio import schema

        for index, item in enumerate(track.items):
            if isinstance(item, Gap):
                yield schema.Gap(source_range=self._range(0, item.duration))
            elif isinstance(item, Clip):
                yield from self._clip(track, index, item)
            else:
                half = centred(track, index, self.fps)
                before, after = (
                    (half, half) if item.in_offset and item.out_offset else (item.in_offset, item.out_offset)
                )
                right = track.items[index + 1]
                assert isinstance(right, Clip)
                if not before + after:
                    self.notes.add("dissolves that cannot be centred on their cut are cuts", named(right))
                    continue
                if (before, after) != (item.in_offset, item.out_offset):
                    self.notes.add("dissolves are centred on their cut", named(right))
                yield self._transition(track.kind, before, after)

    def _clip(self, track: Track, index: int, clip: Clip) -> Iterator[Any]:
        before, after = around(track, index)
        items = track.items
        alone = (
            before is None and (index == 0 or isinstance(items[index - 1], Gap)),
            after is None and (index + 1 == len(items) or isinstance(items[index + 1], Gap)),
        )
        if (clip.fade_in and not alone[0]) or (clip.fade_out and not alone[1]):
            self.notes.add("fades where other clips or dissolves are, are not written", named(clip))
        if clip.fade_in and alone[0]:
            yield self._transition(track.kind, 0, clip.fade_in)
        yield self._told(track, clip)
        if clip.fade_out and alone[1]:
            yield self._transition(track.kind, clip.fade_out, 0)

    def _told(self, track: Track, clip: Clip) -> schema.Clip:
        from opentimelineio import schema

        name = self.ids.setdefault(clip.id, f"clipitem-{len(self.ids) + 1}")
        exact = clip.start * self.fps / Fraction(*clip.source.rate) / Fraction(*clip.speed)
        # Rounded up, so that the frame that is seen there is the same one.
        told = schema.Clip(
            name=printable(named(clip)),
            source_range=self._range(math.ceil(exact), clip.duration),
            metadata={_NAME: {"@id": name} | self._values(track, clip), META: {"id": clip.id}},
            media_reference=self._media(track, clip),
        )
        return told

    def _values(self, track: Track, clip: Clip) -> dict[str, Any]:
        values: dict[str, Any] = {"enabled": _flag(clip.enabled)}
        if filters := list(self._filters(track, clip)):
            values["filter"] = [{"effect": each} for each in filters]
        if track.kind == "audio":
            values["sourcetrack"] = {"mediatype": "audio", "trackindex": "1"}
        prompt = (clip.recipe or {}).get("prompt")
        if isinstance(prompt, str) and prompt:
            values["logginginfo"] = {"lognote": printable(prompt)}
        return values

    def _filters(self, track: Track, clip: Clip) -> Iterator[dict[str, Any]]:
        speed = Fraction(*clip.speed)
        if speed != 1:
            yield _effect(
                "Time Remap", "timeremap", "motion", track.kind,
                variablespeed="0", speed=f"{float(speed * 100):.10g}", reverse="FALSE", frameblending="FALSE",
            )  # fmt: skip
        if track.kind == "video" and clip.source.size and (scale := _scale(self.timeline, clip)) != 1:
            yield _effect("Basic Motion", "basic", "motion", "video", scale=f"{float(scale * 100):.6g}")
        gain = clip.gain_db + track.gain_db
        if track.kind == "audio" and gain:
            if gain > _MOST_DB:
                self.notes.add(f"levels are at most {_MOST_DB:g} dB", named(clip))
            level = 10 ** (min(gain, _MOST_DB) / 20)
            yield _effect("Audio Levels", "audiolevels", "audiolevels", "audio", level=f"{level:.8g}")

    def _media(self, track: Track, clip: Clip) -> schema.ExternalReference | schema.MissingReference:
        from opentimelineio import opentime, schema

        rate = Fraction(*clip.source.rate)
        if not counts_timecode(rate):
            rate = self.fps
        frames = math.ceil(max(clip.source.frames, clip.end) * rate / Fraction(*clip.source.rate))
        whole = opentime.TimeRange(opentime.RationalTime(0, _KNOWN), opentime.RationalTime(frames, _KNOWN))
        held: dict[str, Any] = {}
        if clip.source.size is not None:
            width, height = map(str, clip.source.size)
            held["video"] = {"samplecharacteristics": {"width": width, "height": height}}
        if clip.source.audio:
            held["audio"] = {"channelcount": "2"}
        path = self.find(clip.media)
        about: dict[str, Any] = {"available_range": whole, "metadata": {_NAME: {"media": held}}}
        if path is None:
            self.notes.add("media that is not there", media_name(clip.media))
            told = schema.MissingReference(name=printable(media_name(clip.media)), **about)
        else:
            told = schema.ExternalReference(target_url=file_url(path), **about)
            told.name = printable(path.name)
        key = file_url(path) if path is not None else told.name
        other = self.files.get(key, (rate, frames))  # several clips may know of one file: the longest counts
        self.files[key] = max((rate, frames), other, key=lambda each: each[1] / each[0])
        return told

    def _transition(self, kind: str, before: int, after: int) -> schema.Transition:
        from opentimelineio import opentime, schema

        names = {
            "video": ("Cross Dissolve", "Cross Dissolve"),
            "audio": ("Cross Fade (+3dB)", "KGAudioTransCrossFade3dB"),
        }
        name, effect = names[kind]
        values = {"name": name, "effectid": effect, "effectcategory": "Dissolve", "effecttype": "transition"}
        return schema.Transition(
            name=name,
            transition_type=DISSOLVE,
            in_offset=opentime.RationalTime(before, self.rate),
            out_offset=opentime.RationalTime(after, self.rate),
            metadata={_NAME: {"effect": values | {"mediatype": kind}}},
        )

    def _range(self, start: int, duration: int) -> Any:
        from opentimelineio import opentime

        return opentime.TimeRange(
            opentime.RationalTime(start, self.rate), opentime.RationalTime(duration, self.rate)
        )


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _effect(name: str, identity: str, category: str, kind: str, **values: str) -> dict[str, Any]:
    parameters = [{"parameterid": key, "name": key, "value": value} for key, value in values.items()]
    return {
        "name": name,
        "effectid": identity,
        "effectcategory": category,
        "effecttype": category,
        "mediatype": kind,
        "parameter": parameters,
    }


def _scale(timeline: Timeline, clip: Clip, fit: str | None = None) -> Fraction:
    """How much a source is enlarged to fill the image, or to fit into it; without it, it has its own size."""
    assert clip.source.size is not None
    sides = [Fraction(mine, its) for mine, its in zip(timeline.size, clip.source.size, strict=True)]
    return max(sides) if (fit or clip.fit) == "cover" else min(sides)


def _timed(root: ElementTree.Element, timeline: Timeline, files: Mapping[str, tuple[Fraction, int]]) -> None:
    """Write the true rates and lengths of files, and the timeline's first timecode; leave one rate in each clip."""
    for file in root.iter("file"):
        known = files.get(file.findtext("pathurl") or file.findtext("name") or "")
        if known is not None:
            for told in file.findall(".//rate"):
                _set_rate(told, known[0])
            for told in file.findall("duration"):
                told.text = str(known[1])
    for clip in root.iter("clipitem"):
        for twice in clip.findall("rate")[1:]:
            clip.remove(twice)
    sequence = root.find(".//sequence")
    assert sequence is not None
    for told in sequence.findall("rate"):  # an empty one has another
        _set_rate(told, timeline.fps)
    code, drop = SubElement(sequence, "timecode"), is_drop(timeline)
    _set_rate(SubElement(code, "rate"), timeline.fps)
    SubElement(code, "string").text = timecode(timeline.start, timeline.fps, drop)
    SubElement(code, "frame").text = str(timeline.start)
    SubElement(code, "displayformat").text = "DF" if drop else "NDF"


def _set_rate(told: ElementTree.Element, rate: Fraction) -> None:
    told.clear()
    SubElement(told, "timebase").text = str(nominal(rate))
    SubElement(told, "ntsc").text = _flag(rate.denominator != 1)


def _linked(root: ElementTree.Element, ids: Mapping[str, str], tracks: Sequence[Track]) -> None:
    """Write the links of clips, which the adapter leaves out."""
    places: dict[str, tuple[ElementTree.Element, list[tuple[str, str]]]] = {}
    for kind in ("video", "audio"):
        for number, track in enumerate(root.iterfind(f".//media/{kind}/track"), 1):
            for index, clip in enumerate(track.iterfind("clipitem"), 1):
                facts = [("mediatype", kind), ("trackindex", str(number)), ("clipindex", str(index))]
                places[clip.get("id", "")] = (clip, facts)
    for group in _links(tracks):
        names = [ids[each] for each in group]
        for name in names:
            clip, _ = places[name]
            for other in names:
                link = SubElement(clip, "link")
                for tag, value in (("linkclipref", other), *places[other][1]):
                    SubElement(link, tag).text = value


def _links(tracks: Sequence[Track]) -> list[list[str]]:
    """The ids of clips that belong together: linked ones, and images with their own audio."""
    groups: dict[str, list[str]] = {}
    for track in tracks:
        for clip in track.items:
            if not isinstance(clip, Clip):
                continue
            key = f"link {clip.link}" if clip.link else f"clip {clip.extra.get(AUDIO_OF, clip.id)}"
            groups.setdefault(key, []).append(clip.id)
    return [group for group in groups.values() if len(group) > 1]
