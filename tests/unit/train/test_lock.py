"""One process at a time in a folder, and what is left of a process that was killed."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from wan22.errors import OutputError
from wan22.train.lock import locked


def written(path, **change):
    """A lock of this very process, with changes."""
    says = {"host": socket.gethostname(), "pid": os.getpid(), "began": psutil.Process().create_time()}
    path.write_text(json.dumps(says | {"work": "trains a model", "token": "x"} | change))
    return path


def gone():
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_lock_is_held_by_one_and_gone_afterwards(tmp_path):
    path = tmp_path / "new" / "run.lock"
    with locked(path, "trains a model"):
        says = json.loads(path.read_text())
        assert says["pid"] == os.getpid() and says["host"] == socket.gethostname()
        with pytest.raises(
            OutputError, match=rf"process {os.getpid()} on .* trains a model; wait for its end"
        ):
            with locked(path, "trains another"):
                raise AssertionError("two at once")
        assert path.exists()
    assert not list(path.parent.iterdir())
    with locked(path, "trains a model"):
        assert path.exists()


def test_a_lock_is_given_back_when_its_work_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "a.lock", "works"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [{"pid": "gone"}, {"began": 1e9}, {"pid": None}, {"pid": "many"}, {"began": 0}],
    ids=["ended", "number given again", "no number", "no such number", "no beginning"],
)
def test_what_a_killed_process_left_is_taken_over(tmp_path, change):
    change = {"pid": gone()} if change == {"pid": "gone"} else change
    path = written(tmp_path / "a.lock", **change)
    with locked(path, "works"):
        assert json.loads(path.read_text())["work"] == "works"
    assert not list(tmp_path.iterdir())


def test_the_lock_of_another_host_is_believed_and_says_which_file_to_remove(tmp_path):
    path = written(tmp_path / "a.lock", host="elsewhere", pid=gone())
    said = r"on elsewhere trains a model, says .*a\.lock; wait for its end\. If it is gone, remove that file"
    with pytest.raises(OutputError, match=said), locked(path, "works"):
        raise AssertionError("two at once")
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_a_lock_that_says_nothing_yet_is_believed_only_while_it_is_young(tmp_path):
    path = tmp_path / "a.lock"
    path.write_text("")
    with pytest.raises(OutputError, match="another process begins to work"), locked(path, "works"):
        raise AssertionError("two at once")
    os.utime(path, (time.time() - 100,) * 2)
    with locked(path, "works"):
        assert path.exists()


def test_a_guard_that_a_killed_process_left_does_not_stand_for_ever(tmp_path):
    """Whoever takes a lock over holds a guard for a moment; one that is being held is waited for."""
    path, guard = written(tmp_path / "a.lock", pid=gone()), tmp_path / ".a.lock.guard"
    guard.write_text("")
    threading.Timer(0.2, guard.unlink).start()
    with locked(path, "works"):
        assert not guard.exists()
    written(path, pid=gone())
    guard.write_text("")
    os.utime(guard, (time.time() - 100,) * 2)
    with locked(path, "works"):
        assert not guard.exists()


def test_of_many_that_find_a_stale_lock_one_holds_it(tmp_path):
    path, held = written(tmp_path / "a.lock", pid=gone()), []

    def work(i):
        try:
            with locked(path, f"works as {i}"):
                held.append(i)
                time.sleep(0.3)
        except OutputError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(work, range(6)))
    assert sum(got) == len(held) == 1 and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"a\.lock cannot be written"),
        locked(tmp_path / "file" / "a.lock", "works"),
    ):
        raise AssertionError("no folder")
