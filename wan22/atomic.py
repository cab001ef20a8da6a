"""Write, then rename: the one way in which files and folders of results come to their names.

    written          a file: the old one or the complete new one at every moment
    temporary_file   a file on its way, for `put`, which gives it its name
    write_text       the same for a text; write_copy for a copy of a file
    written_folder   a folder that appears whole, by one rename
    temporary_folder a folder for half-made files, which vanishes
    swept            what processes that are dead left half-written in a folder is removed

What is half-written has a hidden name that says whose it is: .NAME.HOST-PID-START-RANDOM.part. It belongs to a process
that is alive, or is swept away by the next writer in that folder.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from wan22.errors import OutputError

__all__ = [
    "boot",
    "owner",
    "put",
    "swept",
    "sync",
    "temporary_file",
    "temporary_folder",
    "temporary_name",
    "write_copy",
    "write_text",
    "written",
    "written_folder",
]

_ENDING = re.compile(
    r"\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-(?P<start>[0-9a-f]{6})-[0-9a-f]{8}\.(?P<kind>part|old)"
)
_FORMER_ENDING = re.compile(r"\.[0-9a-f]{8}\.part")  # of earlier versions, which named no process
_NAME_BYTES = 200  # of the target's name within a temporary one; a name has 255 at most
_FOREIGN_AGE = 86_400.0  # seconds after which a half file whose process cannot be asked counts as left behind
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""What a file system says of a folder that cannot be brought to the disk by itself, or not be read."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)


def temporary_name(target: Path, kind: str = "part") -> Path:
    """Return an unused hidden name beside `target` that says which process it belongs to."""
    name = os.fsencode(target.name)[:_NAME_BYTES].decode("utf-8", "ignore")
    return target.with_name(f".{name}.{owner()}-{secrets.token_hex(4)}.{kind}")


def owner() -> str:
    """Return what names this process among all that ever ran: HOST-PID-START."""
    pid = os.getpid()
    return f"{_host()}-{pid}-{_start(pid)}"


@cache
def _host() -> str:
    """Return six digits for this machine, or the container, whose process numbers are its own."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return _short(platform.node() + space)


@cache
def boot() -> str:
    """Return what names this start of the machine; "" where the system has no name for it."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    return ""


def _start(pid: int) -> str | None:
    """Return six digits for the moment at which process `pid` began; None if there is none."""
    try:
        # Field 22 of proc(5) stat; the name before may hold spaces and brackets.
        return _short(boot() + Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        pass
    if Path("/proc/self").exists():
        return None
    import psutil

    try:
        return _short(str(psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return None


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _ending_of(name: str) -> re.Match[str] | None:
    """The end of a hidden name that this module gave; None for any other name."""
    found = (form.search(name) for form in (_ENDING, _FORMER_ENDING) if name.startswith("."))
    return next((match for match in found if match and match.end() == len(name)), None)


def _is_dead(path: Path, match: re.Match[str]) -> bool:
    if match.re is _FORMER_ENDING or match["host"] != _host():
        return time.time() - path.lstat().st_mtime > _FOREIGN_AGE
    return _start(int(match["pid"])) != match["start"]


def swept(folder: Path) -> list[Path]:
    """Remove what dead processes left half-written in `folder`; return what was removed.

    A folder that was about to be replaced, and whose replacement did not come, gets its name back.
    """
    removed = []
    with suppress(OSError):
        for entry in list(folder.iterdir()) if folder.is_dir() else ():
            match = _ending_of(entry.name)
            if match is None:
                continue
            with suppress(OSError):
                if not _is_dead(entry, match):
                    continue
                target = entry.with_name(entry.name[1 : match.start()])
                if entry.suffix == ".old" and not os.path.lexists(target):
                    entry.rename(target)
                    continue
                _remove(entry)
                removed.append(entry)
    return removed


@cache
def _sweep_once(folder: Path) -> None:
    """Sweep a folder the first time this process writes there; what dies later is for the next process."""
    swept(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def temporary_file(target: Path, part: Path | None = None) -> Generator[Path]:
    """Lend a hidden name beside `target` (`part`, if given), and remove what has it at the end.

    Raises OutputError if the system refuses something meanwhile.
    """
    target = Path(target)
    part = part or temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(target.parent.absolute())
        yield part
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # what went wrong has been said; this would be said in its place
            part.unlink(missing_ok=True)


def put(part: Path, target: Path, *, replace: bool = True) -> None:
    """Give the complete file `part` the name `target`. Raises FileExistsError unless it may `replace` what is there."""
    sync(part)
    if not replace:
        _take_name(part, target)
    if replace or part.exists():
        part.replace(target)
    sync(target.parent)


def _take_name(part: Path, target: Path) -> None:
    """Give `target` to `part`, or to an empty file that `part` may replace; FileExistsError if something has it."""
    try:
        os.link(part, target)
        part.unlink()
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


@contextmanager
def written(target: Path, part: Path | None = None, *, replace: bool = True) -> Generator[Path]:
    """Lend a hidden name beside `target` (`part`, if given); put it in place at the end, or remove it.

    The target is the old file or the complete new one at every moment, also across a power cut.
    Raises OutputError if the system refuses, or if something is there and it may not `replace` it.
    """
    target = Path(target)
    with temporary_file(target, part) as lent:
        yield lent
        try:
            put(lent, target, replace=replace)
        except FileExistsError as error:
            raise OutputError(f"{target} exists already. Choose another name.") from error


def write_text(target: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all. Raises OutputError if the system refuses."""
    with written(target) as part:
        part.write_text(text, encoding="utf-8")


