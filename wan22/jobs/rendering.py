"""Jobs of the kind `render`: a timeline, as it was when it was asked for, as a finished file."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import MediaError
from wan22.jobs.folder import RESULT
from wan22.jobs.results import described

if TYPE_CHECKING:
    from wan22.jobs.folder import Folder
    from wan22.jobs.task import Task
    from wan22.timeline.render import Rendered, Rendering

EVERY = 0.2  # seconds between events
OPTIONS = ("format", "size", "captions", "loudness", "quality")
"""What a request says beside the document: fields of `wan22.timeline.render.Settings`."""

_MEASURED = 0.15  # of the job: measuring its sound, where a loudness is asked
_RENDERED = 0.97
_FRAMES = "frames"


def render_job(task: Task) -> dict[str, Any]:
    """Render the `document` of a request; its files are left in `task.work`. Numbered images come as one zip.

    Raises what rendering raises, before any work: MediaError names a clip whose media is gone.
    """
    from wan22.timeline.document import read
    from wan22.timeline.formats import FORMATS
    from wan22.timeline.render import Settings, render

    began, asked = time.monotonic(), task.job.request
    form = FORMATS[asked["format"]]
    for path in task.work.iterdir():  # of an attempt that ended before it was complete
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    target = task.work / _name(form.suffix)
    settings = Settings(
        **{name: asked[name] for name in OPTIONS if asked.get(name) is not None}, existing="replace"
    )
    timeline = read(asked["document"])
    # The ending says that numbered images go to a folder.
    place = f"{target}/" if form.suffix == "/" else target
    # Closed at once where the job is to stop, so that nothing half made is left.
    with closing(render(timeline, place, lambda media: media_file(task.folder, media), settings)) as events:
        done = _followed(task, events)
    stills = _stills(target, task.work, form.suffix)
    if form.suffix == "/":
        target = _zipped(target)
    return {
        "files": [described(target)],
        "stills": [described(task.work / name) for name in stills],
        "recipe": done.recipe,
        "notes": list(done.notes),
        "seconds": round(time.monotonic() - began, 3),
    }


def _name(suffix: str) -> str:
    return {"/": _FRAMES, ".wav": "audio.wav"}.get(suffix, f"video{suffix}")


def media_file(folder: Folder, media: dict[str, str]) -> Path:
    """The file of a clip's media: an input, or what a job's result says that it made. Raises MediaError."""
    if "input" in media:
        path = folder.input(media["input"])
        if path.is_file():
            return path
        raise MediaError(f"input {media['input']} is gone")
    if "job" not in media:
        raise MediaError("its media is a path; here it must be a job's file or an input")
    place, name = folder.job(media["job"]), media["file"]
    try:
        made = json.loads((place / RESULT).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        raise MediaError(f"job {media['job']} is gone, or has made nothing") from None
    if name not in [each.get("name") for each in made] or not (place / name).is_file():
        raise MediaError(f"job {media['job']} has no file {name!r}")
    return place / name


def _followed(task: Task, events: Iterator[Rendering | Rendered]) -> Rendered:
    """Take all events, and tell how far they are; the last one is how it ended."""
    said, stage, base = 0.0, "", 0.0
    for event in events:
        if not hasattr(event, "stage"):
            return event
        now = time.monotonic()
        if event.stage != stage:
            stage, base = event.stage, _MEASURED if stage else 0.0
            task.say({"type": "phase", "name": stage, "detail": ""})
        first, last = (0.0, _MEASURED) if stage == "measure" else (base, _RENDERED)
        if now - said >= EVERY or event.done == event.total:
            said = now
            fraction = round(first + (last - first) * event.done / max(event.total, 1), 4)
            task.say({"type": "frames", "done": event.done, "total": event.total, "fraction": fraction})
        else:
            task.check()
    raise AssertionError("a rendering ends with its result")


def _stills(target: Path, work: Path, suffix: str) -> tuple[str, ...]:
    """Small images of what was made; of numbered images, of the middle one."""
    from wan22.jobs.stills import write_stills

    if suffix == ".wav":
        return ()
    if suffix == "/":
        images = sorted(target.iterdir())
        target = images[(len(images) - 1) // 2]
    return write_stills(target, work)


def _zipped(folder: Path) -> Path:
    """The images of a folder as one zip beside it, in whose place it comes."""
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "x", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.iterdir()):
            file.write(path, path.name)
    shutil.rmtree(folder)
    return target
