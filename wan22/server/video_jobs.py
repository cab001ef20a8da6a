"""From what a client asked of a video to a job: its files become inputs, its model one that is served, and all of it is
checked before it is queued.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from starlette.datastructures import UploadFile

from wan22.catalog import ALIASES, rows
from wan22.jobs.job import Input, Job, NotFoundError, is_id
from wan22.server.fetching import is_url, open_url
from wan22.server.problems import Refusal
from wan22.server.uploads import CHARACTER, discard, keep, keep_frame, keep_result
from wan22.server.video_fields import Asked, Reference, random_seed, refused

if TYPE_CHECKING:
    from wan22.server.state import AppState

KINDS = ("video", "extend")
"""The kinds of jobs that OpenAI's API shows."""
CHARACTER_ID = "char_"

_TAKES = {
    "image": ("image/",),
    "last_image": ("image/",),
    "video": ("video/", "image/gif", "image/webp", "image/png", "image/avif"),
    **dict.fromkeys(("pose", "face", "background", "mask"), ("video/", "image/gif", "image/webp")),
    "audio": ("audio/", "video/"),
    "voice_sample": ("audio/", "video/"),
}
"""The media types of our file fields."""
_OF_ONE_VIDEO = (
    "prompt", "image", "last_image", "video", "strength", "size", "frames", "seconds", "fps", "task", "seed", "count",
    "best_of", "keep_takes", "audio", "audio_start", "say", "speaker", "voice", "language", "voice_sample", "pose",
    "clips", "from_image", "sigmas", "switch_step", "face", "background", "mask", "replace",
)  # fmt: skip
"""What another video that is made from one does not take over."""


@dataclass
class Wanted:
    """A job on its way: what its client asked, what it takes over from another (`base`), and what is noted of it."""

    asked: Asked
    kind: str = "video"
    base: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    key: str | None = None


def add(app: AppState, wanted: Wanted) -> Job:
    """Queue a job. Raises Refusal, and then nothing is left of its files."""
    asked = wanted.asked
    app.backlog.take()
    if not str((wanted.base | asked.request).get("prompt", "")).strip():
        raise refused("prompt", "say what is to be seen", "missing_required_parameter")
    made: list[str] = []
    try:
        files = dict(_files(app, asked, made))
        request = wanted.base | asked.request | {name: row.id for name, row in files.items()}
        request |= _mentioned(app, request)
        _check_together(asked, request)
        request["model"] = model_of(app, request, wanted.kind, asked)
        if wanted.base.get("model", request["model"]) != request["model"]:
            request = {name: value for name, value in request.items() if name not in _of_its_model(wanted)}
        body = json.dumps(
            [wanted.kind, request | {name: row.sha256 for name, row in files.items()}], sort_keys=True
        )
        request.setdefault("seed", random_seed())
        request = _checked(app, request, asked)
        meta = (
            {"api": "openai"} | wanted.meta | ({"user": asked.other["user"]} if "user" in asked.other else {})
        )
        if wanted.kind == "extend" and "video" in files:
            source = files["video"]
            meta |= {
                "source_seconds": source.seconds,
                "size": [source.width, source.height],
                "fps": source.fps,
            }
        app.checker.check_text(str(meta.get("user", "")), "user")
        job = app.store.add(wanted.kind, request, key=wanted.key, body=body, meta=meta)
    except BaseException:
        discard(app, made)
        raise
    if any(id not in job.request.values() for id in made):  # the key was used before: that job has its own
        discard(app, [id for id in made if id not in job.request.values()])
    return job


def _of_its_model(wanted: Wanted) -> set[str]:
    """What was taken over and says how another model was asked: steps, guidance and the like."""
    here = {*wanted.asked.request, *_OF_ONE_VIDEO, "negative", "model", "quality", "codec"}
    return wanted.base.keys() - here


def live(app: AppState, id: str) -> Job:
    """A video by its id. Raises NotFoundError for what is none, or in the trash."""
    if is_id(id, "job"):
        job = app.store.job(id)
        if job.kind in KINDS and job.trashed is None:
            return job
    raise NotFoundError(f"there is no video {id!r}")