def write_copy(target: Path, source: Path) -> None:
    """Copy a file's content, whole or not at all. Raises OutputError if the system refuses."""
    with written(target) as part:
        shutil.copyfile(source, part)


@contextmanager
def temporary_folder(target: Path) -> Generator[Path]:
    """Lend a new hidden folder beside `target`, and remove it at the end.

    Raises OutputError if the system refuses, and passes those of writers in it on with the target's name.
    """
    target = Path(target)
    part = temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(target.parent.absolute())
        part.mkdir()
        yield part
    except OutputError as error:
        if str(part) not in str(error):
            raise
        raise OutputError(str(error).replace(str(part), str(target))) from error
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def written_folder(target: Path, *, replace: Callable[[Path], bool] | None = None) -> Generator[Path]:
    """Lend a new hidden folder beside `target`; give it that name at the end, or remove it.

    With `replace`, a folder that is there goes: they change names at once, or, where the system cannot do that, the
    old one steps aside, and comes back with the next writer if the process ends between. Its entries of which `replace`
    is true are removed; others come into the new folder.
    Raises OutputError if the system refuses, or if something is there and may not go.
    """
    if replace is None and os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise OutputError(f"{target} exists already. Choose another name.")
    with temporary_folder(target) as part:
        yield part
        for entry in part.rglob("*"):
            sync(entry)
        sync(part)
        _put_folder(part, Path(target), replace)
        sync(Path(target).parent)


def _put_folder(part: Path, target: Path, replace: Callable[[Path], bool] | None) -> None:
    if replace is None or not target.is_dir() or not any(target.iterdir()):
        part.rename(target)  # an empty folder is replaced by the rename itself; another one refuses
        return
    old = temporary_name(target, "old")
    if _exchanged(part, target):
        part.rename(old)
    else:
        target.rename(old)
        try:
            part.rename(target)
        except BaseException:
            old.rename(target)
            raise
    for entry in list(old.iterdir()):
        if replace(entry):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        elif not os.path.lexists(target / entry.name):
            entry.rename(target / entry.name)
        else:
            entry.rename(temporary_name(target / entry.name, "kept"))
    old.rmdir()


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; False, and nothing is done, where the system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux 3.15, glibc 2.28
    if call is None:
        return False
    return call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def sync(path: Path) -> None:
    """Wait until a file or folder has reached the disk; a folder, where its file system can do that."""
    handle = -1
    try:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC or not path.is_dir():
            raise
    finally:
        if handle >= 0:
            os.close(handle)
