"""A timeline written for an editor, and an editor's file read: the format is told by the file's name.

    export_timeline   OTIO, OTIOZ with the media in it, FCP7 XML, FCPXML, EDL, captions
    import_timeline   OTIO, OTIOZ, FCP7 XML

Both say in notes what could not be taken along.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wan22.atomic import written
from wan22.errors import MediaError, OptionError, OutputError, choose
from wan22.files import TEXT_LIMIT, read_bytes, reading
from wan22.timeline.interchange import edl, fcp7, fcpxml
from wan22.timeline.interchange.captions import CAPTIONS, languages, write_captions
from wan22.timeline.interchange.common import Find, Imported, Look, Notes, Relink
from wan22.timeline.interchange.fcp7_read import from_fcp7
from wan22.timeline.interchange.opening import XML_LIMIT, Bundle, Keep, parse_otio
from wan22.timeline.interchange.otio import to_otio
from wan22.timeline.interchange.otio_read import from_otio
from wan22.timeline.interchange.otio_values import noted
from wan22.timeline.items import Media, Timeline

__all__ = ["FORMATS", "Exported", "export_timeline", "format_of", "import_timeline"]

FORMATS: Mapping[str, str] = {
    "otio": ".otio",
    "otioz": ".otioz",
    "fcp7": ".xml",
    "fcpxml": ".fcpxml",
    "edl": ".edl",
    **{form: f".{form}" for form in CAPTIONS},
}
"""The formats that are written, and how their files' names end."""


@dataclass(frozen=True)
class Exported:
    """The files that were written, and what of the timeline is not in them."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def format_of(name: str, asked: str | None = None) -> str:
    """The format that was asked for, or that a file's name says. Raises OptionError for one that is not known."""
    if asked is not None:
        return choose("format", asked, list(FORMATS))
    suffix = Path(name).suffix.lower()
    for form, ending in FORMATS.items():
        if suffix == ending:
            return form
    raise OptionError(
        f"{name}: no format is known by {suffix or 'a name without an ending'}. Known: "
        f"{', '.join(f'{ending} ({form})' for form, ending in FORMATS.items())}"
    )


def export_timeline(
    timeline: Timeline, target: Path, form: str, find: Find, *, replace: bool = False
) -> Exported:
    """Write a timeline as `form` to `target`; tracks as EDL, and languages of captions, get a file each.

    Raises OutputError if the format cannot hold the timeline at all, or if a file is there and it may not `replace` it.
    """
    notes = Notes()
    texts = dict(_texts(timeline, target, form, find, notes))
    paths = [target] if form == "otioz" else list(texts)
    for path in paths:
        if path.is_dir() or (not replace and path.exists()):
            raise OutputError(f"{path} exists already. Choose another name, or allow overwriting.")
    if form == "otioz":
        _write_bundle(timeline, target, find, notes, replace=replace)
    for path, text in texts.items():
        with written(path, replace=replace) as part:
            part.write_text(text, "utf-8")
    return Exported(tuple(paths), notes.lines())


def _texts(timeline: Timeline, target: Path, form: str, find: Find, notes: Notes) -> list[tuple[Path, str]]:
    match form:
        case "otio":
            from opentimelineio import adapters

            return [(target, adapters.write_to_string(to_otio(timeline, find, notes), "otio_json"))]
        case "fcp7":
            return [(target, fcp7.to_fcp7(timeline, find, notes))]
        case "fcpxml":
            return [(target, fcpxml.to_fcpxml(timeline, find, notes))]
        case "edl":
            return _named(target, edl.lists(timeline, find, notes))
        case "srt" | "vtt" | "ass":
            told = languages(timeline)
            if not told:
                raise OutputError(f"the timeline has no captions, so there is nothing to write as {form}.")
            return _named(
                target, [(each or "und", write_captions(timeline, form, each, notes)) for each in told]
            )
    return []


def _named(target: Path, texts: list[tuple[str, str]]) -> list[tuple[Path, str]]:
    """One text under the target's name; several each with its own name in it: cut-v1.edl, cut-ko.srt."""
    if len(texts) == 1:
        return [(target, texts[0][1])]
    safe = [("".join(c if c.isalnum() or c in "-_" else "-" for c in name), text) for name, text in texts]
    return [(target.with_name(f"{target.stem}-{name}{target.suffix}"), text) for name, text in safe]


def _write_bundle(timeline: Timeline, target: Path, find: Find, notes: Notes, *, replace: bool) -> None:
    """OTIO and all the media that it names, of takes too, in one file (OTIOZ, version 1.0.0)."""
    from opentimelineio import adapters, schema

    told = to_otio(timeline, find, notes)
    files: dict[Path, str] = {}
    for clip in told.find_clips():
        for reference in clip.media_references().values():
            path = find(noted(reference)["media"])
            if not isinstance(reference, schema.ExternalReference) or path is None:
                continue
            if not path.is_file():
                notes.add("media that is no single file is not in the bundle", path.name)
                continue
            reference.target_url = files.setdefault(path, _free(path.name, files.values()))
    with written(target, replace=replace) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("version.txt", "1.0.0")
        bundle.writestr("content.otio", adapters.write_to_string(told, "otio_json"))
        for path, name in files.items():
            info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            with path.open("rb") as source, bundle.open(info, "w", force_zip64=True) as place:
                while piece := source.read(1 << 20):
                    place.write(piece)


def _free(name: str, taken: Iterable[str]) -> str:
    """A name in the bundle's folder that nothing else has."""
    used = set(taken)
    stem, dot, suffix = name.rpartition(".")
    found, number = f"media/{name}", 1
    while found in used:
        number += 1
        found = f"media/{stem or name}-{number}{dot}{suffix if stem else ''}"
    return found


def import_timeline(path: Path, relink: Relink, look: Look, keep: Keep | None = None) -> Imported:
    """Read an editor's file. `keep` takes media out of an .otioz, where `relink` has none.

    Raises MediaError for a file that cannot be read, TimelineError if no right timeline is in it.
    """
    notes = Notes()
    suffix = path.suffix.lower()
    with reading(path, MediaError):
        if suffix == ".otioz":
            timeline = _from_bundle(path, relink, look, keep, notes)
        elif suffix == ".otio":
            timeline = from_otio(
                parse_otio(read_bytes(path, MediaError, limit=TEXT_LIMIT)), relink, look, notes
            )
        elif suffix == ".xml":
            timeline = from_fcp7(read_bytes(path, MediaError, limit=XML_LIMIT), relink, look, notes)
        else:
            raise MediaError(
                f"{path} is no .otio, .otioz or .xml (FCP7), which are read. Export one of these."
            )
    return Imported(timeline, notes.lines())


def _from_bundle(path: Path, relink: Relink, look: Look, keep: Keep | None, notes: Notes) -> Timeline:
    with Bundle(path) as bundle:
        kept: dict[str, Media | None] = {}

        def bundled(url: str, said: Media | None) -> Media | None:
            if (found := relink(url, said)) is not None or keep is None:
                return found
            if url not in kept:
                kept[url] = bundle.taken(url, keep)
            return kept[url]

        return from_otio(parse_otio(bundle.content()), bundled, look, notes)
