"""The media of a timeline's clips: found, looked at once, and opened only while a clip is shown or audible.

`resolve` says where the media of a clip lies. What can be wrong with a file, and is seen without decoding all of it, is
said before anything is made, and names the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from wan22.errors import MediaError, Wan22Error
from wan22.media.audio import AudioReader
from wan22.media.recipe import read_recipe
from wan22.media.sequence import is_sequence
from wan22.media.shown import Size
from wan22.media.times import EARLY, HELD
from wan22.media.video import Source, look
from wan22.timeline.items import Clip, Media, Span, Timeline, Track

__all__ = ["Cursor", "Resolve", "Sources", "files_beside", "named"]

Resolve = Callable[[Media], Path]
"""Where the media of a clip lies. It raises MediaError for one that it does not have."""

_SHORT = 0.1  # seconds that audio may be shorter than its document says: containers round, encoders pad


def files_beside(folder: Path) -> Resolve:
    """Media of the form {"path": ...}, relative to a folder."""

    def resolve(media: Media) -> Path:
        if "path" not in media:
            raise MediaError(
                f"its media {media} is kept by a studio's server. Render it there, or give it a path."
            )
        return folder / Path(media["path"]).expanduser()

    return resolve


@contextmanager
def named(clip: Clip, track: Track) -> Generator[None]:
    """Put the clip's name before what is wrong with its media."""
    try:
        yield
    except MediaError as error:
        raise _of(clip, track, error) from error


def _of(clip: Clip, track: Track, error: Wan22Error) -> MediaError:
    name = f'"{clip.name}" ({clip.id})' if clip.name and clip.name != clip.id else f'"{clip.id}"'
    return MediaError(f'the clip {name} on track "{track.name or track.id}" cannot be used: {error}')


class Sources:
    """The media of a timeline: looked at here, once each. Raises MediaError for clips that cannot be used."""

    def __init__(self, timeline: Timeline, resolve: Resolve) -> None:
        self._rate = timeline.fps
        self._looked: dict[Path, Source] = {}
        self._audio: dict[Path, AudioReader] = {}
        self._paths: dict[str, Path] = {}
        problems = []
        for track in timeline.tracks:
            for span in () if track.muted else track.spans():
                try:
                    with named(span.clip, track):
                        if span.clip.enabled:
                            self._check(span, track, resolve)
                except MediaError as error:
                    problems.append(str(error))
        if problems:
            more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
            raise MediaError(f"{problems[0]}{more}")

    def video(self, clip: Clip) -> Source:
        """The video, or image, of a clip on a video track."""
        return self._looked[self._paths[clip.id]]

    def audio(self, clip: Clip) -> AudioReader | None:
        """The audio of a clip; None if it has none, or is mute."""
        return self._audio.get(self._paths[clip.id]) if _is_audible(clip) else None

    def path(self, clip: Clip) -> Path:
        """Where a clip's media lies."""
        return self._paths[clip.id]

    @property
    def paths(self) -> set[Path]:
        """Where all media lies."""
        return set(self._paths.values())

    @property
    def notices(self) -> list[str]:
        """What is changed of the videos while they are read."""
        return [notice for source in self._looked.values() for notice in source.info.notices]

    def recipes(self, timeline: Timeline) -> list[dict[str, Any] | None]:
        """The recipe of each video that is seen, in order, once each; None for one that is not ours."""
        seen: dict[Path, dict[str, Any] | None] = {}
        for track, _, clip in timeline.clips():
            if clip.id in self._paths and track.kind == "video" and (path := self.path(clip)) not in seen:
                seen[path] = read_recipe(path) or clip.recipe
        return list(seen.values())

    def _check(self, span: Span, track: Track, resolve: Resolve) -> None:
        clip = span.clip
        path = self._paths[clip.id] = resolve(clip.media)
        rate = Fraction(*clip.source.rate)
        if track.kind == "video":
            if path not in self._looked:
                self._looked[path] = look(path, float(rate) if is_sequence(path) else None)
            times = self._looked[path].times
            last = clip.source_frame(span.last - 1 - span.at, self._rate)
            if not clip.source.still and last / rate >= times.end + EARLY:
                raise MediaError(
                    f"{path} ends after {times.end:.2f} s, and frame {last} at {float(rate):.4g} frames a second "
                    "is needed. Put the whole video there, or cut the clip."
                )
        if _is_audible(clip):
            if path not in self._audio:
                self._audio[path] = AudioReader(path)
            seconds = self._audio[path].info.seconds
            if clip.source.size is None and float(clip.end / rate) > seconds + float(1 / rate) + _SHORT:
                raise MediaError(
                    f"{path} lasts {seconds:.2f} s, and {float(clip.end / rate):.2f} s are needed."
                )


def _is_audible(clip: Clip) -> bool:
    return clip.source.audio and not clip.mute


class Cursor:
    """The images of one clip, forwards: its file is open from the first one that is asked for until `close`."""

    def __init__(self, source: Source, path: Path) -> None:
        self._source, self._path = source, path
        self._moments: Iterator[tuple[float, Any]] | None = None
        self._held: tuple[float, Any] | None = None
        self._next: tuple[float, Any] | None = None
        self._made: tuple[Any, Size, np.ndarray] | None = None

    def image(self, second: float, size: Size) -> np.ndarray:
        """What is seen at a second of the source, uint8 (H, W, 3) of `size` (width, height); do not change it.

        Seconds never fall from one call to the next. Raises MediaError where the file is damaged, or ends too early.
        """
        if self._moments is None:
            self._moments = self._source.frames_from(second)
            self._next = next(self._moments, None)
        while self._next is not None and (self._held is None or self._next[0] <= second + EARLY):
            self._held, self._next = self._next, next(self._moments, None)
        if self._held is None:
            raise MediaError(f"{self._path} holds no frame that can be decoded. Export it again.")
        time, frame = self._held
        starts = self._source.times.starts
        promised = starts[max(0, int(np.searchsorted(starts, second + EARLY, "right")) - 1)]
        if time < promised - HELD:
            raise MediaError(
                f"{self._path} ends at {time:.2f} s, and it promises frames up to {starts[-1]:.2f} s. Export it again."
            )
        if self._made is None or self._made[0] is not frame or self._made[1] != size:
            self._made = frame, size, self._source.rgb(frame, size)
        return self._made[2]

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._moments, Generator):
            self._moments.close()
        self._moments = self._held = self._next = self._made = None
