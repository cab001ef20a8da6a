"""Processes that look at strangers' files (checking.py): a few at once, each with little of the environment."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from anyio import CapacityLimiter, to_thread

from wan22.server.problems import Refusal

T = TypeVar("T")

_STATUS = {"media_type": 415, "media_size": 413, "media_damaged": 422, "option": 422}
_CODES = {
    "media_type": "unsupported_media_type", "media_size": "media_too_large", "media_damaged": "unreadable_media",
    "option": "invalid_request",
}  # fmt: skip
_CHECKS = threading.BoundedSemaphore(2)  # processes at once
_CHECK_SECONDS = 180.0
_KEPT_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SYSTEMROOT",
)
_WAITING: WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityLimiter] = WeakKeyDictionary()
_MOST_WAITING = 8


async def in_turn(function: Callable[[], T]) -> T:
    """Run what may wait for a check of a file in one of a few threads of its own; others are answered meanwhile."""
    limiter = _WAITING.setdefault(asyncio.get_running_loop(), CapacityLimiter(_MOST_WAITING))
    return await to_thread.run_sync(function, limiter=limiter)


def ask(
    task: str, path: Path, name: str, *, place: Path | None = None, which: str | None = None
) -> dict[str, Any]:
    """What came of a task with a file that people know as `name`.

    `place`: where its image goes, or the folder of several; `which` frame it is. Raises Refusal: 415 for what is no
    media, 413 for what is too large, 422 for damage and for what the file does not have.
    """
    command = [sys.executable, "-P", "-m", "wan22.server.checking", task, str(path)]
    command += [str(place)] if place is not None else []
    command += [which] if which is not None else []
    environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
    with _CHECKS:
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=_CHECK_SECONDS, stdin=subprocess.DEVNULL,
                env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Refusal(
                413, "media_too_large", f"{name} takes too long to read. Cut or scale it first."
            ) from None
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise Refusal(
            422, "unreadable_media", f"{name} ends the program that reads it. Export it again."
        ) from None
    found.pop("peak", None)
    if "error" in found:
        code = found["code"]
        raise Refusal(_STATUS[code], _CODES[code], found["error"].replace(str(path), name))
    return found
