"""A worker process with toy jobs: it makes them in order, stops them when asked, and says why one failed."""

import os
import signal

import pytest
from unit.jobs.processes import LONG, ended, stepped, until, worker

from bench.toy_jobs import undisturbed
from wan22.jobs import attempt
from wan22.jobs.codes import CODES
from wan22.jobs.folder import Folder

STEPS = {"steps": 400, "pause": 0.02}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


@pytest.fixture
def store(folder):
    with folder.open_store() as store:
        yield store


def state(store, job):
    return store.job(job.id).state


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def is_in(store, job, *states):
    return lambda: state(store, job) in states


def test_jobs_are_made_stopped_and_explained_by_one_process(folder, store):
    with worker(folder.path) as process:
        good = store.add("video", {"prompt": "a", "steps": 3, "seed": 7})
        until(is_in(store, good, "completed"))
        made = store.job(good.id)
        assert made.result["files"][0]["name"] == "video.mp4"
        assert (folder.job(good.id) / "video.mp4").read_text() == undisturbed(good.request)
        kept = ["job.json", "result.json", "steps.log", "video.mp4"]
        until(lambda: names(folder.job(good.id)) == kept)  # the rest goes
        says = [event.data["type"] for event in store.events(job=good.id)]
        assert says.count("progress") == 3 and says[-1] == "state"

        codes = {
            "option": "invalid_request", "media": "unreadable_input", "memory": "out_of_memory",
            "full": "insufficient_storage", "defect": "internal_error",
        }  # fmt: skip
        bad = {name: store.add("video", {"prompt": "a", "fail": name}) for name in codes}
        for name, job in bad.items():
            until(is_in(store, job, "failed"))
            error = store.job(job.id).error
            assert error["code"] == codes[name] and error["code"] in CODES and error["message"]
        assert "ZeroDivisionError" in (folder.job(bad["defect"].id) / "error.txt").read_text()

        cancelled = store.add("video", {"prompt": "a", **STEPS})
        until(lambda: stepped(folder, cancelled))
        store.cancel(cancelled.id)
        until(is_in(store, cancelled, "cancelled"))
        busy = store.add("video", {"prompt": "a", "busy": 1000.0})  # no step comes: it is interrupted
        until(is_in(store, busy, "running"))
        store.cancel(busy.id)
        until(is_in(store, busy, "cancelled"))

        paused = store.add("video", {"prompt": "a", "seed": 3, "steps": 40, "pause": 0.02})
        until(lambda: stepped(folder, paused))
        store.pause(paused.id)
        until(is_in(store, paused, "paused"))
        store.resume(paused.id)
        until(is_in(store, paused, "completed"))
        assert (folder.job(paused.id) / "video.mp4").read_text() == undisturbed(paused.request)
        assert stepped(folder, paused) == list(range(40))  # no step was done twice

        again = store.add("video", {"prompt": "a", **STEPS, "steps": 60})
        until(lambda: len(stepped(folder, again)) > 2)  # the first of them is recorded
        assert ended(process) == 0
        given_back = store.job(again.id)
        assert given_back.state == "queued" and given_back.attempts == 0 and given_back.step > 0
    with worker(folder.path) as process:
        until(is_in(store, again, "completed"))
        assert stepped(folder, again) == list(range(60))
        assert ended(process) == 0


def test_a_worker_that_is_killed_goes_on_where_it_was(folder, store):
    job = store.add("video", {"prompt": "a", "steps": 50, "pause": 0.02})
    with worker(folder.path) as process:
        until(lambda: len(stepped(folder, job)) > 3)
        process.kill()
        process.wait(LONG)
    assert state(store, job) == "running"
    with worker(folder.path) as process:
        until(is_in(store, job, "completed"))
        assert ended(process) == 0
    steps = stepped(folder, job)
    assert set(steps) == set(range(50)) and len(steps) <= 51  # at most one step is done again
    assert (folder.job(job.id) / "video.mp4").read_text() == undisturbed(job.request)


def test_of_two_workers_of_one_name_the_second_does_not_start(folder, store):
    with worker(folder.path):
        job = store.add("video", {"prompt": "a"})
        until(is_in(store, job, "completed"))
        with worker(folder.path) as second:
            assert second.wait(LONG) == 3
            assert "cpu0' works on this folder already" in second.stderr.read()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "nowhere"}, "there is no device 'nowhere'"),
        ({"name": "../x"}, "a worker's name has"),
        ({"runner": "toy"}, "MODULE:FUNCTION"),
    ],
)
def test_a_worker_that_cannot_work_says_why(folder, options, says):
    with worker(folder.path, **options) as process:
        assert process.wait(LONG) == 3
        assert says in process.stderr.read()


@pytest.mark.slow
def test_a_stopped_worker_is_fenced(folder, store):
    """It goes on after another has its job, and changes nothing."""
    job = store.add("video", {"prompt": "a", "steps": 60, "pause": 0.02})
    with worker(folder.path, lease=1.0) as stopped, worker(folder.path, "cpu1", lease=1.0):
        first = until(lambda: store.job(job.id).worker)
        process = stopped if first == "cpu0" else None
        if process is None:  # the other was quicker
            until(is_in(store, job, "completed"))
            return
        until(lambda: len(stepped(folder, job)) > 2)
        process.send_signal(signal.SIGSTOP)
        until(lambda: store.job(job.id).worker == "cpu1" or state(store, job) == "completed")
        process.send_signal(signal.SIGCONT)
        until(is_in(store, job, "completed"))
        assert store.job(job.id).result["files"][0]["sha256"]
        assert (folder.job(job.id) / "video.mp4").read_text() == undisturbed(job.request)
        later = store.add("video", {"prompt": "a"})
        until(is_in(store, later, "completed"))
        assert process.poll() is None  # it lives on
        states = [e.data["state"] for e in store.events(job=job.id) if e.data["type"] == "state"]
        assert states.count("completed") == 1
        os.kill(process.pid, 0)


def test_what_a_worker_had_no_time_to_remove_goes_with_the_next_start(folder, store, monkeypatch):
    """It dies after any of the removals."""
    job = store.add("video", {"prompt": "a"})
    claim = store.claim("cpu0")
    assert store.complete(claim, {"files": []})
    place = folder.job(job.id)
    for name in ("journal", f"work-{claim.token}"):
        (place / name).mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(attempt.shutil, "rmtree", only_once(attempt.shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            attempt._clear(place)
    assert len(list(place.iterdir())) == 1
    attempt.sweep(folder, store)
    assert list(place.iterdir()) == []


def only_once(function):
    calls = []

    def once(*arguments, **more):
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return function(*arguments, **more)

    return once
