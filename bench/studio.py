"""How soon the studio's page is there: first paint, first screen, and what a browser loads for it.

    python -m bench.studio [--runs 5]

It serves an empty data folder and opens the page in a new Chromium context each time, so nothing is cached. Prints the
medians in milliseconds, and the bytes that were sent.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

ARGUMENTS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split()
TIMES = """() => ({
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null,
    bytes: [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .filter(each => !each.name.includes('/v1/')).reduce((sum, each) => sum + each.transferSize, 0),
})"""


@contextmanager
def _served() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "wan22", "serve", "--port", "0", "--json", "--data", data]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            yield next(said["url"] for line in process.stdout if "url" in (said := json.loads(line)))
        finally:
            process.terminate()
            process.communicate()


def measure(runs: int) -> dict[str, float]:
    """Medians over `runs`: milliseconds to the first paint and to the first screen, and bytes without the API's."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("error: there is no Chromium: apt-get install chromium")
    found: list[dict[str, float]] = []
    with _served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
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
    print(json.dumps(measure(parser.parse_args().runs)))
