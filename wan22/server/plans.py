"""What a job would take, before it is added: as `wan22 plan` says it, for the models and devices of this server."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from wan22.jobs.media_known import media_of
from wan22.server.asked import COMMANDS, refusal_of
from wan22.server.native import JobKind, Strict
from wan22.server.problems import Refusal
from wan22.server.state import App

router = APIRouter(prefix="/v1", tags=["jobs"])

_LOG = logging.getLogger("wan22.server")


class Asked(Strict):
    """A job as it would be added; its prompt may still be empty."""

    kind: JobKind = "video"
    request: dict[str, Any]


class PlanStage(BaseModel):
    """A stage: its part of the model, how that is kept and why, bytes on the device at its peak, seconds."""

    name: str
    part: str
    kept: str
    why: str
    peak_bytes: int
    seconds: float


class PlanView(BaseModel):
    """An estimate. `seconds` of all videos of the request, `memory_bytes` on the device at the peak, `room_bytes` that
    it has free; `advice` is the least change with which it would fit, if it does not.
    """

    model: str
    device: str
    seconds: float
    videos: int
    memory_bytes: int
    host_bytes: int
    room_bytes: int
    fits: bool
    advice: str | None
    stages: list[PlanStage]


@router.post("/plan", summary="What a job would take")
def plan_job(asked: Asked, app: App) -> PlanView:
    """Time and memory of a job, and whether it fits; 422 where it could not be made. Nothing is stored."""
    request = dict(asked.request)
    if not str(request.get("prompt") or "").strip():
        request["prompt"] = "a video"
    checked = app.checker.check(asked.kind, request)
    name = checked["model"]
    operator = app.checker.operator
    answer = app.helper.ask(
        {
            "command": COMMANDS[asked.kind],
            "request": checked,
            "media": media_of(app.store, checked),
            "extends": asked.kind == "extend",
            "model": operator.models.get(name, name),
            "device": app.settings.devices[0],
            "engine": dict(operator.engine),
        }
    )
    if "error" in answer:
        raise refusal_of(answer["error"], checked)
    if "failed" in answer:
        _LOG.error("a plan failed: %s", answer["failed"])
        raise Refusal(503, "plan_failed", "this job cannot be planned; the log says why")
    return PlanView(
        model=name,
        device=answer["hardware"]["name"],
        seconds=round(answer["seconds"] * answer["videos"], 3),
        videos=answer["videos"],
        memory_bytes=answer["peak"],
        host_bytes=answer["host"],
        room_bytes=answer["hardware"]["room"],
        fits=answer["fits"],
        advice=answer["advice"] or None,
        stages=[
            PlanStage(
                name=stage["name"], part=stage["part"], kept=stage["scheme"], why=stage["why"],
                peak_bytes=stage["peak"], seconds=stage["seconds"],
            )
            for stage in answer["stages"]
        ],
    )  # fmt: skip
