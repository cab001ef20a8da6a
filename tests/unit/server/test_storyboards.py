"""Storyboards over HTTP: a script as a group of jobs, takes, scores, locks, and the cut."""

import json

import pytest
from unit.server.serving import serving

from wan22.fields import STORYBOARD
from wan22.production.options import from_json
from wan22.production.scripts import asked_of, overridden
from wan22.storyboard.script import read_script
from wan22.timeline.document import check

SCRIPT = """\
Title: Two balls
Subject: a red ball
Seed: 7

Shot 1: It lies on a meadow at night.
Shot 2: It rolls left. The camera pans left.
Seconds: 2
"""


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def board(client, script=SCRIPT, key=None, **more):
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/v1/storyboards", json={"script": script, **more}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def show(client, id):
    return client.get(f"/v1/storyboards/{id}").json()


def work(client, failing=(), fails=()):
    """What both workers do with all that waits: shots of `failing` are measured as wrong, jobs of `fails` fail."""
    store, made = client.app.state.store, []
    while (claim := store.claim("worker")) is not None:
        job = claim.job
        made.append(job)
        if job.kind == "measure":
            wrong = job.meta["shot"] in failing
            said = {
                "score": 0.0 if wrong else 1.0,
                "failed": ["time"] * wrong,
                "matched": ["time"] * (not wrong),
            }
            store.complete(claim, {"files": [], "measured": said | {"axes": []}})
        elif job.meta["shot"] in fails:
            store.fail(claim, "out_of_memory", "no room")
        else:
            row = {"name": "video.mp4", "width": 64, "height": 48, "frames": 17, "fps": 16.0, "audio": False}
            store.complete(claim, {"files": [row], "recipe": {"prompt": job.request["prompt"]}})
    return made


def test_a_script_is_a_group_with_a_job_for_each_take_and_its_measure(client):
    made = board(client, options={"takes": 2, "steps": 3, "size": [64, 48]})
    assert (made["name"], made["title"], made["state"]) == ("Two balls", "Two balls", "queued")
    children = client.get("/v1/jobs", params={"parent": made["id"], "order": "asc"}).json()["data"]
    assert [(each["kind"], each["meta"]["shot"], each["meta"]["take"]) for each in children] == [
        (kind, shot, take) for shot in (1, 2) for take in (1, 2) for kind in ("video", "measure")
    ]
    assert all(
        each["after"] == [before["id"]] for before, each in zip(children[::2], children[1::2], strict=True)
    )
    assert [each["request"]["seed"] for each in children[::2]] == [7, 8, 7, 8]
    assert [[take["job"] for take in shot["takes"]] for shot in made["shots"]] == [
        [children[0]["id"], children[2]["id"]], [children[4]["id"], children[6]["id"]],
    ]  # fmt: skip
    assert made["shots"][0]["takes"][0]["measure"] == children[1]["id"]
    assert {shot["chosen"] for shot in made["shots"]} == {None} == {shot["failing"] for shot in made["shots"]}


def test_a_child_asks_what_the_command_line_would_ask(client):
    options = {"steps": 3, "guidance": [3, 4], "model": "nano"}
    made = board(client, options=options)
    given = from_json(STORYBOARD, options, str)
    script = overridden(read_script(SCRIPT, "script.txt"), given)
    for shot, scene in zip(made["shots"], script.scenes, strict=True):
        request = client.app.state.store.job(shot["takes"][0]["job"]).request
        asked = {**asked_of(script, scene, given), "model": "nano"}
        assert request == json.loads(json.dumps(asked)) and shot["asked"] == json.loads(
            json.dumps(scene.spec.to_json())
        )
    seconds = [
        client.app.state.store.job(shot["takes"][0]["job"]).request.get("seconds") for shot in made["shots"]
    ]
    assert seconds == [None, 2.0]


