"""Files that clients send: streamed to the disk, looked at in a process of their own, and kept as inputs of jobs.

A name of a client is shown to people and never becomes a path.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, BinaryIO, TypeVar
from weakref import WeakKeyDictionary

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from wan22.atomic import put, temporary_file
from wan22.errors import OutputError
from wan22.jobs.job import Input, Job, NotFoundError, StateError, new_id
from wan22.server.contents import content
from wan22.server.forms import body_of
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState

T = TypeVar("T")

CHARACTER = "@"
"""What the name of an input begins with that is a character: the first frame of a video, by a name."""

_STATUS = {"media_type": 415, "media_size": 413, "media_damaged": 422}
_CODES = {
    "media_type": "unsupported_media_type", "media_size": "media_too_large", "media_damaged": "unreadable_media",
}  # fmt: skip
_CHECKS = threading.BoundedSemaphore(2)  # processes at once
_CHECK_SECONDS = 90.0
_PIECE = 1 << 20
_SPARE = 64 << 20  # bytes that stay free on the disk
_KEPT_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SYSTEMROOT",
)


_WAITING: WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityLimiter] = WeakKeyDictionary()
_MOST_WAITING = 8


async def in_turn(function: Callable[[], T]) -> T:
    """Run what may wait for a check of a file in one of a few threads of its own; others are answered meanwhile."""
    limiter = _WAITING.setdefault(asyncio.get_running_loop(), CapacityLimiter(_MOST_WAITING))
    return await to_thread.run_sync(function, limiter=limiter)


def keep(app: AppState, stream: BinaryIO, name: str) -> Input:
    """Copy what a client sent to the data folder, check it, and note it. Raises Refusal for what is not kept."""
    return _kept(app, stream, shown(name), frame=False)


def keep_first_frame(app: AppState, stream: BinaryIO, name: str, shown_as: str) -> Input:
    """As `keep`, of the first frame of a video or an image, as PNG."""
    return _kept(app, stream, shown(name), frame=True, shown_as=shown_as)


def keep_result(app: AppState, job: Job) -> Input:
    """The video that a job made as an input; it stays when the job is deleted. No second copy is written."""
    files = (job.result or {}).get("files") or []
    if not files:
        raise Refusal(409, "no_result", f"job {job.id} has made no file")
    said, id = files[0], new_id("in")
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
        app.folder.input(id).unlink(missing_ok=True)


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


def _kept(app: AppState, stream: BinaryIO, name: str, *, frame: bool, shown_as: str | None = None) -> Input:
    id = new_id("in")
    place = app.folder.input(id)
    with _room_made(place), temporary_file(place) as part:
        found = _copied(app, stream, part)
        if not frame:
            said = look(part, name)
        else:
            with temporary_file(place) as image:
                of = look(part, name, image)
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


def look(path: FilePath, name: str, frame: FilePath | None = None) -> dict[str, Any]:
    """What a file is, by `wan22.server.checking`: fields of Input. `frame`: write its first frame there.

    Raises Refusal: 415 for what is no media, 413 for what is too large, 422 for damage.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "wan22.server.checking",
        str(path),
        *([str(frame)] if frame else []),
    ]
    environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
    with _CHECKS:
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=_CHECK_SECONDS, stdin=subprocess.DEVNULL,
                env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Refusal(
                413, "media_too_large", f"{name} takes too long to read. Cut or scale it first."
            ) from None
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise Refusal(
            422, "unreadable_media", f"{name} ends the program that reads it. Export it again."
        ) from None
    found.pop("peak", None)
    if "error" in found:
        code = found["code"]
        raise Refusal(_STATUS[code], _CODES[code], found["error"].replace(str(path), name))
    return found


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


def _view(row: Input) -> InputView:
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
    return _view(row)


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
        data=[_view(row) for row in found], next=found[-1].id if len(found) == limit else None
    )


@router.get("/inputs/{id}", summary="Show an input")
def show_input(id: InputId, app: App) -> InputView:
    """What is known of a file that was sent."""
    return _view(app.store.input(id))


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
    app.folder.input(id).unlink(missing_ok=True)
