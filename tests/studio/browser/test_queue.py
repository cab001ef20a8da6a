"""The queue as people use it: progress, order, pause, cancel and undo, errors in words."""

import os
from pathlib import Path

import numpy as np
from studio.browser.harness import LANGUAGES, picture, site, violations

from wan22.jobs.attempt import LocalFiles
from wan22.media.growing import read_growing
from wan22.media.long_video import LongVideo

STEP = {"type": "progress", "steps": 8, "expert": "high", "sigma": 0.5, "clip": 1, "clips": 1, "seconds": 1.0}


def add(live, prompt, **more):
    return live.http.post("/jobs", json={"request": {"prompt": prompt, "seed": 1}, **more}).json()["id"]


def claimed(live, id):
    """The job in the hands of a worker that the test plays."""
    claim = live.store.claim("gpu0")
    assert claim.job.id == id
    return claim


def settled(page, *titles):
    page.wait_for_function(
        "wanted => JSON.stringify([...document.querySelectorAll('[aria-labelledby=queue-waiting] .title')]"
        ".map(each => each.innerText)) === JSON.stringify(wanted)",
        arg=list(titles),
    )


def test_the_progress_of_a_job_is_shown_as_it_comes_and_after_a_reload(idle, open_page):
    id = add(idle, "a red ball rolls left")
    page = open_page(site(idle.url), "#/queue")
    settled(page, "a red ball rolls left")
    claim = claimed(idle, id)
    page.get_by_text("Starting").wait_for()
    idle.store.record(claim, {"type": "phase", "name": "load", "detail": ""})
    page.get_by_text("Loading the model").wait_for()
    idle.preview(claim)
    idle.store.record(claim, STEP | {"step": 3, "left": 65.0, "fraction": 0.33}, step=3)
    page.get_by_text("Step 3 of 8").wait_for()
    for _ in range(2):
        card = page.locator(f'[data-job="{id}"]')
        assert (
            "1:05 left" in card.inner_text()
            and "High noise" in card.inner_text()
            and "33%" in card.inner_text()
        )
        page.wait_for_function("document.querySelector('img[alt=\"Preview so far\"]').naturalWidth > 0")
        assert card.get_by_role("progressbar").get_attribute("aria-valuenow") == "33"
        page.reload()
        page.get_by_text("Step 3 of 8").wait_for()
    idle.finish(claim)
    page.get_by_role("heading", name="Ended lately").wait_for()
    page.get_by_text("Nothing").wait_for(state="detached")


def test_jobs_are_reordered_by_keys_by_the_menu_and_by_dragging(idle, open_page):
    ids = [add(idle, name) for name in ("one", "two", "three", "four")]
    page = open_page(site(idle.url), "#/queue")
    settled(page, "one", "two", "three", "four")
    page.get_by_role("button", name="four", exact=True).focus()
    page.keyboard.press("Alt+ArrowUp")
    settled(page, "one", "two", "four", "three")
    page.keyboard.press("Alt+ArrowUp")
    settled(page, "one", "four", "two", "three")
    page.keyboard.press("Alt+Home")
    settled(page, "four", "one", "two", "three")
    page.locator(f'[data-job="{ids[0]}"]').get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Make last").click()
    settled(page, "four", "two", "three", "one")
    page.locator(f'[data-job="{ids[2]}"] .grip').drag_to(page.locator(f'[data-job="{ids[3]}"]'))
    settled(page, "three", "four", "two", "one")
    page.get_by_role("button", name="one", exact=True).focus()
    page.keyboard.press("+")
    settled(page, "one", "three", "four", "two")
    assert idle.http.get("/jobs?order=queue").json()["data"][0]["id"] == ids[0]


def test_a_job_is_paused_resumed_cancelled_and_had_back(idle, open_page):
    id = add(idle, "a blue cube")
    page = open_page(site(idle.url), "#/queue")
    row = page.locator(f'[data-job="{id}"]')
    row.get_by_role("button", name="Pause").click()
    row.get_by_text("Paused").wait_for()
    assert idle.store.job(id).state == "paused"
    row.get_by_role("button", name="Resume").click()
    row.get_by_role("button", name="Pause").wait_for()
    row.locator(".title").focus()
    page.keyboard.press("x")
    row.get_by_text("Cancelled").wait_for()
    page.get_by_role("button", name="Undo").click()
    settled(page, "a blue cube")
    assert idle.store.job(id).state == "queued"


def test_an_error_is_said_in_words_with_one_thing_to_do(idle, open_page):
    id = add(idle, "a very large video")
    page = open_page(site(idle.url), "#/queue")
    settled(page, "a very large video")
    idle.store.fail(claimed(idle, id), "decode_failed", "CUDA error 7 in stage 3")
    row = page.locator(f'[data-job="{id}"]')
    row.get_by_text("could not be decoded").wait_for()
    assert not row.get_by_text("CUDA error 7").is_visible()
    row.get_by_text("Details").click()
    row.get_by_text("CUDA error 7").wait_for()
    assert violations(page) == []
    row.get_by_role("button", name="Try again").click()
    settled(page, "a very large video")


