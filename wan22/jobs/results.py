"""What a job's result says of its files."""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path
from typing import Any

_STILLS = (".png", ".jpg", ".webp")
_NOT_SEEN = (".zip", ".wav")  # without frames of its own

mimetypes.add_type("image/webp", ".webp")
mimetypes.add_type("audio/wav", ".wav")


def described(path: Path) -> dict[str, Any]:
    """A row of a result's `files` or `stills`: name, media type, bytes, SHA-256, and of images and videos their size.

    `fps` and `seconds` are null for what does not move. Raises MediaError for a file that cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    row: dict[str, Any] = {
        "name": path.name,
        "type": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        "bytes": path.stat().st_size,
        "sha256": digest,
    }
    if path.suffix in _NOT_SEEN:
        return row
    from wan22.media.video import probe

    info, still = probe(path), path.suffix in _STILLS
    return row | {
        "width": info.width,
        "height": info.height,
        "frames": info.frames,
        "fps": None if still else info.fps,
        "seconds": None if still else info.seconds,
        "audio": info.has_audio,
    }
