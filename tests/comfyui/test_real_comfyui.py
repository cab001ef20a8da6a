"""The nodes in a real ComfyUI, where COMFYUI_PATH names its folder; COMFYUI_PYTHON is its Python, this one by default.

It runs on the CPU with a folder of its own for everything that it writes. wan22 must be importable in its Python: this
tree is put on its path.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import fake_comfy
import pytest

COMFYUI = os.environ.get("COMFYUI_PATH")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMFYUI, reason="COMFYUI_PATH names no ComfyUI"),
    pytest.mark.timeout(900),
]


class Server:
    """A running ComfyUI."""

    def __init__(self, port, process, folder):
        self.address, self.process, self.folder = f"http://127.0.0.1:{port}", process, folder

    def get(self, path):
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path, value):
        asked = urllib.request.Request(
            self.address + path, json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            text = error.read()
        return json.loads(text) if text else None

    def wait(self, found):
        """Ask until there is an answer; a server that has ended fails."""
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-4000:]
            try:
                if (answer := found()) is not None:
                    return answer
            except OSError:
                pass  # it does not listen yet
            time.sleep(0.2)

    def run(self, graph):
        """Run a graph to its end; its entry in the history."""
        answer = self.post("/prompt", {"prompt": graph})
        assert "prompt_id" in answer, answer
        return self.wait(lambda: self.get(f"/history/{answer['prompt_id']}").get(answer["prompt_id"]))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comfyui")
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (folder / name).mkdir()
    (folder / "custom_nodes" / "comfyui-wan22").symlink_to(fake_comfy.ROOT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    path = os.pathsep.join([str(fake_comfy.ROOT.parent), os.environ.get("PYTHONPATH", "")])
    command = [python, "main.py", "--cpu", "--port", str(port), "--base-directory", str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--disable-api-nodes"],
            cwd=COMFYUI,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": path},
        )
    server = Server(port, process, folder)
    try:
        server.wait(lambda: server.get("/system_stats"))
        yield server
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder / "custom_nodes", ignore_errors=True)


def defaults(server, node, **given):
    """The inputs of a node: those, and the default of every other widget."""
    required = server.get(f"/object_info/{node}")[node]["input"]["required"]
    widgets = {
        name: more[1]["default"] for name, more in required.items() if len(more) > 1 and "default" in more[1]
    }
    return {"class_type": node, "inputs": widgets | given}


@pytest.fixture
def graph(server):
    small = {"prompt": "a red ball rolls left", "width": 64, "height": 64, "frames": 5, "steps": 2}
    return {
        "1": defaults(server, "Wan22Load"),
        "2": defaults(server, "Wan22Sample", model=["1", 0], **small),
        "3": defaults(server, "Wan22Decode", model=["1", 0], latent=["2", 0]),
        "4": defaults(server, "SaveVideo", video=["3", 1]),
    }


def test_it_lists_our_nodes(server, package):
    listed = server.get("/object_info")
    for id, node in fake_comfy.v3_nodes(package).items():
        found = listed[id]["input"]
        assert [*found["required"], *found.get("optional", {})] == sorted(
            (each.id for each in node.define_schema().inputs),
            key=[*found["required"], *found.get("optional", {})].index,
        )


def test_a_graph_of_ours_and_its_own_nodes_writes_a_video(server, graph):
    done = server.run(graph)
    assert done["status"]["status_str"] == "success", done["status"]
    assert len(list(Path(server.folder, "output").rglob("*.mp4"))) == 1


def test_a_mistake_is_shown_as_our_sentence(server, graph):
    graph["2"]["inputs"]["frames"] = 9999
    done = server.run(graph)
    errors = [more for kind, more in done["status"]["messages"] if kind == "execution_error"]
    assert (
        done["status"]["status_str"] == "error" and "use Wan22 Long Video" in errors[0]["exception_message"]
    )


def test_a_value_outside_its_range_is_refused_by_comfyui_itself(server, graph):
    graph["2"]["inputs"]["frames"] = -5
    answer = server.post("/prompt", {"prompt": graph})
    assert answer["node_errors"]["2"]["errors"][0]["type"] == "value_smaller_than_min"


def test_models_are_unloaded_when_it_is_asked(server, graph):
    """The node of models runs again from its cache, and the engine is opened anew."""
    server.post("/free", {"unload_models": True})
    graph["2"]["inputs"]["seed"] = 7
    assert server.run(graph)["status"]["status_str"] == "success"
