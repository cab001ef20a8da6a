"""A video that plays while it is made, by /v1/videos/{id}/content?variant=stream; the test plays the worker."""

import io
import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace

import av
import httpx2
import numpy as np
import openai
import pytest
from live import FPS, SIZE, serving

from wan22.jobs.attempt import LocalFiles
from wan22.jobs.growing import growing_of
from wan22.jobs.results import described
from wan22.media.growing import read_growing
from wan22.media.long_video import LongVideo
from wan22.server.settings import Settings

LENGTHS = (9, 8, 7)
ASKED = {"prompt": "a red ball rolls left", "seed": 1, "model": "nano"}


def frames_of(clip):
    """Grey frames that say which they are."""
    first = sum(LENGTHS[:clip])
    grey = np.arange(first, first + LENGTHS[clip], dtype=np.uint8) * 9
    return np.broadcast_to(grey[:, None, None, None], (LENGTHS[clip], SIZE[1], SIZE[0], 3))


def brightness(frames):
    return frames.mean(axis=(1, 2, 3)).round().astype(int).tolist()


def of_clips(count):
    return [9 * number for number in range(sum(LENGTHS[:count]))]


class Maker:
    """A worker that makes one long video, when it is told."""

    def __init__(self, server, name="cpu0", lease=3600.0):
        self.server, self.files = server, LocalFiles(server.folder)
        self.claim = server.store.claim(name, lease=lease)
        self.work = self.files.begin(self.claim)
        self.video = LongVideo(self.work / "video.mp4", fps=FPS, size=SIZE, identity={})

    @property
    def url(self):
        return f"{self.server.url}/videos/{self.claim.job.id}/content?variant=stream"

    def make(self, *clips):
        for clip in clips:
            self.video.add(frames_of(clip))
            self.video.finish_clip(b"what the next one needs")

    def finish(self):
        self.video.close({"prompt": "p"})
        result = {"files": [described(self.work / "video.mp4")]}
        self.files.publish(self.claim, result)
        assert self.server.store.complete(self.claim, result)
        self.files.clear(self.claim)
        return result


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path, works=False) as live:
        yield live


@pytest.fixture
def maker(server):
    server.store.add("video", ASKED)
    return Maker(server)


class Reader:
    """A client that reads as far as it is told."""

    def __init__(self, answer):
        self.answer, self.got = answer, b""
        self._pieces = answer.iter_raw()

    def until(self, size):
        while len(self.got) < size:
            self.got += next(self._pieces)

    def rest(self):
        self.got += b"".join(self._pieces)
        return self.got


@contextmanager
def reading(server, url):
    with server.http.stream("GET", url) as answer:
        assert answer.status_code == 200
        yield Reader(answer)


def images(content):
    """The frames of the bytes that came so far."""
    with av.open(io.BytesIO(content), format="mp4") as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def decoded(content):
    return brightness(images(content))


def near(found, wanted):
    assert len(found) == len(wanted)
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 3


def test_frames_come_while_later_ones_are_made_and_are_those_of_the_finished_video(server, maker):
    maker.make(0)
    with reading(server, maker.url) as reader:
        headers = reader.answer.headers
        assert headers["content-type"] == "video/mp4" and "content-length" not in headers
        assert headers["cache-control"] == "no-store"
        end = growing_of(server.folder, maker.claim.job.id).end
        reader.until(end)
        near(decoded(reader.got), of_clips(1))
        maker.make(1)
        assert server.store.job(maker.claim.job.id).state == "running"
        reader.until(end + 1)
        reader.until(growing_of(server.folder, maker.claim.job.id).end)
        near(decoded(reader.got), of_clips(2))
        maker.make(2)
        maker.finish()  # at once: the last clip's file may have no name when it is looked for
        streamed = images(reader.rest())
    near(brightness(streamed), of_clips(3))
    video = server.folder.job(maker.claim.job.id) / "video.mp4"
    assert np.array_equal(streamed, images(video.read_bytes()))
    assert server.http.get(maker.url).content == video.read_bytes(), "then it is the file"
    assert len(server.app.state.growths) == 0


def test_before_the_first_clip_and_after_a_failure_there_is_nothing(server, maker):
    for url in (maker.url, maker.url.replace("stream", "video")):
        answer = server.http.get(url)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "video_not_ready")
    assert "none of its clips" in server.http.get(maker.url).json()["error"]["message"]
    maker.make(0)
    assert server.http.get(maker.url.replace("stream", "video")).status_code == 409, (
        "as OpenAI's clients know it"
    )
    head = server.http.head(maker.url)
    assert head.status_code == 200 and head.content == b""
    assert server.http.get(maker.url.replace("stream", "growing")).status_code == 422
    assert server.http.get(maker.url.replace("job_", "job_x")).status_code == 404
    server.store.fail(maker.claim, "decode_failed", "no memory")
    assert server.http.get(maker.url).status_code == 409


@pytest.mark.parametrize("end", ["failed", "cancelled", "trashed"])
def test_a_stream_ends_in_order_with_a_job_that_fails_or_is_cancelled(server, maker, end):
    maker.make(0, 1)
    with reading(server, maker.url) as reader:
        reader.until(100)
        if end == "failed":
            server.store.fail(maker.claim, "decode_failed", "no memory")
        else:
            server.store.cancel(maker.claim.job.id) if end == "cancelled" else server.store.trash(
                maker.claim.job.id
            )
            server.store.release(maker.claim, signal="cancel")
        near(decoded(reader.rest()), of_clips(2))


def test_a_worker_dies_another_attempt_goes_on_and_the_reader_sees_one_video(server, maker):
    maker.make(0, 1)
    with reading(server, maker.url) as reader:
        reader.until(growing_of(server.folder, maker.claim.job.id).end)
        with (maker.work / "video.mp4.unfinished" / "video.mp4").open("ab") as file:
            file.write(b"half a clip")
        maker.video.abort()
        server.store.recover("cpu0")
        again = Maker(server, "cpu1")
        assert again.work != maker.work and not maker.work.exists() and again.video.finished == 2
        again.make(2)
        reader.until(growing_of(server.folder, again.claim.job.id).end)
        again.finish()
        near(decoded(reader.rest()), of_clips(3))


def test_an_attempt_that_begins_anew_is_waited_for(server, maker):
    """What the first attempt had is lost: the bytes that were sent are made again, and not sent again."""
    maker.make(0, 1)
    with reading(server, maker.url) as reader:
        reader.until(growing_of(server.folder, maker.claim.job.id).end)
        maker.video.abort()
        shutil.rmtree(maker.work)
        server.store.recover("cpu0")
        again = Maker(server)
        again.make(0, 1, 2)
        reader.until(growing_of(server.folder, again.claim.job.id).end)
        again.finish()
        near(decoded(reader.rest()), of_clips(3))


def test_another_video_than_was_begun_is_never_sent_behind_it(server, maker):
    maker.make(0, 1)
    with reading(server, maker.url) as reader:
        reader.until(growing_of(server.folder, maker.claim.job.id).end)
        before = reader.got
        maker.video.abort()
        shutil.rmtree(maker.work)
        server.store.recover("cpu0")
        again = Maker(server)
        again.make(1, 1, 2)
        with pytest.raises(httpx2.RemoteProtocolError):
            reader.rest()
        assert reader.got == before


def test_the_end_that_was_missed_is_not_passed_over(server, maker):
    """A copy of a file that a worker elsewhere writes: each is another file, and the last one came and went."""
    maker.make(0, 1)
    with reading(server, maker.url) as reader:
        growing = growing_of(server.folder, maker.claim.job.id)
        reader.until(growing.end)
        copy = growing.path.with_name(".copy")
        shutil.copy(growing.path, copy)
        copy.replace(growing.path)  # the reader holds the former one
        with maker.server.app.state.growths._open[maker.claim.job.id]._lock:
            maker.make(2)
            result = maker.finish()
        assert result["files"][0]["frames"] == sum(LENGTHS)
        with pytest.raises(httpx2.RemoteProtocolError):
            reader.rest()


