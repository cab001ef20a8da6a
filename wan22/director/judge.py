"""Was it obeyed? What was measured beside what was asked, axis by axis; what cannot be known is never a pass.

It knows words and readings, no pixels. A verdict of None says why it is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wan22.director.camera import DIRECTIONS
from wan22.director.image import FAMILY
from wan22.director.reading import UNKNOWN, Measurement, Reading
from wan22.director.shot import ShotSpec, parse
from wan22.director.vocabulary import AXES
from wan22.errors import OptionError, choose

COLOURS = {
    "red": r"red|crimson|scarlet|红|빨간|빨강|赤",
    "orange": r"orange|tangerine|橙|橘|주황|オレンジ",
    "yellow": r"yellow|golden yellow|lemon|黄|노란|노랑|黄色",
    "green": r"green|emerald|绿|綠|초록|녹색|緑",
    "blue": r"blue|azure|蓝|藍|파란|파랑|青",
    "purple": r"purple|violet|紫|보라|紫",
}
"""Words for the colours that are measured."""

_THINGS = (
    r"(?:\s+\w+){0,2}?\s+"
    r"(?:ball|sphere|cube|box|block|cone|pylon|robot|mushroom|toadstool|car|balloon|dress|bird)"
)
_GO = r"(?:roll|slid|slide|glid|glide|mov|move|travel|walk|run|driv|drive|fl[yi]|go)(?:s|es|ing|e)?"
_TO = r"(?:slowly |quickly )?(?:(?:to|toward|towards) the )?"
_ACTIONS = (
    ("travel-left", rf"(?<!camera )\b{_GO} {_TO}left\b|from right to left"),
    ("travel-right", rf"(?<!camera )\b{_GO} {_TO}right\b|from left to right"),
    ("bounce", r"\b(?:bounc(?:es|ing)|hops|hopping|jump(?:s|ing) up and down)\b"),
    ("drop", r"\b(?:drops|dropping|falls|falling) (?:down|from|to|on)\b"),
    ("spin", r"\b(?:spin(?:s|ning)|rotat(?:es|ing)|turn(?:s|ing) (?:around|on the spot|in place))\b"),
    ("still", r"\b(?:stand(?:s|ing) still|motionless|not moving|stays where|lies still|(?<!camera )does not move)\b"),
)  # fmt: skip
_SIZES = ("extreme-close-up", "close-up", "medium-close-up", "medium", "medium-wide", "wide", "extreme-wide")
_BETWEEN = {"medium-close-up": ("close-up", "medium"), "medium-wide": ("medium", "wide")}
_BLIND = {
    "style": "style is not measured",
    "light_source": "what gives the light is not measured",
    "lens": "the lens is not told from pixels",
    "subject": "what the subject is, is not measured",
    "material": "material is not measured",
    "surroundings": "surroundings are not measured",
    "focus": "focus is not measured",
}
_LABELS: dict[str, tuple[str, ...]] = {
    "action": ("still", "travel-left", "travel-right", "bounce", "drop", "spin", "collide"),
    "camera": ("none",),
    "colour": tuple(COLOURS),
    "contrast": ("normal",),
    "cuts": (),
    "direction": tuple(dict.fromkeys(DIRECTIONS.values())),
    "grip": ("steady", "handheld"),
    "light_direction": ("left", "right", "front"),
    "light_source": ("sky",),
    "motion": ("none", "little", "much", "very much"),
    "saturation": ("normal",),
    "time": tuple(dict.fromkeys(FAMILY.values())),
    "tone": ("neutral",),
}
"""What labels may say beside the terms of the vocabulary."""


@dataclass(frozen=True)
class Verdict:
    """One axis: `asked` and `measured` as keys, whether it was obeyed (None: not known), and why not or why unknown.

    `confidence` (0..1) is that of the reading.
    """

    axis: str
    asked: str
    measured: str
    matches: bool | None
    why: str = ""
    confidence: float = 0.0


def judge(measurement: Measurement, asked: ShotSpec | str | Mapping[str, str]) -> list[Verdict]:
    """Compare a measurement with what was asked: a spec, a prompt in any language, or labels by axis.

    Labels may be those of the film set ("action": "travel-left"). Raises OptionError for an axis that does not exist
    and for a prompt whose words exclude one another.
    """
    known = (*measurement.readings, *_BLIND)
    return [
        _verdict(measurement, choose("axis to judge", axis, known), value) for axis, value in wanted(asked)
    ]


def check_labels(labels: Mapping[str, str], where: str = "labels") -> None:
    """Raise OptionError for an axis that does not exist, and for a value that is none of its axis, if that has a list:
    it would be obeyed by no video, or be judged in none.
    """
    terms = {row.key: tuple(term.key for term in row.terms) for row in AXES}
    known = tuple(dict.fromkeys((*terms, *_LABELS, *_BLIND)))
    for axis, value in labels.items():
        choose(f"axis of {where}", axis, known)
        if not isinstance(value, str):
            raise OptionError(f"{axis} of {where} must be a text, not {value!r}")
        values = (*terms.get(axis, ()), *_LABELS.get(axis, ()))
        for each in value.split("+") if values else ():  # movements of the camera that go together
            choose(f"{axis} of {where}", each, values)


def measurable(asked: ShotSpec | str | Mapping[str, str]) -> bool:
    """Whether anything is asked that is measured at all."""
    return any(axis not in _BLIND for axis, _ in wanted(asked))


def present_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict as a file has it, whose `matches` was called `obeyed` by earlier versions."""
    return {"matches" if name == "obeyed" else name: value for name, value in row.items()}


