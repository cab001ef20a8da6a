"""What another program's file asks for, as fields of ours: the noun that every reader of such files fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wan22 import fields
from wan22.errors import OptionError
from wan22.production.options import from_json

TEXT, _SHOWN, _DEPTH = 20_000, 500, 4
# characters of a prompt, of a value that is only shown; nested objects of it
_MOST = 60  # entries of what is not understood


@dataclass
class Import:
    """What was read. `source`: "wan22", "comfyui", "a1111" or "wan2gp". `request`: fields of ours and their values.

    `loras`: (file, strength, expert or None). `models`, `files`: names of networks, and of what the video began with.
    `unknown`: what was said beside it. `notes`: sentences for people.

    Of a workflow: `task` is what it makes ("t2v", "i2v", "ti2v", "s2v", "v2v" or "animate"), `parts` are its models by
    part of ours, `lora_names` those of `loras` and `paths` those of `files`, with the folders that it says; `videos`
    are what else it would make, by node; `impossible` says why it cannot be made here; `model` is a name of
    our catalogue.
    """

    source: str
    request: dict[str, Any] = field(default_factory=dict)
    loras: list[tuple[str, float, str | None]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    task: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    lora_names: list[str] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    videos: dict[str, str] = field(default_factory=dict)
    impossible: str | None = None
    model: str | None = None

    def note(self, text: str) -> None:
        """Say something to people, once."""
        if text not in self.notes and len(self.notes) < _MOST:
            self.notes.append(" ".join(text.split())[:_SHOWN])

    def left(self) -> list[str]:
        """What is not done of it, and what people should know, a line each."""
        return [*self.notes, *(f"{name} = {value!r}" for name, value in self.unknown.items())]

    def say(self, name: str, value: Any, called: str | None = None) -> None:
        """Take a value over as our field `name`; what that does not take is unknown under the name it had."""
        if value is None or name in self.request:
            return
        if isinstance(value, str):
            value = value[:TEXT]
        try:
            from_json(fields.VIDEO, {name: value}, lambda id: id)
            if (choices := fields.BY_NAME[name].choices) in fields.CHOICES and value not in fields.CHOICES[
                choices
            ]:
                raise OptionError(f"{name} {value!r} is not known here")
        except (OptionError, ValueError, TypeError) as error:
            self.leave(called or name, value)
            self.notes.append(" ".join(str(error).split())[:_SHOWN])
            return
        self.request[name] = value

    def leave(self, name: str, value: Any) -> None:
        """Keep what is not understood, cut to what can be shown."""
        if len(self.unknown) < _MOST:
            self.unknown[name[:100]] = shown(value)


def shown(value: Any, depth: int = 0) -> Any:
    """A stranger's value as it can be answered: short, shallow, without numbers that JSON lacks."""
    if isinstance(value, Mapping):
        some = list(value.items())[:_MOST] if depth < _DEPTH else []
        return {str(name)[:100]: shown(each, depth + 1) for name, each in some}
    if isinstance(value, (list, tuple)):
        return [shown(each, depth + 1) for each in value[:_MOST]] if depth < _DEPTH else []
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)[:_SHOWN]
    return value if isinstance(value, float) and value - value == 0 else str(value)[:_SHOWN]


def last_of(name: str) -> str:
    """The last part of a path of whatever system."""
    return name.replace("\\", "/").rpartition("/")[2][:200]
