"""How long a command takes to start: milliseconds, and as a multiple of `python -c pass` on the same machine.

    python -m bench.startup
    python -m bench.startup --repeats 20

The least of several runs is given: what is added to it is the machine's other work. No test reads these figures; that
commands import no torch where they need none is tests/unit/test_cli_light.py's to say.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = {
    "--help": ["--help"],
    "generate --help": ["generate", "--help"],
    "models": ["models"],
    "inspect nano": ["inspect", "nano"],
    "vocabulary": ["vocabulary"],
    "generate, refused": ["generate", "a red ball", "--size", "12"],
    "storyboard --plan": ["storyboard", "script.txt", "--plan"],
}
"""The last one resolves requests as `generate` does before it loads weights, and so imports torch."""


def least(command: list[str], repeats: int, folder: Path) -> float:
    """Milliseconds of the fastest of several runs, after one that fills the caches."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, capture_output=True, check=False)
        taken.append((time.perf_counter() - began) * 1000)
    return min(taken[1:])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command")
    asked = parser.parse_args(arguments)
    if asked.repeats < 1:
        parser.error("--repeats must be at least 1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "script.txt").write_text("a red ball rolls")
        base = least([sys.executable, "-c", "pass"], asked.repeats, folder)
        print(f"{'python -c pass':20} {base:7.0f} ms")
        for shown, words in CASES.items():
            found = least([sys.executable, "-m", "wan22.cli", *words], asked.repeats, folder)
            print(f"{shown:20} {found:7.0f} ms   {found / base:5.1f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
