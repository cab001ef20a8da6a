"""A timeline as a finished file: a job of kind `render`, over the document as it is when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from wan22.jobs.job import Job, NotFoundError
from wan22.server.documents import DocumentId, check_timeline, media_of, refuse_timeline, timeline_document
from wan22.server.native import JobView, Key, Strict, files_of, view
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState
from wan22.timeline.document import read
from wan22.timeline.items import Timeline
from wan22.timeline.rules import LOUDNESS

router = APIRouter(prefix="/v1", tags=["documents"])

Format = Literal["h264", "hevc", "av1", "prores", "webm", "gif", "png", "wav"]
Quality = Literal["high", "good", "draft"]


class Render(Strict):
    """How a timeline is delivered."""

    format: Format = "h264"
    size: str | None = Field(
        default=None, pattern=r"^[1-9][0-9]{0,4}[x:][1-9][0-9]{0,4}$",
        description="1080x1920, or a shape such as 9:16; without, the timeline's own.",
    )  # fmt: skip
    captions: str | None = Field(
        default=None,
        pattern=r"^burn(:[A-Za-z0-9-]{1,20})?$",
        description="burn, or burn:ko; without, they are left out.",
    )
    loudness: Annotated[float, Field(ge=LOUDNESS[0], le=LOUDNESS[1])] | None = Field(
        default=None, description="LUFS; without, the timeline's own."
    )
    quality: Quality = "high"
    name: str | None = Field(default=None, max_length=200, description="For people; without, the document's.")
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000, description="Higher goes first.")


@router.post("/documents/{id}/render", status_code=201, summary="Render a timeline")
def render_document(
    id: DocumentId, app: App, response: Response, asked: Render | None = None, key: Key = None
) -> JobView:
    """Render a timeline as it is now; what is changed later is not in it. It waits for jobs whose videos it shows."""
    asked = asked or Render()
    document = timeline_document(app, id)
    data = document.data or {}
    app.checker.check_text(asked.name or "", "name")
    check_timeline(data)
    jobs = check_media(app, data)
    _check(read(data), asked)
    app.backlog.take()
    said = asked.model_dump(exclude={"name", "priority"}, exclude_none=True)
    job = app.store.add(
        "render", {"document": data} | said, key=key, body=f"{id} {document.revision} {asked.model_dump_json()}",
        priority=asked.priority, after=jobs,
        meta={"name": asked.name or document.name or "timeline", "document": id, "revision": document.revision},
    )  # fmt: skip
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return view(job, app.store.position(job.id))


def _check(timeline: Timeline, asked: Render) -> None:
    """Refuse what rendering would refuse. Raises Refusal, OptionError."""
    from wan22.timeline.formats import size_of  # with libraries that a server without renders does without

    first, last = timeline.first or 0, min(timeline.length, timeline.last or timeline.length)
    if last <= first:
        raise Refusal(422, "invalid_request", f"the timeline has no frame to render, from {first} to {last}")
    size_of(asked.size, timeline.size)
    if asked.captions is not None:
        there = {caption.language for caption in timeline.captions}
        language = asked.captions.partition(":")[2]
        if not there or (language and language not in there):
            known = ", ".join(sorted(there)) or "none"
            raise Refusal(
                422,
                "invalid_request",
                f"captions: the timeline has none of these; it has: {known}",
                param="captions",
            )


def check_media(app: AppState, data: Mapping[str, Any]) -> list[str]:
    """The jobs whose files a timeline shows. Raises Refusal (422), with `errors`, for media that is not there."""
    jobs: dict[str, Job | None] = {}
    errors = []
    for where, media in media_of(data):
        if ".takes[" in where:
            continue
        why = _missing(app, media, jobs)
        if why:
            errors.append({"code": "media", "where": where, "message": f"{where}: {why}"})
    refuse_timeline(errors)
    return [id for id, job in jobs.items() if job is not None]


def _missing(app: AppState, media: Mapping[str, str], jobs: dict[str, Job | None]) -> str:
    """Why a media is not there, or will not be; "" if it is, or is on its way."""
    if "input" in media:
        try:
            app.store.input(media["input"])
        except NotFoundError as error:
            return str(error)
        return ""
    if "path" in media:
        return f"{media['path']!r} is missing; send it as an input, and link the clip to it"
    id = media["job"]
    if id not in jobs:
        try:
            jobs[id] = app.store.job(id)
        except NotFoundError:
            jobs[id] = None
    job = jobs[id]
    if job is None:
        return f"there is no job {id!r}"
    if job.trashed is not None:
        return f"job {id} is in the trash; restore it first"
    if job.state in ("failed", "cancelled"):
        return f"job {id} is {job.state}"
    if job.state == "completed" and media["file"] not in files_of(job.result):
        return f"job {id} has no file {media['file']!r}"
    return ""
