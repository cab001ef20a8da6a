"""Files of jobs as answers: ranges, ETag from the hash, a type of ours, and nothing that a browser would run."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, Response

from wan22.server.problems import Refusal

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.types import Message, Receive, Scope, Send

TYPES = {
    ".mp4": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm", ".gif": "image/gif", ".png": "image/png",
    ".jpg": "image/jpeg", ".webp": "image/webp", ".wav": "audio/wav", ".zip": "application/zip",
}  # fmt: skip
"""What we make, by the ending of a name of ours; anything else is sent as application/octet-stream, to be saved."""
BYTES: dict[str, Any] = {
    "content": {
        type: {"schema": {"type": "string", "format": "binary"}}
        for type in (*TYPES.values(), "application/octet-stream")
    }
}
"""An answer with a file, in the OpenAPI document."""
_SAVED = ("application/octet-stream", "application/zip")


def content(
    request: Request,
    path: Path,
    *,
    type: str | None = None,
    sha256: str | None = None,
    cache: str = "private, no-cache",
) -> Response:
    """The file `path`, whole or in the ranges that are asked for; 304 if the client has it. 404 if it is not there.

    type: the media type, from our row; if it is none that we make, by the ending. sha256: of the content, for the ETag.
    """
    try:
        status = path.lstat()
    except OSError:
        raise Refusal(404, "not_found", "there is no such file") from None
    if not stat.S_ISREG(status.st_mode):
        raise Refusal(404, "not_found", "there is no such file")
    kind = type if type in TYPES.values() else TYPES.get(path.suffix, "application/octet-stream")
    tag = f'"{sha256}"' if sha256 else f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
    headers = {"ETag": tag, "Cache-Control": cache, "Accept-Ranges": "bytes"}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    saved = "attachment" if kind in _SAVED else "inline"
    headers["Content-Disposition"] = f'{saved}; filename="{path.name}"'
    return _Content(path, headers=headers, media_type=kind, stat_result=status)


class _Content(FileResponse):
    """A file whose refused ranges are errors in our form."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def checked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                size = self.headers["content-length"]
                raise Refusal(
                    416, "range_not_satisfiable", f"the file has {size} bytes; a Range is bytes=FIRST-LAST",
                    headers={"Content-Range": f"bytes */{size}"},
                )  # fmt: skip
            await send(message)

        await super().__call__(scope, receive, checked)
