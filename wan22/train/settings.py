"""Settings of a file, read into frozen dataclasses by the rules of their fields; what is wrong is said in one line.

A field's rule is its type and what `rule` says. It knows tables and dataclasses, and no recipe.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from wan22.errors import OptionError
from wan22.train.log import Log

Part = TypeVar("Part")
T = TypeVar("T")


def rule(
    default: Any = MISSING,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    known: tuple[str | bool, ...] | None = None,
) -> Any:
    """A field with a rule: at least `low`, more than `above`, at most `high`, less than `below`, one of `known`."""
    bounds = {"at least": low, "more than": above, "at most": high, "less than": below}
    metadata = {
        "bounds": {word: value for word, value in bounds.items() if value is not None},
        "known": known,
    }
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def read_part(
    kind: type[Part], table: Mapping[str, Any], where: str, inner: Mapping[str, Any] | None = None
) -> Part:
    """A dataclass from a table; `where` begins the names of its settings, `inner` are fields that no file sets."""
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind) if not f.metadata.get("inner")}
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {where}{near[0]}?" if near else ""
            raise OptionError(f"unknown setting {where}{name}.{hint} Known here: {', '.join(known)}")
    values = dict(inner or {})
    for name, f in known.items():
        if name in table:
            values[name] = _value(f"{where}{name}", hints[name], table[name])
            _check(f"{where}{name}", values[name], f.metadata)
        elif f.default is MISSING and f.default_factory is MISSING:
            section = is_dataclass(hints[name])
            raise OptionError(
                f"there is no {f'section [{name}]' if section else f'{where}{name}'}, which is needed"
            )
    return kind(**values)


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _value(name: str, hint: Any, value: Any) -> Any:
    if isinstance(hint, UnionType):
        hint = _arm(hint, value)
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise OptionError(f"{name} = {value!r} should be a section: [{name}]")
        assert isinstance(hint, type)
        return read_part(hint, value, f"{name}.")
    if get_origin(hint) is tuple:
        return _row(name, get_args(hint), value)
    good = isinstance(value, int | float if hint is float else hint)
    if (
        not good
        or (isinstance(value, bool) and hint is not bool)
        or (hint is float and not math.isfinite(value))
    ):
        raise OptionError(f"{name} = {_shown(value)} should be {_WORDS[hint]}")
    return hint(value)


def _arm(hint: UnionType, value: Any) -> Any:
    """The kind of a union that a value is of; the first one if it is of none."""
    arms = [arm for arm in get_args(hint) if arm is not type(None)]
    fitting = (arm for arm in arms if (is_dataclass(arm) if isinstance(value, dict) else type(value) is arm))
    return next(fitting, arms[0])


def _row(name: str, arms: tuple[Any, ...], value: Any) -> tuple:
    if arms[-1] is Ellipsis:
        values = value if isinstance(value, list) else [value]  # one is a list of one
        return tuple(_value(name, arms[0], each) for each in values)
    if not isinstance(value, list) or len(value) != len(arms):
        raise OptionError(f"{name} = {_shown(value)} should be a list of {len(arms)}: {_WORDS[arms[0]]} each")
    return tuple(_value(name, arm, each) for arm, each in zip(arms, value, strict=True))


def _check(name: str, value: Any, rule: Mapping[str, Any]) -> None:
    if is_dataclass(value):
        return  # its own fields have rules
    for each in value if isinstance(value, tuple) else (value,):
        known = rule.get("known")
        if known and each not in known:
            words = [word if isinstance(word, str) else _shown(word) for word in known]
            near = difflib.get_close_matches(str(each), words, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"{name} = {each!r} is not known.{hint} Known: {', '.join(words)}")
        for word, bound in rule.get("bounds", {}).items():
            kept = {
                "at least": each >= bound,
                "more than": each > bound,
                "at most": each <= bound,
                "less than": each < bound,
            }[word]
            if not kept:
                raise OptionError(f"{name} = {each} should be {word} {bound:g}")


def _shown(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)


def dotted(table: Mapping[str, Any], where: str = "") -> list[tuple[str, Any]]:
    """The values of nested tables, by dotted names; tuples become lists, as in JSON."""
    rows: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            rows += dotted(value, f"{where}{name}.")
        else:
            rows.append((f"{where}{name}", list(value) if isinstance(value, tuple) else value))
    return rows


def renamed(table: Mapping[str, Any], old_names: Mapping[str, str], log: Log | None = None) -> dict[str, Any]:
    """Tables of settings with those of `old_names` (dotted, old to new) under their new names.

    `log` takes a notice for each old name. Raises OptionError if a setting is given by both names.
    """
    new = {name: dict(value) if isinstance(value, Mapping) else value for name, value in table.items()}
    for old, now in old_names.items():
        where, _, key = old.rpartition(".")
        part = new.get(where) if where else new
        if not isinstance(part, dict) or key not in part:
            continue
        target, _, name = now.rpartition(".")
        given = new.setdefault(target, {}) if target else new
        if not isinstance(given, dict) or name in given:
            raise OptionError(f"{old} is the old name of {now}, and both are given; keep {now} alone")
        given[name] = part.pop(key)
        if not part and target != where:
            del new[where]
        if log is not None:
            log(f"notice: {old} is now called {now}; the old name is read for one more release")
    return new


def present_names(values: Mapping[str, T], old_names: Mapping[str, str]) -> dict[str, T]:
    """Values that were read from a file of an earlier version, by the names that they have today (old to new)."""
    return {old_names.get(name, name): value for name, value in values.items()}
