"""The place of a worker in a data folder: one process of each name, and no process that outlives its supervisor."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from wan22 import atomic
from wan22.errors import OptionError, OutputError
from wan22.jobs.folder import Folder

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_WAIT = 2.0  # seconds in which a former process may end by itself
_LOOK = 0.05


class WorkerLock:
    """Held by the process that is the worker of that name; it is free when the process is gone, however it ended.

    take_over: a process that has it was left by a supervisor that died. It has two seconds to end, then it is killed.
    Raises OptionError if another process has it, or the name is none.
    """

    def __init__(self, folder: Folder, name: str, *, take_over: bool) -> None:
        if not _NAME.fullmatch(name):
            raise OptionError(f"a worker's name has 1 to 32 of a-z, 0-9 and -, such as gpu0; not {name!r}")
        self._path = folder.path / "workers" / f"{name}.lock"
        self._name, self._take_over = name, take_over
        self._handle = -1

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self._take()
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, atomic.owner().encode(), 0)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def _take(self) -> None:
        began, killed = time.monotonic(), False
        while not self._try():
            if not self._take_over:
                raise OptionError(
                    f"a worker called {self._name!r} works on this folder already. Name this one otherwise."
                )
            if time.monotonic() - began > _WAIT and not killed:
                killed = self._kill()
                if not killed:
                    raise OptionError(
                        f"a worker called {self._name!r} works on this folder on another machine or in another "
                        "container. Name this one otherwise."
                    )
            time.sleep(_LOOK)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _kill(self) -> bool:
        """Kill the process that holds the lock; False if its number is not one of this machine."""
        host, _, rest = os.pread(self._handle, 200, 0).decode("ascii", "replace").partition("-")
        if host != atomic.owner().partition("-")[0] or not rest.partition("-")[0].isdigit():
            return False
        with suppress(ProcessLookupError):
            os.kill(int(rest.partition("-")[0]), signal.SIGKILL)
        return True
