"""A worker of the queue on two devices: its jobs survive its processes."""

import json
import os
import signal

import psutil
import pytest
from unit.jobs.processes import ended, until, worker
from unit.tiny import write_tiny

from wan22.jobs.folder import RESULT, Folder
from wan22.jobs.runner import open_production
from wan22.jobs.supervisor import worker_names

RUNNER = "wan22.jobs.runner:open_production"


def test_several_devices_have_the_name_of_the_first():
    assert worker_names(["cuda:0+cuda:1", "cuda:2+cuda:3", "cpu+cpu"]) == ["gpu0", "gpu2", "cpu0"]


def test_a_runner_says_its_devices(tmp_path):
    assert open_production(Folder(tmp_path), "cpu+cpu")._device == "cpu+cpu"


def follower(process):
    """The process that follows a worker, once there is one."""
    children = psutil.Process(process.pid).children(recursive=True)
    return next((child for child in children if "wan22.parallel" in child.cmdline()), None)


@pytest.mark.slow
def test_a_job_whose_follower_is_killed_is_claimed_again_and_the_worker_stays(tmp_path):
    tiny = write_tiny(tmp_path / "tiny")
    folder = Folder(tmp_path / "data")
    (folder.path / "operator.json").write_text(json.dumps({"models": {"mine": str(tiny)}}))
    request = {
        "prompt": "a red ball rolls left", "model": "mine", "steps": 300, "size": [48, 32], "frames": 5,
    }  # fmt: skip
    with (
        folder.open_store() as store,
        worker(folder.path, device="cpu+cpu", runner=RUNNER, lease=20.0) as process,
    ):
        job = store.add("video", request)
        until(lambda: store.job(job.id).step >= 2, "a step")
        first = follower(process)
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: store.job(job.id).state in ("completed", "failed"), "the end")
        made = store.job(job.id)
        assert made.state == "completed", made
        assert process.poll() is None
        assert not psutil.pid_exists(first.pid) and follower(process).pid != first.pid
        result = json.loads((folder.job(job.id) / RESULT).read_text())
        assert result["recipe"]["gpus"] == 2
        last = follower(process)
        assert ended(process) == 0
        psutil.wait_procs([last], timeout=60)
        assert not last.is_running()
