"""What the operator of a server says: addresses, devices, models and limits. No client changes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan22.client import PORT

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How one server is run.

    host, port: where it listens; port 0 takes a free one. devices: a worker each; "auto" is the fastest here,
    "cuda:0+cuda:1" two that work together. models: those that a request may name; the first is the default. runner:
    MODULE:FUNCTION that makes the jobs; None for wan22's own. token: what every client must say, or None (only on
    loopback). allow_hosts, allow_origins: more names that it is called by, and pages that may call it. max_upload,
    max_body: bytes of a request with files, and of another; max_document: of a timeline or a storyboard. max_queued:
    jobs that wait at once. rate, burst: requests a second of one client in the long run, and at once. drain_seconds:
    how long the end may take. max_streams: open event streams. stream_buffer: events that wait for one slow stream
    before it is closed. speech_server, audio_server: addresses of servers that speak, and that make music and effects,
    the latter by audio_workflow if it is a ComfyUI; None: espeak speaks, and nothing makes these. fleet: HOST:PORT of a
    Ray cluster whose machines have the devices, "" for a Ray that is started here, None without; fleet_shared: they all
    see the data folder.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    devices: tuple[str, ...] = ("auto",)
    models: tuple[str, ...] = ("nano", "nano-s2v")
    runner: str | None = None
    token: str | None = None
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    allow_url_inputs: bool = False
    max_upload: int = 512 * MIB
    max_body: int = MIB
    max_document: int = 4 * MIB
    max_queued: int = 100_000
    rate: float = 1000.0
    burst: float = 4000.0
    max_streams: int = 2000
    stream_buffer: int = 1000
    drain_seconds: float = 20.0
    speech_server: str | None = None
    audio_server: str | None = None
    audio_workflow: Path | None = None
    fleet: str | None = None
    fleet_shared: bool = False
