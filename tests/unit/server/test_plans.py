"""The plan of a job over HTTP, and the process beside the server that makes it: its end, silence, start again."""

import os
import signal
import sys
import textwrap
import threading
import time

import pytest
from unit.server.live import small_video
from unit.server.serving import serving

from wan22.production.options import as_work, from_json
from wan22.production.planned import Media, request_of, row_of
from wan22.server.helper import Helper
from wan22.server.problems import Refusal

ECHO = """
import json, os, sys, time
for line in sys.stdin:
    said = json.loads(line)
    if said.get("die") and not os.path.exists(said["die"]):
        open(said["die"], "w").close()
        os._exit(3)
    if said.get("die always"):
        sys.stderr.write("it is dead")
        os._exit(3)
    while said.get("silent"):
        time.sleep(60)
    print(json.dumps({"pid": os.getpid(), "said": said}), flush=True)
"""


@pytest.fixture
def helper(tmp_path):
    script = tmp_path / "echo.py"
    script.write_text(textwrap.dedent(ECHO))
    made = Helper([sys.executable, str(script)], start=120, patience=120)
    try:
        yield made
    finally:
        made.stop()
        assert made.pid is None


def test_one_process_answers_and_is_started_when_it_is_asked(helper):
    assert helper.pid is None
    first = helper.ask({"a": "é\n"})
    assert first["said"] == {"a": "é\n"} and first["pid"] == helper.pid
    assert helper.ask({})["pid"] == first["pid"]


def test_one_that_was_killed_is_started_again(helper):
    pid = helper.ask({})["pid"]
    os.kill(pid, signal.SIGKILL)
    other = helper.ask({"b": 1})
    assert other["pid"] != pid and other["said"] == {"b": 1}


def test_one_that_dies_of_a_question_is_asked_again_once(helper, tmp_path):
    assert helper.ask({"die": str(tmp_path / "died")})["pid"] == helper.pid
    with pytest.raises(Refusal) as refused:
        helper.ask({"die always": True})
    assert (refused.value.status_code, refused.value.code) == (503, "plan_failed")
    assert helper.ask({"c": 1})["said"] == {"c": 1}


def test_one_that_is_silent_is_killed(helper):
    pid = helper.ask({})["pid"]
    helper._patience = 0.01
    with pytest.raises(Refusal) as refused:
        helper.ask({"silent": True})
    assert refused.value.status_code == 503 and helper.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    helper._patience = 120
    assert helper.ask({"d": 1})["pid"] != pid


def test_no_more_wait_than_have_room(helper):
    for _ in range(4):
        assert helper._room.acquire(blocking=False)
    with pytest.raises(Refusal) as refused:
        helper.ask({})
    assert refused.value.status_code == 429


def test_one_that_nobody_asks_is_ended(helper):
    helper._idle = 0.01
    helper.ask({})
    timer = helper._timer
    timer.join(60)
    assert not timer.is_alive() and helper.pid is None


def test_who_waits_when_the_server_ends_is_refused_and_keeps_nobody(helper):
    helper.ask({})
    refusals = []

    def ask():
        try:
            helper.ask({"silent": True})
        except Refusal as refusal:
            refusals.append(refusal.detail)

    asking = threading.Thread(target=ask)
    asking.start()
    while helper._turn.acquire(blocking=False):  # until it is asked
        helper._turn.release()
        time.sleep(0.001)
    helper.stop()
    asking.join(60)
    assert refusals == ["the server ends"]
    with pytest.raises(Refusal, match="the server ends"):
        helper.ask({})


def work(**said):
    return as_work(from_json("generate", {"prompt": "a ball"} | said, lambda id: id))


def test_files_are_stood_for_by_what_is_known_of_them():
    row = row_of("nano")
    media = {"image": Media(width=300, height=200), "video": Media(64, 32, frames=30, fps=15.0, seconds=2.0)}
    made = request_of(work(image="a"), {"image": media["image"]}, row)
    assert made.image.shape == (200, 300, 3) and made.prompt == "a ball"
    made = request_of(work(video="a", fps=10.0), {"video": media["video"]}, row)
    assert made.video.frames.shape == (20, 32, 64, 3) and made.video.fps == 10
    made = request_of(
        work(audio="a", image="b", audio_start=1.0, seconds=2.0), {"audio": Media(seconds=9.0)}, row
    )
    assert len(made.audio.samples) == 32_000
    assert len(request_of(work(say="Hello there, how are you?", image="b"), {}, row).audio.samples) > 16_000


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("data"), devices=("cpu",)) as client:
        yield client


def plan(client, kind="video", **request):
    return client.post("/v1/plan", json={"kind": kind, "request": request})


def test_a_plan_says_what_a_job_takes(client):
    said = plan(client, prompt="a ball", frames=9)
    assert said.status_code == 200, said.text
    made = said.json()
    assert made["model"] == "nano" and made["fits"] and made["seconds"] > 0 and made["videos"] == 1
    assert 0 < made["memory_bytes"] < made["room_bytes"] and made["advice"] is None
    assert {stage["part"] for stage in made["stages"]} >= {"text", "vae"}
    several = plan(client, frames=9, count=3).json()
    assert several["videos"] == 3 and several["seconds"] == pytest.approx(3 * made["seconds"], rel=0.01)
    assert plan(client, "image", prompt="").json()["seconds"] < made["seconds"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_devices_that_work_together_are_planned_together(client, tmp_path):
    """A server whose first worker has two devices: of each a share of the memory, and of the VAE its rows."""
    alone = plan(client, prompt="a ball", frames=9).json()
    with serving(tmp_path / "data", devices=("cpu+cpu", "cpu")) as two:
        said = plan(two, prompt="a ball", frames=9)
    assert said.status_code == 200, said.text
    made = said.json()
    assert made["device"].startswith("2 x ") and made["fits"]
    assert made["room_bytes"] < 0.7 * alone["room_bytes"]


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"size": [8, 8]}, "request.size"),
        ({"size": [100_000, 64]}, "request.size"),
        ({"frames": 0}, "request.frames"),
        ({"model": "unknown"}, "request.model"),
        ({"boundary": 0.5, "switch_step": 3}, "request.boundary"),
        ({"image": "in_" + "a" * 24}, "request"),
        ({"colour": "red"}, "request"),
        ({"strength": 0.5}, "request.strength"),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_refused_as_a_request_is(client, request_, param):
    said = plan(client, **request_)
    assert said.status_code == 422, said.text
    assert said.json()["code"] == "invalid_request" and said.json()["param"].startswith(param.split(".")[0])


@pytest.mark.slow
def test_a_killed_process_is_not_seen_by_a_client(client):
    assert plan(client, frames=9).status_code == 200
    helper = client.app.state.helper
    os.kill(helper.pid, signal.SIGKILL)
    assert plan(client, frames=9).status_code == 200


def test_an_extension_is_planned(client, tmp_path):
    content = small_video(tmp_path / "a.mp4").read_bytes()
    id = client.post("/v1/inputs", files={"file": ("a.mp4", content)}).json()["id"]
    said = plan(client, "extend", video=id, seconds=1.0)
    assert said.status_code == 200 or "image" in said.json()["detail"], said.text
