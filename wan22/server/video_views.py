"""Videos as the API of OpenAI shows them: a job with its status, progress, size and length, and why it failed."""

from __future__ import annotations

import time
from typing import Any, Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict

from wan22.catalog import rows
from wan22.jobs.job import ENDED, Input, Job
from wan22.server.uploads import CHARACTER
from wan22.server.video_jobs import CHARACTER_ID

POLL_HEADER = "openai-poll-after-ms"
_POLLS = 20  # asked of a client until a video is ready
_SOONEST, _LATEST = 250, 10_000  # milliseconds

Status = Literal["queued", "in_progress", "completed", "failed"]
_STATUS: dict[str, Status] = {
    "queued": "queued", "paused": "queued", "running": "in_progress", "completed": "completed", "failed": "failed",
    "cancelled": "failed",
}  # fmt: skip
CLIENTS_FAULT = ("invalid_request", "unreadable_input", "missing_model")
"""Codes of failed jobs that another request would not have."""


class VideoError(BaseModel):
    """Why there is no video."""

    code: str
    message: str
    param: str | None = None
    type: str | None = None


class Video(BaseModel):
    """A video, as OpenAI's API shows one. Times are whole seconds since 1970, `progress` is percent.

    `seconds` and `size` of one that is not made yet are those that were asked, or the model's own. Beside OpenAI's
    there are entries that vLLM-Omni and SGLang have: file_name, media_type, num_frames, fps, inference_time_s,
    peak_memory_mb; and the seed.
    """

    model_config = ConfigDict(extra="allow")
    id: str
    object: Literal["video"] = "video"
    model: str
    status: Status
    progress: int
    created_at: int
    completed_at: int | None = None
    expires_at: int | None = None
    prompt: str | None = None
    seconds: str
    size: str
    error: VideoError | None = None
    remixed_from_video_id: str | None = None
    seed: int | None = None
    file_name: str | None = None
    media_type: str | None = None
    num_frames: int | None = None
    fps: float | None = None
    inference_time_s: float | None = None
    peak_memory_mb: float | None = None


class VideoList(BaseModel):
    """A page of videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    """That a video was put into the trash."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


class Character(BaseModel):
    """A character: the first frame of a video, under a name. `input` is the id of its image."""

    id: str
    object: Literal["character"] = "character"
    name: str
    created_at: int
    input: str


def view(job: Job) -> Video:
    """A job as a video."""
    result = job.result or {}
    file = (result.get("files") or [{}])[0]
    done = job.state == "completed"
    percent = 100 if done else min(99, int(100 * job.fraction))
    return Video(
        id=job.id,
        model=job.request.get("model", ""),
        status=_STATUS[job.state],
        progress=percent,
        created_at=int(job.created),
        completed_at=int(job.ended) if done and job.ended is not None else None,
        prompt=job.request.get("prompt"),
        seconds=f"{round(file.get('seconds') or _seconds(job), 3):g}",
        size="{}x{}".format(*((file["width"], file["height"]) if file.get("width") else _size(job))),
        error=_error(job),
        remixed_from_video_id=job.meta.get("remixed_from"),
        seed=job.request.get("seed"),
        file_name=file.get("name"),
        media_type=file.get("type"),
        num_frames=file.get("frames"),
        fps=file.get("fps"),
        inference_time_s=result.get("seconds"),
        peak_memory_mb=round(result["peak_memory"] / 1e6, 1) if result.get("peak_memory") else None,
    )


def _error(job: Job) -> VideoError | None:
    if job.state == "cancelled":
        return VideoError(code="cancelled", message="the video was cancelled")
    if job.state != "failed":
        return None
    said = job.error or {}
    code = str(said.get("code", "internal_error"))
    kind = "invalid_request_error" if code in CLIENTS_FAULT else "server_error"
    return VideoError(code=code, message=str(said.get("message", "")), type=kind)


def _default(job: Job, name: str, otherwise: Any) -> Any:
    row = rows().get(job.request.get("model", ""))
    return otherwise if row is None else getattr(row.defaults, name)


def _size(job: Job) -> Any:
    return job.request.get("size") or job.meta.get("size") or _default(job, "size", (0, 0))


def _seconds(job: Job) -> float:
    """How long a video will be: of an extension, both parts."""
    asked, rate = job.request, job.request.get("fps") or job.meta.get("fps") or _default(job, "fps", 16)
    before = job.meta.get("source_seconds") or 0.0
    if "frames" in asked:
        return before + asked["frames"] / rate
    return before + (asked["seconds"] if "seconds" in asked else _default(job, "frames", 0) / rate)


def answer(job: Job, response: Response) -> Video:
    """A job as a video, and when to ask for it again."""
    if job.state not in ENDED:
        response.headers[POLL_HEADER] = str(poll_after(job, time.time()))
    return view(job)


def poll_after(job: Job, now: float) -> int:
    """Milliseconds until asking again is worth it: a share of the time that the job still needs, as far as is known."""
    if job.state != "running" or job.started is None or job.fraction < 0.02:
        return 1000
    left = (now - job.started) * (1 - job.fraction) / job.fraction
    return round(min(_LATEST, max(_SOONEST, 1000 * left / _POLLS)))


def character(row: Input) -> Character:
    """An input as a character."""
    return Character(
        id=f"{CHARACTER_ID}{row.id.removeprefix('in_')}", name=row.name.removeprefix(CHARACTER),
        created_at=int(row.created), input=row.id,
    )  # fmt: skip
