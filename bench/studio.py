"""How soon the studio's page is there, and how smoothly its gallery scrolls.

    python -m bench.studio [--runs 5] [--items 10000]

It serves an empty data folder and opens the page in a new Chromium context each time, so nothing is cached. Prints the
medians in milliseconds, and the bytes that were sent. Then it scrolls a gallery of `items`, a step for each
frame, as a wheel does and from its beginning to its end within four seconds, and prints how many frames a second the
page drew, the length in milliseconds that 95 of 100 frames do not exceed, and how many took longer than 50 ms.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ARGUMENTS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split()
TIMES = """() => ({
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null,
    bytes: [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .filter(each => !each.name.includes('/v1/')).reduce((sum, each) => sum + each.transferSize, 0),
})"""


@contextmanager
def _served() -> Generator[str]:
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "wan22", "serve", "--port", "0", "--json", "--data", data]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            yield next(said["url"] for line in process.stdout if "url" in (said := json.loads(line)))
        finally:
            process.terminate()
            process.communicate()


SCROLL = """async ([pixels, seconds]) => {
    const list = [...document.querySelectorAll('main *')].find(each => each.scrollHeight > each.clientHeight + 1000)
    const whole = list.scrollHeight - list.clientHeight, way = pixels ? pixels * seconds : whole, frames = []
    list.scrollTop = 0
    let begun = 0, last = 0
    await new Promise(done => requestAnimationFrame(function step(now) {
        if (begun) frames.push(now - last)
        begun ||= now
        last = now
        list.scrollTop = way * (now - begun) / (1000 * seconds)
        now - begun < 1000 * seconds ? requestAnimationFrame(step) : done()
    }))
    frames.sort((a, b) => a - b)
    return {
        frames_per_second: frames.length / seconds, frame_95: frames[Math.floor(frames.length * 0.95)],
        long_frames: frames.filter(each => each > 50).length,
    }
}"""


def scroll(items: int, seconds: float = 4) -> dict[str, dict[str, float]]:
    """How a gallery of so many items scrolls, as a wheel does (2000 pixels a second), and all of it within `seconds`:
    frames a second, and frames that are long.

    The items are copies of one small job, so that the list is measured and not the network.
    """
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from studio.browser.harness import ARGUMENTS as QUIET
    from studio.browser.harness import copies, finished, site
    from unit.server.live import serving

    with (
        tempfile.TemporaryDirectory() as place,
        serving(Path(place), works=False) as server,
        sync_playwright() as playwright,
    ):
        server.finish = server.worker.finish
        copies(server, finished(server, "the oldest of all"), items - 1)
        browser = playwright.chromium.launch(executable_path=_chromium(), args=list(QUIET))
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{site(server.url)}/#/gallery")
        page.get_by_role("gridcell").nth(20).wait_for()
        found = {
            name: page.evaluate(SCROLL, [speed, seconds]) for name, speed in (("wheel", 2000), ("all", 0))
        }
        browser.close()
    return {name: {what: round(value, 1) for what, value in each.items()} for name, each in found.items()}


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("error: there is no Chromium: apt-get install chromium")
    return found


def measure(runs: int) -> dict[str, float]:
    """Medians over `runs`: milliseconds to the first paint and to the first screen, and bytes without the API's."""
    from playwright.sync_api import sync_playwright

    found: list[dict[str, float]] = []
    with _served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=ARGUMENTS)
        for _ in range(runs + 1):
            context = browser.new_context()
            page = context.new_page()
            page.goto(url)
            page.locator("main h1").first.wait_for()
            screen = page.evaluate("performance.now()")
            found.append(page.evaluate(TIMES) | {"screen": screen})
            context.close()
        browser.close()
    return {name: round(statistics.median(each[name] for each in found[1:])) for name in found[0]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--items", type=int, default=10_000)
    said = parser.parse_args()
    print(json.dumps(measure(said.runs)))
    print(json.dumps(scroll(said.items)))
