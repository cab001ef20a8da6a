"""The entry of `wan22` and `python -m wan22.cli`: runs a command; what went wrong is one line and an exit code.

0 done · 1 decoding, a check or a shot failed, or a defect of ours · 2 what was asked cannot be · 130 cancelled
"""

import errno
import json
import os
import re
import signal
import sys
import traceback
from types import FrameType

from wan22.cli import terminal
from wan22.cli.terminal import CANCELLED
from wan22.errors import Cancelled, DecodeError, JobError, Wan22Error, out_of_memory

_NO_WAY_OUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)
_NO_PLACE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` without the program's name, sys.argv by default."""
    if arguments is None:
        return _as_program(sys.argv[1:])
    try:
        code = _run(arguments or ["--help"])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `wan22 models | head`: the reader has seen enough
        terminal.silence()
        return 0
    except Exception as error:
        if os.environ.get("WAN22_DEBUG") == "1":
            raise
        message, code = _explain(error, arguments)
    except KeyboardInterrupt:
        terminal.interrupted()
        message, code = "cancelled", CANCELLED
    terminal.say(message if code == CANCELLED else f"error: {message}")
    try:
        if "--json" in arguments:
            print(json.dumps({"event": "error", "message": message, "code": code}))
        sys.stdout.flush()
    except OSError:
        terminal.silence()
    return code


def _as_program(arguments: list[str]) -> int:
    """As `main`, of a process that is nothing else."""
    terminal.end_on_interrupt()
    terminal.prepare()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        terminal.raise_on_interrupt()
        return main(arguments)
    except KeyboardInterrupt:  # while an error was being told
        terminal.say("cancelled")
        return CANCELLED
    finally:
        terminal.end_on_interrupt()


def _run(arguments: list[str]) -> int:
    import typer

    from wan22.cli.app import program

    try:
        code = program()(args=completed(arguments), prog_name="wan22", standalone_mode=False)
    except typer.Abort:
        code = CANCELLED
    except SystemExit as end:  # how typer ends when nobody reads any more
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        raise
    except Exception as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ != "NoArgsIsHelpError" or context is None:
            raise
        print(context.get_help())
        return 0
    if code == CANCELLED:  # typer swallows the KeyboardInterrupt itself
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def completed(arguments: list[str]) -> list[str]:
    """The arguments, with the value of an option that may stand alone, which typer does not know of."""
    if "--fleet" not in arguments or arguments[0] not in ("serve", "studio"):
        return arguments
    from wan22.cli.serve import HERE

    after = arguments.index("--fleet") + 1
    alone = after == len(arguments) or arguments[after].startswith("-")
    return [*arguments[:after], *([HERE] if alone else []), *arguments[after:]]


def _explain(error: Exception, arguments: list[str]) -> tuple[str, int]:
    """One line for a person, and the exit code."""
    if isinstance(error, Cancelled):
        return str(error), CANCELLED
    if isinstance(error, (ImportError, SystemError)) and _was_interrupted(error):
        return "cancelled", CANCELLED
    if isinstance(error, Wan22Error):
        return " ".join(str(error).split()), 1 if isinstance(error, (DecodeError, JobError)) else 2
    if isinstance(error, _usage_error()):
        return _usage(error), 2
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if out_of_memory(error):
        return (
            "the memory is not enough; ask for a smaller --size or fewer --frames, or let weights wait with --memory "
            f"disk ({text[:200]})"
        ), 1
    if isinstance(error, OSError) and error.errno in _NO_WAY_OUT:
        where = (
            f" {error.filename}"
            if error.filename
            else ": the output of the command, or a file that it writes"
        )
        return f"{error.strerror}{where}. Make room, or send the output elsewhere", 2
    if isinstance(error, OSError) and error.errno in _NO_PLACE and error.filename:
        return f"{error.strerror}: {str(error.filename)[:100]}. Name another file or folder", 2
    kept = terminal.keep_traceback("".join(traceback.format_exception(error)))
    where = f"its traceback is in {kept}" if kept else "WAN22_DEBUG=1 shows where"
    return f"{text} (a defect of wan22; {where})", 1


def _usage_error() -> type:
    """The error of click, which typer keeps private, and renames between versions."""
    import typer

    return typer.BadParameter.__mro__[1]


def _was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C came while a library was imported, which made another error of it."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, KeyboardInterrupt):
        link = link.__cause__ or link.__context__
    return link is not None


def _usage(error: Exception) -> str:
    """A wrong option, command or word, with what would work."""
    from wan22.cli.mistakes import missing, unknown_command, unknown_option, unquoted

    context = getattr(error, "ctx", None)
    message = getattr(error, "format_message", error.__str__)().strip().rstrip(".")
    if context is None:
        return message
    if option := getattr(error, "option_name", None) if type(error).__name__ == "NoSuchOption" else None:
        return unknown_option(option, context)
    if type(error).__name__ == "MissingParameter":
        return missing(error, context)
    if getattr(context.command, "commands", None):
        return unknown_command(message, context)
    if message.startswith("Got unexpected extra argument"):
        return unquoted(list(context.args) or _WORDS.findall(message)[-1].split(), context)
    return f"{message}. See: {context.command_path} --help"


_WORDS = re.compile(r"\(([^)]*)\)")  # "Got unexpected extra arguments (b c)"


def _terminate(number: int, frame: FrameType | None) -> None:
    print("terminated", file=sys.stderr)
    raise SystemExit(128 + number)  # unwinds, so that nothing half-written stays


if __name__ == "__main__":
    sys.exit(main())
