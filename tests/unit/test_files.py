"""What people's files do to a reader: every one ends in an error of ours, at once."""

import os
import socket
from dataclasses import replace

import pytest

from wan22 import files
from wan22.catalog import VARIANTS
from wan22.errors import CheckpointError, MediaError, OptionError
from wan22.media.audio import probe_audio
from wan22.media.image import read_image
from wan22.media.video import probe
from wan22.storyboard.script import read_script
from wan22.train.evaluation.recipe import load_eval_recipe
from wan22.train.recipe import read_recipe
from wan22.weights.reader import open_file


@pytest.fixture
def special(tmp_path):
    """Paths that are there and are no file, by what they are."""
    os.mkfifo(tmp_path / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    yield {
        "a named pipe": tmp_path / "pipe",
        "a socket": tmp_path / "socket",
        "a device": "/dev/zero",
        "is a folder": tmp_path / "folder",
        "is a link to": tmp_path / "link",
    }
    listener.close()


READERS = [read_image, probe, probe_audio, open_file, load_eval_recipe, read_recipe]


@pytest.mark.parametrize("read", READERS, ids=lambda read: f"{read.__module__}.{read.__name__}")
def test_what_is_no_file_is_refused_before_it_is_opened(read, special):
    for what, path in special.items():
        if read is probe and what == "is a folder":
            continue  # numbered images
        with pytest.raises((MediaError, CheckpointError, OptionError), match=what):
            read(path)


def test_names_that_no_file_can_have_are_refused():
    for name in ("a" * 5000, "zero\0byte", "~nobody-of-that-name/x", "\udcff\udcfe"):
        with pytest.raises(MediaError, match=r"cannot be read|does not exist"):
            files.check_file(name)


def test_a_file_that_is_longer_than_its_kind_is_not_read(tmp_path):
    with (tmp_path / "long.txt").open("wb") as file:
        file.truncate(1 << 40)  # no byte of it is on the disk
    with pytest.raises(OptionError, match="has 1,099,511,627,776 bytes, too many"):
        files.read_text(tmp_path / "long.txt", OptionError)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 66 + "]" * 66, "nested too deeply"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ("1e999", "too large"),
        ("9" * 5000, "digits"),
        ("NaN", "NaN is no number"),
        ("[Infinity]", "Infinity is no number"),
        (b"\xff\xfe", "no UTF-8 text"),
        ("", "Expecting value"),
    ],
)
def test_json_that_cannot_be_is_refused(text, why):
    with pytest.raises(MediaError, match=f"x is no JSON: .*{why}"):
        files.parse_json(text, "x", MediaError)


def test_json_within_the_limits_is_read():
    assert files.parse_json("[" * 64 + "]" * 64, "x", MediaError)
    assert files.parse_object('\ufeff{"a": [1, -2.5, null]}'.encode(), "x", MediaError) == {
        "a": [1, -2.5, None]
    }
    with pytest.raises(MediaError, match="is no JSON object, but a list"):
        files.parse_object("[1]", "x", MediaError)


@pytest.mark.parametrize(
    "text",
    [
        "a=" + "[" * 100_000,
        "a=" + "{b=" * 100_000,
        "a." * 100_000 + "b=1",
        '"a" . ' * 100_000 + "b=1",
        "[" + "a." * 100_000 + "b]",
        '"' * 300_000,
        "a = " + "9" * 400,
        "a-" * 100_000,
    ],
    ids=["lists", "tables", "dots", "quoted dots", "headers", "quotes", "digits", "one word"],
)
def test_toml_that_would_take_hours_is_refused(text):
    with pytest.raises(OptionError, match="is no TOML"):
        files.parse_toml(text, "x", OptionError)


def test_brackets_and_dots_inside_texts_and_remarks_of_toml_do_not_count():
    deep, dotted = "[" * 200, "x." * 50
    text = f"""a = "{deep}{dotted}" # {deep}\nb = '''{deep}\n{dotted}'''\nc = [[1, 2.5]]\nd.e.f = 1"""
    found = files.parse_toml(text, "x", OptionError)
    assert found["c"] == [[1, 2.5]] and found["d"] == {"e": {"f": 1}} and found["a"].startswith("[[")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("- " * 50_000, "nested too deeply"),
        ("? " * 50_000, "nested too deeply"),
        ("{a: " * 50_000, "nested too deeply"),
        ("a: &a [x, x]\nshots:\n- prompt: *a", "an alias may stand for a text"),
        ("seed: 1" + ":59" * 100_000 + "\nshots: [a ball]", "a number or date has"),
        ("seed: " + "9" * 5000 + "\nshots: [a ball]", "a number or date has"),
    ],
)
def test_yaml_that_would_take_hours_is_refused(text, why):
    with pytest.raises(OptionError, match=why):
        read_script(text, "video.yaml")


def test_an_alias_of_a_text_in_yaml_is_read():
    script = read_script("style: &s realistic\nshots:\n- {prompt: a red ball rolls, style: *s}", "video.yaml")
    assert script.scenes[0].prompt == "Realistic style. a red ball rolls."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("a"), "'a' is missing"),
        (RecursionError("x"), "it is nested too deeply"),
        (MemoryError(), "more memory"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (ValueError("two\nlines."), "two lines"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_what_a_library_raises_is_the_files_error(error, said):
    with (
        pytest.raises(CheckpointError, match=f"f is no good: .*{said}.* Try it.$"),
        files.reading("f", CheckpointError, "is no good", "Try it."),
    ):
        raise error


def test_an_error_of_ours_and_a_defect_of_ours_pass_unchanged():
    for error in (OptionError("mine"), NameError("typo"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as found, files.reading("f", MediaError):
            raise error
        assert found.value is error


def test_a_description_of_a_model_has_values_of_the_right_types():
    row = VARIANTS["t2v-A14B"]
    files.check_fields(row)
    for wrong, why in (
        (replace(row, boundary="high"), "boundary is 'high', and should be a number"),
        (replace(row, boundary=float("nan")), "finite"),
        (replace(row, dit=replace(row.dit, layers=-1)), "dit.layers is -1"),
        (replace(row, dit=replace(row.dit, heads=0)), "dit.heads is 0, and should be from 1"),
        (replace(row, dit=replace(row.dit, dim=1 << 70)), "dit.dim"),
        (replace(row, vae=[1]), "vae is .*, and should be a section"),
        (replace(row, image="drawn"), "image is 'drawn', and should be one of channels"),
        (replace(row, experts="high"), "experts is 'high', and should be a list"),
        (replace(row, image_required=1), "true or false"),
        (replace(row, defaults=replace(row.defaults, size=(1, 2, 3))), "a list of 2"),
    ):
        with pytest.raises((TypeError, ValueError), match=why):
            files.check_fields(wrong)
