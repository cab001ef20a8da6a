"""A worker whose queue and files are a coordinator's: the same jobs, whatever happens to the way between them."""

import random
import signal
import threading

import pytest

from bench.toy_jobs import toy, undisturbed
from wan22.errors import OutputError
from wan22.fleet import coordinator as coordinating
from wan22.fleet import remote
from wan22.fleet.coordinator import Coordinator
from wan22.fleet.remote import Link, RemoteFiles, RemoteQueue, UnreachableError
from wan22.jobs.folder import Folder
from wan22.jobs.job import StoreError
from wan22.jobs.worker import Worker

NAME, OTHER = "box-00000a-cpu0", "box-00000b-cpu0"
PAUSES = (0.0,)


@pytest.fixture
def data(tmp_path):
    return Folder(tmp_path / "data")


@pytest.fixture
def store(data):
    with data.open_store() as store:
        yield store


@pytest.fixture
def coordinator(data):
    made = Coordinator(data.path)
    yield made
    made.close()


def work(call, place, done, name=NAME):
    """A worker in this thread, until `done`. Returns it when it has left."""
    folder = Folder(place / name)
    link = Link(call, PAUSES)
    runner = toy(folder, "cpu")
    queue, files = RemoteQueue(link, runner), RemoteFiles(folder, link)
    worker = Worker(name, folder, queue, files, runner, lease=2.0, poll=0.01)
    former = signal.signal(signal.SIGINT, worker.interrupts.handle)
    over = threading.Event()

    def watch():
        while not over.wait(0.02) and not done():
            pass
        worker.watch.leaving = True

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        worker.serve()
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, former)
    return folder


def left(folder):
    """What of jobs and inputs is still there."""
    return [path for part in ("jobs", "inputs") for path in (folder.path / part).iterdir()]


def made(data, job):
    return (data.job(job.id) / "video.mp4").read_text()


def test_a_job_is_made_elsewhere_and_its_files_come_to_the_server(
    data, store, coordinator, tmp_path, monkeypatch
):
    monkeypatch.setattr(remote, "CHUNK", 7)
    monkeypatch.setattr(coordinating, "CHUNK", 5)
    job = store.add("video", {"prompt": "a", "steps": 6, "pause": 0.0})
    folder = work(coordinator.ask, tmp_path, lambda: store.job(job.id).state == "completed")
    assert made(data, job) == undisturbed(job.request)
    assert sorted(path.name for path in data.job(job.id).iterdir()) == [
        "job.json", "result.json", "steps.log", "video.mp4",
    ]  # fmt: skip
    assert left(folder) == []
    types = [event.data["type"] for event in store.events(job=job.id)]
    assert types.count("progress") == 6


def test_a_job_goes_on_from_the_last_checkpoint_on_another_machine(data, store, coordinator, tmp_path):
    job = store.add("video", {"prompt": "a", "steps": 60, "pause": 0.0, "seed": 5})
    first = work(coordinator.ask, tmp_path, lambda: store.job(job.id).step > 5)
    given_back = store.job(job.id)
    assert given_back.state == "queued" and left(first) == []
    assert len(list((data.job(job.id) / "journal").iterdir())) >= given_back.step
    store.pause(job.id)
    store.resume(job.id)
    work(coordinator.ask, tmp_path, lambda: store.job(job.id).state == "completed", OTHER)
    assert made(data, job) == undisturbed(job.request)
    steps = [line.split()[1] for line in (data.job(job.id) / "steps.log").read_text().splitlines()]
    assert steps == [str(n) for n in range(60)]  # none is done twice


def test_a_way_that_breaks_before_or_after_a_question_loses_and_doubles_nothing(
    data, store, coordinator, tmp_path, monkeypatch
):
    monkeypatch.setattr("wan22.jobs.worker._AGAIN", 0.01)
    rng = random.Random(1)

    def breaking(name, *arguments, **more):
        kind = rng.random()
        if kind < 0.15:
            raise UnreachableError("before")
        answer = coordinator.ask(name, *arguments, **more)
        if kind < 0.3:
            raise UnreachableError("after")
        return answer

    jobs = [store.add("video", {"prompt": "a", "seed": n, "steps": 5, "pause": 0.0}) for n in range(3)]
    work(breaking, tmp_path, lambda: store.count()["completed"] + store.count()["failed"] == 3)
    for job in jobs:
        assert made(data, job) == undisturbed(job.request)
        states = [e.data["state"] for e in store.events(job=job.id) if e.data["type"] == "state"]
        assert states.count("completed") == 1


