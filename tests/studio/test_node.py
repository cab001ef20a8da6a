"""The studio's own tests and types, by Node; skipped with a reason where Node or the packages are not there."""

import shutil
import subprocess
from pathlib import Path

import pytest

STUDIO = Path(__file__).parents[2] / "studio"

needs_node = pytest.mark.skipif(
    shutil.which("npm") is None or not (STUDIO / "node_modules").is_dir(),
    reason="Node or studio/node_modules is missing: run `npm ci` in studio/",
)


def run(script: str) -> None:
    done = subprocess.run(
        ["npm", "run", "--silent", script], cwd=STUDIO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@needs_node
@pytest.mark.slow
def test_the_modules_do_what_their_tests_say():
    run("test")


@needs_node
@pytest.mark.slow
def test_every_type_fits_and_no_language_lacks_words():
    run("check")
