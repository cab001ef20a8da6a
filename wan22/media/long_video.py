"""Long videos: made clip by clip, safe on the disk after each, playable while they grow, resumed after any end.

VideoWriter keeps a video's packets in memory until it is finished, which is right for minutes of work. A long video
has a working folder beside its target instead, OUT.unfinished:

    video.mp4     the clips so far, as fragmented MP4 (video.mov for a .mov; numbered images for a sequence):
                 every clip begins with a key frame and is appended whole, so it plays at any time
    video.json    what was asked, and for each finished clip its frames, their hash, and where it ends in video.mp4
    carry-0007   what the caller needs to go on after the last finished clip (7)
    lock         held while a process works here

A clip is finished when video.json says so. It is written last, by an atomic rename, after the bytes it speaks of
have reached the disk; whatever lies behind the last end is cut off when the video is resumed. In the end the packets
are copied, not encoded again, to an ordinary file that takes the target's name by one rename.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from errno import EWOULDBLOCK
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from wan22.atomic import written
from wan22.errors import OutputError
from wan22.fields import renewed
from wan22.files import PathLike, check_fields, read_json, reading
from wan22.media import output_paths
from wan22.media.clip_store import FragmentStore, FrameStore, Last, Store
from wan22.media.encoding import Encoding
from wan22.media.growing import INDEX, SUFFIX, FinishedClip
from wan22.media.provenance import Marking
from wan22.media.recipe_text import FrameHasher
from wan22.media.writer import Finish

__all__ = ["LongVideo", "working_folder"]

_FORMAT = 1  # of video.json
_FORMER = {"film.mp4": "video.mp4", "film.mov": "video.mov", "film.json": "video.json"}
"""What an older version called the files of a working folder, the index last."""
_LEFTOVERS = ("carry-*", "silent.*", "whole.*", ".*.part")  # what an interrupted process may leave behind


def working_folder(path: PathLike) -> Path:
    """Return the folder in which the video for `path` is made; it exists while the video is unfinished."""
    target = Path(path)
    if target.name in ("", ".."):
        target = target.resolve()
    return target.with_name(f"{target.name}{SUFFIX}")


class LongVideo:
    """A video made clip by clip. Path, fps, size, quality and codec are those of VideoWriter, except GIF.

        with LongVideo("out.mp4", fps=16, size=(832, 480), identity=request) as video:
            for clip in range(video.finished, clips):     # 0 for a new video
                for frames in make(clip, video.carry):    # uint8 (T, 480, 832, 3)
                    video.add(frames)
                video.finish_clip(carry)                  # from here on the clip is safe
            video.close(recipe | {"clips_sha256": video.digest()})

    `identity` is a JSON-able dict of everything that the images depend on. If an unfinished video lies there, it
    is resumed, or refused if its identity differs; `restart` throws it away instead. Memory does not grow with
    length. Leaving the block without `close`, by an error or not, keeps the finished clips, as does the end of
    the process, however it comes.

    After an error the video is closed; open it again to go on. Raises OutputError if the place cannot be written, is
    in use, or holds another or a damaged video, and what VideoWriter raises.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        fps: float | Fraction,
        size: tuple[int, int],
        identity: dict[str, Any],
        quality: str = "high",
        codec: str | None = None,
        restart: bool = False,
        marking: Marking | None = None,
    ) -> None:
        marked = Marking.asked() if marking is None else marking
        encoding = Encoding.of(path, fps, size, quality, codec)
        if encoding.kind == "gif":
            raise OutputError(
                f"{path}: a GIF cannot be made clip by clip. Use .mp4, .mov, .webm or a PNG sequence, "
                "and convert the finished video."
            )
        output_paths.check_output(path, bytes_needed=0)
        self.path, self._place = Path(path), os.fspath(path)
        self.folder = working_folder(path)
        self._encoding = encoding
        self._asked = _plain(
            video={
                "fps": str(encoding.rate),
                "size": encoding.size,
                "container": encoding.kind,
                "codec": encoding.codec,
                "quality": encoding.quality,
            },
            identity=identity,
        )
        self._clips: list[FinishedClip] = []
        self._carry: str | None = None
        self._hasher = FrameHasher()
        self._store: Store = (
            FrameStore(path, self.folder, marked)
            if encoding.kind == output_paths.SEQUENCE
            else FragmentStore(self.folder, encoding, marked)
        )
        self._lock = self._take(restart)
        self._open = True
        try:
            self._resume()
        except BaseException:
            self._leave()
            raise

    @property
    def finished(self) -> int:
        """Number of finished clips."""
        return len(self._clips)

    @property
    def frames(self) -> int:
        """Number of frames in the finished clips."""
        return sum(clip.frames for clip in self._clips)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of frames of each finished clip."""
        return tuple(clip.frames for clip in self._clips)

    @property
    def carry(self) -> Path | None:
        """The file that holds what was given to the last `finish_clip`, until the next one; None if nothing was."""
        return None if self._carry is None else self.folder / self._carry

    @property
    def growing(self) -> Path:
        """What can be played while the video grows: a file, or a name with a number pattern. It ends with `close`."""
        return self._store.path

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the finished clips: that of their hashes (FrameHasher, hex) in one row.

        A video that was interrupted has the same digest as one that was not. It depends on where clips begin
        (`lengths`), so it is not the `frames_sha256` of short videos, whose state could not be kept on the disk.
        """
        return hashlib.sha256("".join(clip.sha256 for clip in self._clips).encode("ascii")).hexdigest()

    def add(self, frames: np.ndarray) -> None:
        """Add uint8 frames (T, H, W, 3), or one (H, W, 3), to the clip in progress."""
        self._check_open()
        frames = self._encoding.checked(frames)
        with self._guard():
            for frame in frames:
                self._store.add(frame)
            self._hasher.update(frames[None] if frames.ndim == 3 else frames)

    def finish_clip(self, carry: bytes | None = None) -> None:
        """End the clip in progress; when this returns, it and `carry` have reached the disk.

        Raises ValueError for a clip without frames. If the disk is full, OutputError; the clip is lost then,
        those before it are not.
        """
        self._check_open()
        if not self._hasher.frames:
            raise ValueError("a clip without frames cannot be finished")
        with self._guard():
            end = self._store.end_clip(self._clips[-1].end if self._clips else 0, self.frames)
            clips = [*self._clips, FinishedClip(self._hasher.frames, self._hasher.hexdigest(), end)]
            name = None
            if carry is not None:
                name = f"carry-{len(clips):04d}"
                _write(self.folder / name, carry)
            rows = [asdict(clip) for clip in clips]
            index = {"format": _FORMAT, "asked": self._asked, "carry": name, "clips": rows}
            _write(self._index, json.dumps(index, indent=1).encode("ascii"))
            old = self.carry
            self._clips, self._carry, self._hasher = clips, name, FrameHasher()
            if old is not None:
                old.unlink(missing_ok=True)

    def close(
        self,
        recipe: dict[str, Any] | None = None,
        finish: Finish | None = None,
        existing: output_paths.Existing = "replace",
    ) -> str:
        """Make the video from its finished clips, put it in its place with `recipe` inside, and clean up.

        Returns its name, which is another one than was asked only with existing="next".

        `finish(silent, whole)`, if given, makes the file that is published from the silent one that carries the
        recipe; both names have the target's extension. It adds the audio. ValueError for a sequence, which has none.
        A second call does nothing. If it fails, all clips are kept, and the video can be opened and closed again.
        Raises OutputError if there is no clip or no room, ValueError if a clip is in progress.
        """
        if not self._open:
            return self._place
        if self._hasher.frames:
            raise ValueError("a clip is in progress: finish it, or abort")
        with self._guard():
            if not self._clips:
                raise OutputError(f"{self.path} was not written: there was not a single clip.")
            self._place = self._store.publish(self._place, self.frames, Last(recipe, finish, existing))
            self._index.unlink()
        self._leave()
        return self._place

    def abort(self) -> None:
        """Stop here: finished clips are kept for another time, the clip in progress is dropped."""
        if self._open:
            self._leave()

    def __enter__(self) -> LongVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def _index(self) -> Path:
        return self.folder / INDEX

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the video {self.path} is closed")

    def _take(self, restart: bool) -> int:
        """Make the folder if need be, and lock it; the lock ends with the process."""
        handle = -1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if handle < 0:
                raise OutputError(f"{self.folder} cannot be written: {error.strerror or error}.") from error
            if error.errno == EWOULDBLOCK:
                os.close(handle)
                raise OutputError(
                    f"{self.path} is being made by another process, in {self.folder}. "
                    "Wait for it, or use another name."
                ) from None
            # Some network file systems know no locks; that is no reason to make no video.
        for old, new in _FORMER.items():
            if (self.folder / old).exists() and not (self.folder / new).exists():
                (self.folder / old).replace(self.folder / new)
        if restart:
            for entry in self.folder.iterdir():
                if entry.name != "lock":
                    entry.unlink()
        return handle

    def _resume(self) -> None:
        """Read the index, if there is one, and cut off what it does not know."""
        if self._index.exists():
            there = self._read_index()
            differences = [
                line for part, asked in self._asked.items() for line in _differences(there[part], asked)
            ]
            if differences:
                raise OutputError(
                    f"{self.folder} holds {_count(self.finished)} of another video: {'; '.join(differences)}. "
                    "Ask for that one to go on with it, use another name, or begin afresh and lose it."
                )
        for leftover in (entry for pattern in _LEFTOVERS for entry in self.folder.glob(pattern)):
            if leftover != self.carry:
                leftover.unlink()
        if self.carry is not None and not self.carry.exists():
            raise self._damaged(f"{self._carry} is missing")
        if fault := self._store.rewind(self._clips[-1].end if self._clips else 0):
            raise self._damaged(fault)

    def _read_index(self) -> dict[str, Any]:
        """Take clips and carry from video.json, and return what was asked then."""
        remedy = "Begin afresh, or use another name."
        with reading(f"the unfinished video in {self.folder}", OutputError, "cannot be resumed", remedy):
            index = read_json(self._index, ValueError)
            if index["format"] != _FORMAT:
                raise self._damaged(
                    f"video.json has format {index['format']}, and this version knows {_FORMAT}"
                )
            clips = [FinishedClip(**clip) for clip in index["clips"]]
            ends = [clip.end for clip in clips]
            for clip in clips:
                check_fields(clip, most=1 << 62)
            if ends != sorted(set(ends)):
                raise ValueError(f"the ends of its clips do not rise: {ends}")
            carry = index["carry"]
            if carry is not None and not re.fullmatch(r"carry-\d+", carry):
                raise ValueError(f"{carry!r} is no name of what a clip leaves")
            self._clips, self._carry = clips, carry
            asked = index["asked"]
            said = {"video": asked.get("video", asked.get("film")), "identity": renewed(asked["identity"])}
            return {part: dict(said[part]) for part in self._asked}

    def _damaged(self, fault: str) -> OutputError:
        return OutputError(
            f"the unfinished video in {self.folder} cannot be resumed: {fault}. "
            "Begin afresh, or use another name."
        )

    @contextmanager
    def _guard(self) -> Generator[None]:
        """After an error the video is closed, and the message says what is kept."""
        try:
            yield
        except BaseException as error:
            self.abort()
            if not isinstance(error, (OSError, av.error.FFmpegError, OutputError)):
                raise
            what = f"{error}"
            if not isinstance(error, OutputError):
                what = f"{self.path} cannot be written: {error.strerror or error}."
            if not self._clips:
                raise OutputError(what) from error
            seconds = float(self.frames / self._encoding.rate)
            raise OutputError(
                f"{what} Kept in {self.folder}: {_count(self.finished)} ({seconds:.1f} s); "
                "the same request goes on from there."
            ) from error

    def _leave(self) -> None:
        """Give the lock back, and the folder too if it holds no clip."""
        self._open = False
        if not self._index.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once and for good."""
    with written(path) as part:
        part.write_bytes(content)


def _plain(**asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what was asked as it will come back from JSON."""
    return json.loads(json.dumps(asked, allow_nan=False))


def _differences(there: dict[str, Any], asked: dict[str, Any], prefix: str = "") -> list[str]:
    """Name what differs between two identities, with both values where they are short."""
    found = []
    for key in sorted(there.keys() | asked.keys()):
        old, new = there.get(key), asked.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            values = f"{json.dumps(old)} there, {json.dumps(new)} asked"
            found.append(f"{prefix}{key} differs" if len(values) > 100 else f"{prefix}{key} is {values}")
    return found


def _count(clips: int) -> str:
    return f"{clips} finished clip{'s' * (clips != 1)}"
