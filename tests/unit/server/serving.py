"""An application of the server over a folder of its own, for tests in this process; and a worker that is a thread."""

import hashlib
import json
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import uvicorn
from fastapi.testclient import TestClient

from wan22.jobs.folder import Folder
from wan22.jobs.supervisor import WorkerStatus
from wan22.server.app import create_app
from wan22.server.pages import BUILT
from wan22.server.serve import listen, server_config
from wan22.server.settings import Settings

SETTINGS = Settings()


class Ready:
    """Workers that are there and do nothing."""

    def __init__(self, ready=True):
        self.ready = ready

    def status(self):
        return [WorkerStatus("cpu0", "cpu", "idle" if self.ready else "starting")]


@contextmanager
def serving(path, supervisor=None, built=BUILT, **settings):
    """A client of a new application; `client.app.state` is what it holds."""
    app = create_app(Folder(path), replace(SETTINGS, **settings), supervisor or Ready(), built=built)
    with TestClient(app, base_url="http://localhost:8022", raise_server_exceptions=False) as client:
        yield client


@contextmanager
def listening(path, supervisor=None, **settings):
    """A new application behind a port of this machine, in a thread: the port, and the application."""
    app = create_app(Folder(path), replace(SETTINGS, **settings), supervisor or Ready())
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(app))
    server.capture_signals = nullcontext
    thread = in_thread(server.run, [listener])
    try:
        yield listener.getsockname()[1], app
    finally:
        app.state.feed.end()
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


def make(store, folder, steps=3, result=None, wait=None):
    """What a worker does with the next job; `wait` is called between steps. The job's id, or None without one."""
    claim = store.claim("cpu0", lease=60)
    if claim is None:
        return None
    for step in range(1, steps + 1):
        store.record(
            claim, {"type": "progress", "step": step, "steps": steps, "fraction": step / steps}, step=step
        )
        if wait is not None:
            wait(step)
    files = {"video.mp4": b"0123456789" * 100} if result is None else result
    place = folder.job(claim.job.id)
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    rows = [
        {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]
    store.complete(claim, {"files": rows})
    return claim.job.id


def events_of(lines):
    """(id, event, data) of every event of a stream of lines; comments are left out."""
    found, entry = [], {}
    for line in lines:
        if not line:
            if "data" in entry:
                found.append(
                    (int(entry["id"]) if "id" in entry else None, entry["event"], json.loads(entry["data"]))
                )
            entry = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            entry[name] = value
    return found


def in_thread(function, *arguments):
    """Run a function in a thread, and return the thread."""
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread
