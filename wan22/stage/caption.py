"""How people say a shot in four languages: many phrasings for every label, some axes left unsaid, in changing order.

A caption is a frame ("{thing} {action.sentence} {surroundings}. {sentences}.") filled with phrases of the labels. A
tenth of the frames, and some phrases, are kept for captions that no training sees. The phrases themselves, those of
the official vocabulary among them, are in words_en.py and its sisters; what a label looks like is scene.py's.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Literal, get_args

from wan22.errors import choose
from wan22.stage import words_en, words_ja, words_ko, words_zh
from wan22.stage.labels import AXES, Shot, labels

Kind = Literal["tag", "clause", "sentence", "adjective"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LANGUAGES = {"en": 0.55, "zh": 0.20, "ko": 0.125, "ja": 0.125}
"""Shares of the languages among captions."""
SHORT = 0.08
"""Share of captions that say little but the subject and what it does."""
LONGEST = 58
"""About as many tokens as a caption may have; one that is longer says less."""
VAGUE = "?"
"""Ends a phrase that is true of a label but does not tell which it is: "side lighting", from left or right."""

_ORDINARY = {
    "light_source": "sky", "tone": "neutral", "saturation": "normal", "contrast": "normal", "material": "matte",
    "camera_angle": "eye-level", "lens": "normal-lens", "focus": "deep", "composition": "center", "grip": "steady",
}  # fmt: skip
"""Values that people seldom mention."""
_SHARES = {
    "subject": 0.99, "colour": 0.97, "action": 0.89, "camera": 0.89, "surroundings": 0.9, "time": 0.78,
    "tone": 0.78, "shot_size": 0.78, "light_quality": 0.55, "light_direction": 0.65,
}  # fmt: skip
_RARE, _SELDOM, _BRIEF = 0.74, 0.15, 0.4
_NAME = ("subject", "colour", "material")
_CORE = ("subject", "colour", "action", "camera")
_COLLECTORS: dict[str, Kind] = {"tags": "tag", "clauses": "clause", "sentences": "sentence"}
_SLOT = re.compile(r"\{([a-z_.]+)\}")
_SEGMENT = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Caption:
    """A text, its language, and the axes that it says."""

    text: str
    language: str
    said: frozenset[str]


def caption(
    shot: Shot, rng: random.Random, *, language: str | None = None, held_out: bool = False
) -> Caption:
    """Say `shot` in one of many ways, drawn from `rng`.

    language: a key of `LANGUAGES`; None draws one by its share. held_out: a frame that training captions never have,
    and phrases that they never have wherever there are some. Raises OptionError for an unknown language.
    """
    if language is None:
        language = rng.choices(tuple(LANGUAGES), tuple(LANGUAGES.values()))[0]
    words = _words(choose("language of captions", language, tuple(LANGUAGES)))
    said = _draw_said(shot, rng)
    while True:
        made = _Telling(words, shot, said, rng, held_out).tell()
        spare = sorted(said.difference(_CORE))
        if _length(made.text) <= LONGEST or not spare:
            return made
        said = said - {rng.choice(spare)}


def phrasings(language: str, *, held_out: bool) -> frozenset[str]:
    """Every frame and phrase that is kept for training captions, or for held-out ones alone."""
    words = _words(choose("language of captions", language, tuple(LANGUAGES)))
    frames = words.held_frames if held_out else words.frames
    rows = words.held if held_out else words.rows
    return frozenset(frames) | {f"{'/'.join(key)}: {text}" for key, texts in rows.items() for text in texts}


def _draw_said(shot: Shot, rng: random.Random) -> frozenset[str]:
    brief = rng.random() < SHORT
    said = set()
    for axis, value in labels(shot).items():
        share = _SELDOM if _ORDINARY.get(axis) == value else _SHARES.get(axis, _RARE)
        if brief and axis not in ("subject", "colour"):
            share *= _BRIEF if axis in (*_CORE, "surroundings") else 0.1
        if rng.random() < share:
            said.add(axis)
    return frozenset(said)


def _length(text: str) -> float:
    """About the tokens of a text: its Latin words and marks, and pieces of one or two wide characters."""
    wide = len(re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]", text))
    syllables = len(re.findall(r"[\uac00-\ud7af]", text))
    return len(re.findall(r"[a-z0-9']+|[^\w\s-]", text.lower())) + wide / 1.5 + syllables / 1.35


@dataclass
class _Telling:
    """One caption in the making; `told` are the axes that stand in it so far."""

    words: _Words
    shot: Shot
    said: frozenset[str]
    rng: random.Random
    held_out: bool
    told: set[str] = field(default_factory=set)

    def tell(self) -> Caption:
        frames = self.words.held_frames if self.held_out else self.words.frames
        text = self.words.polish(self._fill(self.rng.choice(frames)))
        return Caption(text, self.words.language, frozenset(self.told))

    def _fill(self, frame: str) -> str:
        slots = _SLOT.findall(frame)
        places = {slot.split(".")[0] for slot in slots}
        within = set(_NAME) if "thing" in places else set()
        within |= {"shot_size", "camera_angle"} if "view" in places else set()
        rest = sorted(self.said - places - within)
        self.rng.shuffle(rest)
        filled = self._collect([slot for slot in slots if slot in _COLLECTORS], rest)
        for slot in slots:
            if slot not in filled:
                filled[slot] = self._slot(slot)
        return _put(frame, filled)

    def _slot(self, slot: str) -> str:
        if slot == "thing":
            return self._fill_thing()
        if slot == "view":
            return self._view()
        axis, _, kind = slot.partition(".")
        return self._phrase(axis, choose("kind of phrase", kind, KINDS) if kind else "clause")

    def _collect(self, collectors: Sequence[str], rest: Sequence[str]) -> dict[str, str]:
        """Share the axes that have no place of their own among the frame's lists."""
        parts: dict[str, list[str]] = {name: [] for name in collectors}
        for axis in rest:
            name = self.rng.choice(collectors)
            parts[name].append(self._phrase(axis, _COLLECTORS[name]))
        marks = {"tags": self.words.comma, "clauses": self.words.comma, "sentences": self.words.stop}
        return {name: marks[name].join(phrases) for name, phrases in parts.items()}

    def _fill_thing(self) -> str:
        frame = self.rng.choice(self.words.things)
        return _put(frame, {slot: self._slot(slot) for slot in _SLOT.findall(frame)})

    def _view(self) -> str:
        """Angle and size in one: "low-angle medium shot"; empty if neither is said."""
        angle = self._phrase("camera_angle", "adjective")
        size = self._phrase("shot_size", "clause") or (self.words.shot if angle else "")
        return self.words.space.join(filter(None, (angle, size)))

    def _phrase(self, axis: str, kind: Kind) -> str:
        """One of the ways to say the label of an axis; empty if it is not to be said."""
        if axis in self.said:
            case = _case(axis, self.shot)
        elif axis == "subject":
            case = "unsaid"
        else:
            return ""
        texts = self.words.held.get((axis, case, kind), ()) if self.held_out else ()
        text = self.rng.choice(texts or self.words.rows[axis, case, kind])
        if axis in self.said and not text.endswith(VAGUE):
            self.told.add(axis)
        return text.removesuffix(VAGUE)


