# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""The queue, as the server sees it."""

from dataclasses import fields, replace

import pytest
from unit.jobs.stores import children, fail, make, said, store, video  # noqa: F401 - a fixture

from wan22.errors import OptionError, RequestError
from wan22.jobs.job import Input, Job, KeyConflictError, NotFoundError, StateError, new_id
from wan22.jobs.store import Store


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
    assert [data["state"] for data in said(store, job, "state")] == ["queued", "running", "completed"]


def test_a_row_fills_every_field_of_a_job(store):
    job, names = video(store), {field.name for field in fields(Job)}
    assert vars(job).keys() == names and replace(job, seq=1).seq == 1
    assert job == Job(**{name: getattr(job, name) for name in names})


def test_what_was_stored_is_there_after_opening_again(store, tmp_path):
    jobs = [video(store, f"prompt {n}", priority=n, after=()) for n in range(3)]
    store.close()
    with Store(tmp_path / "jobs.sqlite") as again:
        assert again.jobs(order="asc") == jobs


@pytest.mark.parametrize(
    "id", ["", "job_", "../x", "\ud800", "job_" + "A" * 24, "job_" + "a" * 24, "in_" + "a" * 24, None]
)
def test_an_id_that_is_none_is_not_found(store, id):
    for call in (store.job, store.cancel, store.trash, store.purge, store.position, store.move, store.input):
        with pytest.raises((NotFoundError, RequestError)):
            call(id)
    with pytest.raises(NotFoundError):
        store.jobs(after=str(id))
    with pytest.raises(NotFoundError):
        video(store, parent=str(id))
    with pytest.raises(NotFoundError):
        video(store, after=[id])
    assert store.jobs() == []


@pytest.mark.parametrize("request_", [{"x": float("nan")}, {"x": object()}, {"x": {1, 2}}])
def test_what_json_cannot_hold_is_refused(store, request_):
    with pytest.raises(RequestError, match="cannot be stored as JSON"):
        store.add("video", request_)
    assert store.jobs() == []


@pytest.mark.parametrize(
    "how", [{"priority": 1 << 70}, {"priority": 0.5}, {"priority": True}, {"state": "running"}]
)
def test_a_new_job_that_cannot_be_is_refused(store, how):
    with pytest.raises(RequestError):
        video(store, **how)
    with pytest.raises(OptionError, match="unknown kind"):
        store.add("film", {})
    assert store.jobs() == [] and store.events() == []


# Keys


def test_the_same_key_gives_the_same_job(store):
    job = video(store, key="k")
    assert video(store, key="k").id == job.id and store.with_key("k").id == job.id
    with pytest.raises(KeyConflictError, match=job.id):
        video(store, "another", key="k")
    assert len(store.jobs()) == 1 and store.with_key("l") is None


@pytest.mark.parametrize("other", [{"priority": 1}, {"prompt": "b"}])
def test_a_key_is_for_one_request(store, other):
    video(store, key="\ud800")
    with pytest.raises(KeyConflictError):
        video(store, key="\ud800", **other)


def test_a_key_goes_with_the_body_that_the_client_sent(store):
    first = store.add("video", {"image": new_id("in")}, key="k", body="hash")
    assert store.add("video", {"image": new_id("in")}, key="k", body="hash").id == first.id
    with pytest.raises(KeyConflictError):
        store.add("video", first.request, key="k", body="other")


def test_a_group_has_a_key_too(store):
    first = store.add_group({}, children("1", "2"), key="k")
    assert store.add_group({}, children("1", "2"), key="k").id == first.id and len(store.jobs()) == 3
    with pytest.raises(KeyConflictError):
        store.add_group({}, children("1", "3"), key="k")


# The order


def test_priority_goes_first_then_what_came_first(store):
    second, third, first = video(store), video(store), video(store, priority=5)
    assert [store.position(job.id) for job in (first, second, third)] == [0, 1, 2]
    assert make(store, 3) == [first.id, second.id, third.id] and store.claim("w") is None
    assert store.position(first.id) is None


