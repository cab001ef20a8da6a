"""Measuring a video of a job, as its client asks for it."""

import pytest
from unit.server.serving import make, serving

NOBODY = "job_" + "a" * 24


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def done(client, **request):
    state = client.app.state
    asked = {"request": {"prompt": "a red ball rolls left"} | request}
    id = client.post("/v1/jobs", json=asked).json()["id"]
    assert make(state.store, state.folder) == id
    return id


def test_a_video_is_measured_by_a_job_of_its_own(client):
    id = done(client)
    answer = client.post(f"/v1/jobs/{id}/measure")
    job = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"], job["position"], job["after"]) == ("measure", "queued", 0, [id])
    assert job["request"] == {"job": id, "file": "video.mp4", "asked": "a red ball rolls left"}
    assert [each["id"] for each in client.get("/v1/jobs", params={"kind": "measure"}).json()["data"]] == [
        job["id"]
    ]
    store = client.app.state.store
    claim = store.claim("media", kinds=("measure",))
    store.complete(claim, {"files": [], "measured": {"score": 0.5}})
    assert client.get(f"/v1/jobs/{id}").json()["meta"] == {"measured": {"score": 0.5}}


def test_a_video_is_measured_against_another_prompt_and_only_once_by_a_key(client):
    id = done(client)
    body, key = {"against": "a blue cube", "file": "video.mp4"}, {"Idempotency-Key": "k"}
    first, second = (client.post(f"/v1/jobs/{id}/measure", json=body, headers=key).json() for _ in range(2))
    assert first["request"]["asked"] == "a blue cube" and first["id"] == second["id"]


def test_what_a_recipe_says_goes_before_the_request(client):
    state, id = client.app.state, client.post("/v1/jobs", json={"request": {"prompt": "a"}}).json()["id"]
    claim = state.store.claim("cpu0")
    state.store.complete(claim, {"files": [{"name": "video.mp4"}], "recipe": {"prompt": "a, extended"}})
    assert client.post(f"/v1/jobs/{id}/measure").json()["request"]["asked"] == "a, extended"


@pytest.mark.parametrize(
    ("body", "status"),
    [({"file": "thumbnail.webp"}, 422), ({"file": "../token"}, 422), ({"against": ""}, 422), ({"against": "\0"}, 422),
     ({"against": 3}, 422), ({"job": NOBODY}, 422)],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(client, body, status):
    id = done(client)
    assert client.post(f"/v1/jobs/{id}/measure", json=body).status_code == status
    assert client.app.state.store.count()["queued"] == 0


def test_what_is_not_there_or_not_complete_is_not_measured(client):
    assert client.post(f"/v1/jobs/{NOBODY}/measure").status_code == 404
    waits = client.post("/v1/jobs", json={"request": {"prompt": "a"}}).json()["id"]
    assert client.post(f"/v1/jobs/{waits}/measure").json()["code"] == "wrong_state"
    state = client.app.state
    state.store.complete(state.store.claim("cpu0"), {"files": [{"name": "image.png", "type": "image/png"}]})
    assert client.post(f"/v1/jobs/{waits}/measure").json()["code"] == "no_result"


def test_a_job_that_a_measure_waits_for_is_not_purged(client):
    id = done(client)
    client.post(f"/v1/jobs/{id}/measure")
    client.post(f"/v1/jobs/{id}/trash")
    assert client.delete(f"/v1/jobs/{id}").status_code == 409
