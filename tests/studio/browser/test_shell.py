"""The shell of the pages: screens, languages, themes, keys, and the token."""

import pytest
from studio.browser.harness import LANGUAGES, finished, holds, site, violations
from studio.browser.timelines import clip, kept, shots
from unit.server.live import serving

from wan22.server.settings import Settings

TOKEN = "k3vX0pQ9" * 6
SCREENS = {
    "box": "#/",
    "queue": "#/queue",
    "gallery": "#/gallery",
    "storyboard": "#/storyboard",
    "timeline": "#/timeline",
}
SHOWN = {
    "box": "form", "queue": ".ended.failed", "gallery": "[role=option], .card", "storyboard": "article.shot",
    "timeline": "[role=gridcell]",
}  # fmt: skip
"""What is there when a screen has its content."""


def test_every_screen_is_reached_by_its_link_and_by_its_key(live, open_page):
    page = open_page(site(live.url))
    for at, (name, route) in enumerate(SCREENS.items(), 1):
        page.locator(f'nav a[href="{route}"]').click()
        page.wait_for_function(
            "route => document.querySelector('nav [aria-current]').getAttribute('href') === route", arg=route
        )
        page.locator('nav a[href="#/"]').click()
        page.keyboard.press(f"Alt+{at}")
        page.wait_for_function(
            "route => document.querySelector('nav [aria-current]').getAttribute('href') === route", arg=route
        )
        page.locator("main h1").wait_for()
        assert name in SCREENS and page.locator("main h1").count() == 1


def test_the_keys_are_shown_by_a_question_mark_and_the_focus_comes_back(live, open_page):
    page = open_page(site(live.url), "#/queue")
    link = page.locator('nav a[href="#/queue"]')
    link.focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Go to Gallery").wait_for()
    assert violations(page) == []
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert link.evaluate("node => node === document.activeElement")


def test_the_language_and_the_theme_are_kept(live, open_page):
    page = open_page(site(live.url), "#/queue")
    page.get_by_role("button", name="Language").click()
    page.get_by_role("menuitemcheckbox", name="한국어").click()
    page.get_by_role("heading", name="대기열").wait_for()
    assert page.locator("html").get_attribute("lang") == "ko"
    page.keyboard.press("Alt+t")
    page.reload()
    page.get_by_role("heading", name="대기열").wait_for()
    assert page.locator("html").get_attribute("data-theme") == "light"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_shell_has_no_violation_in_a_language(language, live, open_page):
    page = open_page(site(live.url), "#/queue", language=language, motion="reduce")
    page.locator("nav .tools button").nth(1).click()
    page.get_by_role("menu").wait_for()
    assert violations(page) == []


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory):
    """A server with a video, a failed job, one that runs, one that waits, a storyboard and a timeline."""
    with serving(tmp_path_factory.mktemp("lived"), works=False) as server:
        server.finish = server.worker.finish
        finished(server, "a red ball rolls")
        for prompt in ("too large", "it runs", "it waits"):
            server.http.post("/jobs", json={"request": {"prompt": prompt, "seed": 1}})
        server.store.fail(server.store.claim("gpu0"), "out_of_memory", "CUDA")
        server.store.claim("gpu0")
        script = "Subject: a red ball\n\nShot 1: It rolls.\n\nShot 2: It stops.\n"
        board = server.http.post("/storyboards", json={"script": script}).json()["id"]
        video = server.http.get("/jobs", params={"state": "completed"}).json()["data"][0]
        data = shots([])
        data["tracks"][0]["items"] = [clip("c1", {"job": video["id"], "file": "video.mp4"}, "ball", 8)]
        yield server, {"storyboard": board, "timeline": kept(site(server.url), data)}


@pytest.mark.parametrize("screen", SCREENS)
def test_no_screen_has_a_violation_in_either_theme(screen, lived_in, open_page):
    server, ids = lived_in
    route = f"{SCREENS[screen]}/{ids[screen]}" if screen in ids else SCREENS[screen]
    page = open_page(site(server.url), route, motion="reduce")
    page.locator(SHOWN[screen]).first.wait_for()
    for theme in ("dark", "light"):
        assert page.locator("html").get_attribute("data-theme") == theme
        assert violations(page) == []
        page.keyboard.press("Alt+t")


def test_the_token_is_taken_out_of_the_address_and_asked_for_where_it_is_missing(tmp_path, chromium):
    with serving(tmp_path, Settings(token=TOKEN), works=False) as server:
        context = chromium.new_context(locale="en")
        try:
            page = context.new_page()
            page.goto(f"{site(server.url)}/#token={TOKEN}")
            page.locator("main h1").wait_for()
            assert page.evaluate("location.hash") == "#/" and TOKEN not in page.content()
            assert page.evaluate("fetch('/v1/jobs').then(answer => answer.status)") == 200  # as an <img> asks
            assert page.evaluate("fetch('/v1/jobs', {method: 'POST'}).then(answer => answer.status)") == 401
        finally:
            context.close()
        context = chromium.new_context(locale="en")
        try:
            page = context.new_page()
            page.goto(site(server.url))
            page.get_by_label("Token", exact=True).fill(TOKEN)
            page.get_by_role("button", name="Unlock").click()
            page.get_by_role("dialog").wait_for(state="detached")
            holds(page, "fetch('/v1/jobs').then(answer => answer.status === 200)")
        finally:
            context.close()
