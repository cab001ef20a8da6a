"""The commands of the README run, on tiny models, in the order in which a reader would give them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from docs.test_documents import ROOT, commands, words
from unit.tiny import write_tiny, write_tiny_speech

from wan22.cli.__main__ import main
from wan22.engine import Engine
from wan22.media.audio import write_audio
from wan22.media.image import write_image
from wan22.media.writer import VideoWriter
from wan22.types import Audio

ELSEWHERE = {
    "download": "it needs the hub",
    "train": "tests/unit/test_subject.py runs the tutorial's",
    "eval": "tests/unit/train/test_evaluate.py runs a recipe",
    "doctor": "tests/unit/test_cli_models.py runs it",
    "serve": "tests/unit/server/test_serve.py runs it",
    "jobs": "tests/unit/test_cli_remote.py runs them",
}
"""Commands of the README that do not run here, and why."""
SMALL = {
    "decode": [],
    "generate": ["--steps", "2", "--seconds", "2.1", "--fps", "4"],
    "image": ["--steps", "2"],
    "storyboard": ["--steps", "2"],
    "data": ["--size", "64x64", "--frames", "9", "--fps", "8"],
}
"""What makes a command quick; all but the last also get a tiny model."""
SCRIPT = "Size: 48x32\nSeconds: 0.6\n\nShot 1: a red ball. Wide shot.\n\nShot 2: a blue cube at night.\n"


def lines() -> list[list[str]]:
    return [words(row.values[0]) for row in commands("wan22") if row.id.startswith("README.md")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with all that the commands name, and tiny models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(ROOT / "docs" / "examples", "docs/examples")
    Path("docs/images").mkdir()
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for name in ("first.png", "who.png", "docs/images/puppet.png"):
        write_image(Path(name), image)
    write_audio("speech.wav", Audio(np.sin(np.arange(12_000) / 20).astype(np.float32), 16_000))
    write_audio("docs/examples/song.wav", Audio(np.sin(np.arange(12_000) / 20).astype(np.float32), 16_000))
    Path("FOLDER").mkdir()
    for name in ("clip.mp4", "FOLDER/a.mp4"):
        with VideoWriter(name, fps=8, size=(64, 64)) as writer:
            writer.add(np.stack([np.roll(image, shift, axis=1) for shift in range(9)]))
            writer.close({})
    Path("FOLDER/a.txt").write_text("a red ball")
    Path("SCRIPT").write_text(SCRIPT)
    models = {
        "text": write_tiny(tmp_path / "tiny", only=True),
        "speech": write_tiny_speech(tmp_path / "tiny-speech"),
    }
    return models | {"file": models["text"] / "vae.safetensors"}


def arguments(name: str, rest: list[str], models: dict[str, Path]) -> list[str]:
    """A command's words with a tiny model and few steps; later options replace earlier ones."""
    said = {
        "PROMPT": "a red ball",
        "@0s ... @5s ...": "@0s a red ball @1s a blue cube",
        "FILE": str(models["file"]),
    }
    rest = [said.get(word, word.replace("song.flac", "song.wav")) for word in rest]
    if name not in SMALL:
        return [name, *rest]
    if name == "data":
        return [name, *rest, *SMALL[name]]
    if "--audio" in rest:
        return [name, *rest, "--steps", "2", "--clips", "1", "--model", str(models["speech"])]
    return [name, *rest, *SMALL[name], "--model", str(models["text"])]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_plots")
def test_the_commands_of_the_readme_run(place, monkeypatch, capsys):
    failed, ran = [], set()
    for name, *rest in lines():
        if name in ELSEWHERE:
            continue
        if name == "decode":
            with monkeypatch.context() as broken:
                broken.setattr(Engine, "_decode", lambda *_: 1 / 0)
                out = rest[0].removesuffix(".latents.safetensors")
                assert main(arguments("generate", ["PROMPT", "-o", out, "--seed", "5"], place)) == 1
        code = main(arguments(name, rest, place))
        ran.add(name)
        if code and not (name == "storyboard" and code == 1):  # random weights show nothing that was asked
            failed.append((name, rest, code, capsys.readouterr().err[-300:]))
    assert not failed, "\n".join(map(str, failed))
    assert ran | ELSEWHERE.keys() == {name for name, *_ in lines()} and len(ran) > 10
    assert Path("out.mp4").is_file() and Path("out.png").is_file() and Path("out.mp4.drift.json").is_file()
