"""`wan22 serve`: a server of jobs, for this machine or for others. Its options are those of `wan22 studio` too."""

from __future__ import annotations

import json as json_text
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wan22.cli import options as o
from wan22.client import PORT
from wan22.errors import OptionError

if TYPE_CHECKING:
    from wan22.server.settings import Settings

_MB = 1_000_000
HERE = "local"
"""What `--fleet` without an address stands for."""


@dataclass(frozen=True)
class Serving:
    """How a server is run, as it is typed: a field is an option."""

    port: Annotated[int, typer.Option(metavar="P", help="The port to listen on; 0 takes a free one.")] = PORT
    host: Annotated[
        str,
        typer.Option(metavar="H", help="The address to listen on. Any but this machine's own needs a token."),
    ] = "127.0.0.1"
    data: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Where jobs, uploads and results are kept; made if it is not there."
        ),
    ] = Path("wan22-data")
    devices: Annotated[
        str,
        typer.Option(
            metavar="D,D,...",
            help="A worker on each: auto (the fastest here), cpu, cuda:0,cuda:1. One on two: cuda:0+cuda:1.",
        ),
    ] = "auto"
    fleet: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Workers on the machines of this Ray cluster, or without an address on a Ray that is started here; "
            "--devices are of each machine. See docs/scaling.md.",
            show_default="none",
        ),
    ] = None
    fleet_shared: Annotated[
        bool,
        typer.Option("--fleet-shared", help="Every machine of the fleet sees --data under the same path."),
    ] = False
    models: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="The models that requests may name; the first is the default."),
    ] = "nano,nano-s2v"
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The token that every client must say.",
            show_default="FOLDER/token, if it is there",
        ),
    ] = None
    new_token: Annotated[bool, typer.Option("--new-token", help="Make FOLDER/token, if it is not there.")] = (
        False
    )
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name that the server is called by, as behind a proxy."),
    ] = None
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A web page's origin that may call it, such as https://a.example."),
    ] = None
    allow_url_inputs: Annotated[
        bool, typer.Option("--allow-url-inputs", help="Let requests name images and videos on the web.")
    ] = False
    max_upload: Annotated[
        int, typer.Option(metavar="MB", min=1, help="The most that one request may send.")
    ] = 512
    speech_server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A speech server in place of espeak.", show_default="espeak"),
    ] = None
    audio_server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A server that makes music and effects.", show_default="none"),
    ] = None
    audio_workflow: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With it the audio server is a ComfyUI: the workflow that it runs."
        ),
    ] = None
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every request.")] = False
    json: o.Json = False

    def settings(self) -> Settings:
        """What the server gets. Raises OptionError for what it cannot be."""
        from wan22.server.serve import split, with_token
        from wan22.server.settings import Settings

        if not 0 <= self.port <= 65535:
            raise OptionError(f"--port must be from 0 to 65535, not {self.port}")
        found = Settings(
            host=self.host, port=self.port, devices=split([self.devices]), models=_known(split([self.models])),
            allow_hosts=split(self.allow_host or ()), allow_origins=split(self.allow_origin or ()),
            fleet=self._fleet(), fleet_shared=self.fleet_shared,
            allow_url_inputs=self.allow_url_inputs, max_upload=self.max_upload * _MB,
            speech_server=self.speech_server, audio_server=self.audio_server, audio_workflow=self.audio_workflow,
        )  # fmt: skip
        self._check_servers()
        return with_token(self.data, found, file=self.token_file, new=self.new_token)

    def _fleet(self) -> str | None:
        """The address of the cluster, "" for one that is started here, None without."""
        if self.fleet is None:
            if self.fleet_shared:
                raise OptionError("--fleet-shared is for the machines that --fleet names; give both")
            return None
        from wan22.fleet.cluster import check_address

        address = "" if self.fleet == HERE else self.fleet
        check_address(address)
        return address

    def _check_servers(self) -> None:
        """Raise OptionError for the address of another server, or a workflow, that is none."""
        if self.audio_workflow is not None and self.audio_server is None:
            raise OptionError("--audio-workflow is for the server that --audio-server names; give both")
        if self.audio_server is not None:
            from wan22.media.audio_server import open_audio_server

            open_audio_server(self.audio_server, self.audio_workflow)
        if self.speech_server is not None:
            from wan22.media.say import ServerSynthesizer

            ServerSynthesizer(self.speech_server)

    def announce(self, url: str, token: Path | None) -> None:
        """Say where the server listens."""
        where = self.token_file or token
        if self.json:
            said = {
                "event": "serving",
                "url": url,
                "data": str(self.data),
                "token": str(where) if where else None,
            }
            typer.echo(json_text.dumps(said))
        else:
            typer.echo(f"serving {self.data} at {url}" + (f"; the token is in {where}" if where else ""))


def run(said: Serving, ready: Callable[[str, Settings], None] | None = None) -> None:
    """Serve until a signal ends it. `ready` is called with the address and the settings, once it listens."""
    from wan22.media.provenance import Marking
    from wan22.server.serve import serve as serve_folder

    level = logging.INFO if said.verbose else logging.WARNING
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=level)
    settings = said.settings()
    Marking.asked().check()

    def announce(url: str, token: Path | None) -> None:
        said.announce(url, token)
        if ready is not None:
            ready(url, settings)

    serve_folder(said.data, settings, announce)


@o.of_group(Serving)
def serve(said: Serving) -> None:
    """Serve jobs over HTTP: an own API, and one as OpenAI's for videos. See docs/server.md.

    Ends with Ctrl-C or SIGTERM: what was computed is kept, and goes on at the next start.
    """
    run(said)


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    """The models by their names in the catalogue. Raises OptionError for one that is not there."""
    from wan22.catalog import ALIASES, rows
    from wan22.errors import choose

    if not names:
        raise OptionError("--models names one model or more, such as nano")
    return tuple(choose("model", ALIASES.get(name, name), tuple(rows())) for name in names)
