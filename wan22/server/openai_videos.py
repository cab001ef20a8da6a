"""/v1/videos in the shape of OpenAI's API, which its clients, vLLM-Omni's and SGLang's speak.

A video is a job of kind "video" or "extend". There is no state for a cancelled one there: it is failed, with the code
"cancelled". Nothing expires. What is deleted lies in the trash, and the native API takes it out again.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from wan22 import fields
from wan22.jobs.job import ENDED, Job, NotFoundError, is_id
from wan22.server import video_jobs
from wan22.server.asked import FIXED_BY_EXTENSION
from wan22.server.child import in_turn
from wan22.server.contents import BYTES, content
from wan22.server.forms import body_of
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState
from wan22.server.uploads import CHARACTER
from wan22.server.video_fields import DOCUMENTED, OTHER_NAMES, Asked, Reference, read, refused
from wan22.server.video_jobs import (
    CHARACTER_ID,
    KINDS,
    Wanted,
    completed,
    inherited,
    live,
    not_ready,
    size_of,
)
from wan22.server.video_views import (
    CLIENTS_FAULT,
    Character,
    Video,
    VideoDeleted,
    VideoList,
    answer,
    character,
    view,
)

router = APIRouter(prefix="/v1/videos", tags=["videos"])

MAX_PAGE = 100

Variant = Annotated[
    Literal["video", "thumbnail", "spritesheet", "stream"],
    Query(
        description="`stream`: of a video that is being made clip by clip, the clips that are finished, at once, and "
        "each other one when it is: a fragmented MP4 (of a .mov, a fragmented MOV) without length or ranges, which has "
        "no audio and ends with the job, however it ends. Of a completed video, its file. 409 before the first clip."
    ),
]
Id = Annotated[str, Path(max_length=64, description="The id of a video.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=200, pattern="^[!-~]+$",
        description="With the same key and the same body, the video that was asked first is returned again.",
    ),
]  # fmt: skip


# What is asked. Fixed paths stand before those with an id.


def _body(
    required: tuple[str, ...], more: dict[str, Any] | None = None, files: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What the OpenAPI document says of a body: OpenAI's fields, ours, and the names that others have for them."""
    said = fields.json_schema()["properties"]
    ours = {name: {"description": said[name]["description"]} for name in DOCUMENTED}
    others = {name: {"description": f"As `{of}`."} for name, of in OTHER_NAMES.items()}
    texts = {
        "prompt": {"type": "string", "minLength": 1, "description": said["prompt"]["description"]},
        "model": {
            "type": "string",
            "description": "One of those that /v1/capabilities lists; the first by default.",
        },
        "seconds": {"description": "Length in seconds, as text or number.", "type": ["string", "number"]},
        "size": {
            "type": "string",
            "pattern": "^[0-9]{1,4}x[0-9]{1,4}$",
            "description": "WIDTHxHEIGHT in pixels.",
        },
    }
    properties = {**others, **ours, **texts, **(more or {})}
    schema = {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": True,
    }
    file = {"type": "string", "format": "binary"}
    form = schema | {"properties": properties | dict.fromkeys(files, file)}
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "application/json": {"schema": schema}},
        }
    }


_REFERENCE = {
    "description": "A file, or an object with `image_url` (a data URL) or `file_id` (the id of an input).",
    "type": ["string", "object"],
}
_VIDEO = {
    "description": "A file, or an object with `id`: of a completed video or an input.",
    "type": ["string", "object"],
}
_CREATE = _body(("prompt",), {"input_reference": _REFERENCE}, ("input_reference",))
_EDIT = _body(("prompt", "video"), {"video": _VIDEO}, ("video",))
_EXTEND = _body(("prompt", "seconds", "video"), {"video": _VIDEO}, ("video",))
_REMIX = _body(("prompt",))
_NAME = {"type": "string", "minLength": 1, "maxLength": 80}
_CHARACTER = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {
                "schema": {
                    "type": "object", "required": ["name", "video"], "properties": {"name": _NAME, "video": video},
                }
            }
            for kind, video in (
                ("multipart/form-data", {"type": "string", "format": "binary"}), ("application/json", _VIDEO),
            )
        },
    }
}  # fmt: skip
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file; or, as a stream, what of it is made, and then the rest.", **BYTES},
    206: {"description": "The ranges that were asked for.", **BYTES},
    304: {"description": "The client has it."},
    409: {"description": "The video is not completed; as a stream, none of its clips is."},
    416: {"description": "There is no such range."},
}


