"""The streams and signals of a terminal as a command finds them: closed, full, in ASCII, interrupted twice.

It knows no command. Everything here must work before anything else is imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path


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
