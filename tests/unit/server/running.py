"""The server on a free port of this machine, with a worker that does what a test tells it, for tests of clients."""

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn

from wan22.jobs.folder import Folder
from wan22.server.app import create_app
from wan22.server.contents import TYPES
from wan22.server.settings import Settings

STEPS = 3


class Running:
    """A server, its address, and a worker beside it: `hold` keeps it in its first step, `error` lets jobs fail."""

    def __init__(self, folder, settings):
        self.folder, self.over, self.hold = Folder(folder), threading.Event(), threading.Event()
        self.measured = lambda job: {"axes": [], "failed": [], "matched": []}
        self.error, self.files = None, {"video.mp4": b"0123456789" * 1000}
        self.app = create_app(self.folder, settings)
        self.store = self.app.state.store
        config = uvicorn.Config(self.app, host="127.0.0.1", port=0, log_config=None, ws="none", lifespan="on")
        self.server = uvicorn.Server(config)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def work(self):
        """Make one job after another."""
        with self.folder.open_store(check=False) as store:
            while not self.over.wait(0.01):
                claim = store.claim("cpu0")
                if claim is not None:
                    self.make(store, claim)

    def make(self, store, claim):
        """Make one job: what a worker says of it, and its files."""
        if claim.job.kind == "measure":
            store.complete(claim, {"files": [], "measured": self.measured(claim.job)})
            return
        store.record(claim, {"type": "phase", "name": "denoise", "detail": ""})
        store.record(claim, {"type": "note", "text": "a note of the worker"})
        for step in range(1, STEPS + 1):
            said = {"type": "progress", "step": step, "steps": STEPS, "expert": "high", "sigma": 1 / step}
            store.record(claim, said | {"clip": 1, "clips": 1, "left": 1.0, "seconds": 0.25}, step=step)
            while True:
                if (signal := store.heartbeat(claim)) != "run":
                    store.release(claim, signal=signal)
                    return
                if self.over.wait(0.01) or not self.hold.is_set():
                    break
        store.record(claim, {"type": "frames", "done": 9, "total": 9})
        if self.error is not None:
            store.fail(claim, *self.error)
            return
        place = self.folder.job(claim.job.id)
        place.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (place / name).write_bytes(content)
        files = [
            {
                "name": name,
                "type": TYPES[Path(name).suffix],
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for name, content in self.files.items()
        ]
        store.complete(claim, {"files": files, "recipe": {"prompt": claim.job.request["prompt"]}})


@contextmanager
def running(folder, **settings):
    """A server of that folder with a worker; both have ended when this returns."""
    here = Running(folder, replace(Settings(), **settings))
    threads = [threading.Thread(target=each, daemon=True) for each in (here.server.run, here.work)]
    for thread in threads:
        thread.start()
    try:
        while not here.server.started:
            assert threads[0].is_alive(), "the server did not start"
            here.over.wait(0.01)
        yield here
    finally:
        here.over.set()
        here.server.should_exit = True
        for thread in threads:
            thread.join(120)
