"""The server under load, on this machine: answers, lists, streams of events, and what a generation loses by it.

    python -m bench.serving                  everything, with toy jobs and the embedded model
    python -m bench.serving --no-model       without the embedded model

Prints a table: POST one after the other and from 16 clients at once while 200 streams are open, a list of 10,000 jobs,
how many of 200 streams saw every event of a job and its end, and a generation with and without the load, in turn.
The clients run on the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from wan22.jobs.folder import Folder

PROGRAM = """
import json, sys
from pathlib import Path
from wan22.server.serve import serve
from wan22.server.settings import Settings
settings = Settings(port=0, devices=("cpu",), runner=json.loads(sys.argv[2]))
serve(Path(sys.argv[1]), settings, lambda url, token: print(url, flush=True))
"""
TOY = "bench.toy_jobs:toy"
CLIENTS, STREAMS, JOBS = 16, 200, 10_000


class Server:
    """A server process over a folder."""

    def __init__(self, folder: Path, runner: str | None) -> None:
        self.folder = Folder(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), json.dumps(runner)],
            stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and JSON of a request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            return self.on(connection, path, body)
        finally:
            connection.close()

    @staticmethod
    def on(
        connection: http.client.HTTPConnection, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        said = None if body is None else json.dumps(body)
        connection.request(
            "GET" if body is None else "POST", path, said, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def wait(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait for a condition."""
        end = time.monotonic() + 600
        while time.monotonic() < end:
            if found := holds():
                return found
            time.sleep(0.05)
        raise TimeoutError(what)


@contextmanager
def running(folder: Path, runner: str | None) -> Generator[Server]:
    """A server that is ready; ended in order."""
    server = Server(folder, runner)
    try:
        server.wait(lambda: server.ask("/readyz")[0] == 200, "a worker")
        yield server
        server.process.send_signal(signal.SIGTERM)
        print(f"{'exit code after SIGTERM':52} {server.process.wait(30)}")
    finally:
        server.process.kill()
        server.process.wait()


class Streams:
    """Open streams of events, in a process of its own: how many events each had, and how each ended."""

    def __init__(self, server: Server, path: str, number: int) -> None:
        self.got: list[list[int]] = []
        self.ends: list[str] = []
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_read_all, args=(theirs, server.port, path, number), daemon=True
        )
        self._process.start()
        theirs.close()
        if not self._pipe.poll(60) or self._pipe.recv() != "open":
            raise TimeoutError("the streams did not open")

    def close(self) -> None:
        """Close them all."""
        self._pipe.send("close")
        self._process.join(30)

    def join(self) -> None:
        """Wait until the server has ended every stream."""
        if not self._pipe.poll(300):
            raise TimeoutError("the streams did not end")
        self.got, self.ends = self._pipe.recv()
        self._process.join(30)