def test_scores_choose_and_failing_shots_are_made_again(client):
    id = board(client)["id"]
    work(client, failing=(2,))
    seen = show(client, id)
    assert seen["state"] == "completed" and seen["failing"] == [2]
    assert [shot["failing"] for shot in seen["shots"]] == [False, True]
    assert seen["shots"][0]["takes"][0]["score"] == 1.0 and seen["shots"][0]["chosen"]
    again = client.post(
        f"/v1/storyboards/{id}/again", json={"failing": True}, headers={"Idempotency-Key": "k"}
    )
    assert again.status_code == 200 and again.json()["state"] == "queued"
    same = client.post(
        f"/v1/storyboards/{id}/again", json={"failing": True}, headers={"Idempotency-Key": "k"}
    )
    assert same.json() == again.json()
    other = client.post(f"/v1/storyboards/{id}/again", json={"shots": [1]}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"
    first, second = again.json()["shots"]
    assert len(first["takes"]) == 1 and [take["seed"] for take in second["takes"]] == [7, 8]
    assert second["failing"] is True  # the best that is there
    assert [(job.kind, job.meta["take"]) for job in work(client)] == [("video", 2), ("measure", 2)]
    done = show(client, id)
    assert done["state"] == "completed" and done["failing"] == []
    assert done["shots"][1]["chosen"] == second["takes"][1]["job"]
    nothing = client.post(f"/v1/storyboards/{id}/again", json={"failing": True}).json()
    assert nothing["state"] == "completed" and nothing == done


def test_a_locked_take_is_shown_and_its_shot_is_not_made_again(client):
    made = board(client, options={"takes": 2})
    work(client, failing=(1, 2))
    second = made["shots"][0]["takes"][1]["job"]
    client.patch(f"/v1/jobs/{second}", json={"locked": True})
    seen = show(client, made["id"])
    assert seen["shots"][0]["chosen"] == second and seen["shots"][0]["locked"]
    assert seen["shots"][1]["chosen"] == made["shots"][1]["takes"][0]["job"]
    again = f"/v1/storyboards/{made['id']}/again"
    refused = client.post(again, json={"shots": [1]})
    assert refused.status_code == 409 and second in refused.json()["detail"]
    client.post(again, json={"failing": True, "takes": 2})
    assert [len(shot["takes"]) for shot in show(client, made["id"])["shots"]] == [2, 4]


def test_a_shot_that_cannot_be_made_is_failing_and_gets_new_seeds(client):
    id = board(client)["id"]
    work(client, fails=(1,))
    seen = show(client, id)
    assert seen["state"] == "failed" and seen["failing"] == [1] and seen["shots"][0]["chosen"] is None
    assert seen["shots"][0]["takes"][0]["error"]["code"] == "out_of_memory"
    client.post(f"/v1/jobs/{seen['shots'][0]['takes'][0]['job']}/trash")
    taken = client.post(f"/v1/storyboards/{id}/again", json={"shots": [1]}).json()["shots"][0]["takes"]
    assert [(take["take"], take["seed"]) for take in taken] == [(2, 8)]


def test_the_cut_has_a_clip_for_each_shot(client):
    id = board(client, options={"takes": 2})["id"]
    assert client.post(f"/v1/storyboards/{id}/timeline").json()["code"] == "no_result"
    work(client, fails=(2,))
    answer = client.post(f"/v1/storyboards/{id}/timeline", json={"name": "first cut"})
    made = answer.json()
    assert answer.status_code == 201 and (made["kind"], made["name"]) == ("timeline", "first cut")
    assert check(made["data"]) == [] and made["data"]["rate"] == [16, 1] and made["data"]["size"] == [64, 48]
    clip, gap = made["data"]["tracks"][0]["items"]
    seen = show(client, id)
    assert (
        clip["media"] == {"job": seen["shots"][0]["chosen"], "file": "video.mp4"} and clip["duration"] == 17
    )
    assert [take["job"] for take in clip["takes"]] == [take["job"] for take in seen["shots"][0]["takes"]]
    assert clip["recipe"]["prompt"] == seen["shots"][0]["prompt"] and gap["type"] == "gap"
    assert client.get(f"/v1/documents/{made['id']}").json()["data"] == made["data"]


def test_a_cut_has_the_order_that_was_asked(client):
    id = board(client)["id"]
    work(client)
    cut = f"/v1/storyboards/{id}/timeline"
    for order, names in (
        ([2], ["shot 2", "shot 1"]),
        ([2, 1], ["shot 2", "shot 1"]),
        ([], ["shot 1", "shot 2"]),
    ):
        items = client.post(cut, json={"order": order}).json()["data"]["tracks"][0]["items"]
        assert [item["name"] for item in items] == names
    for order in ([3], [1, 1], [0], ["1"]):
        assert client.post(cut, json={"order": order}).status_code == 422


def test_a_key_makes_one_board(client):
    first, second = board(client, key="k"), board(client, key="k")
    assert first["id"] == second["id"] and client.app.state.store.count()["queued"] == 4


def test_images_of_a_script_are_inputs(client):
    script = "Shot 1: a ball\nImage: ball.png\n"
    answer = client.post("/v1/storyboards", json={"script": script})
    assert answer.status_code == 422 and answer.json()["param"] == "options.images"
    assert "shot 1, line 1" in answer.json()["detail"] and "ball.png" in answer.json()["detail"]
    nobody = {"images": {"ball.png": "in_" + "a" * 24}}
    answer = client.post("/v1/storyboards", json={"script": script, "options": nobody})
    assert answer.status_code == 422 and "no input" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"script": ""}, "script"), ({"script": "Title: a"}, "no shots"), ({"script": "x" * 1_000_001}, "script"),
        ({"script": "\n\n".join(f"Shot {n}: a ball" for n in range(1, 502))}, "at most 500"),
        ({"script": "\n\n".join(f"Shot {n}: a ball" for n in range(1, 402)), "options": {"takes": 3}}, "1000 takes"),
        ({"script": "Shot 1: a ball\nLens: wrong"}, "line 2"), ({"script": "Shot 1: a\0"}, "script"),
        ({"script": "Model: /etc/passwd\n\nShot 1: a ball"}, "model"), ({"options": {"model": "/etc"}}, "model"),
        ({"options": {"takes": 0}}, "takes"), ({"options": {"takes": 17}}, "takes"),
        ({"options": {"steps": 0}}, "steps"),
        ({"options": {"device": "cuda:1"}}, "device"), ({"options": {"output": "/tmp/x"}}, "output"),
        ({"options": {"lora": ["/etc/passwd"]}}, "lora"), ({"options": {"format": "html"}}, "format"),
        ({"options": {"images": {"a": "../../token"}}}, "images"), ({"name": "a\0"}, "name"), ({"film": 1}, "film"),
        ({"script": "- a: [", "options": {"format": "yaml"}}, "script"),
        ({"script": "Shot 1: a ball\nImage: /etc/passwd"}, "image"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_be_made_is_refused_whole(client, body, words):
    answer = client.post("/v1/storyboards", json={"script": "Shot 1: a ball"} | body)
    assert answer.status_code == 422, answer.text
    assert words in answer.text and client.app.state.store.jobs(limit=1) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"shots": []}, 422), ({"shots": [3]}, 422), ({"shots": [0]}, 422), ({"shots": ["1"]}, 422),
     ({"shots": [1], "failing": True}, 422), ({"failing": 1}, 422), ({"shots": [1], "takes": 17}, 422)],
)  # fmt: skip
def test_what_cannot_be_made_again_is_refused(client, body, status):
    id = board(client)["id"]
    assert client.post(f"/v1/storyboards/{id}/again", json=body).status_code == status
    assert client.app.state.store.count()["queued"] == 4


def test_what_is_no_storyboard_is_none(client):
    job = client.post("/v1/jobs", json={"request": {"prompt": "a"}}).json()["id"]
    for id in (job, "job_" + "a" * 24):
        assert client.get(f"/v1/storyboards/{id}").status_code == 404
        assert client.post(f"/v1/storyboards/{id}/again", json={"failing": True}).status_code == 404
        assert client.post(f"/v1/storyboards/{id}/timeline").status_code == 404


def test_the_list_of_jobs_leaves_scripts_out(client):
    made = board(client)
    (listed,) = client.get("/v1/jobs", params={"kind": "group"}).json()["data"]
    assert listed["id"] == made["id"] and listed["meta"] == {"name": "Two balls", "storyboard": 2}
    assert not {"script", "shots"} & listed["request"].keys()
    assert client.app.state.store.job(made["id"]).request["script"] == SCRIPT
