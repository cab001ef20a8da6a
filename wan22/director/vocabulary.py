"""Find the director's terms: by name, for an option; in prose, for a prompt. The rows themselves are in terms.py."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise

from wan22.director.terms import AXES, EXCLUDES, LANGUAGES, PROMPT_LANGUAGES, TERMS, Axis, Term
from wan22.errors import OptionError, choose

__all__ = [
    "AXES", "LANGUAGES", "PROMPT_LANGUAGES", "TERMS", "Axis", "Said", "Term", "alone", "axis", "check_together",
    "find", "language_of", "said_in", "term",
]  # fmt: skip


@dataclass(frozen=True)
class Said:
    """A term found in a text, and the words that say it."""

    term: Term
    words: str
    start: int


def axis(key: str) -> Axis:
    """The axis of that key ("shot_size"). Raises OptionError that names the nearest."""
    return AXES[_keys(AXES).index(choose("axis of a shot", key, _keys(AXES)))]


def term(key: str) -> Term:
    """The term of that key, on any axis. Raises OptionError that names the nearest."""
    return TERMS[_keys(TERMS).index(choose("term", key, _keys(TERMS)))]


def find(word: str, on: str | Sequence[str]) -> Term:
    """The term that `word` names on an axis, or on one of several: by key, name, phrase or alias in any language.

    Case, dashes and spaces do not matter, and the beginning is enough if no other term has it. Raises OptionError
    that names the nearest and lists the known.
    """
    on = (on,) if isinstance(on, str) else on
    table = {name: row for key in on for name, row in _names(axis(key)).items()}
    plain = _plain(word)
    if plain in table:
        return table[plain]
    if (match := _prose().fullmatch(word.strip())) and (row := _matched(match)).axis in on:
        return row
    short = {row for name, row in table.items() if name.startswith(f"{plain} ")}  # "soft" for "soft light"
    if len(short) == 1:
        return short.pop()
    near = difflib.get_close_matches(plain, table, n=1)
    hint = f" Did you mean {table[near[0]].key!r}?" if near else ""
    kind = " or ".join(axis(key).name() for key in on)
    known = ", ".join(row.key for key in on for row in axis(key).terms)
    raise OptionError(f"unknown {kind} {word!r}.{hint} Known: {known}")


def alone(tag: str) -> Term | None:
    """The term that a whole tag names, on any axis; None if it names none, or might be of two."""
    return _unambiguous().get(_plain(tag))


def said_in(text: str) -> list[Said]:
    """Every term that a text says, in the order of their places, in any of the four languages.

    A word that is no more than a tag ("wide", "static") counts only where it stands alone between commas or full
    stops. What is denied ("no zoom in", "without moonlight") does not count.
    """
    found = [
        Said(_matched(match), match[0], match.start())
        for match in _prose().finditer(text)
        if not _DENIED.search(text, 0, match.start())
    ]
    taken = [range(said.start, said.start + len(said.words)) for said in found]
    for piece in re.finditer(f"(?:(?!{_END}).)+", text):
        words = piece[0].strip()
        if (row := alone(_FILLER.sub("", words))) and not any(
            piece.start() <= place.start < piece.end() for place in taken
        ):
            found.append(Said(row, words, piece.start() + piece[0].index(words)))
    return sorted(found, key=lambda said: said.start)


def check_together(given: Iterable[tuple[Term, str]]) -> None:
    """Raise OptionError for the first two terms that exclude one another; each comes with how it was said."""
    for (one, here), (other, there) in combinations(given, 2):
        if one == other:
            continue
        if one.axis == other.axis and not axis(one.axis).many:
            raise OptionError(
                f"{here} and {there} exclude one another: a shot has one {axis(one.axis).name()}. Leave one out."
            )
        if frozenset((one.key, other.key)) in EXCLUDES:
            raise OptionError(
                f"{here} and {there} exclude one another: no shot is both {one.key} and {other.key}. Leave one out."
            )


def language_of(text: str) -> str:
    """The language in which the model reads additions to `text`: "zh" for Chinese, else "en".

    Japanese and Korean are told from Chinese by their own letters.
    """
    if re.search(r"[\u3040-\u30ff\uac00-\ud7af\u1100-\u11ff]", text):
        return "en"
    return "zh" if re.search(r"[\u3400-\u9fff]", text) else "en"


_GAP = r"[\s_\-\u2010-\u2015]+"
_END = r"[,.;:!?\n，。；：！？、]"
_FILLER = re.compile(
    r"(?i)^(?:(?:with|in|at|by|as|a|an|the|filmed|slow|slowly|smooth|gentle|gently|fast|quick|quickly)\s+)+"
)
_DENIED = re.compile(
    r"(?i)(?:\b(?:no|not|without|never|neither|nor)|n't)\s+(?:\w+\s+)?$|(?:不要|没有|没|无|不)\s*$"
)


def _plain(word: str) -> str:
    """A word as names are compared: without case, dashes, the width of letters, British spelling, a full stop."""
    word = re.sub(_GAP, " ", unicodedata.normalize("NFKC", word)).casefold().strip(" .。")
    return word.replace("colour", "color").replace("centre", "center")


@cache
def _names(row: Axis) -> dict[str, Term]:
    """Every plain name of the terms of one axis; a key comes before an alias."""
    names = {_plain(word): term for term in row.terms for word in (*term.said, *term.alone)}
    for column in (lambda term: term.names, lambda term: (term.en, term.zh), lambda term: (term.key,)):
        names |= {_plain(word): term for term in row.terms for word in column(term)}
    return names


@cache
def _unambiguous() -> dict[str, Term]:
    """Every plain name that means one term, whatever the axis."""
    owners: dict[str, list[Term]] = {}
    for row in AXES:
        for name, owner in _names(row).items():
            owners.setdefault(name, []).append(owner)
    return {name: terms[0] for name, terms in owners.items() if len(terms) == 1}


@cache
def _prose() -> re.Pattern[str]:
    """One pattern of everything that counts in prose, the longest first; a group's name ends in the term's number.

    Words are put together by their first letter, which alone is tried at most places of a text.
    """
    words = [
        (word.removeprefix("The "), number)
        for number, row in enumerate(TERMS)
        for word in (row.en, row.zh, *row.said)
    ]
    by_letter: dict[str, list[str]] = {}
    for place, (word, number) in enumerate(sorted(words, key=lambda pair: -len(pair[0]))):
        group = f"(?P<_{place}_{number}>{_pattern(word)})"
        by_letter.setdefault(word[0].lower(), []).append(group)
    return re.compile(
        "|".join(f"(?={letter})(?:{'|'.join(groups)})" for letter, groups in by_letter.items()), re.IGNORECASE
    )


def _matched(match: re.Match[str]) -> Term:
    return TERMS[int(str(match.lastgroup).rpartition("_")[2])]


def _pattern(word: str) -> str:
    """Words of terms.py as a pattern: "~" any ending, "(the)" optional; an adverb may follow "camera"."""
    parts = re.findall(r"(?:\([^)]*\)|[^\s(])+", word)
    pattern = _part(parts[0])
    for before, part in pairwise(parts):
        adverb = rf"(?:{_GAP}\w+ly)?" if before == "camera" else ""
        optional = re.fullmatch(r"\((.+)\)", part)
        pattern += adverb + (f"(?:{_GAP}{_part(optional[1])})?" if optional else _GAP + _part(part))
    start = r"(?<![a-z0-9])" if word[0].isascii() else ""
    return start + pattern + (r"(?![a-z0-9])" if word[-1].isascii() else "")


def _part(part: str) -> str:
    """One word: its optional letters, any ending, and both spellings."""
    pattern = re.escape(part).replace(r"\(", "(?:").replace(r"\)", ")?").replace(r"\-", _GAP)
    pattern = pattern.replace(r"\ ", _GAP).replace(r"\~", "~").replace("~", r"\w{0,5}")
    return pattern.replace("color", "colou?r").replace("center", "cent(?:er|re)")


def _keys(rows: Sequence[Axis | Term]) -> tuple[str, ...]:
    return tuple(row.key for row in rows)
