"""The supervisor: a worker that ends is started again, one that hangs is killed, one that cannot work is named once."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from unit.jobs.processes import LONG, ROOT, TOY, environment, stepped, until

from bench.toy_jobs import undisturbed
from wan22.errors import OptionError
from wan22.jobs import supervisor as supervising
from wan22.jobs.folder import Folder
from wan22.jobs.supervisor import Patience, Supervisor, worker_names

QUICK = Patience(lease=2.0)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


@pytest.fixture
def store(folder):
    with folder.open_store() as store:
        yield store


@contextmanager
def supervised(folder, monkeypatch, devices=("cpu",), patience=QUICK):
    monkeypatch.setattr(os, "environ", os.environ | {"PYTHONPATH": str(ROOT)})
    log = []
    supervisor = Supervisor(folder.path, devices, runner=TOY, patience=patience, log=log.append)
    supervisor.start()
    try:
        yield supervisor, log
    finally:
        supervisor.stop(LONG)


def completed(store, job):
    return lambda: store.job(job.id).state == "completed"


def test_a_killed_worker_is_started_again_and_goes_on(folder, store, monkeypatch):
    with supervised(folder, monkeypatch) as (supervisor, log):
        job = store.add("video", {"prompt": "a", "steps": 40, "pause": 0.02})
        until(lambda: len(stepped(folder, job)) > 3 and supervisor.status()[0].job == job.id)
        os.kill(supervisor.status()[0].pid, signal.SIGKILL)
        until(completed(store, job))
        (status,) = supervisor.status()
        assert status.name == "cpu0" and status.restarts == 1 and any("SIGKILL" in line for line in log)
        assert (folder.job(job.id) / "video.mp4").read_text() == undisturbed(job.request)
        until(lambda: supervisor.ready)
        pid = supervisor.status()[0].pid
        assert supervisor.stop(LONG)
        assert supervisor.status()[0].state == "stopped"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_device_that_is_not_here_is_named_once(folder, monkeypatch):
    with supervised(folder, monkeypatch, ["nowhere"]) as (supervisor, log):
        until(lambda: supervisor.status()[0].restarts > 1)
        assert [line for line in log if "cannot work" in line] == [
            "worker nowhere0 on nowhere cannot work: there is no device 'nowhere' on this machine"
        ]
        (status,) = supervisor.status()
        assert (
            status.state == "failing"
            and not status.up
            and "no device" in status.message
            and not supervisor.ready
        )


@pytest.mark.slow
def test_a_worker_that_hangs_or_is_stopped_is_killed_and_its_job_goes_on(folder, store, monkeypatch):
    patience = Patience(lease=2.0, stall=3.0)
    with supervised(folder, monkeypatch, patience=patience) as (supervisor, log):
        job = store.add("video", {"prompt": "a", "steps": 200, "pause": 0.02})
        until(lambda: len(stepped(folder, job)) > 3 and supervisor.status()[0].job == job.id)
        os.kill(supervisor.status()[0].pid, signal.SIGSTOP)
        until(completed(store, job))
        assert any("has said nothing for 2 s" in line for line in log)
        assert (folder.job(job.id) / "video.mp4").read_text() == undisturbed(job.request)
        hung = store.add("video", {"prompt": "a", "steps": 5, "hang": 2})
        until(lambda: store.job(hung.id).state == "failed")  # three attempts without a new step
        assert store.job(hung.id).error["code"] == "poison"
        assert any("has made no progress for 3 s" in line for line in log)


@pytest.mark.slow
def test_a_stopped_worker_does_not_hold_up_the_end(folder, monkeypatch):
    with supervised(folder, monkeypatch) as (supervisor, log):
        until(lambda: supervisor.ready)
        os.kill(supervisor.status()[0].pid, signal.SIGSTOP)
        assert not supervisor.stop(1e6)
        assert any("did not end in time" in line for line in log)


@pytest.mark.slow
def test_a_job_that_kills_its_worker_is_poison_and_others_are_made(folder, store, monkeypatch):
    with supervised(folder, monkeypatch) as (_, _log):
        poison = store.add("video", {"prompt": "a", "steps": 5, "die": 2})
        good = store.add("video", {"prompt": "a"})
        until(completed(store, good))
        until(lambda: store.job(poison.id).state == "failed")
        assert store.job(poison.id).error["code"] == "poison"


@pytest.mark.slow
def test_workers_end_with_their_supervisor(folder, store):
    """Also if it is killed, and if the worker is stopped: a new one takes its place."""
    code = (
        "import sys, time; from wan22.jobs.supervisor import *; "
        f"s = Supervisor({str(folder.path)!r}, ['cpu'], runner={TOY!r}, patience=Patience(lease=2.0)); s.start(); "
        "time.sleep(1000)"
    )

    def start():
        return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment())

    def pid():
        lock = folder.path / "workers" / "cpu0.lock"
        return int(lock.read_text().split("-")[1]) if lock.exists() and lock.read_text() else None

    def alive(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    first = start()
    try:
        job = store.add("video", {"prompt": "a", "steps": 300, "pause": 0.02})
        until(lambda: stepped(folder, job))
        worker = pid()
        os.kill(worker, signal.SIGSTOP)
        first.kill()
        first.wait(LONG)
        second = start()
        try:
            until(lambda: not alive(worker))
            until(completed(store, job))
            worker = pid()
        finally:
            second.kill()
            second.wait(LONG)
        until(lambda: not alive(worker))
        assert (folder.job(job.id) / "video.mp4").read_text() == undisturbed(job.request)
    finally:
        first.kill()
        first.wait(LONG)


def test_workers_are_named_by_their_devices():
    assert worker_names(["cuda:0", "cuda:1", "cpu", "cpu"]) == ["gpu0", "gpu1", "cpu0", "cpu1"]
    assert worker_names(["auto"]) == ["gpu0"] and worker_names(["cuda", "cuda"]) == ["gpu0", "gpu1"]
    with pytest.raises(OptionError, match="name one device"):
        worker_names([])


def test_the_supervisor_needs_no_torch():
    code = "import sys, wan22.jobs.supervisor, wan22.jobs.codes, wan22.jobs.operator; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=False).returncode == 0
    )


def test_a_worker_that_ends_without_a_step_is_started_later_and_later(monkeypatch, tmp_path):
    monkeypatch.setattr(supervising, "_SOON", float("inf"))
    worker = supervising._Worker("cpu0", "cpu", tmp_path, None, QUICK, lambda _: None)
    ends = []
    for well in (False, False, True, False):
        worker.is_well = well
        worker._ended(-9)
        ends.append(worker.soon)
    assert ends == [1, 2, 0, 1]
