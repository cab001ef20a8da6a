"""What can be the matter with the store's file: one clear error each, and nothing is lost."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest

from wan22.jobs import database, schema
from wan22.jobs.job import StoreError
from wan22.jobs.store import Store

HERE = Path(__file__).parent
SCHEMAS = sorted((HERE.parents[1] / "data" / "jobs").glob("schema_*.sql"))


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    return tmp_path / "jobs.sqlite"


def filled(path, count=3):
    with Store(path) as store:
        for n in range(count):
            store.add("video", {"prompt": f"prompt {n} " + "long " * 200})
        return store.jobs(limit=10**6)


def refused(path, code, *words):
    with pytest.raises(StoreError) as error:
        Store(path)
    assert error.value.code == code and str(path) in str(error.value)
    for word in words:
        assert word in str(error.value)


# A disk that is full, a folder that cannot be written, a process that hangs


def test_on_a_full_disk_nothing_is_half_stored(path):
    filled(path)
    with Store(path) as store:
        pages = store._db.read("PRAGMA page_count")[0][0]
        store._db.read(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError) as error:
            for _ in range(10_000):
                store.add("video", {"prompt": "long " * 200})
        stored = len(store.jobs(limit=10**6))
        assert error.value.code == "full" and "Make room" in str(error.value)
        claim = store.claim("w")  # what needs no room works
        assert claim is not None
        assert len(store.jobs(limit=10**6)) == stored
        events = store.last_event()
        with contextlib.suppress(StoreError):
            while store.record(claim, {"type": "note", "text": "x" * 3000}):
                events += 1
        assert store.last_event() == events and store.job(claim.job.id).state == "running"
        store._db.read("PRAGMA max_page_count = 1000000")  # room was made
        assert store.record(claim, {"type": "note"}) and store.complete(claim, {})
    with Store(path) as again:
        assert len(again.jobs(limit=10**6)) == stored


def test_a_file_that_is_not_allowed_to_grow_is_a_clear_error(path):
    resource = pytest.importorskip("resource")
    filled(path)
    with Store(path) as store:
        jobs, soft = store.jobs(), resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, soft[1]))
            with pytest.raises(StoreError) as error:
                for _ in range(10_000):
                    store.add("video", {"prompt": "long " * 2000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, soft)
        assert error.value.code in ("full", "unreadable")
        store.add("video", {"prompt": "after"})
        assert store.jobs(order="asc", limit=3) == jobs[::-1]


@contextlib.contextmanager
def somebody_else():
    """The rights of a user who owns nothing here, where the tests run as root."""
    if not hasattr(os, "geteuid") or os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder(monkeypatch):
    """A folder that every user can reach; those of pytest are only its own user's."""
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_written_is_said_at_once(open_folder, there):
    path = open_folder / "jobs.sqlite"
    jobs = filled(path) if there else []
    for each in open_folder.iterdir():
        each.chmod(0o444)
    open_folder.chmod(0o555)
    with somebody_else():
        if there:
            refused(path, "read_only", "cannot be written")
        else:
            refused(path, "unreadable", "cannot be opened")
    for each in open_folder.iterdir():
        each.chmod(0o644)
    open_folder.chmod(0o755)
    with Store(path) as store:
        assert store.jobs() == jobs


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_a_file_that_cannot_be_read_is_said_at_once(open_folder):
    path = open_folder / "jobs.sqlite"
    filled(path)
    path.chmod(0)
    with somebody_else():
        refused(path, "unreadable", "cannot be read")


def test_what_becomes_read_only_keeps_what_it_has(path):
    jobs = filled(path)
    with Store(path) as store:
        store._db.read("PRAGMA query_only = 1")
        for call in (
            lambda: store.add("video", {}),
            lambda: store.claim("w"),
            lambda: store.cancel(jobs[0].id),
        ):
            with pytest.raises(StoreError) as error:
                call()
            assert error.value.code == "read_only"
        assert store.jobs() == jobs


def test_a_process_that_hangs_in_a_transaction_is_said(path, monkeypatch):
    jobs = filled(path)
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(path, "locked", "Try again")
        other.execute("ROLLBACK")
        with Store(path) as store:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError) as error:
                store.cancel(jobs[0].id)
            assert error.value.code == "locked" and store.jobs() == jobs  # reading is not held up
            other.execute("ROLLBACK")
            assert store.cancel(jobs[0].id).state == "cancelled"


def test_a_path_without_a_folder_or_to_a_folder_is_said(tmp_path):
    refused(tmp_path / "none" / "jobs.sqlite", "unreadable", "folder must exist")
    refused(tmp_path, "not_a_database", "is a folder")


# Damage


def test_a_file_that_is_no_database_is_left_alone(path):
    for content in (b"hello", b"\x89PNG\r\n\x1a\n" + bytes(10_000)):
        path.write_bytes(content)
        refused(path, "damaged", "is not a database", f"python -m wan22.jobs.rebuild {path.parent}`")
        assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(path):
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    content = path.read_bytes()
    refused(path, "foreign", "another program")
    assert path.read_bytes() == content
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA application_id = 7")
        other.execute("PRAGMA user_version = 1")
    refused(path, "foreign")


