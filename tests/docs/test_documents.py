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
import typer
from unit.tiny import write_tiny, write_tiny_speech

import wan22
from wan22.cli.app import app
from wan22.media.audio import write_audio
from wan22.media.image import write_image
from wan22.pipeline.pipeline import load
from wan22.types import Audio

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = typer.main.get_command(app).commands
GIVEN = {
    "fast.md": "it shows one argument, and an hour of training",
    "lora.md": "it names LoRA files and the large model",
}
"""Pages whose python is compiled and not run, and why."""


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
    name, *rest = words(line)
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


@pytest.mark.parametrize(("page", "text"), PYTHON)
def test_a_documented_snippet_runs(page, text, tiny, tmp_path, monkeypatch):
    code = compile(text, page.name, "exec")
    if page.name in GIVEN:
        return
    monkeypatch.chdir(tmp_path)

    def load_tiny(model=None, **options):
        return load(tiny["speech" if "s2v" in str(model) else "text"], **options)

    monkeypatch.setattr("wan22.pipeline.pipeline.load", load_tiny)
    monkeypatch.setattr(wan22, "load", load_tiny, raising=False)
    image = np.full((64, 64, 3), 127, np.uint8)
    write_image(Path("puppet.png"), image)
    write_audio("speech.wav", Audio(np.sin(np.arange(16000) / 20).astype(np.float32), 16000))
    exec(code, {"frames": np.stack([image] * 9), "fps": 8.0})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]
