"""tools/circles.py: a circle of imports is found and named; what only a type checker imports is none."""

import runpy
from itertools import pairwise
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "circles.py"


@pytest.fixture
def found(tmp_path):
    tool = runpy.run_path(str(TOOL), run_name="circles")

    def find(**files):
        for name, text in files.items():
            path = tmp_path / "wan22" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tool["circles"](tool["edges"](tmp_path))

    return find


def test_a_circle_is_named_in_the_order_of_its_imports(found):
    (circle,) = found(
        a="from wan22.b import x",
        b="import wan22.c",
        c="def later():\n    from wan22 import a\n",
        d="import os",
    )
    assert circle[0] == circle[-1] and len(circle) == 4
    assert {*pairwise(circle)} == {
        ("wan22.a", "wan22.b"), ("wan22.b", "wan22.c"), ("wan22.c", "wan22.a"),
    }  # fmt: skip


def test_two_circles_are_two(found):
    assert len(found(a="import wan22.b", b="import wan22.a", c="import wan22.d", d="import wan22.c")) == 2


def test_what_only_a_type_checker_imports_is_none(found):
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from wan22.a import x\n"
    assert found(a="from wan22.b import y", b=guarded) == []
    assert found(a="from wan22.b import y", b=f"{guarded}else:\n    from wan22 import a\n") != []


def test_a_name_out_of_a_package_is_its_own_file(found):
    files = {"p/__init__": "from wan22.p.one import x", "p/one": "from wan22.p import two", "p/two": ""}
    assert found(**files) == []  # `two` is a file: nothing is taken from the package itself
    assert len(found(**files | {"p/one": "from wan22.p import y"})) == 1


def test_this_package_has_none():
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert end.value.code == 0
