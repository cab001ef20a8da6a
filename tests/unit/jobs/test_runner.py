"""From a job's request to its files, by an engine of random weights in this process."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from unit.tiny import VAE, write_tiny

from wan22 import engine as engines
from wan22.errors import MissingModelError, OptionError, RequestError
from wan22.jobs import preview
from wan22.jobs.folder import Folder
from wan22.jobs.job import Job, new_id
from wan22.jobs.operator import Operator
from wan22.jobs.progress import Fraction
from wan22.jobs.runner import Production
from wan22.jobs.task import Task
from wan22.media.growing import read_growing
from wan22.media.image import read_image, write_image
from wan22.media.video import probe, read_clip
from wan22.memory.hardware import of_memory
from wan22.types import Progress

BASE = {"prompt": "a red ball rolls left", "model": "mine", "steps": 3, "size": [48, 32], "frames": 5}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny")


class Desk:
    """A data folder with a runner, and what was recorded of the last job."""

    def __init__(self, path, tiny):
        self.folder = Folder(path)
        self.runner = Production(self.folder, "cpu", Operator({"mine": str(tiny)}))
        self.said = []
        colours = torch.randn(VAE.z + 1, 3, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.5
        engine = engines.load(tiny, device="cpu")
        path = preview.kept_colours(engine, self.folder.path / "previews")
        path.parent.mkdir()
        save_file({"colours": colours}, path)

    def task(self, request, kind="video"):
        job = Job(new_id("job"), kind, "running", request, 0.0)
        work = self.folder.job(job.id) / "work"
        work.mkdir(parents=True)
        self.said = []
        return Task(job, self.folder, work, lambda data, step: self.said.append((data, step)))

    def upload(self, make):
        id = new_id("in")
        make(self.folder.path / "made.png")
        (self.folder.path / "made.png").rename(self.folder.input(id))
        return id


@pytest.fixture
def desk(tmp_path, tiny):
    return Desk(tmp_path / "data", tiny)


def of_type(desk, kind):
    return [data for data, _ in desk.said if data["type"] == kind]


def test_a_request_becomes_a_video_with_its_small_images_and_a_true_account(desk, monkeypatch):
    task = desk.task(BASE)
    result = desk.runner.run(task)
    (file,) = result["files"]
    video = task.work / file["name"]
    assert file["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
    assert (file["type"], file["width"], file["height"], file["frames"]) == ("video/mp4", 48, 32, 5)
    assert file["bytes"] == video.stat().st_size and file["fps"] == 8.0
    assert result["recipe"]["prompt"] == BASE["prompt"] and result["recipe"]["frames_sha256"]
    assert {"text", "denoise", "decode", "finish"} <= result["phases"].keys() and result["peak_memory"] > 0
    fractions = [data["fraction"] for data, _ in desk.said if "fraction" in data]
    assert fractions == sorted(fractions) and 0 < fractions[0] and fractions[-1] < 1
    assert [step for _, step in desk.said if step][-1] == 3
    assert read_image(task.work / "thumbnail.webp").shape == (32, 48, 3)
    place = desk.folder.job(task.job.id)
    assert probe(place / "preview.webp").frames == 2 and of_type(desk, "preview")[0]["n"] == 1

    # The next job of the model finds its engine; another one, and one that was interrupted, does not.
    loads = []
    load = engines.load
    monkeypatch.setattr(engines, "load", lambda *args, **more: loads.append(args) or load(*args, **more))
    assert desk.runner.loaded == "mine"
    image = desk.runner.run(desk.task({"prompt": "a cube", "model": "mine", "steps": 1}, "image"))
    assert image["files"][0]["type"] == "image/png" and image["files"][0]["seconds"] is None
    assert loads == []
    desk.runner.drop()
    assert desk.runner.loaded is None
    desk.runner.run(desk.task({"prompt": "a cone", "model": "mine", "steps": 1}, "image"))
    assert len(loads) == 1


def test_loras_change_places_in_the_engine_that_is_there(desk, tiny, tmp_path, monkeypatch):
    style = tmp_path / "style.safetensors"
    save_file(
        {
            "blocks.0.self_attn.q.lora_A.weight": torch.ones(2, 24),
            "blocks.0.self_attn.q.lora_B.weight": torch.ones(24, 2),
        },
        style,
    )
    desk.runner = Production(desk.folder, "cpu", Operator({"mine": str(tiny)}, {"style": str(style)}))
    asked = BASE | {"steps": 1, "frames": 1}

    def frames(**more):
        return desk.runner.run(desk.task(asked | more))["recipe"]["frames_sha256"]

    plain = frames()
    monkeypatch.setattr(engines, "load", None)  # no other engine is made
    styled = frames(lora=["style:0.5@high"])
    assert styled != plain and frames() == plain and frames(lora=["style:0.5@high"]) == styled


def test_uploads_are_read_by_their_ids(desk):
    id = desk.upload(lambda path: write_image(path, np.full((32, 48, 3), 200, np.uint8)))
    task = desk.task(BASE | {"image": id, "codec": "vp9"})
    result = desk.runner.run(task)
    assert result["files"][0]["name"] == "video.webm" and result["recipe"]["task"] == "i2v"
    with pytest.raises(RequestError, match="there is no input"):
        desk.runner.run(desk.task(BASE | {"image": "../../etc/passwd"}))


def test_a_video_is_extended(desk):
    first = desk.task(BASE)
    video = first.work / desk.runner.run(first)["files"][0]["name"]
    id = desk.upload(lambda path: path.write_bytes(video.read_bytes()))
    task = desk.task(
        {"prompt": "it goes on", "model": "mine", "steps": 1, "frames": 4, "video": id}, "extend"
    )
    result = desk.runner.run(task)
    assert result["files"][0]["frames"] == 9
    assert len(read_clip(task.work / "video.mp4").frames) == 9


def test_it_is_said_how_much_of_a_long_video_can_be_played(desk):
    task = desk.task(BASE | {"frames": 21, "steps": 1})
    playable, record = [], task.record

    def recording(data, step):
        record(data, step)
        if data["type"] == "playable":
            found = read_growing(task.work / "video.mp4.unfinished")
            playable.append((data["frames"], found.frames, probe(found.path).frames))

    task.record = recording
    made = desk.runner.run(task)["files"][0]
    said = of_type(desk, "playable")
    assert len(playable) > 1 and all(len(set(frames)) == 1 for frames in playable)
    assert {each["total"] for each in said} == {made["frames"]} == {said[-1]["frames"]}
    assert said[-1]["seconds"] == pytest.approx(made["seconds"], abs=0.001)
    assert said[0]["media_type"].startswith('video/mp4; codecs="avc1.')
    desk.runner.run(desk.task(BASE))
    assert not of_type(desk, "playable"), "it is made in one clip"


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"model": "/etc"}, "video", "unknown model '/etc'"),
        ({"model": "nano/../.."}, "video", "unknown model"),
        ({"model": "t2v-A14B"}, "video", "is not on this machine"),
        ({"lora": ["/etc/passwd:0.5"]}, "video", "unknown lora '/etc/passwd'"),
        ({"count": 2}, "video", "a job makes one"),
        ({"extend": "http://127.0.0.1/"}, "video", "unknown extend"),
        ({"say": "hello", "speaker": "http://127.0.0.1/"}, "video", "unknown speaker"),
        ({"steps": 0}, "video", "steps must be"),
        ({}, "group", "not made by this worker"),
    ],
)  # fmt: skip
def test_what_no_client_may_ask_is_refused_by_name(desk, change, kind, says, monkeypatch):
    monkeypatch.setattr("wan22.library.cached", lambda _: None)
    with pytest.raises((RequestError, OptionError, MissingModelError), match=says):
        desk.runner.run(desk.task(BASE | change, kind))
    assert not [path for path in Path("/etc").glob("*wan22*")]


def test_a_task_that_is_to_stop_stops_at_the_next_event_and_goes_on_later(desk, monkeypatch):
    monkeypatch.setattr("wan22.jobs.progress.EVERY", 0.0)
    task = desk.task(BASE)
    record = task.record

    def stopping(data, step):
        record(data, step)
        if step == 2:
            task.asked = "cancel"

    task.record = stopping
    with pytest.raises((KeyboardInterrupt, Exception)) as caught:
        desk.runner.run(task)
    assert type(caught.value).__name__ in ("KeyboardInterrupt", "Cancelled")
    assert [step for _, step in desk.said if step][-1] == 2 and task.stepping
    task.asked, task.record = None, record
    result = desk.runner.run(task)
    undisturbed = desk.task(BASE)
    assert desk.runner.run(undisturbed)["recipe"] == result["recipe"]


def test_previews_that_cannot_be_written_are_told_and_the_video_is_made(desk):
    task = desk.task(BASE)
    (desk.folder.job(task.job.id) / "preview.webp").mkdir()
    desk.runner.run(task)
    assert "no further previews" in of_type(desk, "note")[-1]["text"] and not of_type(desk, "preview")


GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("free", "ranks", "says"),
    [
        (80, 1, ""),
        (14, 1, "more than the"),  # 10 GB of a transformer, 11 of a text encoder, and no room on the host
        (14, 2, ""),  # each has half of both
        (3, 2, "more than the"),
    ],
)
def test_a_device_or_several_together_say_why_they_cannot_hold_a_job(desk, free, ranks, says):
    desk.runner._hardware = of_memory(free * GIGABYTE, GIGABYTE).among(ranks)
    request = {"prompt": "a ball", "model": "ti2v-5B", "size": [512, 288], "frames": 17}
    with_memory = Operator({}, engine={"memory": "device" if ranks == 1 else "ranks"})
    desk.runner._operator = with_memory
    said = desk.runner.why_not(Job(new_id("job"), "video", "running", request, 0.0), {})
    assert says in said and bool(says) == bool(said)


def test_what_cannot_be_planned_says_why_when_it_is_made(desk):
    job = Job(new_id("job"), "video", "running", {**BASE, "frames": -1}, 0.0)
    assert desk.runner.why_not(job, {}) == ""


def test_the_fraction_of_several_takes_and_clips_rises_to_less_than_one():
    seen, fraction = [], Fraction(videos=2, last=0.1)
    for _ in range(2):
        fraction.phase("text")
        seen.append(fraction.value)
        for clip in (1, 2):
            for step in (1, 2):
                event = Progress(step, 2, "high", 0.5, 0.1, 0.1, torch.zeros(1), torch.zeros(1), clip, 2)
                fraction.step(event)
                seen.append(fraction.value)
            fraction.frames(clip * 4, 8)
            seen.append(fraction.value)
        fraction.finished()
    assert seen == sorted(seen) and seen[0] == 0.1 and 0.4 < seen[6] < 0.55 and 0.95 < seen[-1] < 1
