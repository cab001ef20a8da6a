"""A server on a free port, with a worker that makes every video the same small one; for tests with real clients."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image

from wan22.jobs.folder import Folder
from wan22.jobs.store import Store
from wan22.media.video import VideoWriter, probe
from wan22.server.app import create_app
from wan22.server.settings import Settings

SIZE, FPS, FRAMES = (64, 32), 8, 8


def small_video(path: Path, frames: int = FRAMES, size=SIZE) -> Path:
    """A grey ramp that grows brighter, frame by frame."""
    ramp = np.linspace(0, 120, size[0])[None, :, None].repeat(size[1], 0).repeat(3, 2)
    with VideoWriter(path, fps=FPS, size=size) as writer:
        writer.add(np.stack([ramp + 8 * turn for turn in range(frames)]).astype(np.uint8))
    return path


@dataclass
class Worker:
    """Claims jobs and completes them at once; `hold` keeps it from its last step, `break_with` fails the next job."""

    folder: Folder
    store: Store
    hold: threading.Event = field(default_factory=threading.Event)
    break_with: tuple[str, str] | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def holding(self) -> Generator[None]:
        """Hold what comes next: not a job that an earlier test left, for which nobody would wait."""
        while (count := self.store.count())["queued"] or count["running"]:
            time.sleep(0.01)
        self.hold.set()
        try:
            yield
        finally:
            self.hold.clear()

    def work(self) -> None:
        while not self.over.wait(0.01):
            claim = self.store.claim("fake")
            if claim is not None:
                self._make(claim)

    def _make(self, claim) -> None:
        alive = self.store.record(claim, {"type": "progress", "step": 1, "steps": 2, "fraction": 0.5}, step=1)
        while alive and self.hold.is_set() and not self.over.is_set():
            if (signal := self.store.heartbeat(claim)) != "run":
                self.store.release(claim, signal=signal)
                return
            self.over.wait(0.02)
        if self.break_with is not None:
            self.store.fail(claim, *self.break_with)
            self.break_with = None
            return
        self.finish(claim)

    def finish(self, claim, frames: int = FRAMES) -> None:
        """Complete a job with a small video and its stills."""
        place = self.folder.job(claim.job.id)
        place.mkdir(exist_ok=True)
        video = small_video(place / "video.mp4", frames)
        stills = []
        for name in ("thumbnail.webp", "spritesheet.webp"):
            Image.new("RGB", (8, 4)).save(place / name)
            digest = hashlib.sha256((place / name).read_bytes()).hexdigest()
            stills.append({"name": name, "type": "image/webp", "sha256": digest})
        info, content = probe(video), video.read_bytes()
        file = {
            "name": "video.mp4", "type": "video/mp4", "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(), "width": info.width, "height": info.height,
            "frames": info.frames, "fps": info.fps, "seconds": info.seconds,
        }  # fmt: skip
        self.store.complete(claim, {"files": [file], "stills": stills, "seconds": 0.5})


@dataclass
class Live:
    """What a test has of a server: its address, the store and folder behind it, and its worker."""

    url: str
    folder: Folder
    store: Store
    worker: Worker
    app: FastAPI
    http: httpx2.Client


@contextmanager
def serving(
    place: Path, settings: Settings | None = None, operator: dict | None = None, *, works: bool = True
):
    """Run a server and its worker, if it `works`; all of it has ended when this returns."""
    folder = Folder(place / "data")
    if operator is not None:
        (folder.path / "operator.json").write_text(json.dumps(operator))
    app = create_app(folder, settings or Settings())
    store = app.state.store
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    worker = Worker(folder, store)
    targets = (server.run, worker.work) if works else (server.run,)
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    try:
        while not server.started:
            worker.over.wait(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        with httpx2.Client(base_url=url, timeout=120) as http:
            yield Live(url, folder, store, worker, app, http)
    finally:
        worker.over.set()
        server.should_exit = True
        for thread in threads:
            thread.join(120)
