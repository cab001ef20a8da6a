"""`wan22 generate --server` and `wan22 jobs` against the real server, whose worker is a thread of the test."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unit.server.running import running

from wan22 import atomic
from wan22.cli import remote, terminal
from wan22.cli.__main__ import main
from wan22.client import Client, connect
from wan22.media.image import write_image

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAN22_TOKEN", raising=False)
    return tmp_path


@pytest.fixture
def server(place):
    with running(place / "data") as here:
        yield here


def run(capsys, *words, code=0):
    """Run a command; return what it said on stdout and stderr, by lines."""
    found = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert found == code, err
    return out.splitlines(), err.splitlines()


def made(server):
    """The jobs of a server, the oldest first."""
    return server.store.jobs(order="asc")


def test_a_video_is_made_there_and_lies_where_it_would_have(server, capsys):
    out, err = run(capsys, "generate", "a red ball", "--seed", 3, "--size", "64x32", "--server", server.url)
    assert out == ["out/a-red-ball-3.mp4"] and Path(out[0]).read_bytes() == server.files["video.mp4"]
    (job,) = made(server)
    asked = {"prompt": "a red ball", "seed": 3, "size": [64, 32]}
    assert job.kind == "video" and job.request == asked | {"model": "nano"}
    assert (
        err[0] == f"{job.id} on {server.url}" and "note: a note of the worker" in err and "denoising" in err
    )
    assert "step 3 of 3, high-noise expert, 0.25 s/step, 0:01 left" in err and "frame 9 of 9" in err
    out, _ = run(capsys, "generate", "a red ball", "--seed", 3, "--server", server.url)
    assert out == ["out/a-red-ball-3-2.mp4"]


def test_the_events_for_machines_are_those_of_work_at_home(server, capsys):
    out, _ = run(capsys, "generate", "a red ball", "-o", "x.mp4", "--json", "--server", server.url)
    events = [json.loads(line) for line in out]
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "finished" and events[-1]["path"] == "x.mp4"
    assert events[-1]["recipe"] == {"prompt": "a red ball"} and kinds.count("progress") == 3
    progress = next(event for event in events if event["event"] == "progress")
    assert (
        progress | {"event": "progress", "step": 1, "steps": 3, "expert": "high", "clip": 1, "left": 1.0}
        == progress
    )


def test_an_image_is_made_there(server, capsys):
    server.files = {"image.png": b"\x89PNG"}
    out, _ = run(capsys, "image", "a red ball", "--server", server.url)
    assert out == ["out/a-red-ball-0.png"] and made(server)[0].kind == "image"


def test_several_are_a_group(server, capsys):
    out, _ = run(
        capsys, "generate", "a ball", "--count", 2, "--seed", 5, "-o", "x.mp4", "--server", server.url
    )
    assert out == ["x-1.mp4", "x-2.mp4"]
    group, *children = made(server)
    assert group.kind == "group" and [job.request["seed"] for job in children] == [5, 6]
    out, _ = run(capsys, "jobs", "download", group.id, "--server", server.url)
    assert out == ["out/a-ball-5.mp4", "out/a-ball-6.mp4"]


def test_a_file_is_sent_and_named_by_its_id(server, capsys):
    write_image(Path("첫 장.png"), np.zeros((32, 64, 3), np.uint8))
    words = ("generate", "a ball", "--image", "첫 장.png", "-o", "x.mp4", "--json", "--server", server.url)
    out, _ = run(capsys, *words)
    assert json.loads(out[0]) == {"event": "phase", "name": "upload", "detail": "첫 장.png"}
    (sent,) = server.store.inputs()
    assert made(server)[0].request["image"] == sent.id and (sent.name, sent.type) == (
        "첫 장.png",
        "image/png",
    )


def test_a_file_that_the_server_does_not_read_is_one_line(server, capsys):
    Path("x.png").write_bytes(b"no image")
    _, err = run(capsys, "generate", "a ball", "--image", "x.png", "--server", server.url, code=2)
    assert err[0] == "sending: x.png" and err[1].startswith("error: ") and not made(server)


def test_takes_that_were_kept_lie_beside_the_best(server, capsys):
    server.files = {"video.mp4": b"best", "video-take-2.mp4": b"other"}
    words = ("generate", "a ball", "--best-of", 2, "--keep-takes", "-o", "x.mp4", "--server", server.url)
    assert run(capsys, *words)[0] == ["x.mp4"]
    assert (Path("x.mp4").read_bytes(), Path("x-take-2.mp4").read_bytes()) == (b"best", b"other")


def test_the_name_of_the_file_says_the_codec(server, capsys):
    server.files = {"video.webm": b"webm"}
    assert run(capsys, "generate", "a ball", "-o", "x.webm", "--server", server.url)[0] == ["x.webm"]
    assert made(server)[0].request["codec"] == "vp9"
    server.files = {"video.mov": b"mov"}
    assert run(capsys, "generate", "a ball", "--codec", "prores", "--server", server.url)[0] == [
        "out/a-ball-0.mov"
    ]


def test_detached_the_id_is_said_at_once(server, capsys):
    server.hold.set()
    (id,), err = run(capsys, "generate", "a ball", "--detach", "--server", server.url)
    assert made(server)[0].id == id and err == []
    server.hold.clear()
    out, err = run(capsys, "jobs", "watch", id, "--server", server.url)
    assert out == [f"{id} is complete: `wan22 jobs download {id} --server {server.url}` fetches it"]
    assert "step 3 of 3" in "\n".join(err)
    out, _ = run(capsys, "jobs", "download", id, "-o", "there.mp4", "--server", server.url)
    assert out == ["there.mp4"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(("invalid_request", "size is too large"), 2), (("out_of_memory", "the memory is not enough"), 1)],
)
def test_a_job_that_fails_says_why(error, code, server, capsys):
    server.error = error
    out, err = run(capsys, "generate", "a ball", "-o", "x.mp4", "--server", server.url, code=code)
    assert (
        out == []
        and err[-1] == f"error: {made(server)[0].id} failed: {error[1]}"
        and not Path("x.mp4").exists()
    )


def test_what_the_server_refuses_is_one_line(server, capsys):
    _, err = run(capsys, "generate", "a ball", "--model", "t2v-A14B", "--server", server.url, code=2)
    assert len(err) == 1 and "unknown model 't2v-A14B'" in err[0] and not made(server)


def test_a_server_of_another_version_is_said(server, capsys, monkeypatch):
    monkeypatch.setattr(remote, "__version__", "99.1")
    _, err = run(capsys, "generate", "a ball", "--model", "t2v-A14B", "--server", server.url, code=2)
    assert err[0].endswith("this is 99.1") and "The server is wan22 " in err[0]


def test_a_token_comes_from_the_environment_or_a_file(place, capsys, monkeypatch):
    with running(place / "data", token=TOKEN) as server:
        _, err = run(capsys, "jobs", "list", "--server", server.url, code=2)
        assert err == [f"error: {server.url} wants a token. Give it in $WAN22_TOKEN or in a file"]
        monkeypatch.setenv("WAN22_TOKEN", "wrong")
        _, err = run(capsys, "jobs", "list", "--server", server.url, code=2)
        assert "does not take this token" in err[0] and "wrong" not in err[0]
        Path("token").write_text(f"{TOKEN}\n")
        assert run(capsys, "jobs", "list", "--server", server.url, "--token-file", "token")[0] == ["no jobs"]
        monkeypatch.setenv("WAN22_TOKEN", TOKEN)
        assert run(capsys, "generate", "a ball", "-o", "x.mp4", "--server", server.url)[0] == ["x.mp4"]


def test_a_file_that_is_there_stays(server, capsys):
    Path("x.mp4").write_bytes(b"mine")
    words = ("generate", "a ball", "-o", "x.mp4", "--no-overwrite", "--server", server.url)
    _, err = run(capsys, *words, code=2)
    assert "exists already" in err[0] and not made(server)
    server.hold.set()
    (id,), _ = run(capsys, "generate", "a ball", "--detach", "--server", server.url)
    server.hold.clear()
    run(capsys, "jobs", "watch", id, "--server", server.url)
    _, err = run(
        capsys, "jobs", "download", id, "-o", "x.mp4", "--no-overwrite", "--server", server.url, code=2
    )
    assert "exists already" in err[-1] and Path("x.mp4").read_bytes() == b"mine"


def test_a_disk_that_is_full_loses_nothing(server, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "sync", full)
        _, err = run(capsys, "generate", "a ball", "-o", "x.mp4", "--server", server.url, code=2)
    id = made(server)[0].id
    assert err[-1] == (
        "error: x.mp4 cannot be written: No space left on device. The server keeps the file: "
        f"`wan22 jobs download {id} --server {server.url}` fetches it"
    )
    assert sorted(path.name for path in Path().iterdir()) == ["data"]
    assert run(capsys, "jobs", "download", id, "-o", "x.mp4", "--server", server.url)[0] == ["x.mp4"]


def test_a_file_that_arrives_damaged_is_not_kept(server, capsys, monkeypatch):
    monkeypatch.setattr(remote, "_sha256", lambda path: "0" * 64)
    _, err = run(capsys, "generate", "a ball", "-o", "x.mp4", "--server", server.url, code=2)
    assert "video.mp4 arrived damaged. The server keeps the file" in err[-1] and not Path("x.mp4").exists()


# wan22 jobs


@pytest.fixture
def waiting(server, capsys):
    """The ids of three jobs, of which the first is held in its first step."""
    server.hold.set()
    words = ("--detach", "--server", server.url)
    ids = [run(capsys, "generate", f"a ball {n}", *words)[0][0] for n in range(3)]
    while server.store.job(ids[0]).step < 1:
        server.over.wait(0.01)
    return ids


def test_jobs_are_listed_and_shown(server, waiting, capsys):
    out, _ = run(capsys, "jobs", "list", "--server", server.url)
    assert [line.split()[0] for line in out] == waiting[::-1] and out[0].endswith("a ball 2")
    out, _ = run(capsys, "jobs", "list", "--state", "running", "--server", server.url)
    assert [line.split()[:2] for line in out] == [[waiting[0], "running"]]
    out, _ = run(capsys, "jobs", "list", "--text", "ball 1", "--json", "--server", server.url)
    assert [json.loads(line)["id"] for line in out] == [waiting[1]]
    out, _ = run(capsys, "jobs", "show", waiting[2], "--server", server.url)
    shown = dict(line.split(maxsplit=1) for line in out)
    assert shown["state"] == "queued" and shown["prompt"] == "a ball 2" and shown["ahead"] == "1"
    out, _ = run(capsys, "jobs", "show", waiting[0], "--json", "--server", server.url)
    assert json.loads(out[0])["request"]["prompt"] == "a ball 0"


def test_jobs_are_moved_paused_and_resumed(server, waiting, capsys):
    _, second, third = waiting
    run(capsys, "jobs", "move", third, "--first", "--server", server.url)
    assert [server.store.position(id) for id in (third, second)] == [0, 1]
    run(capsys, "jobs", "move", second, "--before", third, "--server", server.url)
    assert server.store.position(second) == 0
    assert run(capsys, "jobs", "pause", second, third, "--server", server.url)[0] == [
        f"{second} paused",
        f"{third} paused",
    ]
    out, _ = run(capsys, "jobs", "resume", third, "--json", "--server", server.url)
    assert json.loads(out[0])["state"] == "queued"


def test_jobs_are_cancelled_tried_again_trashed_and_purged(server, waiting, capsys):
    first, second, _ = waiting
    assert run(capsys, "jobs", "cancel", second, "--server", server.url)[0] == [f"{second} cancelled"]
    assert run(capsys, "jobs", "retry", second, "--server", server.url)[0] == [f"{second} queued"]
    assert run(capsys, "jobs", "trash", second, "--server", server.url)[0] == [
        f"{second} cancelled, in the trash"
    ]
    assert second in run(capsys, "jobs", "list", "--trashed", "--server", server.url)[0][0]
    assert run(capsys, "jobs", "restore", second, "--server", server.url)[0] == [f"{second} cancelled"]
    _, err = run(capsys, "jobs", "purge", second, "--server", server.url, code=2)
    assert "trash" in err[0]
    run(capsys, "jobs", "trash", second, "--server", server.url)
    assert run(capsys, "jobs", "purge", second, "--server", server.url)[0] == [f"{second} is gone"]
    _, err = run(capsys, "jobs", "show", second, "--server", server.url, code=2)
    assert second in err[0] and len(err) == 1
    run(capsys, "jobs", "cancel", first, "--server", server.url)
    _, err = run(capsys, "jobs", "watch", first, "--server", server.url, code=130)
    assert err[-1] == f"{first} was cancelled"


def test_an_id_is_completed_from_the_server(server, waiting):
    from wan22.cli.app import program

    show = program().commands["jobs"].commands["show"]
    with show.make_context("show", ["", "--server", server.url], resilient_parsing=True) as context:
        (id,) = (parameter for parameter in show.params if parameter.name == "id")
        assert {item.value for item in id.shell_complete(context, "job_")} == set(waiting)


# Ctrl-C


def started(server, folder, *words):
    """`wan22 generate` as a process, in its first step."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    process = subprocess.Popen(
        [sys.executable, "-m", "wan22.cli", "generate", "a ball", "--server", server.url, *words],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("step 1 of 3"):
            return process
    raise AssertionError(process.wait())


