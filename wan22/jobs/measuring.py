"""Jobs of the kind `measure`: what a job's video shows, beside what was asked, and how it drifts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import MediaError
from wan22.jobs.folder import RESULT
from wan22.jobs.job import measured_job

if TYPE_CHECKING:
    from wan22.jobs.task import Task

EVERY = 0.2  # seconds between events
_SHARES = {"measure": (0.0, 0.5), "drift": (0.5, 0.5)}  # of the job: where a phase begins, and how much it is


def measure_job(task: Task) -> dict[str, Any]:
    """Measure the file of a job; `measured` of the result is also kept in that job's `meta`.

    The request has `job`, `file`, and `asked`: a prompt, a shot as JSON, or null. Without `job` it is the one before,
    without `file` the first that it made. Raises MediaError for a file that is gone, OptionError for a prompt
    whose words exclude one another.
    """
    from wan22.production.measured import measure_file

    began, asked = time.monotonic(), task.job.request
    measured = measured_job(task.job)
    place = task.folder.job(measured)
    path = place / Path(asked.get("file") or _first_file(place)).name
    if not path.is_file():
        raise MediaError(f"{path.name} of job {measured} is gone")
    task.work.mkdir(parents=True, exist_ok=True)
    found = measure_file(path, asked.get("asked"), _seen(task, "measure"))
    drift, why = _drift(task, path)
    axes = found["axes"]
    return {
        "files": [],
        "job": measured,
        "drift": drift,
        "drift_remark": why,
        "measured": {
            "by": task.job.id,
            "file": path.name,
            **found,
            "matched": [row["axis"] for row in axes if row["matches"] is True],
            "failed": [row["axis"] for row in axes if row["matches"] is False],
            "unchecked": [row["axis"] for row in axes if row["asked"] is not None and row["matches"] is None],
            "drift": _in_short(drift),
        },
        "seconds": round(time.monotonic() - began, 3),
    }


def _first_file(place: Path) -> str:
    """The first file that a job made, of its folder."""
    try:
        return str(json.loads((place / RESULT).read_text(encoding="utf-8"))["files"][0]["name"])
    except (OSError, ValueError, LookupError):
        raise MediaError(f"job {place.name} is gone, or has made nothing") from None


def _drift(task: Task, path: Path) -> tuple[dict[str, Any] | None, str]:
    """How it drifts, with a value a second for a plot; or None, and why that is not known."""
    from wan22.production.measured import measured_drift

    try:
        return measured_drift(path, seen=_seen(task, "drift")).as_json(), ""
    except MediaError as error:  # too short, an image: the rest is known all the same
        return None, str(error).replace(str(path), path.name)


def _in_short(drift: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of each axis the change over the video, and whether people notice it."""
    if drift is None:
        return None
    keys = ("unit", "total", "per_second", "visible", "verdict")
    return {name: {key: axis[key] for key in keys} for name, axis in drift["axes"].items()}


def _seen(task: Task, phase: str) -> Callable[[int, int], None]:
    """Tells the frames that were read as events of the job."""
    first, share = _SHARES[phase]
    task.say({"type": "phase", "name": phase, "detail": "", "fraction": first})
    said = 0.0

    def seen(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < EVERY and done < total:
            task.check()
            return
        said = now
        fraction = round(first + share * done / max(total, 1), 4)
        task.say({"type": "frames", "done": done, "total": total, "fraction": fraction})

    return seen