@router.post("", openapi_extra=_CREATE, summary="Make a video")
async def create_video(request: Request, app: App, response: Response, key: Key = None) -> Video:
    """Queue a video; ask for it by its id, or follow /v1/jobs/{id}/events."""
    return answer(await _created(request, app, key), response)


async def _created(request: Request, app: AppState, key: str | None) -> Job:
    async with body_of(request) as body:
        return await in_turn(lambda: video_jobs.add(app, Wanted(read(body), key=key)))


@router.get("", summary="List videos")
def list_videos(
    app: App,
    after: Annotated[str | None, Query(max_length=64, description="`last_id` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> VideoList:
    """List videos, the newest first or last."""
    if after is not None and not is_id(after, "job"):
        raise refused("after", f"there is no video {after!r}", "not_found")
    found: list[Job] = []
    while len(found) <= limit:
        try:
            page = app.store.jobs(after=after, limit=limit + 1, order=order)
        except NotFoundError:
            raise refused("after", f"there is no video {after!r}", "not_found") from None
        found += [job for job in page if job.kind in KINDS]
        if len(page) <= limit:
            break
        after = page[-1].id
    data = [view(job) for job in found[:limit]]
    return VideoList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.post(
    "/sync", openapi_extra=_CREATE, response_class=Response, summary="Make a video and wait for it",
    responses={200: {"description": "The video.", **BYTES}},
)  # fmt: skip
async def create_video_sync(request: Request, app: App, key: Key = None) -> Response:
    """The bytes of the video, when it is made. A client that leaves cancels it."""
    job = await _ended(request, app, await _created(request, app, key))
    if job.state != "completed":
        error = view(job).error
        if error is None:
            raise AssertionError(f"a job that has ended and is {job.state}")
        status = 409 if job.state == "cancelled" else 400 if error.code in CLIENTS_FAULT else 500
        raise Refusal(status, error.code, error.message, headers={"x-should-retry": "false"})
    file = _file(request, app, job, "video")
    file.headers["X-Video-Id"] = job.id
    return file


async def _ended(request: Request, app: AppState, job: Job) -> Job:
    wait = 0.05
    while job.state not in ENDED:
        if await request.is_disconnected():
            await run_in_threadpool(app.store.cancel, job.id)
            raise Refusal(409, "cancelled", f"the client left, and video {job.id} was cancelled")
        if app.draining:
            raise Refusal(503, "draining", f"the server ends; video {job.id} goes on when it is back")
        await asyncio.sleep(wait)
        wait = min(1.0, wait * 1.5)
        job = await run_in_threadpool(app.store.job, job.id)
    return job


@router.post("/edits", openapi_extra=_EDIT, summary="Change a video by a prompt")
async def edit_video(request: Request, app: App, response: Response, key: Key = None) -> Video:
    """Video to video: `strength` (0..1) says how far. By id, the model and how it was asked are taken over."""
    async with body_of(request) as body:
        job = await in_turn(partial(_edit, app, read(body), key))
    return answer(job, response)


def _edit(app: AppState, asked: Asked, key: str | None) -> Job:
    source = _source(app, asked)
    base = inherited(source) | size_of(source) if source else {}
    return video_jobs.add(app, Wanted(asked, base=base, key=key))


def _source(app: AppState, asked: Asked) -> Job | None:
    """The video that `asked` names by the id of a job; None for a file."""
    if "video" not in asked.files:
        raise refused("video", "send a file, or the id of a completed video", "missing_required_parameter")
    said = asked.files["video"]
    if isinstance(said.value, str) and said.value.startswith(("job_", "video_")):
        return completed(app, said.value, said.param)
    return None


@router.post("/extensions", openapi_extra=_EXTEND, summary="Make a video longer")
async def extend_video(request: Request, app: App, response: Response, key: Key = None) -> Video:
    """Go on from the last frame for `seconds`; the result is both parts as one video."""
    async with body_of(request) as body:
        job = await in_turn(partial(_extend, app, read(body), key))
    return answer(job, response)


def _extend(app: AppState, asked: Asked, key: str | None) -> Job:
    source = _source(app, asked)
    for name in (*FIXED_BY_EXTENSION, "input_reference"):
        if name in asked.request or name in asked.files:
            raise refused(
                asked.called.get(name, name),
                "an extension has size, rate and audio of the video; leave it out",
            )
    if "seconds" not in asked.request and "frames" not in asked.request:
        raise refused("seconds", "say how much longer the video is to be", "missing_required_parameter")
    return video_jobs.add(
        app, Wanted(asked, kind="extend", base=inherited(source) if source else {}, key=key)
    )


@router.post("/characters", openapi_extra=_CHARACTER, summary="Keep a character")
async def create_character(request: Request, app: App) -> Character:
    """Keep the first frame of a video under a name. A video whose prompt says @NAME begins with that image.

    It is no more than that: nothing is learned of the character.
    """
    async with body_of(request) as body:
        asked = read({name: value for name, value in body.items() if name == "video"})
        name = body.get("name")
        if not isinstance(name, str) or not 1 <= len(name.strip()) <= 80 or not name.isprintable():
            raise refused("name", "give a name of 1 to 80 letters")
        unknown = [each for each in body if each not in ("name", "video")]
        if unknown:
            raise refused(unknown[0][:80], "a character has name and video", "unknown_parameter")
        if "video" not in asked.files:
            raise refused(
                "video", "send a file, or the id of a completed video", "missing_required_parameter"
            )
        named = name.strip().removeprefix(CHARACTER)
        row = await in_turn(partial(video_jobs.add_character, app, named, asked.files["video"]))
    return character(row)


@router.get("/characters/{id}", summary="Show a character")
def get_character(id: Id, app: App) -> Character:
    """A character by its id."""
    if not id.startswith(CHARACTER_ID):
        raise NotFoundError(f"there is no character {id!r}")
    return character(video_jobs.character(app, id))


@router.get("/{id}", summary="Show a video")
def retrieve_video(id: Id, app: App, response: Response) -> Video:
    """How far a video is. The header `openai-poll-after-ms` says when to ask again."""
    return answer(live(app, id), response)


@router.delete("/{id}", summary="Delete a video")
def delete_video(id: Id, app: App) -> VideoDeleted:
    """Put a video into the trash; one that is not made yet is cancelled. /v1/jobs/{id}/restore takes it out again."""
    return VideoDeleted(id=app.store.trash(live(app, id).id).id)


@router.post("/{id}/remix", openapi_extra=_REMIX, summary="Make a video again with another prompt")
async def remix_video(id: Id, request: Request, app: App, response: Response, key: Key = None) -> Video:
    """The same request with another prompt: from the video itself, if the model makes video to video."""
    async with body_of(request) as body:
        job = await in_turn(partial(_remix, app, id, read(body), key))
    return answer(job, response)


def _remix(app: AppState, id: str, asked: Asked, key: str | None) -> Job:
    source = completed(app, id)
    if "prompt" not in asked.request:
        raise refused("prompt", "say what is to be seen", "missing_required_parameter")
    base = dict(source.request)
    model = asked.request.get("model", base.get("model", ""))
    driven = any(name in base or name in asked.files for name in ("audio", "say"))
    if not asked.files and not driven and video_jobs.can(model, "video to video"):
        for name in ("image", "last_image", "video", "frames", "seconds", "task"):
            base.pop(name, None)
        base |= size_of(source)
        asked.files["video"] = Reference(source.id, "video")
    else:
        base = {name: value for name, value in base.items() if name not in asked.files}
    return video_jobs.add(app, Wanted(asked, base=base, meta={"remixed_from": source.id}, key=key))


@router.head("/{id}/content", include_in_schema=False)
@router.get("/{id}/content", response_class=Response, responses=_CONTENT, summary="The file of a video")
async def video_content(id: Id, request: Request, app: App, variant: Variant = "video") -> Response:
    """The video, its thumbnail or its sprite sheet. Ranges, ETag and If-None-Match work, but for `stream`."""
    if variant == "stream" and (growing := await _growing(app, id)) is not None:
        return growing
    return await run_in_threadpool(lambda: _file(request, app, completed(app, id), variant))


async def _growing(app: AppState, id: str) -> Response | None:
    """A video that is being made, as far as it is; None if it is complete."""
    job = await run_in_threadpool(live, app, id)
    if job.state in ENDED:
        return None
    open_streams = len(app.feed) + len(app.growths)
    if open_streams >= app.settings.max_streams:
        raise Refusal(503, "too_many_streams", f"{open_streams} streams are open, the most")
    growing = await app.growths.open(job.id)
    if growing is None and (await run_in_threadpool(live, app, id)).state != "completed":
        raise not_ready(job, "none of its clips is finished, so nothing of it can be played")
    return growing


def _file(request: Request, app: AppState, job: Job, variant: Variant) -> Response:
    result, of_video = job.result or {}, variant in ("video", "stream")
    files = result.get("files", [])[:1] if of_video else result.get("stills", [])
    said = next((each for each in files if of_video or each["name"].startswith(variant)), None)
    if said is None:
        raise Refusal(404, "not_found", f"video {job.id} has no {variant}")
    return content(
        request, app.folder.job(job.id) / said["name"], type=said.get("type"), sha256=said.get("sha256")
    )
