"""The queue, as the server and one worker see it."""

import pytest

from wan22.errors import RequestError
from wan22.jobs.job import Child, KeyConflictError, NotFoundError, StateError, new_id
from wan22.jobs.store import Store


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "jobs.sqlite") as opened:
        yield opened


def video(store, prompt="a fox", **how):
    return store.add("video", {"prompt": prompt}, **how)


def test_a_job_is_stored_and_made(store):
    job = video(store, meta={"user": "kim"})
    claim = store.claim("gpu0")
    assert claim.job.id == job.id and claim.job.state == "running" and claim.job.worker == "gpu0"
    assert store.record(claim, {"type": "progress", "step": 1, "fraction": 0.5}, step=1)
    assert store.job(job.id).fraction == 0.5
    assert store.complete(claim, {"file": "video.mp4"})
    done = store.job(job.id)
    assert done.state == "completed" and done.result == {"file": "video.mp4"} and done.fraction == 1
    assert done.request == {"prompt": "a fox"} and done.meta == {"user": "kim"} and done.spent > 0
    states = [event.data["state"] for event in store.events(job=job.id) if event.data["type"] == "state"]
    assert states == ["queued", "running", "completed"]


def test_an_id_that_is_none_is_not_found(store):
    for id in ("", "job_", "../x", "\ud800", "job_" + "A" * 24, new_id("job"), new_id("in")):
        with pytest.raises(NotFoundError):
            store.job(id)
        with pytest.raises(NotFoundError):
            store.cancel(id)


def test_the_same_key_gives_the_same_job(store):
    job = video(store, key="k")
    assert video(store, key="k").id == job.id and store.with_key("k").id == job.id
    with pytest.raises(KeyConflictError, match=job.id):
        video(store, "another", key="k")
    assert len(store.jobs()) == 1 and store.with_key("l") is None


def test_a_key_goes_with_the_body_that_the_client_sent(store):
    first = store.add("video", {"image": new_id("in")}, key="k", body="hash")
    assert store.add("video", {"image": new_id("in")}, key="k", body="hash").id == first.id
    with pytest.raises(KeyConflictError):
        store.add("video", first.request, key="k", body="other")


def test_priority_goes_before_order_and_order_before_nothing(store):
    late, soon, first = video(store), video(store), video(store, priority=5)
    assert [store.position(job.id) for job in (first, late, soon)] == [0, 1, 2]
    assert [store.claim("w").job.id for _ in range(3)] == [first.id, late.id, soon.id]
    assert store.claim("w") is None


def test_a_group_is_complete_with_its_last_child(store):
    group = store.add_group(
        {}, [Child("video", {"prompt": "1"}), Child("video", {"prompt": "2"}, after=(0,))]
    )
    first = store.claim("w")
    assert (
        first.job.parent == group.id and store.claim("v") is None and store.job(group.id).state == "running"
    )
    store.complete(first, {})
    assert store.job(group.id).fraction == 0.5
    store.complete(store.claim("w"), {})
    assert store.job(group.id).state == "completed" and store.job(group.id).fraction == 1


def test_what_cannot_be_done_says_what_can(store):
    job = video(store)
    store.complete(store.claim("w"), {})
    with pytest.raises(StateError, match="it is completed"):
        store.cancel(job.id)
    with pytest.raises(RequestError, match="from -1000000"):
        video(store, priority=1 << 70)
