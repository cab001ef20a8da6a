"""Commands that need no network import no torch: they answer at once."""

import json
import subprocess
import sys

import pytest
from unit.test_cli_json import commands

from wan22.catalog import EMBEDDED
from wan22.media.writer import VideoWriter

SCRIPT = """
import sys
from wan22.cli.__main__ import main
code = main(sys.argv[1:])
assert 'torch' not in sys.modules, 'torch was imported'
sys.exit(code)
"""


def light(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models"], "ti2v-5B"),
        (["models", "--json"], '"name": "nano"'),
        (["models", "nano"], "defaults"),
        (["models", "t2v-A14B"], "defaults"),
        (["inspect", "nano"], "high"),
        (["inspect", EMBEDDED / "vae.safetensors"], "vae"),
        (["vocabulary"], "dolly-in"),
        (["extend", "@0s a red ball @2s it rolls", "--engine", "rules"], "@2s"),
    ],
)
def test_no_torch_is_imported_where_none_is_needed(arguments, said):
    assert said in light(*arguments)


def test_a_recipe_is_shown_without_torch(tmp_path):
    import numpy as np

    with VideoWriter(tmp_path / "a.mp4", fps=8, size=(32, 32)) as writer:
        writer.add(np.zeros((2, 32, 32, 3), np.uint8))
        writer.close({"prompt": "a red ball"})
    assert "a red ball" in light("show", tmp_path / "a.mp4")


def test_no_compiler_is_imported_where_none_is_asked_for():
    """PyTorch's own fills of the meta device would load it, which takes longer than a small video."""
    script = (
        "import sys, wan22; wan22.load('nano', device='cpu').expert('high'); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


STARTS = {
    "storyboard": "nowhere.txt", "decode": "nowhere.latents.safetensors", "vocabulary": "lens", "extend": "ball",
    "models": "nothing", "download": "nano", "inspect": "nothing", "verify": "empty", "train": "broken.toml",
    "curate": "folder", "caption": "folder --server http://localhost:1", "show": "empty", "measure": "empty",
    "drift": "empty", "eval": "broken.toml", "data survey": "folder", "generate": "ball --image nowhere.png",
    "image": "ball --camera sideways",
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
