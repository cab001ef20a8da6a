"""Files that a command writes anew in a folder, told from a person's by a list of their hashes, `.wan22-files.json`.

Boards and reports have fixed names, and the same command again replaces them. What has such a name and is not as it was
written here is a person's, and stays. A folder that an earlier version wrote has no list, but a report by which it is
known: there nobody can tell what was changed since, so what has such a name gets another one, NAME-former, and stays.

Plots and numbers that go where a person says are told by what is in them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from PIL import Image

from wan22.atomic import put, temporary_file, written
from wan22.errors import OutputError
from wan22.files import read_json

__all__ = ["check_named", "check_own", "is_own", "is_plot", "written_own"]

_LIST = ".wan22-files.json"
_FORMER = "former/"  # before the names of what was there when an earlier version's folder got its list
_REPORTS = {
    "board.json": {"title", "model", "shots", "consistency"},
    "report.json": {"wan22", "plan", "buckets", "captions"},
    "curate.json": {"folder", "thresholds", "kept", "clips"},
    "eval.json": {"model", "recipe", "notes"},
    "recipe.json": {"model", "weights", "references", "extractors"},
}
"""Files by which a folder of ours is known, and keys that they have."""

_KEPT = 4  # hashes of a name: one is noted before its file comes, so a process that ends between loses none


def check_own(folder: Path, names: Iterable[str]) -> None:
    """Raise OutputError, before any work, if something in `folder` has one of the names and is not ours."""
    noted = _read(folder)
    for name in names:
        _check(folder / name, noted)


def is_own(path: Path) -> bool:
    """Whether a file is as `written_own` wrote it."""
    return _is_noted(path, path.name, _read(path.parent))


def check_named(path: Path, ours: Callable[[Path], bool], what: str) -> None:
    """Raise OutputError, before any work, if there is something at a path that a person named and it is not `ours`."""
    if os.path.lexists(path) and not (path.is_file() and not path.is_symlink() and ours(path)):
        raise OutputError(f"{path} exists and is no {what} of wan22. Choose another name, or move it.")


def is_plot(path: Path) -> bool:
    """Whether a file is a PNG that wan22 drew."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return str(image.info.get("Software", "")).startswith("wan22 ")
    except (OSError, ValueError, SyntaxError):  # Pillow's errors for what is no PNG
        return False


@contextmanager
def written_own(path: Path) -> Generator[Path]:
    """Lend a hidden name beside `path`; put it in place at the end, of nothing or of what we wrote before.

    Raises OutputError if something else is there, or if the system refuses.
    """
    with temporary_file(path) as part:
        yield part
        noted = _read(path.parent)
        _check(path, noted)
        _note(path, _digest(part), noted)
        if os.path.lexists(path) and not _is_noted(path, path.name, noted):
            _move_aside(path)
        put(part, path, replace=is_own(path))


def _is_noted(path: Path, name: str, noted: dict[str, list[str]]) -> bool:
    return path.is_file() and not path.is_symlink() and _digest(path) in noted.get(name, [])


def _check(path: Path, noted: dict[str, list[str]]) -> None:
    names = (path.name, f"{_FORMER}{path.name}")
    if os.path.lexists(path) and not any(_is_noted(path, name, noted) for name in names):
        raise OutputError(
            f"{path} would be replaced, which wan22 did not write, or which was changed since. Move it, or name "
            "another folder with -o."
        )


def _move_aside(path: Path) -> None:
    """Give what an earlier version wrote another name: board-former.html, board-former-2.html ..."""
    for number in count(1):
        name = f"{path.stem}-former{f'-{number}' if number > 1 else ''}{path.suffix}"
        with suppress(FileExistsError):
            put(path, path.with_name(name), replace=False)
            return


def _note(path: Path, digest: str, noted: dict[str, list[str]]) -> None:
    noted[path.name] = [*noted.get(path.name, []), digest][-_KEPT:]
    with written(path.parent / _LIST) as part:
        part.write_text(json.dumps(noted, indent=1) + "\n", "utf-8")


def _read(folder: Path) -> dict[str, list[str]]:
    place = folder / _LIST
    if not os.path.lexists(place):
        return _of_former_version(folder)
    noted = read_json(place, OutputError)
    if not isinstance(noted, dict) or not all(isinstance(each, list) for each in noted.values()):
        raise OutputError(f"{place} is no list of files of wan22. Move it, or name another folder with -o.")
    return noted


def _of_former_version(folder: Path) -> dict[str, list[str]]:
    """The list of a folder that an earlier version wrote: all files in it; of another folder, nothing."""
    if not any(_is_report(folder / name, keys) for name, keys in _REPORTS.items()):
        return {}
    files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    return {f"{_FORMER}{path.name}": [_digest(path)] for path in files}


def _is_report(path: Path, keys: set[str]) -> bool:
    try:
        return path.is_file() and keys <= read_json(path, OutputError).keys()
    except OutputError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
