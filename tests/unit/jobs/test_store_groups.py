# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""Jobs that need others, and groups of jobs."""

import pytest
from unit.jobs.stores import children, fail, make, said, states, store, video  # noqa: F401 - a fixture

from wan22.errors import RequestError
from wan22.jobs.job import Child, StateError


def test_a_job_waits_for_those_before_it(store):
    first = video(store)
    second = video(store, after=[first.id, first.id], priority=5)
    assert second.after == (first.id,)
    claim = store.claim("w")
    assert claim.job.id == first.id and store.claim("v") is None
    store.complete(claim, {})
    assert make(store) == [second.id]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_needs_a_job_that_failed_fails_too(store, end):
    first = video(store)
    second = video(store, after=[first.id])
    third = video(store, after=[second.id], state="paused")
    other = video(store)
    fail(store) if end == "failed" else store.cancel(first.id)
    assert states(store, [first, second, third, other]) == [end, "failed", "failed", "queued"]
    error = store.job(second.id).error
    assert error["code"] == "dependency_failed" and first.id in error["message"] and end in error["message"]
    with pytest.raises(StateError, match="Retry it first"):
        video(store, after=[first.id])
    with pytest.raises(StateError, match=f"needs {first.id}.*retry that one"):
        store.retry(second.id)
    store.retry(first.id)
    assert states(store, [first, second, third]) == ["queued"] * 3
    assert make(store, 4) == [first.id, second.id, third.id, other.id]


def test_what_needs_two_that_failed_waits_for_the_retry_of_both(store):
    one, two = video(store), video(store)
    both = video(store, after=[one.id, two.id])
    store.cancel(one.id)
    store.cancel(two.id)
    store.retry(one.id)
    assert store.job(both.id).state == "failed" and two.id in store.job(both.id).error["message"]
    store.retry(two.id)
    assert store.job(both.id).state == "queued"


def test_a_long_chain_fails_and_is_retried_as_one(store):
    chain = [Child("video", {}, after=(n - 1,) if n else ()) for n in range(1200)]
    group = store.add_group({}, chain)
    fail(store)
    assert store.job(group.id).state == "failed" and store.count()["failed"] == 1200
    store.retry(store.jobs(parent=group.id, order="asc", limit=1)[0].id)
    assert store.job(group.id).state == "queued" and store.count()["queued"] == 1200


def test_a_group_is_complete_with_its_last_child(store):
    group = store.add_group({}, [*children("1"), *children("2", after=(0,))])
    first = store.claim("w")
    assert (
        first.job.parent == group.id and store.claim("v") is None and store.job(group.id).state == "running"
    )
    assert store.record(first, {"type": "progress", "fraction": 0.5}) and store.job(group.id).fraction == 0.25
    store.complete(first, {})
    assert store.job(group.id).state == "queued" and store.job(group.id).fraction == 0.5
    make(store)
    done = store.job(group.id)
    assert done.state == "completed" and done.fraction == 1 and done.started and done.ended
    assert [data["state"] for data in said(store, group, "state")] == [
        "queued", "running", "queued", "running", "completed",
    ]  # fmt: skip


def test_a_group_ends_when_all_in_it_have_ended(store):
    group = store.add_group({}, children("1", "2", "3"))
    needs = video(store, after=[group.id])
    bad = fail(store)
    make(store)
    assert store.job(group.id).state == "queued" and store.job(needs.id).state == "queued"
    make(store)
    assert store.job(group.id).error == {"code": "child_failed", "message": "1 of 3 jobs failed."}
    assert store.job(needs.id).error["code"] == "dependency_failed"
    store.retry(bad)
    assert states(store, [group, needs]) == ["queued", "queued"] and store.job(group.id).error is None
    assert make(store, 2) == [bad, needs.id] and store.job(group.id).state == "completed"


def test_a_group_is_cancelled_paused_resumed_and_retried_with_what_is_in_it(store):
    group = store.add_group({}, children("1", "2", "3"))
    make(store)
    running = store.claim("w")
    assert store.pause(group.id).state == "running" and store.heartbeat(running) == "pause"
    store.release(running)
    assert store.job(group.id).state == "paused" and store.claim("w") is None
    assert store.resume(group.id).state == "queued"
    running = store.claim("w")
    asked = store.cancel(group.id)
    assert asked.state == "running" and asked.signal == "cancel" and store.heartbeat(running) == "cancel"
    with pytest.raises(StateError, match="about to be cancelled"):
        store.resume(group.id)
    store.release(running)
    ended = store.job(group.id)
    assert ended.state == "cancelled" and ended.signal == "run"
    assert sorted(states(store, store.jobs(parent=group.id))) == ["cancelled", "cancelled", "completed"]
    assert store.retry(group.id).state == "queued"
    make(store, 2)
    assert store.job(group.id).state == "completed"


def test_groups_lie_in_groups(store):
    outer = store.add("group", {}, state="paused")
    inner = store.add("group", {}, parent=outer.id)
    leaf = video(store, parent=inner.id)
    assert states(store, [outer, inner, leaf]) == ["paused"] * 3 and store.claim("w") is None
    store.resume(outer.id)
    make(store)
    assert states(store, [outer, inner, leaf]) == ["completed"] * 3
    with pytest.raises(StateError, match="no more children"):
        video(store, parent=outer.id)


def test_what_is_added_to_a_group_waits_for_what_the_group_waits_for(store):
    first = video(store)
    group = store.add("group", {}, after=[first.id])
    leaf = video(store, parent=group.id)
    assert leaf.after == (first.id,)
    assert make(store, 2) == [first.id, leaf.id] and store.job(group.id).state == "completed"
    with pytest.raises(RequestError, match="cannot come after the group"):
        video(store, parent=store.add("group", {}).id, after=[store.jobs(kind="group", limit=1)[0].id])


def test_a_parent_that_is_a_job_waits_for_its_children(store):
    parent = video(store)
    child = video(store, parent=parent.id)
    assert make(store, 2) == [child.id, parent.id]
    parent = video(store)
    video(store, parent=parent.id)
    fail(store)
    assert store.job(parent.id).error["code"] == "dependency_failed"


def test_the_children_of_a_group_come_all_or_not_at_all(store):
    with pytest.raises(RequestError, match="only after jobs before it"):
        store.add_group({}, [*children("1"), *children("2", after=(1,))])
    assert store.jobs() == [] and store.events() == []
