"""One shot as a value: what is seen, what happens, where, and every axis of the vocabulary that was asked for.

It renders to a prompt in this order, which never changes:

    STYLE, TIME, LIGHT, TONE, SIZE, ANGLE, LENS, COMPOSITION. SUBJECT; MOTION. The setting is SCENE. CAMERA.

and `parse` reads any prompt back. Words of the person's own are never rewritten: what they already say of the
vocabulary is understood, and not said twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any

from wan22.director.vocabulary import (
    AXES,
    PROMPT_LANGUAGES,
    TERMS,
    Term,
    axis,
    check_together,
    find,
    language_of,
    said_in,
    term,
)
from wan22.errors import OptionError, choose

__all__ = ["ShotSpec", "add_terms", "parse"]

_TEXTS = ("subject", "motion", "scene")
_SCENE = re.compile(r"(?:^|(?<=[.!?…。！？])\s*)(?:The setting is |场景是)(?=[^\s;；])")
_MOTION = re.compile(r"\s*[;；]\s*")
_TAG = re.compile(r"([^,.;:\n，。；：、]+)(?:[,.;:\n，。；：、]|$)")
_LAST = re.compile(r"(?:^|(?<=[.!?…。！？]))([^.!?…。！？]+)$")
_SENTENCES_END = tuple(".!?…。！？")


@dataclass(frozen=True)
class ShotSpec:
    """What one shot should be.

    The three texts are free, in any language. An axis with one answer holds a key of the vocabulary or None; one that
    may have several holds a tuple of keys. Any name of a term is taken ("Dolly In", "镜头推进"), and made its key.

    A spec never disagrees with its own texts: what they say of the vocabulary it has too, and official tags before a
    text, or an official sentence on the camera after it, become answers. A motion without a subject stands in the
    subject's place. Raises OptionError for an unknown term, for terms that exclude one another (in words or
    answers; both are named), and for a text with the words that `render` puts between texts.
    """

    subject: str = ""
    motion: str = ""
    scene: str = ""
    style: str | None = None
    time: str | None = None
    light_source: tuple[str, ...] = ()
    light_quality: str | None = None
    light_direction: tuple[str, ...] = ()
    tone: str | None = None
    saturation: str | None = None
    contrast: str | None = None
    shot_size: str | None = None
    camera_angle: tuple[str, ...] = ()
    lens: str | None = None
    composition: str | None = None
    camera: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        answers: list[tuple[Term, str]] = []
        texts: dict[str, str] = {}
        for name in _TEXTS:
            texts[name], tags = _strip(getattr(self, name))
            answers += [(tag, f"the tag {tag.en!r}") for tag in tags]
        if not texts["subject"]:
            texts["subject"], texts["motion"] = texts["motion"], ""
        for name, text in texts.items():
            _check_text(name, text)
            answers += [(said.term, f"{said.words!r} in the prompt") for said in said_in(text)]
        for row in AXES:
            given = (find(word, row.key) for word in _several(getattr(self, row.key)))
            answers += [(found, f"{row.name()} {found.key!r}") for found in given]
        check_together(answers)
        chosen = {found.key for found, _ in answers}
        for name, text in texts.items():
            object.__setattr__(self, name, text)
        for row in AXES:
            keys = tuple(each.key for each in row.terms if each.key in chosen)
            object.__setattr__(self, row.key, keys if row.many else keys[0] if keys else None)

    def terms(self, on: str | None = None) -> tuple[Term, ...]:
        """Its answers in the order of the vocabulary, on every axis or on one."""
        rows = AXES if on is None else (axis(on),)
        return tuple(term(key) for row in rows for key in _several(getattr(self, row.key)))

    def render(self, language: str | None = None) -> str:
        """The prompt, its tags in "en" or "zh"; None: Chinese if the texts are Chinese, else English.

        What the texts say already is not said again. Raises OptionError for another language.
        """
        subject, motion, scene = texts = [getattr(self, name) for name in _TEXTS]
        language = choose("language of prompts", language or language_of("".join(texts)), PROMPT_LANGUAGES)
        pause, setting = ("；", "场景是") if language == "zh" else ("; ", "The setting is ")
        said = {said.term for text in texts for said in said_in(text)}
        sentences = [f"{subject}{pause}{motion}" if motion else subject, f"{setting}{scene}" if scene else ""]
        return _around(sentences, [row for row in self.terms() if row not in said], language)

    def to_json(self) -> dict[str, Any]:
        """What a recipe keeps: the texts and answers that are not empty."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ShotSpec:
        """Read `to_json`'s form, also as people write it: one answer or a list. Raises OptionError."""
        known = tuple(field.name for field in fields(cls))
        for name, value in values.items():
            choose("part of a shot", name, known)
            if not isinstance(value, str) and not (
                name not in _TEXTS
                and isinstance(value, list | tuple)
                and all(isinstance(v, str) for v in value)
            ):
                raise OptionError(f"{name} of a shot must be text, not {value!r}")
        return cls(**values)

    def with_terms(self, more: Iterable[Term]) -> ShotSpec:
        """The same shot with more answers. Raises OptionError for one that excludes what is there."""
        wanted = (*self.terms(), *more)
        answers = {row.key: tuple(found.key for found in wanted if found.axis == row.key) for row in AXES}
        return replace(self, **answers)


