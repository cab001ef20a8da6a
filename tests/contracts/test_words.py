"""Public names are the field's words: none is one of the project's own former words."""

import ast
import inspect
import re
from dataclasses import fields as parts_of
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import wan22
import wan22.errors
import wan22.types
from wan22 import fields
from wan22.cli.app import program
from wan22.train.evaluation.recipe import EvalRecipe
from wan22.train.recipe import Recipe

ROOT = Path(__file__).parents[2] / "wan22"
FORMER = re.compile(
    r"(?<![a-z])(films?|pictures?|sounds?|hear|hears|heard|hearing|ear|tell|tells|told|worn|wish|wishes|hush|obeys?|"
    r"obeyed|obedience|afresh|seers?|crew|shoot|sniff|settle)(?![a-z])"
)
ALIASES = {"--afresh", "--film", "--hold-colour"}
"""Hidden options, kept for one release."""
HIDDEN = {"eval(afresh)", "storyboard(film)"}
"""The parameters behind them."""


def former(names) -> list[str]:
    """The names that have a former word as one of their words."""
    apart = {name: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in names}
    return [name for name, words in apart.items() if FORMER.search(words.replace("film set", ""))]


def modules() -> list[Path]:
    return [path for path in ROOT.rglob("*.py") if not any(part.startswith("_") for part in path.parts[:-1])]


def test_the_rule_finds_a_former_word():
    assert former(["FilmChain", "encode_sound", "heard", "--afresh"]) and not former(
        ["filmset", "heart", "early"]
    )


def test_no_module_is_named_by_a_former_word():
    assert not former(path.relative_to(ROOT).with_suffix("").as_posix() for path in modules())


def test_no_exported_name_has_a_former_word():
    exported = list(wan22.__all__)
    for path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                exported += ast.literal_eval(node.value)
    assert len(exported) > len(wan22.__all__) and not former(exported)


def definitions(body, prefix="") -> list[str]:
    """Public functions, their parameters, classes, their fields and methods, and constants of a module."""
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if node.name.startswith("_") and node.name != "__init__":
                continue
            found.append(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                found += definitions(node.body, f"{node.name}.")
            else:
                found += [f"{node.name}({each.arg})" for each in [*node.args.args, *node.args.kwonlyargs]]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [
                prefix + each.id for each in targets if isinstance(each, ast.Name) and each.id[0] != "_"
            ]
    return found


def test_no_public_definition_has_a_former_word():
    found = {path: former(definitions(ast.parse(path.read_text()).body)) for path in modules()}
    assert len(found) > 100
    assert {str(path): wrong for path, names in found.items() if (wrong := set(names) - HIDDEN)} == {}


def test_no_option_or_help_has_a_former_word():
    found = []
    for name, command in program().commands.items():
        found += [name, command.help or ""]
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                found += [*parameter.opts, *parameter.secondary_opts, parameter.help or ""]
            else:
                assert set(parameter.opts) <= ALIASES, parameter.opts
    assert not former(found)


def test_no_field_has_a_former_word():
    assert not former(word for field in fields.FIELDS for word in (field.name, field.of, field.help))


def keys(kind) -> list[str]:
    """The keys of a recipe, of its sections too."""
    found = []
    for part in parts_of(kind):
        found.append(part.name)
        if is_dataclass(part.type):
            found += keys(part.type)
    return found


def test_no_key_of_a_recipe_has_a_former_word():
    found = [*keys(Recipe), *keys(EvalRecipe)]
    assert "steps" in found and not former(found)


PAGES = [ROOT.parent / "README.md", *sorted((ROOT.parent / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_document_has_a_former_word(page):
    prose = " ".join(re.sub(r"`[^`]*`", "", page.read_text()).split())
    assert not re.findall(FORMER, prose.lower().replace("film set", ""))


def docstrings() -> dict[str, str]:
    """The docstrings of what `wan22` exports, of its public methods, and of the values that travel."""
    things = [getattr(wan22, name) for name in wan22.__all__ if name != "__version__"]
    for module in (wan22.types, wan22.errors):
        things += [
            each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
        ]
    found = {}
    for thing in things:
        found[thing.__name__] = inspect.getdoc(thing) or ""
        for name, method in inspect.getmembers(thing) if inspect.isclass(thing) else []:
            ours = inspect.isfunction(method) or inspect.ismethod(method) or isinstance(method, property)
            if ours and (name == "__call__" or not name.startswith("_")):
                found[f"{thing.__name__}.{name}"] = inspect.getdoc(method) or ""
    return found


def test_public_docstrings_are_there_and_have_no_former_word():
    found = docstrings()
    assert len(found) > 80
    assert [name for name, text in found.items() if not text or FORMER.search(text.lower())] == []
