"""Any order of calls keeps what must hold: against a model of the queue that is a list of dictionaries."""

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from wan22.jobs import database
from wan22.jobs.job import ENDED, Child, NotFoundError, StateError
from wan22.jobs.store import Store

WORKERS = ("one", "two", "three")


class Queue(RuleBasedStateMachine):
    """Two stores on one file, as a server and workers have them; `hands` is who holds what, by this test's account."""

    jobs = Bundle("jobs")
    folders = itertools.count()
    root = None

    @initialize()
    def open(self):
        path = self.root / f"{next(self.folders)}.sqlite"
        self.stores = [Store(path), Store(path)]
        self.hands, self.stale = {}, []
        self.known, self.ended, self.seen = set(), {}, {}

    def teardown(self):
        for store in getattr(self, "stores", ()):
            store.close()

    def either(self, index):
        return self.stores[index % 2]

    @rule(
        target=jobs,
        at=st.integers(0, 1),
        priority=st.integers(-1, 1),
        paused=st.booleans(),
        after=st.lists(jobs, max_size=2),
    )
    def add(self, at, priority, paused, after):
        after = [id for id in after if self.usable(id)]
        state = "paused" if paused else "queued"
        job = self.either(at).add("video", {"prompt": "x"}, priority=priority, state=state, after=after)
        self.known.add(job.id)
        return job.id

    def usable(self, id):
        try:
            job = self.stores[0].job(id)
        except NotFoundError:
            return False
        return job.state not in ("failed", "cancelled") and job.trashed is None

    @rule(target=jobs, at=st.integers(0, 1), count=st.integers(1, 3), chained=st.booleans())
    def add_group(self, at, count, chained):
        children = [
            Child("video", {"prompt": "x"}, after=(n - 1,) if chained and n else ()) for n in range(count)
        ]
        group = self.either(at).add_group({}, children)
        parts = [job.id for job in self.stores[0].jobs(parent=group.id)]
        self.known.update([group.id, *parts])
        return multiple(group.id, *parts)

    @rule(
        id=jobs,
        at=st.integers(0, 1),
        what=st.sampled_from(["cancel", "pause", "resume", "retry", "trash", "restore"]),
    )
    def command(self, id, at, what):
        try:
            getattr(self.either(at), what)(id)
        except NotFoundError:
            assert id not in self.known
        except StateError:
            pass

    @rule(id=jobs, other=jobs, how=st.sampled_from(["first", "last", "before", "priority"]))
    def move(self, id, other, how):
        store = self.stores[0]
        try:
            if how == "priority":
                store.prioritise(id, 1)
            elif how == "before":
                moved, before = store.job(id), store.job(other)
                store.move(id, before=other)
                if moved.kind == before.kind == "video" and id != other:
                    queue = [job.id for job in store.jobs(order="queue") if job.kind != "group"]
                    waits = [each for each in queue if store.job(each).state in ("queued", "paused")]
                    assert waits.index(id) + 1 == waits.index(other)
            else:
                store.move(id, first=how == "first", last=how == "last")
        except (NotFoundError, StateError):
            pass

    @rule(id=consumes(jobs))
    def purge(self, id):
        try:
            gone = self.stores[1].purge(id)
        except (NotFoundError, StateError):
            return
        assert not set(gone) & {claim.job.id for claim in self.hands.values()}
        self.known -= set(gone)

    @rule(worker=st.sampled_from(WORKERS), at=st.integers(0, 1))
    def claim(self, worker, at):
        if worker in self.hands:
            return
        store = self.either(at)
        waiting = [job for job in store.jobs(order="queue", states=["queued"]) if job.kind != "group"]
        ready = [job for job in waiting if all(self.is_complete(id) for id in job.after)]
        claim = store.claim(worker)
        assert (claim and claim.job.id) == (ready[0].id if ready else None)
        if claim:
            self.hands[worker] = claim

    def is_complete(self, id):
        try:
            return self.stores[0].job(id).state == "completed"
        except NotFoundError:
            return True

    @rule(worker=st.sampled_from(WORKERS), step=st.integers(0, 5))
    def record(self, worker, step):
        if claim := self.hands.get(worker):
            store = self.stores[1]
            runs = store.heartbeat(claim) == "run"
            assert store.record(claim, {"type": "progress", "fraction": step / 5}, step=step) == runs

    @rule(
        worker=st.sampled_from(WORKERS), how=st.sampled_from(["complete", "fail", "again", "release", "die"])
    )
    def end(self, worker, how):
        claim = self.hands.pop(worker, None)
        if claim is None:
            return
        store, asked = self.stores[0], self.stores[0].heartbeat(claim)
        assert asked != "lost"
        if how == "complete":
            assert store.complete(claim, {}) == (asked != "cancel")
            if asked == "cancel":
                assert store.release(claim)
        elif how == "fail":
            assert store.fail(claim, "x", "y")
        elif how == "again":
            assert store.fail(claim, "x", "y", again=True)
        elif how == "release":
            assert store.release(claim)
        else:
            assert store.recover(worker) == 1
        self.stale.append(claim)
        state = store.job(claim.job.id).state
        if asked == "cancel":
            assert state == "cancelled"
        else:
            allowed = {"complete": {"completed"}, "fail": {"failed"}, "release": {"queued", "paused"}}
            assert state in allowed.get(how, {"queued", "paused", "failed"})

    @rule()
    def old_claims_do_nothing(self):
        for claim in self.stale[-3:]:
            store, before = self.stores[0], self.stores[0].last_event()
            assert store.heartbeat(claim) == "lost" and not store.record(claim, {"type": "note"})
            assert not (store.complete(claim, {}) or store.fail(claim, "x", "y") or store.release(claim))
            assert store.last_event() == before

    @invariant()
    def what_must_hold(self):
        jobs = {
            job.id: job
            for job in [*self.stores[0].jobs(limit=9999), *self.stores[0].jobs(limit=9999, trashed=True)]
        }
        assert set(jobs) == self.known  # none is lost
        running = {job.id for job in jobs.values() if job.state == "running" and job.kind != "group"}
        assert running == {claim.job.id for claim in self.hands.values()}  # each in one worker's hands
        assert len({claim.job.id for claim in self.hands.values()}) == len(self.hands)
        for job in jobs.values():
            assert (job.ended is not None) == (job.state in ENDED)
            assert (job.worker is not None) == (job.id in running)
            assert 0 <= job.fraction <= 1 and job.attempts <= 3
            assert job.signal == "run" or job.state == "running"
            assert (job.error is not None) == (job.state == "failed")
            assert job.trashed is None or job.state in ENDED or job.signal == "cancel" or job.kind == "group"
            if job.state in ("queued", "paused", "running"):
                assert not any(jobs[id].state in ("failed", "cancelled") for id in job.after if id in jobs)
            if job.kind == "group":
                self.check_group(job, [each for each in jobs.values() if each.parent == job.id])

    def check_group(self, group, children):
        states = {each.state for each in children if each.trashed is None} or {
            each.state for each in children
        }
        order = ("running", "queued", "paused", "failed", "cancelled", "completed")
        assert not states or group.state == next(state for state in order if state in states)


def test_any_order_of_calls_keeps_what_must_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    monkeypatch.setattr(Queue, "root", tmp_path)
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
