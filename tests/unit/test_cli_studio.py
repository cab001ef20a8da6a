"""`wan22 studio`: the options of `wan22 serve`, and a browser that is led there without showing the token."""

import re
import threading
import webbrowser

import pytest

from wan22.cli import serve as serving
from wan22.cli import studio as opened
from wan22.cli.__main__ import main
from wan22.cli.app import program
from wan22.server.settings import Settings

TOKEN = "0123456789abcdef" * 4


def test_the_studio_has_the_options_of_the_server():
    serve, studio = (
        {
            option.name: (option.opts, option.default, option.help)
            for option in program().commands[name].params
        }
        for name in ("serve", "studio")
    )
    assert studio.pop("no_browser")[0] == ["--no-browser"]
    assert studio == serve and len(serve) > 10


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8722", "http://127.0.0.1:8722/"),
        ("http://0.0.0.0:80", "http://127.0.0.1:80/"),
        ("http://[::]:80", "http://[::1]:80/"),
        ("http://gpu.example:80", "http://gpu.example:80/"),
    ],
)
def test_the_browser_goes_where_the_server_can_be_reached(tmp_path, url, shown):
    assert opened.address(tmp_path, url, Settings()) == shown
    assert list(tmp_path.iterdir()) == []


def test_a_token_goes_by_a_file_that_only_its_owner_reads(tmp_path):
    (tmp_path / opened.DOOR).write_text("an older one")
    where = opened.address(tmp_path, "http://127.0.0.1:8722", Settings(token=TOKEN))
    door = tmp_path / opened.DOOR
    assert where == door.as_uri() and TOKEN not in where
    assert door.stat().st_mode & 0o777 == 0o600
    assert f"url=http://127.0.0.1:8722/#token={TOKEN}" in door.read_text()


class Browser(webbrowser.BaseBrowser):
    def __init__(self):
        super().__init__("test")
        self.seen, self.there = [], threading.Event()

    def open(self, url, new=0, autoraise=True):
        self.seen.append(url)
        self.there.set()
        return True


@pytest.fixture
def browser(monkeypatch):
    found = Browser()
    monkeypatch.setattr(webbrowser, "get", lambda *_: found)
    monkeypatch.setattr(webbrowser, "open", found.open)
    return found


@pytest.mark.parametrize("options", [(), ("--no-browser",)])
def test_the_browser_opens_once_the_server_listens(tmp_path, monkeypatch, capsys, browser, options):
    import wan22.server.serve

    def serve(data, settings, announce):
        assert browser.seen == []
        announce("http://127.0.0.1:4567", None)

    monkeypatch.setattr(wan22.server.serve, "serve", serve)
    assert main(["studio", "--data", str(tmp_path), *options]) == 0
    assert f"serving {tmp_path} at http://127.0.0.1:4567" in capsys.readouterr().out
    if options:
        assert browser.seen == []
    else:
        assert browser.there.wait(120) and browser.seen == ["http://127.0.0.1:4567/"]


def test_a_browser_of_the_terminal_is_not_opened(monkeypatch):
    monkeypatch.delenv("BROWSER", raising=False)
    monkeypatch.setattr(webbrowser, "get", lambda *_: webbrowser.GenericBrowser("w3m"))
    assert not opened._has_window()
    monkeypatch.setenv("BROWSER", "w3m")
    assert opened._has_window()


def test_both_commands_refuse_the_same(tmp_path, capsys):
    for command in ("serve", "studio"):
        assert main([command, "--data", str(tmp_path), "--port", "70000"]) == 2
        assert re.search("--port must be from 0 to 65535", capsys.readouterr().err)
    assert serving.Serving().port == opened.Studio().port
