"""The cut of a storyboard: a timeline document with a clip for each shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from wan22.timeline.items import Source, whole_frames

_GAP_SECONDS = 2
_WHOLE = 1001  # the largest denominator of a rate: 24000/1001


@dataclass(frozen=True)
class Shown:
    """A shot of a cut. media: the take that is shown, None if there is none; row: what is known of its file (width,
    height, frames, fps, audio). takes: all takes that are complete.
    """

    name: str
    media: dict[str, str] | None
    row: Mapping[str, Any] | None = None
    recipe: dict[str, Any] | None = None
    takes: tuple[dict[str, str], ...] = ()


def cut_of(name: str, shots: Sequence[Shown], meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """The timeline of shots, at the rate and size of the first that is there, a gap for each that is not; None if none
    is.
    """
    first = next((shot.row for shot in shots if shot.row is not None), None)
    if first is None:
        return None
    rate = _rate(first)
    items = [_clip(number, shot, rate) for number, shot in enumerate(shots, 1)]
    track = {
        "id": "v1", "kind": "video", "name": "V1", "muted": False, "locked": False, "gain_db": 0.0, "items": items,
    }  # fmt: skip
    return {
        "wan22_timeline": 1, "name": name, "rate": [rate.numerator, rate.denominator],
        "size": [first["width"], first["height"]], "start": 0, "tracks": [track], "markers": [], "titles": [],
        "captions": [], "in": None, "out": None, "loudness": None, "meta": dict(meta),
    }  # fmt: skip


def _rate(row: Mapping[str, Any]) -> Fraction:
    return Fraction(row["fps"]).limit_denominator(_WHOLE)


def source_of(row: Mapping[str, Any]) -> Source:
    """What a result says of a video, as the source of a clip."""
    rate = _rate(row)
    return Source(
        frames=row["frames"], rate=(rate.numerator, rate.denominator), size=(row["width"], row["height"]),
        audio=bool(row.get("audio")),
    )  # fmt: skip


def _clip(number: int, shot: Shown, rate: Fraction) -> dict[str, Any]:
    if shot.media is None or shot.row is None:
        return {"id": f"g{number}", "type": "gap", "duration": max(1, round(_GAP_SECONDS * rate))}
    own, frames = _rate(shot.row), shot.row["frames"]
    return {
        "id": f"c{number}", "type": "clip", "media": shot.media, "name": shot.name, "in": 0, "out": frames,
        "source": {
            "frames": frames, "rate": [own.numerator, own.denominator],
            "size": [shot.row["width"], shot.row["height"]], "audio": bool(shot.row.get("audio")),
        },
        "duration": whole_frames(frames, own, rate, Fraction(1)), "speed": [1, 1], "fit": "cover", "gain_db": 0.0,
        "mute": False, "fade_in": 0, "fade_out": 0, "link": None, "enabled": True, "recipe": shot.recipe,
        "takes": list(shot.takes),
    }  # fmt: skip