def test_the_queue_has_no_violation_in_four_languages_and_both_themes(idle, open_page):
    for name in ("one", "two"):
        add(idle, name)
    idle.store.record(idle.store.claim("gpu0"), STEP | {"step": 1, "left": 5.0, "fraction": 0.1}, step=1)
    for language, theme in zip(LANGUAGES, ("dark", "light", "dark", "light"), strict=True):
        page = open_page(site(idle.url), "#/queue", language=language, theme=theme, motion="reduce")
        page.locator('[role="progressbar"]').wait_for()
        assert violations(page) == []
        page.locator(".row button[aria-haspopup]").click()
        page.get_by_role("menu").wait_for()
        assert violations(page) == []


def test_the_next_shot_goes_on_from_one_that_waits_and_its_errors_are_said_in_korean(
    idle, open_page, refusals
):
    first = add(idle, "a red ball")
    page = open_page(site(idle.url), "#/queue")
    page.locator(f'[data-job="{first}"]').get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Go on from its last frame").click()
    page.get_by_role("button", name="a red ball: role").wait_for()
    page.locator("#box-words").fill("it bounces")
    page.locator("button[type=submit]:enabled").click()
    page.get_by_role("article", name="it bounces").wait_for()
    (second,) = [job for job in idle.store.jobs() if job.id != first]
    assert second.request["image"] == f"{first}/last" and second.after == (first,)
    page.get_by_role("article").get_by_role("button", name="Go on from its last frame").wait_for()
    idle.store.fail(claimed(idle, first), "out_of_memory", "CUDA")
    page = open_page(site(idle.url), "#/queue", language="ko")
    row = page.locator(f'[data-job="{second.id}"]')
    row.get_by_text("이 작업에 필요한 다른 작업이 실패했습니다.").wait_for()
    refusals.add(("/retry", 409))
    row.get_by_role("button", name="다시 시도").click()
    page.locator(".toast").get_by_text(
        f"지금은 이 작업에 할 수 없는 동작입니다. (job {second.id} needs {first}"
    ).wait_for()


def test_a_video_plays_while_it_is_made(idle, open_page):
    """Its first clip plays by MediaSource; the second one follows while it is made; then the row is another one."""
    id = add(idle, "a long walk")
    claim = claimed(idle, id)
    work = LocalFiles(idle.folder).begin(claim)
    said = {"type": "playable", "total": 16, "media_type": ""}

    def clip(video, first):
        grey = np.arange(first, first + 8, dtype=np.uint8) * 12
        video.add(np.broadcast_to(grey[:, None, None, None], (8, 64, 96, 3)))
        video.finish_clip()
        said["media_type"] = read_growing(video.folder).full_type
        idle.store.record(claim, said | {"frames": first + 8, "seconds": (first + 8) / 8})

    page = open_page(site(idle.url), "#/queue", motion="reduce")
    row = page.locator(f'[data-job="{id}"]')
    row.wait_for()
    assert row.get_by_role("button", name="so far").count() == 0
    with LongVideo(work / "video.mp4", fps=8, size=(96, 64), identity={}) as video:
        clip(video, 0)
        row.get_by_role("button", name="Play 1 s so far").wait_for()
        assert violations(page) == []
        row.get_by_role("button", name="Play 1 s so far").click()
        until = """seconds => {
            const there = document.querySelector('video')?.buffered
            return there?.length && there.end(0) >= seconds
        }"""
        page.wait_for_function(until, arg=0.9)
        clip(video, 8)
        page.wait_for_function(until, arg=1.9)
        page.wait_for_function("document.querySelector('video').currentTime > 1.2")
        assert page.evaluate("document.querySelector('video').videoWidth") == 96
        assert idle.store.job(id).state == "running"
        row.get_by_role("button", name="Stop playing").click()
        row.get_by_role("button", name="Play 2 s so far").wait_for()
        page.reload()
        row.get_by_role("button", name="Play 2 s so far").click()
        page.wait_for_function(until, arg=1.9)
        assert violations(page) == []
        if "SHOTS" in os.environ:
            picture(page, Path(os.environ["SHOTS"]) / "growing.webp")
    idle.finish(claim)
    page.get_by_role("heading", name="Ended lately").wait_for()


def test_what_a_browser_cannot_play_offers_nothing(idle, open_page):
    id = add(idle, "a long walk")
    claim = claimed(idle, id)
    said = {"type": "playable", "frames": 8, "total": 16, "seconds": 1.0, "media_type": "video/quicktime"}
    idle.store.record(claim, said)
    idle.store.record(claim, STEP | {"step": 3, "left": 65.0, "fraction": 0.33}, step=3)
    page = open_page(site(idle.url), "#/queue")
    page.get_by_text("Step 3 of 8").wait_for()
    assert page.get_by_role("button", name="so far").count() == 0
