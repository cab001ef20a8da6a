"""What a client asks of a job, checked as far as can be without weights: names, types, rules, inputs, models.

What only the model can say (sizes, the options that it takes) its worker says, within a second of beginning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from wan22 import fields
from wan22.catalog import ALIASES, rows
from wan22.errors import OptionError, RequestError, choose
from wan22.jobs import references
from wan22.jobs.job import NotFoundError
from wan22.production.options import as_work, from_json, parse_lora
from wan22.server.problems import Refusal

if TYPE_CHECKING:
    from wan22.jobs.folder import Folder
    from wan22.jobs.operator import Operator
    from wan22.jobs.store import Store
    from wan22.server.settings import Settings

COMMANDS = {"video": fields.VIDEO, "image": fields.IMAGE, "extend": fields.VIDEO}
"""The command of the command line that a kind of job is."""
ONLY = {"extend": ("rules",), "speaker": ("espeak",)}
"""What a client may say where the command line also takes addresses and folders."""
FIXED_BY_EXTENSION = (
    "size", "fps", "strength", "audio", "say", "task", "clips", "from_image", "best_of", "image", "last_image", "pose",
    "face", "background", "mask", "replace",
    "voice_sample",
)  # fmt: skip
"""What an extension has from the video that it makes longer."""
MAX_COUNT = 16
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Checker:
    """Checks requests for one server."""

    store: Store
    folder: Folder
    settings: Settings
    operator: Operator

    @property
    def models(self) -> tuple[str, ...]:
        """The models that a request may name; the first is the default."""
        return tuple(dict.fromkeys((*self.settings.models, *self.operator.models)))

    def check(
        self, kind: str, request: Mapping[str, Any], where: str = "request", before: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The request as it is stored: nothing that is null, the model by its name.

        before: the kinds of the jobs of a group that are before this one in its list.

        Raises Refusal (422), whose `param` is the field, or `where` if it is none alone.
        """
        command = COMMANDS[kind]
        _check_json(request, where)
        said = {name: value for name, value in request.items() if value is not None}
        if not str(said.get("prompt", "")).strip():
            raise _refusal(f"{where}.prompt", "prompt: say what is to be seen")
        if kind == "extend":
            _check_extension(said, where)
        with fields.naming(lambda field: field.name):
            try:
                given = from_json(command, said, self._input)
                for name, value in said.items():
                    self._check_value(name, value)
                for name, reference in references.of_request(said):
                    references.check(name, reference, self._kind(name, reference, before))
                model = self._model(said, as_work(given).machine.task)
            except NotFoundError as error:
                raise _refusal(where, f"{error}") from None
            except RequestError as error:
                raise _refusal(_place(error, said, where), f"{error}") from None
        return said | {"model": model}

    def check_text(self, value: str, where: str) -> None:
        """Refuse a text that cannot be stored. Raises Refusal."""
        _check_json(value, where)

    def check_json(self, value: Any, where: str, depth: int = _MAX_DEPTH) -> None:
        """Refuse what cannot be stored, or is nested more deeply than `depth`. Raises Refusal."""
        _check_json(value, where, _MAX_DEPTH - depth)

    def _input(self, said: str) -> str:
        if references.read(said) is not None:
            return said
        return str(self.folder.input(self.store.input(said).id))

    def _kind(self, name: str, reference: references.Reference, before: Sequence[str]) -> str:
        """The kind of the job that a reference names."""
        if reference.place is None:
            return self.store.job(reference.job).kind
        if reference.place >= len(before):
            raise OptionError(
                f"{name}: {reference.job} is not before this job in the list of a group, counted from 0"
            )
        return before[reference.place]

    def _check_value(self, name: str, value: Any) -> None:
        """What the table of fields leaves open, because the command line takes more."""
        row = fields.BY_NAME[name]
        if name in ONLY:
            choose(name, value, ONLY[name])
        elif name == "lora":
            for text in value:
                choose("lora", parse_lora(text)[0], tuple(self.operator.loras))
        elif row.choices in fields.CHOICES:
            choose(name, value, fields.CHOICES[row.choices])
        if name in ("count", "best_of") and value > MAX_COUNT:
            raise RequestError(f"{name} must be at most {MAX_COUNT}, not {value}; add more jobs instead")

    def _model(self, said: Mapping[str, Any], task: str | None) -> str:
        if (name := said.get("model")) is not None:
            return choose("model", ALIASES.get(name, name), self.models)
        for needed, makes, what in (
            ("s2v", "speech to video", "audio drives"), ("animate", "animate", "animates")
        ):  # fmt: skip
            if task == needed:
                able = [name for name in self.models if name in rows() and makes in rows()[name].tasks]
                if not able:
                    raise _refusal("request.model", f"this server has no model that {what}")
                return able[0]
        return self.models[0]


class Backlog:
    """How many jobs may still be added. Counting 10,000 takes milliseconds, so it is done when there may be no room."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store, self._limit, self._room, self._lock = store, limit, 0, Lock()

    def take(self, jobs: int = 1) -> None:
        """Take the room of so many jobs. Raises Refusal (429) if so many wait that there is none."""
        with self._lock:
            if self._room < jobs:
                self._room = self._limit - self._store.count()["queued"]
            if self._room < jobs:
                raise Refusal(429, "queue_full", f"{self._limit} jobs wait, the most; try again later")
            self._room -= jobs


def refusal_of(message: str, said: Mapping[str, Any], where: str = "request") -> Refusal:
    """What a request is refused with that a model cannot do; the message names the field first."""
    return _refusal(_place(message, said, where), message)


def _refusal(param: str, message: str) -> Refusal:
    return Refusal(422, "invalid_request", " ".join(message.split()), param=param)


def _check_extension(said: Mapping[str, Any], where: str) -> None:
    if "video" not in said:
        raise _refusal(f"{where}.video", "video: give the video that is to be longer")
    if "seconds" not in said and "frames" not in said:
        raise _refusal(f"{where}.seconds", "seconds: say how much longer the video is to be")
    for name in FIXED_BY_EXTENSION:
        if name in said:
            raise _refusal(
                f"{where}.{name}", f"{name}: an extension has size, rate and audio of the video; leave it out"
            )
    if said.get("count", 1) != 1:
        raise _refusal(f"{where}.count", "count: one video is extended at a time; add a group for more")


def _place(error: RequestError | str, said: Mapping[str, Any], where: str) -> str:
    """The field that an error speaks of, which it names first."""
    words = str(error).replace("'", " ").split()[:4]
    named = next((word.rstrip(":,") for word in words if word.rstrip(":,") in said), None)
    return f"{where}.{named}" if named else where


def _check_json(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what JSON can hold and a database cannot: endless numbers, half characters, great depth."""
    if depth > _MAX_DEPTH:
        raise _refusal(where, f"{where}: lists and objects are nested too deeply")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _refusal(where, f"{where}: the text has characters that are none")
    elif isinstance(value, Mapping):
        for name, each in value.items():
            _check_json(name, where)
            _check_json(each, f"{where}.{name}", depth + 1)
    elif isinstance(value, list):
        for each in value:
            _check_json(each, where, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _refusal(where, f"{where}: {value} is no number")
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        raise _refusal(where, f"{where}: the number is too large")
