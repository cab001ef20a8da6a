"""Every error has a code of the table and a sentence that helps; interrupts are known for what they are."""

import errno
import sys

import pytest

from wan22 import errors
from wan22.jobs.codes import CODES, explain, was_importing, was_interrupted
from wan22.jobs.job import NotFoundError, StoreError


def caused(error, cause):
    try:
        raise error from cause
    except type(error) as made:
        return made


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (errors.SizeError("width 7 is too small"), "invalid_request", "width 7"),
        (NotFoundError("there is no input in_1"), "invalid_request", "in_1"),
        (errors.MediaError("the image is damaged."), "unreadable_input", "the image is damaged"),
        (errors.MissingModelError("x is not on this machine"), "missing_model", "x is not"),
        (errors.KeysError("tensors are missing"), "damaged_model", "tensors"),
        (errors.DeviceError("there is no device 'cuda'"), "unsupported_device", "cuda"),
        (errors.ExtendError("the server is down"), "extension_failed", "down"),
        (errors.SpeechError("espeak is not here"), "speech_failed", "espeak"),
        (errors.OutputError("x cannot be written"), "output_failed", "written"),
        (caused(errors.OutputError("x cannot be written"), FULL), "insufficient_storage", "Make room"),
        (caused(errors.DecodeError("decoding failed"), FULL), "insufficient_storage", "the disk is full"),
        (
            caused(errors.DecodeError("run wan22 decode x"), RuntimeError("bad")),
            "decode_failed",
            "decoded: bad",
        ),
        (caused(errors.DecodeError("no"), RuntimeError("OutOfMemory")), "out_of_memory", "smaller"),
        (caused(errors.DecodeError("no"), MemoryError()), "out_of_memory", "smaller size"),
        (StoreError("full", code="full"), "insufficient_storage", "Make room"),
        (ZeroDivisionError("division by zero"), "internal_error", "ZeroDivisionError: division"),
        (AssertionError(), "internal_error", "AssertionError"),
    ],
)
def test_an_error_has_a_code_and_a_sentence(error, code, says):
    found, message = explain(error)
    assert found == code and code in CODES and says in message
    assert "\n" not in message and "wan22 decode" not in message


def test_every_class_of_errors_has_a_code():
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    others = (errors.Wan22Error, errors.ServerError, errors.JobError)  # the last two are of clients
    ours = [each for each in classes if issubclass(each, errors.Wan22Error) and each not in others]
    assert {explain(each("no"))[0] for each in ours} <= CODES.keys() - {"internal_error"}


def test_a_disk_without_room_is_known_before_the_work(tmp_path, monkeypatch):
    from wan22.media import output_paths

    monkeypatch.setattr(output_paths.shutil, "disk_usage", lambda _: type("Disk", (), {"free": 10}))
    with pytest.raises(errors.OutputError) as caught:
        output_paths.check_output(tmp_path / "a.mp4", bytes_needed=1000)
    assert explain(caught.value)[0] == "insufficient_storage"


def test_interrupts_are_known_for_what_they_are(tmp_path, monkeypatch):
    (tmp_path / "interrupted_library.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt) as caught:
        __import__("interrupted_library")
    assert was_importing(caught.value) and "interrupted_library" not in sys.modules
    other = caused(errors.Cancelled("cancelled"), KeyboardInterrupt())
    assert was_interrupted(other) and not was_importing(other)
    assert not was_interrupted(ValueError())
