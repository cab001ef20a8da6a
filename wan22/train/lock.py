"""One process at a time in a folder: a small file that names who works there, made so that only one can make it.

`filelock` knows when its process is gone, so that what a killed one left is taken over. An operating system's own lock
(flock) would be simpler, but shared disks often lack it.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLock, Timeout

from wan22.errors import OutputError

_NAMED_WITHIN = 2.0  # seconds; who takes a lock makes its file first and writes its name into it then


@contextmanager
def locked(path: Path, work: str) -> Generator[None]:
    """Hold the lock `path` meanwhile; `work` says what its holder does, as in "encodes clips into cache".

    Raises OutputError if another process holds it, naming that, or if the folder cannot be written.
    """
    lock = SoftFileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock)
    except Timeout as error:
        if (pid := lock.pid) is None:
            raise OutputError(
                f"another process {work}, it seems: {path} is there and names none. Wait for its end; if no process "
                "does (one that was killed as it began leaves this), remove that file"
            ) from error
        raise OutputError(
            f"process {pid} {work}; wait for its end, or end it. If there is no such process, remove {path}. {error}"
        ) from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: SoftFileLock) -> None:
    """Take the lock, or raise Timeout; a holder that has only just begun is given the time to write who it is."""
    until = time.monotonic() + _NAMED_WITHIN
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            if lock.pid is not None or time.monotonic() > until:
                raise
        time.sleep(0.05)
