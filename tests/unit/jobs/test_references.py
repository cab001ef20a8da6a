"""Files of a request that another job makes: the order of the jobs, and what the worker is given."""

import numpy as np
import pytest
from unit.server.live import FRAMES, small_video

from wan22.errors import MediaError, OptionError, RequestError
from wan22.fleet.coordinator import Coordinator
from wan22.fleet.remote import Link, RemoteFiles
from wan22.jobs import references
from wan22.jobs.attempt import LocalFiles
from wan22.jobs.folder import Folder
from wan22.jobs.given import path_of
from wan22.jobs.job import Child, StateError
from wan22.media.image import read_image
from wan22.media.video import read_clip

JOB = "job_6gk756iu57ig9lym1gkpv1oi"


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


@pytest.fixture
def store(folder, monkeypatch):
    monkeypatch.setattr("wan22.jobs.database.SYNCHRONOUS", "OFF")  # no power is cut here
    with folder.open_store() as store:
        yield store


def made(folder, store):
    """The id of the next job, which is complete."""
    files, claim = LocalFiles(folder), store.claim("w")
    work, result = files.begin(claim), {"files": [{"name": "video.mp4"}]}
    small_video(work / "video.mp4")
    files.publish(claim, result)
    assert store.complete(claim, result)
    return claim.job.id


def add(store, prompt="a ball", **request):
    return store.add("video", {"prompt": prompt, **request}).id


def given(folder, claim, field="image"):
    return path_of(folder, claim.job.id, claim.job.request[field])


def test_a_job_comes_after_those_whose_files_it_needs(folder, store):
    first = add(store)
    second = add(store, image=f"{first}/last", last_image=f"{first}/0")
    assert store.job(second).after == (first,)
    assert made(folder, store) == first
    claim = store.claim("w")
    LocalFiles(folder).begin(claim)
    frames = read_clip(folder.job(first) / "video.mp4").frames
    assert claim.job.id == second
    for field, frame in (("image", frames[-1]), ("last_image", frames[0])):
        assert np.array_equal(read_image(given(folder, claim, field)), frame)


def test_what_was_given_stays_for_the_next_attempt_and_goes_with_the_job(folder, store):
    first = add(store)
    second = add(store, video=first)
    made(folder, store)
    claim = store.claim("w")
    LocalFiles(folder).begin(claim)
    assert given(folder, claim, "video").read_bytes() == (folder.job(first) / "video.mp4").read_bytes()
    store.cancel(second)
    store.release(claim, signal="cancel")
    store.trash(first)
    folder.remove(store.purge(first))
    store.retry(second)
    again = store.claim("w")
    LocalFiles(folder).begin(again)
    assert given(folder, again, "video").is_file()
    LocalFiles(folder).clear(again)
    assert not given(folder, again, "video").parent.exists()


@pytest.mark.parametrize("place", ["here", "elsewhere"])
@pytest.mark.parametrize("wrong", ["gone", "frame"])
def test_what_is_not_there_is_one_error_that_names_it(folder, store, tmp_path, place, wrong):
    first = add(store)
    add(store, image=f"{first}/{FRAMES if wrong == 'frame' else 'last'}")
    made(folder, store)
    if wrong == "gone":
        folder.remove([first])
    claim = store.claim("w")
    coordinator = Coordinator(folder.path)
    try:
        link = Link(coordinator.ask, (0.0,))
        files = LocalFiles(folder) if place == "here" else RemoteFiles(Folder(tmp_path / "node"), link)
        kind, said = (MediaError, first) if wrong == "gone" else (RequestError, f"no frame {FRAMES}")
        with pytest.raises(kind, match=said):
            files.begin(claim)
    finally:
        coordinator.close()


def test_a_worker_on_another_machine_gets_what_was_given(folder, store, tmp_path):
    first = add(store)
    add(store, image=f"{first}/last")
    made(folder, store)
    claim, node = store.claim("w"), Folder(tmp_path / "node")
    coordinator = Coordinator(folder.path)
    try:
        RemoteFiles(node, Link(coordinator.ask, (0.0,))).begin(claim)
    finally:
        coordinator.close()
    assert given(node, claim).read_bytes() == given(folder, claim).read_bytes()


def test_the_jobs_of_a_group_name_one_another_by_their_places(store):
    children = [
        Child("video", {"prompt": "a"}),
        Child("image", {"prompt": "b"}),
        Child("video", {"prompt": "c", "image": "#0/last", "last_image": "#1"}),
    ]
    group = store.add_group({}, children)
    first, second, third = store.jobs(parent=group.id, order="asc")
    assert third.request["image"] == f"{first.id}/last" and third.request["last_image"] == second.id
    assert set(third.after) == {first.id, second.id}


def test_one_that_fails_is_the_error_of_those_after_it_and_a_retry_revives_them(store):
    first = add(store)
    second = add(store, image=f"{first}/last")
    claim = store.claim("w")
    store.fail(claim, "out_of_memory", "it is too large")
    error = store.job(second).error
    assert error["code"] == "dependency_failed" and first in error["message"]
    with pytest.raises(StateError, match=f"needs {first}, which is failed: retry that one"):
        store.retry(second)
    with pytest.raises(StateError, match=f"{first} is failed"):
        add(store, image=f"{first}/last")
    store.retry(first)
    assert [store.job(id).state for id in (first, second)] == ["queued", "queued"]


@pytest.mark.parametrize(
    ("field", "said", "kind", "wrong"),
    [
        ("image", f"{JOB}/last", "video", None),
        ("image", f"{JOB}/12", "extend", None),
        ("last_image", JOB, "image", None),
        ("video", JOB, "video", None),
        ("audio", JOB, "extend", None),
        ("image", JOB, "video", f"say a frame of it, such as {JOB}/last"),
        ("video", f"{JOB}/last", "video", "must be a whole video"),
        ("pose", JOB, "image", "must be a whole video"),
        ("image", f"{JOB}/last", "group", "is of kind group"),
        ("image", f"{JOB}/last", "render", "is of kind render"),
    ],
)
def test_what_a_kind_of_job_makes_can_be_in_some_fields(field, said, kind, wrong):
    reference = references.read(said)
    if wrong is None:
        references.check(field, reference, kind)
    else:
        with pytest.raises(OptionError, match=f"{field}: .*{wrong}"):
            references.check(field, reference, kind)


@pytest.mark.parametrize(
    "said", ["in_" + JOB[4:], f"{JOB}/middle", f"{JOB}/-1", f"{JOB}/", "#x", "", None, 3]
)
def test_anything_else_is_no_reference(said):
    assert references.read(said) is None
