"""Which worker of a fleet gets a job: never one that cannot hold it, and among equals the one with its model loaded."""

import pytest

from wan22.fleet.coordinator import Coordinator, Question
from wan22.fleet.placement import Placement, UnknownFit
from wan22.jobs.folder import Folder

SMALL, LARGE = "box-00000a-gpu0", "box-00000b-gpu0"


@pytest.fixture
def coordinator(tmp_path):
    with_store = Coordinator(tmp_path / "data")
    yield with_store
    with_store.close()


@pytest.fixture
def store(coordinator, tmp_path):
    with Folder(tmp_path / "data").open_store() as store:
        yield store


def video(store, model="nano", **request):
    return store.add("video", {"prompt": "a", "model": model} | request)


def ask(coordinator, worker, loaded=None, why_not=lambda job: ""):
    """As a worker asks, which answers questions about its device."""
    while isinstance(found := coordinator.claim(worker, loaded, 10.0, ["video"]), Question):
        coordinator.fits(worker, found.job.id, why_not(found.job))
    return None if found is None else found.job.id


def large(job):
    return "it takes 80 GB" if job.request.get("large") else ""


def test_a_worker_that_cannot_hold_a_job_never_gets_it(coordinator, store):
    first, second = video(store, large=True), video(store)
    assert ask(coordinator, SMALL, why_not=large) == second.id
    assert ask(coordinator, LARGE) == first.id


def test_a_claim_whose_answer_was_lost_is_given_back_and_counts_as_no_attempt(coordinator, store):
    job = video(store)
    for _ in range(5):
        assert ask(coordinator, SMALL) == job.id
    assert store.job(job.id).attempts == 1


def test_a_job_that_none_can_hold_says_so_once_and_waits_for_one_that_can(coordinator, store):
    job = video(store, large=True)
    for worker in (SMALL, LARGE):
        coordinator.report(worker, {"state": "idle"})

    def notes():
        return [e.data["text"] for e in store.events(job=job.id) if e.data["type"] == "note"]

    assert ask(coordinator, SMALL, why_not=large) is None and notes() == []  # the other may hold it
    for _ in range(2):
        assert ask(coordinator, LARGE, why_not=large) is None
    assert len(notes()) == 1 and "it takes 80 GB" in notes()[0]
    assert ask(coordinator, "box-00000c-gpu0") == job.id


def test_whether_it_fits_is_asked_again_after_a_while():
    now = [0.0]
    placement = Placement(lambda: now[0])
    placement.fits(SMALL, "job", "no room")
    assert not placement.may(SMALL, None)("job", "nano")
    now[0] += 61
    with pytest.raises(UnknownFit):
        placement.may(SMALL, None)("job", "nano")


@pytest.mark.parametrize("other", [None, "ti2v-5B"])
def test_a_job_is_left_to_a_worker_that_waits_and_has_its_model(coordinator, store, other):
    assert ask(coordinator, LARGE, "nano") is None  # it waits
    jobs = [video(store), video(store)]
    assert ask(coordinator, SMALL, other) == jobs[1].id  # the first one is the other's, the second is not
    assert ask(coordinator, LARGE, "nano") == jobs[0].id


def test_a_worker_with_nothing_loaded_goes_before_one_that_would_lose_its_model(coordinator, store):
    assert ask(coordinator, LARGE) is None
    job = video(store)
    assert ask(coordinator, SMALL, "ti2v-5B") is None
    assert ask(coordinator, LARGE) == job.id


def test_nothing_is_left_to_a_worker_that_no_longer_waits_or_cannot_hold_it():
    now = [0.0]
    placement = Placement(lambda: now[0])
    for name in (SMALL, LARGE):
        placement.fits(name, "job", "")
    placement.may(LARGE, "nano")
    assert not placement.may(SMALL, None)("job", "nano")
    placement.fits(LARGE, "job", "no room")
    assert placement.may(SMALL, None)("job", "nano")
    placement.fits(LARGE, "job", "")
    now[0] += 2
    assert placement.may(SMALL, None)("job", "nano")


def test_the_jobs_of_a_group_are_spread_over_workers_that_are_equal(coordinator, store):
    from wan22.jobs.job import Child

    group = store.add_group({}, [Child("video", {"prompt": str(n), "model": "nano"}) for n in range(4)])
    workers = [f"box-00000{n}-gpu0" for n in range(4)]
    taken = [ask(coordinator, name) for name in workers]
    assert sorted(taken) == sorted(job.id for job in store.jobs(parent=group.id))
