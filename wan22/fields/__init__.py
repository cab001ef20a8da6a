"""What can be asked of a video: one table of fields, with help, kind, rule, default, and where each may be said.

The options of the command line, the recipe entries that `--from` reads back, and the JSON schema of the server and the
studio are made from it. It is data: it knows no option parser, no file and no tensor. `check` keeps the rule of one
field; what depends on the model or on other fields is `request.resolve`'s to say.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from wan22.errors import OptionError
from wan22.fields.choices import CHOICES
from wan22.fields.engine import DIVISION, OPTIONS, PARTS, REPEATED
from wan22.fields.field import DECODE, GROUPS, IMAGE, STORYBOARD, TRAIN, VIDEO, Field, Group, Kind, Rule
from wan22.fields.naming import called, naming
from wan22.fields.table import FIELDS
from wan22.fields.video import MAX_FPS, MAX_FRAMES, MAX_SEED, MAX_SIDE, MAX_STEPS

__all__ = [
    "BY_NAME", "CHOICES", "DECODE", "DIVISION", "FIELDS", "GROUPS", "IMAGE", "MAX_FPS", "MAX_FRAMES", "MAX_SEED",
    "MAX_SIDE", "MAX_STEPS", "NOT_TYPED", "OPTIONS", "PARTS", "RENAMED", "REPEATED", "STORYBOARD", "TRAIN", "VIDEO",
    "Field", "Group", "Kind", "Rule", "called", "check", "from_recipe", "in_recipe", "json_schema", "naming",
    "of_command", "renewed",
]  # fmt: skip

BY_NAME: dict[str, Field] = {field.name: field for field in FIELDS}
NOT_TYPED = ("noise", "prompt_embeds", "negative_prompt_embeds", "max_sequence_length")
"""Fields of Request that only Python can give: tensors, and what goes with them."""

RENAMED = {"hold_colour": "color_match", "sound": "audio", "sound_seconds": "audio_seconds"}
"""Entries of older recipes, and what they are called now; also within what they say of inputs and files."""
_WITHIN = ("inputs", "files")


def of_command(command: str) -> tuple[Field, ...]:
    """The fields that a command takes, by group."""
    groups = list(GROUPS)
    here = [field for field in FIELDS if command in field.commands]
    return tuple(sorted(here, key=lambda field: groups.index(field.group)))


def in_recipe() -> tuple[Field, ...]:
    """The fields that a recipe says and `--from` reads back."""
    return tuple(field for field in FIELDS if "recipe" in field.where)


def renewed(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe of any version by the names of today; an entry that has both names keeps today's."""
    said = {
        RENAMED.get(name, name): value for name, value in recipe.items() if RENAMED.get(name) not in recipe
    }
    return said | {name: renewed(said[name]) for name in _WITHIN if isinstance(said.get(name), dict)}


def from_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that a recipe says, by their names in Request; those of older recipes, too."""
    said = renewed(recipe)
    return {field.of: said[field.name] for field in in_recipe() if said.get(field.name) is not None}


def check(name: str, value: Any, called: str = "") -> Any:
    """Return a value that keeps its field's rule. Raises OptionError that names the field, as it is `called` where it
    was said, the rule and the value.
    """
    field = BY_NAME[name]
    if field.rule is None or value is None:
        return value
    hint = f"; {field.rule.hint}" if field.rule.hint else ""
    if field.kind == "integer":
        if isinstance(value, bool) or not isinstance(value, int) or not field.rule.holds(value):
            raise OptionError(f"{called or name} must be {field.rule.says}, not {value!r}{hint}")
        return value
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise OptionError(f"{called or name} must be a number, not {value!r}")
    if not field.rule.holds(float(value)):
        raise OptionError(f"{called or name} must be {field.rule.says}, not {value}{hint}")
    return value


def json_schema() -> dict[str, Any]:
    """A JSON schema of what the server and the studio take: an object with a property for every field said there."""
    properties = {field.name: _property(field) for field in FIELDS if "http" in field.where}
    return {"type": "object", "additionalProperties": False, "required": ["prompt"], "properties": properties}


def _property(field: Field) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "number"} | _bounds(field)
    shapes: dict[Kind, dict[str, Any]] = {
        "text": {"type": "string"},
        "file": {"type": "string"},
        "integer": {"type": "integer"} | _bounds(field),
        "number": number,
        "flag": {"type": "boolean"},
        "size": {
            "type": "array",
            "items": {"type": "integer", **_bounds(field)},
            "minItems": 2,
            "maxItems": 2,
        },
        "expert_pair": {"anyOf": [number, {"type": "array", "items": number, "minItems": 2, "maxItems": 2}]},
        "interval": {"type": "array", "items": number, "minItems": 2, "maxItems": 2},
        "numbers": {"type": "array", "items": number},
        "lora": {"type": "array", "items": {"type": "string"}},
        "terms": {"type": "array", "items": {"type": "string"}},
    }
    shape = {**shapes[field.kind], "description": field.help, "group": field.group}
    if field.choices in CHOICES:
        shape["enum"] = list(CHOICES[field.choices])
    if field.default is not None:
        shape["default"] = field.default
    return shape


def _bounds(field: Field) -> dict[str, Any]:
    """The rule of a field: of its number, or of each of its numbers."""
    if field.rule is None:
        return {}
    bounds = {
        "exclusiveMinimum" if field.rule.open_low else "minimum": field.rule.low,
        "maximum": field.rule.high,
    }
    return {name: bound for name, bound in bounds.items() if math.isfinite(bound)}
