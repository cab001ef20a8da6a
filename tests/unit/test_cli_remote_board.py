"""`wan22 storyboard --server` against the real server, whose worker is a thread of the test."""

import json
from pathlib import Path

import numpy as np
import pytest
from unit.server.running import running

from wan22.cli.__main__ import main
from wan22.media.image import write_image
from wan22.media.video import VideoWriter
from wan22.storyboard.script import read_script

SCRIPT = """\
Title: Two balls
Subject: a red ball
Size: 64x48

Shot 1: It lies on a meadow at night.

Shot 2: It rolls left at sunset.
Image: ball.png
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAN22_TOKEN", raising=False)
    with VideoWriter(tmp_path / "made.mp4", fps=16, size=(64, 48), recipe={"prompt": "a"}) as writer:
        for shade in range(9):
            writer.add(np.full((48, 64, 3), 20 * shade, np.uint8))
    Path("script.txt").write_text(SCRIPT, "utf-8")
    write_image(Path("ball.png"), np.zeros((48, 64, 3), np.uint8))
    with running(tmp_path / "data") as here:
        here.files = {"video.mp4": (tmp_path / "made.mp4").read_bytes()}
        here.measured = measured
        yield here


def measured(job):
    """The second shot's first take is not as asked."""
    wrong = job.meta["shot"] == 2 and job.meta["take"] == 1
    row = {
        "axis": "time",
        "asked": "night",
        "measured": "day",
        "matches": not wrong,
        "certainty": 0.9,
        "why": "",
    }
    other = {"axis": "cuts", "asked": None, "measured": "0", "matches": None, "certainty": 1.0, "why": ""}
    return {
        "axes": [row, other],
        "failed": ["time"] * wrong,
        "matched": ["time"] * (not wrong),
        "score": 1.0 - wrong,
    }


def run(capsys, server, *words, code=0):
    found = main(["storyboard", "script.txt", "--server", server.url, *map(str, words)])
    out, err = capsys.readouterr()
    assert found == code, err
    return out.splitlines(), err.splitlines()


def children(server, kind="video"):
    return [job for job in server.store.jobs(order="asc") if job.kind == kind]


def test_the_board_comes_to_be_here_of_what_the_server_made(server, capsys):
    out, err = run(capsys, server, "--retry", 1, "--steps", 2, "-o", "board", "--join")
    folder = Path("board")
    assert out == ["board/board.html"]
    board = json.loads((folder / "board.json").read_text("utf-8"))
    assert board["title"] == "Two balls" and board["model"] == "nano" and board["failed"] == []
    scenes = read_script(SCRIPT, "script.txt").scenes
    for shot, scene in zip(board["shots"], scenes, strict=True):
        assert shot["prompt"] == scene.prompt and shot["asked"] == json.loads(
            json.dumps(scene.spec.to_json())
        )
        assert (folder / shot["video"]).read_bytes() == server.files["video.mp4"]
        assert [row["axis"] for row in shot["verdicts"]] == ["time"] and "certainty" not in shot["verdicts"][
            0
        ]
    assert [(shot["take"], shot["takes"], shot["seed"]) for shot in board["shots"]] == [(1, 1, 0), (2, 2, 1)]
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        "board.html", "board.json", "board.pdf", "shot-01.mp4", "shot-01.png", "shot-02.mp4", "shot-02.png", "takes",
        "video.mp4",
    }  # fmt: skip
    asked = [job.request for job in children(server)]
    assert [request["prompt"] for request in asked] == [scenes[0].prompt, scenes[1].prompt, scenes[1].prompt]
    assert all((request["size"], request["steps"]) == ([64, 48], 2) for request in asked)
    (sent,) = server.store.inputs()
    assert sent.name == "ball.png" and [request.get("image") for request in asked] == [None, sent.id, sent.id]
    assert len(children(server, "measure")) == 3 and any("on http" in line for line in err)


def test_a_shot_that_stays_wrong_is_the_exit_code(server, capsys):
    run(capsys, server, "-o", "board", code=1)
    assert json.loads(Path("board/board.json").read_text("utf-8"))["failed"] == [2]


def test_detached_nothing_is_waited_for(server, capsys):
    server.hold.set()
    out, _ = run(capsys, server, "--detach")
    (group,) = [job for job in server.store.jobs() if job.kind == "group"]
    assert out == [group.id] and not Path("out").exists()


def test_shots_that_cannot_be_made_say_why(server, capsys):
    server.error = ("out_of_memory", "there is no room")
    _, err = run(capsys, server, "-o", "board", code=1)
    assert any("there is no room" in line for line in err)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--plan"], "--plan"), (["--from-stills"], "--from-stills"), (["--device", "cpu"], "--device"),
     (["--dit", "x.safetensors"], "--dit"), (["--model", "/etc"], "model")],
)  # fmt: skip
def test_what_a_server_is_not_asked_is_refused_before_anything_is_sent(server, capsys, words, said):
    _, err = run(capsys, server, *words, code=2)
    assert said in err[-1] and server.store.jobs(limit=1) == []


def test_a_wrong_script_is_refused_here(server, capsys):
    Path("script.txt").write_text("Shot 1: a ball\nLens: wrong\n", "utf-8")
    _, err = run(capsys, server, code=2)
    assert "line 2" in err[-1] and server.store.jobs(limit=1) == []
