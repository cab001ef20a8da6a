"""The table of fields is what the request, the command line, recipes and the server say: none has one of its own."""

import dataclasses
import math
from typing import get_args

import pytest

from wan22 import fields
from wan22.catalog import VARIANTS
from wan22.cli.app import program
from wan22.errors import OptionError, RequestError
from wan22.request import resolve
from wan22.types import Request

COMMANDS = program().commands
OF_A_COMMAND = {
    "storyboard": {"script", "output", "plan", "retry", "from_stills", "still_model", "join", "film"},
    "decode": {"latents"},
}


def test_the_table_has_every_field_of_a_request_and_no_other():
    named = {field.of for field in fields.FIELDS if field.of}
    assert named | set(fields.NOT_TYPED) == {field.name for field in dataclasses.fields(Request)}


def test_a_default_in_the_table_is_that_of_the_request():
    own = {field.name: field.default for field in dataclasses.fields(Request)}
    for field in fields.FIELDS:
        if field.of and field.name != "prompt":
            assert field.default == own[field.of], field.name


@pytest.mark.parametrize("command", ["generate", "image", "storyboard", "decode"])
def test_a_command_takes_what_the_table_lists_for_it(command):
    older = {f"old_{alias.replace('-', '_')}" for field in fields.FIELDS for alias in field.aliases}
    found = {parameter.name for parameter in COMMANDS[command].params} - {"help"} - older
    assert found - OF_A_COMMAND.get(command, set()) == {field.name for field in fields.of_command(command)}


def test_a_recipe_says_the_fields_that_from_reads_back():
    names = {field.name for field in fields.in_recipe()}
    said = dict.fromkeys(names, 1)
    assert fields.from_recipe(said) == {field.of: 1 for field in fields.in_recipe()}
    assert not fields.from_recipe(
        {"canvas": {}, "output": "/elsewhere", "device": "cuda", "image": "/private"}
    )


def test_a_recipe_of_an_earlier_version_is_read():
    assert fields.from_recipe({"hold_colour": 0.5}) == {fields.BY_NAME["color_match"].of: 0.5}


def test_no_file_or_address_is_read_from_a_recipe():
    for field in fields.in_recipe():
        assert field.kind != "file" and field.group not in ("Where", "Memory"), field.name


def test_the_schema_has_what_the_server_may_be_asked_and_no_place_on_its_disk():
    properties = fields.json_schema()["properties"]
    assert set(properties) == {field.name for field in fields.FIELDS if "http" in field.where}
    assert not {"output", "overwrite", "source", "json", "restart", "calibrate"} & set(properties)
    assert not {*fields.PARTS, *fields.OPTIONS} & set(properties)  # the operator's to say
    assert properties["strength"]["exclusiveMinimum"] == 0 and properties["strength"]["maximum"] == 1


def test_names_of_options_are_said_once():
    names = [name for field in fields.FIELDS for name in (field.option[2:], *field.aliases, *field.foreign)]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("strength", 0), ("strength", 1.5), ("seed", -1), ("seed", True), ("color_match", "much"), ("count", 0)],
)
def test_a_rule_refuses_by_name_and_value(name, value):
    with pytest.raises(OptionError, match=f"{name} must be .*not {value!r}"):
        fields.check(name, value)


# Bounds and choices: the table and what reads the values agree


HIGHER, LOWER = {"integer": 1, "number": 1e-3, "expert_pair": 1e-3, "interval": 1e-3, "size": 1}, 1e-6
BOUNDED = [field for field in fields.FIELDS if field.of and field.rule is not None]
NEEDS = {"strength": "a video", "clips": "audio", "carried": "a driving video"}
"""What fields are of that a request for text to video can't have: only what is refused is looked at."""


def asked(field, number):
    value = int(number) if field.kind in ("integer", "size") else number
    if field.kind == "interval":  # the other end is the furthest
        value = (value, 1.0) if value <= 0 else (0.0, value)
    values = {field.of: (value, 64) if field.kind == "size" else value}
    return resolve(Request(prompt="a ball", **values), VARIANTS["t2v-A14B"])


@pytest.mark.parametrize("field", BOUNDED, ids=lambda field: field.name)
def test_what_lies_outside_of_a_rule_is_refused(field):
    step = HIGHER[field.kind]
    outside = [] if math.isinf(field.rule.high) else [field.rule.high + step]
    outside += (
        [] if field.name == "size" else [field.rule.low if field.rule.open_low else field.rule.low - step]
    )
    for number in outside:
        with pytest.raises(RequestError, match=field.name.split("_")[0] if field.name != "size" else "width"):
            asked(field, number)


@pytest.mark.parametrize(
    "field", [field for field in BOUNDED if field.name not in NEEDS], ids=lambda field: field.name
)
def test_what_lies_inside_of_a_rule_is_taken(field):
    low = field.rule.low + LOWER if field.rule.open_low else field.rule.low
    inside = [low] if field.name not in ("size", "shift") else [64.0 if field.name == "size" else low]
    inside += [] if math.isinf(field.rule.high) else [field.rule.high]
    for number in inside:
        assert asked(field, number)


def test_every_number_of_a_request_has_its_rule():
    without = {
        field.name for field in fields.FIELDS
        if field.of and field.kind in ("integer", "number", "expert_pair", "interval", "size") and field.rule is None
    }  # fmt: skip
    assert without == {"switch_step"}  # up to the number of steps


def test_choices_are_those_that_are_read():
    from wan22.media.encoding import CODECS, QUALITIES
    from wan22.memory.device import VAE_DTYPES
    from wan22.memory.precision import QUANTIZE
    from wan22.memory.scheme import CHOICES
    from wan22.ops.attention import attention_names
    from wan22.production.options import TASKS
    from wan22.types import ScheduleName, Solver

    assert fields.CHOICES["solver"] == get_args(Solver)
    assert fields.CHOICES["schedule"] == get_args(ScheduleName)
    assert fields.CHOICES["task"] == TASKS and fields.CHOICES["quality"] == QUALITIES
    assert set(fields.CHOICES["codec"]) == set(CODECS)
    assert fields.CHOICES["memory"] == CHOICES
    assert fields.CHOICES["quantize"] == QUANTIZE
    assert fields.CHOICES["vae_dtype"] == VAE_DTYPES
    assert fields.CHOICES["attention"] == attention_names()


def test_the_schema_says_bounds_and_choices():
    properties = fields.json_schema()["properties"]
    assert properties["steps"] | {"minimum": 1, "maximum": 1000} == properties["steps"]
    assert properties["size"]["items"]["maximum"] == 8192 and properties["solver"]["enum"][0] == "unipc"
    assert properties["guidance"]["anyOf"][1]["items"]["maximum"] == 100
    for name, shape in properties.items():
        assert shape["description"] and shape["group"], name
