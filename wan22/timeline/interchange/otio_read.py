"""OpenTimelineIO of any program as a timeline of ours, with notes of what was not taken.

What editors know is read from OTIO's own objects, so that what was changed there counts; all else, where the file was
ours, from `metadata["wan22"]`. Files come from strangers: their metadata is used only as far as it makes a timeline
that is right, and media is reached only through the caller's `Relink`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from wan22.errors import TimelineError
from wan22.timeline.document import check, dump
from wan22.timeline.interchange.common import (
    Look,
    Notes,
    Relink,
    exact_rate,
    media_name,
    named,
    path_of,
    whole,
)
from wan22.timeline.interchange.otio import AUDIO_OF, DISSOLVE, META, marker_color
from wan22.timeline.interchange.otio_values import (
    named_as,
    noted,
    seconds,
    sequence_of,
    unmarked,
    without_metadata,
)
from wan22.timeline.interchange.pieces import (
    Cut,
    FreshIds,
    Lane,
    Nothing,
    Piece,
    fitted,
    join_audio,
    laid,
    linked,
)
from wan22.timeline.items import DOCUMENT, Clip, Marker, Media, Source, Timeline, Track
from wan22.timeline.shapes import Record

if TYPE_CHECKING:
    from opentimelineio import core, schema

__all__ = ["from_otio"]

_SIZE = (1280, 720)
MOST_ITEMS = 10_000
_STILLS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_NATIVE = ("tracks", "markers", "name", "start")  # of the whole document; OTIO has them itself
_WRONG = (TimelineError, ValueError, TypeError, KeyError, AttributeError, OverflowError)


def from_otio(
    root: Any, relink: Relink, look: Look, notes: Notes, said: Mapping[str, Any] | None = None
) -> Timeline:
    """A timeline from what an adapter of OpenTimelineIO read; `said` is what its format says of the whole document.

    Raises TimelineError if there is none in it, or no right one can be made of it.
    """
    sequence = sequence_of(root, notes)
    inside = sequence.find_children()
    if len(inside) > MOST_ITEMS:
        raise TimelineError(f"there are {len(inside):,} items in it; at most {MOST_ITEMS:,} are read")
    ours = META in sequence.metadata or any(META in each.metadata for each in inside)
    mine = Notes()
    with suppress(*_WRONG if ours else ()):
        found = _Reader(sequence, relink, look, mine, said or {}).timeline()
        wrong = check(dump(found))
        if not wrong:
            notes.take(mine)
            return found
        if not ours:
            raise TimelineError(
                f"no timeline can be made of it: {wrong[0].message}", [problem.as_json() for problem in wrong]
            )
    notes.add("what wan22 noted in the file does not fit the rest, and is left aside")
    return from_otio(without_metadata(sequence), relink, look, notes, said)


class _Reader:
    def __init__(
        self, sequence: schema.Timeline, relink: Relink, look: Look, notes: Notes, said: Mapping[str, Any]
    ) -> None:
        self.sequence, self.relink, self.look, self.notes = sequence, relink, look, notes
        self.own = noted(sequence)
        self.said = dict(said) | {key: value for key, value in self.own.items() if key not in _NATIVE}
        self.fresh = FreshIds()
        self.fps = self._rate()

    def timeline(self) -> Timeline:
        """All of it."""
        tracks = [self._track(each) for each in self._tracks()]
        joined = [lane for about, lane in tracks if self._may_join(about)]
        join_audio(
            [lane.pieces for about, lane in tracks if about.kind == "video"],
            [lane.pieces for lane in joined],
            self.notes,
            bool(self.own),
        )
        for lane in joined:
            lane.gaps.clear()
            here = {each for piece in lane.pieces for each in (piece.at, piece.at + piece.clip.duration)}
            lane.cuts = [cut for cut in lane.cuts if cut.at in here]
        found = (
            self._laid(about, lane) for about, lane in tracks if lane.pieces or not self._may_join(about)
        )
        return self._whole(linked(tuple(found)))

    def _may_join(self, about: Track) -> bool:
        """Whether a track may hold the audio of videos: in a file of ours it says so."""
        return about.kind == "audio" and (AUDIO_OF in about.extra or not self.own)

    def _laid(self, about: Track, lane: Lane) -> Track:
        for piece in lane.pieces:
            name = self.fresh("c", piece.clip.id)
            piece.clip = replace(piece.clip, id=name, extra=unmarked(piece.clip.extra))
        items = laid(lane, self.fps, self.notes, self.fresh)
        name = self.fresh(about.kind[0], about.id)
        return replace(about, id=name, extra=unmarked(about.extra), items=items)

    def _whole(self, tracks: tuple[Track, ...]) -> Timeline:
        start = self.sequence.global_start_time
        base: Timeline = DOCUMENT.read(
            {"rate": list(self.fps.as_integer_ratio()), "size": self._size(tracks)}
            | self.said
            | {"tracks": []}
        )
        return replace(
            base,
            name=named_as(self.sequence.name, self.own.get("name"), ""),
            start=max(0, whole(seconds(start) * self.fps)) if start is not None else 0,
            tracks=tracks,
            markers=tuple(self._markers()),
        )

    def _rate(self) -> Fraction:
        """The rate: as said, that of the first timecode, or that in which most things are counted."""
        pair = self.said.get("rate")
        if isinstance(pair, list) and len(pair) == 2 and all(type(each) is int and each > 0 for each in pair):
            return Fraction(*pair)
        if self.sequence.global_start_time is not None:
            return exact_rate(self.sequence.global_start_time.rate)
        places = (getattr(child, "source_range", None) for child in self.sequence.find_children())
        counts = Counter(place.duration.rate for place in places if place is not None)
        if not counts:
            self.notes.add("the file says no rate: 24 frames a second are taken")
            return Fraction(24)
        return exact_rate(counts.most_common(1)[0][0])

    def _size(self, tracks: tuple[Track, ...]) -> list[int]:
        if "size" not in self.said:
            self.notes.add("the file says no size: that of the first video is taken, or 1280x720")
        clips = (item for track in tracks if track.kind == "video" for item in track.items)
        sizes = (clip.source.size for clip in clips if isinstance(clip, Clip))
        return list(next((size for size in sizes if size), _SIZE))

    def _tracks(self) -> list[Any]:
        """The tracks of the stack; what is in it directly is a track of its own."""
        from opentimelineio import schema

        found = []
        stack = self.sequence.tracks
        if stack.source_range is not None:
            self.notes.add("the range of the whole timeline is not taken")
        for child in list(stack):
            track = child
            if not isinstance(child, schema.Track):
                track = schema.Track(name=child.name, kind=schema.TrackKind.Video)
                track.append(child.deepcopy())
            found.append(track)
        return found

    def _track(self, told: schema.Track) -> tuple[Track, Lane]:
        from opentimelineio import schema

        own = noted(told)
        if told.kind not in (schema.TrackKind.Audio, schema.TrackKind.Video):
            self.notes.add(f"tracks of {told.kind or 'no kind'} are not taken", told.name)
            told = schema.Track(kind=schema.TrackKind.Audio)
        kind = "audio" if told.kind == schema.TrackKind.Audio else "video"
        about: Track = Record(Track).read(
            {"id": own.get("id") or "", "name": told.name or "", "kind": kind, "items": []}
            | {key: value for key, value in own.items() if key not in ("items", "kind", "id")}
        )
        about = replace(about, muted=not told.enabled)
        about = replace(about, name=named_as(told.name, own.get("name"), about.id))
        self._note_effects(told, told.name)
        return about, self._lane(told, kind)

    def _lane(self, told: schema.Track, kind: str) -> Lane:
        from opentimelineio import exceptions, schema

        lane = Lane()
        at = Fraction(0)
        for child in self._children(told):
            frame = whole(at * self.fps)
            if isinstance(child, schema.Transition):
                lane.cuts.append(self._cut(child, frame))
                continue
            try:
                lasts = seconds(child.trimmed_range().duration)
            except (exceptions.OTIOError, NotImplementedError, ValueError) as error:
                self.notes.add(f"items without a length are not taken ({error})"[:120], child.name)
                continue
            at += max(lasts, Fraction(0))
            end = whole(at * self.fps)
            if isinstance(child, schema.Gap) or end <= frame:
                own = noted(child)
                if isinstance(child, schema.Gap) and own and end > frame:
                    lane.gaps.append(Nothing(frame, end, own))
                elif not isinstance(child, schema.Gap):
                    self.notes.add("clips of less than a frame are not taken", child.name)
                continue
            if not isinstance(child, schema.Clip):
                self.notes.add("things that are no clips are not taken, and leave a gap", child.name or "")
            elif piece := self._piece(child, frame, end, kind):
                lane.pieces.append(piece)
        return lane

    def _children(self, told: schema.Track) -> list[Any]:
        """The items of a track as they are seen: within its range, and with what is nested in it laid flat."""
        from opentimelineio import algorithms, exceptions, schema

        if told.source_range is not None:
            try:
                told = algorithms.track_trimmed_to_range(told, told.source_range)
            except (exceptions.OTIOError, ValueError) as error:
                self.notes.add(f"the range of a track is not taken ({error})"[:120], told.name)
        found = []
        for child in told:
            if isinstance(child, schema.Stack | schema.Track):
                found += self._flat(child, told.kind)
            else:
                found.append(child)
        return found

    def _flat(self, nested: schema.Stack | schema.Track, kind: str) -> list[Any]:
        """What is seen of a nested timeline; a gap as long if it cannot be told."""
        from opentimelineio import algorithms, exceptions, schema

        name = nested.name or "without a name"
        try:
            place = nested.trimmed_range()
            stack = nested if isinstance(nested, schema.Stack) else schema.Stack(children=[nested.deepcopy()])
            tracks = [each for each in stack if not isinstance(each, schema.Track) or each.kind == kind]
            if not tracks:
                raise ValueError("nothing of this kind is in it")
            flat = algorithms.flatten_stack([each.deepcopy() for each in tracks])
            flat = algorithms.track_trimmed_to_range(flat, place)
        except (exceptions.OTIOError, ValueError, TypeError, NotImplementedError, AttributeError, IndexError):
            self.notes.add("nested timelines that cannot be laid flat are gaps", name)
            try:
                return [schema.Gap(source_range=nested.trimmed_range())]
            except (exceptions.OTIOError, ValueError, NotImplementedError):
                return []
        self.notes.add("nested timelines are laid flat: their uppermost layer is taken", name)
        inner = [each.deepcopy() for each in flat]
        return [each for each in inner if not isinstance(each, schema.Stack | schema.Track)]

    def _cut(self, told: schema.Transition, frame: int) -> Cut:
        if told.transition_type not in (DISSOLVE, ""):
            self.notes.add(f"transitions of kind {told.transition_type} are dissolves", told.name)
        before, after = (whole(seconds(each) * self.fps) for each in (told.in_offset, told.out_offset))
        return Cut(frame, max(0, before), max(0, after), noted(told))

    def _piece(self, told: schema.Clip, frame: int, end: int, kind: str) -> Piece | None:
        """A clip of any program; None, and a note, for what shows no media."""
        media, takes, reference = self._media(told)
        if media is None:
            return None
        own = {key: value for key, value in noted(told).items() if key not in ("media", "takes")}
        source, began, level = self._source(media, reference, told, own, kind)
        speed = self._speed(told, own)
        place = told.source_range or told.trimmed_range()
        base = {"id": own.get("id") or "", "name": told.name or "", "in": 0, "out": 1, "duration": 1}
        clip: Clip = Record(Clip).read(base | own | {"media": media, "source": Record(Source).dump(source)})
        name = named_as(told.name, own.get("name"), media_name(media))
        start = max(0, whole((seconds(place.start_time) - began) * Fraction(*source.rate)))
        clip = replace(
            clip,
            name=name,
            start=start,
            end=start + max(1, clip.end - clip.start),
            takes=takes,
            speed=speed,
            enabled=told.enabled,
        )
        self._note_effects(told, named(clip))
        clip = fitted(clip, end - frame, self.fps, level == 2, self.notes)
        return Piece(frame, end, clip, level == 2, level >= 1, clip.extra.get(AUDIO_OF))

    def _note_effects(self, told: core.Item, name: str) -> None:
        from opentimelineio import schema

        for effect in told.effects:
            if not isinstance(effect, schema.LinearTimeWarp) or isinstance(effect, schema.FreezeFrame):
                what = effect.effect_name or effect.name or type(effect).__name__
                self.notes.add(f"the effect {what} is not taken", name)

    def _speed(self, told: schema.Clip, own: dict[str, Any]) -> tuple[int, int]:
        from opentimelineio import schema

        warps = [each for each in told.effects if type(each) is schema.LinearTimeWarp]
        scalar = 1.0
        for warp in warps:
            scalar *= warp.time_scalar
        if scalar < 0:
            self.notes.add("clips that run backwards run forwards", told.name)
        pair = own.get("speed")
        if isinstance(pair, list) and len(pair) == 2 and all(type(each) is int and each > 0 for each in pair):
            if abs(pair[0] / pair[1] - scalar) < 1e-9:
                return pair[0], pair[1]
        if not scalar:
            self.notes.add("frozen frames are not taken: the clip runs", told.name)
        return Fraction(abs(scalar) or 1.0).limit_denominator(1000).as_integer_ratio()

    def _media(self, told: schema.Clip) -> tuple[Media | None, tuple[Media, ...], Any]:
        """The media of a clip, all its takes, and the reference that is shown."""
        references = told.media_references()
        active = references.get(told.active_media_reference_key)
        takes = {key: self._found(each, told) for key, each in references.items() if key.startswith("take-")}
        shown = self._found(active, told, note=True)
        chosen = [takes[key] for key in sorted(takes, key=lambda key: (len(key), key))]
        if not takes and len(references) > 1:
            chosen = [self._found(each, told) for each in references.values()]
        return shown, tuple(each for each in chosen if each is not None), active

    def _found(self, told: Any, clip: schema.Clip, *, note: bool = False) -> Media | None:
        """What one reference means; None for what is no media, such as a generator."""
        from opentimelineio import schema

        own = noted(told).get("media")
        said = own if isinstance(own, dict) and all(isinstance(each, str) for each in own.values()) else None
        match told:
            case schema.ExternalReference():
                url = told.target_url or ""
            case schema.ImageSequenceReference():
                digits = f"%0{told.frame_zero_padding}d"  # of a path: in an address it would be a code
                folder = path_of(told.target_url_base or "") or ""
                url = f"{folder}{told.name_prefix}{digits}{told.name_suffix}"
            case schema.GeneratorReference():
                if note:
                    kind = told.generator_kind or told.name or "of no kind"
                    self.notes.add(f"generators are not taken, and leave a gap ({kind})", clip.name)
                return None
            case _:
                url = ""
        media = self.relink(url, said)
        if media is not None:
            return media
        name = (
            (path_of(url) or told.name or clip.name or "media")
            .replace("\\", "/")
            .rstrip("/")
            .rpartition("/")[2]
        )
        if note:
            self.notes.add("media that is not there, or may not be reached", name)
        return said if said is not None and "path" not in said else {"path": name or "media"}

    def _source(
        self, media: Media, told: Any, clip: schema.Clip, own: dict[str, Any], kind: str
    ) -> tuple[Source, Fraction, int]:
        """What the media holds, the second at which its own time begins, and how sure that is: 2 from the file, 1 as
        the other program says.
        """
        place = told.available_range if told is not None else None
        began = seconds(place.start_time) if place is not None else Fraction(0)
        kept = own.get("source")
        if isinstance(kept, dict) and not list(Record(Source).faults(kept, "")):
            return Record(Source).read(kept), began, 2
        if (looked := self.look(media)) is not None:
            audio = kind == "audio" or looked.audio
            return (
                replace(looked, audio=audio, size=looked.size if kind == "audio" else looked.size or _SIZE),
                began,
                2,
            )
        shown = clip.source_range or place
        rate = exact_rate((place or shown).duration.rate) if (place or shown) is not None else self.fps
        frames = whole(seconds(place.duration) * rate) if place is not None else 0
        still = path_of(getattr(told, "target_url", "") or "") or ""
        return (
            Source(
                frames=max(1, frames),
                rate=rate.as_integer_ratio(),
                size=None if kind == "audio" else self._said_size(told),
                audio=kind == "audio",
                still=kind == "video" and still.lower().endswith(_STILLS),
            ),
            began,
            1 if frames else 0,
        )

    def _said_size(self, told: Any) -> tuple[int, int]:
        """The size of a video as the file says it, or that of the image."""
        for size in (noted(told).get("size"), self.said.get("size")):
            if (
                isinstance(size, list)
                and len(size) == 2
                and all(type(each) is int and each > 0 for each in size)
            ):
                return size[0], size[1]
        return _SIZE

    def _markers(self) -> list[Marker]:
        """Markers of the timeline; those on clips and tracks become the timeline's, where they are seen."""
        from opentimelineio import schema

        stack = self.sequence.tracks
        found = [self._marker(each, seconds(each.marked_range.start_time)) for each in stack.markers]
        for track in stack:
            found += [self._marker(each, seconds(each.marked_range.start_time)) for each in track.markers]
            for clip in track.find_clips() if isinstance(track, schema.Track) else ():
                for each in clip.markers:
                    found += self._on_clip(each, clip)
        return found

    def _on_clip(self, told: schema.Marker, clip: schema.Clip) -> list[Marker]:
        from opentimelineio import exceptions

        begins = told.marked_range.start_time
        try:
            seen = clip.trimmed_range().contains(begins)
            place = clip.transformed_time(begins, self.sequence.tracks)
        except (exceptions.OTIOError, ValueError, NotImplementedError):
            seen, place = False, begins
        if not seen:
            self.notes.add("markers outside what is seen of a clip are not taken", told.name or clip.name)
            return []
        self.notes.add("markers on clips are markers of the timeline now", told.name or clip.name)
        return [self._marker(told, seconds(place))]

    def _marker(self, told: schema.Marker, at: Fraction) -> Marker:
        own = noted(told)
        color, wanted = (told.color or "RED").upper(), own.get("color")
        kept = isinstance(wanted, str) and marker_color(wanted) == color
        found: Marker = Record(Marker).read(own | {"id": self.fresh("m", own.get("id")), "at": 0})
        return replace(
            found,
            at=max(0, whole(at * self.fps)),
            duration=max(0, whole(seconds(told.marked_range.duration) * self.fps)),
            name=named_as(told.name or told.comment, own.get("name"), ""),
            color=str(wanted) if kept else color.lower(),
        )
