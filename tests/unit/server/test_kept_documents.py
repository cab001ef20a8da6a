"""Documents over HTTP: kept, changed by revisions, checked, thrown away."""

import copy
import json
from pathlib import Path

import pytest
from unit.server.serving import serving

from wan22.server.documents import media_of

CASES = sorted((Path(__file__).parents[2] / "data" / "timelines").glob("*.json"))
JOB, INPUT = "job_" + "a" * 24, "in_" + "b" * 24
CLIP = {
    "id": "c1", "type": "clip", "media": {"job": JOB, "file": "video.mp4"}, "in": 0, "out": 48,
    "source": {"frames": 81, "rate": [24, 1], "size": [832, 480], "audio": False}, "duration": 48,
}  # fmt: skip
CUT = {
    "wan22_timeline": 1, "name": "cut", "rate": [24, 1], "size": [1280, 720],
    "tracks": [{"id": "v1", "kind": "video", "items": [CLIP]}],
}  # fmt: skip


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def add(client, data=CUT, **more):
    answer = client.post("/v1/documents", json={"data": data, **more})
    assert answer.status_code == 201, answer.text
    return answer


def put(client, id, revision, data, **more):
    headers = {} if revision is None else {"If-Match": f'"{revision}"'}
    return client.put(f"/v1/documents/{id}", json={"data": data, **more}, headers=headers)


def changed(**more):
    return copy.deepcopy(CUT) | more


def test_a_timeline_is_kept_changed_and_read(client):
    added = add(client)
    made = added.json()
    assert added.headers["etag"] == '"1"' and added.headers["location"] == f"/v1/documents/{made['id']}"
    assert (made["kind"], made["name"], made["revision"], made["data"]) == ("timeline", "cut", 1, CUT)
    data = changed(size=[640, 480], extra={"kept": [1]})
    answer = put(client, made["id"], 1, data, name="the cut")
    assert answer.status_code == 200 and answer.headers["etag"] == '"2"'
    read = client.get(f"/v1/documents/{made['id']}")
    assert read.json() == answer.json() and read.json()["data"] == data and read.headers["etag"] == '"2"'
    assert read.json()["name"] == "the cut" and read.json()["created"] == made["created"]
    assert put(client, made["id"], 2, CUT).json()["name"] == "the cut"


def test_of_two_who_write_at_once_the_second_is_told(client):
    id = add(client).json()["id"]
    assert put(client, id, 1, changed(name="first")).status_code == 200
    late = put(client, id, 1, changed(name="second"))
    assert (late.status_code, late.json()["code"], late.headers["etag"]) == (412, "changed_meanwhile", '"2"')
    assert client.get(f"/v1/documents/{id}").json()["data"]["name"] == "first"
    without = put(client, id, None, changed(name="third"))
    assert (without.status_code, without.json()["code"]) == (428, "revision_required")
    for tag in ("*", "2", 'W/"2"', '"2", "3"', '"02"', '""', '"9999999999999999999"'):
        answer = client.put(f"/v1/documents/{id}", json={"data": CUT}, headers={"If-Match": tag})
        assert answer.status_code == 412, tag
    assert client.get(f"/v1/documents/{id}").json()["revision"] == 2


def test_all_that_is_wrong_with_a_timeline_is_listed(client):
    wrong = changed(size=[1280, 7])
    wrong["tracks"][0]["items"] = [CLIP, CLIP | {"duration": 7}]
    answer = client.post("/v1/documents", json={"data": wrong})
    said = answer.json()
    assert answer.status_code == 422 and said["code"] == "invalid_timeline"
    assert {each["code"] for each in said["errors"]} >= {"size", "id", "duration"}
    assert all(each["where"] and each["where"] in each["message"] for each in said["errors"])
    id = add(client).json()["id"]
    refused = put(client, id, 1, wrong)
    assert refused.json()["errors"] == said["errors"]
    assert (
        client.get(f"/v1/documents/{id}").json()["revision"] == 1
        and len(client.get("/v1/documents").json()["data"]) == 1
    )


