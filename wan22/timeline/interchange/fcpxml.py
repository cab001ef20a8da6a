"""FCPXML 1.10 of Final Cut Pro, which Resolve reads too; written by ourselves.

Times are rational seconds. The first video track is the `spine`; what is on other tracks is in the clip or gap of the
spine under it, on a lane: `offset` is then counted in that clip's own time, which begins with its `start`. A chain with
dissolves on a lane is a `spine` of its own. A dissolve is centred on its cut, and both clips need media there: it is a
cut, and a note, where they have none. Markers stand in clips, in their time. At another speed than 1 a clip's own time
is that after its `timeMap`. The elements and their order are those of the format's DTD.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TypeVar
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from wan22.timeline.interchange.common import (
    Find,
    Notes,
    around,
    centred,
    file_url,
    has_audio,
    is_drop,
    media_name,
    named,
    printable,
)
from wan22.timeline.interchange.features import note_lost
from wan22.timeline.items import Caption, Clip, Gap, Item, Source, Timeline, Title, Track, Transition

__all__ = ["LOST", "to_fcpxml"]

_Text = TypeVar("_Text", Title, Caption)

VERSION = "1.10"
_RATES = {
    Fraction(24000, 1001): "23.98",
    Fraction(24): "24",
    Fraction(25): "25",
    Fraction(30000, 1001): "29.97",
    Fraction(30): "30",
    Fraction(48): "48",
    Fraction(50): "50",
    Fraction(60000, 1001): "59.94",
    Fraction(60): "60",
}
"""Rates that Final Cut has timelines of, and what it calls them."""
_DISSOLVE = ("Cross Dissolve", "FxPlug:4731E73A-8DAC-4113-9A30-AE85B1761265")
_CROSSFADE = ("Audio Crossfade", "FFAudioTransition")
_TITLE = (
    "Basic Title",
    ".../Titles.localized/Bumper:Opener.localized/Basic Title.localized/Basic Title.moti",
)
_MOST_DB = 12

LOST = {
    "takes": "only the chosen one is written",
    "recipes": "only the prompt is written, as a note",
    "links": "they are not written",
    "levels of tracks": "they are added to those of their clips",
    "ducking": "it is not written",
    "muted tracks": "their clips are switched off",
    "locked tracks": "that they are locked is not written",
    "colors of markers": "they are not written",
    "in and out": "they are not written",
    "loudness": "it is not written",
    "notes of its own": "they are not written",
}
"""What the format does not hold."""


def to_fcpxml(timeline: Timeline, find: Find, notes: Notes) -> str:
    """A timeline as XML."""
    text = _Writer(timeline, find, notes).text()
    note_lost(timeline, notes, LOST)
    if timeline.fps not in _RATES:
        notes.add(
            f"Final Cut has no timelines of {float(timeline.fps):g} frames a second, and will take another rate"
        )
    return text


def _moment(value: Fraction) -> str:
    """Seconds as the format writes them: 5s, 1001/24000s."""
    return f"{value.numerator}s" if value.denominator == 1 else f"{value.numerator}/{value.denominator}s"


class _Writer:
    def __init__(self, timeline: Timeline, find: Find, notes: Notes) -> None:
        self.timeline, self.find, self.notes = timeline, find, notes
        self.fps = timeline.fps
        self.resources = Element("resources")
        self.known: dict[tuple[object, ...], str] = {}
        self.styles = 0
        self.held: dict[str, Source] = {}
        """What each media holds, as far as any clip knows."""
        for _, _, clip in timeline.clips():
            key = repr(sorted(clip.media.items()))
            self.held[key] = _both(self.held.get(key, clip.source), clip.source)

    def text(self) -> str:
        """The whole file."""
        timeline = self.timeline
        main = self._format(timeline.size, self.fps)
        root = Element("fcpxml", version=VERSION)
        root.append(self.resources)
        name = printable(timeline.name) or "timeline"
        event = SubElement(SubElement(root, "library"), "event", name=name)
        sequence = SubElement(
            SubElement(event, "project", name=name),
            "sequence",
            format=main,
            duration=self._at(max(self._length(), 1)),
            tcStart=self._at(timeline.start),
            tcFormat="DF" if is_drop(timeline) else "NDF",
            audioLayout="stereo",
            audioRate="48k",
        )
        sequence.append(self._spine())
        ElementTree.indent(root)
        told = ElementTree.tostring(root, "unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{told}\n'

    def _at(self, frame: int) -> str:
        return _moment(frame / self.fps)

    def _length(self) -> int:
        """Frames to the end of everything that hangs on the spine."""
        ends = [each.end for each in (*self.timeline.titles, *self.timeline.captions)]
        marks = [marker.at + 1 for marker in self.timeline.markers]
        return max([self.timeline.length, *ends, *marks])

    def _spine(self) -> Element:
        """The first video track, filled up to the end with a gap, and what hangs on each of its items."""
        videos = [track for track in self.timeline.tracks if track.kind == "video"]
        first = videos[0] if videos else Track(id="", kind="video", items=())
        rest = self._length() - first.length
        items: tuple[Item, ...] = (*first.items, Gap(id="", duration=rest)) if rest else first.items
        first = Track(id=first.id, kind="video", items=items, muted=first.muted, gain_db=first.gain_db)
        spine = Element("spine")
        hosts: list[tuple[int, Element]] = []
        for at, item, element in self._in_order(first, 0, items, self.timeline.start):
            spine.append(element)
            if not isinstance(item, Transition):
                hosts.append((at, element))
        for at, element in self._hanging(videos[1:]):
            self._hang(hosts, at, element)
        for marker in sorted(self.timeline.markers, key=lambda marker: marker.at):
            told = Element(
                "marker", duration=self._at(max(1, marker.duration)), value=printable(marker.name or "marker")
            )
            self._hang(hosts, marker.at, told)
        for _, element in hosts:
            _ordered(element)
        return spine

    def _hanging(self, videos: Sequence[Track]) -> Iterator[tuple[int, Element]]:
        """What is not on the spine: the frame at which it begins, and itself, with its lane."""
        for lane, track in enumerate(videos, 1):
            yield from self._chains(track, lane)
        audios = [track for track in self.timeline.tracks if track.kind == "audio"]
        for lane, track in enumerate(audios, 1):
            yield from self._chains(track, -lane)
        top = len(videos) + 1
        for lane, title in _lanes(self.timeline.titles, top):
            top = max(top, lane + 1)
            yield title.start, self._title(title, lane)
        for lane, caption in _lanes(self.timeline.captions, top):
            yield caption.start, self._caption(caption, lane)

    def _chains(self, track: Track, lane: int) -> Iterator[tuple[int, Element]]:
        """The clips of a track, each by itself, but those that dissolve into one another."""
        chain: list[tuple[int, Item]] = []
        first = 0
        for index, (at, item) in enumerate([*track.placed(), (track.length, Gap(id="", duration=1))]):
            joined = isinstance(item, Transition) or (chain and isinstance(chain[-1][1], Transition))
            if chain and not joined:
                yield chain[0][0], self._chain(track, first, chain, lane)
                chain = []
            if not chain:
                first = index
            if not isinstance(item, Gap):
                chain.append((at, item))

    def _chain(self, track: Track, first: int, chain: list[tuple[int, Item]], lane: int) -> Element:
        items = tuple(item for _, item in chain)
        if len(items) == 1 and isinstance(items[0], Clip):
            element = self._clip(track, first, items[0])
            element.set("lane", str(lane))
            return element
        spine = Element("spine", lane=str(lane))
        for _, _, element in self._in_order(track, first, items, 0):
            spine.append(element)
        return spine

    def _in_order(
        self, track: Track, first: int, items: Sequence[Item], origin: int
    ) -> Iterator[tuple[int, Item, Element]]:
        """Items one after another, with their place from `origin` on; `first` is the index of the first one."""
        at = 0
        for index, item in enumerate(items, first):
            element: Element | None
            if isinstance(item, Gap):
                element = Element("gap", name="Gap", duration=self._at(item.duration), start="0s")
                element.set("offset", self._at(origin + at))
            elif isinstance(item, Transition):
                element = self._transition(track, index, origin + at)
            else:
                element = self._clip(track, index, item)
                element.set("offset", self._at(origin + at))
            if element is not None:
                yield at, item, element
            at += item.duration

    def _transition(self, track: Track, index: int, cut: int) -> Element | None:
        """A dissolve; None, and a note, where it can only be a cut."""
        item, right = track.items[index], track.items[index + 1]
        assert isinstance(item, Transition) and isinstance(right, Clip)
        half = centred(track, index, self.fps)
        if not half:
            self.notes.add("dissolves for which there is no media on both sides are cuts", named(right))
            return None
        if (half, half) != (item.in_offset, item.out_offset):
            self.notes.add("dissolves are centred on their cut", named(right))
        told = Element(
            "transition", name="Cross Dissolve", offset=self._at(cut - half), duration=self._at(2 * half)
        )
        if track.kind == "video":
            SubElement(told, "filter-video", ref=self._effect(*_DISSOLVE), name=_DISSOLVE[0])
        left = track.items[index - 1]
        audio = all(
            isinstance(each, Clip) and (track.kind == "audio" or has_audio(each)) for each in (left, right)
        )
        if audio:
            SubElement(told, "filter-audio", ref=self._effect(*_CROSSFADE), name=_CROSSFADE[0])
        return told

    def _clip(self, track: Track, index: int, clip: Clip) -> Element:
        """A clip, without its place."""
        video = track.kind == "video"
        source, speed = Fraction(*clip.source.rate), Fraction(*clip.speed)
        element = Element(
            "video" if clip.source.still else "asset-clip",
            ref=self._asset(clip),
            name=printable(named(clip)),
            start="0s" if clip.source.still else _moment(clip.start / source / speed),
            duration=self._at(clip.duration),
        )
        if not clip.enabled or track.muted:
            element.set("enabled", "0")
        if not clip.source.still:
            held = self.held[repr(sorted(clip.media.items()))]
            if held.size is not None and held.audio:
                element.set(
                    "srcEnable", "all" if video and has_audio(clip) else "video" if video else "audio"
                )
            if clip.source.audio:
                element.set("audioRole", _role(track))
        prompt = (clip.recipe or {}).get("prompt")
        if isinstance(prompt, str) and prompt:
            SubElement(element, "note").text = printable(prompt)
        if not clip.source.still:
            self._timing(element, clip, source, speed, video=video)
        self._look(element, track, index, clip)
        return element

    def _timing(
        self, element: Element, clip: Clip, source: Fraction, speed: Fraction, *, video: bool
    ) -> None:
        if video and source != self.fps:
            told = SubElement(element, "conform-rate", scaleEnabled="0")
            if source in _RATES:
                told.set("srcFrameRate", _RATES[source])
        if speed != 1:
            told = SubElement(element, "timeMap")
            whole = clip.source.frames / source
            SubElement(told, "timept", time="0s", value="0s", interp="linear")
            SubElement(told, "timept", time=_moment(whole / speed), value=_moment(whole), interp="linear")

    def _look(self, element: Element, track: Track, index: int, clip: Clip) -> None:
        """How a clip fills the image, its fades, and its level."""
        if track.kind == "video" and clip.fit == "cover":
            SubElement(element, "adjust-conform", type="fill")
        before, after = around(track, index)
        fades = (0 if before else clip.fade_in, 0 if after else clip.fade_out)
        if fades != (clip.fade_in, clip.fade_out):
            self.notes.add("fades where dissolves are, are not written", named(clip))
        if track.kind == "video" and any(fades):
            self._fades(SubElement(element, "adjust-blend", amount="1"), fades, "1")
        if clip.source.still or not (track.kind == "audio" or has_audio(clip)):
            return
        gain = clip.gain_db + track.gain_db
        if gain > _MOST_DB:
            self.notes.add(f"levels are at most {_MOST_DB} dB", named(clip))
            gain = float(_MOST_DB)
        if gain or any(fades):
            self._fades(SubElement(element, "adjust-volume", amount=f"{gain:g}dB"), fades, f"{gain:g}dB")

    def _fades(self, element: Element, fades: tuple[int, int], value: str) -> None:
        if not any(fades):
            return
        told = SubElement(element, "param", name="amount", value=value)
        for tag, frames in zip(("fadeIn", "fadeOut"), fades, strict=True):
            if frames:
                SubElement(told, tag, type="linear", duration=self._at(frames))

    def _title(self, title: Title, lane: int) -> Element:
        """A title; its place is by a shift of the image's height, as the format counts."""
        style = title.style
        element = Element(
            "title",
            ref=self._effect(*_TITLE),
            lane=str(lane),
            name=printable(title.text.split("\n")[0]) or "Title",
            start="0s",
            duration=self._at(title.end - title.start),
        )
        self._styled(
            element, title.text,
            font="Helvetica", fontSize=f"{style.size * self.timeline.size[1]:g}", fontColor=_color(style.color),
            bold="1" if style.bold else "0", alignment="center",
        )  # fmt: skip
        if style.background:
            self.notes.add("backgrounds of titles are not written", title.text.split("\n")[0])
        shift = {"center": 0, "lower": -35, "upper": 35}[style.place]
        if shift:
            SubElement(element, "adjust-transform", position=f"0 {shift}")
        if title.fade:
            self._fades(SubElement(element, "adjust-blend", amount="1"), (title.fade, title.fade), "1")
        return element

    def _caption(self, caption: Caption, lane: int) -> Element:
        language = caption.language or "en"
        element = Element(
            "caption",
            lane=str(lane),
            name=printable(caption.text.split("\n")[0]) or "Caption",
            start="0s",
            duration=self._at(caption.end - caption.start),
            role=f"iTT?captionFormat=ITT.{language}",
        )
        self._styled(element, caption.text, fontColor="1 1 1 1").set("placement", "bottom")
        return element

    def _styled(self, element: Element, text: str, **style: str) -> Element:
        self.styles += 1
        name = f"ts{self.styles}"
        told = SubElement(element, "text")
        SubElement(told, "text-style", ref=name).text = printable(text)
        SubElement(SubElement(element, "text-style-def", id=name), "text-style", **style)
        return told

    def _hang(self, hosts: Sequence[tuple[int, Element]], at: int, element: Element) -> None:
        """Put something that begins at frame `at` into what is on the spine there, in its time."""
        place, host = hosts[bisect_right(hosts, at, key=lambda each: each[0]) - 1]
        inside = _seconds(host.get("start", "0s")) + (at - place) / self.fps
        element.set("start" if element.tag == "marker" else "offset", _moment(inside))
        host.append(element)

    def _asset(self, clip: Clip) -> str:
        """The resource of a clip's media: as long as the longest that any clip knows of it."""
        key = ("asset", repr(sorted(clip.media.items())))
        if key in self.known:
            return self.known[key]
        name = self.known[key] = f"r{len(self.known) + 1}"
        source = self.held[key[1]]
        asset = Element("asset", id=name, name=printable(media_name(clip.media)), start="0s")
        asset.set("duration", "0s" if source.still else _moment(source.frames / Fraction(*source.rate)))
        if source.size is not None:
            asset.set("hasVideo", "1")
            asset.set("format", self._format(source.size, None if source.still else Fraction(*source.rate)))
            asset.set("videoSources", "1")
        if source.audio:
            for attribute, value in (("hasAudio", "1"), ("audioSources", "1"), ("audioChannels", "2")):
                asset.set(attribute, value)
        path = self.find(clip.media)
        if path is None:
            self.notes.add("media that is not there", media_name(clip.media))
        url = file_url(path) if path is not None else f"./{quote(media_name(clip.media))}"
        SubElement(asset, "media-rep", kind="original-media", src=url)
        self.resources.append(asset)
        return name

    def _format(self, size: tuple[int, int], rate: Fraction | None) -> str:
        key = ("format", size, rate)
        if key not in self.known:
            self.known[key] = f"r{len(self.known) + 1}"
            width, height = map(str, size)
            told = SubElement(self.resources, "format", id=self.known[key], width=width, height=height)
            if rate is None:
                told.set("name", "FFVideoFormatRateUndefined")
            else:
                told.set("frameDuration", _moment(1 / rate))
        return self.known[key]

    def _effect(self, name: str, uid: str) -> str:
        key = ("effect", uid)
        if key not in self.known:
            self.known[key] = f"r{len(self.known) + 1}"
            SubElement(self.resources, "effect", id=self.known[key], name=name, uid=uid)
        return self.known[key]