def queue(store):
    return [job.id for job in store.jobs(order="queue", states=["queued", "paused"])]


def test_jobs_are_moved(store):
    a, b, c, d = (video(store).id for _ in range(4))
    store.move(d, first=True)
    assert queue(store) == [d, a, b, c]
    store.move(a, last=True)
    assert queue(store) == [d, b, c, a]
    store.move(a, before=c)
    assert queue(store) == [d, b, a, c]
    assert store.move(a, before=a).id == a and queue(store) == [d, b, a, c]
    assert video(store).id == queue(store)[-1]


def test_a_job_can_be_moved_between_the_same_two_again_and_again(store):
    a, b, c = (video(store).id for _ in range(3))
    for _ in range(15):  # the gap is 2^20
        store.move(b, before=a)
        store.move(c, before=a)
        assert queue(store) == [b, c, a]
        store.move(c, before=b)
        store.move(b, before=a)
        assert queue(store) == [c, b, a]


def test_a_job_without_room_between_its_neighbours_finds_some(store):
    jobs = [video(store).id for _ in range(3)]
    for _ in range(60):
        jobs = [jobs[0], jobs[2], jobs[1]]
        store.move(jobs[1], before=jobs[2])
        assert queue(store) == jobs


def test_a_moved_job_takes_the_priority_of_its_place(store):
    low, high = video(store), video(store, priority=9)
    assert store.move(low.id, before=high.id).priority == 9 and queue(store) == [low.id, high.id]
    other = video(store, priority=-3)
    assert store.move(high.id, last=True).priority == -3 and queue(store) == [low.id, other.id, high.id]
    assert store.move(other.id, first=True).priority == 9 and queue(store) == [other.id, low.id, high.id]
    assert store.prioritise(high.id, 99).priority == 99 and queue(store)[0] == high.id
    assert said(store, high, "moved")


def test_a_group_is_moved_with_what_is_in_it(store):
    a, group, b = video(store), store.add_group({}, children("1", "2")), video(store)
    parts = [job.id for job in store.jobs(parent=group.id, order="asc")]
    store.move(group.id, first=True)
    assert [id for id in queue(store) if id != group.id] == [*parts, a.id, b.id]
    store.move(a.id, before=group.id)
    assert [id for id in queue(store) if id != group.id] == [a.id, *parts, b.id]
    store.prioritise(group.id, -1)
    assert [id for id in queue(store) if id != group.id] == [a.id, b.id, *parts]
    assert store.job(group.id).priority == -1


def test_only_what_waits_has_a_place(store):
    job, other = video(store), video(store)
    make(store)
    for call in (lambda: store.move(job.id, first=True), lambda: store.move(other.id, before=job.id)):
        with pytest.raises(StateError, match="is completed; only jobs that are queued or paused"):
            call()
    with pytest.raises(RequestError, match="one place"):
        store.move(other.id)
    with pytest.raises(RequestError, match="one place"):
        store.move(other.id, first=True, last=True)


# Cancel, pause, resume, retry


def test_what_waits_is_cancelled_and_paused_at_once(store):
    job = video(store)
    assert store.pause(job.id).state == "paused" and store.pause(job.id).state == "paused"
    assert store.claim("w") is None and store.position(job.id) is None
    assert store.resume(job.id).state == "queued" and store.resume(job.id).state == "queued"
    ended = store.cancel(job.id)
    assert ended.state == "cancelled" and ended.ended and store.cancel(job.id) == ended
    assert video(store, state="paused").state == "paused" and store.claim("w") is None


def test_what_runs_is_asked_to_stop(store):
    job = video(store)
    claim = store.claim("w")
    assert store.heartbeat(claim) == "run"
    assert store.pause(job.id).signal == "pause" and store.heartbeat(claim) == "pause"
    assert not store.record(claim, {"type": "note"})
    assert store.resume(job.id).signal == "run" and store.record(claim, {"type": "note"})
    store.pause(job.id)
    assert store.release(claim) and store.job(job.id).state == "paused" and store.heartbeat(claim) == "lost"
    store.resume(job.id)
    claim = store.claim("w")
    assert store.cancel(job.id).state == "running" and not store.complete(claim, {})
    assert store.release(claim) and store.job(job.id).state == "cancelled"
    assert [data["signal"] for data in said(store, job, "signal")] == ["pause", "run", "pause", "cancel"]


