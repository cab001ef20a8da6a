"""One process at a time in a folder: a small file that names who works there, made so that only one can make it.

`filelock` knows when its process is gone, so that what a killed one left is taken over. An operating system's own lock
(flock) would be simpler, but shared disks often lack it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLock, Timeout

from wan22.errors import OutputError


@contextmanager
def locked(path: Path, work: str) -> Generator[None]:
    """Hold the lock `path` meanwhile; `work` says what its holder does, as in "encodes clips into cache".

    Raises OutputError if another process holds it, naming that, or if the folder cannot be written.
    """
    lock = SoftFileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"process {lock.pid} {work}; wait for its end, or end it. If there is no such process, remove {path}. "
            f"{error}"
        ) from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