def score(verdicts: Iterable[Verdict]) -> float:
    """Share of the known verdicts that were obeyed, each weighted by its confidence; 0 if none is known."""
    known = [verdict for verdict in verdicts if verdict.matches is not None]
    weight = sum(verdict.confidence for verdict in known)
    return sum(verdict.confidence for verdict in known if verdict.matches) / weight if weight else 0.0


def colour_said(text: str) -> str | None:
    """The colour of the thing that a prompt speaks of; None if it names none, or two."""
    text = text.lower()
    found = {name for name, words in COLOURS.items() if re.search(rf"\b(?:{words}){_THINGS}", text)}
    if not found:
        cjk = {name: re.sub(r"[a-z ]+\|?", "", words).strip("|") for name, words in COLOURS.items()}
        found = {name for name, words in cjk.items() if words and re.search(words, text)}
    return found.pop() if len(found) == 1 else None


def action_said(text: str) -> str | None:
    """What the subject is said to do, of the few actions that are measured; None if none or several."""
    text = re.sub(
        r"camera\s+(?:\w+\s+){0,2}?(?:moves?|moving|does not move|travels?|slides?)[^.,;]*", "", text.lower()
    )
    found = [name for name, words in _ACTIONS if re.search(words, text)]
    return found[0] if len(found) == 1 else None


def wanted(asked: ShotSpec | str | Mapping[str, str]) -> list[tuple[str, str]]:
    """Axis and value of all that is asked, whether it can be measured or not."""
    if isinstance(asked, Mapping):
        return list(asked.items())
    text = asked if isinstance(asked, str) else " ".join((asked.subject, asked.motion, asked.scene))
    spec = parse(asked) if isinstance(asked, str) else asked
    found: list[tuple[str, str]] = []
    for name, value in spec.to_json().items():
        if name in ("subject", "motion", "scene"):
            continue
        if name == "camera":
            moves = [move for move in value if move != "handheld"]
            found += [("camera", "+".join(moves))] if moves else []
            found += [("grip", "handheld")] if "handheld" in value else []
        else:
            found += [(name, each) for each in ([value] if isinstance(value, str) else value)]
    for axis, said in (("colour", colour_said(text)), ("action", action_said(text))):
        found += [(axis, said)] if said else []
    return found