def parse(prompt: str) -> ShotSpec:
    """Read a prompt of any form, in any of the four languages: the inverse of `ShotSpec.render`.

    Official tags before it and official sentences on the camera after it are taken out; of the rest, what follows
    "The setting is" is the scene, what follows the first semicolon the motion, and all else the subject. Raises
    OptionError for words that exclude one another.
    """
    text, tags = _strip(prompt)
    text, scene = _cut(text, _SCENE)
    subject, motion = _cut(text, _MOTION)
    return ShotSpec(subject, motion, scene).with_terms(tags)


def add_terms(prompt: str, more: Iterable[Term], language: str | None = None) -> str:
    """A prompt with more terms around it, where `ShotSpec.render` puts them; itself it stays letter for letter.

    What it says already is not said again. Raises OptionError for a term that excludes what it says, and for terms
    that exclude one another.
    """
    there = parse(prompt)
    spec = there.with_terms(more)
    language = choose("language of prompts", language or language_of(prompt), PROMPT_LANGUAGES)
    added = [row for row in spec.terms() if row not in there.terms()]
    return _around([prompt.strip()], added, language) if added else prompt


def _around(sentences: Iterable[str], terms: Sequence[Term], language: str) -> str:
    """Tags before the sentences, the camera's movements after them, each a sentence of its own."""
    stop, space, comma = ("。", "", "，") if language == "zh" else (".", " ", ", ")
    tags = comma.join(row.phrase(language) for row in terms if row.axis != "camera")
    moves = [row.phrase(language) for row in terms if row.axis == "camera"]
    whole = [sentence for sentence in (tags, *sentences, *moves) if sentence]
    return space.join(_ended(text, stop) for text in whole)


def _ended(sentence: str, stop: str) -> str:
    """A sentence with its full stop; after a last 场景是 with a space, or the stop would begin a scene."""
    if sentence.endswith(_SENTENCES_END):
        return sentence
    return f"{sentence} {stop}" if sentence.endswith("场景是") else sentence + stop


def _strip(text: str) -> tuple[str, list[Term]]:
    """Take official tags from the beginning of a text, and official sentences on the camera from its end."""
    tags: list[Term] = []
    text = _tidy(text)
    while (found := _TAG.match(text)) and (tag := _official().get(found[1].strip().casefold())):
        tags.append(tag)
        text = _tidy(text[found.end() :])
    while (found := _LAST.search(text)) and (tag := _official().get(found[1].strip().casefold())):
        if tag.axis != "camera":
            break
        tags.append(tag)
        text = _tidy(text[: found.start()])
    return text, tags


def _tidy(text: str) -> str:
    """A text without space, commas and semicolons around it, and without its last full stop."""
    while (tidier := re.sub(r"(?<![.。])[.。]$", "", text.strip(" \t\n,，、;；").strip())) != text:
        text = tidier
    return text


def _cut(text: str, at: re.Pattern[str]) -> tuple[str, str]:
    found = at.search(text)
    return (text[: found.start()], text[found.end() :]) if found else (text, "")


def _check_text(name: str, text: str) -> None:
    """Raise OptionError for a text that would not be read back as it is."""
    if name == "subject" and (found := re.search("[;；]", text)):
        raise OptionError(
            f"the subject of a shot holds {found[0]!r}, where its motion begins: use a comma: {text!r}"
        )
    if name != "scene" and (found := _SCENE.search(text if name == "subject" else f";{text}")):
        raise OptionError(
            f"the {name} of a shot holds {found[0].strip()!r}: give what follows as its scene: {text!r}"
        )


def _several(value: str | Iterable[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


@cache
def _official() -> dict[str, Term]:
    """Terms by the phrases that the model was trained on."""
    return {phrase.casefold(): row for row in TERMS for phrase in (row.en, row.zh)}
