"""Streams that are closed, full or ASCII, and names in other scripts: one clear line, the right code, no traceback."""

import os
import signal
import subprocess
import sys

import pytest

from wan22.cli import __main__ as entry
from wan22.errors import OptionError

ASCII = {
    "LC_ALL": "C",
    "LANG": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
}


def shell(command, folder, **more):
    """Run a line of shell in which wan22 is the command line."""
    line = command.replace("wan22", f"{sys.executable} -m wan22.cli")
    path = os.pathsep.join(each for each in sys.path if each)
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(folder / "cache"), **more}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, check=False, capture_output=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("command", "code", "lines"),
    [
        ("wan22 models >&-", 0, 0),
        ("wan22 models >&- 2>&-", 0, 0),
        ("wan22 models nowhere 2>&-", 2, 0),
        ("wan22 models > /dev/full", 2, 1),
        ("wan22 models > /dev/full 2> /dev/full", 2, 0),
        ("wan22 models nowhere 2> /dev/full", 2, 0),
        ("set -o pipefail; wan22 models | head -1", 0, 0),
        ("wan22 models nowhere --json | true", 0, 1),
        ("wan22 generate --help >&-", 0, 0),
        ("set -o pipefail; wan22 generate --help | head -1", 0, 0),
    ],
)
def test_streams_that_take_nothing(command, code, lines, tmp_path):
    found, _, err = shell(command, tmp_path)
    assert (found, len(err.splitlines())) == (code, lines), err
    assert "Traceback" not in err and "defect" not in err


def test_other_scripts_in_an_ascii_locale(tmp_path):
    code, _, err = shell("wan22 generate '빨간 공' --image 없는どこ没有.png", tmp_path, **ASCII)
    assert code == 2 and "does not exist" in err and "Traceback" not in err and len(err.splitlines()) == 1
    (tmp_path / "각본.txt").write_text("빨간 공이 구른다", "utf-8")
    code, out, err = shell("wan22 storyboard 각본.txt --plan", tmp_path, **ASCII)
    assert code == 0 and b"shot 1" in out, err


def test_bytes_that_are_no_text_in_a_prompt_are_refused(tmp_path):
    from wan22.catalog import VARIANTS
    from wan22.request import resolve
    from wan22.types import Request

    with pytest.raises(OptionError, match="no text in UTF-8"):
        resolve(Request(prompt="a \udcff ball"), VARIANTS["t2v-A14B"])
    code, _, err = shell("wan22 models $'\\xff'", tmp_path)
    assert code == 2 and "Traceback" not in err and "defect" not in err


def test_a_defect_says_where_its_traceback_is(tmp_path, monkeypatch, capsys):
    def broken(arguments):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(entry, "_run", broken)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert entry.main(["models"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: of ours (a defect of wan22; its traceback is in " in err
    assert "ZeroDivisionError: of ours" in (tmp_path / "wan22" / "defect.txt").read_text()


_PAUSED = """
import os, sys
from wan22.media.writer import VideoWriter

def pausing(name, word):
    real = getattr(VideoWriter, name)
    def paused(self, *arguments):
        setattr(VideoWriter, name, real)
        os.write(1, word)
        os.read(0, 1)  # until a signal comes
        return real(self, *arguments)
    setattr(VideoWriter, name, paused)

pausing("add", b"adding ")
pausing("abort", b"cancelling ")
from wan22.cli.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


_STARTS = {
    "module": ["-m", "wan22", "models"],
    "command line": ["-m", "wan22.cli", "models"],
    "script": ["-c", "import sys; from wan22.cli.__main__ import main; sys.exit(main())", "models"],
}


def started(command, folder, **more):
    path = os.pathsep.join([str(folder), *(each for each in sys.path if each)])
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


_WAIT = "os.write(1, b'waiting '); os.read(0, 1)"  # until a signal comes
_SLOW = {
    "an import": f"import os; {_WAIT}",
    "an import that makes another error of it": f"""
import os
try:
    {_WAIT}
except KeyboardInterrupt as error:
    raise ImportError("multiarray failed to import") from error
""",
    "an import, and cleaning up after it": f"import os\ntry:\n    {_WAIT}\nfinally:\n    {_WAIT}",
}


@pytest.mark.parametrize("slow", _SLOW)
@pytest.mark.parametrize("start", _STARTS)
def test_ctrl_c_while_libraries_are_imported(start, slow, tmp_path):
    (tmp_path / "typer.py").write_text(_SLOW[slow])
    with started(_STARTS[start], tmp_path) as process:
        for _ in range(_SLOW[slow].count(_WAIT)):
            assert process.stdout.read(8) == b"waiting "
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, b"", b"cancelled\n")


def test_ctrl_c_before_the_command_line_is_imported(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(f"""
import importlib.abc, os, sys
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "wan22.cli.__main__":
            {_WAIT}
sys.meta_path.insert(0, Slow())
""")
    with started(_STARTS["module"], tmp_path) as process:
        assert process.stdout.read(8) == b"waiting "
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, b"", b"cancelled\n")


def test_ctrl_c_while_the_program_ends(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        f"import atexit, os\natexit.register(lambda: ({_WAIT.replace('; ', ', ')}))"
    )
    with started(["-m", "wan22", "--version"], tmp_path) as process:
        assert process.stdout.readline().strip() and process.stdout.read(8) == b"waiting "
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, b"", b"cancelled\n")


def test_a_program_in_the_background_goes_on_ignoring_ctrl_c(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, signal\n"
        "atexit.register(lambda: os.write(1, b'%d' % (signal.getsignal(signal.SIGINT) is signal.SIG_IGN)))"
    )
    ignoring = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731 - run in the child
    with started(["-m", "wan22", "--version"], tmp_path, preexec_fn=ignoring) as process:
        assert process.communicate(timeout=120)[0].endswith(b"1")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.mp4", "shots/"])
def test_a_second_ctrl_c_while_it_cancels(name, tmp_path):
    path = os.pathsep.join(each for each in sys.path if each)
    command = [sys.executable, "-c", _PAUSED, "generate", "a red ball", "--size", "64x64", "--frames", "1"]
    with subprocess.Popen(
        [*command, "--steps", "1", "-o", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        for word in (b"adding ", b"cancelling "):
            assert process.stdout.read(len(word)) == word
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    said = err.decode().splitlines()
    assert process.returncode == 130 and out == b"", err
    assert "Traceback" not in err.decode() and said[-1].startswith("cancelled")
    assert sum("cancelled" in line for line in said) == 1
    assert not (tmp_path / name).exists()
    assert all(path.name.startswith(".") or ".latents." in path.name for path in tmp_path.iterdir())
