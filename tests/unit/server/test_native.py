"""Our own API of jobs, over the store and a worker that is a function."""

import io
import threading

import pytest
from PIL import Image
from unit.server import bombs
from unit.server.serving import Ready, events_of, in_thread, make, serving

from wan22.jobs.job import StoreError
from wan22.jobs.supervisor import Supervisor

PROMPT = {"prompt": "a red ball"}


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def add(client, request=None, **more):
    answer = client.post("/v1/jobs", json={"request": PROMPT | (request or {}), **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def finish(client, **more):
    state = client.app.state
    return make(state.store, state.folder, **more)


def test_a_job_from_its_request_to_its_file(client):
    added = client.post("/v1/jobs", json={"request": PROMPT | {"steps": 2}, "name": "mine"})
    job = added.json()
    assert added.status_code == 201 and added.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["state"] == "queued" and job["request"] == {
        "prompt": "a red ball",
        "steps": 2,
        "model": "nano",
    }
    assert job["meta"] == {"name": "mine"}
    assert client.get(f"/v1/jobs/{job['id']}").json()["position"] == 0
    assert finish(client) == job["id"]
    done = client.get(f"/v1/jobs/{job['id']}").json()
    assert done["state"] == "completed" and done["fraction"] == 1 and done["position"] is None
    assert client.get(f"/v1/jobs/{job['id']}/files/video.mp4").content == b"0123456789" * 100


def test_a_key_makes_one_job_and_refuses_another_body(client):
    ask = [
        client.post("/v1/jobs", json={"request": PROMPT}, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert ask[0].json()["id"] == ask[1].json()["id"]
    other = client.post("/v1/jobs", json={"request": {"prompt": "b"}}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"


def test_a_group_is_added_whole_and_ends_with_its_children(client):
    children = [{"request": PROMPT}, {"request": PROMPT, "kind": "image", "after": [0]}]
    group = client.post("/v1/jobs", json={"kind": "group", "children": children}).json()
    found = client.get("/v1/jobs", params={"parent": group["id"], "order": "asc"}).json()["data"]
    assert [each["kind"] for each in found] == ["video", "image"] and found[1]["after"] == [found[0]["id"]]
    assert [finish(client), finish(client)] == [each["id"] for each in found]
    assert client.get(f"/v1/jobs/{group['id']}").json()["state"] == "completed"


def test_a_grid_is_a_group_with_a_job_for_each_combination(client):
    grid = {"kind": "image", "request": PROMPT, "values": {"steps": [2, 4], "seed": [0, 1, 2]}}
    group = client.post("/v1/jobs", json={"kind": "group", "grid": grid, "name": "how many steps"}).json()
    found = client.get("/v1/jobs", params={"parent": group["id"], "order": "asc"}).json()["data"]
    wanted = [{"steps": steps, "seed": seed} for steps in (2, 4) for seed in (0, 1, 2)]
    assert [each["meta"]["grid"] for each in found] == wanted
    assert [each["request"] for each in found] == [PROMPT | each | {"model": "nano"} for each in wanted]
    assert {each["kind"] for each in found} == {"image"}
    for _ in found:
        finish(client)
    assert client.get(f"/v1/jobs/{group['id']}").json()["state"] == "completed"


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"request": PROMPT, "values": {"steps": [1, 0]}}, "steps"),
        ({"request": PROMPT, "values": {"prompt": ["b"]}}, "said in the request and in the grid"),
        ({"request": PROMPT, "values": {}}, "values"),
        ({"request": PROMPT, "values": {"seed": []}}, "seed"),
        ({"request": PROMPT, "values": {"seed": list(range(40)), "steps": list(range(1, 30))}}, "1160 combinations"),
        ({"request": PROMPT, "values": {"device": ["cuda"]}}, "device"),
        ({"request": {}, "values": {"seed": [1]}}, "prompt"),
        ({"request": PROMPT, "values": {"seed": 1}}, "seed"),
    ],
)  # fmt: skip
def test_a_wrong_grid_adds_nothing(client, grid, said):
    answer = client.post("/v1/jobs", json={"kind": "group", "grid": grid})
    assert answer.status_code == 422 and said in answer.text
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_group_has_children_or_a_grid(client):
    grid = {"request": PROMPT, "values": {"seed": [1]}}
    for body in (
        {"kind": "group", "grid": grid, "children": [{"request": PROMPT}]},
        {"request": PROMPT, "grid": grid},
    ):
        assert client.post("/v1/jobs", json=body).status_code == 422


def test_a_wrong_child_adds_nothing(client):
    children = [{"request": PROMPT}, {"request": {"prompt": "a", "steps": 0}}]
    answer = client.post("/v1/jobs", json={"kind": "group", "children": children})
    assert answer.status_code == 422 and answer.json()["param"] == "children.1.request.steps"
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 422, None),
        ({"request": {}}, 422, "request.prompt"),
        ({"request": {"prompt": "  "}}, 422, "request.prompt"),
        ({"request": PROMPT, "kind": "group"}, 422, None),
        ({"request": PROMPT, "kind": "measure"}, 422, "kind"),
        ({"request": PROMPT, "kind": "extend"}, 422, "request.video"),
        ({"request": PROMPT | {"video": "in_" + "a" * 24}, "kind": "extend"}, 422, "request.seconds"),
        ({"request": PROMPT, "children": [{"request": PROMPT}]}, 422, None),
        ({"request": PROMPT, "surprise": 1}, 422, "surprise"),
        ({"request": PROMPT, "after": ["job_" + "a" * 24]}, 422, "after"),
        ({"request": PROMPT, "after": ["../../etc"]}, 422, "after"),
        ({"request": PROMPT, "priority": 10**30}, 422, "priority"),
        ({"request": PROMPT, "name": "\ud800"}, 422, None),
        ({"request": PROMPT | {"steps": 0}}, 422, "request.steps"),
        ({"request": PROMPT | {"steps": "3"}}, 422, "request.steps"),
        ({"request": PROMPT | {"seed": 2**63}}, 422, "request.seed"),
        ({"request": PROMPT | {"size": [64]}}, 422, "request.size"),
        ({"request": PROMPT | {"solver": "magic"}}, 422, "request.solver"),
        ({"request": PROMPT | {"model": "/etc/passwd"}}, 422, "request.model"),
        ({"request": PROMPT | {"model": "t2v-A14B"}}, 422, "request.model"),
        ({"request": PROMPT | {"image": "/etc/passwd"}}, 422, "request"),
        ({"request": PROMPT | {"image": "in_" + "a" * 24}}, 422, "request"),
        ({"request": PROMPT | {"image": "http://169.254.169.254/"}}, 422, "request"),
        ({"request": PROMPT | {"output": "/tmp/x.mp4"}}, 422, "request.output"),
        ({"request": PROMPT | {"device": "cuda"}}, 422, "request.device"),
        ({"request": PROMPT | {"dit": "/etc/passwd"}}, 422, "request.dit"),
        ({"request": PROMPT | {"extend": "http://127.0.0.1:1/#m"}}, 422, "request.extend"),
        ({"request": PROMPT | {"say": "hello", "speaker": "http://127.0.0.1:1"}}, 422, "request.speaker"),
        ({"request": PROMPT | {"lora": ["/etc/passwd"]}}, 422, "request.lora"),
        ({"request": PROMPT | {"count": 17}}, 422, "request.count"),
        ({"request": {"prompt": "\ud800"}}, 422, "request.prompt"),
        ({"request": {"prompt": "a\0b"}}, 422, "request.prompt"),
        ({"request": PROMPT | {"camera": [[[[[[[[[[[]]]]]]]]]]]}}, 422, None),
    ],
    ids=str,
)
def test_a_wrong_body_is_named(client, body, status, param):
    import json

    answer = client.post("/v1/jobs", content=json.dumps(body), headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert answer.status_code == status == problem["status"] and problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert param is None or problem.get("param") == param, problem
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"request": NaN', b"[" * 100_000, b"\0"])
def test_a_body_that_is_no_json_is_refused(client, body):
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and answer.headers["content-type"] == "application/problem+json"


def test_endless_numbers_are_refused(client):
    for body in (b'{"request": {"prompt": "a", "fps": NaN}}', b'{"request": {"prompt": "a", "fps": 1e999}}'):
        answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422 and answer.json()["param"] == "request.fps"


def test_what_is_done_to_a_job(client):
    id, other = add(client), add(client)
    assert client.post(f"/v1/jobs/{id}/pause").json()["state"] == "paused"
    assert client.post(f"/v1/jobs/{id}/resume").json()["state"] == "queued"
    client.post(f"/v1/jobs/{id}/move", json={"last": True})
    assert client.get(f"/v1/jobs/{id}").json()["position"] == 1
    client.post(f"/v1/jobs/{id}/move", json={"before": other})
    assert client.get(f"/v1/jobs/{id}").json()["position"] == 0
    client.post(f"/v1/jobs/{other}/move", json={"priority": 5})
    assert [each["id"] for each in client.get("/v1/jobs?order=queue&state=queued").json()["data"]] == [
        other,
        id,
    ]
    assert client.post(f"/v1/jobs/{id}/cancel", json={}).json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{id}/retry").json()["state"] == "queued"
    refused = client.post(f"/v1/jobs/{id}/retry")
    assert refused.status_code == 409 and "queued" in refused.json()["detail"]
    assert client.delete(f"/v1/jobs/{id}").status_code == 409
    assert client.post(f"/v1/jobs/{id}/trash").json()["trashed"] is not None
    assert [each["id"] for each in client.get("/v1/jobs").json()["data"]] == [other]
    assert client.post(f"/v1/jobs/{id}/restore").json()["trashed"] is None
    client.post(f"/v1/jobs/{id}/trash")
    assert client.delete(f"/v1/jobs/{id}").json() == {"purged": [id]}
    assert client.get(f"/v1/jobs/{id}").status_code == 404
    assert not client.app.state.folder.job(id).exists()


@pytest.mark.parametrize(
    "place", [{}, {"first": True, "last": True}, {"before": "x"}, {"before": 3}, {"first": "yes?"}]
)
def test_a_place_is_one_place(client, place):
    assert client.post(f"/v1/jobs/{add(client)}/move", json=place).status_code in (404, 422)


def test_a_list_goes_page_by_page(client):
    ids = [add(client, {"prompt": f"ball {number}"}) for number in range(5)]
    first = client.get("/v1/jobs", params={"limit": 2, "order": "asc"}).json()
    assert [each["id"] for each in first["data"]] == ids[:2] and first["next"] == ids[1]
    rest = client.get("/v1/jobs", params={"limit": 10, "order": "asc", "after": first["next"]}).json()
    assert [each["id"] for each in rest["data"]] == ids[2:] and rest["next"] is None
    assert [each["id"] for each in client.get("/v1/jobs?text=ball%203").json()["data"]] == [ids[3]]
    for wrong in (
        "limit=0",
        "limit=10001",
        "order=sideways",
        "state=lost",
        "after=../x",
        "after=job_" + "z" * 24,
        "x=1",
    ):
        assert client.get(f"/v1/jobs?{wrong}").status_code == 422, wrong


def test_files_are_sent_in_ranges_and_not_twice(client):
    id = add(client)
    finish(client)
    path = f"/v1/jobs/{id}/files/video.mp4"
    whole = client.get(path)
    tag = whole.headers["etag"]
    assert whole.headers["content-type"] == "video/mp4" and whole.headers["accept-ranges"] == "bytes"
    assert (
        "sandbox" in whole.headers["content-security-policy"]
        and whole.headers["x-content-type-options"] == "nosniff"
    )
    part = client.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (
        206,
        b"0123456789",
        "bytes 10-19/1000",
    )
    assert client.get(path, headers={"Range": "bytes=10-19", "If-Range": '"other"'}).status_code == 200
    assert client.get(path, headers={"Range": "bytes=10-19", "If-Range": tag}).status_code == 206
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
    for wrong in ("bytes=2000-3000", "bytes=x", "bytes="):
        beyond = client.get(path, headers={"Range": wrong})
        assert beyond.status_code == 416 and beyond.headers["content-range"] == "bytes */1000"
        assert beyond.json()["code"] == "range_not_satisfiable"
    head = client.head(path)
    assert head.status_code == 200 and head.content == b"" and head.headers["content-length"] == "1000"


def test_only_files_that_the_row_names_are_sent(client, tmp_path):
    id = add(client)
    finish(client, result={"video.mp4": b"v", "page.html": b"<script>"})
    folder = client.app.state.folder.job(id)
    (folder / "secret.txt").write_text("secret")
    (folder / "video.mp4").unlink()
    (folder / "video.mp4").symlink_to(tmp_path / "jobs.sqlite")
    for name in ("secret.txt", "video.mp4", "job.json", "nothing.mp4"):
        assert client.get(f"/v1/jobs/{id}/files/{name}").status_code == 404, name
    page = client.get(f"/v1/jobs/{id}/files/page.html")
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment")


def test_a_preview_is_there_once_it_is(client):
    id = add(client)
    assert client.get(f"/v1/jobs/{id}/preview").status_code == 404
    folder = client.app.state.folder.job(id)
    folder.mkdir(parents=True)
    (folder / "preview.webp").write_bytes(b"RIFF")
    assert client.get(f"/v1/jobs/{id}/preview").headers["content-type"] == "image/webp"


def test_events_of_a_job_come_from_the_first_to_the_end(client):
    id = add(client)
    begun, go_on = threading.Event(), threading.Event()

    def wait(step):
        begun.set()
        go_on.wait(120)

    worker = in_thread(lambda: finish(client, wait=wait))
    begun.wait(120)
    in_thread(go_on.set)
    with client.stream("GET", f"/v1/jobs/{id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        seen = events_of(stream.iter_lines())
    worker.join(120)
    assert [data.get("state") for _, kind, data in seen if kind == "state"] == [
        "queued",
        "running",
        "completed",
    ]
    assert [data["step"] for _, kind, data in seen if kind == "progress"] == [1, 2, 3]
    numbers = [number for number, _, _ in seen]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("how", ["header", "query"])
def test_a_stream_goes_on_after_the_last_event(client, how):
    id = add(client)
    finish(client)
    with client.stream("GET", f"/v1/jobs/{id}/events") as stream:
        whole = events_of(stream.iter_lines())
    for at, (number, _, _) in enumerate(whole):
        more = (
            {"headers": {"Last-Event-ID": str(number)}} if how == "header" else {"params": {"after": number}}
        )
        with client.stream("GET", f"/v1/jobs/{id}/events", **more) as stream:
            if at + 1 == len(whole):
                assert stream.status_code == 204
            else:
                assert events_of(stream.iter_lines()) == whole[at + 1 :]


def test_events_of_what_is_not_there(client):
    assert client.get("/v1/jobs/job_" + "a" * 24 + "/events").status_code == 404
    assert client.get(f"/v1/jobs/{add(client)}/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_ready_when_a_worker_is(tmp_path):
    workers = Ready(ready=False)
    with serving(tmp_path, workers) as client:
        waits = client.get("/readyz")
        assert waits.status_code == 503 and int(waits.headers["retry-after"]) > 0
        workers.ready = True
        assert (
            client.get("/readyz").json() == {"status": "ready"} and client.get("/healthz").status_code == 200
        )


def test_the_supervisor_is_what_the_server_asks_for(tmp_path):
    with serving(tmp_path, Supervisor(tmp_path, ("cpu",))) as client:
        assert client.get("/readyz").status_code == 503  # it was not started
        (worker,) = client.get("/v1/capabilities").json()["workers"]
        assert (worker["name"], worker["device"], worker["restarts"]) == ("cpu0", "cpu", 0)
        assert 'wan22_worker_up{device="cpu",worker="cpu0"} 0.0' in client.get("/metrics").text


def test_a_video_that_was_sent_is_made_longer(client, tmp_path):
    source = bombs.mp4(tmp_path / "a.mp4", frames=5, side=32)
    sent = client.post("/v1/inputs", files={"file": ("a.mp4", source.read_bytes())}).json()["id"]
    asked = {"video": sent, "seconds": 1}
    id = add(client, asked, kind="extend")
    job = client.get(f"/v1/jobs/{id}").json()
    assert job["kind"] == "extend" and job["request"] == PROMPT | asked | {"model": "nano"}
    for more in ({"size": [64, 64]}, {"count": 2}, {"image": sent}):
        [name] = more
        wrong = client.post("/v1/jobs", json={"kind": "extend", "request": PROMPT | asked | more})
        assert wrong.status_code == 422 and wrong.json()["param"] == f"request.{name}"


def test_a_person_is_animated_by_a_driving_video_or_by_prepared_ones(tmp_path):
    video = bombs.mp4(tmp_path / "a.mp4", frames=5, side=32).read_bytes()
    image = io.BytesIO()
    Image.new("RGB", (32, 32)).save(image, "PNG")
    with serving(tmp_path / "data", models=("nano", "animate-14B")) as client:
        assert client.get("/v1/capabilities").json()["models"][1]["tasks"] == ["animate"]

        def sent(name, content):
            return client.post("/v1/inputs", files={"file": (name, content)}).json()["id"]

        who = {"image": sent("who.png", image.getvalue()), "task": "animate"}
        drawn = {name: sent(f"{name}.mp4", video) for name in ("pose", "face", "background", "mask")}
        for asked in (
            {"video": drawn["pose"]},
            {"video": drawn["pose"], "replace": True},
            {"pose": drawn["pose"], "face": drawn["face"]},
            drawn | {"replace": True, "relight": 0.5, "carried": 5},
        ):
            job = client.get(f"/v1/jobs/{add(client, who | asked)}").json()
            assert job["request"] == PROMPT | who | asked | {"model": "animate-14B"}


def test_capabilities_say_what_a_request_may_have(client):
    said = client.get("/v1/capabilities").json()
    assert [model["name"] for model in said["models"]] == ["nano", "nano-s2v"]
    nano, speaks = said["models"]
    assert nano["defaults"]["steps"] > 0
    assert nano["trained"] == {"sizes": [[128, 80], [96, 96], [80, 128]], "frames": [1, 17], "multiple": 16}
    assert (nano["fast"], speaks["fast"]) == (True, False) and speaks["trained"]["multiple"] == 64
    properties = said["fields"]["video"]["properties"]
    assert properties["image"]["pattern"].startswith("^(in_") and properties["extend"]["enum"] == ["rules"]
    assert not {"device", "dit", "output", "memory", "calibrate"} & set(properties)
    assert "frames" not in said["fields"]["image"]["properties"]
    assert (
        "video" in said["fields"]["extend"]["required"]
        and "size" not in said["fields"]["extend"]["properties"]
    )
    (worker,) = said["workers"]
    assert (worker["name"], worker["device"], worker["state"]) == ("cpu0", "cpu", "idle")


def test_figures_for_prometheus(client):
    add(client)
    finish(client)
    add(client)
    text = client.get("/metrics").text
    assert 'wan22_jobs{state="queued"} 1.0' in text and 'wan22_jobs_ended_total{how="completed"} 1.0' in text
    assert 'wan22_requests_total{method="POST",path="/v1/jobs",status="201"} 2.0' in text
    assert 'wan22_worker_up{device="cpu",worker="cpu0"} 1.0' in text


def test_a_queue_that_is_full_says_so(tmp_path):
    with serving(tmp_path, max_queued=1) as client:
        add(client)
        full = client.post("/v1/jobs", json={"request": PROMPT})
        assert full.status_code == 429 and full.json()["code"] == "queue_full" and full.headers["retry-after"]


def test_a_method_that_a_path_does_not_know_is_told_those_it_does(client):
    for path, methods in (
        ("/v1/jobs", "GET, POST"),
        (f"/v1/jobs/{add(client)}", "DELETE, GET, PATCH"),
        ("/healthz", "GET"),
    ):
        answer = client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)
    assert client.put("/nowhere").status_code == 404


def test_a_defect_says_nothing_of_the_inside(client, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("secret inside")

    monkeypatch.setattr(client.app.state.store, "jobs_text", broken)
    answer = client.get("/v1/jobs")
    assert answer.status_code == 500 and "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_disk_that_is_full_is_507_and_what_cannot_be_written_503(client, monkeypatch):
    for code, status in (("full", 507), ("read_only", 503), ("locked", 503)):

        def broken(*_, code=code, **__):
            raise StoreError("it is as it is", code=code)

        monkeypatch.setattr(client.app.state.store, "add", broken)
        answer = client.post("/v1/jobs", json={"request": {"prompt": "a ball"}})
        expected = "insufficient_storage" if code == "full" else code
        assert (answer.status_code, answer.json()["code"]) == (status, expected)
