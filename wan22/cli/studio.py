"""`wan22 studio`: the server with its studio, and a browser that shows it."""

from __future__ import annotations

import html
import os
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wan22.cli import options as o
from wan22.cli.serve import Serving, run

if TYPE_CHECKING:
    from wan22.server.settings import Settings

DOOR = "open-studio.html"
"""A page in the data folder, for its owner alone, that leads to the studio with the token."""


@dataclass(frozen=True)
class Studio(Serving):
    """As `wan22 serve`, and a browser."""

    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Open no browser; the address is printed.")
    ] = False


@o.of_group(Studio)
def studio(said: Studio) -> None:
    """Open the studio in a browser: make videos, look through them, cut them. See docs/studio.md.

    It is `wan22 serve` with all its options. Ends with Ctrl-C: what was computed is kept.
    """
    run(said, None if said.no_browser else lambda url, settings: _open(address(said.data, url, settings)))


def address(data: Path, url: str, settings: Settings) -> str:
    """What the browser opens: the studio, or where there is a token, a file that leads there.

    A token in the browser's command line could be read by every user of the machine.
    """
    for everywhere, here in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        url = url.replace(everywhere, here)
    if settings.token is None:
        return f"{url}/"
    door = data.absolute() / DOOR
    target = html.escape(f"{url}/#token={settings.token}")
    door.unlink(missing_ok=True)
    door.touch(mode=0o600)
    door.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0;url={target}"><title>wan22</title><a href="{target}">wan22</a>\n',
        encoding="utf-8",
    )
    return door.as_uri()


def _open(where: str) -> None:
    """Show an address in the browser; the server goes on meanwhile, for some browsers end only when they are closed."""

    def show() -> None:
        if not (_has_window() and webbrowser.open(where)):
            typer.echo(f"note: no browser was found; open {where}", err=True)

    threading.Thread(target=show, name="browser", daemon=True).start()


def _has_window() -> bool:
    """Whether the browser is not one of those that would take the terminal, unless the user asks for it."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    return "BROWSER" in os.environ or type(browser) is not webbrowser.GenericBrowser
