"""What docs/server.md says of the server is so: its codes, its limits, its commands with curl and the backup."""

import ast
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from docs.test_documents import ROOT, blocks
from unit.server.running import running

from wan22.jobs.codes import CODES
from wan22.jobs.job import Trouble
from wan22.server import problems
from wan22.server.settings import Settings

PAGE = (ROOT / "docs/server.md").read_text()


def shell(word):
    """The shell block of the page that has this word, for a server elsewhere."""
    (found,) = (
        text
        for page, language, text in blocks()
        if page.name == "server.md" and language == "sh" and word in text
    )
    return found


def refusals():
    """Every code that a place of the server refuses a request with."""
    for path in Path(problems.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "Refusal"
                and len(node.args) > 1
            ):
                if isinstance(node.args[1], ast.Constant):
                    yield node.args[1].value


CODES_OF_REQUESTS = (
    {*refusals(), *get_args(Trouble)}
    | {code for code, _ in problems._CODES.values()}
    | {code for *_, code in problems._OURS}
)


def test_every_code_is_explained():
    codes = CODES_OF_REQUESTS | {*CODES}
    assert len(codes) > 40
    assert {code for code in codes if f"`{code}`" not in PAGE.split("## Errors")[1]} == set()


@pytest.mark.parametrize("language", ["en", "ko", "ja", "zh"])
def test_every_code_has_a_text_in_the_studio(language):
    words = (ROOT / f"studio/src/lib/i18n/{language}/problems.ts").read_text(encoding="utf-8")
    for part, codes in (("request", CODES_OF_REQUESTS), ("jobs", {*CODES})):
        block = words.split(f"  {part}: {{")[1].split("  },")[0]
        texts = dict(re.findall(r"^    (\w+): '(.+)',$", block, re.MULTILINE))
        assert codes - texts.keys() == set()
        assert len(set(texts.values())) == len(texts)  # no text stands for two codes


def test_the_limits_are_those_of_the_settings():
    said = Settings()
    for number in (said.max_queued, said.max_streams, int(said.rate), said.max_upload >> 20):
        assert re.search(rf"\b{number:,}\b|\b{number}\b", PAGE), number


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_commands_with_curl_make_a_video(tmp_path):
    with running(tmp_path / "wan22-data") as server:
        script = shell("curl -N").replace("http://127.0.0.1:8722", server.url)
        done = subprocess.run(
            ["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "ball.mp4").read_bytes() == server.files["video.mp4"]
    assert (
        '"versions"' in done.stdout
        and "event: progress" in done.stdout
        and '"state":"completed"' in done.stdout
    )


def test_a_backup_made_meanwhile_holds_all_and_is_served_again(tmp_path):
    with running(tmp_path / "wan22-data") as server:
        job = server.store.add("video", {"prompt": "a ball"})
        while server.store.job(job.id).state != "completed":
            server.over.wait(0.01)
        done = subprocess.run(
            ["bash", "-ec", shell("backup")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "backup/jobs.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    with running(tmp_path / "backup") as server:
        assert server.store.job(job.id).state == "completed"
        assert (server.folder.job(job.id) / "video.mp4").read_bytes() == server.files["video.mp4"]
