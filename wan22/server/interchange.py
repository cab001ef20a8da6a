"""Timelines for editors, and from them: files of OpenTimelineIO, FCP7 XML, FCPXML, EDL and captions."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePath
from typing import IO, Annotated, Any, BinaryIO, Literal, cast
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse

from wan22.errors import MediaError, TimelineError, Wan22Error
from wan22.jobs.job import Input, NotFoundError
from wan22.jobs.rendering import media_file
from wan22.server.child import in_turn
from wan22.server.documents import (
    DocumentId,
    DocumentView,
    check_document,
    check_timeline,
    refuse_timeline,
    shown,
    timeline_document,
)
from wan22.server.forms import body_of
from wan22.server.guard import is_loopback
from wan22.server.native import files_of
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState
from wan22.server.uploads import discard, keep
from wan22.timeline.cut import source_of
from wan22.timeline.document import dump, read
from wan22.timeline.interchange.export import FORMATS, export_timeline, import_timeline
from wan22.timeline.items import Media, Source

router = APIRouter(prefix="/v1", tags=["documents"])

NOTES = "X-Wan22-Notes"
MAX_INPUTS = 10_000  # whose names are looked through for those of a file's media
_PIECE = 1 << 20
_NOTES_BYTES = 4096
Format = Literal["otio", "otioz", "fcp7", "fcpxml", "edl", "srt", "vtt", "ass"]
assert set(Format.__args__) == set(FORMATS)

_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file; several as a zip. `X-Wan22-Notes` has what is not in it, as a list in JSON.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {NOTES: {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/documents/{id}/export",
    response_class=Response,
    responses=_FILE,
    summary="A timeline as a file for editors",
)
def export_document(id: DocumentId, format: Annotated[Format, Query()], app: App) -> Response:
    """A timeline as a file. OTIOZ has the media in it; others name it only on a server for this machine alone."""
    document = timeline_document(app, id)
    data = document.data or {}
    check_timeline(data)
    here = format == "otioz" or is_loopback(app.settings.host)
    place = Path(tempfile.mkdtemp(prefix="wan22-export-"))
    try:
        target = place / f"{_slug(document.name)}{FORMATS[format]}"
        made = export_timeline(read(data), target, format, partial(_find, app, here))
        path = made.files[0] if len(made.files) == 1 else _zipped(made.files, target.with_suffix(".zip"))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return FileResponse(
        path, media_type="application/octet-stream", filename=path.name, headers={NOTES: _as_header(made.notes)},
        background=BackgroundTask(shutil.rmtree, place, ignore_errors=True),
    )  # fmt: skip


def _find(app: AppState, here: bool, media: Media) -> Path | None:
    if here:
        with suppress(MediaError, NotFoundError):
            return media_file(app.folder, media)
    return None


def _slug(name: str) -> str:
    letters = "".join(each if each.isascii() and each.isalnum() else "-" for each in name)
    return "-".join(part for part in letters.split("-") if part)[:60] or "timeline"


def _zipped(paths: tuple[Path, ...], target: Path) -> Path:
    with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as file:
        for path in paths:
            file.write(path, path.name)
    return target


def _as_header(notes: tuple[str, ...]) -> str:
    """Notes as JSON that a header can hold; those that are too many are left out, and how many is said."""
    kept: list[str] = []
    for number, note in enumerate(notes):
        more = [f"and {len(notes) - number} more"]
        if len(json.dumps([*kept, note, *more])) > _NOTES_BYTES:
            return json.dumps(kept + more)
        kept.append(note)
    return json.dumps(kept)


class Imported(DocumentView):
    """A timeline that was read from a file, and what of the file is not in it."""

    notes: list[str]


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "name": {"type": "string"},
                    },
                }
            }
        },
    }
}


@router.post(
    "/documents/import", status_code=201, openapi_extra=_BODY, summary="A file of an editor as a timeline"
)
async def import_document(request: Request, app: App, response: Response) -> Imported:
    """Read an OTIO, OTIOZ or FCP7 XML file, sent as the field `file`. Its media are jobs' files that it names, inputs
    of the same name, or what an OTIOZ file holds, which is kept as inputs.
    """
    async with body_of(request) as body:
        file, name = body.get("file"), body.get("name", "")
        if not isinstance(file, UploadFile) or not isinstance(name, str):
            raise Refusal(
                400, "missing_file", "send the file as the field `file` of multipart/form-data", param="file"
            )
        app.checker.check_text(name, "name")
        made = await in_turn(
            partial(_imported, app, file.file, PurePath(file.filename or "").name, name[:200])
        )
    response.headers["Location"] = f"/v1/documents/{made.id}"
    response.headers["ETag"] = f'"{made.revision}"'
    return made


def _imported(app: AppState, stream: BinaryIO, filename: str, name: str) -> Imported:
    suffix = PurePath(filename).suffix.lower()
    if suffix not in (".otio", ".otioz", ".xml"):
        raise Refusal(
            415, "unsupported_media_type", "the file must be .otio, .otioz or .xml (FCP7)", param="file"
        )
    with tempfile.TemporaryDirectory(prefix="wan22-import-") as place:
        path = Path(place) / f"timeline{suffix}"
        with path.open("xb") as file:
            shutil.copyfileobj(stream, file, _PIECE)
        links = _Links(app)
        try:
            found = import_timeline(path, links.relink, links.look, links.keep)
            data = dump(found.timeline)
            check_document(app, "timeline", data)
        except Exception as error:
            discard(app, links.kept)
            if isinstance(error, TimelineError):
                refuse_timeline(error.problems)
            if isinstance(error, Wan22Error):
                text = " ".join(str(error).replace(str(path), filename[:100]).split())
                raise Refusal(422, "unreadable_timeline", text, param="file") from None
            raise
    document = app.store.documents.add("timeline", name or found.timeline.name[:200] or filename[:200], data)
    return Imported(**shown(document, Response()).model_dump(), notes=list(found.notes))


class _Links:
    """What the media of an editor's file are here."""

    def __init__(self, app: AppState) -> None:
        self._app = app
        self._named: dict[str, str] | None = None
        self.kept: list[str] = []

    def relink(self, url: str, said: Media | None) -> Media | None:
        """The job's file or input that our metadata or the address names, or the newest input of that file's name."""
        path = PurePath(unquote(urlsplit(url).path))
        for media in (said, self._ours(path)):
            if media is not None and self._there(media):
                return media
        name = path.name
        if self._named is None:
            rows = self._app.store.inputs(limit=MAX_INPUTS)
            self._named = {row.name: row.id for row in reversed(rows)}
        return {"input": self._named[name]} if name in self._named else None

    def _ours(self, path: PurePath) -> Media | None:
        """The media that lies at a path of our data folder."""
        folder = self._app.folder.path
        if not path.is_relative_to(folder):
            return None
        match path.relative_to(folder).parts:
            case ("jobs", id, name):
                return {"job": id, "file": name}
            case ("inputs", id):
                return {"input": id}
        return None

    def _there(self, media: Media) -> bool:
        try:
            if set(media) == {"input"}:
                return bool(self._app.store.input(media["input"]))
            if set(media) == {"job", "file"}:
                return media["file"] in files_of(self._app.store.job(media["job"]).result)
        except NotFoundError:
            pass
        return False

    def look(self, media: Media) -> Source | None:
        """What a media holds, as far as the store knows it."""
        if "job" in media:
            row = files_of(self._app.store.job(media["job"]).result)[media["file"]]
            return None if not row.get("fps") else source_of(row)
        if "input" not in media:
            return None
        row = self._app.store.input(media["input"])
        if row.type.startswith("image/") and not row.fps and row.width and row.height:
            return Source(frames=1, rate=(1, 1), size=(row.width, row.height), still=True)
        return None

    def keep(self, name: str, stream: IO[bytes]) -> Media | None:
        """A media in the file as a new input, checked as every upload is."""
        row: Input = keep(self._app, cast("BinaryIO", stream), name)
        self.kept.append(row.id)
        return {"input": row.id}
