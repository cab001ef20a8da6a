"""The table of fields is what the request, the command line, recipes and the server say: none has one of its own."""

import dataclasses

import pytest

from wan22 import fields
from wan22.cli.app import app
from wan22.errors import OptionError
from wan22.types import Request

import typer  # isort: skip

COMMANDS = typer.main.get_command(app).commands
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
    assert not {"output", "overwrite", "source", "json", "restart"} & set(properties)
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
