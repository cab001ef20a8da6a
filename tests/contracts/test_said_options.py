"""An option that a text of the program names is an option of the program, under today's name."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from wan22.cli.app import program
from wan22.errors import OptionError
from wan22.fields import called, naming
from wan22.production.takes import check_takes

ROOT = Path(__file__).parents[2] / "wan22"
WORD = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*(?![\w-])")

OTHERS = {
    "media/say.py": {"--voices", "--stdin", "--stdout"},  # espeak-ng's
    "stage/voice.py": {"--voices", "--stdout"},  # espeak-ng's
    "pipeline/loading.py": {"--revision", "--cache-dir"},  # hf download's
    "parallel/places.py": {"--nproc-per-node"},  # torchrun's
    "fleet/cluster.py": {"--address", "--head"},  # ray start's
    "parallel/group.py": {"--master-port"},  # torchrun's
    "preprocess/installed.py": {
        "--no-deps",
        "--only-binary",
        "--platform",
        "--python-version",
        "--implementation",
        "--dest",
    },  # pip's
    "train/data/report.py": {"--line", "--soft"},  # colours of a style sheet
}
"""Words of other programs, and whose they are."""

PROGRAMS = ("nano", "stage", "jobs", "fleet")
"""Packages with programs of their own: `python -m wan22.nano`, `python -m wan22.jobs.worker`."""


def commands(group):
    for command in group.commands.values():
        yield command
        yield from commands(command) if getattr(command, "commands", None) else ()


def options():
    """The options of the command line by name, and whether each is hidden everywhere."""
    root = program()
    found = {"--help": False}
    for command in (root, *commands(root)):
        for parameter in command.params:
            for name in (*parameter.opts, *parameter.secondary_opts):
                found[name] = found.get(name, True) and getattr(parameter, "hidden", False)
    return found


@cache
def said(path):
    """Every string of a file that is no docstring and may name an option, with its line."""
    text = path.read_text()
    return [(line, value) for line, value in strings(text) if "--" in value] if "--" in text else []


def strings(text):
    """Every string of a program that is no docstring, with its line."""
    tree = ast.parse(text)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def programs():
    """The options of the other programs of the package, by the package that they are of."""
    found = {}
    for package in PROGRAMS:
        texts = [path.read_text() for path in (ROOT / package).rglob("*.py")]
        found[package] = {
            name for text in texts for name in re.findall(r'add_argument\(\s*"(--[\w-]+)"', text)
        }
    return found


def unknown(text, known):
    return [word for word in WORD.findall(text) if word not in known]


def test_an_option_that_is_named_is_there():
    known, more = options(), programs()
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT).as_posix()
        allowed = {*known} | OTHERS.get(place, set()) | more.get(place.split("/")[0], set())
        for line, text in said(path):
            assert not unknown(text, allowed), f"{place}:{line} names an option that is none: {text}"


def test_former_names_are_not_recommended():
    former = {name for name, hidden in options().items() if hidden}
    assert {"--afresh", "--hold-colour", "--film"} <= former
    for path in ROOT.rglob("*.py"):
        for line, text in said(path):
            if text not in former:  # where it is defined, or said to be renamed
                assert not former & set(WORD.findall(text)), f"{path}:{line}: {text}"


def test_the_list_of_others_is_needed():
    for place, words in OTHERS.items():
        texts = [text for _, text in said(ROOT / place)]
        assert words <= {word for text in texts for word in WORD.findall(text)}, place


def test_what_makes_files_knows_no_terminal():
    """It calls fields as its caller does (`fields.called`), so that a server can say them in its own words."""
    allowed = {"--model", "--"}  # words of a command that is shown to be typed
    for path in (ROOT / "production").rglob("*.py"):
        for line, text in said(path):
            assert text in allowed or not WORD.findall(text), f"{path}:{line}: {text}"


def test_a_field_is_called_as_its_reader_calls_it():
    assert [called(name) for name in ("last_image", "source", "best_of")] == [
        "--last-image", "--from", "--best-of",
    ]  # fmt: skip
    with naming(lambda field: field.name):
        assert called("last_image") == "last_image"
        with pytest.raises(OptionError, match="best_of compares takes: give 2 or more, not 1"):
            check_takes(1, 1, "a ball")
    assert called("last_image") == "--last-image"


def test_the_rule_finds_a_word_that_is_no_option():
    assert unknown("give another --output, or --anew", options()) == ["--anew"]
