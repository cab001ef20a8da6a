"""The data folder: its names, its lock, its token, what is swept, and a store made anew from it."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys

import pytest

from wan22.atomic import temporary_name
from wan22.errors import OutputError
from wan22.jobs import database
from wan22.jobs import rebuild as rebuilding
from wan22.jobs.folder import DESCRIPTION, RESULT, Folder
from wan22.jobs.job import Child, Input, NotFoundError, StoreError, is_id, new_id
from wan22.jobs.rebuild import rebuild

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    return Folder(tmp_path / "data")


@pytest.fixture
def store(folder):
    with folder.open_store() as opened:
        yield opened


def claim(folder, store):
    """As a worker begins: the job's folder says what was asked."""
    taken = store.claim("w")
    folder.describe(taken.job)
    return taken


def test_ids_are_of_one_form():
    ids = {new_id("job") for _ in range(50)} | {new_id("in") for _ in range(50)}
    assert len(ids) == 100 and all(len(id) in (27, 28) for id in ids)
    assert is_id(new_id("job"), "job") and not is_id(new_id("job"), "in") and not is_id(new_id("in"), "job")
    for wrong in (
        "job_" + "a" * 23,
        "job_" + "a" * 25,
        "job_" + "a" * 24 + "\n",
        "job_" + "\u0661" * 24,
        None,
        3,
        b"job_",
    ):
        assert not is_id(wrong, "job")


@pytest.mark.parametrize(
    "id", ["..", "../../etc/passwd", "", "job_" + "/" * 24, "job_" + "." * 24, "job_" + "A" * 24, "/"]
)
def test_no_name_leads_out_of_the_folder(folder, id):
    for place in (folder.job, folder.input, folder.journal):
        with pytest.raises(NotFoundError):
            place(id)


