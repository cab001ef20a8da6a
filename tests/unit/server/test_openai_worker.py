"""The `openai` client, the server, a real worker and the embedded model: a video, a remix of it, and more of it."""

import io
import os
import subprocess
import sys

import av
import numpy as np
import openai
import pytest
from live import serving

from wan22.media.video import probe

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SMALL = {"num_frames": 5, "num_inference_steps": 2, "seed": 3}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server"), works=False) as live:
        command = [
            sys.executable,
            "-m",
            "wan22.jobs.worker",
            "--data",
            str(live.folder.path),
            "--name",
            "cpu0",
        ]
        worker = subprocess.Popen([*command, "--device", "cpu"], env=os.environ | {"OMP_NUM_THREADS": "1"})
        try:
            yield live
        finally:
            worker.terminate()
            assert worker.wait(120) == 0


def test_a_real_video_its_remix_and_its_extension(server, tmp_path):
    with openai.OpenAI(base_url=server.url, api_key="any") as client:
        videos = client.videos

        def made(video):
            done = videos.poll(video.id, poll_interval_ms=200)
            assert done.status == "completed", done.error
            path = tmp_path / f"{video.id}.mp4"
            path.write_bytes(videos.download_content(video.id).content)
            return done, probe(path)

        first, info = made(videos.create(prompt="a red ball rolls left", size="96x64", extra_body=SMALL))
        assert (first.size, info.width, info.height, info.frames) == ("96x64", 96, 64, 5)
        assert len(videos.download_content(first.id, variant="spritesheet").content) > 100
        remix, info = made(videos.remix(first.id, prompt="a blue cube spins"))
        assert (remix.remixed_from_video_id, remix.size, remix.seed) == (first.id, "96x64", 3)
        longer, both = made(
            videos.extend(
                prompt="it rolls on", seconds="1", video=b"", extra_body={"video": {"id": first.id}}
            )
        )
        assert both.frames == 5 + round(both.fps)
        assert longer.size == "96x64"
        assert float(longer.seconds) == pytest.approx(both.seconds, abs=0.01)
        edit, info = made(
            videos.edit(
                prompt="snow falls", video=b"", extra_body={"video": {"id": longer.id}, "strength": 0.4}
            )
        )
        assert edit.size == "96x64"


def test_a_long_video_plays_before_it_is_complete(server, tmp_path):
    """Its frames come in fragments while the worker is at later clips, and are those of the file in the end."""

    def frames(content):
        with av.open(io.BytesIO(content), format="mp4") as file:
            return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]

    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
        asked = {"num_frames": 50, "num_inference_steps": 2, "seed": 3}
        id = client.videos.create(prompt="a red ball rolls left", size="128x80", extra_body=asked).id
        download = client.videos.with_streaming_response.download_content
        while True:
            try:
                with download(id, variant="stream") as answer:
                    pieces = answer.iter_bytes()
                    content = next(pieces)
                    early, state = frames(content), server.store.job(id).state
                    content += b"".join(pieces)
                break
            except openai.ConflictError:
                assert server.store.job(id).state in ("queued", "running")
        assert state == "running" and 17 <= len(early) < 50
        done = client.videos.poll(id, poll_interval_ms=100)
        whole = frames(client.videos.download_content(id).content)
    assert done.status == "completed" and len(whole) == 50
    assert np.array_equal(frames(content), whole) and np.array_equal(early, whole[: len(early)])


def test_what_the_model_refuses_is_the_error_of_the_video(server):
    with openai.OpenAI(base_url=server.url, api_key="any") as client:
        video = client.videos.create(prompt="a ball", extra_body=SMALL | {"switch_step": 7})
        done = client.videos.poll(video.id, poll_interval_ms=100)
        assert (done.status, done.error.code, done.error.type) == (
            "failed",
            "invalid_request",
            "invalid_request_error",
        )
