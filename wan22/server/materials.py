"""What is made of files for the studio: inputs of results and of single frames, small images, peaks of audio.

Small images and peaks are kept in the data folder's `derived/`, and made again where they are missing.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, model_validator

from wan22.atomic import temporary_folder, write_text
from wan22.errors import OutputError
from wan22.server.child import ask, in_turn
from wan22.server.contents import BYTES, content
from wan22.server.native import FileName, Id, Strict, files_of
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState
from wan22.server.uploads import InputId, InputView, keep_frame, keep_result, shown_input

router = APIRouter(prefix="/v1", tags=["inputs"])

MOST_PEAKS = 1000
_SHEET, _THUMBNAIL = "spritesheet.webp", "thumbnail.webp"


class FromJob(Strict):
    """A file that a job made, or an input; and if `frame` is said, that frame of it as an image.

    frame: "first", "last", or a number from 0.
    """

    job: Annotated[str, Field(pattern="^job_[a-z0-9]{24}$")] | None = None
    file: Annotated[str, Field(pattern="^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")] | None = None
    input: Annotated[str, Field(pattern="^in_[a-z0-9]{24}$")] | None = None
    frame: (
        Annotated[str, Field(pattern="^(first|last)$")]
        | Annotated[int, Field(ge=0, lt=10**7, strict=True)]
        | None
    ) = None

    @model_validator(mode="after")
    def _whole(self) -> FromJob:
        if (self.job is None) == (self.input is None):
            raise ValueError("say a job or an input")
        if self.input is not None and (self.frame is None or self.file is not None):
            raise ValueError("of an input, say the frame and no file")
        return self


@router.post(
    "/inputs/from-job", status_code=201, summary="Take a result as an input",
    responses={404: {"description": "There is no such job or input."}},
)  # fmt: skip
async def input_from_job(asked: FromJob, app: App, response: Response) -> InputView:
    """Keep a file of a job as an input, or one frame of it, or of an input. It stays when the job is deleted."""
    row = await in_turn(partial(_taken, app, asked))
    response.headers["Location"] = f"/v1/inputs/{row.id}"
    return shown_input(row)


def _taken(app: AppState, asked: FromJob) -> Any:
    if asked.input is not None:
        source = app.store.input(asked.input)
        name, path = source.name, app.folder.input(source.id)
    else:
        job = app.store.job(str(asked.job))
        if asked.frame is None:
            return keep_result(app, job, asked.file)
        name = _file_of(app, job.id, asked.file)
        path = app.folder.job(job.id) / name
    which = str(asked.frame)
    try:
        with path.open("rb") as stream:
            return keep_frame(app, stream, name, f"{FilePath(name).stem}-{which}.png", which)
    except FileNotFoundError:
        raise Refusal(404, "not_found", "the file is gone") from None


def _file_of(app: AppState, id: str, name: str | None) -> str:
    """The name of a file of a job, the first if none is said. Raises Refusal."""
    job = app.store.job(id)
    known = files_of(job.result)
    if not known:
        raise Refusal(409, "no_result", f"job {id} has made no file")
    if name is None:
        return next(iter(known))
    if name not in known:
        raise Refusal(404, "not_found", f"job {id} has no file of this name")
    return name


_IMAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The image.", **BYTES},
    206: {"description": "The ranges that were asked for.", **BYTES},
    304: {"description": "The client has it."},
    416: {"description": "There is no such range."},
}


@router.head("/inputs/{id}/spritesheet", include_in_schema=False)
@router.get(
    "/inputs/{id}/spritesheet", response_class=Response, responses=_IMAGE, summary="Frames of a video sent"
)
async def input_sheet(id: InputId, request: Request, app: App) -> Response:
    """Up to 25 frames of the whole video, five in a row, as the jobs' sheets are."""
    return content(request, await in_turn(partial(_still, app, id, _SHEET)), type="image/webp")


