"""Direction on the command line: options around the prompt, `wan22 vocabulary`, `wan22 extend`, and the recipe."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from wan22.cli.__main__ import main
from wan22.director.shot import ShotSpec
from wan22.errors import OptionError
from wan22.production import direction as direct
from wan22.production.direction import Direction, directed, kept
from wan22.production.work import Machine, Work, with_direction


class Notes:
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    monkeypatch.setattr(direct, "extended_folder", lambda: tmp_path / "memory")
    monkeypatch.delenv(direct.KEY, raising=False)
    return tmp_path / "memory"


@contextmanager
def chat(*answers):
    """A chat server that gives one answer after another."""
    requests, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.headers["Authorization"], body))
            content = json.dumps({"choices": [{"message": {"content": left.pop(0)}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_port}#m", requests
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


def test_options_are_put_around_the_prompt_and_kept_in_the_recipe():
    prompt, told = directed(
        "a fox runs",
        Direction(shot_size="close up", light="backlight, Moonlight", camera="dolly in，틸트 업"),
    )
    assert (
        prompt
        == "Moonlight, Backlighting, Close-up shot. a fox runs. The camera tilts up. The camera pushes in."
    )
    entry = told["directed"]
    assert (entry["before"], entry["after"]) == ("a fox runs", prompt)
    assert ShotSpec.from_json(entry["shot"]).light_direction == ("backlight",)
    json.dumps(told)


def test_a_prompt_that_changes_on_the_way_is_directed_in_every_text():
    prompt, told = directed("@0s a fox runs @2.5s it sleeps at night", Direction(time="night"))
    assert prompt == "@0s Night time. a fox runs. @2.5s it sleeps at night"
    assert [shot["time"] for shot in told["directed"]["shot"]] == ["night", "night"]


def test_without_options_nothing_changes():
    assert directed("a fox", Direction()) == ("a fox", {})
    assert not Direction().given and Direction(lens="fisheye").given


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (
            "a fox",
            {"camera": "dolly inn"},
            "--camera: unknown camera movement 'dolly inn'. Did you mean 'dolly-in'",
        ),
        ("a fox", {"shot_size": "backlight"}, "--shot-size: unknown shot size 'backlight'"),
        ("a fox", {"light": "moonlight, sunny"}, "exclude one another: no shot is both"),
        ("a fox", {"shot_size": "wide, close-up"}, "a shot has one shot size"),
        (
            "a wide shot of a fox",
            {"shot_size": "close-up"},
            "'wide shot' in the prompt and shot size 'close-up'",
        ),
        ("a fox", {"extend": "ruls"}, "unknown engine 'ruls'. Known: rules"),
    ],
)
def test_what_contradicts_or_is_unknown_is_one_error_that_names_it(prompt, options, message):
    with pytest.raises(OptionError) as error:
        directed(prompt, Direction(**options))
    assert message in str(error.value)


def test_extension_comes_after_direction_and_both_are_told():
    prompt, told = directed("a fox runs", Direction(time="night", extend="rules"), seed=3)
    assert told["directed"]["after"] == told["extended"]["before"] == "Night time. a fox runs."
    assert prompt == told["extended"]["after"] and "Night time. a fox runs." in prompt
    assert told["extended"]["seed"] == 3 and told["extended"]["engine"] == "rules"


def test_a_servers_answer_is_remembered_and_the_key_is_not_told(memory, monkeypatch):
    monkeypatch.setenv(direct.KEY, "sk-1")
    with chat("A red fox runs.", "Another.") as (url, requests):
        one = directed("a fox at night", Direction(extend=url))
        two = directed("a fox at night", Direction(extend=url))
        other = directed("a fox at night", Direction(extend=url), seed=1)
    assert one == two and one[0] == "A red fox runs." and other[0] == "Another."
    assert [key for key, _ in requests] == ["Bearer sk-1"] * 2
    assert one[1]["extended"]["lost"] == ["night"]
    assert "sk-1" not in json.dumps(one[1]) + "".join(file.read_text() for file in memory.iterdir())


@pytest.mark.parametrize("kept", ["", "no json", "[" * 999, "[1]", '{"after": "x"}'])
def test_a_remembered_answer_that_is_damaged_is_asked_again(memory, kept):
    with chat("A red fox runs.", "Another.") as (url, _):
        directed("a fox", Direction(extend=url))
        (answer,) = memory.iterdir()
        answer.write_text(kept)
        assert directed("a fox", Direction(extend=url))[0] == "Another."


def test_generate_shows_both_prompts_and_hands_the_new_one_on():
    work = Work({"prompt": "a fox", "seed": 4}, {}, None, None, ".mp4", Machine())
    notes = Notes()
    with chat("A fox runs by day.") as (url, _):
        made, told = with_direction(replace(work, direction=Direction(time="night", extend=url)), notes)
    assert made.given["prompt"] == "A fox runs by day."
    assert notes.lines == [
        "prompt before: a fox",
        "prompt directed: Night time. a fox.",
        "prompt before: Night time. a fox.",
        "prompt extended by server: A fox runs by day.",
        "note: the extended prompt no longer says night",
    ]
    assert set(told) == {"directed", "extended"}
    assert with_direction(work, notes) == (work, {}) and len(notes.lines) == 5


def test_a_video_made_again_keeps_what_was_told_of_its_prompt():
    recipe = {"prompt": "b", "extended": {"before": "a", "after": "b"}}
    assert kept(recipe, {"prompt": "b"}) == {"extended": recipe["extended"]}
    assert kept(recipe, {"prompt": "c"}) == {}
    assert kept({}, {"prompt": "c"}) == {}


def test_generate_refuses_a_contradiction_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "a wide shot of a fox", "--shot-size", "close-up"]) == 2
    assert "'wide shot' in the prompt and shot size 'close-up' exclude one another" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.mp4"))


def test_vocabulary_lists_every_term_with_its_phrases(capsys):
    assert main(["vocabulary"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "shot size (--shot-size)" in lines
    assert "camera movement (--camera, several at once)" in lines
    assert any(line.split() == ["close-up", "Close-up", "shot", "|", "近景"] for line in lines)
    assert main(["vocabulary", "shot-size", "--language", "ko"]) == 0
    assert "클로즈업 | Close-up shot | 近景" in capsys.readouterr().out
    assert main(["vocabulary", "lens", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["axis"] == "lens" and rows[0]["names"]["ja"] == "広角"
    assert main(["vocabulary", "lense"]) == 2
    assert "Did you mean 'lens'" in capsys.readouterr().err
    assert main(["vocabulary", "--language", "de"]) == 2
    assert "unknown language of names 'de'" in capsys.readouterr().err


def test_extend_prints_the_prompt_and_what_it_was(capsys, tmp_path):
    assert main(["extend", "a fox runs at night"]) == 0
    out, err = capsys.readouterr()
    assert "a fox runs at night." in out and "Moonlight" in out
    assert err == "before: a fox runs at night\n"
    assert main(["extend", "a fox", "--language", "zh", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["after"].startswith("白天，")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "fox.png")
    assert main(["extend", "it runs", "--image", str(tmp_path / "fox.png")]) == 0
    assert "note: rules does not see the image" in capsys.readouterr().err
    assert main(["extend", ""]) == 2
    assert "there is no prompt to extend" in capsys.readouterr().err


def test_extend_asks_a_server_afresh_and_sends_the_image(capsys, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "fox.png")
    with chat("One.", "Two.") as (url, requests):
        for text in ("One.", "Two."):
            assert main(["extend", "", "--engine", url, "--image", str(tmp_path / "fox.png")]) == 0
            assert capsys.readouterr().out == f"{text}\n"
    assert requests[0][1]["messages"][1]["content"][0]["type"] == "image_url"
