"""`wan22 serve` and `wan22 generate --server` as processes, with the embedded model, over a restart of the server."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from wan22.cli.__main__ import main
from wan22.media.image import write_image
from wan22.media.recipe import read_recipe

ASKED = [
    "a red ball rolls left",
    "--size",
    "64x64",
    "--frames",
    "5",
    "--steps",
    "12",
    "--seed",
    "3",
    "--image",
    "first.png",
]


def program(*words, **more):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen([sys.executable, "-m", "wan22.cli", *words], env=environment, text=True, **more)


@contextmanager
def serve(port):
    """`wan22 serve` on this port, once it listens; killed in the end."""
    words = ("serve", "--port", str(port), "--data", "data", "--devices", "cpu", "--json")
    process = program(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said = process.stdout.readline()
        assert said, process.stderr.read()
        yield process, json.loads(said)["url"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_video_is_made_by_a_server_that_restarts_meanwhile_with_the_bits_of_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(Path("first.png"), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = []
    with serve(port) as (server, url):
        client = program(
            "generate",
            *ASKED,
            "-o",
            "there.mp4",
            "--server",
            url,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            for line in client.stderr:
                said.append(line)
                if line.startswith("step "):
                    break
            server.send_signal(signal.SIGTERM)
            assert server.wait(120) == 0, server.stderr.read()
            with serve(port):
                out, err = client.communicate(timeout=600)
        finally:
            client.kill()
            client.communicate()
    said += err.splitlines(keepends=True)
    assert client.returncode == 0, "".join(said)[-1500:]
    assert out.splitlines() == ["there.mp4"] and any("answers again" in line for line in said)
    assert main(["generate", *ASKED, "--device", "cpu", "-o", "home.mp4"]) == 0
    there, home = read_recipe("there.mp4"), read_recipe("home.mp4")
    assert there["frames_sha256"] == home["frames_sha256"]