def test_a_pause_that_comes_too_late_changes_nothing(store):
    job = video(store)
    claim = store.claim("w")
    store.pause(job.id)
    assert store.complete(claim, {}) and store.job(job.id).state == "completed"


def test_what_cannot_be_done_says_what_can(store):
    waits, done, bad = video(store, priority=-1), video(store), video(store)
    make(store)
    fail(store)
    trashed = store.trash(store.cancel(video(store).id).id)
    for job, call, words in [
        (done, "cancel", "it is completed. You can trash it"),
        (done, "pause", "it is completed"),
        (done, "retry", "it is completed"),
        (bad, "cancel", "it is failed. You can retry or trash it"),
        (bad, "resume", "it is failed"),
        (waits, "retry", "it is queued. You can cancel, pause, move or trash it"),
        (waits, "purge", "it is not in the trash. You can trash it"),
        (trashed, "retry", "it is in the trash. You can restore or purge it"),
    ]:
        before = store.job(job.id)
        with pytest.raises(StateError) as error:
            getattr(store, call)(job.id)
        assert words in str(error.value) and job.id in str(error.value) and store.job(job.id) == before


def test_a_retry_begins_anew(store):
    job = video(store)
    claim = store.claim("w")
    store.record(claim, {"type": "progress", "fraction": 0.9}, step=3)
    store.fail(claim, "bad", "no")
    assert store.job(job.id).error == {"code": "bad", "message": "no"}
    again = store.retry(job.id)
    assert (again.state, again.error, again.ended, again.fraction, again.step) == ("queued", None, None, 0, 0)
    assert make(store) == [job.id]


# Trash


def test_the_trash_hides_and_gives_back(store):
    job = video(store)
    make(store)
    assert store.trash(job.id).trashed and store.trash(job.id).state == "completed"
    assert store.jobs() == [] and [each.id for each in store.jobs(trashed=True)] == [job.id]
    assert store.count()["completed"] == 0 and store.job(job.id).trashed
    with pytest.raises(StateError, match="in the trash"):
        video(store, after=[job.id])
    assert store.restore(job.id).trashed is None and store.restore(job.id).trashed is None
    assert len(store.jobs()) == 1


def test_what_is_not_ended_is_cancelled_on_its_way_to_the_trash(store):
    waits, runs = video(store, state="paused"), video(store)
    claim = store.claim("w")
    assert store.trash(waits.id).state == "cancelled"
    assert store.trash(runs.id).signal == "cancel" and store.heartbeat(claim) == "cancel"
    with pytest.raises(StateError, match="not yet ended"):
        store.purge(runs.id)
    store.release(claim)
    assert store.purge(runs.id) == [runs.id]


def test_a_purge_leaves_nothing(store):
    job = video(store, key="k")
    group = store.add_group({}, children("1", "2"))
    ids = [each.id for each in store.jobs(parent=group.id)]
    store.trash(group.id)
    store.trash(job.id)
    assert set(store.purge(group.id)) == {group.id, *ids} and store.purge(job.id) == [job.id]
    assert store.jobs(trashed=True) == [] and store.ids() == set() and store.with_key("k") is None
    assert [event.data["type"] for event in store.events()] == ["purged"] * 4
    with pytest.raises(NotFoundError):
        store.restore(job.id)


def test_what_a_waiting_job_needs_is_not_purged(store):
    first = video(store)
    make(store)
    needs = video(store, after=[first.id])
    store.trash(first.id)
    with pytest.raises(StateError, match=needs.id):
        store.purge(first.id)
    make(store)
    assert store.purge(first.id) == [first.id] and store.job(needs.id).after == ()


