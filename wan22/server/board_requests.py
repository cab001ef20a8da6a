"""A script as a group of jobs: what is asked, checked; a job for each take of each shot, and one that measures it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wan22.errors import OptionError, SizeError
from wan22.fields import STORYBOARD
from wan22.jobs.job import Child
from wan22.production.options import Given, from_json
from wan22.production.scripts import asked_of, overridden
from wan22.server.native import MAX_CHILDREN, Strict
from wan22.server.problems import Refusal
from wan22.server.state import AppState
from wan22.storyboard.reading import LIMIT
from wan22.storyboard.script import Scene, Script, read_script

MAX_TAKES = 16
_NAMES = {"text": "script.txt", "yaml": "script.yaml"}
_OF_JOBS = ("lora", "quality", "label")
"""Options of `wan22 storyboard` that are fields of a job, and not of the engine's request."""


class Options(BaseModel):
    """How a script is made: fields of `wan22 storyboard` (model, size, steps, seed ...), and these."""

    model_config = ConfigDict(extra="allow")
    takes: Annotated[int, Field(strict=True, ge=1, le=MAX_TAKES)] = 1
    format: Literal["text", "yaml"] = "text"
    images: dict[str, Annotated[str, Field(pattern="^in_[a-z0-9]{24}$")]] = Field(
        default={}, description="The ids of the inputs that the script means, by what it calls them."
    )

    def fields(self) -> dict[str, Any]:
        """The fields of requests."""
        return dict(self.model_extra or {})


class NewBoard(Strict):
    """A script, and how it is made."""

    script: str = Field(min_length=1, max_length=LIMIT)
    name: str | None = Field(
        default=None, max_length=200, description="For people; without, the script's title."
    )
    options: Options = Options()
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    paused: bool = False


def read_board(app: AppState, new: NewBoard) -> dict[str, Any]:
    """What is stored of a board: the script, its options, and `shots`, each with the request of its first take.

    Raises Refusal (422) that names line and shot.
    """
    app.checker.check_text(new.script, "script")
    fields = new.options.fields()
    app.checker.check_json(fields, "options")
    try:
        given = from_json(STORYBOARD, fields, str)
        script = overridden(read_script(new.script, _NAMES[new.options.format]), given)
    except (OptionError, SizeError) as error:
        param = "script" if str(error).startswith(_NAMES[new.options.format]) else "options"
        raise Refusal(422, "invalid_request", " ".join(str(error).split()), param=param) from None
    if len(script.scenes) * new.options.takes > MAX_CHILDREN:
        raise Refusal(
            422, "invalid_request", f"{len(script.scenes)} shots of {new.options.takes} takes; a board has at most "
            f"{MAX_CHILDREN} takes", param="options.takes",
        )  # fmt: skip
    shots = [
        {
            "shot": scene.number,
            "where": scene.where,
            "prompt": scene.prompt,
            "subject": scene.subject,
            "asked": scene.spec.to_json(),
            "request": _request(app, script, scene, new.options, given),
        }
        for scene in script.scenes
    ]
    return {
        "script": new.script,
        "options": new.options.model_dump(),
        "title": script.title,
        "subject": script.subject,
        "style": script.style,
        "shots": shots,
    }


def _request(app: AppState, script: Script, scene: Scene, options: Options, given: Given) -> dict[str, Any]:
    """The checked request of a shot's first take."""
    said = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asked_of(script, scene, given).items()
    }
    said |= {name: options.fields()[name] for name in _OF_JOBS if name in options.fields()}
    if script.model is not None:
        said["model"] = script.model
    if scene.image is not None:
        said["image"] = _image(scene, options)
    try:
        return app.checker.check("video", said, f"shots.{scene.number}")
    except Refusal as error:
        raise Refusal(422, error.code, f"{scene.where}: {error.detail}", param=error.param) from None


def _image(scene: Scene, options: Options) -> str:
    """The input that a scene's image is. Raises Refusal."""
    name = str(scene.image)
    if (id := options.images.get(name)) is not None:
        return id
    if name.startswith("in_"):
        return name
    raise Refusal(
        422, "invalid_request",
        f"{scene.where}: image: {name!r} is not here; send it to /v1/inputs, and give its id in options.images",
        param="options.images",
    )  # fmt: skip


def takes_of(shot: Mapping[str, Any], numbers: range, first: int = 0) -> Iterator[Child]:
    """The jobs of takes of a shot, each followed by the one that measures it. first: how many jobs are before them."""
    for at, number in enumerate(numbers):
        request = shot["request"] | {"seed": shot["request"].get("seed", 0) + number - 1}
        meta = {"shot": shot["shot"], "take": number}
        yield Child("video", request, (), meta)
        yield Child("measure", {"asked": shot["asked"]}, (first + 2 * at,), meta)


def children_of(shots: list[dict[str, Any]], takes: int) -> list[Child]:
    """The jobs of all shots."""
    children: list[Child] = []
    for shot in shots:
        children += takes_of(shot, range(1, takes + 1), len(children))
    return children