def completed(app: AppState, id: str, param: str | None = None) -> Job:
    """A video that is there. Raises NotFoundError, and Refusal (409) for one that is not, or not yet, made."""
    try:
        job = live(app, id)
    except NotFoundError as error:
        if param is None:
            raise
        raise refused(param, str(error), "not_found") from None
    if job.state != "completed":
        raise not_ready(job)
    return job


def not_ready(job: Job, why: str = "it must be completed") -> Refusal:
    """Why there is nothing of a job to be had. Clients that try again by themselves are told not to."""
    return Refusal(
        409, "video_not_ready", f"video {job.id} is {job.state}; {why}",
        headers={"x-should-retry": "false"},
    )  # fmt: skip


def inherited(job: Job) -> dict[str, Any]:
    """What another video takes over from the request of a job: the model and how it is asked."""
    return {name: value for name, value in job.request.items() if name not in _OF_ONE_VIDEO}


def size_of(job: Job) -> dict[str, Any]:
    """The size of what a job made, as part of a request."""
    file = ((job.result or {}).get("files") or [{}])[0]
    return {"size": [file["width"], file["height"]]} if file.get("width") else {}


# Files


def _files(app: AppState, asked: Asked, made: list[str]) -> Iterator[tuple[str, Input]]:
    """Each file that was meant, as an input, by our field; the ids of new ones are put into `made`."""
    said: dict[str, str] = {}
    for name, reference in asked.files.items():
        row = found(app, reference, made)
        ours = name if name in _TAKES else "image" if row.type.startswith("image/") else "video"
        if not row.type.startswith(_TAKES[ours]):
            raise refused(
                reference.param, f"it is {row.type}, which cannot be {ours}", "unsupported_media_type"
            )
        if ours in said:
            raise refused(reference.param, f"it does not go together with {said[ours]}; give one of them")
        said[ours] = asked.called[ours] = reference.param
        yield ours, row


def found(app: AppState, reference: Reference, made: list[str]) -> Input:
    """The input that a client means. A new one's id is put into `made`."""
    value, param = reference.value, reference.param
    if isinstance(value, str) and value.startswith((CHARACTER, CHARACTER_ID)):
        return character(app, value, param)
    if isinstance(value, str) and value.startswith("in_"):
        try:
            return app.store.input(value)
        except NotFoundError as error:
            raise refused(param, str(error), "not_found") from None
    if isinstance(value, str) and value.startswith(("job_", "video_")):
        row = keep_result(app, completed(app, value, param))
    else:
        stream, name = opened(app, reference)
        row = keep(app, stream, name)
    made.append(row.id)
    return row


def opened(app: AppState, reference: Reference) -> tuple[BinaryIO, str]:
    """The file of an upload or a URL, and its name."""
    value, param = reference.value, reference.param
    if isinstance(value, UploadFile):
        return value.file, value.filename or ""
    if is_url(value):
        return open_url(value, param, allowed=app.settings.allow_url_inputs), param
    raise refused(param, "send a file, a data URL, or the id of an input, a video or a character")


# Characters


def add_character(app: AppState, name: str, reference: Reference) -> Input:
    """Keep the first frame of a video as a character."""
    value = reference.value
    if isinstance(value, str) and value.startswith(("in_", "job_", "video_")):
        made: list[str] = []
        row = found(app, reference, made)
        try:
            with app.folder.input(row.id).open("rb") as stream:
                return keep_frame(app, stream, row.name, f"{CHARACTER}{name}")
        finally:
            discard(app, made)
    stream, shown = opened(app, reference)
    return keep_frame(app, stream, shown, f"{CHARACTER}{name}")


def characters(app: AppState) -> Iterator[Input]:
    """All characters, the newest first."""
    after = None
    while page := app.store.inputs(after=after, limit=500):
        yield from (row for row in page if row.name.startswith(CHARACTER))
        after = page[-1].id


