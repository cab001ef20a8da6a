"""What people say of jobs, and the documents that they edit."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from wan22.errors import RequestError
from wan22.jobs import database, rebuild
from wan22.jobs.folder import Folder
from wan22.jobs.job import NotFoundError, RevisionError, StateError
from wan22.jobs.store import Store

DATA = Path(__file__).parents[2] / "data" / "jobs"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    with Store(tmp_path / "jobs.sqlite") as store:
        yield store


def add(store, prompt="a ball", **meta):
    return store.add("video", {"prompt": prompt}, meta=meta).id


def test_what_is_said_of_a_job_is_kept_found_and_told(store):
    job, other = add(store, user="kim"), add(store)
    before = store.last_event()
    said = {"name": "Die Katze", "rating": 4, "boards": ["b", "a"], "locked": True}
    assert store.change_meta(job, said).meta == {"user": "kim", **said}
    (event,) = store.events(before)
    assert event.job == job and event.data == {
        "type": "meta",
        "changed": ["name", "rating", "boards", "locked"],
    }
    assert [each.id for each in store.jobs(text="katze")] == [job]
    assert [each.id for each in store.jobs(board="a")] == [job] and store.jobs(board="c") == []
    assert [len(store.jobs(rating=least)) for least in (0, 4, 5)] == [1, 1, 0]
    store.change_meta(other, {"boards": ["a"], "rating": 0})
    assert store.boards() == [("a", 2), ("b", 1)] and len(store.jobs(board="a", rating=1)) == 1
    assert store.change_meta(job, dict.fromkeys(said)).meta == {"user": "kim"}
    assert (
        store.boards() == [("a", 1)] and store.jobs(text="katze") == [] and len(store.jobs(text="ball")) == 2
    )


def test_what_changes_nothing_is_not_told(store):
    job = add(store, rating=3)
    before = store.last_event()
    store.change_meta(job, {"rating": 3, "note": None})
    assert store.events(before) == [] and [each.id for each in store.jobs(rating=3)] == [job]


@pytest.mark.parametrize("rating", [-1, 6, 2.5, "4", True])
def test_a_rating_that_is_none_is_refused_and_changes_nothing(store, rating):
    job = add(store)
    with pytest.raises(RequestError, match="rating"):
        store.change_meta(job, {"rating": rating})
    with pytest.raises(RequestError, match="rating"):
        add(store, rating=rating)
    assert store.job(job).meta == {} and len(store.jobs()) == 1


def test_the_trash_and_what_is_purged_are_on_no_board(store):
    job = add(store, boards=["a"])
    assert store.boards() == [("a", 1)]
    store.trash(job)
    assert store.boards() == [] and len(store.jobs(board="a", trashed=True)) == 1
    store.restore(job)
    assert store.boards() == [("a", 1)]
    store.trash(job)
    store.purge(job)
    assert store._db.read("SELECT count(*) FROM board") == [(0,)]


def test_a_name_of_an_older_file_is_found(tmp_path):
    path = tmp_path / "old.sqlite"
    script = (DATA / "schema_1.sql").read_text("utf-8").replace('{"user": "kim"}', '{"name": "Ｋim Ünal"}')
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    with Store(path) as store:
        assert [job.request["prompt"] for job in store.jobs(text="kim ünal")] == ["made"]


def test_the_newest_released_file_has_boards_and_documents(tmp_path):
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / "schema_2.sql").read_text("utf-8"))
    with Store(path) as store:
        (job,) = store.jobs(board="cats", rating=4, text="the cat")
        assert job.meta["note"] == "too dark"
        (cut,) = store.documents.list()
        assert (cut.name, cut.kind, cut.revision) == ("the cut", "timeline", 2)
        assert (
            store.documents.get(cut.id).data["rate"] == [24, 1]
            and len(store.documents.list(trashed=True)) == 1
        )


def test_a_store_is_made_anew_with_boards_and_documents(tmp_path):
    folder = Folder(tmp_path)
    with folder.open_store() as store:
        job = store.add("video", {"prompt": "a"}, meta={"boards": ["a"], "rating": 2}).id
        document = store.documents.add("timeline", "cut", {"a": [1]}).id
        folder.describe(store.change_meta(job, {"name": "mine"}))
    rebuild.rebuild(folder)
    with folder.open_store() as store:
        assert store.boards() == [("a", 1)] and store.documents.get(document).data == {"a": [1]}
    for path in tmp_path.glob("jobs.sqlite*"):
        path.unlink()
    rebuild.rebuild(folder)  # from the job's folder alone
    with folder.open_store() as store:
        assert [each.id for each in store.jobs(board="a", rating=2, text="mine")] == [job]


def test_a_document_is_written_only_over_the_revision_that_was_read(store):
    made = store.documents.add("timeline", "cut", {"a": 1})
    assert (made.revision, made.data, made.trashed) == (1, {"a": 1}, None)
    second = store.documents.write(made.id, 1, {"a": 2})
    assert (second.revision, second.name, second.created) == (2, "cut", made.created)
    with pytest.raises(RevisionError, match="revision 2, not 1"):
        store.documents.write(made.id, 1, {"a": 3}, name="lost")
    assert store.documents.get(made.id) == second
    assert store.documents.write(made.id, 2, {"a": 3}, name="new").name == "new"


def test_documents_are_listed_as_they_were_changed_and_page_by_page(store):
    ids = [store.documents.add(kind, kind, {}).id for kind in ("timeline", "storyboard", "timeline")]
    store.documents.write(ids[0], 1, {"a": 1})
    order = [ids[0], ids[2], ids[1]]
    assert [each.id for each in store.documents.list()] == order and store.documents.list()[0].data is None
    assert [each.id for each in store.documents.list(kind="storyboard")] == [ids[1]]
    page = store.documents.list(limit=2)
    assert [each.id for each in page + store.documents.list(after=page[-1].id)] == order


def test_a_document_goes_through_the_trash(store):
    id = store.documents.add("storyboard", "b", {}).id
    with pytest.raises(StateError, match="trash"):
        store.documents.purge(id)
    assert store.documents.trash(id).trashed is not None
    assert store.documents.list() == [] and [each.id for each in store.documents.list(trashed=True)] == [id]
    with pytest.raises(StateError, match="restore"):
        store.documents.write(id, 1, {})
    assert store.documents.restore(id).trashed is None
    store.documents.trash(id)
    store.documents.purge(id)
    for call in (store.documents.get, store.documents.trash, store.documents.restore, store.documents.purge):
        with pytest.raises(NotFoundError):
            call(id)


def test_what_is_no_document_is_refused(store):
    with pytest.raises(RequestError, match="kind of document"):
        store.documents.add("film", "x", {})
    with pytest.raises(RequestError, match="JSON"):
        store.documents.add("timeline", "x", {"a": float("nan")})
    with pytest.raises(NotFoundError):
        store.documents.get("job_" + "a" * 24)
    assert store.documents.list() == []
