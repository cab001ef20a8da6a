"""JSON as frozen dataclasses and back: what shape each value has is written once, beside its field.

A dataclass whose fields are made by `part` is read by `Record`. Keys that it does not know are kept in its field
`extra` and come back with `dump`. What a value means is checked elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

__all__ = [
    "COLOR",
    "FLAG",
    "NUMBER",
    "OBJECT",
    "PAIR",
    "TEXT",
    "WHOLE",
    "List",
    "Maybe",
    "OneOf",
    "Record",
    "Union",
]
__all__ += ["Form", "part"]

Fault = tuple[str, str]
"""Where, and what should be there."""

_MOST = 1_000_000_000


class Form(Protocol):
    """A shape of JSON: what is wrong with a value, the value in Python, and the JSON of that."""

    def faults(self, value: Any, where: str) -> Iterator[Fault]: ...

    def read(self, value: Any) -> Any: ...

    def dump(self, value: Any) -> Any: ...


@dataclasses.dataclass(frozen=True)
class _Plain:
    """A value that is right or wrong as a whole."""

    what: str
    right: Callable[[Any], bool]
    take: Callable[[Any], Any] = lambda value: value
    give: Callable[[Any], Any] = lambda value: value

    def faults(self, value: Any, where: str) -> Iterator[Fault]:
        if not self.right(value):
            yield where, self.what

    def read(self, value: Any) -> Any:
        return self.take(value)

    def dump(self, value: Any) -> Any:
        return self.give(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST


def _whole(value: Any) -> bool:
    return _number(value) and value == math.floor(value)


def _color(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?", value) is not None


NUMBER = _Plain("a number", _number, float)
WHOLE = _Plain("a whole number", _whole, int)
"""Of at most a thousand million; 24.0 is 24, as it is in JavaScript."""
TEXT = _Plain("a text", lambda value: isinstance(value, str))
FLAG = _Plain("true or false", lambda value: isinstance(value, bool))
OBJECT = _Plain("an object", lambda value: isinstance(value, dict))
COLOR = _Plain("a color such as #ffffff or #00000080", _color)
PAIR = _Plain(
    "two whole numbers",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(_whole, value)),
    lambda value: (int(value[0]), int(value[1])),
    list,
)


def OneOf(*values: str) -> Form:
    """One of some words."""
    return _Plain(
        " or ".join(f'"{each}"' for each in values), lambda value: isinstance(value, str) and value in values
    )


@dataclasses.dataclass(frozen=True)
class Maybe:
    """Null, or `form`."""

    form: Form

    def faults(self, value: Any, where: str) -> Iterator[Fault]:
        if value is not None:
            yield from self.form.faults(value, where)

    def read(self, value: Any) -> Any:
        return None if value is None else self.form.read(value)

    def dump(self, value: Any) -> Any:
        return None if value is None else self.form.dump(value)


@dataclasses.dataclass(frozen=True)
class List:
    """A list of `form`; a tuple in Python."""

    form: Form

    def faults(self, value: Any, where: str) -> Iterator[Fault]:
        if not isinstance(value, list):
            yield where, "a list"
            return
        for index, each in enumerate(value):
            yield from self.form.faults(each, f"{where}[{index}]")

    def read(self, value: Any) -> Any:
        return tuple(self.form.read(each) for each in value)

    def dump(self, value: Any) -> Any:
        return [self.form.dump(each) for each in value]


@dataclasses.dataclass(frozen=True)
class Record:
    """An object with the parts of the dataclass `type`; a part with a default may be left out."""

    type: type[Any]

    def faults(self, value: Any, where: str) -> Iterator[Fault]:
        if not isinstance(value, dict):
            yield where, "an object"
            return
        for field, key, form in _parts(self.type):
            if key in value:
                yield from form.faults(value[key], f"{where}.{key}".lstrip("."))
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                yield where, f'an object with "{key}"'

    def read(self, value: Any) -> Any:
        parts = _parts(self.type)
        found = {field.name: form.read(value[key]) for field, key, form in parts if key in value}
        known = {key for _, key, _ in parts}
        return self.type(**found, extra={key: each for key, each in value.items() if key not in known})

    def dump(self, value: Any) -> Any:
        return {
            key: form.dump(getattr(value, field.name)) for field, key, form in _parts(self.type)
        } | value.extra


@dataclasses.dataclass(frozen=True)
class Union:
    """An object whose "type" says which of `types` it is."""

    types: Mapping[str, type[Any]]

    def faults(self, value: Any, where: str) -> Iterator[Fault]:
        if not isinstance(value, dict):
            yield where, "an object"
        elif not isinstance(value.get("type"), str) or value["type"] not in self.types:
            yield f"{where}.type", " or ".join(f'"{each}"' for each in self.types)
        else:
            yield from Record(self.types[value["type"]]).faults(value, where)

    def read(self, value: Any) -> Any:
        return Record(self.types[value["type"]]).read(
            {key: each for key, each in value.items() if key != "type"}
        )

    def dump(self, value: Any) -> Any:
        name = next(name for name, each in self.types.items() if each is type(value))
        return {"type": name} | Record(type(value)).dump(value)


def part(form: Form, key: str = "", **default: Any) -> Any:
    """A field of a dataclass that is read from JSON by `form`; `key` where its name there is another."""
    return dataclasses.field(metadata={"form": form, "key": key}, **default)


def _parts(of: type[Any]) -> list[tuple[dataclasses.Field[Any], str, Form]]:
    return [
        (field, field.metadata["key"] or field.name, field.metadata["form"])
        for field in dataclasses.fields(of)
        if "form" in field.metadata
    ]
