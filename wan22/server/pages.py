"""The studio's built files: the one page at `/`, and what it loads. They need no token; the API that they call does.

Nothing but a file of that folder is ever sent. A file whose name holds a hash of its content may be kept for a year,
every other one is asked for again with its ETag.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Scope

BUILT = Path(__file__).parents[1] / "studio_dist"
"""What `npm run build` in studio/ makes; it is in the wheel."""
INDEX = "index.html"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: data:; worker-src 'self' blob:; "
        "style-src 'self'; style-src-attr 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_YEAR, _ASKED_AGAIN = "public, max-age=31536000, immutable", "no-cache"
_HASHED = re.compile(r"assets/[^/]*[-.][A-Za-z0-9_-]{8,}\.[a-z0-9]+")
_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".json": "application/json", ".svg": "image/svg+xml", ".webp": "image/webp", ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json", ".wasm": "application/wasm", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
_PACKED = (".html", ".js", ".css", ".json", ".svg", ".webmanifest", ".wasm", ".txt")
_MISSING = (
    "The studio's files are not in this installation.\n\n"
    "From a clone, with Node 20 or newer: cd studio && npm ci && npm run build\n"
    "The API works without them, under /v1: see docs/server.md.\n"
)


class _File(NamedTuple):
    content: bytes
    packed: bytes | None
    """The same as gzip; None where that saves nothing."""
    tag: str


class Pages(Route):
    """The route of all files below `root`; it matches nothing else, so that other paths stay unknown ones."""

    def __init__(self, root: Path = BUILT) -> None:
        super().__init__("/{file:path}", self._answer, methods=["GET"], name="pages", include_in_schema=False)
        self._root = root.resolve()

    def matches(self, scope: Scope) -> tuple[Match, Mapping[str, Any]]:
        if scope["type"] != "http" or not self.has(scope["path"]):
            return Match.NONE, {}
        match, child = super().matches(scope)
        return match, {**child, "route": self}

    def has(self, path: str) -> bool:
        """Whether a page or a file of it is at this path; `/` always is, if only to say that nothing is built."""
        return path == "/" or self._file(path) is not None

    def _file(self, path: str) -> Path | None:
        place = self._root / (path[1:] or INDEX)
        try:
            top = place.relative_to(self._root).parts[:1]
            if not self._root.joinpath(*top).exists():  # all that a call of the API asks of the system
                return None
            found = place.resolve(strict=True)
            inside = found.is_relative_to(self._root) and not place.name.endswith(".gz")
            return found if inside and stat.S_ISREG(found.stat().st_mode) else None
        except (OSError, ValueError, RuntimeError):
            return None

    def _answer(self, request: Request) -> Response:
        place = self._file(request.url.path)
        if place is None:
            return PlainTextResponse(_MISSING, 404)
        status = place.stat()
        file = _read(place, status.st_mtime_ns, status.st_size)
        hashed = _HASHED.fullmatch(place.relative_to(self._root).as_posix())
        headers = HEADERS | {"Cache-Control": _YEAR if hashed else _ASKED_AGAIN, "ETag": file.tag}
        content = file.content
        if file.packed is not None:
            headers["Vary"] = "Accept-Encoding"
            if _takes_gzip(request.headers.get("accept-encoding", "")):
                content, headers["Content-Encoding"] = file.packed, "gzip"
        known = [
            tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
        ]
        if file.tag in known or "*" in known:
            headers.pop("Content-Encoding", None)
            return Response(status_code=304, headers=headers)
        kind = _TYPES.get(place.suffix) or mimetypes.guess_type(place.name)[0]
        return Response(content, headers=headers, media_type=kind or "application/octet-stream")


@lru_cache(maxsize=512)
def _read(place: Path, changed: int, size: int) -> _File:
    """A file as it is now. `changed` and `size` are the cache's to know a new one by."""
    content = place.read_bytes()
    beside = place.with_name(place.name + ".gz")
    packed = None
    if beside.is_file() and beside.stat().st_mtime_ns >= changed:
        packed = beside.read_bytes()
    elif place.suffix in _PACKED:
        packed = gzip.compress(content, 9, mtime=0)
    if packed is not None and len(packed) >= len(content):
        packed = None
    return _File(content, packed, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _takes_gzip(said: str) -> bool:
    for each in said.lower().split(","):
        name, _, weight = each.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "").removeprefix("q=") not in ("0", "0.0", "0.00", "0.000")
    return False
