"""What those who ask servers share. Good, slow, busy and absent servers are in test_extend.py and test_say.py."""

import socket
import threading
from contextlib import contextmanager

import pytest

from wan22 import web

WORDING = web.Wording("test server", " of nothing", "Wait", "Look elsewhere", "Ask otherwise")


@contextmanager
def answering(content):
    """A server that reads each request to the end of its headers, answers these bytes, and hangs up."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:  # closed
                    return
                with caller:
                    asked.append(caller.recv(1 << 16))
                    caller.sendall(content)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(120)


def ask(server, body=None, **options):
    return server.ask(body, 1e9, **options)


def test_without_a_body_it_gets_and_the_kind_of_the_answer_is_told():
    with answering(b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav; x=1\r\nContent-Length: 3\r\n\r\nabc") as (
        url,
        asked,
    ):
        server = web.Server(url, WORDING, "sk-1")
        assert ask(server, path="/models", accept="audio/*") == (b"abc", "audio/wav")
    request = asked[0].decode()
    assert request.startswith("GET /models HTTP/1.1\r\n")
    assert "Authorization: Bearer sk-1\r\n" in request and "Accept: audio/*\r\n" in request
    assert "Content-Type" not in request


def test_an_answer_in_chunks_without_its_end_broke_off():
    with answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n") as (url, _):
        with pytest.raises(web.WebError, match="broke off in the middle"):
            ask(web.Server(url, WORDING))


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("400 Bad", "Ask otherwise"),
        ("401 Who", "Give the key that this server wants"),
        ("404 Gone", "Look elsewhere"),
        ("500 Ill", "The server failed; see its log"),
        ("503 Full", "It is busy; wait, or give it less to do"),
    ],
)
def test_a_refusal_whose_words_break_off_is_still_a_refusal(status, advice):
    cut = b"Transfer-Encoding: chunked\r\n\r\nffff\r\nno"
    with answering(f"HTTP/1.1 {status}\r\n".encode() + cut) as (url, _):
        with pytest.raises(web.WebError) as error:
            ask(web.Server(url, WORDING, back_off=()))
    assert str(error.value).startswith(f"{url} answers {status}") and str(error.value).endswith(f". {advice}")


def test_no_part_of_a_key_is_shown():
    server = web.Server("http://localhost", WORDING, "sk-secret")
    assert server.shown(b"no sk-secret,\n sk-secret") == "no ***, ***"
    assert "sk-s" not in server.shown(b" " * 4092 + b"sk-secret")
    assert "sk-secret" not in repr(server)


@pytest.mark.parametrize("url", ["localhost:80", "ftp://host", "http://", "http://host:99999", "http://[::1"])
def test_an_address_that_is_none_is_refused_with_an_example(url):
    with pytest.raises(web.WebError, match=r"is no address of a test server") as error:
        web.parse_url(url, "test server", "http://example")
    assert repr(url) in str(error.value)


@pytest.mark.parametrize("url", ["http://me@host", "http://me:x@host", "http://host?key=1", "http://host#a"])
def test_an_address_with_a_secret_is_refused_without_repeating_it(url):
    with pytest.raises(web.WebError, match="holds no user, password or query") as error:
        web.parse_url(url, "test server", "http://example")
    assert url not in str(error.value)


def test_a_key_is_printable_and_has_no_spaces():
    assert web.is_key("sk-1~")
    assert not any(web.is_key(text) for text in ("", "a b", "a\n", "ключ"))