def _verdict(measurement: Measurement, axis: str, asked: str) -> Verdict:
    if axis in _BLIND:
        return Verdict(axis, asked, UNKNOWN, None, _BLIND[axis])
    reading = measurement.readings[axis]
    if reading.value == UNKNOWN:
        return Verdict(axis, asked, UNKNOWN, None, reading.why or "it cannot be told from this video")
    rule = _RULES.get(axis, _same)
    matches, why = rule(asked, reading, measurement)
    return Verdict(axis, asked, reading.value, matches, why, reading.confidence)


Answer = tuple[bool | None, str]


def _same(asked: str, reading: Reading, whole: Measurement) -> Answer:
    return asked == reading.value, ""


def _one_of(*known: str) -> Callable[[str, Reading, Measurement], Answer]:
    def rule(asked: str, reading: Reading, whole: Measurement) -> Answer:
        if asked not in known:
            return None, f"{asked} is not measured, only {', '.join(known)}"
        return asked == reading.value, ""

    return rule


def _time(asked: str, reading: Reading, whole: Measurement) -> Answer:
    family = FAMILY.get(asked, asked)
    alike = {"golden": "sunrise and sunset look alike", "twilight": "dawn and dusk look alike"}
    return family == reading.value, alike.get(family, "")


def _size(asked: str, reading: Reading, whole: Measurement) -> Answer:
    if asked in _BETWEEN:
        return reading.value in _BETWEEN[asked], f"between {' and '.join(_BETWEEN[asked])}"
    return _one_of(*_SIZES)(asked, reading, whole)


def _light(asked: str, reading: Reading, whole: Measurement) -> Answer:
    if asked == "side-light":
        return reading.value in ("left", "right"), ""
    return _one_of("left", "right", "backlight", "front", "top-light")(asked, reading, whole)


def _action(asked: str, reading: Reading, whole: Measurement) -> Answer:
    if asked == "spin":
        turned = reading.value == "still"
        return (None, "a turn on the spot is not measured") if turned else (False, "it left its place")
    return _one_of("still", "travel-left", "travel-right", "bounce", "drop", "collide")(asked, reading, whole)


def _camera(asked: str, reading: Reading, whole: Measurement) -> Answer:
    moves, seen = set(asked.split("+")), set(reading.value.split("+"))
    if moves == {"compound"}:
        return len(seen) > 1, ""
    if moves == {"orbit"}:
        return any(move.startswith("orbit") for move in seen), ""
    if moves == {"follow"}:
        return _follows(seen, whole)
    if moves == seen:
        return True, ""
    unsure = {move for move in seen if move in ("left", "right", "up", "down", "in", "out")}
    if unsure and len(moves) == len(seen):
        ways = {DIRECTIONS.get(move, move) for move in moves}
        if ways == {DIRECTIONS.get(move, move) for move in seen}:
            return None, "the direction is right; a turn cannot be told from a move here"
    return False, ""


def _follows(seen: set[str], whole: Measurement) -> Answer:
    action = whole.readings["action"].value
    if "follow" in seen:
        return True, ""
    side = action.rpartition("-")[2]
    return any(DIRECTIONS.get(move, move) == side for move in seen), ""


_RULES: dict[str, Callable[[str, Reading, Measurement], Answer]] = {
    "time": _time,
    "tone": _one_of("warm", "cool", "neutral"),
    "saturation": _one_of("normal", "high-saturation", "low-saturation", "monochrome"),
    "contrast": _one_of("normal", "high-contrast", "low-contrast"),
    "light_quality": _one_of("soft-light", "hard-light"),
    "light_direction": _light,
    "shot_size": _size,
    "camera_angle": _one_of("eye-level", "low-angle", "high-angle", "dutch-angle", "overhead"),
    "composition": _one_of("center", "left-heavy", "right-heavy"),
    "action": _action,
    "camera": _camera,
}
