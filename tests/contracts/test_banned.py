"""Packages that must never come in: their PyPI wheels break a CPU build of torch, and transformers with it."""

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
BANNED = {"torchvision", "torchaudio", "torchcodec"}
CODE = ("wan22", "tests", "tools", "bench", "docs")


def canonical(requirement):
    """The name of a requirement, as PEP 503 writes it."""
    return re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0].lower().replace("_", "-")


def test_no_requirement_names_them():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        project["project"]["dependencies"],
        project["build-system"]["requires"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
        (ROOT / "constraints.txt").read_text().splitlines(),
    ]
    assert not BANNED & {canonical(requirement) for requirements in lists for requirement in requirements}


def test_no_file_imports_them():
    found = []
    for file in (file for folder in CODE for file in (ROOT / folder).rglob("*.py")):
        text = file.read_text()
        if not any(name in text for name in BANNED):  # to parse every file takes seconds
            continue
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{file}:{node.lineno}" for name in names if name.partition(".")[0] in BANNED]
    assert not found


def test_this_environment_does_not_have_them():
    installed = {canonical(package.metadata["Name"]) for package in importlib.metadata.distributions()}
    assert "torch" in installed and not BANNED & installed
