"""A long video while it grows, as those see it who read its file: how much of it counts, and what it is.

`LongVideo` writes; this reads, also in another process and while it is written. What it returns stays true: the bytes
of finished clips never change, in no attempt at the same video. It imports no decoder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".unfinished"
"""Of the working folder of a long video, behind the name of its target."""
INDEX = "video.json"

_FILES = {"video.mp4": "video/mp4", "video.mov": "video/quicktime"}
_HEADER = 4096  # bytes in which the description of the one stream lies


@dataclass(frozen=True)
class FinishedClip:
    """A clip that is safe: its frames, their hash, and where its store ends after it."""

    frames: int
    sha256: str
    end: int


@dataclass(frozen=True)
class Growing:
    """A file that grows by whole clips: fragmented MP4 or MOV, of which the first `end` bytes can be played."""

    path: Path
    clips: tuple[FinishedClip, ...]
    fps: float

    @property
    def end(self) -> int:
        return self.clips[-1].end

    @property
    def frames(self) -> int:
        return sum(clip.frames for clip in self.clips)

    @property
    def type(self) -> str:
        """The media type without parameters."""
        return _FILES[self.path.name]

    @property
    def full_type(self) -> str:
        """The media type with the codec (RFC 6381), as a player asks for it; without, for others than H.264.

        Raises OSError if the file is gone.
        """
        with self.path.open("rb") as file:
            header = file.read(_HEADER)
        at = header.find(b"avcC")  # ISO 14496-15, 5.3.3.1: version, then profile, compatibility, level
        return self.type if at < 0 else f'{self.type}; codecs="avc1.{header[at + 5 : at + 8].hex()}"'


def read_growing(folder: Path) -> Growing | None:
    """What of the video in a working folder can be played; None before its first clip, and for images."""
    path = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        index = json.loads((folder / INDEX).read_text(encoding="ascii"))
        clips = tuple(
            FinishedClip(int(row["frames"]), str(row["sha256"]), int(row["end"])) for row in index["clips"]
        )
        above, _, below = index["asked"]["video"]["fps"].partition("/")
        found = Growing(path, clips, int(above) / int(below or 1))
        whole = bool(clips) and path.stat().st_size >= found.end  # else it is being copied
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it is gone meanwhile, or of another version
    return found if whole else None
