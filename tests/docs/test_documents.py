"""What the documents show works: python blocks run on tiny models, lines of `wan22` are read by the real command line.

Commands are not run: most name files, servers or weights that are not here. Their options and values are checked.
"""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from unit.server.running import running
from unit.tiny import tiny_variant, write_tiny, write_tiny_speech

import wan22
from wan22.cli.__main__ import completed
from wan22.cli.app import program
from wan22.client import URL
from wan22.media.audio import write_audio
from wan22.media.image import write_image
from wan22.pipeline.pipeline import load
from wan22.types import Audio

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = program().commands
SMALLER = {"count=500": "count=4", "steps=2000": "steps=2"}
"""Numbers of a long training, and those that are run in their place."""


def blocks() -> Iterator[tuple[Path, str, str]]:
    """Every fenced block: page, language, text."""
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text()):
            yield page, language, text


def commands(program: str) -> list:
    """Every line of a shell block that calls a program, with its place."""
    found = []
    for page, language, text in blocks():
        if language not in ("", "sh", "bash"):
            continue
        for shown in text.replace("\\\n", " ").splitlines():
            line = shown.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if line.startswith(program + " "):
                found.append(pytest.param(line, id=f"{page.name}: {line[:60]}"))
    return found


def words(line: str) -> list[str]:
    """The arguments of a command, as a shell reads them, up to a pipe."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>;&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    found = list(lexer)
    ends = [place for place, word in enumerate(found) if word in ("|", ">", ";", "&&", "||")]
    return found[1 : ends[0] if ends else None]


@pytest.mark.parametrize("line", commands("wan22"))
def test_a_documented_command_is_read(line):
    name, *rest = completed(words(line))
    command = COMMANDS[name]
    while hasattr(command, "commands") and rest[0] in command.commands:
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(name, rest)


@pytest.mark.parametrize("line", commands("python -m"))
def test_a_documented_module_is_there(line):
    assert find_spec(shlex.split(line, comments=True)[2])


def test_documents_show_commands_and_python():
    assert len(commands("wan22")) > 50
    assert len([1 for _, language, _ in blocks() if language == "python"]) > 5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "text": write_tiny(folder / "tiny", only=True),
        "speech": write_tiny_speech(folder / "tiny-speech"),
    }


PYTHON = [
    pytest.param(page, text, id=f"{page.name}-{place}")
    for place, (page, language, text) in enumerate(blocks())
    if language == "python"
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of OpenAI's client, of its videos
@pytest.mark.parametrize(("page", "text"), [row for row in PYTHON if "OpenAI(" in row.values[1]])
def test_a_snippet_that_asks_a_server_runs(page, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with running(tmp_path / "data") as server:
        exec(compile(text.replace(URL, server.url), page.name, "exec"), names := {})
        names["client"].close()
        assert Path("ball.mp4").read_bytes() == server.files["video.mp4"]


@pytest.mark.parametrize(("page", "text"), [row for row in PYTHON if "OpenAI(" not in row.values[1]])
def test_a_documented_snippet_runs(page, text, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load_tiny(model=None, **options):
        if "fast=True" in text:  # the adapters for few steps are the embedded model's
            return load(model, **options)
        return load(tiny["speech" if "s2v" in str(model) else "text"], **options)

    monkeypatch.setattr("wan22.pipeline.pipeline.load", load_tiny)
    monkeypatch.setattr(wan22, "load", load_tiny, raising=False)
    image = np.full((64, 64, 3), 127, np.uint8)
    write_image(Path("puppet.png"), image)
    write_audio("speech.wav", Audio(np.sin(np.arange(16000) / 20).astype(np.float32), 16000))
    write_loras()
    Path("prompts.txt").write_text("a red ball rolls left\na blue cube spins\n")
    for long, short in SMALLER.items():
        text = text.replace(long, short)
    exec(compile(text, page.name, "exec"), {"frames": np.stack([image] * 9), "fps": 8.0})


def write_loras():
    """LoRAs of the tiny model: style.safetensors for both experts, and the pair other/."""
    generator = torch.Generator().manual_seed(0)
    width = tiny_variant().dit.dim
    query = {
        f"diffusion_model.blocks.0.self_attn.q.lora_{side}.weight": torch.randn(shape, generator=generator)
        for side, shape in (("A", (2, width)), ("B", (width, 2)))
    }
    Path("other").mkdir()
    for name in ("style", "other/high_noise", "other/low_noise"):
        save_file(query, f"{name}.safetensors")


def test_adapters_for_few_steps_are_shown_with_the_shift_that_they_were_made_for():
    (line,) = (row.values[0] for row in commands("wan22") if "--solver distilled" in row.values[0])
    assert "--steps 4 --shift 5 --guidance 1 --solver distilled" in line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def test_every_guide_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[\w.-]+\.md)\)", PAGES[0].read_text()))
    assert linked == {f"docs/{page.name}" for page in PAGES[1:]}


def test_no_document_names_a_commit():
    found = [
        f"{page.name}: {word}"
        for page in PAGES
        for word in re.findall(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{7,40}\b", page.read_text())
    ]
    assert not found
