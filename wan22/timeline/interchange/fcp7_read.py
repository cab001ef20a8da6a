"""FCP7 XML of other programs as a timeline: mended before OpenTimelineIO's adapter reads it, and understood after.

The adapter fails on what others leave out, and puts into its metadata what it does not know; from there come speeds,
levels, links, what is switched off, the size and the rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

from wan22.errors import MediaError
from wan22.files import reading
from wan22.timeline.interchange.common import Look, Notes, Relink, exact_rate
from wan22.timeline.interchange.opening import checked_xml
from wan22.timeline.interchange.otio import META
from wan22.timeline.interchange.otio_read import from_otio
from wan22.timeline.interchange.otio_values import seconds
from wan22.timeline.items import Timeline

if TYPE_CHECKING:
    from opentimelineio import schema

__all__ = ["from_fcp7"]

_NAME = "fcp_xml"  # of the adapter, and of its metadata


def from_fcp7(data: bytes, relink: Relink, look: Look, notes: Notes) -> Timeline:
    """A timeline from XML. Raises MediaError for what is no FCP7 XML, TimelineError if no right timeline is in it."""
    from opentimelineio import adapters, schema

    root = checked_xml(data)
    if root.tag == "fcpxml":
        raise MediaError("it is FCPXML of Final Cut Pro X, which is not read. Export it as FCP7 XML or OTIO.")
    if root.tag != "xmeml":
        raise MediaError(f"it is XML, but no FCP7 XML: it begins with <{root.tag[:40]}>, not <xmeml>.")
    with reading("the FCP7 XML", MediaError):
        _mended(root, notes)
        told = adapters.read_from_string(ElementTree.tostring(root, "unicode"), _NAME)
        if isinstance(told, schema.SerializableCollection):
            several = list(told)
            told = next((each for each in several if each.find_clips()), several[0])
            notes.add(
                "only one timeline of the file is taken, without", *(e.name for e in several if e is not told)
            )
        said = _Understood(told, notes).said()
        return from_otio(told, relink, look, notes, said)


def _mended(root: ElementTree.Element, notes: Notes) -> None:
    """Add what the adapter needs and others leave out, and take away what it cannot read."""
    for track in root.iter("track"):
        items = [item for item in track if item.tag in ("clipitem", "generatoritem", "transitionitem")]
        for before, item, after in zip([None, *items], items, [*items[1:], None], strict=False):
            if not _complete(item, before, after):
                notes.add(
                    "items without a place are not taken", item.findtext("name") or item.get("id") or ""
                )
                track.remove(item)
                continue
            if item.tag == "transitionitem":
                _default(item, "alignment", "center")
                _default(item, "effect", None)
            else:
                _default(item, "in", "0")
                shown = item.find("effect[effecttype='generator']") if item.tag == "generatoritem" else None
                if shown is None and item.find("file") is None and item.find("sequence") is None:
                    _default(item, "file", None)
    for parent in root.iter():
        for each in parent.findall("filter"):
            if each.find("effect") is None:
                parent.remove(each)
        for each in parent.findall("marker"):
            if each.findtext("in") is None:
                notes.add("markers without a place are not taken", each.findtext("name") or "")
                parent.remove(each)
            else:
                _default(each, "out", "-1")


def _complete(
    item: ElementTree.Element, before: ElementTree.Element | None, after: ElementTree.Element | None
) -> bool:
    """Whether an item says where it begins and ends, or the transitions beside it do."""
    for tag, beside in (("start", before), ("end", after)):
        said = item.findtext(tag)
        if said is None or (said.strip() == "-1" and (beside is None or beside.tag != "transitionitem")):
            return False
    return True


def _default(parent: ElementTree.Element, tag: str, text: str | None) -> None:
    if parent.find(tag) is None or (text is not None and not parent.findtext(tag)):
        found = parent.find(tag)
        found = SubElement(parent, tag) if found is None else found
        found.text = text


class _Understood:
    """What the adapter leaves in its metadata, where `from_otio` looks for it."""

    def __init__(self, told: schema.Timeline, notes: Notes) -> None:
        self.told, self.notes = told, notes
        self.values = told.metadata.get(_NAME, {})

    def said(self) -> dict[str, Any]:
        """What the file says of the whole document; clips and tracks are changed in place."""
        said: dict[str, Any] = {}
        rate = self._rate(self.values.get("rate"))
        if rate is None:
            raise ValueError("its sequence says no rate")
        said["rate"] = list(rate.as_integer_ratio())
        held = _at(self.values, "media", "video", "format", "samplecharacteristics")
        if (size := _size(held)) is not None:
            said["size"] = size
        shown = _at(self.values, "timecode", "displayformat")
        if shown in ("DF", "NDF") and rate.denominator != 1:
            said["meta"] = {"drop_frame": shown == "DF"}
        for key in ("in", "out"):
            value = str(self.values.get(key, "")).strip()
            if value.isdigit():
                said[key] = int(value)
        links = self._links()
        for track in self.told.tracks:
            values = track.metadata.get(_NAME, {})
            track.enabled = str(values.get("enabled")).upper() != "FALSE"
            if str(values.get("locked")).upper() == "TRUE":
                track.metadata[META] = {"locked": True}
            for clip in track.find_clips():
                self._clip(clip, said.get("size"), links)
        for marker in self.told.tracks.markers:
            marker.comment = str(marker.metadata.get(_NAME, {}).get("comment") or "")
        return said

    @staticmethod
    def _rate(told: Any) -> Fraction | None:
        if not isinstance(told, Mapping) or "timebase" not in told:
            return None
        base = Fraction(str(told["timebase"]))
        return base * Fraction(1000, 1001) if str(told.get("ntsc")).upper() == "TRUE" else base

    def _links(self) -> dict[str, str]:
        """For the id of every clip that is linked the one that its group is called by."""
        groups: dict[str, str] = {}
        for clip in self.told.find_clips():
            values = clip.metadata.get(_NAME, {})
            told = values.get("link")
            links = [told] if isinstance(told, Mapping) else told if isinstance(told, Sequence) else []
            refs = [str(each.get("linkclipref")) for each in links if isinstance(each, Mapping)]
            names = [str(values.get("@id")), *refs]
            if refs:
                group = next((groups[name] for name in names if name in groups), names[0])
                groups |= dict.fromkeys(names, group)
        return groups

    def _clip(self, clip: schema.Clip, size: Any, links: Mapping[str, str]) -> None:
        from opentimelineio import opentime, schema

        values = clip.metadata.get(_NAME, {})
        clip.enabled = str(values.get("enabled")).upper() != "FALSE"
        own: dict[str, Any] = {}
        if (link := links.get(str(values.get("@id")))) is not None:
            own["link"] = link
        reference = clip.media_reference
        held = _at(reference.metadata, _NAME, "media", "video", "samplecharacteristics")
        if (its := _size(held)) is not None:
            reference.metadata[META] = {"size": its}
        speed = self._effects(clip, own, its, size)
        if own:
            clip.metadata[META] = own
        if speed != 1:
            clip.effects.append(schema.LinearTimeWarp(time_scalar=float(speed)))
        place, whole = clip.source_range, reference.available_range
        rate = exact_rate((whole or place).duration.rate)
        began = seconds(whole.start_time) if whole is not None else Fraction(0)
        frame = (
            int((seconds(place.start_time) - began) * abs(speed) * rate + Fraction(1, 1000)) + began * rate
        )
        clip.source_range = opentime.TimeRange(
            opentime.RationalTime(float(frame), float(rate)), place.duration
        )

    def _effects(self, clip: schema.Clip, own: dict[str, Any], its: Any, size: Any) -> Fraction:
        """Understand the effects of a clip; those that are left are not. Returns its speed."""
        speed, left = Fraction(1), []
        for effect in clip.effects:
            values = effect.metadata.get(_NAME, {})
            name = str(values.get("effectid") or "").lower()
            told = values.get("parameter")
            several = [told] if isinstance(told, Mapping) else told if isinstance(told, Sequence) else []
            named_ = {
                str(each.get("parameterid")).lower(): each for each in several if isinstance(each, Mapping)
            }
            given = {key: each.get("value") for key, each in named_.items()}
            changing = any("keyframe" in each for each in named_.values())
            if name == "timeremap" and not changing and (number := _number(given.get("speed"))):
                speed = Fraction(number).limit_denominator(100_000) / 100
                if str(given.get("reverse")).upper() == "TRUE":
                    speed = -speed
            elif name == "audiolevels" and not changing and (level := _number(given.get("level"))):
                own["gain_db"] = (
                    round(max(-96.0, min(20 * math.log10(level), 24.0)), 4) if level > 0 else -96.0
                )
            elif name == "basic" and not changing and _still(given, its, size, own):
                continue
            elif name == "opacity" and not changing and _number(given.get("opacity")) == 100:
                continue
            else:
                left.append(effect)
        clip.effects[:] = left
        return speed


def _still(given: Mapping[str, Any], its: Any, size: Any, own: dict[str, Any]) -> bool:
    """Whether Basic Motion does no more than a clip of ours can: enlarge it to fill the image, or to fit into it."""
    scale = _number(given.get("scale"))
    if any(_number(value) for key, value in given.items() if key in ("rotation",)):
        return False
    if scale is None or its is None or size is None:
        return scale in (None, 100.0)
    sides = [size[0] / its[0] * 100, size[1] / its[1] * 100]
    for fit, wanted in (("cover", max(sides)), ("fit", min(sides))):
        if abs(scale - wanted) <= 0.01 * wanted:
            own["fit"] = fit
            return True
    return scale == 100.0


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _size(held: Any) -> list[int] | None:
    width, height = (
        (_number(held.get(key)) for key in ("width", "height")) if isinstance(held, Mapping) else (None, None)
    )
    return [int(width), int(height)] if width and height and width >= 1 and height >= 1 else None


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
