"""Every command, swept: its help, what it does with mistakes, and what it prints where."""

import ast
import sys
from pathlib import Path

import pytest
from unit.test_cli_json import commands

from wan22 import cli
from wan22.cli.__main__ import main

NAMES = [name for name, _ in commands()]

ON_JOBS = [f"jobs {name}" for name in ("cancel", "pause", "resume", "retry", "trash", "restore", "purge")]
ON_A_JOB = [*ON_JOBS, "jobs show", "jobs watch", "jobs download"]
JOB = f"job_{'0' * 24}"
NO_SERVER = "--server http://127.0.0.1:1"

RIGHT = {
    "generate": "ball", "image": "ball", "storyboard": "script.txt", "decode": "a.latents.safetensors",
    "extend": "ball",
    "download": "ti2v-5B", "inspect": "nano", "convert": "a.safetensors b.safetensors --to comfy", "verify": "nano",
    "train": "recipe.toml", "curate": "clips", "caption": "clips --server http://localhost:1", "show": "a.mp4",
    "measure": "a.mp4", "drift": "a.mp4", "eval": "recipe.toml", "data survey": "clips",
    **dict.fromkeys(ON_A_JOB, f"{JOB} {NO_SERVER}"), "jobs move": f"{JOB} --first",
}  # fmt: skip
"""What a command needs at least, for those that need something."""

WRONG = {
    "generate": ["", "ball --size 12", "ball --steps x", "ball --image nowhere.png",
        "ball --model nowhere", "ball -o empty/x.mp4", "ball --server nowhere", f"ball {NO_SERVER}", "ball --detach",
        f"ball {NO_SERVER} --device cpu", NO_SERVER, f"ball {NO_SERVER} --image nowhere.png",
        f"ball {NO_SERVER} -o shots/", f"ball {NO_SERVER} --steps 0", f"ball {NO_SERVER} --detach -o x.mp4"],
    "image": ["", "ball --count 0", "ball --camera sideways", "ball --from nowhere.png"],
    "storyboard": ["nowhere.txt", "empty", "folder", "script.txt --still-model nano", "script.txt -o empty"],
    "decode": ["nowhere.latents.safetensors", "empty", "folder"],
    "vocabulary": ["nothing", "lens --language xx"],
    "extend": ["", "ball --engine nowhere", "ball --image nowhere.png", "ball --language xx", "ball --seed x"],
    "models": ["nothing", "folder", f"{'x' * 5000}"],
    "plan": [
        "nothing", "nano --size 12", "nano --vram x", "nano --vram 8", "nano --ram -1GB", "nano --gpu RTX-4061",
        "nano --memory ram", "nano --dtype int7", "nano --task t2w", "nano --device tpu", "nano --frames 0",
    ],
    "download": ["nano", "nothing", "ti2v-5B --from nowhere"],
    "inspect": ["nothing", "empty", "folder", f"{'x' * 300}"],
    "convert": ["nowhere b --to comfy", "empty b --to comfy", "empty b --to nothing", "empty b"],
    "verify": ["nothing", f"{'x' * 300}"],
    "train": ["nowhere.toml", "empty", "folder", "broken.toml", "broken.toml --minutes 0"],
    "curate": ["nowhere", "folder", "empty", "folder --min-motion 2 --max-motion 1", "folder --cut x"],
    "caption": ["folder", "nowhere --server http://localhost:1", "folder --server nowhere"],
    "show": ["nowhere.mp4", "empty", "folder"],
    "measure": ["nowhere.mp4", "empty", "folder", "empty --output plot.jpg"],
    "drift": ["nowhere.mp4", "empty", "folder", "empty --plot plot.jpg"],
    "eval": ["nowhere.toml", "folder", "broken.toml"],
    "doctor": ["--nothing"],
    "preprocess": [
        "nowhere.mp4 -o prepared", "empty -o prepared", "empty -o folder", "folder -o prepared", "folder --redraw",
        "empty", "empty -o prepared --image nowhere.png",
    ],
    "data survey": ["nowhere", "folder", "folder --size 12", "folder --frames x"],
    "serve": ["--port x", "--port 65536", "--models nothing", "--host 0.0.0.0 --port 0", "--token-file nowhere"],
    "studio": ["--port x", "--port 65536", "--models nothing", "--host 0.0.0.0 --port 0", "--token-file nowhere"],
    "timeline": ["", "nowhere.mp4 -o cut.json", "empty -o cut.json", "folder -o cut.json", "a.mp4"],
    "render": ["", "nowhere.json -o cut.mp4", "empty -o cut.mp4", "folder -o cut.mp4", "broken.toml -o cut.mp4"],
    "export": ["", "nowhere.json -o cut.otio", "empty -o cut.otio", "folder -o cut.otio", "broken.toml -o cut.edl"],
    "jobs list": [NO_SERVER, "--server nowhere", "--state done", "--limit 0", "--token-file empty"],
    "jobs move": [JOB, f"{JOB} --first --last", "x --first", f"{JOB} --priority x"],
    **{name: ["job_1", f"{JOB} {NO_SERVER}", "../x --token-file nowhere"] for name in ON_A_JOB},
}  # fmt: skip
"""What each command cannot do; `folder` and `empty` have nothing in them."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "script.txt").write_text("a red ball")
    (tmp_path / "broken.toml").write_text("x = [")
    return tmp_path


def refused(capsys, *arguments):
    """Run what cannot be: exit code 2, one line that says so, and nothing on stdout. Returns the line."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("error: "), err
    assert "defect" not in err
    return err


