"""A script as it is typed, in plain text or YAML: keys, values, and the line of each. What they mean is script.py's.

Plain text: `Key: value` lines first, then shots, each a paragraph, or each begun by "Shot 1:", "1." or the like. Within
a shot a line `Key: value` is an option of it; all other lines are its prompt. A line that begins with # is a remark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from wan22.errors import OptionError, choose
from wan22.files import NESTING

HEADER = (
    "title", "subject", "style", "model", "size", "seed", "seconds", "fps", "steps", "negative", "language",
)  # fmt: skip
"""What is said once for all shots."""
SHOT = (
    "prompt", "subject", "shot_size", "angle", "lens", "composition", "light", "time", "tone", "camera", "style",
    "seconds", "seed", "image",
)  # fmt: skip
"""What is said of one shot."""
DEFAULTS = tuple(key for key in SHOT if key not in ("prompt", "subject", "image", "style", "seed"))
"""What may be said as a default of all shots."""

LIMIT = 1_000_000
"""Longest script in characters."""
MAX_SHOTS = 500

_TEXT = "tag:yaml.org,2002:str"
_DIGITS = 60  # of a number or a date

_NUMBERED = re.compile(
    r"\s*(?:(?:shot|scene|镜头|场景|샷|ショット)\s*(\d+)\s*[:.)：、-]|(\d+)[.):：、](?=\s|$))\s*",
    re.IGNORECASE,
)
_KEYED = re.compile(r"\s*([A-Za-z][A-Za-z_-]*(?: [A-Za-z]+)?)\s*:(?=\s|$)\s*(.*)")


@dataclass(frozen=True)
class Entry:
    """A value and the line on which it stands, from 1."""

    value: Any
    line: int


@dataclass
class RawShot:
    """A shot as typed."""

    line: int
    entries: dict[str, Entry] = field(default_factory=dict)


@dataclass
class Raw:
    """A script as typed."""

    header: dict[str, Entry] = field(default_factory=dict)
    defaults: dict[str, Entry] = field(default_factory=dict)
    shots: list[RawShot] = field(default_factory=list)


def read_text(text: str, name: str) -> Raw:
    """Read plain text. Raises OptionError, naming the line, for a key that is unknown, misplaced or said twice."""
    lines = text.splitlines()
    numbered = any(_NUMBERED.match(line) for line in lines)
    raw, gap = Raw(), True
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        if not line.strip():
            gap = True
            continue
        where = f"{name}, line {number}"
        if numbered and (begin := _NUMBERED.match(line)):
            _check_number(int(begin[1] or begin[2]), len(raw.shots) + 1, where)
            raw.shots.append(RawShot(number))
            _add_prose(raw.shots[-1], line[begin.end() :], number)
        elif keyed := _KEYED.match(line):
            if not raw.shots:
                _put(raw.header, keyed[1], Entry(keyed[2].strip(), number), HEADER, where)
            else:
                if gap and not numbered:
                    raw.shots.append(RawShot(number))
                _put(raw.shots[-1].entries, keyed[1], Entry(keyed[2].strip(), number), SHOT, where)
        else:
            if numbered and not raw.shots:
                raise OptionError(
                    f"{where}: {line.strip()[:60]!r} stands before the first shot and is no header, such as "
                    "'Subject: a red ball'"
                )
            if (gap or not raw.shots) and not numbered:
                raw.shots.append(RawShot(number))
            _add_prose(raw.shots[-1], line, number)
        gap = False
    return raw


def _check_number(found: int, expected: int, where: str) -> None:
    if found != expected:
        raise OptionError(
            f"{where}: this is shot {found}, and {expected} is due; number the shots 1, 2, 3, "
            "or begin none with a number"
        )


def _add_prose(shot: RawShot, line: str, number: int) -> None:
    if not line.strip():
        return
    before = shot.entries.get("prompt")
    text = line.strip() if before is None else f"{before.value} {line.strip()}"
    shot.entries["prompt"] = Entry(text, number if before is None else before.line)


def _put(into: dict[str, Entry], key: str, entry: Entry, known: tuple[str, ...], where: str) -> None:
    key = _key(key, known, where)
    if key in into:
        raise OptionError(f"{where}: {key} is said already, on line {into[key].line}; leave one out")
    into[key] = entry


def _key(key: str, known: tuple[str, ...], where: str) -> str:
    plain = re.sub(r"[\s-]+", "_", key.strip().lower())
    try:
        return choose("key", plain, known)
    except OptionError as error:
        more = ". A prompt that begins like this comes after 'Shot 1:'" if " line " in where else ""
        raise OptionError(f"{where}: {error}{more}") from None


def read_yaml(text: str, name: str) -> Raw:
    """Read YAML. Raises OptionError, naming the line, for what is no YAML, and keys that are unknown or said twice."""
    import yaml

    try:
        loader = _loader(text)
        node = loader.get_single_node()
        top = _mapping(loader, node, (*HEADER, "defaults", "shots"), name, "a script") if node else {}
        raw = Raw(header={key: entry for key, entry in top.items() if key in HEADER})
        for key, value in _pairs(node, name, "a script") if node else ():
            if key == "defaults":
                raw.defaults = _mapping(loader, value, DEFAULTS, name, "defaults")
            elif key == "shots":
                raw.shots = [_yaml_shot(loader, item, name) for item in _items(value, name)]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be read"
        raise OptionError(f"{name}{line}: this is no YAML that can be read: {what}") from None
    except (ValueError, RecursionError) as error:  # such as the date 2024-99-99; lists in lists without end
        raise OptionError(f"{name}: a value cannot be read: {type(error).__name__} {error}") from None
    return raw


def _loader(text: str) -> Any:
    """A safe loader with limits: on nesting, on what an alias may stand for, and on the digits of a number."""
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            alias = self.check_event(yaml.AliasEvent)
            self.depth += 1
            if self.depth > NESTING:
                self._refuse("it is nested too deeply")
            node = super().compose_node(parent, index)
            self.depth -= 1
            if alias and not isinstance(node, yaml.ScalarNode):  # of aliases of aliases a bomb is made
                self._refuse(f"an alias may stand for a text or a number alone; write {index or 'it'} out")
            if isinstance(node, yaml.ScalarNode) and node.tag != _TEXT and len(node.value) > _DIGITS:
                self._refuse(f"a number or date has {len(node.value)} characters")
            return node

        def _refuse(self, what: str) -> None:
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem=what, problem_mark=event.start_mark if event else None)

    return Loader(text)


def _yaml_shot(loader: Any, node: Any, name: str) -> RawShot:
    import yaml

    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):  # a shot may be no more than its prompt
        return RawShot(line, {"prompt": Entry(loader.construct_object(node), line)})
    return RawShot(line, _mapping(loader, node, SHOT, name, "a shot"))


def _items(node: Any, name: str) -> list[Any]:
    import yaml

    if not isinstance(node, yaml.SequenceNode):
        raise OptionError(
            f"{name}, line {node.start_mark.line + 1}: shots must be a list, each begun by '- '"
        )
    return node.value


def _mapping(loader: Any, node: Any, known: tuple[str, ...], name: str, what: str) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key, value in _pairs(node, name, what):
        line = value.start_mark.line + 1
        _key(key, known, f"{name}, {what}, line {line}")
        if key in ("defaults", "shots"):
            continue
        entries[key] = Entry(loader.construct_object(value, deep=True), line)
    return entries


def _pairs(node: Any, name: str, what: str) -> list[tuple[str, Any]]:
    """Keys and value nodes of a mapping."""
    import yaml

    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise OptionError(f"{name}, line {line}: {what} must have keys, such as 'prompt: a red ball rolls'")
    seen: dict[str, int] = {}
    pairs = []
    for key_node, value in node.value:
        at = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise OptionError(f"{name}, line {at}: a key must be a word")
        key = re.sub(r"[\s-]+", "_", str(key_node.value).strip().lower())
        if key in seen:
            raise OptionError(f"{name}, line {at}: {key} is said already, on line {seen[key]}; leave one out")
        seen[key] = at
        pairs.append((key, value))
    return pairs
