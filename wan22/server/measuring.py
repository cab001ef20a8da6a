"""Measuring a video that a job made: what it shows beside what was asked, as a job of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from wan22.jobs.job import Job
from wan22.server.native import Id, JobView, Key, Strict, files_of, view
from wan22.server.problems import Refusal
from wan22.server.state import App

router = APIRouter(prefix="/v1", tags=["jobs"])


class Measure(Strict):
    """What is measured, and against what."""

    file: str | None = Field(
        default=None, max_length=64, description="A name in the job's files; the first without."
    )
    against: str | None = Field(
        default=None, min_length=1, max_length=20_000, description="A prompt instead of the job's own."
    )


@router.post("/jobs/{id}/measure", status_code=201, summary="Measure a video")
def measure_job(
    id: Id, app: App, response: Response, asked: Measure | None = None, key: Key = None
) -> JobView:
    """Measure a job's video: its axes beside what was asked, and its drift. Its `meta.measured` has it in short."""
    asked = asked or Measure()
    app.checker.check_text(asked.against or "", "against")
    request = measure_request(app.store.job(id), asked.file, asked.against)
    app.backlog.take()
    job = app.store.add("measure", request, key=key, after=[id], meta={"of": id})
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return view(job, app.store.position(job.id))


def measure_request(job: Job, file: str | None = None, asked: str | None = None) -> dict[str, Any]:
    """The request that measures a job's video. Raises Refusal if it has none."""
    if job.state != "completed":
        raise Refusal(409, "wrong_state", f"job {job.id} is {job.state}; what is measured must be complete")
    videos = [name for name, row in files_of(job.result).items() if not _is_still(row)]
    if file is not None and file not in videos:
        raise Refusal(422, "invalid_request", f"file: job {job.id} has no video of this name", param="file")
    if not videos:
        raise Refusal(409, "no_result", f"job {job.id} has made no video")
    return {"job": job.id, "file": file or videos[0], "asked": asked or prompt_of(job)}


def prompt_of(job: Job) -> str | None:
    """The prompt that a job's video was made of: that of its recipe, which may have been extended."""
    for said in ((job.result or {}).get("recipe") or {}, job.request):
        if isinstance(prompt := said.get("prompt"), str) and prompt.strip():
            return prompt
    return None


def _is_still(row: dict[str, Any]) -> bool:
    return not str(row.get("type", "video/mp4")).startswith("video/") and row.get("type") != "image/gif"
