"""Our own API of jobs: what OpenAI's has no word for. Events, order, pause, groups, trash, previews.

Functions that ask the store are plain ones: they run in a thread of the pool, and the event loop stays free.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from starlette.concurrency import run_in_threadpool

from wan22.jobs.job import Child, Job, Kind, NotFoundError, State
from wan22.server.contents import BYTES, content
from wan22.server.feed import EventStream
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState

MAX_PAGE = 10_000
MAX_CHILDREN = 1000
MAX_PRIORITY = 1_000_000

router = APIRouter(prefix="/v1", tags=["jobs"])

ID = "^[a-z0-9_]{1,64}$"
Id = Annotated[str, Path(pattern=ID, description="The id of a job.")]
FileName = Annotated[
    str, Path(pattern="^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$", description="A name in the job's files.")
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=200, pattern="^[!-~]+$",
        description="With the same key and the same body, the job that was added first is returned again.",
    ),
]  # fmt: skip
JobKind = Literal["video", "image", "extend"]


class Strict(BaseModel):
    """An object of which every name is known."""

    model_config = ConfigDict(extra="forbid")


class ChildOf(Strict):
    """A job of a group. `after`: places in the list (from 0) of those before it that must be complete.

    A file of its request may be what a job before it makes: "#0/last" is the last frame of the first one's video.
    """

    kind: JobKind = "video"
    request: dict[str, Any]
    after: list[Annotated[int, Field(ge=0, lt=MAX_CHILDREN)]] = Field(default=[], max_length=MAX_CHILDREN)


class Grid(Strict):
    """One job for each combination of `values`, which are lists by the names of fields; the rest is as in `request`.

    The values of the last field change first.
    """

    kind: JobKind = "video"
    request: dict[str, Any]
    values: dict[str, Annotated[list[Any], Field(min_length=1, max_length=MAX_CHILDREN)]] = Field(
        min_length=1, max_length=16
    )

    @model_validator(mode="after")
    def _whole(self) -> Grid:
        if (count := math.prod(map(len, self.values.values()))) > MAX_CHILDREN:
            raise ValueError(f"the grid has {count} combinations; a group has at most {MAX_CHILDREN} jobs")
        if twice := sorted(self.values.keys() & self.request.keys()):
            raise ValueError(f"{', '.join(twice)}: said in the request and in the grid's values")
        return self

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The values of each job."""
        for each in product(*self.values.values()):
            yield dict(zip(self.values, each, strict=True))


