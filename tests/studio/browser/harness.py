"""What the browser tests share: a server as a process, axe, composed keys, pages as screenshots."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from unit.jobs.processes import ROOT, environment

if TYPE_CHECKING:
    from playwright.sync_api import Page as Opened
else:
    Opened = Any

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
).split()
_PAUSE = 25  # milliseconds
LANGUAGES = ("en", "ko", "ja", "zh")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
TARGETS = {"target-size": {"enabled": True}}
"""A rule of WCAG 2.2 AA that axe leaves out unless it is named: targets of at least 24 pixels."""


def site(url: str) -> str:
    """The address of the pages, from that of the API."""
    return url.removesuffix("/v1")


def storage(url: str, **kept: str) -> dict[str, Any]:
    """What the page finds in its local storage: language and theme."""
    rows = [{"name": f"wan22.{name}", "value": value} for name, value in kept.items()]
    return {"cookies": [], "origins": [{"origin": url, "localStorage": rows}]}


@contextmanager
def nano_server(data: Path, *options: str):
    """`wan22 serve` as a process; yields its address, and ends it whatever happens."""
    command = [sys.executable, "-m", "wan22", "serve", "--port", "0", "--json", "--data", str(data), *options]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    )
    try:
        yield _address(process)
    finally:
        process.terminate()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


def _address(process) -> str:
    for line in process.stdout:
        said = json.loads(line)
        if url := said.get("url"):
            return url
    raise AssertionError("the server ended before it listened")


def holds(page: Opened, script: str, *, arg: Any = None, timeout: float = 120_000) -> None:
    """Wait until a script is true. Playwright's own wait lets the page evaluate text, which its policy forbids."""
    for _ in range(round(timeout / _PAUSE)):
        if page.evaluate(script, arg):
            return
        page.wait_for_timeout(_PAUSE)
    raise AssertionError(f"{script} did not come true")


def violations(page: Opened) -> list[str]:
    """What axe finds against WCAG 2.2 AA on the page as it is now, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    holds(page, "document.getAnimations().every(each => each.playState !== 'running')")
    found = Axe().run(page, options={"runOnly": RULES, "rules": TARGETS}).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for rule in found
        for node in rule["nodes"]
    ]


def compose(page: Opened, text: str) -> None:
    """Type `text` by an input method, and press Enter while it composes; the composition is then ended."""
    cdp = page.context.new_cdp_session(page)
    cdp.send(
        "Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)}
    )
    page.keyboard.press("Enter")
    cdp.send("Input.insertText", {"text": text})


def picture(page: Opened, file: Path, *, quality: int = 78) -> None:
    """Keep a screenshot as a small WebP."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(file, "WEBP", quality=quality, method=6)


def preview(server: Any, claim: Any) -> None:
    """Write a preview of a job, as its worker does."""
    place = server.folder.job(claim.job.id)
    place.mkdir(exist_ok=True)
    Image.new("RGB", (64, 40), "#8a5a20").save(place / "preview.webp")
    server.store.record(claim, {"type": "preview", "file": "preview.webp", "n": 1})


def finished(server: Any, prompt: str, **request: Any) -> str:
    """The id of a job that is complete."""
    job = server.store.add("video", {"prompt": prompt, "seed": 1, "model": "nano", **request})
    claim = server.store.claim("gpu0")
    assert claim.job.id == job.id
    server.finish(claim)
    return job.id


def copies(server: Any, id: str, count: int) -> None:
    """Copy the row of a job `count` times, as "video N": by the API each of so many would be written by itself."""
    with closing(sqlite3.connect(server.folder.path / "jobs.sqlite", isolation_level=None)) as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(job)")]
        kept = ", ".join(
            name for name in names if name not in ("n", "id", "key", "request", "search", "result")
        )
        database.execute(
            f"""INSERT INTO job (id, request, search, result, {kept})
                WITH RECURSIVE number (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM number WHERE i + 1 < ?)
                SELECT 'job_' || printf('%024d', i), json_object('prompt', 'video ' || i), 'video ' || i,
                       json_set(result, '$.stills', json('[]')), {kept}
                FROM number, job WHERE job.id = ? ORDER BY i""",
            (count, id),
        )
