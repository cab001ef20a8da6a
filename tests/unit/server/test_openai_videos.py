"""All methods of the `openai` client's videos, sync and async, against a live server; and what it answers to others."""

import asyncio
import base64
import io
import threading
import warnings

import numpy as np
import openai
import pytest
from live import FRAMES, SIZE, serving, small_video
from PIL import Image

from wan22.media.video import probe, read_clip

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as live:
        yield live


@pytest.fixture
def client(server):
    with warnings.catch_warnings(), openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as one:
        yield one


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    return small_video(tmp_path_factory.mktemp("movie") / "movie.mp4")


def image(color="red", size=(20, 10)) -> bytes:
    place = io.BytesIO()
    Image.new("RGB", size, color).save(place, "PNG")
    return place.getvalue()


def made(client, **asked):
    return client.videos.create_and_poll(prompt="a red ball rolls left", poll_interval_ms=20, **asked)


def test_all_twelve_methods(server, client, movie, tmp_path):
    first = client.videos.create(prompt="a red ball rolls left", model="nano", seconds="4", size="1280x720")
    assert (first.object, first.model, first.seconds, first.size) == ("video", "nano", "4", "1280x720")
    assert first.status in ("queued", "in_progress", "completed")
    done = client.videos.poll(first.id, poll_interval_ms=20)
    assert (done.status, done.progress, done.error, done.expires_at) == ("completed", 100, None, None)
    assert done.completed_at >= done.created_at
    assert (done.size, done.seconds) == ("64x32", "1")
    assert client.videos.retrieve(first.id).id == first.id
    again = made(client, input_reference=image())
    assert again.status == "completed"
    assert server.store.input(server.store.job(again.id).request["image"]).type == "image/png"

    for variant, kind in (("video", "video/mp4"), ("thumbnail", "image/webp"), ("spritesheet", "image/webp")):
        answer = client.videos.download_content(first.id, variant=variant)
        assert answer.response.headers["content-type"] == kind
        (tmp_path / variant).write_bytes(answer.content)
    assert probe(tmp_path / "video").frames == FRAMES

    remix = client.videos.remix(first.id, prompt="a blue cube spins")
    assert remix.remixed_from_video_id == first.id
    with movie.open("rb") as file:
        edit = client.videos.edit(prompt="make it snow", video=file)
    with movie.open("rb") as file:
        longer = client.videos.extend(prompt="it rolls on", seconds="8", video=file)
    assert longer.seconds == "9", "the whole, of both parts"
    assert longer.size == "64x32"
    with movie.open("rb") as file:
        character = client.videos.create_character(name="Anna", video=file)
    assert client.videos.get_character(character.id).name == "Anna"

    known = {video.id for video in client.videos.list(limit=2)}
    assert {first.id, again.id, remix.id, edit.id, longer.id} <= known
    gone = client.videos.delete(first.id)
    assert (gone.deleted, gone.object, gone.id) == (True, "video.deleted", first.id)
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(first.id)
    assert server.store.restore(first.id).trashed is None
    assert client.videos.retrieve(first.id).status == "completed"


def test_all_twelve_methods_of_the_async_client(server, movie):
    async def drive():
        async with openai.AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            videos = client.videos
            first = await videos.create_and_poll(prompt="a red ball", poll_interval_ms=20)
            second = await videos.poll((await videos.create(prompt="a cube")).id, poll_interval_ms=20)
            assert first.status == second.status == "completed"
            assert (await videos.retrieve(first.id)).id == first.id
            assert len((await videos.download_content(first.id)).content) > 500
            found = [video.id async for video in await videos.list(limit=1, order="desc")]
            assert found[0] == second.id
            content = movie.read_bytes()
            assert (await videos.remix(first.id, prompt="snow")).remixed_from_video_id == first.id
            assert (await videos.edit(prompt="snow", video=content)).id
            assert (await videos.extend(prompt="snow", seconds="4", video=content)).seconds == "5"
            one = await videos.create_character(name="Bert", video=content)
            assert (await videos.get_character(one.id)).name == "Bert"
            assert (await videos.delete(second.id)).deleted

    asyncio.run(drive())


def test_pages(client):
    ids = [made(client).id for _ in range(5)][::-1]
    page = client.videos.list(limit=2)
    assert [video.id for video in page.data] == ids[:2]
    assert (page.has_more, page.last_id) == (True, ids[1])
    after = client.videos.list(limit=2, after=ids[1])
    assert [video.id for video in after.data] == ids[2:4]
    oldest = client.videos.list(limit=100, order="asc").data
    assert oldest[-1].id == ids[0]
    with pytest.raises(openai.BadRequestError, match="no video"):
        client.videos.list(after="job_000000000000000000000000")


