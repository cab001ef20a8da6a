"""A store for tests, and what is often done with one."""

import pytest

from wan22.jobs.job import Child
from wan22.jobs.store import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr("wan22.jobs.database.SYNCHRONOUS", "OFF")  # no power is cut here
    with Store(tmp_path / "jobs.sqlite") as opened:
        yield opened


def video(store, prompt="a fox", **how):
    return store.add("video", {"prompt": prompt}, **how)


def children(*prompts, **how):
    return [Child("video", {"prompt": prompt}, **how) for prompt in prompts]


def make(store, count=1):
    """Jobs are claimed and completed, one after the other; their ids."""
    made = []
    for _ in range(count):
        claim = store.claim("w")
        assert store.complete(claim, {})
        made.append(claim.job.id)
    return made


def fail(store):
    claim = store.claim("w")
    assert store.fail(claim, "bad", "it cannot be made")
    return claim.job.id


def states(store, jobs):
    return [store.job(job.id).state for job in jobs]


def said(store, job, type):
    return [event.data for event in store.events(job=job.id) if event.data["type"] == type]
