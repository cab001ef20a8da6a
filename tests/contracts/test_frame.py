"""The frame of the project: what a fresh clone promises before anything is generated."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import wan22

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = "torch numpy PIL av safetensors tokenizers huggingface_hub transformers psutil einops rich cv2 matplotlib gguf"
HELP = """
import sys
from wan22.cli.__main__ import main
code = main(["generate", "--help"]) or main(["--help"])
print("heavy:", *sorted(set({heavy!r}.split()) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def test_help_imports_nothing_heavy():
    script = HELP.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "generate" in done.stdout
    assert done.stderr.strip() == "heavy:"


def test_no_test_reads_a_clock():
    """Machines are shared and of every age: times belong into bench/."""
    clock = re.compile(
        r"\b(?:time\.(?:time|monotonic|perf_counter|process_time)(?:_ns)?\(|timeit|getrusage|datetime\.now)"
    )
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    assert not [str(path) for path in tests if clock.search(path.read_text())]


def test_importing_the_package_imports_no_torch():
    script = "import sys, wan22; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_public_names_are_sorted_and_there():
    assert wan22.__all__ == sorted(wan22.__all__)
    for name in wan22.__all__:
        assert getattr(wan22, name) is not None


def test_the_version_is_said_once_and_the_same_everywhere(capsys):
    from wan22.cli.__main__ import main

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wan22 {wan22.__version__}\n"
    assert (
        PROJECT["project"]["dynamic"] == ["version"]
        and (ROOT / PROJECT["tool"]["hatch"]["version"]["path"]).is_file()
    )
    assert f"## {wan22.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_constraints_pin_torch_within_the_declared_range():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    declared = next(r for r in PROJECT["project"]["dependencies"] if r.startswith("torch>"))
    low, high = re.fullmatch(r"torch>=(\d+\.\d+),<(\d+)", declared).groups()
    pinned = tuple(map(int, pins["torch"].split(".")))
    assert tuple(map(int, low.split("."))) <= pinned < (int(high),)


def test_the_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert PROJECT["project"]["requires-python"] == ">=3.11"


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")


@needs_make
@pytest.mark.parametrize(
    "prompt",
    ['it\'s $HOME `touch x` $(touch y) "quoted"', "$(shell touch z)", "-o elsewhere", "빨간 공; ls # %"],
)
def test_make_video_hands_any_prompt_over_untouched(tmp_path, prompt):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    program = venv / "bin" / "wan22"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    (venv / ".installed").touch()
    before = set(ROOT.iterdir())
    done = make("video", f"VENV={venv}", f"PROMPT={prompt}", "SEED=3")
    assert done.stdout.splitlines() == ["generate", "--seed", "3", "--", prompt]
    assert set(ROOT.iterdir()) == before


@needs_make
def test_an_old_python_is_told_what_to_do(tmp_path):
    old = tmp_path / "python-old"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 0); $2"\n')
    old.chmod(0o755)
    done = make("video", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert done.returncode != 0
    assert "wan22 needs Python 3.11 or newer" in done.stderr and "is 3.9" in done.stderr
    done = make("video", f"VENV={tmp_path / 'venv'}", "PYTHON=no-such-python")
    assert "no no-such-python here" in done.stderr


def make(*arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