def test_extra_fields_of_other_servers_arrive(server, client):
    done = made(
        client,
        extra_body={"num_frames": 9, "fps": 8, "width": 96, "height": 64, "guidance_scale": 3, "guidance_scale_2": 4,
                    "num_inference_steps": 2, "flow_shift": 5, "seed": 7, "negative_prompt": "rain",
                    "boundary_ratio": 0.9, "enable_teacache": True, "generate_sound": False, "user": "me"},
    )  # fmt: skip
    job = server.store.job(done.id)
    assert job.request == {
        "prompt": "a red ball rolls left", "model": "nano", "frames": 9, "fps": 8.0, "size": [96, 64],
        "guidance": [3.0, 4.0], "steps": 2, "shift": 5.0, "seed": 7, "negative": "rain", "boundary": 0.9,
        "cache": "teacache",
    }  # fmt: skip
    assert job.meta["user"] == "me"
    assert done.seed == 7


def test_without_a_seed_each_video_is_another(server, client):
    seeds = {server.store.job(made(client).id).request["seed"] for _ in range(3)}
    assert len(seeds) == 3


@pytest.mark.parametrize("form", ["bracket", "json text", "json body", "file id", "image_reference"])
def test_a_reference_in_every_spelling(server, client, form):
    url = f"data:image/png;base64,{base64.b64encode(image('blue')).decode()}"
    match form:
        case "bracket":
            done = made(client, extra_body={"input_reference": {"image_url": url}})
        case "json text":
            done = made(client, extra_body={"input_reference": f'{{"image_url": "{url}"}}'})
        case "image_reference":
            done = made(client, extra_body={"image_reference": f'{{"image_url": "{url}"}}'})
        case "json body":
            body = {"prompt": "a ball", "input_reference": {"image_url": url}}
            done = client.videos.poll(
                server.http.post("/videos", json=body).json()["id"], poll_interval_ms=20
            )
        case "file id":
            sent = server.http.post("/inputs", files={"file": ("a.png", image("blue"))}).json()
            done = made(client, extra_body={"input_reference": {"file_id": sent["id"]}})
    row = server.store.input(server.store.job(done.id).request["image"])
    with Image.open(server.folder.input(row.id)) as found:
        assert found.getpixel((0, 0)) == (0, 0, 255)


def test_a_data_url_may_be_longer_than_a_part_of_a_form(client):
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8)
    place = io.BytesIO()
    Image.fromarray(noise).save(place, "PNG")
    assert place.tell() > 1_200_000
    url = f"data:image/png;base64,{base64.b64encode(place.getvalue()).decode()}"
    assert made(client, extra_body={"input_reference": {"image_url": url}}).status == "completed"


def test_a_video_as_input_reference_is_the_video(server, client, movie):
    done = made(client, input_reference=movie.read_bytes())
    assert set(server.store.job(done.id).request) == {"prompt", "model", "seed", "video"}


def test_remix_and_edit_and_extend_take_over_how_it_was_made(server, client):
    source = made(client, size="96x64", extra_body={"steps": 3, "negative": "rain", "num_frames": 9})
    asked = server.store.job(source.id).request
    remix = server.store.job(client.videos.remix(source.id, prompt="a cube").id)
    assert remix.request["prompt"] == "a cube"
    assert remix.request["seed"] == asked["seed"]
    assert remix.request["size"] == [64, 32], "that of the video"
    assert (remix.request["steps"], remix.request["negative"]) == (3, "rain")
    source_file = server.folder.job(source.id) / "video.mp4"
    assert server.folder.input(remix.request["video"]).read_bytes() == source_file.read_bytes()
    by_id = {"video": {"id": source.id}}
    edit = client.videos.edit(prompt="snow", video=b"", extra_body=by_id | {"strength": 0.4})
    asked = server.store.job(edit.id).request
    assert (asked["strength"], asked["steps"], asked["size"]) == (0.4, 3, [64, 32])
    longer = client.videos.extend(prompt="on", seconds="4", video=b"", extra_body=by_id)
    job = server.store.job(longer.id)
    assert job.kind == "extend"
    assert (job.request["seconds"], job.request["steps"]) == (4.0, 3)
    assert "size" not in job.request
    assert longer.seconds == "5"


def test_a_character_is_the_first_frame_by_a_name(server, client, movie):
    one = client.videos.create_character(name="Clara", video=movie.read_bytes())
    row = server.store.input(f"in_{one.id.removeprefix('char_')}")
    assert (row.type, row.width, row.height) == ("image/png", *SIZE)
    with Image.open(server.folder.input(row.id)) as found:
        assert np.abs(np.asarray(found).astype(int) - read_clip(movie).frames[0]).max() <= 2
    for asked in ({"character": one.id}, {"character": "Clara"}, {"input_reference": "@clara"}):
        assert server.store.job(made(client, extra_body=asked).id).request["image"] == row.id
    named = client.videos.create(prompt="@Clara waves, @clara")
    request = server.store.job(named.id).request
    assert request["image"] == row.id
    assert "@" not in request["prompt"].partition(",")[0]
    with pytest.raises(openai.BadRequestError, match="no character"):
        made(client, extra_body={"character": "Nobody"})
    with pytest.raises(openai.NotFoundError):
        client.videos.get_character("char_000000000000000000000000")


