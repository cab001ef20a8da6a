"""The timeline: three shots with a dissolve and a sound, cut by keys and by mouse, saved, exported, rendered."""

import json
from contextlib import closing

import av
import httpx2
import pytest
from studio.browser.harness import LANGUAGES, nano_server, site, violations
from studio.browser.timelines import (
    FRAMES,
    PATIENCE,
    SIZE,
    cells,
    cut,
    document,
    kept,
    sent,
    settled,
    shots,
    sources_in,
    starting,
)
from unit.server.live import FPS


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return sources_in(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of one server process for all tests of this file."""
    with nano_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def inputs(server, sources):
    """The ids of the three videos and the sound on the server."""
    return sent(site(server), sources)


def stands_at(page, frame):
    """Wait until the viewer shows this very frame."""
    page.wait_for_function(
        "frame => document.querySelector('.picture canvas').dataset.frame === String(frame)", arg=frame
    )


def brightness(page):
    """Of the upper left corner of the viewer."""
    script = (
        "() => document.querySelector('.picture canvas').getContext('2d').getImageData(1, 1, 1, 1).data[0]"
    )
    return page.evaluate(script)


def length(data):
    return max(sum(item.get("duration", 0) for item in track["items"]) for track in data["tracks"])


def test_shots_are_cut_undone_exported_and_rendered(server, open_page, sources, tmp_path):
    url = site(server)
    page = open_page(url, "#/timeline")
    id = cut(page, sources)
    assert document(url, id)["rate"] == [FPS, 1] and document(url, id)["size"] == list(SIZE)

    # Keys: a dissolve at the second shot, for which both shots give frames; a cut; a trim; undone and redone.
    page.get_by_role("gridcell", name="noon").click()
    page.keyboard.press("d")
    page.get_by_role("gridcell", name="Dissolve").wait_for()
    before = cells(page)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+b")
    assert len(starting(page, "dawn")) == 2 and len(starting(page, "sea")) == 2
    page.keyboard.press("Control+z")
    assert cells(page) == before
    page.keyboard.press("Control+Shift+z")
    assert len(cells(page)) == len(before) + 2
    page.keyboard.press("Control+z")

    # The mouse: the last shot is moved away, and comes back by undo.
    box = page.get_by_role("gridcell", name="dusk").bounding_box()
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*at)
    page.mouse.down()
    page.mouse.move(at[0] + box["width"] / 2, at[1], steps=6)
    page.mouse.up()
    page.get_by_role("gridcell", name="Gap").wait_for()
    page.keyboard.press("Control+z")
    assert cells(page) == before

    # Within the grid the arrows go from clip to clip, and Delete leaves a gap.
    page.keyboard.press("g")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert "Dissolve" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Escape")

    settled(page)
    data = document(url, id)
    items = [item["type"] for item in data["tracks"][0]["items"]]
    assert items == ["clip", "transition", "clip", "clip"]
    page.keyboard.press("Control+e")
    page.get_by_role("tab", name="For other editors").click()
    for name, inside in (("OpenTimelineIO", "Transition.1"), ("FCPXML", "Cross Dissolve")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save file: {name}", exact=True).click()
        text = download.value.path().read_text(encoding="utf-8")
        assert inside in text
        if name == "OpenTimelineIO":
            assert json.loads(text)["OTIO_SCHEMA"] == "Timeline.1"
    page.get_by_role("tab", name="Render").click()
    page.get_by_role("dialog").get_by_role("button", name="Render", exact=True).click()
    link = page.get_by_role("link", name="Download")
    link.wait_for(timeout=120_000)
    file = tmp_path / "final.mp4"
    got = httpx2.get(f"{url}{link.get_attribute('href')}", timeout=PATIENCE)
    file.write_bytes(got.content)
    with av.open(str(file)) as container:
        assert sum(1 for _ in container.decode(video=0)) == length(data)
        assert container.streams.audio


def test_the_viewer_stands_at_the_very_frame(server, open_page, inputs):
    page = open_page(site(server), f"#/timeline/{kept(site(server), shots(inputs[:2]))}")
    page.get_by_role("gridcell", name="noon").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    stands_at(page, 0)
    first = brightness(page)
    for frame in range(1, 4):
        page.keyboard.press("ArrowRight")
        stands_at(page, frame)
        assert abs(brightness(page) - first - 8 * frame) <= 5
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    stands_at(page, 2 * FRAMES - 1)
    assert abs(brightness(page) - first - 8 * (FRAMES - 1)) <= 5
    page.keyboard.press("Home")
    page.keyboard.press("l")
    page.wait_for_function(
        "() => Number(document.querySelector('[role=slider].head').getAttribute('aria-valuenow')) > 3"
    )
    page.keyboard.press("k")


def test_two_tabs_lose_nothing(server, chromium, open_page, inputs):
    url = site(server)
    id = kept(url, shots(inputs[:1]))
    # Not by `open_page`: the browser itself writes the answer 412 to the console.
    with closing(chromium.new_context(locale="en", viewport={"width": 1440, "height": 900})) as context:
        first = context.new_page()
        first.set_default_timeout(120_000)
        first.goto(f"{url}/#/timeline/{id}")
        first.get_by_role("gridcell", name="dawn").wait_for()
        _both_change(first, open_page, url, id)


def _both_change(first, open_page, url, id):
    second = open_page(url, f"#/timeline/{id}")
    second.get_by_role("gridcell", name="dawn").click()
    second.keyboard.press("m")
    settled(second)
    first.locator(".bar .name").fill("Mine")
    first.locator(".bar .name").press("Enter")
    first.get_by_role("dialog").get_by_role("button", name="Keep both").click()
    first.wait_for_function("id => !location.hash.includes(id)", arg=id)
    settled(first)
    copy = first.evaluate("location.hash.split('/').pop()")
    assert document(url, copy)["name"].startswith("Mine") and document(url, copy)["markers"] == []
    assert len(document(url, id)["markers"]) == 1


def test_no_rule_of_accessibility_is_broken_in_any_language(server, open_page, inputs):
    url = site(server)
    id = kept(url, shots(inputs[:3], inputs[3]))
    page = open_page(url, f"#/timeline/{id}")
    page.get_by_role("gridcell", name="noon").click()
    page.keyboard.press("d")
    page.keyboard.press("t")
    page.keyboard.press("m")
    settled(page)
    page.context.close()
    for turn, language in enumerate(LANGUAGES):
        page = open_page(url, f"#/timeline/{id}", language=language, theme="light" if turn % 2 else "dark")
        page.get_by_role("gridcell", name="noon").click()
        assert violations(page) == []
        page.keyboard.press("Control+e")
        page.get_by_role("tabpanel").first.wait_for()
        assert violations(page) == []
        page.get_by_role("tab").nth(1).click()
        page.get_by_role("tabpanel").locator("li").first.wait_for()
        assert violations(page) == []
        page.context.close()


def test_a_gap_is_filled_and_a_clip_extended_by_the_embedded_model(server, open_page, inputs):
    """Real videos: into a gap from the frames beside it, and after a clip from its last one."""
    url = site(server)
    data = shots(inputs[:3])
    gap = {"id": "g1", "type": "gap", "duration": 2 * FPS}
    data["tracks"][0]["items"][1] = gap
    id = kept(url, data)
    page = open_page(url, f"#/timeline/{id}")
    for place, action, words in (
        ("Gap", "Generate into the gap…", "a red ball on sand"),
        ("dusk", "Extend…", "it rolls away"),
    ):
        page.get_by_role("gridcell", name=place).click()
        page.get_by_role("button", name=action).click()
        page.get_by_role("dialog").get_by_label("Prompt").fill(words)
        page.get_by_role("button", name="Generate", exact=True).click()
        page.get_by_role("gridcell", name=words).wait_for()
    settled(page)
    items = document(url, id)["tracks"][0]["items"]
    assert [item["name"] for item in items] == ["dawn.mp4", "a red ball on sand", "dusk.mp4", "it rolls away"]
    between, after = items[1], items[3]
    frames = between["source"]["frames"]
    assert frames > 2 and (between["in"], between["out"]) == (1, frames - 1)
    assert between["duration"] == gap["duration"] and after["in"] == 1
    page.get_by_role("gridcell", name="dusk").focus()
    page.keyboard.press("Home")
    for at in (FRAMES - 1, FRAMES):  # the very frame at both sides of the cut into the gap
        page.locator(".transport .code").fill(str(at))
        page.locator(".transport .code").press("Enter")
        stands_at(page, at)