def test_many_slow_readers_hold_no_thread_and_miss_nothing(server, maker):
    """None of them reads until the video is complete and its growing file is gone."""
    maker.make(0)
    before = threading.active_count()
    limits = httpx2.Limits(max_connections=None)
    with httpx2.Client(timeout=120, limits=limits) as http:
        answers = [http.send(http.build_request("GET", maker.url), stream=True) for _ in range(60)]
        assert len(server.app.state.growths) == 60
        assert server.http.get(f"{server.url}/jobs").status_code == 200
        assert threading.active_count() - before <= 45, "the pool's threads, which everybody shares"
        maker.make(1, 2)
        maker.finish()
        assert {tuple(decoded(answer.read())) for answer in answers} == {tuple(decoded(answers[0].content))}
        near(decoded(answers[0].content), of_clips(3))
        for answer in answers:
            answer.close()


def test_who_leaves_is_forgotten(server, maker):
    maker.make(0)
    growths = server.app.state.growths
    for _ in range(2):
        with reading(server, maker.url) as reader:
            reader.until(10)
            assert len(growths) == 1
        server.http.close()
        server.http = httpx2.Client(base_url=server.url, timeout=120)
        while len(growths):
            threading.Event().wait(0.01)


def test_streams_are_counted(tmp_path):
    with serving(tmp_path, replace(Settings(), max_streams=1), works=False) as server:
        server.store.add("video", ASKED)
        maker = Maker(server)
        maker.make(0)
        with reading(server, maker.url) as reader:
            reader.until(10)
            with httpx2.Client() as other:
                answer = other.get(maker.url)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too_many_streams")


def test_a_server_that_ends_breaks_the_stream_off(tmp_path):
    with serving(tmp_path, works=False) as server:
        server.store.add("video", ASKED)
        maker = Maker(server)
        maker.make(0)
        with reading(server, maker.url) as reader:
            reader.until(growing_of(server.folder, maker.claim.job.id).end)
            server.app.state.feed.end()
            with pytest.raises(httpx2.RemoteProtocolError):
                reader.rest()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_openai_client_reads_it_too(server, maker):
    maker.make(0)
    id = maker.claim.job.id
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
        with client.videos.with_streaming_response.download_content(id, variant="stream") as answer:
            pieces = answer.iter_bytes()
            got = next(pieces)
            maker.make(1, 2)
            maker.finish()
            near(decoded(got + b"".join(pieces)), of_clips(3))
        assert client.videos.download_content(id, variant="stream").response.headers["content-length"]


def test_what_is_no_growing_video_is_none(tmp_path):
    assert read_growing(tmp_path) is None
    with LongVideo(tmp_path / "frames" / "%04d.png", fps=FPS, size=SIZE, identity={}) as images:
        images.add(frames_of(0))
        images.finish_clip()
        assert read_growing(images.folder) is None, "numbered images"
    with LongVideo(tmp_path / "x.mp4", fps=FPS, size=SIZE, identity={}) as video:
        assert read_growing(video.folder) is None
        video.add(frames_of(0))
        video.finish_clip()
        found = read_growing(video.folder)
        assert (found.frames, found.fps, found.end) == (9, FPS, video.growing.stat().st_size)
        assert found.full_type.startswith('video/mp4; codecs="avc1.64')
        video.add(frames_of(1))
        video.finish_clip()
        index = json.loads((video.folder / "video.json").read_text())
        for wrong in (
            "{",
            "[]",
            "{}",
            json.dumps(index | {"clips": [{"frames": 1}]}),
            json.dumps(index | {"asked": 1}),
        ):
            (video.folder / "video.json").write_text(wrong)
            assert read_growing(video.folder) is None, wrong
        index["clips"][-1]["end"] += 1
        (video.folder / "video.json").write_text(json.dumps(index))
        assert read_growing(video.folder) is None, "it is being copied"