@pytest.mark.parametrize("place", ["media", "takes"])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../token", "a/b.mp4", "..", "a\\b", "C:video.mp4", "file:b"]
)
def test_a_path_is_no_media_over_http(client, place, path):
    path = {"path": path}
    data = changed()
    data["tracks"][0]["items"][0] |= {"media": path} if place == "media" else {"takes": [path]}
    answer = client.post("/v1/documents", json={"data": data})
    (error,) = answer.json()["errors"]
    assert answer.status_code == 422 and error["code"] == "media" and place in error["where"]


def test_a_storyboard_is_a_script(client):
    board = {"script": "Shot 1: a red ball", "options": {"takes": 2}}
    made = add(client, board, kind="storyboard", name="mine").json()
    assert (made["kind"], made["name"], made["data"]) == ("storyboard", "mine", board)
    for data in ({}, {"script": 3}, {"script": "a" * 1_000_001}):
        assert client.post("/v1/documents", json={"kind": "storyboard", "data": data}).status_code == 422
    assert put(client, made["id"], 1, {"script": None}).status_code == 422


def test_documents_are_listed_without_their_data(client):
    ids = [add(client, name=str(n)).json()["id"] for n in range(3)]
    put(client, ids[0], 1, CUT)
    page = client.get("/v1/documents", params={"limit": 2}).json()
    assert [each["id"] for each in page["data"]] == [ids[0], ids[2]] and "data" not in page["data"][0]
    rest = client.get("/v1/documents", params={"after": page["next"]}).json()
    assert [each["id"] for each in rest["data"]] == [ids[1]] and rest["next"] is None
    assert client.get("/v1/documents", params={"kind": "storyboard"}).json()["data"] == []


def test_a_document_goes_through_the_trash(client):
    id = add(client).json()["id"]
    assert client.delete(f"/v1/documents/{id}").json()["code"] == "wrong_state"
    assert client.post(f"/v1/documents/{id}/trash").json()["trashed"] is not None
    assert client.get("/v1/documents").json()["data"] == [] and put(client, id, 1, CUT).status_code == 409
    assert len(client.get("/v1/documents", params={"trashed": True}).json()["data"]) == 1
    assert client.post(f"/v1/documents/{id}/restore").json()["trashed"] is None
    client.post(f"/v1/documents/{id}/trash")
    assert client.delete(f"/v1/documents/{id}").status_code == 204
    assert client.get(f"/v1/documents/{id}").status_code == 404 and put(client, id, 1, CUT).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"data": []}, {"data": None}, {"data": CUT, "kind": "film"}, {"data": CUT, "id": "doc_" + "a" * 24},
     {"data": CUT, "name": "x" * 201}, {"data": CUT, "name": "a\0"}, {"data": CUT | {"meta": {"a": "\0"}}},
     {"data": CUT | {"meta": {"a": 2**70}}}, {"data": CUT | {"wan22_timeline": 2}}, {"data": {"tracks": 1}},
     {"data": json.loads('{"a":' * 30 + "1" + "}" * 30)}, {"kind": "storyboard", "data": {"script": "a", "x": "\0"}}],
)  # fmt: skip
def test_what_is_no_document_is_refused(client, body):
    assert client.post("/v1/documents", json=body).status_code == 422
    assert client.get("/v1/documents").json()["data"] == []


def test_a_document_has_a_limit_of_its_own(tmp_path):
    with serving(tmp_path, max_body=1000, max_document=20_000) as client:
        large = changed(meta={"a": "x" * 10_000})
        id = add(client, large).json()["id"]
        assert put(client, id, 1, changed(meta={"a": "x" * 30_000})).status_code == 413
        assert client.post("/v1/jobs", json={"request": {"prompt": "x" * 10_000}}).status_code == 413


def test_the_cases_that_the_studio_is_tested_with(client):
    assert CASES
    for path in CASES:
        case = json.loads(path.read_text("utf-8"))
        if not isinstance(case["document"], dict):  # which the form of the body refuses already
            continue
        answer = client.post("/v1/documents", json={"data": case["document"]})
        codes = {error["code"] for error in answer.json().get("errors", [])}
        wanted = set(case["errors"])
        media = (
            [media["path"] for _, media in media_of(case["document"]) if "path" in media]
            if not wanted
            else []
        )
        if any("/" in each for each in media):
            wanted = {"media"}
        assert (answer.status_code, codes) == (422 if wanted else 201, wanted), path
