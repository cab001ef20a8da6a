"""Several processes on one store."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from wan22.jobs import database
from wan22.jobs.job import Child
from wan22.jobs.store import Store

CLAIM_ALL = """
import json, pathlib, sys
from wan22.jobs import database
from wan22.jobs.store import Store
database.SYNCHRONOUS = "OFF"  # no power is cut here
claimed, worker = [], sys.argv[2]
with Store(pathlib.Path(sys.argv[1]), check=False) as store:
    while claim := store.claim(worker, lease=600):
        claimed.append(claim.job.id)
        if len(claimed) == 1:  # each has one before any goes on
            print("ready", flush=True)
            sys.stdin.readline()
        assert store.record(claim, {"type": "progress"}, step=1)
        assert store.complete(claim, {"by": worker})
print(json.dumps(claimed))
"""

KILLED = """
import pathlib, sys
from wan22.jobs.store import Store
with Store(pathlib.Path(sys.argv[1])) as store:
    print(store.add("video", {"prompt": "stored"}).id, flush=True)
    with store._db.write() as c:
        c.execute("DELETE FROM job")
        print("in the middle", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    return tmp_path / "jobs.sqlite"


def start(code, *words):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_claim_each_job_once(path):
    with Store(path) as store:
        group = store.add_group({}, [Child("video", {"prompt": str(n)}) for n in range(500)])
        processes = [start(CLAIM_ALL, path, name) for name in ("gpu0", "gpu1")]
        try:
            for process in processes:
                assert process.stdout.readline() == "ready\n"
            claimed = [
                json.loads(process.communicate("go\n", timeout=240)[0]) for process in started(processes)
            ]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        times = Counter(id for each in claimed for id in each)
        assert len(times) == 500 and set(times.values()) == {1} and all(claimed)
        jobs = store.jobs(parent=group.id, limit=1000)
        assert all(job.state == "completed" and job.attempts == 0 for job in jobs)
        by = {id: name for name, each in zip(("gpu0", "gpu1"), claimed, strict=True) for id in each}
        assert {job.id: job.result["by"] for job in jobs} == by and store.job(group.id).state == "completed"


def started(processes):
    """Let all begin, then wait for each."""
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


def test_what_was_answered_outlives_a_kill_and_what_was_not_is_undone(path):
    process = start(KILLED, path)
    try:
        id = process.stdout.readline().strip()
        assert process.stdout.readline() == "in the middle\n"
    finally:
        process.kill()
        process.communicate()
    with Store(path) as store:
        assert store.job(id).request == {"prompt": "stored"} and store.claim("w").job.id == id


def test_a_store_is_opened_without_torch(path):
    code = "import sys; import wan22.jobs.folder, wan22.jobs.rebuild; print({'torch', 'numpy', 'av'} & {*sys.modules})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
