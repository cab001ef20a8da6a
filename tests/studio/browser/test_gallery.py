"""The gallery as people use it: ten thousand items, keys, filters, trash with undo, a player that counts frames."""

import pytest
from studio.browser.harness import LANGUAGES, copies, finished, site, violations


def cards(page):
    return page.get_by_role("gridcell")


def shown(page, count):
    page.wait_for_function(
        "n => document.querySelector('.count').innerText.replace(/\\D/g, '') === String(n)", arg=count
    )


@pytest.fixture
def three(idle):
    idle.ids = [finished(idle, f"a {name} ball rolls left") for name in ("red", "green", "blue")]
    return idle


def test_ten_thousand_items_are_a_page_of_few_nodes_and_the_last_is_one_key_away(idle, open_page):
    copies(idle, finished(idle, "the oldest of all"), 9_999)
    page = open_page(site(idle.url), "#/gallery")
    shown(page, 10_000)
    cards(page).first.focus()
    page.keyboard.press("End")
    page.wait_for_function("document.activeElement.getAttribute('aria-label') === 'the oldest of all'")
    assert cards(page).count() < 200
    page.get_by_placeholder("Search").fill("video 777")
    shown(page, 19)


def test_a_video_is_found_rated_put_on_a_board_and_trashed_and_had_back(three, open_page):
    page = open_page(site(three.url), "#/gallery")
    shown(page, 3)
    page.keyboard.press("/")
    page.keyboard.type("GREEN ball")
    shown(page, 1)
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.activeElement.getAttribute('role') === 'gridcell'")
    page.keyboard.press("4")
    page.wait_for_function("document.activeElement.getAttribute('aria-label').includes('4 stars')")
    page.keyboard.press("b")
    page.get_by_label("New board").fill("best")
    page.keyboard.press("Enter")
    page.get_by_role("checkbox", name="best").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    meta = three.store.job(three.ids[1]).meta
    assert meta["rating"] == 4 and meta["boards"] == ["best"]
    page.get_by_placeholder("Search").fill("")
    page.get_by_label("Rating").select_option(label="★★★+")
    shown(page, 1)
    page.get_by_label("Rating").select_option(label="Any rating")
    page.get_by_label("Boards").select_option("best")
    shown(page, 1)
    page.get_by_label("Boards").select_option("")
    shown(page, 3)
    cards(page).first.focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.press("Delete")
    shown(page, 0)
    page.get_by_role("button", name="Undo").click()
    shown(page, 3)
    assert three.store.job(three.ids[0]).trashed is None


def test_what_is_in_the_trash_is_deleted_for_ever_only_after_a_question(three, open_page):
    three.http.post(f"/jobs/{three.ids[0]}/trash")
    page = open_page(site(three.url), "#/gallery")
    shown(page, 2)
    page.get_by_label("Shown").select_option(label="Trash")
    shown(page, 1)
    cards(page).first.click()
    page.get_by_role("button", name="Delete for ever").click()
    assert violations(page) == []
    page.get_by_role("dialog").get_by_role("button", name="Delete for ever").click()
    shown(page, 0)
    assert len(three.http.get("/jobs", params={"trashed": True}).json()["data"]) == 0


def test_the_keyboard_scrubs_through_the_sheet_of_frames(three, open_page):
    page = open_page(site(three.url), "#/gallery")
    shown(page, 3)
    cards(page).first.focus()
    places = set()
    for _ in range(3):
        page.keyboard.press(".")
        page.locator(".cell").wait_for()
        places.add(page.locator(".cell").evaluate("node => node.style.backgroundPosition"))
    assert len(places) == 3
    cards(page).nth(1).hover()
    page.wait_for_function("document.querySelectorAll('.cell').length === 2")


def test_the_player_shows_every_frame_by_itself(three, open_page):
    page = open_page(site(three.url), f"#/gallery/{three.ids[0]}", motion="reduce")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("a red ball rolls left").first.wait_for()
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    read = """() => { const video = document.querySelector('video'), canvas = document.createElement('canvas')
        canvas.width = canvas.height = 1; const ink = canvas.getContext('2d'); ink.drawImage(video, 0, 0, 1, 1)
        return ink.getImageData(0, 0, 1, 1).data[0] }"""
    seen = []
    for _ in range(8):
        page.wait_for_function("!document.querySelector('video').seeking")
        seen.append(page.evaluate(read))
        page.keyboard.press(".")
    assert seen == sorted(seen) and len(set(seen)) == 8  # the test's video grows brighter with each frame
    page.keyboard.press("5")
    page.get_by_role("button", name="5 stars").and_(page.locator('[aria-pressed="true"]')).wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