def character(app: AppState, said: str, param: str | None = None) -> Input:
    """A character by its id or "@name". Raises NotFoundError, or Refusal (400) that names the field `param`."""
    try:
        if said.startswith(CHARACTER_ID):
            row = app.store.input(f"in_{said.removeprefix(CHARACTER_ID)}")
            if not row.name.startswith(CHARACTER):
                raise NotFoundError(f"there is no character {said!r}")
            return row
        wanted = said.casefold()
        row = next((each for each in characters(app) if each.name.casefold() == wanted), None)
        if row is None:
            raise NotFoundError(f"there is no character {said!r}")
        return row
    except NotFoundError:
        if param is None:
            raise NotFoundError(f"there is no character {said!r}") from None
        raise refused(param, f"there is no character {said!r}", "not_found") from None


def _mentioned(app: AppState, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a prompt changes that names a character: the image, if none was given, and the prompt without the sign."""
    prompt = request["prompt"]
    if CHARACTER not in prompt or any(name in request for name in ("video", "last_image")):
        return {}
    by_length = sorted(
        characters(app), key=lambda row: -len(row.name)
    )  # stable: the newest of one name first
    named: dict[str, Input] = {}
    for row in by_length:
        at = prompt.casefold().find(row.name.casefold())
        if at >= 0 and not prompt[at + len(row.name) : at + len(row.name) + 1].isalnum():
            named.setdefault(row.name.casefold(), row)
            prompt = prompt[:at] + row.name.removeprefix(CHARACTER) + prompt[at + len(row.name) :]
    if len(named) > 1:
        names = ", ".join(row.name for row in named.values())
        raise refused("prompt", f"it names {names}; a video begins with the image of one character")
    if not named:
        return {}
    [row] = named.values()
    return {"prompt": prompt, "image": request.get("image", row.id)}


# The model, and what goes together


def _task(request: Mapping[str, Any], kind: str) -> str:
    if kind == "extend":
        return "image to video"
    if "audio" in request or "say" in request:
        return "speech to video"
    if request.get("task") == "animate" or "face" in request:
        return "animate"
    if "video" in request:
        return "video to video"
    return "image to video" if "image" in request or "last_image" in request else "text to video"


def can(model: str, task: str) -> bool:
    """Whether a model does a task; of the operator's own that is not known, and its worker says so."""
    row = rows().get(model)
    return row is None or task in row.tasks


def model_of(app: AppState, request: Mapping[str, Any], kind: str, asked: Asked) -> str:
    """The model of a request: the one it names, else the first of those served that can do what is asked."""
    served, task = app.checker.models, _task(request, kind)
    able = [name for name in served if can(name, task)]
    named = request.get("model")
    if named is None:
        return able[0] if able else served[0]
    name = _served(named, served)
    if name is None:
        raise refused(
            "model", f"{named!r} is not served here; served: {', '.join(served)}", "model_not_found"
        )
    if name in able:
        return name
    if "model" not in asked.request and able:  # taken over from another video
        return able[0]
    others = f"; of those served, {', '.join(able)} does" if able else ""
    raise refused("model", f"{name} does not make {task}{others}", "model_cannot")


def _served(named: str, served: tuple[str, ...]) -> str | None:
    """The name by which a model is served, of a name, an alias, or the hub's id of it."""
    said = ALIASES.get(named, named)
    if said in served:
        return said
    hub = said.removesuffix("-Diffusers").casefold()
    known = rows()
    return next((n for n in served if n in known and (known[n].hub or "").casefold() == hub), None)


def _check_together(asked: Asked, request: Mapping[str, Any]) -> None:
    if "image" in request and "video" in request and request.get("task") != "animate":
        name = asked.called.get("image", "image")
        raise refused(
            name, f"it does not go together with {asked.called.get('video', 'video')}; give one of them"
        )


def _checked(app: AppState, request: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """The request as `Checker` lets it pass; what it refuses is said by the client's names, with 400 as OpenAI does."""
    try:
        return app.checker.check("video", request, "request")
    except Refusal as error:
        ours = (error.param or "").removeprefix("request.").partition(".")[0]
        name = asked.called.get(ours, ours if ours != "request" else None)
        message = str(error.detail)
        if name and ours and message.startswith(ours):
            message = name + message[len(ours) :]
        raise Refusal(400, "invalid_value", message, param=name) from None
