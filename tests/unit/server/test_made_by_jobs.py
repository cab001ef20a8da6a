"""A request whose image another job makes, over a live server: what is refused, and in which order jobs are made."""

import numpy as np
import pytest
from unit.server.live import serving, small_video

from wan22.jobs.attempt import LocalFiles
from wan22.jobs.given import path_of
from wan22.media.image import read_image
from wan22.media.video import read_clip


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("live"), works=False) as live:
        yield live


def post(live, request, **more):
    return live.http.post("/jobs", json={"request": {"prompt": "a ball"} | request} | more)


def make(live):
    """The next job: complete, with a video as a worker leaves it."""
    claim, files = live.store.claim("w"), LocalFiles(live.folder)
    work, result = files.begin(claim), {"files": [{"name": "video.mp4"}]}
    small_video(work / "video.mp4")
    files.publish(claim, result)
    assert live.store.complete(claim, result)
    return claim.job


def test_a_shot_goes_on_from_the_last_frame_of_one_that_waits(live):
    first = post(live, {}).json()["id"]
    added = post(live, {"image": f"{first}/last"})
    assert added.status_code == 201, added.text
    second = added.json()
    assert second["after"] == [first] and second["request"]["image"] == f"{first}/last"
    assert make(live).id == first
    claim = live.store.claim("w")
    LocalFiles(live.folder).begin(claim)
    image = read_image(path_of(live.folder, second["id"], claim.job.request["image"]))
    assert claim.job.id == second["id"]
    assert np.array_equal(image, read_clip(live.folder.job(first) / "video.mp4").frames[-1])
    live.store.fail(claim, "out_of_memory", "too large")  # and again, with the same image
    assert live.http.post(f"/jobs/{second['id']}/retry").json()["state"] == "queued"
    assert make(live).id == second["id"]


def test_a_chain_of_shots_is_one_request(live):
    children = [{"request": {"prompt": "a"}}] + [
        {"request": {"prompt": "b", "image": f"#{n}/last"}} for n in range(3)
    ]
    group = live.http.post("/jobs", json={"kind": "group", "children": children}).json()
    jobs = live.http.get("/jobs", params={"parent": group["id"], "order": "asc"}).json()["data"]
    assert [job["after"] for job in jobs] == [[], *([job["id"]] for job in jobs[:3])]
    assert [make(live).id for _ in jobs] == [job["id"] for job in jobs]
    assert live.http.get(f"/jobs/{group['id']}").json()["state"] == "completed"


@pytest.mark.parametrize("how", ["cancel", "fail"])
def test_the_end_of_the_earlier_is_one_error_of_the_later(live, how):
    first = post(live, {}).json()["id"]
    second = post(live, {"image": f"{first}/last"}).json()["id"]
    if how == "cancel":
        live.http.post(f"/jobs/{first}/cancel")
    else:
        live.store.fail(live.store.claim("w"), "out_of_memory", "too large")
    error = live.http.get(f"/jobs/{second}").json()["error"]
    assert error["code"] == "dependency_failed" and error["job"] == first
    refused = live.http.post(f"/jobs/{second}/retry")
    assert refused.status_code == 409 and first in refused.json()["detail"]
    live.http.post(f"/jobs/{first}/retry")
    assert [make(live).id, make(live).id] == [first, second]


def test_what_cannot_be_is_refused_with_its_field(live):
    made = post(live, {}).json()["id"]
    image = live.http.post("/jobs", json={"kind": "image", "request": {"prompt": "a"}}).json()["id"]
    wrong = [
        ({"image": made}, "image", "say a frame"),
        ({"video": f"{made}/last"}, "video", "whole video"),
        ({"video": image}, "video", "whole video"),
        ({"image": "job_" + "0" * 24 + "/last"}, None, "there is no job"),
        ({"image": "#0/last"}, "image", "not before this job"),
        ({"image": f"{made}/middle"}, None, "there is no input"),
    ]
    for request, field, said in wrong:
        answer = post(live, request)
        problem = answer.json()
        assert answer.status_code == 422 and said in problem["detail"], answer.text
        assert problem["param"] == (f"request.{field}" if field else "request")
    later = [{"request": {"prompt": "a", "image": "#1/last"}}, {"request": {"prompt": "b"}}]
    answer = live.http.post("/jobs", json={"kind": "group", "children": later})
    assert answer.status_code == 422 and answer.json()["param"] == "children.0.request.image"
    for id in (made, image):
        live.http.post(f"/jobs/{id}/cancel")
    answer = post(live, {"image": f"{made}/last"})
    assert answer.status_code == 409 and "Retry it first" in answer.json()["detail"]


def test_a_plan_of_what_is_yet_to_be_made_knows_no_size(live):
    from wan22.jobs.media_known import media_of

    made = post(live, {}).json()["id"]
    request = {"prompt": "a", "image": f"{made}/last"}
    assert media_of(live.store, request) == {"image": {}}
    claim = live.store.claim("w")
    live.store.complete(claim, {"files": [{"name": "video.mp4", "width": 64, "height": 32, "frames": 8}]})
    assert media_of(live.store, request) == {"image": {"width": 64, "height": 32, "frames": 8}}