def pages(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA page_size").fetchone()[0], path.stat().st_size


@pytest.mark.parametrize("where", ["end", "middle", "scheme", "zeros"])
def test_a_damaged_file_is_refused_and_left_as_it_is(path, where):
    filled(path, 60)
    size, length = pages(path)
    content = bytearray(path.read_bytes())
    if where == "end":
        del content[length // 2 :]
    elif where == "middle":
        content[size * 4 :] = os.urandom(length - size * 4)
    elif where == "scheme":
        content[100:size] = os.urandom(size - 100)
    else:
        content[size * 3 : size * 9] = bytes(size * 6)
    path.write_bytes(content)
    refused(path, "damaged", "Put a backup in its place", "python -m wan22.jobs.rebuild")
    assert path.read_bytes() == content


def test_damage_that_is_met_later_is_said_too(path):
    filled(path, 60)
    size, length = pages(path)
    with path.open("r+b") as file:
        file.seek(size * (length // size // 2))
        file.write(os.urandom(length // 2))
    with Store(path, check=False) as store, pytest.raises(StoreError) as error:
        store.jobs(limit=1000)
    assert error.value.code == "damaged"


# Other schemas


def test_a_newer_file_is_refused_and_left_as_it_is(path):
    filled(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.newest() + 3}")
    content = path.read_bytes()
    refused(path, "newer", f"schema {schema.newest() + 3}", f"knows {schema.newest()}", "Update wan22")
    assert path.read_bytes() == content


STEP = "ALTER TABLE job ADD COLUMN colour TEXT; -- ; in a comment\nUPDATE job SET colour = 'red; not blue';"


def test_an_older_file_is_brought_up_to_date_and_kept(path, monkeypatch):
    jobs, old = filled(path), schema.newest()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, STEP, "DROP INDEX job_seq;"))
    with Store(path) as store:
        assert store.jobs() == jobs and store._db.read("PRAGMA user_version") == [(old + 2,)]
        assert store._db.read("SELECT DISTINCT colour FROM job") == [("red; not blue",)]
    kept = path.with_name(f"jobs.sqlite.schema{old}")
    with contextlib.closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == old
        assert connection.execute("SELECT count(*) FROM job").fetchone()[0] == len(jobs)


def test_a_step_that_fails_leaves_the_older_file(path, monkeypatch):
    jobs, steps = filled(path), schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", (*steps, STEP, "ALTER TABLE none ADD COLUMN x;"))
    with pytest.raises(StoreError):
        Store(path)
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    with Store(path) as store:
        assert store.jobs() == jobs


def test_many_open_a_new_and_an_older_file_at_once(path, monkeypatch):
    def open_all():
        stores, errors = [], []

        def open_one():
            try:
                stores.append(Store(path))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=open_one) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for store in stores:
            store.close()
        assert not errors and len(stores) == 6

    open_all()
    jobs = filled(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, STEP))
    open_all()
    with Store(path) as store:
        assert store.jobs() == jobs


@pytest.mark.parametrize("script", SCHEMAS, ids=lambda script: script.stem)
def test_the_file_of_every_released_schema_is_read(path, script):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script.read_text(encoding="utf-8"))
    with Store(path) as store:
        states = {job.request["prompt"]: job.state for job in store.jobs()}
        assert states == {
            "made": "completed", "bad": "failed", "waits": "queued", "part": "cancelled", "of a group": "cancelled",
        }  # fmt: skip
        done = next(job for job in store.jobs(text="made"))
        assert done.result == {"files": [{"name": "video.mp4"}]} and done.meta == {"user": "kim"}
        assert [event.data["type"] for event in store.events(job=done.id)] == [
            "state",
            "state",
            "progress",
            "state",
        ]
        assert store.inputs()[0].name == "cat.png" and store.with_key("key").id == done.id
        assert store.figures().totals["completed"] == 1 and len(store.jobs(trashed=True)) == 1
        waits = store.jobs(text="waits")[0]
        assert waits.after == (done.id,) and store.claim("w").job.id == waits.id


def test_there_is_a_file_of_every_schema():
    assert [script.stem for script in SCHEMAS] == [f"schema_{n + 1}" for n in range(schema.newest())]


# Backups


def test_a_backup_is_a_store(path, tmp_path):
    jobs = filled(path)
    with Store(path) as store:
        store.backup(tmp_path / "kept" / "backup.sqlite")
        store.cancel(jobs[0].id)
        with pytest.raises(StoreError, match="exists already"):
            store.backup(tmp_path / "kept" / "backup.sqlite")
    assert [each.name for each in (tmp_path / "kept").iterdir()] == ["backup.sqlite"]
    with Store(tmp_path / "kept" / "backup.sqlite") as store:
        assert store.jobs() == jobs


def test_threads_take_turns_and_one_that_hangs_is_said(path, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    with Store(path) as store, store._db.write():
        errors = []

        def other():
            try:
                store.add("video", {"prompt": "a"})
            except StoreError as error:
                errors.append(error.code)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert errors == ["locked"] and store.jobs() == []
