"""Making on the timeline: extend, retake a range, fill a gap, captions of what is said; files of editors and back."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from studio.browser.harness import finished, site
from studio.browser.timelines import FRAMES, cells, document, kept, sent, settled, sources_in, starting
from studio.browser.timelines import shots as shots_of
from unit.server.live import FPS, serving
from unit.server.test_speech_and_music import standing_in

from wan22.server.settings import Settings

LINE = "The ball rolls. It rolls on and on, and then it stops."


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return sources_in(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def server(tmp_path_factory, sources):
    """A server whose jobs only the test works on; its voice says everything by the sound of the sea."""
    speech = {"/v1/audio/speech": lambda _: (200, "audio/wav", sources[-1].read_bytes())}
    with (
        standing_in(speech) as (voice, _),
        serving(tmp_path_factory.mktemp("live"), Settings(speech_server=voice), works=False) as server,
    ):
        server.finish = server.worker.finish
        yield server


@pytest.fixture(scope="module")
def inputs(server, sources):
    """The ids of the three videos on the server."""
    return sent(site(server.url), sources[:3])


@pytest.fixture
def shots(server, open_page, inputs):
    """A page with the three shots, and the id of its document."""
    id = kept(site(server.url), shots_of(inputs))
    page = open_page(site(server.url), f"#/timeline/{id}")
    page.get_by_role("gridcell", name="dusk").wait_for()
    return page, id


def track(server, id, number=0):
    """The items of a track, as (type, name, in, out)."""
    items = document(site(server.url), id)["tracks"][number]["items"]
    return [(each["type"], each.get("name"), each.get("in"), each.get("out")) for each in items]


def ask_for(page, words):
    """Fill and send the dialog of what is to be made."""
    page.get_by_role("dialog").get_by_label("Prompt").fill(words)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_role("dialog").wait_for(state="detached")
    page.get_by_role("gridcell", name="Generating… 0 %").or_(page.locator(".gap .making")).first.wait_for()


def made(page, server, frames):
    """Make what was asked, let the page take it in, and return its job."""
    claim = server.store.claim("gpu0", kinds=("video",))
    server.worker.finish(claim, frames)
    page.locator(".toast").get_by_text("The new video is in its place.").wait_for()
    page.locator(".toast").get_by_role("button", name="Close").click()
    settled(page)
    return claim.job


def brightness_of(server, job, name):
    """Of the left upper corner of an image that a job was given."""
    content = server.http.get(f"/inputs/{job.request[name]}/content").content
    return int(np.asarray(Image.open(io.BytesIO(content)).convert("L"))[1, 1])


def test_a_clip_is_extended_from_its_last_frame(server, shots):
    page, id = shots
    page.get_by_role("gridcell", name="dawn").click()
    page.get_by_role("button", name="Extend…").click()
    ask_for(page, "it goes on")
    job = made(page, server, 9)
    assert track(server, id)[:3] == [
        ("clip", "dawn.mp4", 0, FRAMES), ("clip", "it goes on", 1, 9), ("clip", "noon.mp4", 0, FRAMES),
    ]  # fmt: skip
    assert "last_image" not in job.request and job.request["seconds"] == 2.0
    assert abs(brightness_of(server, job, "image") - 8 * (FRAMES - 1)) <= 8
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert len(starting(page, "it goes on")) == 0 and len(cells(page)) == 3


def test_a_range_is_retaken_by_one_action_and_the_old_take_comes_back(server, shots):
    page, id = shots
    page.get_by_role("gridcell", name="noon").click()
    before = cells(page)
    page.locator(".transport .code").fill(str(FRAMES + 6))
    page.locator(".transport .code").press("Enter")
    page.keyboard.press("i")
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("o")
    page.keyboard.press("Shift+r")
    page.get_by_role("dialog", name="Retake 00:00:03:06 to 00:00:05:00").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    assert cells(page) == before  # nothing is cut before it is asked for
    page.get_by_role("button", name="Retake in to out…").click()
    ask_for(page, "it rolls faster")
    assert len(starting(page, "noon")) == 3
    job = made(page, server, 10)
    whole = document(site(server.url), id)["tracks"][0]["items"]
    assert [(each["in"], each["out"], each["duration"]) for each in whole[1:4]] == [
        (0, 6, 6),
        (0, 10, 10),
        (16, 24, 8),
    ]
    new = whole[2]
    assert new["media"]["job"] == job.id and new["takes"] == [whole[1]["media"]]
    assert new["recipe"]["prompt"] == "it rolls faster" and job.request["seconds"] == 10 / FPS
    assert abs(brightness_of(server, job, "image") - 8 * 6) <= 8
    assert abs(brightness_of(server, job, "last_image") - 8 * 15) <= 8

    page.locator(f'[data-id="{new["id"]}"]').click()
    page.locator(".inspector label", has_text="This take").locator("select").select_option(label="Take 2")
    page.locator(".inspector").get_by_text("6–16 / 24").wait_for()
    settled(page)
    back = document(site(server.url), id)["tracks"][0]["items"][2]
    assert (back["media"], back["in"], back["out"]) == (whole[1]["media"], 6, 16)
    for _ in range(3):  # the take, what was made, the range
        page.keyboard.press("Control+z")
    assert cells(page) == before


def test_a_gap_is_filled_from_the_frames_on_both_sides(server, shots):
    page, id = shots
    page.get_by_role("gridcell", name="noon").click()
    page.keyboard.press("Delete")
    page.get_by_role("gridcell", name="Gap").click()
    page.get_by_role("button", name="Generate into the gap…").click()
    page.get_by_text("begins with the last frame before the gap and ends with the first").wait_for()
    ask_for(page, "night falls")
    job = made(page, server, FRAMES)
    assert [row[:2] for row in track(server, id)] == [
        ("clip", "dawn.mp4"), ("clip", "night falls"), ("clip", "dusk.mp4")
    ]  # fmt: skip
    assert (
        sum(each["duration"] for each in document(site(server.url), id)["tracks"][0]["items"]) == 3 * FRAMES
    )
    assert job.request["seconds"] == FRAMES / FPS
    assert abs(brightness_of(server, job, "image") - 8 * (FRAMES - 1)) <= 8
    assert brightness_of(server, job, "last_image") <= 8


def test_what_fails_is_said_and_leaves_the_timeline_as_it_was(server, shots):
    page, id = shots
    page.get_by_role("gridcell", name="dusk").click()
    page.get_by_role("button", name="Retake…").click()
    ask_for(page, "again")
    server.store.fail(server.store.claim("gpu0", kinds=("video",)), "decode_failed", "no such thing")
    page.locator(".toast").get_by_text("Generating failed.").wait_for()
    page.locator(".clip .making").wait_for(state="detached")
    settled(page)
    assert [row[1] for row in track(server, id)] == ["dawn.mp4", "noon.mp4", "dusk.mp4"]


def test_a_spoken_line_comes_with_captions_that_can_be_made_again(server, shots):
    page, id = shots
    page.keyboard.press("Home")
    page.keyboard.press("a")
    page.get_by_label("What is said").fill(LINE)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_role("gridcell", name=LINE).wait_for()
    settled(page)
    data = document(site(server.url), id)
    (line,) = data["tracks"][1]["items"]
    said = data["captions"]
    assert " ".join(each["text"].replace("\n", " ") for each in said) == LINE
    assert (said[0]["from"], said[-1]["to"]) == (0, line["duration"]) and line["recipe"]["text"] == LINE
    assert all(each["language"] == "en" and each["text"].count("\n") <= 1 for each in said)
    for each in said:
        page.locator(f'[data-id="{each["id"]}"]').click()
        page.keyboard.press("Delete")
    settled(page)
    assert document(site(server.url), id)["captions"] == []
    page.get_by_role("gridcell", name=LINE).click()
    page.get_by_role("button", name="Captions from the text").click()
    page.locator(".words.captions").nth(len(said) - 1).wait_for()
    settled(page)
    again = document(site(server.url), id)["captions"]
    assert [each | {"id": 0} for each in again] == [each | {"id": 0} for each in said]


@pytest.mark.parametrize("format", ["OpenTimelineIO", "Final Cut Pro 7 XML"])
def test_what_is_saved_for_an_editor_comes_back(format, server, shots, tmp_path):
    page, id = shots
    page.locator(".bar .name").fill("Three shots")
    page.keyboard.press("Escape")
    page.get_by_role("gridcell", name="noon").click()
    page.keyboard.press("d")
    settled(page)
    page.keyboard.press("Control+e")
    page.get_by_role("tab", name="For other editors").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save file: {format}", exact=True).click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="All timelines").click()
    page.locator("input[type=file]").set_input_files(str(file))
    page.wait_for_url(lambda url: "doc_" in url and id not in url)
    page.get_by_role("gridcell", name="dusk").wait_for()
    new = page.evaluate("location.hash.split('/').pop()")
    shown = [(kind, *range) for kind, _, *range in track(server, id)]
    assert [(kind, *range) for kind, _, *range in track(server, new)] == shown
    medias = [
        [
            item["media"]
            for item in document(site(server.url), each)["tracks"][0]["items"]
            if item["type"] == "clip"
        ]
        for each in (id, new)
    ]
    assert medias[0] == medias[1]


def test_media_that_an_editor_names_and_nobody_has_is_shown_and_linked_anew(server, open_page, tmp_path):
    finished(server, "the one that is here")
    clip = {
        "OTIO_SCHEMA": "Clip.2", "name": "lost", "metadata": {}, "effects": [], "markers": [], "enabled": True,
        "source_range": {
            "OTIO_SCHEMA": "TimeRange.1",
            "start_time": {"OTIO_SCHEMA": "RationalTime.1", "rate": 8.0, "value": 2.0},
            "duration": {"OTIO_SCHEMA": "RationalTime.1", "rate": 8.0, "value": 6.0},
        },
        "media_references": {
            "DEFAULT_MEDIA": {
                "OTIO_SCHEMA": "ExternalReference.1", "target_url": "file:///elsewhere/lost-shot.mov", "metadata": {},
                "name": "", "available_image_bounds": None,
                "available_range": {
                    "OTIO_SCHEMA": "TimeRange.1",
                    "start_time": {"OTIO_SCHEMA": "RationalTime.1", "rate": 8.0, "value": 0.0},
                    "duration": {"OTIO_SCHEMA": "RationalTime.1", "rate": 8.0, "value": 8.0},
                },
            }
        },
        "active_media_reference_key": "DEFAULT_MEDIA",
    }  # fmt: skip
    lane = {"OTIO_SCHEMA": "Track.1", "name": "V1", "kind": "Video", "children": [clip], "metadata": {}}
    stack = {"OTIO_SCHEMA": "Stack.1", "name": "tracks", "children": [lane], "metadata": {}}
    file = tmp_path / "from-elsewhere.otio"
    file.write_text(
        json.dumps({"OTIO_SCHEMA": "Timeline.1", "name": "Elsewhere", "metadata": {}, "tracks": stack}),
        "utf-8",
    )
    page = open_page(site(server.url), "#/timeline")
    page.locator("input[type=file]").set_input_files(str(file))
    page.wait_for_url("**/#/timeline/doc_*")
    if (notes := page.get_by_role("dialog", name="Imported, with notes")).is_visible():
        notes.get_by_role("button", name="Close").click()
    page.get_by_role("gridcell", name="Missing: lost-shot.mov").click()
    page.get_by_label("Use instead").select_option(label="the one that is here")
    page.locator(".inspector .lost").wait_for(state="detached")
    settled(page)
    id = page.evaluate("location.hash.split('/').pop()")
    (item,) = document(site(server.url), id)["tracks"][0]["items"]
    assert set(item["media"]) == {"job", "file"} and (item["in"], item["out"], item["takes"]) == (2, 8, [])
