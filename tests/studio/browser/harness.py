"""What the browser tests share: a server as a process, axe, composed keys, pages as screenshots."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import contextmanager
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
LANGUAGES = ("en", "ko", "ja", "zh")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


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
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


def _address(process) -> str:
    for line in process.stdout:
        said = json.loads(line)
        if url := said.get("url"):
            return url
    raise AssertionError("the server ended before it listened")


def violations(page: Opened) -> list[str]:
    """What axe finds against WCAG 2.2 AA on the page as it is now, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_function("document.getAnimations().every(each => each.playState !== 'running')")
    found = Axe().run(page, options={"runOnly": RULES}).response["violations"]
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