def _put(frame: str, filled: Mapping[str, str]) -> str:
    """Fill a frame; a part in brackets goes if a slot in it is empty."""

    def part(match: re.Match[str]) -> str:
        whole = all(filled[slot] for slot in _SLOT.findall(match[1]))
        return match[1] if whole else ""

    return _SLOT.sub(lambda match: filled[match[1]], _SEGMENT.sub(part, frame))


def _case(axis: str, shot: Shot) -> str:
    """The row of a label, which may depend on who acts, or on what shines."""
    value = getattr(shot, axis)
    if axis == "action" and value.startswith("travel"):
        return f"{value}@{shot.subject if shot.subject in ('ball', 'robot') else 'other'}"
    if axis == "action" and value == "bounce":
        return f"{value}@{'robot' if shot.subject == 'robot' else 'other'}"
    if axis == "light_source" and value == "sky":
        return f"{value}@{shot.time if shot.time in ('day', 'night') else 'golden'}"
    return value


Rows = dict[tuple[str, str, Kind], tuple[str, ...]]


@dataclass(frozen=True)
class _Words:
    """What a language has: phrases by axis, case and kind, and frames; each as trained and as held out."""

    language: str
    rows: Rows
    held: Rows
    frames: tuple[str, ...]
    held_frames: tuple[str, ...]
    things: tuple[str, ...]
    comma: str
    stop: str
    space: str
    shot: str
    polish: Callable[[str], str]


