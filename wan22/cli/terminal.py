"""The streams and signals of a terminal as a command finds them: closed, full, in ASCII, interrupted twice.

It knows no command. Everything here must work before anything else is imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

CANCELLED = 130
"""The exit code after Ctrl-C."""


def prepare() -> None:
    """Make printing safe: letters that a stream cannot write are escaped, and a closed stream takes nothing.

    In a locale whose file names are ASCII the command begins again in Python's UTF-8 mode: prompts and names of files
    in other scripts would else be no text.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: `>&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def end_on_interrupt() -> None:
    """Let Ctrl-C end the program at once, with a word and no traceback: before a command begins, and after it.

    A shell that starts a program in the background lets it ignore Ctrl-C; that stays.
    """
    _handle(_end)


def raise_on_interrupt() -> None:
    """Let the first Ctrl-C be a KeyboardInterrupt, by which a command cleans up, and a second one end at once."""
    _handle(_raise)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    with contextlib.suppress(ValueError):  # not in the main thread
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, handler)


def _end(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"cancelled\n")
    os._exit(CANCELLED)


def _raise(number: int, frame: FrameType | None) -> None:
    end_on_interrupt()
    raise KeyboardInterrupt


def interrupted() -> None:
    """Take no further Ctrl-C: what is left is to say so and to end."""
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def say(message: str) -> None:
    """Print a line on stderr; where nothing can be written, nothing is."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def silence() -> None:
    """Let what is still to be printed go nowhere, so that Python does not complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def keep_traceback(text: str) -> Path | None:
    """Write the traceback of a defect where a user can find it; None if it cannot be written."""
    from platformdirs import user_cache_path

    path = user_cache_path("wan22") / "defect.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", "backslashreplace")
    except OSError:
        return None
    return path
