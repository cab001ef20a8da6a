"""The feed: one thread looks for new events in the store and gives them to every open stream.

    Feed          the poller, and who listens
    Stream        one client's events: those that it missed, from the store, then new ones as they come
    EventStream   a Stream as an HTTP response (server-sent events)

An event is written as text once, for all streams. A stream whose client reads too slowly is closed: the client comes
back with Last-Event-ID and misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from wan22.jobs.job import ENDED, NotFoundError, StoreError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from wan22.jobs.job import Event
    from wan22.jobs.store import Store

POLL_SECONDS = 0.05
PING_SECONDS = 15.0
PING = b": ping\n\n"
SHUTDOWN = b"event: server_shutdown\ndata: {}\n\n"
_STREAMS = (
    50  # for each so many streams events are looked for one POLL_SECONDS later: sending them is the cost
)
_AT_ONCE = 10  # streams that are woken in one turn of the loop
_PAGE = 500
_LOG = logging.getLogger("wan22.server")


@dataclass(frozen=True)
class Written:
    """An event, and how it is sent."""

    n: int
    job: str
    text: bytes
    ends: bool


def write(event: Event) -> Written:
    """An event as server-sent text: `id` is its number, `event` its type, `data` itself as JSON."""
    kind = event.data.get("type", "message")
    body = {"n": event.n, "job": event.job, "at": event.at, **event.data}
    text = f"id: {event.n}\nevent: {kind}\ndata: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"
    ends = kind == "purged" or (kind == "state" and event.data.get("state") in ENDED)
    return Written(event.n, event.job, text.encode(), ends)


class Stream:
    """The events of one client. `job`: of that job alone, until it has ended; None: of all jobs."""

    def __init__(self, feed: Feed, job: str | None, after: int | None) -> None:
        self.job = job
        self.slow = asyncio.Event()
        self._feed = feed
        self._horizon = feed.last  # what is newer is offered
        self._sent = self._horizon if after is None else after
        self._waiting: deque[Written] = deque()
        self._news = asyncio.Event()

    def offer(self, events: list[Written]) -> bool:
        """Take what is new (in the thread of the loop), and say whether there was something: `wake` lets the reader
        look. Too much of it ends the stream, as its client is slow.
        """
        mine = [event for event in events if self.job in (None, event.job)]
        if len(self._waiting) + len(mine) > self._feed.limit:
            self.slow.set()
        else:
            self._waiting.extend(mine)
        return bool(mine)

    def wake(self) -> None:
        """Let the reader look again."""
        self._news.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Text to send, until the job has ended, the server ends, or the client is too slow."""
        yield b": open\n\n"
        async for text in self._stored(self._horizon):
            yield text
        look = True  # whether the job may have ended
        while not self.slow.is_set():
            fresh = [event for event in self._waiting if event.n > self._sent]
            self._waiting.clear()
            if fresh:
                self._sent, look = fresh[-1].n, look or any(event.ends for event in fresh)
                yield b"".join(event.text for event in fresh)  # each send costs as much as many events
            if look and self.job and await run_in_threadpool(self._feed.ended, self.job):
                async for text in self._stored(None):
                    yield text
                return
            if self._feed.ending:
                yield SHUTDOWN
                return
            if self._waiting:
                continue
            self._news.clear()
            look = not await _within(self._news.wait(), PING_SECONDS)
            if look:
                yield PING

    async def _stored(self, horizon: int | None) -> AsyncIterator[bytes]:
        """What the store has after the last event that was sent, up to `horizon`."""
        page: list[Event] | None = None
        while (horizon is None or self._sent < horizon) and (page is None or len(page) == _PAGE):
            page = await run_in_threadpool(self._feed.store.events, self._sent, job=self.job, limit=_PAGE)
            fresh = [event for event in page if horizon is None or event.n <= horizon]
            if fresh:
                self._sent = fresh[-1].n
                yield b"".join(write(event).text for event in fresh)
            if len(fresh) < len(page):
                return


async def _within(waited: Awaitable[object], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):  # wait_for would make a task of each wait of each stream
            await waited
    except TimeoutError:
        return False
    return True


class Feed:
    """The poller of a store, and the streams that listen. Made in the event loop; `start` and `stop` there too."""

    def __init__(
        self, store: Store, *, limit: int = 1000, observe: Callable[[list[Event]], None] | None = None
    ) -> None:
        self.store, self.limit, self._observe = store, limit, observe
        self.last = 0
        self.ending = False
        self._streams: set[Stream] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def start(self) -> None:
        """Begin to poll; what is in the store already is old."""
        self.last = self.store.last_event()
        self._thread = threading.Thread(
            target=self._poll, args=(asyncio.get_running_loop(), self.last), name="feed", daemon=True
        )
        self._thread.start()

    def open(self, job: str | None = None, after: int | None = None) -> Stream:
        """A new stream; `close` it in the end. `after`: the number of the last event that the client has."""
        stream = Stream(self, job, after)
        self._streams.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream."""
        self._streams.discard(stream)

    def ended(self, job: str) -> bool:
        """Whether a job has ended, or is not there any more."""
        try:
            return self.store.job(job).state in ENDED
        except NotFoundError:
            return True

    def end(self) -> None:
        """Tell every stream that the server ends."""
        self.ending = True
        for stream in self._streams:
            stream.wake()

    def stop(self) -> None:
        """End the streams and the poller."""
        self.end()
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _poll(self, loop: asyncio.AbstractEventLoop, last: int) -> None:
        version = None
        while not self._stop.wait(POLL_SECONDS * (1 + len(self._streams) / _STREAMS)):
            try:
                now = self.store.version
                if now == version:
                    continue
                while page := self.store.events(last, limit=_PAGE):
                    last = page[-1].n
                    with suppress(RuntimeError):  # the loop is closed: the server has ended
                        loop.call_soon_threadsafe(self._give, [write(event) for event in page], page)
                version = now
            except StoreError as error:
                _LOG.error("events cannot be read: %s", error)

    def _give(self, written: list[Written], events: list[Event]) -> None:
        self.last = written[-1].n
        self._wake([stream for stream in self._streams if stream.offer(written)])
        if self._observe is not None:
            self._observe(events)

    def _wake(self, streams: list[Stream]) -> None:
        """Let readers look, some at a time: the requests of others are answered in between."""
        for stream in streams[:_AT_ONCE]:
            stream.wake()
        if rest := streams[_AT_ONCE:]:
            asyncio.get_running_loop().call_soon(self._wake, rest)


class EventStream(Response):
    """A Stream as the answer to a request. It ends with the client, and where the client reads too slowly."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, stream: Stream) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed, self._stream = feed, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        sending = asyncio.ensure_future(self._send(send))
        others = [asyncio.ensure_future(left(receive)), asyncio.ensure_future(self._stream.slow.wait())]
        try:
            await asyncio.wait((sending, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._feed.close(self._stream)
            for task in (sending, *others):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _send(self, send: Send) -> None:
        async for text in self._stream.events():
            await send({"type": "http.response.body", "body": text, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def left(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
