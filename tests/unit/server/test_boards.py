"""What people say of jobs, over HTTP."""

import pytest
from unit.server.serving import make, serving


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def add(client, **more):
    return client.post("/v1/jobs", json={"request": {"prompt": "a red ball"}, **more}).json()["id"]


def test_a_job_is_rated_named_and_put_on_boards(client):
    job, other = add(client, name="first"), add(client)
    said = {"rating": 5, "boards": ["best", "cats"], "note": "so red", "locked": True}
    answer = client.patch(f"/v1/jobs/{job}", json=said)
    assert answer.status_code == 200 and answer.json()["meta"] == {"name": "first", **said}
    assert answer.json()["position"] == 0
    client.patch(f"/v1/jobs/{other}", json={"boards": ["cats"], "rating": 1})

    def found(**query):
        return [each["id"] for each in client.get("/v1/jobs", params=query).json()["data"]]

    assert found(board="cats") == [other, job] and found(board="cats", rating=2) == [job]
    assert found(text="first") == [job] and found(board="dogs") == []
    boards = client.get("/v1/boards").json()["data"]
    assert boards == [{"name": "best", "jobs": 1}, {"name": "cats", "jobs": 2}]
    nothing = client.patch(f"/v1/jobs/{job}", json={**dict.fromkeys(said), "boards": []})
    assert nothing.json()["meta"] == {"name": "first"} and found(rating=0) == [other]


def test_what_is_said_of_a_complete_job_is_in_its_folder(client):
    job, state = add(client), client.app.state
    make(state.store, state.folder)
    client.patch(f"/v1/jobs/{job}", json={"name": "mine"})
    assert '"mine"' in (state.folder.job(job) / "job.json").read_text("utf-8")
    assert [
        event.data["changed"] for event in state.store.events(job=job) if event.data["type"] == "meta"
    ] == [["name"]]


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({}, None), ({"rating": 6}, "rating"), ({"rating": -1}, "rating"), ({"rating": "3"}, "rating"),
        ({"rating": 2.5}, "rating"), ({"rating": True}, "rating"), ({"boards": ["a", "a"]}, None),
        ({"boards": [""]}, "boards"), ({"boards": [" a"]}, "boards"), ({"boards": ["a\tb"]}, "boards"),
        ({"boards": "a"}, "boards"), ({"boards": ["x" * 101]}, "boards"),
        ({"boards": [str(n) for n in range(101)]}, "boards"),
        ({"locked": "yes"}, "locked"), ({"locked": 1}, "locked"), ({"name": 3}, "name"),
        ({"note": "x" * 10_001}, "note"),
        ({"name": "a\0"}, "name"), ({"state": "completed"}, "state"), ({"measured": {}}, "measured"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_and_changes_nothing(client, said, param):
    job = add(client)
    answer = client.patch(f"/v1/jobs/{job}", json=said)
    assert answer.status_code == 422 and client.app.state.store.job(job).meta == {}
    if param is not None:
        assert answer.json()["param"].startswith(param)


def test_nobody_is_rated(client):
    assert client.patch("/v1/jobs/job_" + "a" * 24, json={"rating": 1}).status_code == 404
