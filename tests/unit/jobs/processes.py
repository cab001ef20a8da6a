"""Workers as processes, for tests: started with a toy runner, waited for, and ended whatever happens."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
LONG = 120.0  # seconds after which a test hangs
_PAUSE = 0.02
TOY = "bench.toy_jobs:toy"


def until(holds, what="it"):
    """Wait for a condition; return its value."""
    for _ in range(round(LONG / _PAUSE)):
        if found := holds():
            return found
        time.sleep(_PAUSE)
    raise AssertionError(f"{what} did not come")


@contextmanager
def worker(data, name="cpu0", device="cpu", runner=TOY, lease=2.0, **more):
    """A worker process of its own, without a supervisor."""
    command = [sys.executable, "-m", "wan22.jobs.worker", "--data", data, "--name", name, "--device", device]
    command += ["--runner", runner, "--lease", str(lease)]
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), **more,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def ended(process):
    """The exit code after SIGTERM."""
    process.send_signal(signal.SIGTERM)
    return process.wait(LONG)


def stepped(folder, job):
    """The steps that were begun of a toy job, in their order."""
    log = folder.job(job.id) / "steps.log"
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []
