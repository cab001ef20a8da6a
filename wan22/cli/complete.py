"""Tab completion of option values: what each option can be, without loading a network.

Files need nothing: where a completer has no answer, the shell completes files itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
    if choices in _PLAIN:
        return list(_PLAIN[choices]())
    from wan22.director.options import OPTIONS
    from wan22.director.vocabulary import axis

    return [term.key for key in OPTIONS[choices] for term in axis(key).terms]


def _models() -> Iterable[str]:
    from wan22.cli.catalogue import rows

    return rows()


def _solvers() -> Iterable[str]:
    from typing import get_args

    from wan22.types import Solver

    return get_args(Solver)


def _schedules() -> Iterable[str]:
    from typing import get_args

    from wan22.types import ScheduleName

    return get_args(ScheduleName)


def _qualities() -> Iterable[str]:
    return ("high", "good", "draft")


def _codecs() -> Iterable[str]:
    return ("h264", "hevc", "av1", "prores", "vp9")


_PLAIN: dict[str, Callable[[], Iterable[str]]] = {
    "model": _models,
    "solver": _solvers,
    "schedule": _schedules,
    "task": lambda: ("t2v", "i2v", "v2v", "s2v"),
    "quality": _qualities,
    "codec": _codecs,
    "device": lambda: ("auto", "cpu", "cuda", "mps"),
    "dtype": lambda: ("auto", "float32", "bfloat16", "float16"),
    "memory": lambda: ("auto", "device", "host", "disk"),
    "extender": lambda: ("rules",),
    "speaker": lambda: ("espeak",),
}
"""What an option that takes one name can be; the options of direction take their terms."""
