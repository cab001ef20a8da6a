"""The guard before every path: a pure ASGI middleware that refuses what no path should see.

In this order: the Host (against DNS rebinding), a server that ends, the Origin (against foreign pages), the spelling of
the path, how often this client asks, its token, the body's type and length. It also adds the headers that tell browsers
what our answers may do, and writes one line a request to the log, without query, token or prompt.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from wan22.server.problems import OPENAI, Refusal, as_refusal, refused
from wan22.server.session import may_read
from wan22.server.settings import LOOPBACK_NAMES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from wan22.server.settings import Settings

_LOG, _ERRORS = logging.getLogger("wan22.server.access"), logging.getLogger("wan22.server")

_METHODS = {name: name for name in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH")}
SAFE = ("GET", "HEAD", "OPTIONS")
OPEN = ("/healthz", "/readyz")
"""What answers without a token: a supervisor or a balancer asks it."""
DOCUMENTS = ("/v1/documents", "/v1/storyboards")
"""What takes timelines and scripts: JSON up to a limit of their own."""
WITH_FILES = (OPENAI, "/v1/inputs", "/v1/documents/import")
"""What takes uploads: bodies up to the larger limit, and forms."""

_VERSIONS = ("1.0", "1.1")
_MOST_HEADERS, _HEADER_BYTES = 100, 32 << 10
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?")
_PATH = re.compile(rb"/|(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}){1,8}")  # no escape, no `..`, no hidden name
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{43,512}")  # 256 bits in base64 are 43 characters
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""A path that says one of them itself keeps its own."""


def strong(token: str) -> bool:
    """Whether a token has at least 256 bits, in letters that a header can hold."""
    return _TOKEN.fullmatch(token) is not None and len(set(token)) >= 8


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass
class Buckets:
    """How many requests each client has left: `burst` at once, `rate` a second; of the last `clients` clients."""

    rate: float
    burst: float
    clients: int = 4096
    clock: Callable[[], float] = time.monotonic
    left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def empty(self, client: str) -> bool:
        """Whether the client has none left; looks only."""
        return self._now(client) < 1

    def take(self, client: str) -> bool:
        """Take one; False if there is none."""
        now = self._now(client)
        enough = now >= 1
        self.left[client] = (now - 1 if enough else now, self.clock())
        self.left.move_to_end(client)
        while len(self.left) > self.clients:
            self.left.popitem(last=False)
        return enough

    def _now(self, client: str) -> float:
        left, at = self.left.get(client, (self.burst, self.clock()))
        return min(self.burst, left + (self.clock() - at) * self.rate)