@pytest.mark.slow
def test_ctrl_c_cancels_the_job(server, place):
    server.hold.set()
    with started(server, place, "-o", "x.mp4") as process:
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130 and said.splitlines()[-1] == "cancelled, nothing was written"
    assert made(server)[0].state == "cancelled" and not Path("x.mp4").exists()


def test_a_second_ctrl_c_leaves_the_job_and_says_how_to_watch_it(server, capsys, monkeypatch):
    """The first one is answered only when a second one came, as where the server is slow."""
    server.hold.set()
    monkeypatch.setattr(terminal, "raise_on_interrupt", lambda: None)
    turns = []

    def follow(self):
        turns.append(self)
        if len(turns) == 1:
            next(self._client.follow(self._id, print))
        raise KeyboardInterrupt

    monkeypatch.setattr(remote.Watch, "_follow", follow)
    monkeypatch.setattr("wan22.client.Client.act", lambda self, id, action: {})
    _, err = run(capsys, "generate", "a ball", "-o", "x.mp4", "--server", server.url, code=130)
    (job,) = made(server)
    assert err[-2] == "cancelling; Ctrl-C again leaves the job to itself"
    assert err[-1] == f"the job is left to itself: `wan22 jobs watch {job.id} --server {server.url}` shows it"
    assert job.state != "cancelled" and len(turns) == 2


