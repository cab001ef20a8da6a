"""The queue, as workers see it: claims, leases, tokens, attempts. No test waits: clocks are given."""

import sqlite3

import pytest

from wan22.errors import RequestError
from wan22.jobs import uptime
from wan22.jobs.job import Child
from wan22.jobs.store import Store

MODULES = ("claims", "line", "transitions")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is put on."""
    now = [1000.0]
    for module in MODULES:
        monkeypatch.setattr(f"wan22.jobs.{module}.uptime", lambda: now[0], raising=False)

    def pass_time(seconds):
        now[0] += seconds

    return pass_time


@pytest.fixture
def store(tmp_path, monkeypatch, clock):
    monkeypatch.setattr("wan22.jobs.database.SYNCHRONOUS", "OFF")  # no power is cut here
    with Store(tmp_path / "jobs.sqlite") as opened:
        yield opened


def video(store, model=None, **how):
    return store.add("video", {"prompt": "a fox"} | ({"model": model} if model else {}), **how)


def test_a_lease_is_renewed_by_heartbeats_and_events(store, clock):
    video(store)
    claim = store.claim("one", lease=10)
    for renew in (lambda: store.heartbeat(claim) == "run", lambda: store.record(claim, {"type": "note"})):
        for _ in range(5):
            clock(9)
            assert renew()
            assert store.claim("two") is None


def test_a_heartbeat_writes_only_when_the_lease_gets_short(store, clock, tmp_path):
    video(store)
    claim = store.claim("one", lease=10)
    with Store(tmp_path / "jobs.sqlite") as other:
        seen = other.version
        clock(2.9)
        assert store.heartbeat(claim) == "run" and other.version == seen
        clock(0.2)
        assert store.heartbeat(claim) == "run" and other.version > seen


def test_a_worker_that_was_stopped_is_replaced_and_can_do_no_harm(store, clock):
    job = video(store)
    stopped = store.claim("one", lease=10)
    store.record(stopped, {"type": "progress", "fraction": 0.4}, step=4)
    clock(10.1)
    taken = store.claim("two", lease=10)
    assert taken.job.id == job.id and taken.token != stopped.token and taken.job.step == 4
    before = store.job(job.id), store.last_event()
    assert store.heartbeat(stopped) == "lost"
    assert not store.record(stopped, {"type": "progress", "fraction": 0.9}, step=5)
    assert not store.complete(stopped, {"file": "stale"})
    assert not store.fail(stopped, "x", "y")
    assert not store.release(stopped)
    assert (store.job(job.id), store.last_event()) == before
    assert store.complete(taken, {"file": "new"}) and store.job(job.id).result == {"file": "new"}
    assert not store.complete(taken, {}) and store.job(job.id).result == {"file": "new"}


def test_a_lease_that_is_over_and_not_taken_can_be_renewed(store, clock):
    video(store)
    claim = store.claim("one", lease=10)
    clock(100)  # the machine was asleep
    assert store.heartbeat(claim) == "run" and store.claim("two") is None


def test_after_a_reboot_every_lease_is_over(store, clock, monkeypatch, tmp_path):
    job = video(store)
    claim = store.claim("one", lease=10)
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.execute("UPDATE job SET boot = 'another'")
    connection.close()
    assert store.claim("two").job.id == job.id and store.heartbeat(claim) == "lost"


def test_where_starts_have_no_name_a_lease_from_before_the_reboot_does_not_last(store, clock):
    job = video(store)
    store.claim("one", lease=10)
    clock(-900)  # the seconds since the start began anew
    assert store.claim("two").job.id == job.id


def test_a_clock_set_back_or_forward_changes_nothing(store, clock, monkeypatch):
    video(store)
    claim = store.claim("one", lease=10)
    for time in (0.0, 4e9):
        monkeypatch.setattr("time.time", lambda time=time: time)
        assert store.claim("two") is None and store.heartbeat(claim) == "run"
        assert store.record(claim, {"type": "note"})
    monkeypatch.setattr("time.time", lambda: 0.0)
    later = video(store)
    assert [job.id for job in store.jobs()] == [later.id, claim.job.id] and store.figures().waiting >= 0
    assert store.complete(claim, {}) and store.claim("two").job.id == later.id


def test_seconds_are_those_since_the_start_or_those_of_a_clock_that_nobody_sets(monkeypatch):
    assert uptime.uptime() <= uptime.uptime()
    monkeypatch.setattr(uptime, "_CLOCK", None)
    monkeypatch.setattr("time.monotonic", lambda: 7.5)
    assert uptime.uptime() == 7.5


# Which job


def test_the_model_that_is_loaded_is_preferred_among_equals(store):
    a, b, high = video(store, "a"), video(store, "b"), video(store, "c", priority=1)
    assert store.claim("w", loaded="b").job.id == high.id
    assert store.claim("w", loaded="b").job.id == b.id
    assert store.claim("w", loaded="b").job.id == a.id


def test_no_job_is_passed_over_for_long(store, clock):
    first, others = video(store, "a"), [video(store, "b") for _ in range(4)]
    order = []
    clock(600)  # how long it has waited for the jobs before it does not count
    for seconds in (0, 59, 2, 0):
        clock(seconds)
        order.append(store.claim("w", loaded="b", lease=1000).job.id)
    assert order == [others[0].id, others[1].id, first.id, others[2].id]


def test_what_is_passed_over_counts_anew_after_a_reboot_at_the_latest(store, clock):
    first, other = video(store, "a"), [video(store, "b") for _ in range(2)]
    assert store.claim("w", loaded="b").job.id == other[0].id
    clock(-900)
    assert store.claim("w", loaded="b").job.id == first.id


def test_a_preferred_job_is_one_that_can_begin(store):
    a, b = video(store, "a"), video(store, "b")
    needs = video(store, "c", after=[b.id])
    group = store.add_group({}, [Child("video", {"model": "c"})], state="paused")
    assert store.claim("w", loaded="c").job.id == a.id
    assert store.job(needs.id).state == "queued" and store.job(group.id).state == "paused"


# Attempts


def die(store, clock):
    """A worker claims a job and dies; its lease passes."""
    claim = store.claim("w", lease=10)
    clock(10.1)
    return claim


def test_a_job_that_kills_three_workers_is_given_up(store, clock):
    poison, other = video(store), video(store)
    assert [die(store, clock).job.id for _ in range(3)] == [poison.id] * 3
    assert store.claim("w").job.id == other.id
    ended = store.job(poison.id)
    assert ended.state == "failed" and ended.error["code"] == "poison" and "3 times" in ended.error["message"]
    assert store.figures().totals["poison"] == 1
    store.retry(poison.id)
    assert store.job(poison.id).attempts == 0 and store.claim("w").job.id == poison.id


def test_a_new_step_shows_that_a_job_is_no_poison(store, clock):
    job = video(store)
    for step in range(1, 8):
        claim = store.claim("w", lease=10)
        assert claim.job.id == job.id and store.record(claim, {"type": "progress"}, step=step)
        clock(10.1)
        die(store, clock)
    for _ in range(2):
        claim = store.claim("w", lease=10)
        assert store.record(claim, {"type": "progress"}, step=7)  # done before: no new one
        clock(10.1)
    assert store.claim("w") is None and store.job(job.id).error["code"] == "poison"


def test_how_often_a_job_is_tried_can_be_set(store, clock, tmp_path):
    job = video(store)
    with Store(tmp_path / "jobs.sqlite", attempts=1) as strict:
        die(strict, clock)
        assert strict.claim("w") is None and strict.job(job.id).error["code"] == "poison"


def test_what_is_given_back_in_order_is_no_attempt(store, clock):
    job = video(store)
    for _ in range(10):
        claim = store.claim("w")
        assert claim.job.id == job.id and claim.job.attempts == 1
        assert (
            store.release(claim) and store.job(job.id).state == "queued" and store.job(job.id).attempts == 0
        )


def test_a_failure_that_may_pass_is_tried_again_three_times(store):
    job = video(store)
    for state in ("queued", "queued", "failed"):
        assert store.fail(store.claim("w"), "out_of_memory", "no room", again=True)
        assert store.job(job.id).state == state
    assert store.job(job.id).error == {"code": "out_of_memory", "message": "no room"}


def test_a_worker_takes_back_what_it_had_when_it_died(store):
    mine, asked, paused, others = (video(store) for _ in range(4))
    for _ in range(3):
        store.claim("gpu0")
    other = store.claim("gpu1")
    store.cancel(asked.id)
    store.pause(paused.id)
    assert store.recover("gpu0") == 3 and store.recover("gpu0") == 0
    assert [store.job(job.id).state for job in (mine, asked, paused, others)] == [
        "queued", "cancelled", "paused", "running",
    ]  # fmt: skip
    assert store.claim("gpu0").job.id == mine.id and store.heartbeat(other) == "run"


def test_what_died_while_it_was_asked_to_stop_stops(store, clock):
    cancelled, paused = video(store), video(store)
    for job, ask in ((cancelled, store.cancel), (paused, store.pause)):
        assert store.claim("w", lease=10).job.id == job.id
        ask(job.id)
    clock(10.1)
    assert store.claim("w") is None
    assert store.job(cancelled.id).state == "cancelled" and store.job(paused.id).state == "paused"


def test_a_worker_that_leaves_says_what_it_saw(store):
    job = video(store)
    claim = store.claim("w")
    assert store.release(claim, signal="pause") and store.job(job.id).state == "paused"
    store.resume(job.id)
    claim = store.claim("w")
    store.cancel(job.id)
    assert store.release(claim, signal="pause") and store.job(job.id).state == "cancelled"
    job = video(store)
    claim = store.claim("w")
    store.cancel(job.id)
    assert store.fail(claim, "internal", "stopped in the middle") and store.job(job.id).state == "cancelled"


# Events of workers


def test_a_fraction_never_falls_and_is_no_more_than_one(store, clock):
    job = video(store)
    claim = store.claim("one", lease=10)
    for said, is_ in ((0.5, 0.5), (0.3, 0.5), (-1, 0.5), (7, 1.0)):
        assert store.record(claim, {"type": "progress", "fraction": said})
        assert (
            store.job(job.id).fraction == is_
            and store.events(store.last_event() - 1)[0].data["fraction"] == is_
        )
    with pytest.raises(RequestError, match="JSON"):
        store.record(claim, {"type": "note", "text": object()})
    with pytest.raises(RequestError, match="JSON"):
        store.complete(claim, {"seconds": float("inf")})
    assert store.job(job.id).state == "running" and store.heartbeat(claim) == "run"


def test_the_time_in_workers_hands_is_added_up(store, clock):
    job = video(store)
    for _ in range(2):
        claim = store.claim("w")
        clock(3)
        store.release(claim)
    claim = store.claim("w")
    clock(4)
    store.complete(claim, {})
    assert store.job(job.id).spent == 10 and store.figures().totals["seconds"] == 10
