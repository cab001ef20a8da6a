"""A script of shots, read and checked whole before anything is made: each shot becomes a `ShotSpec` and a prompt.

    Subject: a red ball
    Style: realistic
    Model: nano

    Shot 1: It lies on a green meadow by day. Wide shot.
    Shot 2: It rolls left. The camera pans left.
    Camera: pan left

`{subject}` in a prompt stands for the shared subject. A prompt that says the subject, word for word, stays as it is;
before any other the subject is put: "a red ball; it rolls left". A shot with `Subject: none` goes without.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from wan22.director.options import OPTIONS, answers, words
from wan22.director.shot import ShotSpec, parse
from wan22.director.vocabulary import PROMPT_LANGUAGES, Term, alone, axis, find
from wan22.errors import OptionError, SizeError, choose
from wan22.fields import MAX_SEED
from wan22.storyboard.reading import LIMIT, MAX_SHOTS, Entry, RawShot, read_text, read_yaml

__all__ = ["Scene", "Script", "read_script"]

YAML_SUFFIXES = (".yaml", ".yml", ".json")

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Scene:
    """One shot of a script: what it shows, and what it has of its own; None is the script's or the model's.

    `subject` is the shared subject if the shot has it, else "". `prompt` is what the model reads. `where` is
    for errors: "video.txt, shot 2, line 5".
    """

    number: int
    line: int
    spec: ShotSpec
    prompt: str
    subject: str
    seconds: float | None = None
    seed: int | None = None
    image: str | None = None
    where: str = ""


@dataclass(frozen=True)
class Script:
    """Shots in their order, and what is said for all of them; None is the model's own. `model_at` is where the model is
    named, for errors: "video.txt, line 3".
    """

    scenes: tuple[Scene, ...]
    title: str = ""
    subject: str = ""
    style: str = ""
    model: str | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    fps: float | None = None
    steps: int | None = None
    negative: str | None = None
    model_at: str = ""


def read_script(text: str, name: str) -> Script:
    """Read a script; `name` is its file's, whose ending says YAML (.yaml, .yml, .json) or plain text (all others).

    Raises OptionError, naming line and shot, for an unknown key, no shots, terms that are unknown or exclude one
    another, and values that cannot be.
    """
    if len(text) > LIMIT:
        raise OptionError(f"{name} has {len(text):,} characters; a script has at most {LIMIT:,}")
    text = text.removeprefix("\ufeff")
    raw = read_yaml(text, name) if name.lower().endswith(YAML_SUFFIXES) else read_text(text, name)
    if not raw.shots:
        raise OptionError(
            f"{name} has no shots; write each as a paragraph, as a line 'Shot 1: a red ball rolls left', or in YAML "
            "under 'shots:'"
        )
    if len(raw.shots) > MAX_SHOTS:
        raise OptionError(f"{name} has {len(raw.shots)} shots; a board has at most {MAX_SHOTS}")
    head = _Values(raw.header, name)
    maker = _Maker(
        name,
        subject=head.get("subject", _text, ""),
        style=head.get("style", _listed, ""),
        defaults=raw.defaults,
        seconds=head.get("seconds", _positive),
        language=head.get("language", lambda value: choose("language of prompts", value, PROMPT_LANGUAGES)),
    )
    return Script(
        scenes=tuple(maker.scene(number, shot) for number, shot in enumerate(raw.shots, 1)),
        title=head.get("title", _text, ""),
        subject=maker.subject,
        style=maker.style,
        model=head.get("model", _text),
        size=head.get("size", _size),
        seed=head.get("seed", _whole, 0),
        fps=head.get("fps", _positive),
        steps=head.get("steps", _count),
        negative=head.get("negative", _text),
        model_at=f"{name}, line {raw.header['model'].line}" if "model" in raw.header else "",
    )


class _Values:
    """Entries read as values; an error says where."""

    def __init__(self, entries: Mapping[str, Entry], where: str) -> None:
        self._entries, self._where = entries, where

    def get(self, key: str, read: Callable[[Any], Value], default: Any = None) -> Any:
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            return default
        try:
            return read(entry.value)
        except (OptionError, SizeError) as error:
            raise type(error)(f"{self._where}, line {entry.line}: {key}: {error}") from None


@dataclass(frozen=True)
class _Maker:
    """Makes scenes: what is shared by all shots, and the script's name for errors."""

    name: str
    subject: str
    style: str
    defaults: Mapping[str, Entry]
    seconds: float | None
    language: str | None

    def scene(self, number: int, raw: RawShot) -> Scene:
        where = f"{self.name}, shot {number}"
        values, common = _Values(raw.entries, where), _Values(self.defaults, f"{self.name}, defaults")
        subject = values.get("subject", _subject, self.subject)
        prompt = values.get("prompt", _text, "")
        terms = [
            term
            for option in OPTIONS
            if option != "style"
            for term in values.get(option, _answers(option), [])
        ]
        usual = [term for option in OPTIONS for term in common.get(option, _answers(option), [])]
        try:
            styled, rest = _style(values.get("style", _listed, self.style))
            spec = _told(prompt, subject, rest).with_terms(terms)
            spec = _with_defaults(spec, [*styled, *usual])
        except OptionError as error:
            if str(error).startswith(self.name):
                raise
            raise OptionError(f"{where}, line {raw.line}: {error}") from None
        return Scene(
            number=number,
            line=raw.line,
            spec=spec,
            prompt=spec.render(self.language),
            subject=subject,
            seconds=values.get("seconds", _positive, common.get("seconds", _positive, self.seconds)),
            seed=values.get("seed", _whole),
            image=values.get("image", _text),
            where=f"{where}, line {raw.line}",
        )