def _read_all(pipe: Connection, port: int, path: str, number: int) -> None:
    """Read so many streams until they end, or until the pipe says so."""
    got: list[list[int]] = [[] for _ in range(number)]
    ends = [""] * number

    async def read(at: int, opened: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        async for line in reader:
            if line.startswith(b": open"):
                opened.set()
            if line.startswith(b"id: "):
                got[at].append(int(line[4:]))
            if line.startswith(b"data: ") and b'"state":"completed"' in line:
                ends[at] = "completed"
        writer.close()

    async def all_of_them() -> None:
        opened = [asyncio.Event() for _ in range(number)]
        reading = asyncio.gather(*(read(at, event) for at, event in enumerate(opened)))
        for event in opened:
            await event.wait()
        pipe.send("open")
        told = asyncio.ensure_future(asyncio.to_thread(pipe.recv))
        await asyncio.wait((reading, told), return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            os._exit(0)  # its connections end with it
        pipe.send((got, ends))
        os._exit(0)  # a thread waits for the pipe

    asyncio.run(all_of_them())


def post_times(server: Server, clients: int, each: int) -> list[float]:
    """Seconds of every POST of so many clients at once."""
    times: list[float] = []

    def post(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for number in range(each):
            begun = time.perf_counter()
            status, _ = server.on(
                connection, "/v1/jobs", {"request": {"prompt": f"ball {client} {number}"}, "paused": True}
            )
            times.append(time.perf_counter() - begun)
            assert status == 201, status
        connection.close()

    threads = [threading.Thread(target=post, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def show(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    p50, p95 = statistics.median(ordered), ordered[int(0.95 * len(ordered))]
    print(f"{name:52} p50 {1000 * p50:.1f} ms, p95 {1000 * p95:.1f} ms of {len(times)}")


def answers(server: Server) -> None:
    """POST alone, and from many clients while streams are open; a long list."""
    show("POST, one client", post_times(server, 1, 100))
    show(f"POST, {CLIENTS} clients", post_times(server, CLIENTS, 25))
    streams = Streams(server, "/v1/events", STREAMS)
    show(f"POST, {CLIENTS} clients, {STREAMS} streams of all events", post_times(server, CLIENTS, 25))
    streams.close()
    with server.folder.open_store(check=False) as store:
        have = sum(store.count().values())
        for number in range(JOBS - have):
            store.add("video", {"prompt": f"ball {number}", "model": "nano"}, state="paused")
    process, times = psutil.Process(server.process.pid), []
    time.sleep(3)  # the events of all that was added are read
    before = process.cpu_times().user
    for _ in range(9):
        begun = time.perf_counter()
        with urlopen(f"http://127.0.0.1:{server.port}/v1/jobs?limit={JOBS}") as answer:
            page = answer.read()
        times.append(time.perf_counter() - begun)
        assert len(json.loads(page)["data"]) == JOBS
    show(f"list of {JOBS:,} jobs, to its last byte", times)
    print(f"{'its CPU time in the server':52} {1000 * (process.cpu_times().user - before) / 9:.0f} ms")
    show("list of 100 of them", [_timed(lambda: server.ask("/v1/jobs")) for _ in range(20)])


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def watched(server: Server) -> None:
    """A toy job with 200 streams: whether each saw every event and the end."""
    with server.folder.open_store(check=False) as store:
        job = store.add("video", {"prompt": "a", "steps": 50, "pause": 0.05}, priority=5)
        streams = Streams(server, f"/v1/jobs/{job.id}/events", STREAMS)
        streams.join()
        events = [event.n for event in store.events(job=job.id)]
    whole = sum(got == events for got in streams.got)
    ended = streams.ends.count("completed")
    print(
        f"{'streams that saw every event and the end':52} {whole} and {ended} of {STREAMS}, {len(events)} events each"
    )


def slowed(server: Server, rounds: int) -> None:
    """A generation alone and under load, in turn: its seconds, and the ratio of medians."""
    spent: dict[bool, list[float]] = {False: [], True: []}
    for loaded in [False, *[True, False] * rounds]:  # the first warms up
        streams = Streams(server, "/v1/events", STREAMS) if loaded else None
        status, job = server.ask(
            "/v1/jobs", {"request": {"prompt": "a red ball bounces", "seed": 1}, "priority": 5}
        )
        assert status == 201, job
        path = f"/v1/jobs/{job['id']}"
        done = server.wait(
            lambda path=path: (j := server.ask(path)[1])["state"] == "completed" and j, "a video"
        )
        spent[loaded].append(done["spent"])
        if streams is not None:
            streams.close()
    free, busy = statistics.median(spent[False][1:]), statistics.median(spent[True])
    print(f"{'a generation, alone':52} {free:.2f} s of {[round(x, 2) for x in spent[False][1:]]}")
    print(
        f"{f'a generation, {STREAMS} streams open':52} {busy:.2f} s of {[round(x, 2) for x in spent[True]]}"
    )
    print(f"{'ratio':52} {busy / free:.3f}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-model", action="store_true", help="leave the generation out")
    parser.add_argument("--rounds", type=int, default=3)
    said = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), TOY) as server:
        watched(server)
        answers(server)
    if not said.no_model:
        with tempfile.TemporaryDirectory() as folder, running(Path(folder), None) as server:
            slowed(server, said.rounds)


if __name__ == "__main__":
    main()
