"""Jobs that render timelines: their files, their progress, how they are cancelled, and what they refuse."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
from unit.jobs.processes import until, worker

from wan22.jobs.folder import RESULT, Folder
from wan22.jobs.task import MEDIA
from wan22.media.recipe import read_recipe
from wan22.media.video import VideoWriter, probe


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


@pytest.fixture
def store(folder):
    with folder.open_store() as store:
        yield store


def made(folder, store, frames=12):
    """A job that has made a video."""
    job = store.add("video", {"prompt": "a"})
    claim = store.claim("hand")
    place = folder.job(job.id)
    place.mkdir(parents=True)
    with VideoWriter(place / "video.mp4", fps=12, size=(64, 48), recipe={"prompt": "a"}) as writer:
        for shade in np.linspace(0, 255, frames).astype(np.uint8):
            writer.add(np.full((48, 64, 3), shade))
    result = {"files": [{"name": "video.mp4"}]}
    (place / RESULT).write_text(json.dumps(result))
    store.complete(claim, result)
    return job.id


def timeline(job, times=1, frames=12, size=(64, 48), name="video.mp4"):
    clip = {
        "type": "clip", "media": {"job": job, "file": name}, "in": 0, "out": frames, "duration": 2 * frames,
        "source": {"frames": frames, "rate": [12, 1], "size": [64, 48], "audio": False},
    }  # fmt: skip
    items = [clip | {"id": f"c{n}"} for n in range(times)]
    return {"wan22_timeline": 1, "name": "cut", "rate": [24, 1], "size": list(size),
            "tracks": [{"id": "v1", "kind": "video", "items": items}]}  # fmt: skip


def render(store, document, format="h264", **more):
    return store.add("render", {"document": document, "format": format} | more).id


@pytest.mark.parametrize(
    ("format", "name", "type"),
    [("h264", "video.mp4", "video/mp4"), ("gif", "video.gif", "image/gif"), ("png", "frames.zip", "application/zip"),
     ("wav", "audio.wav", "audio/wav")],
)  # fmt: skip
def test_a_timeline_becomes_a_file_with_all_its_frames(folder, store, format, name, type):
    id = render(store, timeline(made(folder, store)), format)
    with worker(folder.path, name="media", runner=MEDIA, lease=10):
        done = until(lambda: (it := store.job(id)).state != "queued" and it.ended and it)
        until(lambda: not any(folder.job(id).glob("work-*")))  # removed when the job is complete
    assert done.state == "completed", done.error
    (file,) = done.result["files"]
    path = folder.job(id) / name
    assert (file["name"], file["type"], file["bytes"]) == (name, type, path.stat().st_size)
    assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    stills = [each["name"] for each in done.result["stills"]]
    if format == "png":
        with zipfile.ZipFile(path) as images:
            assert len(images.namelist()) == 24 and images.namelist()[0].endswith(".png")
    if format in ("h264", "gif"):
        assert file["frames"] == probe(path).frames == 24 and (file["width"], file["height"]) == (64, 48)
    assert stills == ([] if format == "wav" else ["thumbnail.webp", "spritesheet.webp"])
    if format == "h264":
        assert read_recipe(path)["title"] == done.result["recipe"]["title"] == "cut"
    said = [event.data for event in store.events(job=id)]
    shares = [each["fraction"] for each in said if "fraction" in each]
    assert shares == sorted(shares) and shares[-1] > 0.9
    assert {path.name for path in folder.job(id).iterdir()} == {"job.json", RESULT, name, *stills}


@pytest.mark.slow
def test_a_render_is_cancelled_while_it_is_at_work_and_made_by_retry(folder, store):
    id = render(store, timeline(made(folder, store), times=40, size=(320, 240)))
    with worker(folder.path, name="media", runner=MEDIA, lease=10):
        until(lambda: 0 < store.job(id).fraction < 0.5)
        store.cancel(id)
        cancelled = until(lambda: (it := store.job(id)).state == "cancelled" and it)
        asked = next(e.at for e in store.events(job=id) if e.data["type"] == "signal")
        assert cancelled.ended - asked < 30  # only a hang fails; a second is the aim
        assert not [path for path in folder.job(id).rglob("*") if path.suffix in (".mp4", ".part")]
        store.retry(id)
        until(lambda: store.job(id).state == "completed")
    assert probe(folder.job(id) / "video.mp4").frames == 960


@pytest.mark.parametrize("wrong", ["gone", "unknown", "inside", "path", "timeline", "size"])
def test_what_cannot_be_rendered_fails_before_any_work(folder, store, wrong):
    job, more = made(folder, store), {}
    document = timeline(job)
    media = document["tracks"][0]["items"][0]["media"]
    if wrong == "gone":
        (folder.job(job) / "video.mp4").unlink()
    elif wrong == "unknown":
        media["job"] = "job_" + "a" * 24
    elif wrong == "inside":
        media["file"] = RESULT
    elif wrong == "path":
        document["tracks"][0]["items"][0]["media"] = {"path": str(folder.job(job) / "video.mp4")}
    elif wrong == "timeline":
        document["tracks"][0]["items"][0]["duration"] = 3
    else:
        more["size"] = "large"
    id = render(store, document, **more)
    with worker(folder.path, name="media", runner=MEDIA, lease=10):
        failed = until(lambda: (it := store.job(id)).state == "failed" and it)
    kind = "invalid_request" if wrong in ("timeline", "size") else "unreadable_input"
    assert failed.error["code"] == kind, failed.error
    assert str(folder.path) not in failed.error["message"] and failed.fraction == 0
