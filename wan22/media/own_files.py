"""Files that a command writes anew in a folder, told from a person's by a list of their hashes, `.wan22-files.json`.

Boards and reports have fixed names, and the same command again replaces them. What has such a name and is not as it was
written here is a person's, and stays.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from wan22.atomic import put, temporary_file, written
from wan22.errors import OutputError
from wan22.files import read_json

_LIST = ".wan22-files.json"
_KEPT = 4  # hashes of a name: one is noted before its file comes, so a process that ends between loses none


def check_own(folder: Path, names: Iterable[str]) -> None:
    """Raise OutputError, before any work, if something in `folder` has one of the names and is not ours."""
    for name in names:
        _check(folder / name)


def is_own(path: Path) -> bool:
    """Whether a file is as `written_own` wrote it."""
    return path.is_file() and not path.is_symlink() and _digest(path) in _read(path.parent).get(path.name, [])


@contextmanager
def written_own(path: Path) -> Generator[Path]:
    """Lend a hidden name beside `path`; put it in place at the end, of nothing or of what we wrote before.

    Raises OutputError if something else is there, or if the system refuses.
    """
    with temporary_file(path) as part:
        yield part
        _check(path)
        _note(path, _digest(part))
        put(part, path, replace=is_own(path))


def _check(path: Path) -> None:
    if os.path.lexists(path) and not is_own(path):
        raise OutputError(
            f"{path} would be replaced, which wan22 did not write, or which was changed since. Move it, or name "
            "another folder with -o."
        )


def _note(path: Path, digest: str) -> None:
    noted = _read(path.parent)
    noted[path.name] = [*noted.get(path.name, []), digest][-_KEPT:]
    with written(path.parent / _LIST) as part:
        part.write_text(json.dumps(noted, indent=1) + "\n", "utf-8")


def _read(folder: Path) -> dict[str, list[str]]:
    place = folder / _LIST
    if not os.path.lexists(place):
        return {}
    noted = read_json(place, OutputError)
    if not isinstance(noted, dict) or not all(isinstance(each, list) for each in noted.values()):
        raise OutputError(f"{place} is no list of files of wan22. Move it, or name another folder with -o.")
    return noted


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
