"""Files of strangers: XML without entities, OTIO of bounded depth, bundles whose names lead nowhere else."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any
from xml.etree import ElementTree
from xml.parsers import expat

from wan22.errors import MediaError
from wan22.files import TEXT_LIMIT, parse_object, reading
from wan22.timeline.items import Media

__all__ = ["Bundle", "Keep", "checked_xml", "parse_otio"]

Keep = Callable[[str, IO[bytes]], Media | None]
"""Take a media's file out of a bundle: its name, and its bytes; None if it is not taken."""

XML_LIMIT = 4 * TEXT_LIMIT
_DEPTH = 200
_ELEMENTS = 2_000_000
_MEMBERS = 10_000
_BYTES = 256 << 30  # of all media of a bundle
_CONTENT = "content.otio"
_MEDIA = "media"


def checked_xml(data: bytes) -> ElementTree.Element:
    """The root of XML that declares nothing: an entity may stand for a file, or for gigabytes.

    Raises MediaError for what is no XML, declares something, or is nested too deeply.
    """
    if len(data) > XML_LIMIT:
        raise MediaError(f"the XML has {len(data):,} bytes, more than {XML_LIMIT:,}.")
    guard = _Guard()
    with reading("the XML", MediaError):
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = guard.doctype
        parser.EntityDeclHandler = guard.entity
        parser.StartElementHandler = guard.start
        parser.EndElementHandler = guard.end
        parser.Parse(data, True)
        return ElementTree.fromstring(data)


class _Guard:
    def __init__(self) -> None:
        self.depth = self.count = 0

    def doctype(self, name: str, system: str | None, public: str | None, internal: bool) -> None:
        if internal or system or public:
            raise ValueError("it declares things (a DOCTYPE with more than a name), which is not read")

    def entity(self, *_: object) -> None:
        raise ValueError("it declares entities, which are not read")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.count += 1
        if self.depth > _DEPTH:
            raise RecursionError
        if self.count > _ELEMENTS:
            raise ValueError(f"it has more than {_ELEMENTS:,} elements")

    def end(self, name: str) -> None:
        self.depth -= 1


def parse_otio(data: bytes) -> Any:
    """What OpenTimelineIO makes of its JSON. Raises MediaError for what is none."""
    from opentimelineio import adapters

    values = parse_object(data, "the OTIO file", MediaError)
    if b'"SerializableObjectRef' in data:
        raise MediaError("the OTIO file refers to its own objects, which is not read.")
    with reading("the OTIO file", MediaError):
        return adapters.read_from_string(json.dumps(values), "otio_json")


class Bundle:
    """An .otioz file: `content.otio`, and media in one folder. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        with reading(path, MediaError, "is no .otioz file"):
            self._zip = zipfile.ZipFile(path)
        members = self._zip.infolist()
        if len(members) > _MEMBERS:
            self._zip.close()
            raise MediaError(f"{path} holds {len(members):,} files, more than {_MEMBERS:,}.")
        self.path = path
        self._members = {each.filename: each for each in members}

    def content(self) -> bytes:
        """The timeline."""
        member = self._members.get(_CONTENT)
        if member is None:
            raise MediaError(f"{self.path} has no {_CONTENT}, so it is no .otioz file.")
        if member.file_size > TEXT_LIMIT:
            raise MediaError(
                f"{self.path}: its {_CONTENT} has {member.file_size:,} bytes; at most {TEXT_LIMIT:,}."
            )
        with reading(self.path, MediaError):
            return self._zip.read(member)

    def media(self) -> dict[str, zipfile.ZipInfo]:
        """Its media by their addresses in the timeline. Raises MediaError if they are too much, or lead elsewhere."""
        found: dict[str, zipfile.ZipInfo] = {}
        for name, member in self._members.items():
            place = PurePosixPath(name)
            if member.is_dir() or place.parts[:1] != (_MEDIA,):
                continue
            if len(place.parts) != 2 or place.name in ("..", ".") or "\\" in name or ":" in place.name:
                raise MediaError(
                    f"{self.path} holds {name[:80]!r}, which is not a file of its folder {_MEDIA}."
                )
            found[str(place)] = member
        if (size := sum(each.file_size for each in found.values())) > _BYTES:
            raise MediaError(f"{self.path} holds {size:,} bytes of media; at most {_BYTES:,}.")
        return found

    def taken(self, url: str, keep: Keep) -> Media | None:
        """What `keep` makes of the media at an address of the timeline; None if it is not in the bundle."""
        member = self.media().get(url)
        if member is None:
            return None
        with reading(self.path, MediaError), self._zip.open(member) as stream:
            return keep(PurePosixPath(url).name, stream)

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
