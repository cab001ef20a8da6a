"""`--json`: every command takes it, and then stdout holds one object a line, each of a documented event."""

import json
import re
from pathlib import Path

import pytest
from unit.train.media import write_clip

from wan22.catalog import EMBEDDED
from wan22.cli import report
from wan22.cli.__main__ import main
from wan22.cli.app import program
from wan22.clock import StepCounter, WorkProgress, duration

WITHOUT: dict[str, str] = {}
"""Commands without --json, and why."""

PAGE = (Path(__file__).parents[2] / "docs/json.md").read_text()


def commands(group=None, path=()):
    """Every command that does something, by its words."""
    for name, command in (group or program()).commands.items():
        if getattr(command, "commands", None):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_takes_json(name, command):
    takes = any("--json" in parameter.opts for parameter in command.params)
    assert takes != (name in WITHOUT), name


def lines(capsys, *arguments, code=0):
    """What a command with --json prints, checked: every line is an object with a documented event."""
    assert main([*map(str, arguments), "--json"]) == code
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for each in found:
        assert f"| `{each['event']}` |" in PAGE, each
    return found


@pytest.fixture
def clips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for number in range(2):
        write_clip(tmp_path / f"clips/{number}.mp4", frames=17)
    (tmp_path / "script.txt").write_text("a red ball rolls\n\na blue cube spins")
    return tmp_path


ANSWERS = {
    "models nano": "defaults",
    "plan nano --vram 8GB --size 64x64 --frames 5": "stages",
    "vocabulary lens": "axis",
    "extend ball --engine rules": "after",
    "inspect nano": "parts",
    "verify nano --no-hashes": "ok",
    "storyboard script.txt --plan": "prompt",
    "curate clips": "clips",
    "data clips --size 48x32 --frames 5 --fps 8": "problems",
    "data survey clips --size 48x32 --frames 5 --fps 8": "problems",
    "measure clips/0.mp4": "readings",
    "drift clips/0.mp4": "axes",
    "doctor --no-test": "models",
    f"convert {EMBEDDED / 'vae.safetensors'} vae.safetensors --to diffusers": "path",
}


@pytest.mark.usefixtures("quick_plots")
@pytest.mark.parametrize("words", ANSWERS)
def test_the_answer_is_the_last_line(words, clips, capsys, monkeypatch):
    monkeypatch.setattr("wan22.cli.doctor.rows", dict)  # it plans a video of each model
    found = lines(capsys, *words.split())
    assert found[-1]["event"] == "result" and ANSWERS[words] in found[-1]
    for file in found[-1].get("files", []) if isinstance(found[-1].get("files"), list) else []:
        assert Path(file["path"] if isinstance(file, dict) else file).exists()


def test_what_a_file_says_of_itself_is_not_taken_for_an_event(capsys, monkeypatch):
    monkeypatch.setattr("wan22.cli.show._read", lambda file: {"prompt": "a ball", "event": "error"})
    assert lines(capsys, "show", "a.mp4") == [{"prompt": "a ball", "event": "result"}]


def test_a_download_says_what_it_gets_and_where_it_lies(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("wan22.cli.models._check_room", lambda row, target: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    notice, result = lines(capsys, "download", "ti2v-5B", "--to", tmp_path)
    assert notice["event"] == "notice" and result["path"] == str(tmp_path) and result["event"] == "result"


@pytest.mark.parametrize(
    "words", ["curate nowhere", "eval nowhere.toml", "train nowhere.toml", "models nothing"]
)
def test_an_error_is_the_last_event(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (error,) = lines(capsys, *words.split(), code=2)
    assert error["event"] == "error" and error["code"] == 2 and error["message"]


def test_every_event_is_documented():
    source = Path(report.__file__).read_text()
    names = (
        set(re.findall(r'event="(\w+)"', source)) | set(re.findall(r'"event": "(\w+)"', source)) | {"error"}
    )
    assert names == set(re.findall(r"^\| `(\w+)` \| .*", PAGE.split("| command |")[0], re.MULTILINE))


def test_numbers_that_json_does_not_know_are_null_and_letters_are_ascii(capsys):
    with report.choose(True) as show:
        show.result({"worst": float("nan"), "rows": [float("inf"), 1.0], "word": "빨간"}, ())
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"worst": None, "rows": [None, 1.0], "word": "빨간", "event": "result"}
    assert line.isascii()


# Time left


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def test_a_counter_says_how_long_the_rest_takes_and_not_too_often():
    said, clock = [], Clock()
    counter = StepCounter(10, "clip", said.append, every=1, now=clock)
    for second in (0.5, 1.0, 1.5, 2.5):
        clock.now = second
        counter.step()
    assert [(each.step, each.steps, each.left) for each in said] == [(2, 10, 4.0), (4, 10, 3.75)]
    assert said[0] == "clip 2 of 10, 0:04 left"


def test_what_is_worth_keeping_is_said_in_any_case():
    said = []
    counter = StepCounter(2, "clip", said.append, now=Clock())
    counter.step(detail="a.mp4: a red ball")
    assert said[0].lasting and said[0] == "clip 1 of 2, 0:00 left: a.mp4: a red ball"
    StepCounter(1, "clips", None, every=0).step()  # nobody listens


def progress(line, step, steps, left, **more):
    return WorkProgress(line, what="steps", step=step, steps=steps, left=left, **more)


def test_progress_is_an_event_for_machines_and_a_line_for_people(capsys):
    said = progress("high step 3/9", 3, 9, 61.5, lasting=True, numbers={"loss": 0.5})
    for machine in (True, False):
        with report.choose(machine) as show:
            show.log(said)
    out, err = capsys.readouterr()
    assert err == "high step 3/9\n"
    assert json.loads(out) == {
        "event": "progress", "what": "steps", "step": 3, "steps": 9, "left": 61.5, "text": "high step 3/9", "loss": 0.5,
    }  # fmt: skip


def test_a_live_report_shows_work_and_gives_the_terminal_back(capsys):
    with report.LiveReport() as show:
        show.log(progress("1 of 2 clips, 0:05 left", 1, 2, 5.0))
        show.log(progress("2 of 2 clips, 0:00 left: [a] b", 2, 2, 0.0, lasting=True))
        show.log("a word")
        show.result({}, ["the answer"])
    out, err = capsys.readouterr()
    assert out == "the answer\n" and "2 of 2 clips, 0:00 left: [a] b" in err and "a word" in err


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0:00"), (7.4, "0:07"), (750, "12:30"), (90061, "25:01:01")]
)
def test_a_duration_is_written_as_a_clock_shows_it(seconds, text):
    assert duration(seconds) == text
