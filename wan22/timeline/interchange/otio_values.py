"""Values in OpenTimelineIO's objects as Python's: the timeline of a file, times, names, and what we noted in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from wan22.errors import TimelineError
from wan22.files import parse_json
from wan22.timeline.interchange.common import Notes, exact_rate, printable
from wan22.timeline.interchange.otio import AUDIO_OF, META

if TYPE_CHECKING:
    from opentimelineio import opentime, schema

__all__ = ["named_as", "noted", "seconds", "sequence_of", "unmarked", "without_metadata"]


def sequence_of(root: Any, notes: Notes) -> schema.Timeline:
    """The timeline in what was read: the first one of several."""
    from opentimelineio import schema

    match root:
        case schema.Timeline():
            return root
        case schema.SerializableCollection():
            several = [each for each in root if isinstance(each, schema.Timeline)]
            if several[1:]:
                notes.add(
                    "only the first timeline of the file is taken, without", *(t.name for t in several[1:])
                )
            if several:
                return several[0]
        case schema.Stack():
            found = schema.Timeline(name=root.name)
            found.tracks = root
            return found
        case schema.Track():
            found = schema.Timeline(name=root.name)
            found.tracks.append(root)
            return found
    raise TimelineError(f"there is no timeline in it, but {type(root).__name__}")


def without_metadata(sequence: schema.Timeline) -> schema.Timeline:
    from opentimelineio import adapters

    told = json.loads(sequence.to_json_string())
    stack = [told]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if isinstance(value.get("metadata"), dict):
                value["metadata"].pop(META, None)
            stack += value.values()
        elif isinstance(value, list):
            stack += value
    return adapters.read_from_string(json.dumps(told), "otio_json")


def seconds(time: opentime.RationalTime) -> Fraction:
    """A time of OTIO's in seconds."""
    return Fraction(time.value) / exact_rate(time.rate)


def named_as(shown: str | None, wanted: Any, otherwise: str) -> str:
    """The name of something that is `shown` in a file: as we noted it, if that is what we showed for it."""
    name = wanted if isinstance(wanted, str) else ""
    shown = shown or ""
    return name if shown == printable(name or otherwise) else shown


def unmarked(extra: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in extra.items() if key != AUDIO_OF}


def noted(thing: Any) -> dict[str, Any]:
    """What is noted of something under `metadata["wan22"]`, as plain values."""
    value = _plain(thing.metadata.get(META)) if thing is not None else None
    if isinstance(value, dict) and set(value) == {"json"} and isinstance(value["json"], str):
        value = parse_json(value["json"], "metadata", TimelineError)
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> Any:
    """Values of OTIO's as Python's; None for its own objects."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case Sequence():
            return [_plain(each) for each in value]
    return None
