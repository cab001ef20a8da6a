"""The exception tree. Every mistake of a user ends in one of these, before any expensive work.

    Wan22Error                 a message for people: the value, the rule, what would work
    ├── RequestError           what was asked cannot be done
    │   ├── SizeError          a width, height or number of frames
    │   ├── OptionError        an unknown or impossible option; lists the known ones
    │   ├── DeviceError        a device or dtype that is not here
    │   │   └── ParallelError  several devices that cannot work together as was asked
    │   └── ExtendError        a prompt that an engine could not extend
    ├── MediaError             an image, clip or audio that cannot be read
    │   ├── MediaTypeError     of a kind that is not read: a playlist, a web page, text
    │   └── MediaSizeError     larger or longer than what is read, by its header
    ├── SpeechError            a text that could not be spoken: no program, or a server that fails
    ├── TimelineError          a timeline's document that is wrong; `problems` lists what is
    ├── OutputError            a place that cannot be written, or has no room
    ├── ServerError            a wan22 server that is not there, or refuses; `status` is its HTTP code
    ├── JobError               a job of a server failed
    ├── CheckpointError        weights that are missing, truncated, or not what was expected
    │   ├── KeysError          tensors missing, unexpected or misshapen
    │   └── MissingModelError  a model that is not on this machine
    └── DecodeError            decoding failed; `latents` is the file that holds the work

The command line turns a Wan22Error into one line and exit code 2 (1 for DecodeError and JobError).
"""

from pathlib import Path


class Wan22Error(Exception):
    """Base class of all errors that this package raises for users' mistakes and files."""


class RequestError(Wan22Error):
    """What was asked cannot be done."""


class SizeError(RequestError):
    """A width, height or number of frames that cannot be made."""


class OptionError(RequestError):
    """An option that is unknown, or has an impossible value."""


class DeviceError(RequestError):
    """A device or dtype that this machine does not have."""


class ParallelError(DeviceError):
    """Several devices, or ranks, that cannot work together as was asked. `lost`: one was gone without a word."""

    lost = False


class ExtendError(RequestError):
    """A prompt could not be extended: the server or model is absent, slow, or answers with something else."""


class MediaError(Wan22Error):
    """An image, clip or audio that cannot be read."""


class MediaTypeError(MediaError):
    """A file of a kind that is not read, or not of the kind that was asked for."""


class MediaSizeError(MediaError):
    """An image, clip or audio that is larger or longer than what is read; its header says so."""


class SpeechError(Wan22Error):
    """A text that could not be spoken: the program is not here, or the server is down, slow or wrong."""


class TimelineError(Wan22Error):
    """A timeline that cannot be used; `problems` are {"code", "where", "message"}, empty if it is not one at all."""

    def __init__(self, message: str, problems: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or []


class OutputError(Wan22Error):
    """A file that cannot be written."""


class ServerError(Wan22Error):
    """A wan22 server that is not there, or refuses: `status` is its HTTP code, 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class JobError(Wan22Error):
    """A job of a server failed, and not because of what was asked."""


class CheckpointError(Wan22Error):
    """Weights that are missing, truncated, or not what was expected."""


class KeysError(CheckpointError):
    """Tensors that are missing, unexpected or misshapen."""


class MissingModelError(CheckpointError):
    """A model that is not on this machine."""


class DecodeError(Wan22Error):
    """Decoding failed after the latents were made; they are kept in `latents`, if a file was given."""

    def __init__(self, message: str, latents: Path | None = None) -> None:
        super().__init__(message)
        self.latents = latents


class Cancelled(Exception):
    """The person stopped the work (Ctrl-C); the message says what is kept. No Wan22Error: nothing went wrong."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of the accelerator (whose exception torch alone knows)."""
    text = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or "OutOfMemory" in text or "can't allocate memory" in text


def choose(kind: str, value: str, known: list[str] | tuple[str, ...]) -> str:
    """Return `value` if it is one of `known`; otherwise raise OptionError that lists them."""
    if value in known:
        return value
    import difflib

    near = difflib.get_close_matches(value, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"unknown {kind} {value!r}.{hint} Known: {', '.join(known)}")
