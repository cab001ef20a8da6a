"""Files of a request that another job makes: `job_ID` its video or image, `job_ID/last` a frame of it.

A frame is "first", "last" or a number from 0. The job that says it comes after the other one, and when it begins the
file is put into its own folder (given.py). Among the jobs of a group that are added together, `#N` is the job at
place N of their list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wan22 import fields
from wan22.errors import OptionError

FILES = tuple(row.name for row in fields.FIELDS if row.kind == "file" and "http" in row.where)
"""The fields of a request that are files."""
PATTERN = r"job_[a-z0-9]{24}(/(first|last|[0-9]{1,7}))?"

_FORM = re.compile(r"(?P<job>job_[a-z0-9]{24}|#(?P<place>[0-9]{1,4}))(/(?P<frame>first|last|[0-9]{1,7}))?")
_IMAGES = ("image", "last_image")


@dataclass(frozen=True)
class Reference:
    """A file that a job makes. `place`: of the job in a list, where it has no id yet. `frame`: None is the whole."""

    job: str
    place: int | None
    frame: str | None


def read(value: object) -> Reference | None:
    """A field's value as a reference; None if it is an input's id, or something else."""
    found = _FORM.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    place = found["place"]
    return Reference(found["job"], None if place is None else int(place), found["frame"])


def of_request(request: Mapping[str, Any]) -> Iterator[tuple[str, Reference]]:
    """The references of a request, by their fields."""
    for name in FILES:
        if (reference := read(request.get(name))) is not None:
            yield name, reference


def check(name: str, reference: Reference, kind: str) -> None:
    """Raise OptionError if what a job of this kind makes cannot be in the field `name`."""
    said = reference.job
    if kind not in ("video", "extend", "image"):
        raise OptionError(f"{name}: job {said} is of kind {kind}; name one that makes a video or an image")
    if name not in _IMAGES and (reference.frame is not None or kind == "image"):
        raise OptionError(f"{name}: {said} must be a whole video here, not an image or a frame")
    if name in _IMAGES and kind != "image" and reference.frame is None:
        raise OptionError(f"{name}: job {said} makes a video; say a frame of it, such as {said}/last")


def named(request: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """A request whose references say jobs by their places, with the ids of these."""
    changed = {
        name: "/".join([ids[reference.place], *([reference.frame] if reference.frame is not None else [])])
        for name, reference in of_request(request)
        if reference.place is not None
    }
    return {**request, **changed}