class Guard:
    """The middleware. `state.draining` (of the application) makes it answer 503."""

    def __init__(self, app: ASGIApp, settings: Settings, state: Any) -> None:
        self.app, self.settings, self.state = app, settings, state
        self.loopback = is_loopback(settings.host)
        self.hosts = {name.lower() for name in (*LOOPBACK_NAMES, settings.host, *settings.allow_hosts)}
        self.origins = {origin.lower().rstrip("/") for origin in settings.allow_origins}
        self.asked = Buckets(settings.rate, settings.burst)
        self.guessed = Buckets(rate=1, burst=100)  # wrong tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is no websocket here
            await send({"type": "websocket.close", "code": 1008})
            return
        begun, answered = time.perf_counter(), 0

        async def guarded(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            limit = self.check(scope)
            await self.app(scope, self._limited(receive, limit), guarded)
        except Exception as error:
            if not isinstance(error, Refusal):
                _ERRORS.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            if answered:  # too late to say so: the connection breaks off
                raise
            await refused(scope["path"], as_refusal(error))(scope, receive, guarded)
        finally:
            route, spent = getattr(scope.get("route"), "path", "-"), time.perf_counter() - begun
            if (metrics := getattr(self.state, "metrics", None)) is not None:
                metrics.answered(route, _METHODS.get(scope["method"], "other"), answered, spent)
            _LOG.info("%s %s %s %.0f ms", scope["method"], route, answered, 1000 * spent)

    def check(self, scope: Scope) -> int:
        """The most bytes that the body may have. Raises Refusal."""
        headers = Headers(scope=scope)
        if scope["http_version"] not in _VERSIONS:
            raise Refusal(400, "bad_version", "the server speaks HTTP/1.1")
        if len(scope["headers"]) > _MOST_HEADERS or _length(scope) > _HEADER_BYTES:
            raise Refusal(431, "headers_too_large", f"path and headers may have {_HEADER_BYTES} bytes")
        host = self._host(headers.getlist("host"))
        if getattr(self.state, "draining", False):
            raise Refusal(
                503, "shutting_down", "the server is ending; ask again soon", headers={"Connection": "close"}
            )
        self._origin(scope, headers, host)
        if not _PATH.fullmatch(_spelled(scope)):
            raise Refusal(404, "not_found", "nothing is at this path")
        address = (scope.get("client") or ("local", 0))[0]
        if not self.asked.take(address):
            raise Refusal(429, "too_many_requests", "too many requests; ask more slowly")
        if not self._is_open(scope):
            self._token(scope["method"], headers, address)
        return self._body(scope, headers)

    def _host(self, said: list[str]) -> str:
        match = _HOST.fullmatch(said[0]) if len(said) == 1 else None
        if match is None or int(match[2] or 0) > 65535:
            raise Refusal(400, "bad_host", "the request must have one Host header, NAME or NAME:PORT")
        name = match[1].lower().rstrip(".")
        if name in self.hosts or (
            not self.loopback and _is_address(name)
        ):  # a rebound name is never an address
            return said[0].lower()
        raise Refusal(
            403, "unknown_host", "the server is not called by this Host; its operator can allow more"
        )

    def _origin(self, scope: Scope, headers: Headers, host: str) -> None:
        """Refuse calls that a page of somebody else makes. A program sends no Origin."""
        said = headers.getlist("origin")
        for origin in said:
            if len(said) > 1 or not (origin.lower() in self.origins or _same(origin, host)):
                raise Refusal(403, "foreign_origin", "calls from pages of this Origin are not taken")
        site = headers.get("sec-fetch-site", "none")
        if not said and scope["method"] not in SAFE and site not in ("none", "same-origin"):
            raise Refusal(403, "foreign_origin", "calls from pages of other sites are not taken")

    def _is_open(self, scope: Scope) -> bool:
        """What answers without a token; the pages of the studio hold nothing of anybody."""
        pages = getattr(self.state, "pages", None)
        return scope["path"] in OPEN or (pages is not None and pages.has(scope["path"]))

    def _token(self, method: str, headers: Headers, address: str) -> None:
        if self.settings.token is None:
            return
        if self.guessed.empty(address):
            raise Refusal(429, "too_many_requests", "too many wrong tokens; wait a minute")
        said = headers.getlist("authorization")
        cookies = headers.getlist("cookie") if method in SAFE and not said else []
        if cookies and may_read(cookies, self.settings.token, time.time()):
            return
        scheme, _, token = said[0].partition(" ") if len(said) == 1 else ("", "", "")
        right = hmac.compare_digest(token.strip().encode(), self.settings.token.encode())
        if scheme.lower() == "bearer" and right:
            return
        self.guessed.take(address)
        raise Refusal(
            401,
            "unauthorized",
            "say the token: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _body(self, scope: Scope, headers: Headers) -> int:
        lengths, coded = headers.getlist("content-length"), headers.getlist("transfer-encoding")
        if (
            len(lengths) > 1
            or (lengths and coded)
            or any(not said.isascii() or not said.isdigit() for said in lengths)
        ):
            raise Refusal(400, "bad_length", "the length of the body is said in two ways, or is no number")
        files = any(scope["path"] == path or scope["path"].startswith(f"{path}/") for path in WITH_FILES)
        limit = self.settings.max_upload if files else self._plain_limit(scope["path"])
        if lengths and int(lengths[0]) > limit:
            raise _too_large(limit)
        if scope["method"] not in SAFE and (coded or (lengths and int(lengths[0]) > 0)):
            _check_type(headers, files)
        return limit

    def _plain_limit(self, path: str) -> int:
        """The most bytes of a body without files."""
        large = any(path == each or path.startswith(f"{each}/") for each in DOCUMENTS)
        return max(self.settings.max_body, self.settings.max_document) if large else self.settings.max_body

    @staticmethod
    def _limited(receive: Receive, limit: int) -> Receive:
        """`receive` that raises Refusal as soon as the body is longer than `limit` bytes."""
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                if got > limit:
                    raise _too_large(limit)
            return message

        return counted


def _length(scope: Scope) -> int:
    """Bytes of path, query and headers."""
    named = sum(len(name) + len(value) for name, value in scope["headers"])
    return named + len(_spelled(scope)) + len(scope["query_string"])


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"the body is larger than {limit} bytes, the most that is taken here")


def _spelled(scope: Scope) -> bytes:
    """The path as it was sent, before its escapes were read: none of our paths has one."""
    return (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]


def _check_type(headers: Headers, files: bool) -> None:
    said = headers.getlist("content-type")
    kind = said[0].partition(";")[0].strip().lower() if len(said) == 1 else ""
    known: Iterable[str] = ("application/json",)
    if files:
        known = ("application/json", "multipart/form-data", "application/x-www-form-urlencoded")
    if kind not in known:
        raise Refusal(415, "unsupported_media_type", f"the Content-Type must be {' or '.join(known)}")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(
            415, "unsupported_media_type", "the body must come as it is, without a Content-Encoding"
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _same(origin: str, host: str) -> bool:
    """Whether an Origin is the server itself, as the Host header calls it."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or origin.lower() != f"{parts.scheme}://{parts.netloc}":
        return False
    if not _HOST.fullmatch(parts.netloc):
        return False
    usual = {"http": 80, "https": 443}[parts.scheme]
    own_name, _, own_port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    return parts.netloc.removesuffix(f":{port}") == own_name and (port or usual) == int(own_port or usual)
