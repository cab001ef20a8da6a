"""The worker that needs no device: which jobs it takes, and what it measures."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from unit.jobs.processes import LONG, ROOT, TOY, environment, until, worker

from wan22.director.trend import AXES
from wan22.errors import OptionError
from wan22.jobs.folder import Folder
from wan22.jobs.job import DEVICE_KINDS, MEDIA_KINDS
from wan22.jobs.supervisor import Patience, Supervisor
from wan22.jobs.task import MEDIA
from wan22.media.video import VideoWriter

PROMPT = "a red ball rolls left at sunset, the camera pans left"


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


@pytest.fixture
def store(folder):
    with folder.open_store() as store:
        yield store


def made(folder, store, frames=36, **request):
    """A job that has made a video whose light falls."""
    job = store.add("video", {"prompt": PROMPT, **request})
    claim = store.claim("hand", kinds=DEVICE_KINDS)
    place = folder.job(job.id)
    place.mkdir(parents=True)
    ramp = np.linspace(200, 60, frames).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 40, (1, 48, 64, 3)).astype(np.uint8)
    with VideoWriter(place / "video.mp4", fps=16, size=(64, 48)) as writer:
        for light in ramp:
            writer.add(light + noise[0])
    store.complete(claim, {"files": [{"name": "video.mp4"}], "recipe": {"prompt": PROMPT}})
    return job.id


def measure(store, job, **more):
    request = {"job": job, "file": "video.mp4", "asked": PROMPT} | more
    return store.add("measure", request, after=[job]).id


def test_each_worker_takes_the_jobs_of_its_kinds(store):
    first = store.add("render", {}).id
    second = store.add("video", {"prompt": "a"}).id
    third = store.add("measure", {}).id
    assert [store.position(id) for id in (first, second, third)] == [0, 0, 1]
    assert store.claim("cpu0", kinds=DEVICE_KINDS).job.id == second
    assert store.claim("cpu0", kinds=DEVICE_KINDS) is None
    assert [store.claim("media", kinds=MEDIA_KINDS).job.id for _ in range(2)] == [first, third]
    assert store.claim("media", kinds=MEDIA_KINDS) is None
    with pytest.raises(OptionError, match="kind"):
        store.claim("media", kinds=("film",))


def test_a_runner_that_says_no_kinds_makes_what_needs_a_device(folder, store):
    with worker(folder.path, runner=TOY):
        render = store.add("render", {"steps": 1}).id
        video = store.add("video", {"prompt": "a", "steps": 1, "pause": 0}).id
        until(lambda: store.job(video).state == "completed")
    assert store.job(render).state == "queued"


def test_a_video_is_measured_beside_what_was_asked(folder, store):
    job = made(folder, store)
    id = measure(store, job)
    with worker(folder.path, name="media", runner=MEDIA):
        done = until(lambda: (it := store.job(id)).result and it)
    measured = store.job(job).meta["measured"]
    assert measured == done.result["measured"] and measured["by"] == id and measured["frames"] == 36
    rows = {row["axis"]: row for row in measured["axes"]}
    assert {"time", "camera", "action", "colour"} <= {
        a for a, row in rows.items() if row["asked"] is not None
    }
    assert "pan" in rows["camera"]["asked"] and rows["cuts"]["asked"] is None
    assert all(0 <= row["certainty"] <= 1 and row["matches"] in (True, False, None) for row in rows.values())
    judged = {*measured["matched"], *measured["failed"], *measured["unchecked"]}
    assert judged == {axis for axis, row in rows.items() if row["asked"] is not None}
    drift = done.result["drift"]
    assert set(drift["axes"]) == set(measured["drift"]) == set(AXES)
    assert len(drift["axes"]["brightness"]["values"]) == len(drift["times"]) >= 2
    assert measured["drift"]["brightness"]["total"] < -5  # the light falls
    said = [event.data for event in store.events(job=id)]
    shares = [each["fraction"] for each in said if "fraction" in each]
    assert shares == sorted(shares) and {each.get("name") for each in said} >= {"measure", "drift"}
    told = [event.data["changed"] for event in store.events(job=job) if event.data["type"] == "meta"]
    assert told == [["measured"]]
    assert not [path for path in folder.job(id).iterdir() if path.name.startswith("work-")]


def test_what_is_too_short_is_measured_as_unknown(folder, store):
    job = made(folder, store, frames=3)
    id = measure(store, job, asked={"subject": "a red ball", "time": ["night"]})
    with worker(folder.path, name="media", runner=MEDIA):
        until(lambda: store.job(id).state == "completed")
    measured = store.job(job).meta["measured"]
    assert measured["score"] is None and "too short" in measured["remark"]
    assert measured["unchecked"] == ["time", "colour"] and measured["drift"] is None


@pytest.mark.parametrize("gone", ["file", "prompt"])
def test_what_cannot_be_measured_fails_with_its_reason(folder, store, gone):
    job = made(folder, store)
    id = measure(store, job, asked={"colours": "red"} if gone == "prompt" else PROMPT)
    if gone == "file":
        (folder.job(job) / "video.mp4").unlink()
    with worker(folder.path, name="media", runner=MEDIA):
        until(lambda: store.job(id).state == "failed")
    code = {"file": "unreadable_input", "prompt": "invalid_request"}[gone]
    assert store.job(id).error["code"] == code and str(folder.path) not in store.job(id).error["message"]
    assert "measured" not in store.job(job).meta


def test_the_worker_that_needs_no_device_imports_no_torch(folder, store):
    job = made(folder, store)
    id = measure(store, job)
    script = (
        "import sys, pathlib, threading\n"
        "from wan22.jobs import worker\n"
        "from wan22.jobs.folder import Folder\n"
        "from wan22.jobs.media import open_media\n"
        f"folder = Folder(pathlib.Path({str(folder.path)!r})); store = folder.open_store()\n"
        "from wan22.jobs.attempt import LocalFiles\n"
        "runner = open_media(folder, 'cpu')\n"
        "made = worker.Worker('media', folder, store, LocalFiles(folder), runner)\n"
        "claim = made._claim(); made._make(claim)\n"
        f"print(store.job({id!r}).state, [name for name in sys.modules if name.split('.')[0] == 'torch'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.stdout.strip() == "completed []", done.stderr


def test_the_supervisor_has_a_worker_that_needs_no_device(folder, store, monkeypatch):
    monkeypatch.setattr(os, "environ", environment())
    supervisor = Supervisor(
        folder.path, ("nowhere",), runner=TOY, media=TOY, patience=Patience(lease=2.0), log=lambda text: None
    )
    assert supervisor.media.name == "media"
    supervisor.start()
    try:
        until(lambda: supervisor.media.state == "idle")
        until(lambda: supervisor.status()[0].state == "failing")
        assert not supervisor.ready  # that is a matter of devices
        niceness = os.getpriority(os.PRIO_PROCESS, supervisor.media.pid)
        assert niceness == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        os.kill(supervisor.media.pid, signal.SIGKILL)
        until(lambda: supervisor.media.restarts == 1)
        assert [each.name for each in supervisor.status()] == ["nowhere0"]
    finally:
        supervisor.stop(LONG)
    assert supervisor.media.state == "stopped"
    assert json.dumps(Supervisor(folder.path, ("cpu",)).media) == "null"