def test_a_group_forgets_the_child_that_failed(store):
    group = store.add_group({}, children("1", "2"))
    bad = fail(store)
    make(store)
    assert store.job(group.id).state == "failed"
    store.trash(bad)
    assert store.job(group.id).state == "completed"
    store.restore(bad)
    assert store.job(group.id).state == "failed"
    store.trash(bad)
    store.purge(bad)
    assert store.job(group.id).state == "completed"


def test_a_part_of_what_is_in_the_trash_comes_back_with_it(store):
    group = store.add_group({}, children("1", "2"))
    running = store.claim("w")
    store.trash(group.id)
    with pytest.raises(StateError, match=group.id):
        store.restore(running.job.id)
    store.release(running)
    assert store.job(group.id).state == "cancelled"
    store.restore(group.id)
    assert len(store.jobs()) == 3


# Events, inputs, figures


def test_events_are_numbered_over_all_jobs(store):
    one, two = video(store), video(store)
    events = store.events()
    assert [event.n for event in events] == [1, 2] and [event.job for event in events] == [one.id, two.id]
    assert (
        store.events(1) == events[1:] and store.events(job=two.id) == events[1:] and store.last_event() == 2
    )
    assert (
        store.events(limit=1) == events[:1]
        and store.events(10**30) == []
        and store.events(-(10**30)) == events
    )


def test_progress_of_jobs_that_ended_long_ago_is_thinned(store, monkeypatch):
    job = video(store)
    claim = store.claim("w")
    for n in range(5):
        store.record(claim, {"type": "progress", "step": n})
        store.record(claim, {"type": "note", "text": str(n)})
    store.complete(claim, {})
    store.cancel(video(store).id)
    assert len(said(store, job, "progress")) == 5
    monkeypatch.setattr("wan22.jobs.transitions.KEEP_PROGRESS", -1.0)
    store.cancel(video(store).id)
    assert (
        said(store, job, "progress") == [{"type": "progress", "step": 4}]
        and len(said(store, job, "note")) == 5
    )


def test_version_rises_with_what_this_and_other_processes_write(store, tmp_path):
    seen = store.version
    assert store.version == seen
    job = video(store)
    assert store.version > seen
    seen = store.version
    with Store(tmp_path / "jobs.sqlite") as other:
        between = store.version
        other.cancel(job.id)
    assert store.version > between >= seen
    seen = store.version
    store.jobs()
    assert store.version == seen


def test_inputs_are_kept_as_long_as_a_job_needs_them(store):
    row = Input("", "cat.png", "image/png", 9, "0" * 64, 1.5, width=640, height=480)
    ids = [new_id("in") for _ in range(3)]
    for id in ids:
        assert store.add_input(id, row).id == id
    assert store.input(ids[0]).width == 640 and store.input(ids[0]).frames is None
    assert [each.id for each in store.inputs()] == ids[::-1] and store.input_ids() == set(ids)
    assert [each.id for each in store.inputs(after=ids[1])] == [ids[0]]
    job = store.add("video", {"image": [ids[0]]})
    with pytest.raises(StateError, match=job.id):
        store.delete_input(ids[0])
    make(store)
    store.delete_input(ids[0])
    for gone in (ids[0], new_id("in"), "x"):
        for call in (store.input, store.delete_input):
            with pytest.raises(NotFoundError):
                call(gone)


def test_figures_only_grow(store):
    assert store.figures().waiting == 0
    video(store)
    fail(store)
    waits = video(store, state="paused")
    assert store.figures().waiting == 0
    store.resume(waits.id)
    figures = store.figures()
    assert figures.states["queued"] == 1 and figures.waiting > 0 and figures.totals["failed"] == 1
    make(store)
    store.trash(waits.id)
    store.purge(waits.id)
    after = store.figures()
    assert after.totals["completed"] == 1 and after.totals["seconds"] > figures.totals["seconds"] > 0
    assert sum(after.states.values()) == 1