def test_what_is_in_the_folder_is_for_its_owner(folder):
    assert folder.path.stat().st_mode & 0o777 == 0o700
    token = folder.token()
    assert len(token) >= 43 and folder.token() == token and token.isascii()
    path = folder.path / "token"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert folder.token() == token and path.stat().st_mode & 0o777 == 0o600
    assert Folder(folder.path).token() == token
    path.write_text("short\n")
    with pytest.raises(OutputError, match="5 characters"):
        folder.token()
    path.write_bytes(b"\xff" * 50)
    with pytest.raises(OutputError, match="cannot be read"):
        folder.token()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be made"):
        Folder(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be made"):
        Folder(tmp_path / "file" / "data")


def test_one_server_uses_a_folder(folder):
    with (
        folder.lock(),
        pytest.raises(StoreError, match="another server uses") as error,
        Folder(folder.path).lock(),
    ):
        pass
    assert error.value.code == "in_use"
    with Folder(folder.path).lock():
        pass


def test_a_killed_server_leaves_no_lock(folder):
    code = (
        "import os, pathlib, signal, sys\nfrom wan22.jobs.folder import Folder\n"
        "with Folder(pathlib.Path(sys.argv[1])).lock():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(StoreError), folder.lock():
            pass
    finally:
        process.kill()
        process.communicate()
    with folder.lock():
        pass


def test_what_killed_processes_left_is_swept(folder, store):
    known, unknown = store.add("video", {}).id, new_id("job")
    upload, lost = new_id("in"), new_id("in")
    store.add_input(upload, Input("", "a", "image/png", 1, "0" * 64, 0.0))
    for id in (known, unknown):
        folder.journal(id).mkdir(parents=True)
        (folder.job(id) / "video.mp4").write_text("made")
    for id in (upload, lost):
        folder.input(id).write_text("sent")
    halves = [
        temporary_name(place / "x").with_name(f".x.{'0' * 6}-999999999-{'0' * 6}-{'0' * 8}.part")
        for place in (folder.path, folder.path / "inputs", folder.job(known), folder.journal(known))
    ]
    for half in halves:
        half.write_text("half")
        os.utime(half, (0, 0))
    mine = temporary_name(folder.job(known) / "y")
    mine.write_text("on its way")
    other = folder.path / "jobs" / "readme.txt"
    other.write_text("not ours")
    moved = folder.sweep(store)
    assert {path.name for path in moved} == {unknown, lost} and not any(half.exists() for half in halves)
    assert all(path.parent.name == "orphans" and path.exists() for path in moved)
    assert (folder.path / "orphans" / unknown / "video.mp4").read_text() == "made"
    assert (
        mine.exists()
        and other.exists()
        and (folder.job(known) / "video.mp4").exists()
        and folder.input(upload).exists()
    )
    assert folder.sweep(store) == []
    folder.job(unknown).mkdir()
    again = folder.sweep(store)
    assert (
        len(again) == 1 and again[0].name.startswith(unknown) and (folder.path / "orphans" / unknown).exists()
    )


def test_folders_of_purged_jobs_go(folder, store):
    ids = [store.add("video", {}).id for _ in range(3)]
    for id in ids[:2]:
        folder.journal(id).mkdir(parents=True)
    folder.remove([ids[0], ids[2]])
    assert not folder.job(ids[0]).exists() and folder.job(ids[1]).exists()
    with pytest.raises(NotFoundError):
        folder.remove(["../jobs"])


def test_room_is_asked_for_before(folder):
    folder.check_space(1)
    with pytest.raises(OutputError, match=r"MB free; 1000000000000 MB are needed. Make room"):
        folder.check_space(10**18)


@pytest.mark.parametrize("empty", [False, True])
def test_no_new_store_takes_the_place_of_one_that_is_missing(folder, empty):
    folder.open_store().close()
    folder.job(new_id("job")).mkdir()
    folder.database.write_bytes(b"") if empty else folder.database.unlink()
    with pytest.raises(StoreError, match="and there are folders of jobs") as error:
        folder.open_store()
    assert error.value.code == "missing" and folder.database.exists() == empty


# A store made anew


@pytest.fixture
def filled(folder):
    """A folder with a completed job, one that was begun, a cancelled one, a group, a queued one, and an upload."""
    with folder.open_store() as store:
        upload = new_id("in")
        folder.input(upload).write_bytes(PNG)
        store.add_input(upload, Input("", "cat.png", "image/png", len(PNG), "0" * 64, 1.5, 4, 4))
        made = store.add(
            "video", {"prompt": "made", "image": upload, "model": "nano"}, meta={"user": "kim"}, key="k"
        )
        taken = claim(folder, store)
        (folder.job(made.id) / RESULT).write_text(json.dumps({"file": "video.mp4"}))
        store.complete(taken, {"file": "video.mp4"})
        bad = store.add("video", {"prompt": "bad"})
        store.fail(claim(folder, store), "x", "no")
        folder.describe(store.job(bad.id))
        begun = store.add("video", {"prompt": "begun"}, after=[made.id], priority=7)
        store.record(claim(folder, store), {"type": "progress", "fraction": 0.5}, step=2)
        group = store.add_group(
            {}, [Child("video", {"prompt": f"child {n} " + "long " * 300}) for n in range(60)]
        )
        queued = store.add("video", {"prompt": "queued"})
        assert taken.job.id == made.id
        return {
            "made": made.id, "bad": bad.id, "begun": begun.id, "group": group.id, "queued": queued.id, "upload": upload,
        }  # fmt: skip


def everything(folder):
    with folder.open_store() as store:
        return store.jobs(limit=10**6), store.inputs(), store.events(limit=10**6)


def test_a_sound_store_is_made_anew_as_it_was(folder, filled):
    before = everything(folder)
    made = rebuild(folder)
    assert everything(folder) == before and made.rows == len(before[0]) and made.folders == made.inputs == 0
    with folder.open_store() as store:
        job = store.add("video", {})
        assert store.events(job=job.id)[0].n > before[2][-1].n and store.with_key("k").id == filled["made"]


def test_what_a_damaged_store_still_has_is_taken_over(folder, filled):
    whole = everything(folder)[0]
    content = bytearray(folder.database.read_bytes())
    size = len(content) // 4096
    for page in range(size // 2, size // 2 + 3):
        content[page * 4096 : (page + 1) * 4096] = os.urandom(4096)
    folder.database.write_bytes(content)
    with pytest.raises(StoreError):
        folder.open_store()
    made = rebuild(folder)
    assert made.kept.read_bytes() == content
    with folder.open_store() as store:
        jobs = store.jobs(limit=10**6)
        assert len(whole) // 2 < len(jobs) <= len(whole)
        assert {job.id for job in jobs} <= {job.id for job in whole}
        assert store.job(filled["made"]).result == {"file": "video.mp4"} and store.input(filled["upload"])
        if len(jobs) == len(whole):
            assert jobs == whole
        while taken := store.claim("other", lease=1000):
            assert store.complete(taken, {})
        assert store.count()["queued"] == 0 and store.job(filled["group"]).state == "completed"


@pytest.mark.parametrize("damage", ["gone", "empty", "text"])
def test_a_lost_store_is_made_from_the_folders(folder, filled, damage):
    for path in folder.path.glob("jobs.sqlite*"):
        path.unlink()
    if damage != "gone":
        folder.database.write_bytes(b"" if damage == "empty" else b"this is no database" * 999)
    folder.job(new_id("job")).mkdir()
    stranger = folder.job(new_id("job"))
    stranger.mkdir()
    (stranger / DESCRIPTION).write_text('{"id": "job_x"}')
    made = rebuild(folder)
    assert (made.rows, made.folders, made.inputs, made.unknown) == (0, 3, 1, 2)
    assert (made.kept is None) == (damage == "gone")
    with folder.open_store() as store:
        done, bad, begun = (store.job(filled[name]) for name in ("made", "bad", "begun"))
        assert (
            done.state == "completed"
            and done.result == {"file": "video.mp4"}
            and done.meta == {"user": "kim"}
        )
        assert bad.state == "failed" and bad.error == {"code": "x", "message": "no"}
        assert begun.state == "paused" and begun.priority == 7 and begun.after == (done.id,)
        assert store.jobs(text="made") == [done] and begun.seq > done.seq
        upload = store.input(filled["upload"])
        assert upload.type == "image/png" and upload.bytes == len(PNG) and folder.input(upload.id).exists()
        store.resume(begun.id)
        assert store.claim("w", loaded="nano").job.id == begun.id
    assert rebuild(folder).rows == 3


def test_no_store_is_made_anew_under_a_server(folder, filled):
    content = folder.database.read_bytes()
    with folder.lock(), pytest.raises(StoreError, match="another server"):
        rebuild(Folder(folder.path))
    assert folder.database.read_bytes() == content


def test_a_rebuild_that_is_killed_at_its_end_has_changed_nothing(folder, filled, monkeypatch):
    before = everything(folder)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(rebuilding, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        rebuild(folder)
    assert everything(folder) == before


def test_the_command_says_what_it_did(folder, filled, capsys, tmp_path):
    assert rebuilding.main([str(folder.path)]) == 0
    said = capsys.readouterr().out
    assert "65 jobs from the store, 0 from folders" in said and "jobs.sqlite.damaged-" in said
    assert rebuilding.main([str(tmp_path / "none")]) == 2 and "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_older_schema_is_brought_up_to_date_on_the_way(folder, filled, monkeypatch):
    from wan22.jobs import schema

    before = everything(folder)
    monkeypatch.setattr(
        schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE job ADD COLUMN x TEXT DEFAULT 'y';")
    )
    rebuild(folder)
    assert everything(folder) == before
    with contextlib.closing(sqlite3.connect(folder.database)) as connection:
        assert connection.execute("SELECT DISTINCT x FROM job").fetchall() == [("y",)]
