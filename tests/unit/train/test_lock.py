"""One process at a time in a folder, and what is left of a process that was killed."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from wan22.errors import OutputError
from wan22.train import lock
from wan22.train.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from wan22.train.lock import locked
with locked(Path(sys.argv[1]), "works"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `a.lock`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "a.lock"], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_lock_is_held_by_one_and_gone_afterwards(tmp_path):
    path = tmp_path / "new" / "run.lock"
    with locked(path, "trains a model"):
        with pytest.raises(OutputError, match=rf"process {os.getpid()} trains a model; wait for its end"):
            with locked(path, "trains a model"):
                raise AssertionError("two at once")
        assert path.exists()
    assert not list(path.parent.iterdir())
    with locked(path, "trains a model"):
        assert path.exists()


def test_a_lock_is_given_back_when_its_work_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "a.lock", "works"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_another_process_is_named_and_what_it_leaves_when_killed_is_taken_over(tmp_path, holder):
    path = tmp_path / "a.lock"
    with pytest.raises(OutputError, match=rf"process {holder.pid} works; wait"), locked(path, "works"):
        raise AssertionError("two at once")
    holder.kill()
    holder.wait()
    assert path.exists()
    with locked(path, "works"):
        pass
    assert not list(tmp_path.iterdir())


def test_the_lock_of_another_host_is_believed_and_says_which_file_to_remove(tmp_path, holder):
    path = tmp_path / "a.lock"
    says = path.read_text().splitlines()
    holder.kill()
    holder.wait()
    path.write_text("\n".join([says[0], "elsewhere", *says[2:], ""]))
    said = rf"process {holder.pid} works.*remove .*a\.lock\..*on elsewhere"
    with pytest.raises(OutputError, match=said), locked(path, "works"):
        raise AssertionError("two at once")
    assert path.exists()


def test_a_holder_that_has_only_just_begun_is_waited_for_until_it_has_written_its_name(tmp_path, holder):
    path = tmp_path / "a.lock"
    named = path.read_text()
    path.write_text("")  # made, and not yet written
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(lambda: time.sleep(0.3) or path.write_text(named))
        said = rf"process {holder.pid} works; wait"
        with pytest.raises(OutputError, match=said), locked(path, "works"):
            raise AssertionError("two at once")
        later.result()


def test_a_lock_that_names_nobody_is_said_to_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_NAMED_WITHIN", 0.1)
    path = tmp_path / "a.lock"
    path.write_text("")
    said = r"another process works, it seems: .*a\.lock is there and names none\. Wait for its end; if no process"
    with pytest.raises(OutputError, match=said), locked(path, "works"):
        raise AssertionError("two at once")
    assert path.exists()


def test_of_many_at_once_one_holds_it(tmp_path):
    held = []

    def work(i):
        try:
            with locked(tmp_path / "a.lock", f"works as {i}"):
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
