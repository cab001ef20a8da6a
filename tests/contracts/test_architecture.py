"""docs/architecture.md names every module of the top and every package, and no path that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "wan22"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATH = re.compile(r"(?<![\w./])[\w.]+(?:/[\w.]+)*(?:\.(?:py|toml)\b|/)(?![\w.])")


def top() -> set[str]:
    """`engine.py`, `weights/`: what lies directly in the package."""
    return {
        f"{path.name}/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_")
    }


def named(line: str) -> list[tuple[str, bool]]:
    """Every path of a line, and whether it is there: in the package, in the repository, or in the package that the
    row of a table begins with.
    """
    begins = re.match(r"\| `([\w/]+/)` \|", line)
    places = [PACKAGE, ROOT, *([PACKAGE / begins[1]] if begins else [])]
    return [(path, any((place / path).exists() for place in places)) for path in PATH.findall(line)]


def paths(text: str) -> list[tuple[str, bool]]:
    place, found = "", []
    for line in text.splitlines():
        if heading := re.fullmatch(r"In `([\w/]+/)`:", line):
            place = heading[1]
        elif line.startswith("## "):
            place = ""
        found += [
            (path, there or (place != "" and (PACKAGE / place / path).exists()))
            for path, there in named(line)
        ]
    return found


def test_every_module_and_package_of_the_top_is_named():
    assert top() - {path for path, _ in paths(PAGE)} == set()


def test_no_path_is_named_that_is_not_there():
    assert [path for path, there in paths(PAGE) if not there] == []
    assert len(paths(PAGE)) > 100


def test_a_path_that_is_not_there_is_found():
    assert paths("| `cli/` | `nobody.py` · `app.py` |") == [
        ("cli/", True),
        ("nobody.py", False),
        ("app.py", True),
    ]
