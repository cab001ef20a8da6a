"""Lists of jobs, page by page."""

import json
import math
from dataclasses import asdict

import pytest

from wan22.errors import RequestError
from wan22.jobs.job import Child
from wan22.jobs.store import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr("wan22.jobs.database.SYNCHRONOUS", "OFF")  # no power is cut here
    with Store(tmp_path / "jobs.sqlite") as opened:
        yield opened


def video(store, prompt="a fox", **how):
    return store.add("video", {"prompt": prompt}, **how)


def test_pages_follow_one_another(store):
    ids = [video(store, priority=n % 2, state="paused" if n % 3 == 0 else "queued").id for n in range(10)]
    for order in ("desc", "asc", "queue"):
        whole = [job.id for job in store.jobs(order=order)]
        pages, last = [], None
        while page := store.jobs(order=order, after=last, limit=3):
            pages += [job.id for job in page]
            last = page[-1].id
        assert pages == whole and sorted(whole) == sorted(ids)
    assert [job.id for job in store.jobs(order="asc")] == ids
    assert len(store.jobs(states=["paused"], order="asc", after=ids[3])) == 2
    assert store.jobs(states=[]) == [] and len(store.jobs(kind="video", limit=10**30)) == 10
    for wrong in ({"limit": 0}, {"order": "up"}, {"states": ["gone"]}, {"kind": "film"}):
        with pytest.raises(RequestError):
            store.jobs(**wrong)


@pytest.mark.parametrize(
    ("text", "found"),
    [("fox", 2), ("FOX Red", 1), ("red fox", 1), ("%", 1), ("_", 0), ("여우", 1), ("Straße", 1), ("STRASSE", 1),
     ("Ｆｏｘ", 2), ("owl fox", 0), ("", 5), ("  ", 5), ("\ud800", 0), ("' OR 1", 0), ("second", 1)],
)  # fmt: skip
def test_a_text_is_found_in_prompts(store, text, found):
    for prompt in ("A red fox", "fox 100%", "여우가 달린다", "eine Straße", ["first shot", "second shot"]):
        store.add("video", {"prompt": prompt, "negative_prompt": "owl"})
    assert len(store.jobs(text=text)) == found


def test_no_page_is_found_by_sorting_or_by_counting(store):
    last = [video(store, after=()) for _ in range(3)][-1].id
    seen = []
    store._db._connection.set_trace_callback(seen.append)
    store.jobs(after=last)
    store.jobs(order="asc", states=["queued", "failed"], text="fox")
    store.jobs(order="queue", states=["queued"], after=last)
    store.count()
    store.figures()
    store.events(1)
    store.events(1, job=last)
    claim = store.claim("w", loaded="nano")
    store.record(claim, {"type": "note"})
    store._db._connection.set_trace_callback(None)
    plans = {}
    for sql in seen:
        if sql.lstrip().startswith(("SELECT", "UPDATE")):
            rows = store._db.read(f"EXPLAIN QUERY PLAN {sql}")
            plans[sql] = " / ".join(row[3] for row in rows if row[1] == 0)  # not of what is within
    assert len(plans) > 8
    for sql, plan in plans.items():
        assert "OFFSET" not in sql and "TEMP B-TREE" not in plan, (sql, plan)


def test_the_text_of_a_page_says_what_its_jobs_do(store):
    video(store, 'a "fox"\\ \n\x1f 여우 🦊', meta={"name": "a, b"}, priority=-3)
    after = [video(store).id, video(store).id]
    group = store.add_group(
        {}, [Child("video", {"prompt": "x", "seed": 2**40}), Child("image", {"prompt": "y"})]
    )
    claim = store.claim("gpu0")
    store.record(claim, {"type": "progress", "fraction": 1 / 3}, step=1)
    store.fail(claim, "bad", 'it "cannot" be made')
    done = store.claim("gpu0")
    store.complete(done, {"files": [{"name": "video.mp4", "seconds": math.pi}]})
    video(store, after=after[1:])
    store.trash(group.id)
    for which in (
        {},
        {"trashed": True},
        {"order": "asc", "limit": 2},
        {"states": ["failed"]},
        {"text": "여우"},
    ):
        jobs = json.loads(json.dumps([asdict(job) for job in store.jobs(**which)]))
        assert [json.loads(text) for text in store.jobs_text(**which)] == jobs and jobs


def test_a_page_by_an_unknown_name_is_refused(store):
    for ask in (store.jobs, store.jobs_text):
        with pytest.raises(TypeError, match="status"):
            ask(status=["queued"])
