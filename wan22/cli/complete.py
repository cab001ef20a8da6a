"""Tab completion of option values: what each option can be, without loading a network.

Files need nothing: where a completer has no answer, the shell completes files itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wan22.client import URL
from wan22.fields import CHOICES

Completer = Callable[[str], list[str]]


def completion(choices: str) -> Completer | None:
    """The completer of a field's `choices`; None if it has none."""
    if not choices:
        return None

    def complete(incomplete: str) -> list[str]:
        *before, last = incomplete.split(",") if choices not in _PLAIN else [incomplete]
        start = "".join(f"{piece}," for piece in before)
        word = last.lstrip()
        return [f"{start}{known}" for known in values(choices) if known.startswith(word)]

    return complete


def values(choices: str) -> list[str]:
    """Every value that an option of these `choices` names, in order."""
    if choices in CHOICES:
        return list(CHOICES[choices])
    if choices in _OPEN:
        return list(_OPEN[choices]())
    from wan22.director.options import OPTIONS
    from wan22.director.vocabulary import axis

    return [term.key for key in OPTIONS[choices] for term in axis(key).terms]


def _models() -> Iterable[str]:
    from wan22.catalog import rows

    return rows()


_OPEN: dict[str, Callable[[], Iterable[str]]] = {
    "model": _models,
    "device": lambda: ("auto", "cpu", "cuda", "mps"),
    "cache": lambda: ("first-block", "teacache", "magcache"),
    "extender": lambda: ("rules",),
    "speaker": lambda: ("espeak",),
    "server": lambda: (URL,),
}
"""What an option that takes other names, too, is completed with."""

_PLAIN = {*CHOICES, *_OPEN}
"""What takes one name; the options of direction take several."""
