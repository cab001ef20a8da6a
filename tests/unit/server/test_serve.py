"""The server as a program: how it begins, what it refuses to begin with, and how it ends."""

import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace

import pytest
from unit.jobs.processes import ROOT, environment, until
from unit.server.processes import server
from unit.server.serving import events_of

from wan22.cli.__main__ import main
from wan22.errors import OptionError
from wan22.jobs.folder import Folder
from wan22.server.serve import listen, with_token
from wan22.server.settings import Settings

QUICK = """
import sys
from pathlib import Path
import wan22.cli.app
from wan22.jobs.folder import Folder
from wan22.server import serve
from wan22.server.app import create_app
from wan22.server.direction import Extension, extend_prompt
from wan22.server.settings import Settings
app = create_app(Folder(Path(sys.argv[1])), Settings())
app.openapi()
app.state.checker.check("video", {"prompt": "a ball", "steps": 3})
extend_prompt(Extension(prompt="a fox"), app.state)
print(sorted({"torch", "numpy", "av", "PIL", "transformers"} & set(sys.modules)))
"""


def test_the_server_imports_no_torch(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", QUICK, str(tmp_path)],
        check=False,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "[]", found.stderr


def refused(capsys, *options):
    code = main(["serve", *map(str, options)])
    said = capsys.readouterr()
    assert code == 2 and said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1, said
    return said.err


def test_a_port_that_is_taken(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}: another program" in refused(
            capsys, "--data", tmp_path / "d", "--port", port
        )


def test_a_folder_that_another_server_has(tmp_path, capsys):
    with Folder(tmp_path).lock():
        assert "another server uses" in refused(capsys, "--data", tmp_path, "--port", 0)


def test_a_damaged_database(tmp_path, capsys):
    Folder(tmp_path).open_store().close()
    (tmp_path / "jobs.sqlite").write_bytes(b"no database, but long enough to be one" * 200)
    assert str(tmp_path / "jobs.sqlite") in refused(capsys, "--data", tmp_path, "--port", 0)


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert "cannot be made" in refused(capsys, "--data", tmp_path / "file" / "data", "--port", 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--port", 65536), "--port must be from 0 to 65535"),
        (("--port", 0, "--host", "0.0.0.0"), "there is no token"),
        (("--port", 0, "--host", "192.0.2.7"), "there is no token"),
        (("--port", 0, "--host", "example.com"), "there is no token"),
        (("--port", 0, "--models", "unknown"), "unknown model 'unknown'"),
        (("--port", 0, "--models", ","), "--models"),
        (("--port", 0, "--devices", ","), "device"),
        (("--port", 0, "--token-file", "/nowhere/token"), "cannot be read"),
        (("--port", 0, "--max-upload", 0), "--max-upload"),
    ],
    ids=str,
)
def test_what_a_server_does_not_begin_with(tmp_path, capsys, options, says):
    assert says in refused(capsys, "--data", tmp_path, *options)


def test_a_token_is_the_folders_or_that_of_a_file(tmp_path):
    everywhere = Settings(host="0.0.0.0")
    assert with_token(tmp_path, Settings()).token is None
    with pytest.raises(OptionError, match="no token"):
        with_token(tmp_path, everywhere)
    made = with_token(tmp_path, everywhere, new=True)
    assert made.token and (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert with_token(tmp_path, everywhere) == made
    assert with_token(tmp_path, Settings()) == replace(Settings(), token=made.token)
    own = tmp_path / "own"
    own.write_text("x" * 64)
    with pytest.raises(OptionError, match="too weak"):
        with_token(tmp_path, everywhere, file=own)
    own.write_text("0123456789abcdef" * 4 + "\n")
    assert with_token(tmp_path, everywhere, file=own).token == "0123456789abcdef" * 4


@pytest.mark.parametrize("host", ["nowhere.invalid", "300.1.1.1", "a" * 300, ""])
def test_an_address_that_is_none(host):
    with pytest.raises(OptionError, match="is no address of this machine"):
        listen(host, 0)


def watch(url, found):
    """Read a stream of events until it ends."""
    with urllib.request.urlopen(url, timeout=120) as stream:
        found.extend(events_of(line.decode().rstrip("\n") for line in stream))


@pytest.mark.slow
def test_sigterm_ends_in_order_and_the_next_start_goes_on(tmp_path):
    folder = Folder(tmp_path)
    with server(tmp_path) as running:
        running.ready()
        with folder.open_store(check=False) as store:
            job = store.add("video", {"prompt": "a", "steps": 40, "pause": 0.1, "seed": 3})
        seen: list = []
        reader = threading.Thread(target=watch, args=(f"{running.url}/v1/jobs/{job.id}/events", seen))
        reader.start()
        until(lambda: running.ask(f"/v1/jobs/{job.id}")[1]["step"] > 2, "the third step")
        running.process.send_signal(signal.SIGTERM)
        statuses = []
        while running.process.poll() is None:
            try:
                statuses.append(running.ask("/v1/jobs", {"request": {"prompt": "b"}})[0])
            except OSError:
                break
        assert running.process.wait(120) == 0
        reader.join(120)
    assert seen[-1][1] == "server_shutdown"
    assert set(statuses) <= {201, 503} and (not statuses or statuses[-1] == 503)
    with folder.open_store() as store:
        left = store.job(job.id)
        assert left.state == "queued" and 2 < left.step < 40 and left.attempts == 0
    with server(tmp_path) as running:
        running.ready()
        done = until(
            lambda: (j := running.ask(f"/v1/jobs/{job.id}")[1])["state"] == "completed" and j, "the end"
        )
        with urllib.request.urlopen(f"{running.url}/v1/jobs/{job.id}/files/video.mp4") as file:
            from bench.toy_jobs import undisturbed

            assert file.read().decode() == undisturbed(job.request)
        assert done["step"] == 40


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path):
    with server(tmp_path, drain_seconds=600) as running:
        running.ready()
        with Folder(tmp_path).open_store(check=False) as store:
            job = store.add("video", {"prompt": "a", "hang": 1})
        until(lambda: running.ask(f"/v1/jobs/{job.id}")[1]["state"] == "running", "the job")
        running.process.send_signal(signal.SIGTERM)
        until(lambda: running.ask("/healthz")[0] == 503, "the end to begin")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(120) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_the_command_says_where_it_serves(tmp_path):
    command = [
        sys.executable,
        "-m",
        "wan22",
        "serve",
        "--port",
        "0",
        "--data",
        str(tmp_path),
        "--devices",
        "cpu",
        "--new-token",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        said = process.stdout.readline()
        assert said.startswith(f"serving {tmp_path} at http://127.0.0.1:")
        token = tmp_path / "token"
        assert said.endswith(f"the token is in {token}\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        assert token.read_text().strip() not in said + process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_server_names_its_workers(tmp_path):
    """With the supervisor itself, not with what stands for it in other tests."""
    with server(tmp_path, workers=2) as running:
        running.ready()
        until(
            lambda: all(each["state"] == "idle" for each in running.ask("/v1/capabilities")[1]["workers"]),
            "both",
        )
        workers = running.ask("/v1/capabilities")[1]["workers"]
        assert [(each["name"], each["device"], each["restarts"]) for each in workers] == [
            ("cpu0", "cpu", 0),
            ("cpu1", "cpu", 0),
        ]
        with urllib.request.urlopen(f"{running.url}/metrics") as answer:
            assert 'wan22_worker_up{device="cpu",worker="cpu1"} 1.0' in answer.read().decode()
