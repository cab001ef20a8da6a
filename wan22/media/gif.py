"""Extensions of a GIF: what stands beside its images (GIF89a, 23 to 26)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["insert"]


def insert(path: Path, extension: bytes) -> None:
    """Put a whole extension behind the header and its colour table (17 to 19) of the file `path`."""
    content = path.read_bytes()
    end = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    path.write_bytes(content[:end] + extension + content[end:])