class NewJob(Strict):
    """A job to be added. A group has `children` or a `grid`, and no `request`; the others have a `request`."""

    kind: Literal["video", "image", "extend", "group"] = "video"
    request: dict[str, Any] | None = None
    children: list[ChildOf] = Field(default=[], max_length=MAX_CHILDREN)
    grid: Grid | None = None
    priority: int = Field(default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Higher goes first.")
    after: list[str] = Field(default=[], max_length=100, description="Jobs that must be complete before.")
    paused: bool = Field(default=False, description="Wait for `resume`.")
    name: str | None = Field(default=None, max_length=200, description="For people.")

    @model_validator(mode="after")
    def _whole(self) -> NewJob:
        parts = bool(self.children) + (self.grid is not None)
        if self.kind == "group" and (parts != 1 or self.request is not None or self.after):
            raise ValueError("a group has children or a grid, and no request or after of its own")
        if self.kind != "group" and (self.request is None or parts):
            raise ValueError(f"a job of kind {self.kind} has a request, and no children or grid")
        return self


@dataclass(frozen=True)
class JobView(Job):
    """A job, and how many are before it in the queue; None where it does not wait, or many jobs are listed."""

    position: int | None = None


class JobPage(BaseModel):
    """A page of jobs. `next`: what to give as `after` for the next page; null where there is none."""

    data: list[Job]
    next: str | None


class Purged(BaseModel):
    """The ids of jobs that are gone for ever."""

    purged: list[str]


class Place(Strict):
    """A place in the queue: one of these."""

    before: str | None = Field(default=None, description="Just before this job, and with its priority.")
    first: bool = False
    last: bool = False
    priority: int | None = Field(default=None, ge=-MAX_PRIORITY, le=MAX_PRIORITY)

    @model_validator(mode="after")
    def _one(self) -> Place:
        if (self.before is not None) + self.first + self.last + (self.priority is not None) != 1:
            raise ValueError("say one of before, first, last and priority")
        return self


def view(job: Job, position: int | None = None) -> JobView:
    """A job as it is answered."""
    return JobView(**vars(job), position=position)


_VIEW = TypeAdapter(JobView)


@router.post("/jobs", status_code=201, summary="Add a job", response_model=JobView)
def add_job(new: NewJob, app: App, key: Key = None) -> Response:
    """Add a job, or a group of jobs; it is stored durably when this answers."""
    app.backlog.take(len(new.children) or 1)
    meta = {} if new.name is None else {"name": new.name}
    app.checker.check_text(new.name or "", "name")
    more: dict[str, Any] = {
        "key": key,
        "priority": new.priority,
        "meta": meta,
        "state": "paused" if new.paused else "queued",
    }
    try:
        if new.kind == "group":
            job = app.store.add_group({}, list(_children(new, app)), **more)
        else:
            asked = app.checker.check(new.kind, new.request or {})
            job = app.store.add(new.kind, asked, after=new.after, **more)
    except NotFoundError as error:  # of `after`: the body is wrong, not the path
        raise Refusal(422, "invalid_request", str(error), param="after") from None
    # A finished response: a model would be checked again, by another thread.
    headers = {"Location": f"/v1/jobs/{job.id}"}
    return Response(_VIEW.dump_json(view(job)), 201, headers, "application/json")


def _children(new: NewJob, app: AppState) -> Iterator[Child]:
    """The jobs of a group, checked; of a grid, each with its values in `meta`."""
    for at, each in enumerate(new.children):
        before = [child.kind for child in new.children[:at]]
        checked = app.checker.check(each.kind, each.request, f"children.{at}.request", before)
        yield Child(each.kind, checked, tuple(each.after))
    if new.grid is not None:
        for values in new.grid.combinations():
            checked = app.checker.check(new.grid.kind, new.grid.request | values, "grid.request")
            yield Child(new.grid.kind, checked, meta={"grid": values})


class JobQuery(Strict):
    """Which jobs are listed, and how."""

    state: list[State] | None = Field(default=None, max_length=6, description="Only in these states.")
    kind: Kind | None = Field(default=None, description="Only of this kind.")
    text: str | None = Field(
        default=None, max_length=500, description="Only with these words in prompt or name."
    )
    board: str | None = Field(default=None, min_length=1, max_length=100, description="Only on this board.")
    rating: int | None = Field(default=None, ge=0, le=5, description="Only those rated so much or more.")
    parent: str | None = Field(default=None, pattern=ID, description="Only the jobs of this group.")
    trashed: bool = Field(default=False, description="What is in the trash, instead of what is not.")
    after: str | None = Field(default=None, pattern=ID, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=MAX_PAGE)
    order: Literal["desc", "asc", "queue"] = Field(
        default="desc", description="Newest or oldest first, or in the order in which they will be begun."
    )


@router.get("/jobs", summary="List jobs", response_model=JobPage)
def list_jobs(query: Annotated[JobQuery, Query()], app: App) -> Response:
    """List jobs, page by page."""
    said = query.model_dump(exclude={"state"})
    try:
        found = app.store.jobs_text(states=query.state, **said)
    except NotFoundError as error:
        raise Refusal(422, "invalid_request", str(error), param="after") from None
    more = json.loads(found[-1])["id"] if len(found) == query.limit else None
    return Response(
        f'{{"data":[{",".join(found)}],"next":{json.dumps(more)}}}', media_type="application/json"
    )


@router.get("/jobs/{id}", summary="Show a job")
def show_job(id: Id, app: App) -> JobView:
    """Show one job, with its place in the queue."""
    return view(app.store.job(id), app.store.position(id))


@router.post("/jobs/{id}/cancel", summary="Cancel a job")
def cancel_job(id: Id, app: App) -> JobView:
    """End a job, and the jobs of a group: at once, or after the step that it is in."""
    return view(app.store.cancel(id))


@router.post("/jobs/{id}/pause", summary="Pause a job")
def pause_job(id: Id, app: App) -> JobView:
    """Let a job wait; a running one stops after its step, and keeps what it has."""
    return view(app.store.pause(id))


@router.post("/jobs/{id}/resume", summary="Resume a job")
def resume_job(id: Id, app: App) -> JobView:
    """Take a pause back."""
    return view(app.store.resume(id))


@router.post("/jobs/{id}/retry", summary="Try a job again")
def retry_job(id: Id, app: App) -> JobView:
    """Queue a job again that failed or was cancelled. What it had computed is not computed again."""
    return view(app.store.retry(id))


@router.post("/jobs/{id}/trash", summary="Put a job into the trash")
def trash_job(id: Id, app: App) -> JobView:
    """Put a job into the trash; it is cancelled first, if it has not ended."""
    return view(app.store.trash(id))


@router.post("/jobs/{id}/restore", summary="Take a job out of the trash")
def restore_job(id: Id, app: App) -> JobView:
    """Take a job out of the trash."""
    return view(app.store.restore(id))


@router.post("/jobs/{id}/move", summary="Move a job in the queue")
def move_job(id: Id, place: Place, app: App) -> JobView:
    """Give a job that waits, or those of a group, another place or priority."""
    if place.priority is not None:
        return view(app.store.prioritise(id, place.priority))
    if place.before is not None:
        app.checker.check_text(place.before, "before")
    return view(app.store.move(id, before=place.before, first=place.first, last=place.last))


@router.delete("/jobs/{id}", summary="Delete a job for ever")
def purge_job(id: Id, app: App) -> Purged:
    """Forget a job that is in the trash, and its files, for ever."""
    gone = app.store.purge(id)
    app.folder.remove(gone)
    return Purged(purged=gone)


def files_of(result: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """What the result of a job says of its files, by their names: type, bytes, sha256."""
    said = result or {}
    return {str(each["name"]): each for part in ("files", "stills") for each in said.get(part, ())}


_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", **BYTES},
    206: {"description": "The ranges that were asked for.", **BYTES},
    304: {"description": "The client has it."},
    416: {"description": "There is no such range."},
}


@router.head("/jobs/{id}/files/{name}", include_in_schema=False)
@router.get("/jobs/{id}/files/{name}", response_class=Response, responses=_CONTENT, summary="A file of a job")
def job_file(id: Id, name: FileName, request: Request, app: App) -> Response:
    """A file that the job made, by a name that its result says. Ranges and ETag work."""
    row = files_of(app.store.job(id).result).get(name)
    if row is None:  # nothing else in the folder is ever sent
        raise Refusal(404, "not_found", f"job {id} has no file of this name")
    return content(request, app.folder.job(id) / name, type=row.get("type"), sha256=row.get("sha256"))


@router.head("/jobs/{id}/preview", include_in_schema=False)
@router.get("/jobs/{id}/preview", response_class=Response, responses=_CONTENT, summary="The newest preview")
def job_preview(id: Id, request: Request, app: App) -> Response:
    """What the video looks like so far; 404 before the first preview."""
    app.store.job(id)
    return content(request, app.folder.job(id) / "preview.webp", type="image/webp")


After = Annotated[
    int | None, Query(ge=0, le=2**63 - 1, description="As Last-Event-ID, which goes before it.")
]
LastEvent = Annotated[
    int | None, Header(alias="Last-Event-ID", ge=0, le=2**63 - 1, description="The last event that you have.")
]
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `id` is the number, `event` the type, `data` JSON. A comment every 15 s.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "required": ["event", "data"],
                    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
                }
            }
        },
    },
}


@router.get(
    "/jobs/{id}/events",
    response_class=Response,
    responses=_EVENTS | {204: {"description": "The job has ended, and you have all."}},
    summary="Events of a job",
)
async def job_events(id: Id, app: App, after: After = None, last: LastEvent = None) -> Response:
    """All events of a job, the old ones first; the stream ends with the job."""
    begun = last if last is not None else after
    await run_in_threadpool(app.store.job, id)
    if (
        begun
        and await run_in_threadpool(app.feed.ended, id)
        and not await run_in_threadpool(app.store.events, begun, job=id, limit=1)
    ):
        return Response(status_code=204)  # which tells a browser not to come back
    return _stream(app, id, begun or 0)


@router.get("/events", response_class=Response, responses=_EVENTS, summary="Events of all jobs")
async def all_events(app: App, after: After = None, last: LastEvent = None) -> Response:
    """Events of all jobs: those after the one you have, or from now on."""
    return _stream(app, None, last if last is not None else after)


def _stream(app: AppState, job: str | None, after: int | None) -> Response:
    if len(app.feed) >= app.settings.max_streams:
        raise Refusal(503, "too_many_streams", f"{app.settings.max_streams} streams are open, the most")
    return EventStream(app.feed, app.feed.open(job, after))
