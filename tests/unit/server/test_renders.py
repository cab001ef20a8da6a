"""Rendering a timeline, as its client asks for it."""

import copy
from typing import get_args

import pytest
from unit.server.serving import make, serving
from unit.server.test_kept_documents import CUT

from wan22.media.encoding import QUALITIES
from wan22.server import renders
from wan22.timeline.formats import FORMATS


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def job(client, done=True):
    state = client.app.state
    id = client.post("/v1/jobs", json={"request": {"prompt": "a"}}).json()["id"]
    if done:
        assert make(state.store, state.folder) == id
    return id


def cut(client, media, **more):
    data = copy.deepcopy(CUT) | more
    data["tracks"][0]["items"][0]["media"] = media
    return client.post("/v1/documents", json={"data": data}).json()


def render(client, document, status=201, key=None, **asked):
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post(f"/v1/documents/{document['id']}/render", json=asked, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_timeline_is_rendered_as_it_was_when_it_was_asked_for(client):
    id = job(client)
    document = cut(client, {"job": id, "file": "video.mp4"})
    made = render(client, document, format="hevc", size="9:16", loudness=-14, name="teaser")
    assert (made["kind"], made["state"], made["position"], made["after"]) == ("render", "queued", 0, [id])
    assert made["request"] == {
        "document": document["data"], "format": "hevc", "size": "9:16", "loudness": -14, "quality": "high",
    }  # fmt: skip
    assert made["meta"] == {"name": "teaser", "document": document["id"], "revision": 1}
    changed = document["data"] | {"name": "later"}
    client.put(f"/v1/documents/{document['id']}", json={"data": changed}, headers={"If-Match": '"1"'})
    assert client.get(f"/v1/jobs/{made['id']}").json()["request"]["document"]["name"] == "cut"
    (listed,) = client.get("/v1/jobs", params={"kind": "render"}).json()["data"]
    assert "document" not in listed["request"] and listed["request"]["format"] == "hevc"
    assert [each["id"] for each in client.get("/v1/jobs", params={"text": "teaser"}).json()["data"]] == [
        made["id"]
    ]


def test_a_key_makes_one_render_of_a_revision(client):
    document = cut(client, {"job": job(client), "file": "video.mp4"})
    assert render(client, document, key="k")["id"] == render(client, document, key="k")["id"]
    other = client.post(
        f"/v1/documents/{document['id']}/render", json={"format": "gif"}, headers={"Idempotency-Key": "k"}
    )
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"


def test_a_render_waits_for_a_job_that_is_not_complete_and_keeps_it(client):
    id = job(client, done=False)
    document = cut(client, {"job": id, "file": "video.mp4"})
    made, store = render(client, document), client.app.state.store
    assert store.claim("media", kinds=("render",)) is None
    make(store, client.app.state.folder)
    assert store.claim("media", kinds=("render",)).job.id == made["id"]
    client.post(f"/v1/jobs/{id}/trash")
    assert client.delete(f"/v1/jobs/{id}").status_code == 409


@pytest.mark.parametrize("wrong", ["nobody", "trashed", "failed", "file", "input"])
def test_media_that_is_not_there_is_named(client, wrong):
    id = job(client, done=wrong not in ("failed",))
    media = {"job": id, "file": "video.mp4"}
    if wrong == "nobody":
        media["job"] = "job_" + "z" * 24
    elif wrong == "trashed":
        client.post(f"/v1/jobs/{id}/trash")
    elif wrong == "failed":
        client.post(f"/v1/jobs/{id}/cancel")
    elif wrong == "file":
        media["file"] = "job.json"
    else:
        media = {"input": "in_" + "z" * 24}
    said = render(client, cut(client, media), status=422)
    assert said["code"] == "invalid_timeline" and said["errors"][0]["where"] == "tracks[0].items[0].media"
    assert client.app.state.store.jobs(kind="render") == []


@pytest.mark.parametrize(
    ("asked", "param"),
    [({"format": "exe"}, "format"), ({"size": "large"}, "size"), ({"size": "../x"}, "size"),
     ({"loudness": 3}, "loudness"), ({"loudness": -71}, "loudness"),
     ({"quality": "best"}, "quality"), ({"captions": "burn:ko"}, "captions"),
     ({"captions": "yes"}, "captions"), ({"output": "/tmp/x"}, "output"), ({"size": "99999x99999"}, None)],
)  # fmt: skip
def test_what_cannot_be_delivered_is_refused(client, asked, param):
    document = cut(client, {"job": job(client), "file": "video.mp4"})
    said = render(client, document, status=422, **asked)
    assert param is None or said["param"].startswith(param)
    assert client.app.state.store.jobs(kind="render") == []


def test_what_is_no_timeline_is_not_rendered(client):
    board = client.post("/v1/documents", json={"kind": "storyboard", "data": {"script": "Shot 1: a"}}).json()
    assert render(client, board, status=409)["code"] == "wrong_kind"
    empty = cut(client, {"job": job(client), "file": "video.mp4"})
    client.post(f"/v1/documents/{empty['id']}/trash")
    assert render(client, empty, status=409)["code"] == "wrong_state"
    assert render(client, {"id": "doc_" + "a" * 24}, status=404)["code"] == "not_found"
    data = copy.deepcopy(CUT) | {"tracks": []}
    nothing = client.post("/v1/documents", json={"data": data})
    if nothing.status_code == 201:
        assert "no frame" in render(client, nothing.json(), status=422)["detail"]


def test_formats_and_qualities_are_those_of_renders():
    assert set(get_args(renders.Format)) == set(FORMATS) and set(get_args(renders.Quality)) == set(QUALITIES)