def test_two_are_compared_in_step(three, open_page):
    page = open_page(site(three.url), "#/gallery")
    shown(page, 3)
    cards(page).nth(0).focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("c")
    page.get_by_role("slider", name="Slider").wait_for()
    page.wait_for_function("[...document.querySelectorAll('video')].every(each => each.readyState >= 2)")
    assert violations(page) == []
    page.keyboard.press(".")
    page.wait_for_function(
        "new Set([...document.querySelectorAll('video')].map(each => each.currentTime)).size === 1"
    )
    look = "getComputedStyle(document.querySelector('video').parentElement)"
    assert page.evaluate(f"[{look}.opacity, parseFloat({look}.height) > 200]") == ["1", True]
    page.get_by_role("slider", name="Slider").focus()
    page.keyboard.press("Home")
    assert "inset(0" in page.locator("video").nth(1).evaluate("node => node.style.clipPath")


def test_vary_fills_the_box_with_the_request_and_without_its_seed(three, open_page):
    page = open_page(site(three.url), "#/gallery")
    shown(page, 3)
    cards(page).first.focus()
    page.keyboard.press("v")
    page.wait_for_function("location.hash === '#/'")
    page.wait_for_function(
        "[...document.querySelectorAll('textarea')].some(each => each.value === 'a blue ball rolls left')"
    )
    page.get_by_role("button", name="Seed: Random").wait_for()
    assert page.get_by_role("button", name="Seed: 1").count() == 0


def test_asked_and_measured_are_side_by_side_with_a_plot_of_the_drift(three, open_page):
    id = three.ids[0]
    page = open_page(site(three.url), f"#/gallery/{id}", motion="reduce")
    page.get_by_role("tab", name="Asked and measured").click()
    page.get_by_role("button", name="Measure", exact=True).click()
    claim = wait_for_claim(page, three)
    axis = {"unit": "L*", "values": [40.0, 41.0, 44.0], "start": 40.0, "visible": 2.0, "verdict": "drifts"}
    drift = {"times": [0.5, 1.5, 2.5], "seconds": 3.0, "axes": {"brightness": axis}}
    row = {
        "axis": "camera",
        "asked": "static",
        "measured": "pan left",
        "matches": False,
        "certainty": 0.9,
        "why": "",
    }
    measured = {"by": claim.job.id, "axes": [row], "score": 0.0, "remark": ""}
    three.store.complete(claim, {"files": [], "drift": drift, "drift_remark": "", "measured": measured})
    page.get_by_role("row", name="Camera movement").get_by_text("pan left").wait_for()
    page.get_by_role("img", name="Drift over the video. brightness: drifts").wait_for()
    assert violations(page) == []


def wait_for_claim(page, server):
    for _ in range(600):
        if claim := server.store.claim("media", kinds=("measure",)):
            return claim
        page.wait_for_timeout(50)
    raise AssertionError("no job to measure came")


def test_the_gallery_has_no_violation_in_four_languages_and_both_themes(three, open_page):
    three.http.patch(f"/jobs/{three.ids[0]}", json={"rating": 3, "boards": ["best"]})
    for language, theme in zip(LANGUAGES, ("light", "dark", "light", "dark"), strict=True):
        page = open_page(site(three.url), "#/gallery", language=language, theme=theme, motion="reduce")
        cards(page).nth(2).wait_for()
        page.locator(".pick").first.click(force=True)
        assert violations(page) == []
        page.keyboard.press("b")
        page.locator("#new-board").wait_for()
        page.get_by_role("checkbox", name="best").wait_for()
        assert violations(page) == []
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
        cards(page).nth(2).click()
        page.get_by_role("dialog").wait_for()
        assert violations(page) == []


def test_an_empty_gallery_says_what_comes_here(idle, open_page):
    page = open_page(site(idle.url), "#/gallery")
    page.get_by_text("Nothing here yet").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Create something").click()
    page.wait_for_function("location.hash === '#/'")
