"""Which expert of a pair a file is for, told from its name.

People write `high_noise`, `HighNoise`, `_HIGH_`, `i2vHigh`, `t2vLOWNOISEFP8`, `hinoise` or `HN`. The same letters
also say what a video looks like (`high-angle`, `low_light`) and stand inside other words (`slow`, `highres`). A name
that says both experts, or neither, says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

_NOISE = re.compile(r"(high|hi|h|low|lo|l)[-_. ]*noise", re.IGNORECASE)
_SHORT = re.compile(r"(h|l)n", re.IGNORECASE)
_WORD = re.compile(r"(high|low)", re.IGNORECASE)
_CHINESE = {"高噪": "high", "低噪": "low"}

_GLUED_BEFORE = re.compile(r"(?:2[vi]|\d+b|wan|lora|fp\d+|q\d)$", re.IGNORECASE)
_GLUED_AFTER = re.compile(
    r"noise|(?:ti|[tis]|flf)2v|a?14b|lora|rank\d|fp\d|bf16|int8|v\d|q\d|step", re.IGNORECASE
)
"""What stands before and behind without anything between: `i2vhigh`, `lowfp8`."""

_DESCRIBES = re.compile(
    r"[-_. ]*(?i:angled?|brow|budget|cfg|closeup|contrast|cost|cut|def|definition|density|detail(?:s|ed)?|dynamics?|"
    r"end|energy|exposure|fantasy|fashion|fidelity|fps|framerate|freq(?:uency)?|gloss|grade|ground|heel(?:s|ed)?|hair|"
    r"impact|iso|key|life|light(?!x|n?ing)s?|mem(?:ory)?|motion|neck|pass|pitch|poly|pony(?:tail)?s?|precision|pressure|"
    r"quality|ram|rank(?![-_. ]?\d)|res(?:olution)?|rise|saturation|school|shots?|shutter|sky|speed|stakes|street|"
    r"sun|tech|tension|tide|vram|waist(?:ed)?|water)(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
)
"""Words that make `high` or `low` say what a video looks like, or what a file costs."""

_DESCRIBED = re.compile(r"(?:ankle|knee|sky|thigh|too|very)[-_. ]*$", re.IGNORECASE)


def expert_of(name: str | PurePath) -> str | None:
    """The expert that the name of a file says it is for, "high" or "low"; None if it says both or none.

    `name` may be a path: the names of folders count where that of the file says nothing. A word with "noise" (and `HN`,
    `LN`) comes before a `high` or `low` that stands alone. A single letter says nothing.
    """
    parts = re.split(r"[/\\]", name.as_posix() if isinstance(name, PurePath) else name)
    for say in (_plainly, _barely):
        for part in reversed(parts):
            if found := set(say(part)):
                return found.pop() if len(found) == 1 else None
    return None


def _plainly(text: str) -> Iterator[str]:
    yield from (expert for word, expert in _CHINESE.items() if word in text)
    for pattern in (_NOISE, _SHORT):
        for match in pattern.finditer(text):
            glued = pattern is _NOISE and match[1].isupper() != match[1].islower()
            if _begins(text, match) and (glued or _ends(text, match)):
                yield _expert(match[1])


def _barely(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        described = _DESCRIBES.match(text, match.end()) or _DESCRIBED.search(text[: match.start()])
        if _begins(text, match) and _ends(text, match) and not described:
            yield _expert(match[1])


def _expert(word: str) -> str:
    return "high" if word[0] in "hH" else "low"


def _begins(text: str, match: re.Match[str]) -> bool:
    """Whether a word begins here: nothing, no letter, another case or a known word stands before it."""
    before, word = text[: match.start()], match[1]
    if not before or not _letter(before[-1]) or _GLUED_BEFORE.search(before):
        return True
    capitals = len(before) > 1 and before[-2:].isupper() and all(map(_letter, before[-2:]))
    if word[0].isupper():
        return before[-1].islower() or (capitals and word[1:].islower() and len(word) > 1)
    return word.islower() and capitals and len(word) > 2


def _ends(text: str, match: re.Match[str]) -> bool:
    """Whether a word ends here: no letter, another case or a known word follows."""
    after, word = text[match.end() :], match[0]
    if not after or not _letter(after[0]) or _GLUED_AFTER.match(after):
        return True
    return word[-1].islower() if after[0].isupper() else word.isupper()


def _letter(character: str) -> bool:
    return character.isascii() and character.isalpha()