@router.head("/inputs/{id}/thumbnail", include_in_schema=False)
@router.get(
    "/inputs/{id}/thumbnail", response_class=Response, responses=_IMAGE, summary="A small image of an input"
)
async def input_thumbnail(id: InputId, request: Request, app: App) -> Response:
    """The middle frame of a video, or an image, at most 480 pixels a side."""
    return content(request, await in_turn(partial(_still, app, id, _THUMBNAIL)), type="image/webp")


def _still(app: AppState, id: str, name: str) -> FilePath:
    row = app.store.input(id)
    place = app.folder.derived(row.id)
    if not (place / name).exists():
        if (row.type or "").startswith("audio/"):
            raise Refusal(404, "not_found", f"{row.name} is audio and has no image")
        _ready(app, place)
        try:
            with temporary_folder(place / "stills") as folder:
                ask("stills", app.folder.input(id), row.name, place=folder)
                for each in (_SHEET, _THUMBNAIL):
                    (folder / each).replace(place / each)
        except (OutputError, OSError) as error:
            raise _full() from error
    return place / name


class Peaks(BaseModel):
    """The lowest and highest sample, in -1..1, of equal parts of a file's audio; none where it has no audio."""

    seconds: float
    peaks: list[tuple[float, float]]


_KEPT: dict[int | str, dict[str, Any]] = {
    507: {"description": "The disk is full, and what was made cannot be kept."}
}
_OF_JOB = _KEPT | {409: {"description": "The job has made no file."}}

Points = Annotated[int, Query(ge=1, le=MOST_PEAKS, description="At most so many parts.")]


@router.get("/inputs/{id}/peaks", responses=_KEPT, summary="The waveform of an input")
async def input_peaks(id: InputId, app: App, points: Points = MOST_PEAKS) -> Peaks:
    """The waveform of audio, or of a video's audio."""

    def found() -> dict[str, Any]:
        row = app.store.input(id)
        return _peaks(app, app.folder.derived(row.id) / "peaks.json", app.folder.input(row.id), row.name)

    return _fewer(await in_turn(found), points)


@router.get("/jobs/{id}/peaks", responses=_OF_JOB, summary="The waveform of a job's result", tags=["jobs"])
async def job_peaks(
    id: Id, app: App, points: Points = MOST_PEAKS, file: Annotated[FileName | None, Query()] = None
) -> Peaks:
    """The waveform of a file that a job made, the first if none is said."""

    def found() -> dict[str, Any]:
        name = _file_of(app, id, file)
        return _peaks(app, app.folder.derived(id) / f"peaks-{name}.json", app.folder.job(id) / name, name)

    return _fewer(await in_turn(found), points)


def _peaks(app: AppState, kept: FilePath, path: FilePath, name: str) -> dict[str, Any]:
    try:
        return json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass  # not there yet, or damaged
    if not path.is_file():
        raise Refusal(404, "not_found", "the file is gone")
    found = ask("peaks", path, name)
    _ready(app, kept.parent)
    try:
        write_text(kept, json.dumps(found))
    except OutputError as error:
        raise _full() from error
    return found


def _fewer(found: dict[str, Any], points: int) -> Peaks:
    """So many parts at most: neighbours become one."""
    pairs = found["peaks"]
    parts = min(points, len(pairs))
    cuts = [at * len(pairs) // parts for at in range(parts + 1)] if parts else [0]
    joined = [
        (min(low for low, _ in pairs[begin:end]), max(high for _, high in pairs[begin:end]))
        for begin, end in pairwise(cuts)
    ]
    return Peaks(seconds=found["seconds"], peaks=joined)


def _ready(app: AppState, place: FilePath) -> None:
    try:
        app.folder.check_space(16 << 20)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OutputError, OSError) as error:
        raise _full() from error


def _full() -> Refusal:
    return Refusal(507, "insufficient_storage", "it cannot be kept: the disk of the server refuses")
