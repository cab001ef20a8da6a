"""Videos that play while they are made: the file of a running job as far as its clips are finished, to all who read it.

    Growths        the videos that somebody reads now
    Growth         one of them: its file is held open, and looked after by one task for all readers
    GrowingVideo   one reader, as an HTTP response

A slow reader costs a buffer, no thread and no file of its own. The file is held open because its name goes when the
video is complete: who is behind then still gets the rest.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from wan22.jobs.growing import growing_of
from wan22.jobs.job import ENDED, Job, NotFoundError, StoreError
from wan22.server.feed import left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from wan22.jobs.folder import Folder
    from wan22.media.growing import FinishedClip
    from wan22.server.feed import Feed

POLL_SECONDS = 0.1
_CHUNK = 256 << 10  # bytes that are read and sent at once

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Accept-Ranges": "none"}


class Growth:
    """The video of one job. `end`: bytes that count; `over`: no more will come; `whole`: and nothing is missing."""

    def __init__(self, folder: Folder, feed: Feed, id: str) -> None:
        self.id, self.readers = id, 0
        self.end, self.type = 0, ""
        self.over, self.whole = False, True
        self.task: asyncio.Task[None] | None = None
        self._folder, self._feed = folder, feed
        self._clips: tuple[FinishedClip, ...] = ()
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()  # the file is not closed while it is read
        self._news = asyncio.Event()

    def look(self) -> None:
        """See how far the video is, in a thread. Raises StoreError where the store cannot be asked."""
        job = self._job()  # before the files: what they have when it has ended is all
        found = growing_of(self._folder, self.id)
        with self._lock, suppress(OSError):  # gone meanwhile: the next look says why
            if found is not None:
                self._take(found.path.open("rb"), found.clips)
                self.type = found.type
        if job is None or job.state in ENDED:
            if job is not None and job.state == "completed" and found is None:
                self._take_rest(job)
            self.over = True
        elif self._feed.ending:
            self._cut()

    def _job(self) -> Job | None:
        try:
            return self._feed.store.job(self.id)
        except NotFoundError:
            return None

    def _take(self, file: BinaryIO, clips: tuple[FinishedClip, ...]) -> None:
        """Go on with this file, unless an attempt that began anew has less, so far, or has made another video."""
        common = min(len(clips), len(self._clips))
        if clips[:common] != self._clips[:common]:
            self._cut()
        if self.over or len(clips) < len(self._clips):
            file.close()
            return
        if self._file is not None:
            self._file.close()
        self._file, self._clips, self.end = file, clips, clips[-1].end

    def _take_rest(self, job: Job) -> None:
        """The video is complete, and its growing file has no name any more: what is held is all of it.

        A copy that follows a worker elsewhere may lack the end, if it came and went between two looks.
        """
        if self._file is None:
            return
        size, files = os.fstat(self._file.fileno()).st_size, (job.result or {}).get("files") or [{}]
        if size > self.end:
            self.end = size
        elif sum(clip.frames for clip in self._clips) != files[0].get("frames"):
            self.whole = False

    def _cut(self) -> None:
        self.over, self.whole = True, False

    def read(self, offset: int) -> bytes:
        """The next bytes from `offset` on, in a thread."""
        with self._lock:
            assert self._file is not None
            return os.pread(self._file.fileno(), min(_CHUNK, self.end - offset), offset)

    async def follow(self) -> None:
        """Look again and again until the end, and tell the readers."""
        try:
            while not self.over:
                with suppress(StoreError):
                    await run_in_threadpool(self.look)
                self._tell()
                if not self.over:
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            if not self.over:
                self._cut()
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All bytes from the first on, as they come, until the end."""
        offset = 0
        while True:
            news = self._news
            while offset < self.end:
                piece = await run_in_threadpool(self.read, offset)
                if not piece:
                    self._cut()  # the disk lost it
                    return
                offset += len(piece)
                yield piece
            if self.over and offset >= self.end:
                return
            if news is self._news:
                await news.wait()

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class Growths:
    """The videos that are read while they are made."""

    def __init__(self, folder: Folder, feed: Feed) -> None:
        self._folder, self._feed = folder, feed
        self._open: dict[str, Growth] = {}

    def __len__(self) -> int:
        """How many readers there are."""
        return sum(growth.readers for growth in self._open.values())

    async def open(self, id: str) -> GrowingVideo | None:
        """The video of a job for one more reader; None if nothing of it can be played."""
        fresh = Growth(self._folder, self._feed, id)
        if not self._is_open(id):
            await run_in_threadpool(fresh.look)
            if not fresh.end or fresh.over:
                fresh.close()
                return None
        if self._is_open(id):  # somebody was quicker
            fresh.close()
        else:
            self._open[id] = fresh
            fresh.task = asyncio.ensure_future(fresh.follow())
        growth = self._open[id]
        growth.readers += 1
        return GrowingVideo(self, growth)

    def _is_open(self, id: str) -> bool:
        return id in self._open and not self._open[id].over

    async def leave(self, growth: Growth) -> None:
        """A reader is gone; with the last one the file is closed."""
        growth.readers -= 1
        if growth.readers:
            return
        if self._open.get(growth.id) is growth:
            del self._open[growth.id]
        if growth.task is not None:
            growth.task.cancel()
            with suppress(asyncio.CancelledError):
                await growth.task
        growth.close()


class GrowingVideo(Response):
    """A growing video as the answer to a request.

    It ends in order when the video is complete, failed or was cancelled, as far as it came; it breaks off, without the
    last chunk, where bytes are missing or the server ends.
    """

    def __init__(self, growths: Growths, growth: Growth) -> None:
        super().__init__(headers=HEADERS, media_type=growth.type)
        del self.headers["content-length"]
        self._growths, self._growth = growths, growth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(left(receive))
        sending = asyncio.ensure_future(self._send(scope["method"], send))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending
            await self._growths.leave(self._growth)

    async def _send(self, method: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if method != "HEAD":
            async for piece in self._growth.pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self._growth.whole or method == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
