"""A server as a process: its data folder, its port, its workers, and its end.

SIGTERM or Ctrl-C ends it in order: new requests get 503, streams of events are told, workers keep what they have
computed and give their jobs back, and the process ends with 0. A second signal ends it at once; the workers follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from wan22.errors import OptionError, OutputError
from wan22.jobs.folder import Folder
from wan22.jobs.supervisor import Fleet, Supervisor
from wan22.jobs.task import MEDIA
from wan22.server.app import create_app
from wan22.server.guard import is_loopback, strong

if TYPE_CHECKING:
    from fastapi import FastAPI

    from wan22.server.settings import Settings

_LOG = logging.getLogger("wan22.server")
_ANSWERS_SECONDS = 2  # for answers that are on their way when the workers have ended
_HEADER_BYTES = 32 << 10
_BACKLOG = 1024


def serve(data: Path, settings: Settings, announce: Callable[[str, Path | None], None]) -> None:
    """Serve the data folder until a signal ends it. `announce` gets the address and the token's file, once it listens.

    Raises OutputError, StoreError or OptionError, before anything is begun, for what stands in the way.
    """
    folder = Folder(data)
    with folder.lock(), contextlib.closing(listen(settings.host, settings.port)) as listener:
        supervisor = _supervisor(folder, settings)
        app = create_app(folder, settings, supervisor)
        for place in folder.sweep(app.state.store):
            _LOG.warning("%s was of no job, and is kept there", place)
        supervisor.start()
        try:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = f"http://{host}:{listener.getsockname()[1]}"
            token = folder.path / "token" if settings.token else None
            _Server(app, supervisor, settings, lambda: announce(url, token)).run([listener])
        finally:
            supervisor.stop(settings.drain_seconds)


def _supervisor(folder: Folder, settings: Settings) -> Supervisor:
    """The workers: of this machine's devices, or of a fleet's."""
    fleet, devices = None, settings.devices
    if settings.fleet is not None:
        fleet, devices = Fleet(settings.fleet, settings.devices, settings.fleet_shared), ()
    return Supervisor(folder.path, devices, runner=settings.runner, media=MEDIA, fleet=fleet)


def with_token(data: Path, settings: Settings, *, file: Path | None = None, new: bool = False) -> Settings:
    """The settings with the token of the folder, or that in `file`; `new` makes the folder's, if it has none.

    Raises OptionError where a server without one would be open to others, and for a token that could be guessed.
    """
    own = data / "token"
    if file is None and (new or own.exists()):
        return replace(settings, token=_checked(Folder(data).token(), own))
    if file is not None:
        try:
            return replace(settings, token=_checked(file.read_text(encoding="utf-8").strip(), file))
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"the token file {file} cannot be read: {error}") from None
    if not is_loopback(settings.host):
        raise OptionError(
            f"{settings.host} can be reached from other machines, and there is no token. Make one with --new-token, or "
            "name a file with --token-file"
        )
    return settings


def _checked(token: str, file: Path) -> str:
    if not strong(token):
        raise OptionError(
            f"the token in {file} is too weak: it must be 43 to 512 letters, digits or . _ ~ + / = - (256 bits). Make "
            "one with python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises OutputError in one line if that cannot be."""
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError, OverflowError):
        raise OptionError(
            f"{where} is no address of this machine; 127.0.0.1 is, and 0.0.0.0 for all of it"
        ) from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        taken = "another program listens there; choose another --port, or 0 for a free one"
        raise OutputError(
            f"cannot listen on {where}: {taken if error.errno == errno.EADDRINUSE else error.strerror}"
        ) from None
    return listener


def server_config(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app, lifespan="on", ws="none", log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=_ANSWERS_SECONDS, h11_max_incomplete_event_size=_HEADER_BYTES,
    )  # fmt: skip


class _Server(uvicorn.Server):
    """uvicorn with an end of our own: it has none for streams that stay open."""

    def __init__(
        self, app: FastAPI, supervisor: Supervisor, settings: Settings, ready: Callable[[], None]
    ) -> None:
        super().__init__(server_config(app))
        self._state, self._supervisor, self._seconds, self._ready = (
            app.state,
            supervisor,
            settings.drain_seconds,
            ready,
        )
        self._end: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take signals in the loop, from the first moment on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def _signalled(self, number: signal.Signals) -> None:
        if self._end is None:
            self._end = asyncio.ensure_future(self._drain())
            return
        sys.stderr.write("ended at once\n")
        sys.stderr.flush()
        os._exit(128 + number)  # the workers' standard input ends, and they with it

    async def _drain(self) -> None:
        self._state.draining = True
        self._state.feed.end()
        ended = await asyncio.to_thread(self._supervisor.stop, self._seconds)
        if not ended:
            _LOG.warning(
                "a worker did not end in %g s, and was killed; its job goes on at the next start",
                self._seconds,
            )
        self.should_exit = True


def split(said: Sequence[str]) -> tuple[str, ...]:
    """Names that may be said with commas, several times."""
    return tuple(name.strip() for each in said for name in each.split(",") if name.strip())
