"""Ask servers over HTTP with JSON: what the leaves that ask them share. What is asked and answered is theirs.

A server has one time for an answer with all its tries. A key comes from the caller and is told to nobody but the
server it is for: no redirect is followed, and no message repeats it.
"""

from __future__ import annotations

import http.client
import json
import queue
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Server", "WebError", "Wording", "excerpt", "is_key", "parse_url"]


class WebError(Exception):
    """Why there is no answer, or no address, without a full stop. Callers make it an error of their own."""


class _BusyError(WebError):
    """Worth another try."""


@dataclass(frozen=True)
class Wording:
    """What messages say of a server: its `kind` ("chat server"), and what would help, each without a full stop.

    `too_long` goes on after "answers with more than 4 MiB".
    """

    kind: str
    too_long: str
    too_slow: str
    not_found: str
    refused: str


@dataclass(frozen=True)
class Server:
    """A server at `url`. `timeout` seconds are what its messages tell; a deadline is given with every question.

    An absent or busy server is tried again after each pause of `back_off` seconds, and an answer has `most` bytes.
    """

    url: str
    wording: Wording
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    back_off: tuple[float, ...] = (0.5, 2.0)
    most: int = 4 << 20

    def ask(
        self,
        body: dict[str, Any] | None,
        deadline: float,
        *,
        path: str = "",
        accept: str = "application/json",
    ) -> tuple[bytes, str]:
        """Return the content of an answer and its kind ("audio/wav"): of POST `body`, or of GET without one.

        `deadline` is of `time.monotonic`. Raises WebError for a server that is down, slow, refuses, sends on,
        breaks off, or answers too much.
        """
        headers = {"Accept": accept, "User-Agent": "wan22"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, headers)
        for pause in self.back_off:
            try:
                return self._within(request, deadline)
            except _BusyError:
                if time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
        return self._within(request, deadline)

    def shown(self, content: bytes) -> str:
        """Return the beginning of an answer for a message; a server may repeat the key it was given."""
        if self.key is not None:
            content = content.replace(self.key.encode(), b"***")
        return excerpt(content[:4096].decode(errors="replace"))

    def _within(self, request: urllib.request.Request, deadline: float) -> tuple[bytes, str]:
        """Ask once, in a thread that is left to itself at the deadline.

        No timeout of a socket covers the look-up of a name, or a server that sends a byte now and then.
        """
        answers: queue.SimpleQueue[tuple[bytes, str] | BaseException] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._once(request, deadline))
            except BaseException as error:  # it belongs to the thread that waits
                answers.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise self._slow() from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _once(self, request: urllib.request.Request, deadline: float) -> tuple[bytes, str]:
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=max(0.01, deadline - time.monotonic())) as response:
                return self._body(response, deadline), response.headers.get_content_type()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from None
        except TimeoutError:
            raise self._slow() from None
        except (http.client.HTTPException, OSError) as error:
            raise WebError(f"{self.url} broke off in the middle: {error or type(error).__name__}") from None

    def _body(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        content = bytearray()
        while piece := response.read1(1 << 16):  # what is there, so that the deadline is seen
            content += piece
            if len(content) > self.most:
                raise WebError(
                    f"{self.url} answers with more than {self.most >> 20} MiB{self.wording.too_long}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError
        if response.length:  # what the header promised and never came
            raise http.client.IncompleteRead(bytes(content), response.length)
        return bytes(content)

    def _refused(self, error: urllib.error.HTTPError) -> WebError:
        try:
            said = self.shown(error.read(4096))
        except (http.client.HTTPException, OSError):  # what it refuses is said by the code
            said = ""
        told = f"{self.url} answers {error.code} {error.reason}" + (f": {said}" if said else "")
        if error.code in (429, 503):
            return _BusyError(f"{told}. It is busy; wait, or give it less to do")
        if error.code in (401, 403):
            return WebError(f"{told}. Give the key that this server wants")
        if error.code == 404:
            return WebError(f"{told}. {self.wording.not_found}")
        if 300 <= error.code < 400:
            return WebError(f"{told}. It sends on to {error.headers.get('Location')}; name that address")
        if error.code >= 500:
            return WebError(f"{told}. The server failed; see its log")
        return WebError(f"{told}. {self.wording.refused}")

    def _unreachable(self, reason: str | BaseException) -> WebError:
        kind = self.wording.kind
        if isinstance(reason, TimeoutError):
            return self._slow()
        if isinstance(reason, ConnectionRefusedError):
            return _BusyError(f"no {kind} answers at {self.url}. Start it, or check address and port")
        if isinstance(reason, socket.gaierror):
            return WebError(f"{self.url}: the name of the {kind} is not known. Check the address")
        return WebError(f"the {kind} {self.url} cannot be reached: {reason}")

    def _slow(self) -> WebError:
        return WebError(
            f"{self.url} did not answer in full within {self.timeout:g} s. {self.wording.too_slow}"
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn POST into GET, and carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def parse_url(
    url: str, kind: str, example: str, why: str = "it is kept in the recipe. Give a secret as the key"
) -> urllib.parse.SplitResult:
    """Return the parts of a server's address. Raises WebError for what is none, or holds a secret, and says `why`."""
    try:
        parts = urllib.parse.urlsplit(url.strip())
        parts.port  # noqa: B018  # reading it is the check
    except ValueError as error:
        raise WebError(f"{url!r} is no address of a {kind}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WebError(f"{url!r} is no address of a {kind}; one looks like {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise WebError(f"the address of a {kind} holds no user, password or query: {why}")
    return parts


def is_key(text: str) -> bool:
    """Whether a text can be a key: printable ASCII without spaces."""
    return re.fullmatch(r"[!-~]+", text) is not None


def excerpt(text: str) -> str:
    """The first 200 characters of a text, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]}..."
