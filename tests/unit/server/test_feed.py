"""Streams of events: none is missed or said twice, a slow client is let go, the end is told."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager

import pytest

from wan22.jobs.folder import Folder
from wan22.server.feed import PING, SHUTDOWN, EventStream, Feed, write

REQUEST = {"prompt": "a", "model": "nano"}


@pytest.fixture
def store(tmp_path):
    with Folder(tmp_path).open_store() as store:
        yield store


@asynccontextmanager
async def started(store, **more):
    feed = Feed(store, **more)
    feed.start()
    try:
        yield feed
    finally:
        feed.stop()


def numbers(texts):
    return [int(line[4:]) for line in b"".join(texts).split(b"\n") if line.startswith(b"id: ")]


def said(texts):
    return [json.loads(line[6:]) for line in b"".join(texts).split(b"\n") if line.startswith(b"data: ")]


async def read(stream, most=None):
    """Texts of a stream, all or the first so many events."""
    found = []
    async for text in stream.events():
        found.append(text)
        if most is not None and len(numbers(found)) >= most:
            break
    return found


def work(store, steps=20):
    """Do the next job, with an event a step."""
    claim = store.claim("cpu0", lease=60)
    for step in range(1, steps + 1):
        store.record(
            claim, {"type": "progress", "step": step, "steps": steps, "text": "한\n\nid: 0"}, step=step
        )
    store.complete(claim, {})


def test_an_event_is_one_event_whatever_it_says(store):
    store.add("video", REQUEST)
    work(store, 1)
    for event in store.events():
        lines = write(event).text.decode().split("\n")
        assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "", ""]
        assert json.loads(lines[2][6:]) == {"n": event.n, "job": event.job, "at": event.at, **event.data}


def test_old_and_new_events_come_once_and_in_order(store):
    job = store.add("video", REQUEST)

    async def run():
        async with started(store) as feed:
            worker = threading.Thread(target=work, args=(store,))
            streams = [feed.open(job.id, 0) for _ in range(5)]
            reading = [asyncio.ensure_future(read(stream)) for stream in streams]
            worker.start()
            later = asyncio.ensure_future(read(feed.open(job.id, 0)))
            found = await asyncio.gather(*reading, later)
            worker.join()
            return found

    whole = [event.n for event in store.events(job=job.id)]
    found = asyncio.run(run())
    whole = [event.n for event in store.events(job=job.id)]
    assert len(whole) == 23 and [numbers(texts) for texts in found] == [whole] * 6


def test_who_comes_back_at_any_moment_misses_nothing(store):
    job = store.add("video", REQUEST)

    async def run():
        got = []
        async with started(store) as feed:
            worker = threading.Thread(target=work, args=(store, 40))
            worker.start()
            while len(got) < 43:
                stream = feed.open(job.id, got[-1] if got else 0)
                got += numbers(await read(stream, most=3))
                feed.close(stream)
            worker.join()
        return got

    got = asyncio.run(run())
    assert got == [event.n for event in store.events(job=job.id)]


def test_the_stream_of_a_job_that_is_tried_again_goes_on(store):
    job = store.add("video", REQUEST)
    store.cancel(job.id)
    store.retry(job.id)

    async def run():
        async with started(store) as feed:
            reading = asyncio.ensure_future(read(feed.open(job.id, 0)))
            await asyncio.to_thread(work, store, 2)
            return await reading

    states = [data.get("state") for data in said(asyncio.run(run()))]
    assert [state for state in states if state] == ["queued", "cancelled", "queued", "running", "completed"]


def test_all_jobs_are_seen_from_now_on(store):
    store.add("video", REQUEST)

    async def run():
        async with started(store) as feed:
            reading = asyncio.ensure_future(read(feed.open(), most=1))
            job = await asyncio.to_thread(store.add, "video", REQUEST)
            return job, await reading

    job, texts = asyncio.run(run())
    assert job.id.encode() in texts[-1] and len(numbers(texts)) == 1


def test_a_job_that_is_purged_ends_its_stream(store):
    job = store.add("video", REQUEST)

    async def run():
        async with started(store) as feed:
            reading = asyncio.ensure_future(read(feed.open(job.id, 0)))
            await asyncio.to_thread(store.trash, job.id)
            await asyncio.to_thread(store.purge, job.id)
            return await asyncio.wait_for(reading, 60)

    assert asyncio.run(run())


def test_a_server_that_ends_tells_every_stream(store):
    store.add("video", REQUEST)

    async def run():
        async with started(store) as feed:
            reading = [asyncio.ensure_future(read(feed.open())) for _ in range(3)]
            await asyncio.sleep(0)
            feed.end()
            return await asyncio.gather(*reading)

    assert [texts[-1] for texts in asyncio.run(run())] == [SHUTDOWN] * 3


def test_a_silent_stream_says_that_it_is_there(store, monkeypatch):
    monkeypatch.setattr("wan22.server.feed.PING_SECONDS", 0.01)
    store.add("video", REQUEST)

    async def run():
        async with started(store) as feed:
            async for text in feed.open().events():
                if text == PING:
                    return True

    assert asyncio.run(run())


async def response(feed, stream, send, receive):
    await EventStream(feed, stream)({"type": "http"}, receive, send)


def test_a_client_that_does_not_read_is_let_go_and_costs_no_memory(store):
    job = store.add("video", REQUEST)

    async def run():
        async with started(store, limit=50) as feed:
            stream = feed.open()
            stuck = asyncio.Event()

            async def send(message):
                if message["type"] == "http.response.body":
                    await stuck.wait()  # never: the client's window is full

            async def receive():
                await stuck.wait()

            answering = asyncio.ensure_future(response(feed, stream, send, receive))
            await asyncio.to_thread(work, store, 100)
            await asyncio.wait_for(answering, 60)
            return stream, len(feed)

    stream, left = asyncio.run(run())
    assert stream.slow.is_set() and left == 0 and len(stream._waiting) <= 50
    assert store.job(job.id).state == "completed"


def test_a_client_that_leaves_is_forgotten(store):
    async def run():
        async with started(store) as feed:
            left = asyncio.Event()

            async def send(message):
                left.set()

            async def receive():
                await left.wait()
                return {"type": "http.disconnect"}

            await asyncio.wait_for(response(feed, feed.open(), send, receive), 60)
            return len(feed)

    assert asyncio.run(run()) == 0