def test_a_coordinator_that_is_started_again_gets_the_rest_of_a_file_anew(
    data, store, coordinator, tmp_path, monkeypatch
):
    monkeypatch.setattr(remote, "CHUNK", 4)
    now = [coordinator]
    job = store.add("video", {"prompt": "a"})
    claim = store.claim(NAME)
    folder = Folder(tmp_path / NAME)
    seen = []

    def restarted(name, *arguments, **more):
        if name == "write":
            seen.append(arguments[2])
            if arguments[2] == 8 and len(now) == 1:
                now.append(Coordinator(data.path))  # it knows of no half file
        return now[-1].ask(name, *arguments, **more)

    files = RemoteFiles(folder, Link(restarted, PAUSES))
    work_folder = files.begin(claim)
    (work_folder / "a.bin").write_bytes(bytes(range(20)))
    files.keep(claim)
    there = data.job(job.id) / work_folder.name / "a.bin"
    assert there.read_bytes() == bytes(range(20)) and seen.count(0) == 2
    for each in now[1:]:
        each.close()


def test_one_that_was_taken_for_dead_writes_nothing(data, store, coordinator, tmp_path):
    job = store.add("video", {"prompt": "a"})
    old = store.claim(NAME)
    files = RemoteFiles(Folder(tmp_path / NAME), Link(coordinator.ask, PAUSES))
    work_folder = files.begin(old)
    store.recover(NAME)
    new = store.claim(OTHER)
    assert new.job.id == job.id
    (work_folder / "video.mp4").write_text("old")
    with pytest.raises(OutputError, match="no longer"):
        files.keep(old)
    with pytest.raises(OutputError, match="no longer"):
        files.publish(old, {"files": []})
    files.leave(old)  # says nothing: the job is another's
    assert not list(data.job(job.id).rglob("video.mp4"))
    assert store.heartbeat(new) == "run"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".hidden", "a/.x", ""])
def test_no_name_leads_out_of_a_jobs_folder(store, coordinator, name):
    store.add("video", {"prompt": "a"})
    claim = store.claim(NAME)
    assert "no file of a job's folder" in coordinator.ask("write", claim, name, 0, b"x", True).error[1]
    assert coordinator.ask("read", claim, name, 0).error is not None


def test_inputs_come_to_the_machine_and_go_with_the_job(data, store, coordinator, tmp_path):
    id = "in_" + "a" * 24
    data.input(id).write_bytes(b"an image")
    job = store.add("video", {"prompt": "a", "image": id})
    claim = store.claim(NAME)
    folder = Folder(tmp_path / NAME)
    files = RemoteFiles(folder, Link(coordinator.ask, PAUSES))
    files.begin(claim)
    assert folder.input(id).read_bytes() == b"an image"
    files.leave(claim)
    assert left(folder) == [] and data.input(id).exists() and data.job(job.id).is_dir()


def test_cancel_and_defects_come_through(data, store, coordinator, tmp_path):
    bad = store.add("video", {"prompt": "a", "fail": "defect"})
    long = store.add("video", {"prompt": "a", "steps": 10_000, "pause": 0.01})

    def done():
        job = store.job(long.id)
        if job.state == "running" and job.signal == "run" and job.step > 2:
            store.cancel(long.id)
        return job.state == "cancelled"

    work(coordinator.ask, tmp_path, done)
    assert store.job(bad.id).error["code"] == "internal_error"
    assert "ZeroDivisionError" in (data.job(bad.id) / "error.txt").read_text()


def test_jobs_of_an_earlier_fleet_are_queued_at_once_and_those_of_others_are_not(store, coordinator):
    jobs = [store.add("video", {"prompt": "a"}) for _ in range(2)]
    store.claim(NAME)
    store.claim("gpu0")
    coordinator.begin_fleet()
    assert [store.job(job.id).state for job in jobs] == ["queued", "running"]


def test_no_answer_is_a_trouble_of_the_store_where_a_worker_can_wait():
    def silent(name, *arguments, **more):
        raise UnreachableError("nobody")

    with pytest.raises(StoreError, match="nobody"):
        Link(silent).once("version")
    assert RemoteQueue(Link(silent), None).version == 0  # a worker that waits goes on waiting
