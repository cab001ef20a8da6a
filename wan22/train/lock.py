"""One process at a time: a small file that says who works in a folder, made so that only one can make it.

`os.open` with O_EXCL makes a file or fails, on every system and on most shared disks. The file names host, process and
the moment that the process began, so that what a killed process left is known for it and taken over.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from wan22.errors import OutputError

_SLACK = 60.0
"""Seconds by which the beginning of a process may seem to move when a clock is set; no number comes again so soon."""

_YOUNG = 10.0
"""Seconds in which a file that says nothing yet is believed to be being written."""


@contextmanager
def locked(path: Path, work: str) -> Generator[None]:
    """Hold the lock `path` meanwhile; `work` says what its holder does, as in "encodes clips into cache".

    Raises OutputError if another process holds it, naming that, or if the folder cannot be written.
    """
    token = secrets.token_hex(8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not _made(path, token, work):
            _take_over(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        if _read(path).get("token") == token:
            path.unlink(missing_ok=True)


def _made(path: Path, token: str, work: str) -> bool:
    pid = os.getpid()
    says = {
        "host": socket.gethostname(),
        "pid": pid,
        "began": psutil.Process(pid).create_time(),
        "work": work,
        "token": token,
    }
    return _created(path, json.dumps(says))


def _created(path: Path, content: str) -> bool:
    """Make a file, unless it is there."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    return True


def _take_over(path: Path) -> None:
    """Remove a lock whose holder is gone. Raises OutputError if it is not.

    Only who made the guard beside it may, so that of several processes that find a lock of a killed one none removes
    what another has made in its place.
    """
    guard = path.with_name(f".{path.name}.guard")
    if not _created(guard, ""):
        if _age(guard) > _YOUNG:
            guard.unlink(missing_ok=True)  # of a process that was killed in these very lines
        time.sleep(0.02)
        return
    try:
        if reason := _alive(path, _read(path)):
            raise OutputError(reason)
        path.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)


def _alive(path: Path, found: dict[str, Any]) -> str:
    """Why a lock must be believed, or nothing if its holder is gone."""
    if not found:
        young = path.exists() and _age(path) < _YOUNG
        return f"another process begins to work in {path.parent}; wait for it" if young else ""
    who = f"process {found.get('pid')} on {found.get('host')}"
    if found.get("host") != socket.gethostname():
        return (
            f"{who} {found.get('work')}, says {path}; wait for its end. If it is gone, remove that file: processes of "
            "another host cannot be seen from here"
        )
    try:
        pid, said = int(found["pid"]), float(found["began"])
        began = psutil.Process(pid).create_time()
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return ""
    except psutil.AccessDenied:
        began = said
    if abs(began - said) > _SLACK:
        return ""  # the number was given again, to a process that has nothing to do with it
    return f"{who} {found.get('work')}; wait for its end, or end it"


def _age(path: Path) -> float:
    """Seconds since a file was written; 0 if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(path: Path) -> dict[str, Any]:
    """What a lock says; nothing if it is not there, or not written yet."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