def _told(prompt: str, subject: str, style: str) -> ShotSpec:
    """The prompt with its subject, and with words of style that are not in the vocabulary, at its end."""
    for placeholder in _PLACEHOLDER.findall(prompt):
        choose("placeholder", placeholder, ("{subject}",))
    if "{subject}" in prompt:
        if not subject:
            raise OptionError("the prompt names {subject}, and the script has no subject")
        spec = parse(prompt.replace("{subject}", subject))
    else:
        spec = parse(prompt)
        if subject and not _says(prompt, subject):
            motion = "; ".join(text for text in (spec.subject, spec.motion) if text)
            spec = replace(spec, subject=subject, motion=motion)
    if not spec.subject and not spec.scene:
        raise OptionError("the shot has no prompt, and the script no subject")
    if style:
        place = next(name for name in ("scene", "motion", "subject") if getattr(spec, name))
        spec = replace(spec, **{place: f"{getattr(spec, place)}, {style}"})
    return spec


def _says(prompt: str, subject: str) -> bool:
    bare = re.sub(r"(?i)^(?:an?|the)\s+", "", subject.strip()).casefold()
    if not bare.isascii():
        return bare in prompt.casefold()
    return re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", prompt.casefold()) is not None


def _with_defaults(spec: ShotSpec, terms: list[Term]) -> ShotSpec:
    """The shot with terms on the axes that it leaves open."""
    return spec.with_terms([term for term in terms if not spec.terms(term.axis)])


def _style(text: str) -> tuple[list[Term], str]:
    """Terms of the vocabulary in a shared style, and the words that are none.

    Raises OptionError for a word that is nearly a visual style: it is a slip, not a style of one's own.
    """
    terms, rest = [], []
    for word in words(text):
        if (found := alone(word)) is not None:
            terms.append(found)
            continue
        try:
            terms.append(find(word, "style"))
        except OptionError:
            names = [name for row in axis("style").terms for name in (row.key, *row.names)]
            if difflib.get_close_matches(word.casefold(), names, n=1, cutoff=0.8):
                raise
            rest.append(word)
    return terms, ", ".join(rest)


def _answers(option: str) -> Callable[[Any], list[Term]]:
    return lambda value: answers(option, _listed(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise OptionError(f"must be text, not {value!r}; in YAML put it between quotation marks")
    return " ".join(value.split())


def _listed(value: Any) -> str:
    """Text, or a list of texts as one with commas."""
    return ", ".join(_text(item) for item in value) if isinstance(value, list) else _text(value)


def _subject(value: Any) -> str:
    text = _text(value)
    return "" if text.lower() in ("none", "-") else text


def _number(value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise OptionError(f"must be a number, not {value!r}")
    return number


def _positive(value: Any) -> float:
    if (number := _number(value)) <= 0:
        raise OptionError(f"must be more than 0, not {value!r}")
    return number


def _whole(value: Any) -> int:
    try:
        number = int(value) if not isinstance(value, bool | float) else -1
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= MAX_SEED:
        raise OptionError(f"must be a whole number from 0 on, not {value!r}")
    return number


def _count(value: Any) -> int:
    if (number := _whole(value)) == 0:
        raise OptionError("must be at least 1")
    return number


def _size(value: Any) -> tuple[int, int]:
    text = "x".join(str(part) for part in value) if isinstance(value, list) else str(value)
    found = re.fullmatch(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})", text.strip())
    if found is None:
        raise SizeError(f"must be WIDTHxHEIGHT in pixels, such as 832x480, not {value!r}")
    return int(found[1]), int(found[2])
