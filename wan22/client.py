"""Ask a wan22 server for jobs over HTTP: what `wan22 jobs` and `wan22 generate --server` share.

It knows no terminal, and no option of a request. A server that is away for a while (it restarts, or a proxy before it
does) is waited for where a job is followed or its file fetched; everything else is said at once.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from wan22.errors import OptionError, ServerError
from wan22.files import PathLike, check_file
from wan22.version import __version__
from wan22.web import WebError, excerpt, is_key, parse_url

__all__ = ["ENDED", "PORT", "TOKEN", "URL", "AwayError", "Client", "connect", "event_stream"]

PORT = 8722
"""Where `wan22 serve` listens if nothing is said."""
URL = f"http://127.0.0.1:{PORT}"
TOKEN = "WAN22_TOKEN"
"""The environment variable that holds the token of a server."""
ENDED = frozenset({"completed", "failed", "cancelled"})
"""The states in which a job stays."""

_PATIENCE = 600.0  # seconds that a server may be away while a job is followed
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # and then every 10 s
_SILENCE = 60.0  # seconds; a stream of events says something every 15
_MOST = 64 << 20  # bytes of an answer that is read as a whole
_LINE = 4 << 20  # bytes of a line of a stream
_GONE = (429, 502, 503, 504)  # full or going down, or a proxy that finds no server: worth another try

T = TypeVar("T")


class AwayError(ServerError):
    """No answer now, and perhaps one later: no connection, a break, or a server that restarts. `after`: seconds."""

    def __init__(self, message: str, status: int = 0, after: float = 0.0) -> None:
        super().__init__(message, status)
        self.after = after


def connect(url: str, token: str | None = None) -> Client:
    """A client of the server at `url`, which may have a path; nothing is sent yet.

    Raises OptionError for an address or token that cannot be one.
    """
    try:
        parts = parse_url(url, "wan22 server", URL, why="Give the token in $WAN22_TOKEN or a file")
    except WebError as error:
        raise OptionError(str(error)) from None
    if token is not None and not is_key(token):
        raise OptionError("the token of a server is printable ASCII without spaces")
    return Client(urllib.parse.urlunsplit(parts).rstrip("/"), token)


@dataclass(frozen=True)
class Client:
    """A server at `url`, and the `token` that it wants, which is sent to nobody else: no redirect is followed.

    Methods raise ServerError for what the server refuses, AwayError if it is not there.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    timeout: float = 30.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def capabilities(self) -> dict[str, Any]:
        """What the server can do: its version, models, limits."""
        return self._ask("GET", "/v1/capabilities")

    def upload(self, path: PathLike) -> dict[str, Any]:
        """Send a file; return the input that it became, with its `id`. Raises MediaError if it cannot be read."""
        file = check_file(path)
        boundary = f"wan22-{secrets.token_hex(16)}"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_in_quotes(file.name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode("utf-8", "replace")
        tail = f"\r\n--{boundary}--\r\n".encode()
        with file.open("rb") as stream:
            length = os.fstat(stream.fileno()).st_size
            headers = {
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Content-Length": str(len(head) + length + len(tail)),
            }
            return self._ask(
                "POST", "/v1/inputs", chain([head], iter(partial(stream.read, 1 << 16), b""), [tail]), headers
            )

    def add(self, kind: str, request: Mapping[str, Any] | None, key: str, **more: Any) -> dict[str, Any]:
        """Ask for a job, or a group with `children`; the same `key` again is the same job."""
        body = {"kind": kind, "request": request, **more}
        return self._say("/v1/jobs", body, **{"Idempotency-Key": key})

    def job(self, id: str) -> dict[str, Any]:
        """Return a job."""
        return self._ask("GET", _path(id))

    def jobs(self, **query: Any) -> list[dict[str, Any]]:
        """Return jobs, the newest first; what is asked (`state`, `text`, `limit` ...) is the server's to know."""
        said = [(name, value) for name, value in query.items() if value not in (None, False, ())]
        listed = self._ask("GET", f"/v1/jobs?{urllib.parse.urlencode(said, doseq=True)}")
        return listed["data"]

    def act(self, id: str, action: str, **body: Any) -> dict[str, Any]:
        """Do something with a job: cancel, pause, resume, retry, move, trash, restore. Returns the job."""
        return self._say(f"{_path(id)}/{action}", body)

    def add_board(self, body: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Ask for a storyboard, `{"script", "options"}`; the same `key` again is the same one."""
        return self._say("/v1/storyboards", body, **{"Idempotency-Key": key})

    def board(self, id: str) -> dict[str, Any]:
        """Return a storyboard: its shots with their takes."""
        return self._ask("GET", _path(id, "storyboards"))

    def make_board_again(self, id: str, shots: list[int], key: str) -> dict[str, Any]:
        """Ask for a new take of each of these shots. Returns the storyboard."""
        return self._say(f"{_path(id, 'storyboards')}/again", {"shots": shots}, **{"Idempotency-Key": key})

    def purge(self, id: str) -> None:
        """Delete a job and its files for good."""
        with self._open("DELETE", _path(id)):
            pass

    @contextmanager
    def events(self, id: str, after: int = 0) -> Generator[Iterator[tuple[int, dict[str, Any]]]]:
        """Lend the numbers and contents of a job's events after number `after`, while the connection lasts."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self._open("GET", f"{_path(id)}/events", None, headers, timeout=_SILENCE) as response:
            yield (
                (int(number), self._parsed(data.encode()))
                for number, data in event_stream(self._lines(response))
                if number.isdecimal()
            )

    def follow(self, id: str, notify: Callable[[str], None]) -> Iterator[dict[str, Any]]:
        """Yield a job's events, from its first until it has ended, over every break of the connection.

        `notify` gets that the server is away, and that it is back. Raises AwayError if it does not come back.
        """
        after, over, away = 0, False, _Absence(self, notify)
        while True:
            try:
                with self.events(id, after) as events:
                    away.over()
                    for number, data in events:
                        after = number
                        yield data
                        if data.get("state") in ENDED and self._has_ended(id):
                            return
                if over:
                    return
                over = self._has_ended(id)  # what it said since the stream ended is still to come
                if not over:
                    self.sleep(_PAUSES[0])  # the server ends streams when it goes down
            except AwayError as error:
                away.wait(error)

    def _has_ended(self, id: str) -> bool:
        """Whether a job stays as it is; the events of one that is made again tell of earlier ends, too."""
        return self.job(id)["state"] in ENDED

    def patiently(self, ask: Callable[[], T], notify: Callable[[str], None]) -> T:
        """Return what `ask` returns, and ask again while the server is away, as `follow`."""
        away = _Absence(self, notify)
        while True:
            try:
                answer = ask()
            except AwayError as error:
                away.wait(error)
            else:
                away.over()
                return answer

    def download(
        self, id: str, name: str, part: Path, notify: Callable[[str], None], room: Callable[[int], None]
    ) -> None:
        """Fetch a file of a job into the new file `part`, over every break of the connection, as `follow`.

        `room` gets how many bytes are to come, before the first is written.
        """
        away, headers = _Absence(self, notify), {"Accept": "*/*"}
        with part.open("wb") as file:
            while True:
                try:
                    with self._open("GET", f"{_path(id)}/files/{_quoted(name)}", None, headers) as response:
                        away.over()
                        if response.status != http.client.PARTIAL_CONTENT:
                            file.seek(0)
                            file.truncate()
                        room(response.length or 0)
                        etag = response.headers.get("ETag")
                        for piece in self._pieces(response):
                            file.write(piece)
                            headers |= {"Range": f"bytes={file.tell()}-", "If-Range": etag} if etag else {}
                    return
                except AwayError as error:
                    away.wait(error)

    def _ask(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON object that the server answers."""
        content = bytearray()
        with self._open(method, path, body, headers) as response:
            for piece in self._pieces(response):
                content += piece
                if len(content) > _MOST:
                    raise ServerError(
                        f"{self.url} answers with more than {_MOST >> 20} MiB; ask for less at once"
                    )
        return self._parsed(bytes(content))

    def _say(self, path: str, body: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        """Send a JSON object; return the one that the server answers."""
        return self._ask(
            "POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
        )

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Generator[http.client.HTTPResponse]:
        """Lend the answer to a request, if it is a good one."""
        parts = urllib.parse.urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(
            parts.hostname or "", parts.port, timeout=timeout or self.timeout, blocksize=1 << 16
        )
        sent = {"Accept": "application/json", "User-Agent": f"wan22/{__version__}", **(headers or {})}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        try:
            with self._said():
                response = _answer(connection, method, parts.path + path, body, sent)
            with response:
                self._check(response)
                yield response
        finally:
            connection.close()

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield what an answer holds, as it comes. Raises AwayError if it ends too early."""
        while True:
            with self._said():
                piece = response.read1(1 << 20)
                if not piece and response.length:  # what the header promised and never came
                    raise http.client.IncompleteRead(b"", response.length)
            if not piece:
                return
            yield piece

    def _lines(self, response: http.client.HTTPResponse) -> Iterator[str]:
        """Yield the lines of a stream, as they come."""
        while True:
            with self._said():
                line = response.readline(_LINE)
            if not line:
                return
            yield line.decode("utf-8", "replace").rstrip("\r\n")

    def _parsed(self, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ServerError(
                f"{self.url} answers something that no wan22 server says: {self._shown(content)!r}"
            )
        return answer

    def _shown(self, content: bytes) -> str:
        """Return the beginning of an answer for a message; a server may repeat the token it was given."""
        text = content[:4096].decode("utf-8", "replace")
        return excerpt(text.replace(self.token, "***") if self.token else text)

    @contextmanager
    def _said(self) -> Generator[None]:
        """Turn what goes wrong on the way into one sentence."""
        try:
            yield
        except ConnectionRefusedError:
            raise AwayError(
                f"no wan22 server answers at {self.url}. Start it with `wan22 serve`, or check address and port"
            ) from None
        except socket.gaierror:
            raise AwayError(f"{self.url}: the name of the server is not known. Check the address") from None
        except ssl.SSLEOFError:
            raise AwayError(f"{self.url} hung up") from None
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or error
            raise ServerError(f"no secure connection to {self.url}: {reason}. Check http or https") from None
        except TimeoutError:
            raise AwayError(f"{self.url} did not answer in time") from None
        except http.client.IncompleteRead:
            raise AwayError(f"{self.url} broke off in the middle") from None
        except (http.client.RemoteDisconnected, ConnectionError):
            raise AwayError(f"{self.url} hung up") from None
        except http.client.HTTPException:
            raise ServerError(
                f"{self.url} speaks no HTTP, so it is no wan22 server. Check address and port"
            ) from None
        except OSError as error:
            raise AwayError(f"{self.url} cannot be reached: {error.strerror or error}") from None

    def _check(self, response: http.client.HTTPResponse) -> None:
        """Raise what a refusal says: the server's own sentence, where it has one."""
        status = response.status
        if 200 <= status < 300:
            return
        with self._said():
            content = response.read(1 << 16)
        said = _sentence(content)
        if said is not None and self.token:
            said = said.replace(self.token, "***")
        known = said or f"{self.url} answers {status} {response.reason}".rstrip()
        if status == 401:
            wrong = "does not take this token" if self.token else "wants a token"
            raise ServerError(f"{self.url} {wrong}. Give it in ${TOKEN} or in a file", status)
        if status in _GONE:
            after = response.headers.get("Retry-After", "")
            seconds = min(float(after), _PATIENCE) if re.fullmatch(r"\d{1,9}", after) else 0.0
            raise AwayError(f"{self.url}: {said or f'{status} {response.reason}'}", status, seconds)
        if 300 <= status < 400:
            place = response.headers.get("Location", "elsewhere")
            raise ServerError(f"{self.url} sends on to {excerpt(place)}; name that address", status)
        if said is None and status in (404, 405):
            known += ". It is no wan22 server, or one of another version"
        if said is None and status >= 500:
            known += ". The server failed; see its log"
        raise ServerError(known, status)


def _answer(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Iterable[bytes] | bytes | None,
    headers: Mapping[str, str],
) -> http.client.HTTPResponse:
    """Send a request and return its answer; one to an upload may come before all of it is sent."""
    try:
        connection.request(method, path, body, headers)
    except (BrokenPipeError, ConnectionResetError) as broken:
        try:
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            raise broken from None
    return connection.getresponse()


class _Absence:
    """How long a server has been away by now, and the pauses between tries."""

    def __init__(self, client: Client, notify: Callable[[str], None]) -> None:
        self._client, self._said = client, notify
        self._tries, self._waited = 0, 0.0

    def wait(self, error: AwayError) -> None:
        """Let some time pass. Raises AwayError after ten minutes of it."""
        pause = max(error.after, _PAUSES[self._tries] if self._tries < len(_PAUSES) else 10.0)
        if self._waited + pause > _PATIENCE:
            raise AwayError(
                f"{error}. It has been away for {self._waited / 60:.0f} minutes", error.status
            ) from None
        if not self._tries:
            self._said(f"{error}; waiting for it")
        self._tries += 1
        self._waited += pause
        self._client.sleep(pause)

    def over(self) -> None:
        """The server answers."""
        if self._tries:
            self._said(f"{self._client.url} answers again")
        self._tries, self._waited = 0, 0.0


def event_stream(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield id and data of each event of a stream (text/event-stream); one that breaks off is left out."""
    number, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield number, "\n".join(data)
            data = []
            continue
        name, _, value = line.partition(":")
        if name == "id":
            number = value.removeprefix(" ")
        elif name == "data":
            data.append(value.removeprefix(" "))


def _sentence(content: bytes) -> str | None:
    """What an answer says of an error, as problem+json or in OpenAI's envelope; None if it is neither."""
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    envelope = answer.get("error")
    said = (
        envelope.get("message") if isinstance(envelope, dict) else answer.get("detail") or answer.get("title")
    )
    return excerpt(said).rstrip(".") if isinstance(said, str) and said else None


def _in_quotes(name: str) -> str:
    """A file's name as forms of browsers say it."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _path(id: str, what: str = "jobs") -> str:
    """The path of a job, or of another thing that is one. Raises OptionError for what is no id."""
    if not re.fullmatch(r"job_[a-z0-9]{24}", id):
        raise OptionError(
            f"{id!r} is no id of a job; `wan22 jobs list` shows them: job_ and 24 letters or digits"
        )
    return f"/v1/{what}/{id}"


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="", errors="replace")
