"""A Chromium for the studio's pages, and servers for it to look at. Skipped with a reason where something is missing.

    open_page   open_page(url, "#/queue", language="ko", theme="light", motion="reduce", size=(390, 844)) -> Page
    live        a server whose worker makes every video at once (`unit.server.live`): `live.site` is its address
    idle        the same without a worker: the test plays it (`idle.store.claim`, `idle.preview`, `idle.finish`)
    nano        a process as of `wan22 serve`, with the embedded model

A page that writes an error to its console, or whose script fails, fails its test.
"""

import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from urllib.parse import urlsplit

import pytest
from studio.browser.harness import ARGUMENTS, Opened, holds, nano_server, preview, storage
from unit.server.live import serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items):
    for item in items:
        if "studio/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    """The browser, started once."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium fonts-noto-cjk")
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright axe-playwright-python")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


EVERYDAY = frozenset({("/recipe", 404), ("/plan", 422)})
"""Answers that are no fault, though Chromium writes them as errors: a file without a recipe, a form that cannot be."""


@pytest.fixture
def refusals():
    """What the pages of a test may be refused: pairs of an address's ending and a status, to which a test adds."""
    return set(EVERYDAY)


def _is_error(said, refusals) -> bool:
    if said.type != "error":
        return False
    found = re.match(r"Failed to load resource: the server responded with a status of (\d+)", said.text)
    path = urlsplit(said.location.get("url", "")).path
    return found is None or not any(path.endswith(end) and int(found[1]) == code for end, code in refusals)


@pytest.fixture
def open_page(chromium, refusals) -> "Callable[..., Opened]":
    """Open an address; everything is closed in the end, and errors of the pages fail the test."""
    errors: list[str] = []
    with ExitStack() as stack:

        def opened(
            url, route="#/", *, language="en", theme="dark", motion="no-preference", size=(1440, 900), **more
        ):
            context = chromium.new_context(
                viewport={"width": size[0], "height": size[1]}, reduced_motion=motion, locale=language,
                storage_state=storage(url, language=language, theme=theme), **more,
            )  # fmt: skip
            stack.callback(context.close)
            context.set_default_timeout(120_000)
            page = context.new_page()
            page.wait_for_function = partial(holds, page)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda said: errors.append(said.text) if _is_error(said, refusals) else None)
            page.goto(f"{url}/{route}")
            page.locator("main h1").first.wait_for()
            return page

        yield opened
    assert not errors, errors


@pytest.fixture
def live(tmp_path):
    """A server in this process, and a worker that can be held (`live.worker.hold`) or made to fail (`break_with`)."""
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def idle(tmp_path):
    """A server in this process, whose jobs only the test works on."""
    with serving(tmp_path, works=False) as server:
        server.preview, server.finish = partial(preview, server), server.worker.finish
        yield server


@pytest.fixture
def nano(tmp_path):
    """The address of a server process with the embedded model."""
    with nano_server(tmp_path / "data") as url:
        yield url
