"""Files that a client names by address: data URLs always, https only where the operator allows it.

A name is resolved once, every address of it must be a public one, the connection goes to that very address, no redirect
is followed, and an answer has at most 50 MB and 10 seconds.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import ipaddress
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable
from typing import BinaryIO

from wan22.server.problems import Refusal
from wan22.version import __version__

MAX_BYTES = 50_000_000
MAX_SECONDS = 10.0
MAX_DATA_URL = 20_971_520
"""Characters; OpenAI's limit."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_url(text: str) -> bool:
    """Whether a text is an address, of whatever scheme, rather than an id."""
    scheme = text.partition(":")[0]
    return ":" in text and scheme.isascii() and scheme.replace("+", "").isalnum()


def open_url(url: str, param: str, *, allowed: bool) -> BinaryIO:
    """What a URL holds. `allowed`: the operator lets clients name addresses of the net. Raises Refusal."""
    if url[:5].lower() == "data:":
        return io.BytesIO(_data(url, param))
    scheme = url.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise Refusal(
            400,
            "invalid_url",
            f"{param}: {scheme[:20]}: is not read; send the file, or a data URL",
            param=param,
        )
    if not allowed:
        raise Refusal(
            400, "url_inputs_off",
            f"{param}: this server fetches nothing from the net; send the file itself, or a data URL", param=param,
        )  # fmt: skip
    if scheme != "https":
        raise Refusal(400, "invalid_url", f"{param}: only https is fetched", param=param)
    return io.BytesIO(_fetched(url, param))


def _data(url: str, param: str) -> bytes:
    if len(url) > MAX_DATA_URL:
        raise Refusal(
            413, "too_large", f"{param}: a data URL has at most {MAX_DATA_URL:,} characters", param=param
        )
    head, comma, body = url.partition(",")
    try:
        if not comma:
            raise ValueError("there is no comma")
        text = urllib.parse.unquote_to_bytes(body)
        return base64.b64decode(text, validate=True) if head.lower().rstrip().endswith(";base64") else text
    except (ValueError, binascii.Error) as error:
        raise Refusal(
            400, "invalid_url", f"{param}: the data URL cannot be read: {error}", param=param
        ) from None


class _Pinned(http.client.HTTPSConnection):
    """A connection to one address; the certificate must be of the host's name."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=MAX_SECONDS, context=context)
        self._address, self._tls = address, context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def _fetched(url: str, param: str) -> bytes:
    def refuse(why: str) -> Refusal:
        return Refusal(400, "url_not_fetched", f"{param}: the address cannot be fetched: {why}", param=param)

    deadline = time.monotonic() + MAX_SECONDS
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError as error:
        raise refuse(str(error)) from None
    if not host or parts.username is not None or parts.password is not None or any(c <= " " for c in url):
        raise refuse("it is no plain https address")
    connection = _Pinned(host, port, public_address(host, port, refuse), ssl.create_default_context())
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        connection.request("GET", path, headers={"User-Agent": f"wan22/{__version__}", "Accept": "*/*"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise refuse(f"it answers {answer.status}; no redirect is followed")
        body = bytearray()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.sock.settimeout(left)
            piece = answer.read1(1 << 16)
            if not piece:
                break
            body += piece
            if len(body) > MAX_BYTES:
                raise refuse(f"it has more than {MAX_BYTES // 1_000_000} MB")
        return bytes(body)
    except TimeoutError:
        raise refuse(f"it takes more than {MAX_SECONDS:g} s") from None
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise refuse(type(error).__name__) from None
    finally:
        connection.close()


def public_address(host: str, port: int, refuse: Callable[[str], Exception]) -> str:
    """The address to connect to, of a name that has public ones alone."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise refuse("its name is not known") from None
    addresses = [str(each[4][0]) for each in found]
    if not addresses or not all(is_public(address) for address in addresses):
        raise refuse("it is not on the public net")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address belongs to the public net; one that carries another inside must be public in both."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        carried = [each for each in inner if each is not None]
        if carried:
            return all(each.is_global and not each.is_multicast for each in carried)
    return found.is_global and not found.is_multicast
