"""Files that clients send: streamed to the disk, looked at in a process of their own, and kept as inputs of jobs.

A name of a client is shown to people and never becomes a path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, BinaryIO, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from wan22.atomic import put, temporary_file
from wan22.errors import OutputError
from wan22.jobs.job import Input, Job, NotFoundError, StateError, new_id
from wan22.server.child import ask, in_turn
from wan22.server.contents import content
from wan22.server.forms import body_of
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState

T = TypeVar("T")

CHARACTER = "@"
"""What the name of an input begins with that is a character: the first frame of a video, by a name."""

_PIECE = 1 << 20
_SPARE = 64 << 20  # bytes that stay free on the disk


def keep(app: AppState, stream: BinaryIO, name: str) -> Input:
    """Copy what a client sent to the data folder, check it, and note it. Raises Refusal for what is not kept."""
    return _kept(app, stream, shown(name))


def keep_frame(app: AppState, stream: BinaryIO, name: str, shown_as: str, which: str = "first") -> Input:
    """As `keep`, of a frame of a video or an image, as PNG: the "first", the "last", or that of a number from 0."""
    return _kept(app, stream, shown(name), frame=which, shown_as=shown_as)


def keep_result(app: AppState, job: Job, name: str | None = None) -> Input:
    """A file that a job made, the first if none is named, as an input; it stays when the job is deleted.

    No second copy is written. Raises Refusal: 409 if the job has made none, 404 if none is called so.
    """
    files = (job.result or {}).get("files") or []
    if not files:
        raise Refusal(409, "no_result", f"job {job.id} has made no file")
    said = next((each for each in files if name in (None, each["name"])), None)
    if said is None:
        raise Refusal(404, "not_found", f"job {job.id} has no file of this name")
    id = new_id("in")
    place = app.folder.input(id)
    with _room_made(place):
        _linked(app.folder.job(job.id) / said["name"], place)
    row = Input(
        id, said["name"], said["type"], said["bytes"], said["sha256"], time.time(), said.get("width"),
        said.get("height"), said.get("frames"), said.get("fps"), said.get("seconds"),
    )  # fmt: skip
    return _noted(app, row)


def discard(app: AppState, ids: Iterable[str]) -> None:
    """Forget inputs that no job came of."""
    for id in ids:
        try:
            app.store.delete_input(id)
        except (NotFoundError, StateError):
            continue
        app.folder.forget_input(id)


def shown(name: str) -> str:
    """A client's name of a file for people: its last part, without what does not print."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable()).lstrip(CHARACTER)[:120] or "upload"


@dataclass
class _room_made:
    """Say what the system refuses to write as a refusal."""

    place: FilePath

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (OutputError, OSError)):
            raise Refusal(
                507, "insufficient_storage", "the file cannot be kept: the disk of the server refuses"
            ) from error


def _kept(
    app: AppState, stream: BinaryIO, name: str, *, frame: str | None = None, shown_as: str | None = None
) -> Input:
    id = new_id("in")
    place = app.folder.input(id)
    with _room_made(place), temporary_file(place) as part:
        found = _copied(app, stream, part)
        if frame is None:
            said = ask("look", part, name)
        else:
            with temporary_file(place) as image:
                of = ask("frame", part, name, place=image, which=frame)
                found = _measured(image)
                image.replace(part)
            said = {"type": "image/png", "width": of["width"], "height": of["height"]}
        put(part, place, replace=False)
    return _noted(
        app, Input(id, shown_as or name, bytes=found[0], sha256=found[1], created=time.time(), **said)
    )


def _noted(app: AppState, row: Input) -> Input:
    try:
        return app.store.add_input(row.id, row)
    except BaseException:
        app.folder.input(row.id).unlink(missing_ok=True)
        raise


def _copied(app: AppState, stream: BinaryIO, part: FilePath) -> tuple[int, str]:
    """Write a stream to `part`; return its bytes and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    with part.open("xb") as file:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > app.settings.max_upload:
                raise Refusal(413, "too_large", f"a file has at most {app.settings.max_upload:,} bytes")
            app.folder.check_space(len(piece) + _SPARE)
            digest.update(piece)
            file.write(piece)
    return size, digest.hexdigest()


def _measured(path: FilePath) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _linked(source: FilePath, place: FilePath) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except FileNotFoundError:
        raise Refusal(404, "not_found", "the file of this job is gone") from None
    except OSError:  # a file system without links
        shutil.copyfile(source, place)


# The paths of inputs

router = APIRouter(prefix="/v1", tags=["inputs"])

InputId = Annotated[str, Path(pattern="^[a-z0-9_]{1,64}$", description="The id of an input.")]


class InputView(BaseModel):
    """A file that was sent. `type` is told from its content; null is what it does not have."""

    id: str
    name: str
    type: str
    bytes: int
    sha256: str
    created: float
    width: int | None
    height: int | None
    frames: int | None
    fps: float | None
    seconds: float | None


class InputPage(BaseModel):
    """A page of inputs, newest first. `next`: what to give as `after` for the next page; null where there is none."""

    data: list[InputView]
    next: str | None


def shown_input(row: Input) -> InputView:
    """An input as it is answered."""
    return InputView.model_construct(**vars(row))


_FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.post("/inputs", status_code=201, openapi_extra=_FILE_BODY, summary="Send a file")
async def add_input(request: Request, app: App, response: Response) -> InputView:
    """Send an image, a video or audio as the field `file`. What it is comes from its content, not from its name."""
    async with body_of(request) as body:
        file = body.get("file")
        if not isinstance(file, UploadFile):
            raise Refusal(
                400, "missing_file", "send the file as the field `file` of multipart/form-data", param="file"
            )
        row = await in_turn(partial(keep, app, file.file, file.filename or ""))
    response.headers["Location"] = f"/v1/inputs/{row.id}"
    return shown_input(row)


@router.get("/inputs", summary="List inputs")
def list_inputs(
    app: App,
    after: Annotated[
        str | None, Query(pattern="^[a-z0-9_]{1,64}$", description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> InputPage:
    """List inputs, newest first."""
    try:
        found = app.store.inputs(after=after, limit=limit)
    except NotFoundError as error:
        raise Refusal(422, "invalid_request", str(error), param="after") from None
    return InputPage.model_construct(
        data=[shown_input(row) for row in found], next=found[-1].id if len(found) == limit else None
    )


@router.get("/inputs/{id}", summary="Show an input")
def show_input(id: InputId, app: App) -> InputView:
    """What is known of a file that was sent."""
    return shown_input(app.store.input(id))


_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/octet-stream": {}}},
    206: {"description": "The ranges that were asked for.", "content": {"application/octet-stream": {}}},
    304: {"description": "The client has it."},
    416: {"description": "There is no such range."},
}


@router.head("/inputs/{id}/content", include_in_schema=False)
@router.get(
    "/inputs/{id}/content", response_class=Response, responses=_CONTENT, summary="The file of an input"
)
def input_content(id: InputId, request: Request, app: App) -> Response:
    """The file as it was sent. Ranges and ETag work."""
    row = app.store.input(id)
    return content(request, app.folder.input(id), type=row.type, sha256=row.sha256)


@router.delete("/inputs/{id}", status_code=204, summary="Delete an input")
def delete_input(id: InputId, app: App) -> None:
    """Delete a file that was sent; 409 while a job that has not ended needs it."""
    app.store.delete_input(id)
    app.folder.forget_input(id)