@cache
def _words(language: str) -> _Words:
    module, comma, stop, space, shot, polish = _LANGUAGES[language]
    rows = _read(module.TABLE)
    held = _hold_out(language, rows)
    kept = {
        key: tuple(text for text in texts if text not in held.get(key, ())) for key, texts in rows.items()
    }
    ranked = sorted(module.FRAMES, key=lambda frame: _hash(f"{language}|{frame}"))
    share = max(2, len(ranked) // 10)
    return _Words(
        language, kept, held, tuple(ranked[share:]), tuple(ranked[:share]), module.THINGS,
        comma, stop, space, shot, polish,
    )  # fmt: skip


def _read(table: str) -> Rows:
    """Read `[axis]` and `value = tags | clauses | sentences | adjectives`; a missing cell is the tags'."""
    rows: Rows = {}
    axis = ""
    for line in filter(None, map(str.strip, table.splitlines())):
        if line.startswith("["):
            axis = line.strip("[]")
            continue
        case, _, cells = line.partition(" = ")
        said = [tuple(text.strip() for text in cell.split(";")) for cell in cells.split("|")]
        for i, kind in enumerate(KINDS):
            rows[axis, case, kind] = said[i] if i < len(said) else said[0]
    return rows


def _hold_out(language: str, rows: Rows) -> Rows:
    """A quarter of the phrases, by their hash, as far as their words all stand in other phrases of the same label.

    Tags stay, and so do the first of each cell: they are the official vocabulary. So do the words of which the name of
    the subject is made, which has no other phrases.
    """
    chosen = {
        key: tuple(text for text in texts[1:] if _hash(f"{language}|{'|'.join(key)}|{text}") % 4 == 0)
        for key, texts in rows.items()
        if key[0] not in _NAME and key[2] in ("clause", "sentence") and len(texts) > 2
    }
    held: Rows = {}
    for (axis, case, kind), texts in chosen.items():
        # A phrase that stands in another cell, too, would be seen there.
        others = [
            text
            for other in KINDS
            for text in rows[axis, case, other]
            if text not in chosen.get((axis, case, other), ())
        ]
        known = {unit for text in others for unit in _units(text)}
        fine = tuple(text for text in texts if text not in others and known.issuperset(_units(text)))
        if fine:
            held[axis, case, kind] = fine
    return held


def _units(text: str) -> Iterable[str]:
    """The words of a text, or its syllables and ideographs."""
    return re.findall(r"[a-z0-9'+]+|[^\x00-\x7f]", text.lower())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _polish_english(text: str) -> str:
    text = re.sub(r"\ba~(\W*)(?=[aeiou])", r"an \1", text.strip(" ,.:;")).replace("a~", "a ")
    text = re.sub(r"(^|[.] )(\w)", lambda match: match[1] + match[2].upper(), text)
    return text if "," in text and "." not in text else f"{text}."


def _polish_chinese(text: str) -> str:
    text = re.sub(r"^[,。:]+|[,:]+(?=。|$)", "", text)
    return text.replace(",", "，").replace(":", "：")


def _polish_korean(text: str) -> str:
    text = re.sub(r"~이(?=[.,]|$)", "", text)
    text = re.sub(r"(.)~이", lambda match: match[1] + ("이" if (ord(match[1]) - 0xAC00) % 28 else "가"), text)
    return text.strip(" ,")


def _polish_japanese(text: str) -> str:
    return re.sub(r"が(?=[。、]|$)", "", text).strip("、")


_LANGUAGES: dict[str, tuple[ModuleType, str, str, str, str, Callable[[str], str]]] = {
    "en": (words_en, ", ", ". ", " ", "shot", _polish_english),
    "zh": (words_zh, ",", "。", "", "镜头", _polish_chinese),
    "ko": (words_ko, ", ", ". ", " ", "샷", _polish_korean),
    "ja": (words_ja, "、", "。", "", "ショット", _polish_japanese),
}
"""Phrases and frames; the marks between phrases and between sentences; between words; a shot of no size; the polish."""

assert set(_SHARES) | set(_ORDINARY) <= set(AXES)