def test_progress_and_the_time_to_ask_again(server, client):
    with server.worker.holding():
        video = client.videos.create(prompt="a ball")
        while (now := client.videos.retrieve(video.id)).progress == 0:
            pass
        assert (now.status, now.progress) == ("in_progress", 50)
        raw = client.videos.with_raw_response.retrieve(video.id)
        assert 250 <= int(raw.headers["openai-poll-after-ms"]) <= 10_000
        with pytest.raises(openai.ConflictError) as error:
            client.videos.download_content(video.id)
        assert error.value.code == "video_not_ready"
        assert error.value.response.headers["x-should-retry"] == "false"
        with pytest.raises(openai.ConflictError):
            client.videos.remix(video.id, prompt="no")
        assert client.videos.delete(video.id).deleted, "it is cancelled, and lies in the trash"
        while server.store.job(video.id).state == "running":
            pass
        assert server.store.restore(video.id).state == "cancelled"
        found = client.videos.retrieve(video.id)
        assert (found.status, found.error.code) == ("failed", "cancelled")
    assert "openai-poll-after-ms" not in client.videos.with_raw_response.retrieve(video.id).headers


def test_a_failed_video_says_why(server, client):
    server.worker.break_with = ("out_of_memory", "the memory is not enough. Ask for a smaller size")
    done = made(client)
    assert done.status == "failed"
    assert (done.error.code, done.error.message) == (
        "out_of_memory",
        "the memory is not enough. Ask for a smaller size",
    )


def test_the_bytes_at_once(server, tmp_path):
    answer = server.http.post("/videos/sync", data={"prompt": "a ball"})
    assert answer.headers["content-type"] == "video/mp4"
    (tmp_path / "a.mp4").write_bytes(answer.content)
    assert probe(tmp_path / "a.mp4").frames == FRAMES
    server.worker.break_with = ("invalid_request", "the size is wrong")
    refused = server.http.post("/videos/sync", data={"prompt": "a ball"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "invalid_request"


def test_content_by_ranges_and_tags(server, client):
    id = made(client).id
    place = f"/videos/{id}/content"
    whole = server.http.get(place)
    assert whole.headers["etag"].strip('"') == server.store.job(id).result["files"][0]["sha256"]
    assert "filename=" in whole.headers["content-disposition"]
    assert server.http.head(place).headers["content-length"] == str(len(whole.content))
    part = server.http.get(place, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert server.http.get(place, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    other = {"Range": "bytes=0-3", "If-Range": '"other"'}
    assert server.http.get(place, headers=other).status_code == 200
    assert server.http.get(place, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert server.http.get(place, params={"variant": "sound"}).status_code == 422


def test_the_same_key_is_the_same_video(server):
    def post(prompt, content):
        return server.http.post(
            "/videos", data={"prompt": prompt}, files={"input_reference": content},
            headers={"Idempotency-Key": "one"},
        )  # fmt: skip

    first, again = post("a ball", image("green")), post("a ball", image("green"))
    assert first.json()["id"] == again.json()["id"]
    kept = [row for row in server.store.inputs(limit=1000) if row.sha256 == server.store.inputs()[0].sha256]
    assert len(kept) == 1, "what the second sent is not kept"
    other = post("a cube", image("green"))
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"


def test_several_clients_at_once(server, client):
    found, failures = [], []

    def drive():
        try:
            found.append(made(client, input_reference=image()).status)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (found, failures) == (["completed"] * 4, [])


def test_a_client_that_leaves_cancels_what_it_waits_for(server):
    import httpx2

    with server.worker.holding():
        known = server.store.ids()
        with pytest.raises(httpx2.TimeoutException):
            server.http.post("/videos/sync", data={"prompt": "a ball"}, timeout=1.0)
        [id] = server.store.ids() - known
        while server.store.job(id).state != "cancelled":
            pass


def test_texts_have_a_limit_together(server):
    from wan22.server.forms import MAX_TEXT

    half = "x" * (MAX_TEXT // 2 + 1)
    form = server.http.post("/videos", files={"prompt": (None, half), "negative": (None, half)})
    coded = server.http.post("/videos", data={"prompt": half, "negative": half})
    body = server.http.post("/videos", json={"prompt": half, "negative": half})
    assert [answer.status_code for answer in (form, coded, body)] == [413, 413, 413]
    long = server.http.post("/videos", data={"prompt": half[:200_000]})
    assert (long.status_code, long.json()["error"]["param"]) == (400, "prompt")
