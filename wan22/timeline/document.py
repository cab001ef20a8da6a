"""A timeline as a JSON document: `read`, `check` and `dump`.

`studio/src/timeline/model.ts` checks the same; `tests/data/timelines/` holds the cases that both agree on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wan22.errors import TimelineError
from wan22.files import PathLike, read_json
from wan22.timeline import rules
from wan22.timeline.items import DOCUMENT, VERSION, Timeline

__all__ = ["Problem", "check", "dump", "load", "read"]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a document: a code, where, and a sentence."""

    code: str
    where: str
    message: str

    def as_json(self) -> dict[str, str]:
        """As JSON values."""
        return asdict(self)


def check(document: Any) -> list[Problem]:
    """Say what is wrong with a document; an empty list if nothing is.

    A wrong version is all that is said of such a document; a wrong shape is said before anything else is looked at.
    """
    if not isinstance(document, Mapping):
        return [Problem("shape", "", "a timeline is a JSON object")]
    version = document.get("wan22_timeline")
    if isinstance(version, bool) or version != VERSION:
        said = f'"wan22_timeline" is {json.dumps(version, default=str)[:40]}; this version reads {VERSION}'
        return [Problem("version", "wan22_timeline", said)]
    if wrong := [
        Problem("shape", where, f"{where or 'the timeline'} should be {what}")
        for where, what in DOCUMENT.faults(document, "")
    ]:
        return wrong
    timeline: Timeline = DOCUMENT.read(document)
    return [Problem(code, where, f"{where}: {message}") for code, where, message in rules.broken(timeline)]


def read(document: Any) -> Timeline:
    """Read a document. Raises TimelineError, with what `check` says, if it is wrong."""
    if problems := check(document):
        first, more = problems[0].message, len(problems) - 1
        raise TimelineError(
            f"the timeline cannot be used: {first}{f' (and {more} more)' * bool(more)}",
            [problem.as_json() for problem in problems],
        )
    return DOCUMENT.read(document)


def dump(timeline: Timeline) -> dict[str, Any]:
    """The document of a timeline, with every key, also those that were not known."""
    return DOCUMENT.dump(timeline)


def load(path: PathLike) -> Timeline:
    """Read a timeline's file. Raises TimelineError if it is missing, not JSON, or wrong."""
    return read(read_json(Path(path), TimelineError))
