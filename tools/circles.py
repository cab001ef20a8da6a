"""Find circles of imports between the files of wan22: exits 1 and names them.

Imports inside functions count; those under `if TYPE_CHECKING` do not.

    python tools/circles.py
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "wan22"


def modules(root: Path) -> dict[str, Path]:
    """Every file of the package by its module's name."""
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted((root / PACKAGE).rglob("*.py"))
    }


def imported(tree: ast.AST) -> Iterator[str]:
    """Names that a file imports at run time, in any place; of `from a.b import c`, `a.b.c`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imported(ast.Module(node.orelse, []))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imported(node)


def edges(root: Path) -> dict[str, set[str]]:
    """For each module the modules that it imports. A package's own file counts if a name is taken from it."""
    known = modules(root)
    graph: dict[str, set[str]] = {}
    for module, file in known.items():
        names = set(imported(ast.parse(file.read_text("utf-8"))))
        found = {name if name in known else name.rpartition(".")[0] for name in names}
        graph[module] = {name for name in found if name in known} - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Circles, each as its modules in order; one at a time is cut, until none is left."""
    graph = {module: set(others) for module, others in graph.items()}
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1][::-1]  # from each module to one that it imports
            found.append(circle)
            graph[circle[0]].discard(circle[1])
        else:
            return found


if __name__ == "__main__":
    there = circles(edges(ROOT))
    for circle in there:
        print("circle of imports:", " -> ".join(circle), file=sys.stderr)
    sys.exit(1 if there else 0)
