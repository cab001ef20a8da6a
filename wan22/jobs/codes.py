"""Why a job failed: a code for programs, a sentence for people. The one table of codes; it knows no engine."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from traceback import walk_tb

from wan22.errors import (
    CheckpointError,
    DecodeError,
    DeviceError,
    ExtendError,
    MediaError,
    MissingModelError,
    OutputError,
    ParallelError,
    RequestError,
    SpeechError,
    TimelineError,
    out_of_memory,
)
from wan22.jobs.job import StoreError

CODES: dict[str, str] = {
    "invalid_request": "What was asked cannot be done; the message says what would work. Trying again changes nothing.",
    "unreadable_input": "An image, video or audio that was sent cannot be read.",
    "missing_model": "The model is not on this machine.",
    "damaged_model": "The model's files are damaged, incomplete, or of another model.",
    "unsupported_device": "The worker's device cannot do what was asked.",
    "extension_failed": "The prompt could not be extended: the server or model that does it failed.",
    "speech_failed": "The text could not be spoken: the program is not here, or the speech server failed.",
    "out_of_memory": "The device or the machine has too little memory for this size and length.",
    "insufficient_storage": "The disk is full. What was computed is kept: retry goes on from there.",
    "output_failed": "A file could not be written, for another reason than a full disk.",
    "decode_failed": "The video was computed, and could not be decoded. Retry goes on from there.",
    "poison": "The worker died at this job again and again without a new step.",
    "dependency_failed": "A job that must be complete before failed or was cancelled.",
    "child_failed": "A job of this group failed.",
    "internal_error": "A defect of wan22. The traceback is in error.txt of the job's folder.",
}
"""Every code that a failed job can have. `poison`, `dependency_failed` and `child_failed` are the store's own."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (DecodeError, "decode_failed"),
    (MissingModelError, "missing_model"),
    (CheckpointError, "damaged_model"),
    (DeviceError, "unsupported_device"),
    (ExtendError, "extension_failed"),
    (SpeechError, "speech_failed"),
    (MediaError, "unreadable_input"),
    (TimelineError, "invalid_request"),
    (RequestError, "invalid_request"),
    (OutputError, "output_failed"),
)
"""Classes of errors, the narrower before the wider."""


def explain(error: BaseException) -> tuple[str, str]:
    """The code of an error, and what to say of it: one line."""
    code = _code(error)
    if code == "decode_failed":  # its own message tells what a person at a terminal does next
        error = error.__cause__ or error
    text = " ".join(str(error).split()).rstrip(". ")
    if code == "insufficient_storage":
        text = f"the disk is full ({text}). Make room, then retry: what was computed is kept"
    elif code == "out_of_memory":
        text = f"the memory is not enough ({text[:200]}). Ask for a smaller size or fewer frames"
    elif code == "decode_failed":
        text = f"the video was computed and could not be decoded: {text}. Retry goes on from there"
    elif code == "internal_error":
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return code, text


def _code(error: BaseException) -> str:
    links = list(_chain(error))
    if any(_is_full(link) for link in links):
        return "insufficient_storage"
    if any(out_of_memory(link) for link in links):
        return "out_of_memory"
    return next((code for kind, code in _KINDS if isinstance(error, kind)), "internal_error")


def _is_full(error: BaseException) -> bool:
    if isinstance(error, StoreError):
        return error.code == "full"
    return isinstance(error, OSError) and error.errno in _FULL


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def was_interrupted(error: BaseException) -> bool:
    """Whether an interrupt is the cause, which libraries may have made another error of."""
    return any(isinstance(link, KeyboardInterrupt) for link in _chain(error))


def was_lost(error: BaseException) -> bool:
    """Whether one of several devices that worked together was gone, as a worker may be."""
    return any(isinstance(link, ParallelError) and link.lost for link in _chain(error))


def was_importing(error: BaseException) -> bool:
    """Whether an interrupt came while a module was imported: libraries in C may be half there for good then."""
    return any(
        frame.f_code.co_name == "<module>" or frame.f_code.co_filename.startswith("<frozen importlib")
        for link in _chain(error)
        for frame, _ in walk_tb(link.__traceback__)
    )