_AFTER = ("marker", "audio-channel-source", "filter-video", "filter-audio", "metadata")
_ANCHORED = ("audio", "video", "clip", "title", "caption", "asset-clip", "spine")


def _ordered(element: Element) -> None:
    """Bring the children of a clip into the format's order: its own, what hangs on it, markers."""
    rank = {tag: 1 for tag in _ANCHORED} | {tag: 2 for tag in _AFTER}
    element[:] = sorted(element, key=lambda child: rank.get(child.tag, 0))


def _lanes(texts: Sequence[_Text], lowest: int) -> Iterator[tuple[int, _Text]]:
    """Texts with lanes on which none overlaps another."""
    ends: list[int] = []
    for text in sorted(texts, key=lambda text: text.start):
        lane = next((number for number, end in enumerate(ends) if end <= text.start), len(ends))
        ends[lane : lane + 1] = [text.end]
        yield lowest + lane, text


def _role(track: Track) -> str:
    """The role of a track's audio: by its name, or speech."""
    words = track.name.lower()
    if any(word in words for word in ("music", "음악", "音乐", "音楽")):
        return "music"
    return (
        "effects" if any(word in words for word in ("effect", "sfx", "효과", "效果", "効果")) else "dialogue"
    )


def _color(color: str) -> str:
    """ "#rrggbb" or "#rrggbbaa" as four parts of one."""
    parts = [int(color[place : place + 2], 16) / 255 for place in range(1, len(color), 2)]
    return " ".join(f"{part:.4g}" for part in (*parts, 1.0)[:4])


def _both(one: Source, other: Source) -> Source:
    """What two clips know of one media: the longer length, its size, and whether it has audio."""
    longer, shorter = sorted((one, other), key=lambda each: each.frames / Fraction(*each.rate), reverse=True)
    rated = next((each for each in (longer, shorter) if each.size is not None), longer)
    frames = math.ceil(longer.frames / Fraction(*longer.rate) * Fraction(*rated.rate))
    return Source(
        frames=frames,
        rate=rated.rate,
        size=rated.size,
        audio=one.audio or other.audio,
        still=one.still and other.still,
    )


def _seconds(text: str) -> Fraction:
    return Fraction(text.removesuffix("s"))
