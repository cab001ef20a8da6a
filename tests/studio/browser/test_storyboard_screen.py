"""The storyboard's screen: a script becomes shots with takes; locks, order, again, to the timeline; axe."""

import json
from urllib.request import urlopen

import pytest
from studio.browser.harness import LANGUAGES, site, violations

SCRIPT = """\
Title: Two balls
Subject: a red ball
Seed: 7

Shot 1: It lies in a meadow at night.

Shot 2: It rolls left.
"""


def ask(url, path):
    with urlopen(f"{site(url)}/v1/{path}") as answer:
        return json.load(answer)


def board_of(url):
    (group,) = ask(url, "jobs?kind=group")["data"]
    return ask(url, f"storyboards/{group['id']}")


def work(server, failing=()):
    """Complete all that waits: a video is the small one; a measure says that shots of `failing` are not as asked."""
    while (claim := server.store.claim("hand")) is not None:
        if claim.job.kind == "measure":
            wrong = claim.job.meta["shot"] in failing
            said = {
                "score": 0.5 if wrong else 1.0,
                "failed": ["time"] * wrong,
                "matched": ["camera"],
                "unchecked": [],
            }
            axes = [{"axis": "time", "asked": "night", "measured": "day", "matches": False}] * wrong
            server.store.complete(claim, {"files": [], "measured": said | {"axes": axes}})
        else:
            server.finish(claim)


def make(page):
    page.locator("textarea").fill(SCRIPT)
    page.get_by_role("button", name="Make the storyboard").click()
    page.locator(".shot").nth(1).wait_for()


def test_a_script_becomes_shots_and_a_cut(idle, open_page, refusals):
    refusals.add(("/storyboards", 422))
    page = open_page(site(idle.url), "#/storyboard")
    page.locator("textarea").fill("Shot 1: a ball. Wide shot.\nShot size: close-up\n")
    page.get_by_role("button", name="Make the storyboard").click()
    page.get_by_role("alert").get_by_text("shot 1").wait_for()
    make(page)
    work(idle, failing=(1,))
    first, second = page.locator(".shot").all()
    first.locator(".verdict", has_text="Not as asked").wait_for()
    second.locator(".verdict", has_text="As asked").wait_for()
    first.locator(".axes .failed", has_text="Time of day").wait_for()
    assert violations(page) == []

    page.get_by_role("button", name="Make the failing shot again").click()
    first.locator(".takes button").nth(1).wait_for()
    work(idle)
    first.locator(".verdict", has_text="As asked").wait_for()
    board = board_of(idle.url)
    assert [len(shot["takes"]) for shot in board["shots"]] == [2, 1] and board["failing"] == []
    first.get_by_role("button", name="Choose take 1").click()
    first.get_by_role("button", name="Unlock").wait_for()
    assert first.get_by_role("button", name="Make shot 1 again").is_disabled()

    first.locator(".handle").focus()
    page.keyboard.press("Alt+ArrowRight")
    page.get_by_text("Shot 1 is now number 2").wait_for(state="attached")
    page.reload()
    page.locator(".shot").nth(1).get_by_text("Shot 1").wait_for()
    page.get_by_role("button", name="To the timeline").click()
    page.wait_for_url("**/#/timeline/doc_*")
    (row,) = ask(idle.url, "documents")["data"]
    items = ask(idle.url, f"documents/{row['id']}")["data"]["tracks"][0]["items"]
    locked = board_of(idle.url)["shots"][0]["takes"][0]["job"]
    assert [item["name"] for item in items] == ["shot 2", "shot 1"] and items[1]["media"]["job"] == locked


def test_a_board_goes_to_the_trash_and_back_and_its_script_is_kept(idle, open_page):
    page = open_page(site(idle.url), "#/storyboard")
    make(page)
    page.get_by_role("button", name="More", exact=True).first.click()
    page.get_by_role("menuitem", name="Put into the trash").click()
    page.get_by_role("button", name="Undo").click()
    page.locator(".shot").nth(1).wait_for()
    page.get_by_role("link", name="All storyboards").click()
    page.get_by_role("link", name="Two balls").wait_for()
    assert page.locator("textarea").input_value() == SCRIPT


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_violation_in_a_language(language, idle, open_page):
    page = open_page(site(idle.url), "#/storyboard", language=language, theme="light", motion="reduce")
    assert violations(page) == []
    page.locator("form .row button").first.click()  # the example
    page.locator("form button[type=submit]").click()
    page.locator(".shot").nth(2).wait_for()
    work(idle, failing=(2,))
    page.locator(".axes .failed").first.wait_for()
    assert violations(page) == []