def test_ctrl_c_while_the_job_is_asked_for_leaves_none(server, capsys, monkeypatch):
    server.hold.set()
    real, asked = Client.add, []

    def add(self, *words, **more):
        asked.append(real(self, *words, **more))
        if len(asked) == 1:  # it came there, and its answer did not come here
            raise KeyboardInterrupt
        return asked[-1]

    monkeypatch.setattr("wan22.client.Client.add", add)
    _, err = run(capsys, "generate", "a ball", "-o", "x.mp4", "--server", server.url, code=130)
    (job,) = made(server)
    assert err == ["cancelled, nothing was made"] and [each["id"] for each in asked] == [job.id] * 2
    while server.store.job(job.id).state != "cancelled":
        server.over.wait(0.01)


def test_ctrl_c_while_watching_leaves_the_job(server, waiting, capsys, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(remote.Watch, "_follow", interrupted)
    _, err = run(capsys, "jobs", "watch", waiting[0], "--server", server.url, code=130)
    assert err == [f"the job goes on: `wan22 jobs watch {waiting[0]} --server {server.url}` shows it"]
    assert server.store.job(waiting[0]).state == "running"


def test_a_server_that_ends_is_one_line_and_one_that_ends_meanwhile_is_waited_for(
    server, capsys, monkeypatch
):
    server.app.state.draining = True
    _, err = run(capsys, "generate", "a ball", "-o", "x.mp4", "--server", server.url, code=2)
    assert err == [f"error: {server.url}: the server is ending; ask again soon"]
    server.app.state.draining = False
    server.hold.set()

    def end():
        while not (jobs := made(server)) or jobs[0].step < 1:
            server.over.wait(0.01)
        server.app.state.draining = True
        server.app.state.feed._streams.copy().pop().slow.set()  # its stream ends
        server.hold.clear()

    def come_back(_):
        server.app.state.draining = False

    monkeypatch.setattr(remote, "connect", lambda *said: replace(connect(*said), sleep=come_back))
    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    out, err = run(capsys, "generate", "a ball", "-o", "x.mp4", "--server", server.url)
    thread.join(120)
    assert out == ["x.mp4"] and f"{server.url} answers again" in err
