"""Commands that need no network import no torch: they answer at once."""

import json
import subprocess
import sys

import numpy as np
from unit.test_cli_json import commands

from wan22.catalog import EMBEDDED
from wan22.media.writer import VideoWriter

SCRIPT = """
import contextlib, io, json, sys
from wan22.cli.__main__ import main
for words, said in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(words)
    assert 'torch' not in sys.modules, f'{words} imports torch'
    assert code == 0 and said in out.getvalue(), (words, code, out.getvalue())
"""


def test_no_torch_is_imported_where_none_is_needed(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=8, size=(32, 32)) as writer:
        writer.add(np.zeros((2, 32, 32, 3), np.uint8))
        writer.close({"prompt": "a red ball"})
    words = [
        (["models"], "ti2v-5B"),
        (["models", "--json"], '"name": "nano"'),
        (["models", "nano"], "defaults"),
        (["models", "t2v-A14B"], "defaults"),
        (["inspect", "nano"], "high"),
        (["inspect", str(EMBEDDED / "vae.safetensors")], "vae"),
        (["vocabulary"], "dolly-in"),
        (["extend", "@0s a red ball @2s it rolls", "--engine", "rules"], "@2s"),
        (["show", str(tmp_path / "a.mp4")], "a red ball"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_compiler_is_imported_where_none_is_asked_for():
    """PyTorch's own fills of the meta device would load it, which takes longer than a small video."""
    script = (
        "import sys, wan22; wan22.load('nano', device='cpu').expert('high'); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


STARTS = {
    "storyboard": "nowhere.txt", "decode": "nowhere.latents.safetensors", "vocabulary": "lens", "extend": "ball",
    "models": "nothing", "plan": "nothing", "download": "nano", "inspect": "nothing", "verify": "empty",
    "train": "broken.toml", "curate": "folder", "caption": "folder --server http://localhost:1", "show": "empty",
    "measure": "empty", "drift": "empty",
    "render": "broken.toml -o cut.mp4",
    "export": "broken.toml -o cut.otio", "timeline": "nowhere.mp4 -o cut.json",
    "preprocess": "nowhere.mp4 -o folder",
    "eval": "broken.toml", "data survey": "folder",
    **dict.fromkeys((f"jobs {name}" for name in (
        "show", "watch", "cancel", "pause", "resume", "retry", "trash", "restore", "purge", "download")),
        f"job_{'0' * 24} --server http://127.0.0.1:1"),
    "serve": "--models nothing", "studio": "--models nothing", "jobs list": "--server http://127.0.0.1:1",
    "jobs move": f"job_{'0' * 24} --first --server http://127.0.0.1:1",
    "generate": "ball --image nowhere.png", "image": "ball --camera sideways",
}  # fmt: skip
"""What each command finds out before it needs a network."""

HEAVY = {
    "convert": "it copies tensors as torch holds them",
    "doctor": "it says which devices torch has",
}
"""Commands that begin with torch, and why."""

SWEEP = """
import contextlib, io, json, sys
from wan22.cli.__main__ import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(words)
    heavy = {"torch", "transformers", "torchvision", "tensorflow"} & set(sys.modules)
    assert not heavy, f"{words} imports {heavy}"
"""


def test_no_other_command_begins_with_torch(tmp_path):
    assert {*STARTS, *HEAVY} == {name for name, _ in commands()}
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "broken.toml").write_text("x = [")
    words = [[*name.split(), *more.split()] for name, more in STARTS.items()]
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, json.dumps(words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