def test_every_command_is_swept():
    assert set(WRONG) == set(NAMES) and set(RIGHT) <= set(NAMES)


@pytest.mark.parametrize(
    "words", [f"{name}: {wrong}" for name, all_ in WRONG.items() for wrong in all_], ids=lambda w: w[:60]
)
def test_what_cannot_be_is_one_line_and_exit_code_2(words, place, capsys):
    name, _, wrong = words.partition(": ")
    before = sorted(place.rglob("*"))
    refused(capsys, *name.split(), *wrong.split() or [""])
    assert sorted(place.rglob("*")) == before, "nothing may be left behind"


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_names_the_known(name, capsys):
    assert "Known: " in refused(capsys, *name.split(), *RIGHT.get(name, "").split(), "--nothing-such")


@pytest.mark.parametrize("name", sorted({*RIGHT} - {"data survey", *ON_JOBS}))  # they take several
def test_words_that_are_too_many_are_said(name, capsys):
    refused(capsys, *name.split(), *RIGHT[name].split(), "more", "words")


@pytest.mark.parametrize("name", sorted({*RIGHT} - {"generate", "image"}))  # their prompt may be in a recipe
def test_what_is_missing_is_said(name, capsys):
    assert " needs " in refused(capsys, *name.split())


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("name", ["", *NAMES, "data", "jobs"])
def test_help_is_as_wide_as_the_terminal(name, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*name.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith(f"Usage: wan22 {name}".strip())
    assert max(map(len, out.splitlines())) <= columns


class Gone:
    """A pipe whose reader has gone."""

    encoding = "utf-8"

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError

    def fileno(self):
        raise ValueError("it is no file")


@pytest.mark.parametrize(
    "words", ["--help", "--version", *(f"{name} --help" for name in NAMES), "models", "vocabulary --json"]
)
def test_a_reader_that_goes_early_is_no_error(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Gone())
    code = main(words.split())
    monkeypatch.undo()
    assert (code, capsys.readouterr().err) == (0, "")


def test_only_reports_print_on_stdout():
    """What a command says goes through its report, so that with --json nothing else is on stdout."""
    mine = {"report.py", "__main__.py"}
    for path in Path(cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "print"
                and path.name not in mine
            ):
                assert any(keyword.arg == "file" for keyword in node.keywords), f"{path.name}:{node.lineno}"
