"""The frames of a timeline, one by one: which source frame is seen when, laid over one another.

Higher tracks cover lower ones; where nothing is, what lies below is seen, and black at the bottom. In a dissolve of n
frames, frame j has (j + 1/2)/n of the clip after it; in a fade of n frames from black, frame k has (k + 1/2)/n of the
image. Only the files of clips that are seen at a frame are open: one for a track, two while it dissolves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from wan22.timeline.items import Clip, Span, Timeline, Track
from wan22.timeline.sources import Cursor, Sources, named
from wan22.timeline.text import Texts, lay

__all__ = ["frames"]


def frames(timeline: Timeline, sources: Sources, texts: Texts, first: int, last: int) -> Iterator[np.ndarray]:
    """Yield frames `first` to `last` (without it), uint8 (H, W, 3) of the size of `texts`."""
    width, height = texts.size
    with ExitStack() as stack:
        layers = [
            _Layer(track, timeline.fps, sources, texts.size)
            for track in timeline.tracks
            if track.kind == "video" and not track.muted
        ]
        for layer in layers:
            stack.callback(layer.close)
        for frame in range(first, last):
            canvas = np.zeros((height, width, 3), np.uint8)
            for layer in layers:
                canvas = layer.over(canvas, frame)
            for patch, opacity in texts.at(frame):
                lay(canvas, patch, opacity)
            yield canvas


@dataclass(frozen=True)
class _Dissolve:
    """Frames `first` to `last`, from one clip to another; None for one that is not enabled."""

    first: int
    last: int
    before: Span | None
    after: Span | None


class _Layer:
    """One track."""

    def __init__(self, track: Track, rate: Fraction, sources: Sources, size: tuple[int, int]) -> None:
        self._track, self._rate, self._sources, self._size = track, rate, sources, size
        self._spans = [span for span in track.spans() if span.clip.enabled]
        known = {span.clip.id: span for span in self._spans}
        spans = track.spans()
        self._dissolves = [
            _Dissolve(after.first, before.last, known.get(before.clip.id), known.get(after.clip.id))
            for before, after in pairwise(spans)
            if before.after is not None
        ]
        self._cursors: dict[str, Cursor] = {}

    def over(self, canvas: np.ndarray, frame: int) -> np.ndarray:
        """The canvas with this track over it; the given one may be used."""
        self._spans = self._left(self._spans, frame)
        while self._dissolves and self._dissolves[0].last <= frame:
            self._dissolves.pop(0)
        dissolve = next(iter(self._dissolves), None)
        if dissolve is not None and dissolve.first <= frame:
            before = self._painted(canvas.copy(), dissolve.before, frame)
            after = self._painted(canvas, dissolve.after, frame)
            return _mixed(
                before,
                after,
                Fraction(2 * (frame - dissolve.first) + 1, 2 * (dissolve.last - dissolve.first)),
            )
        span = next((each for each in self._spans if each.first <= frame), None)
        return self._painted(canvas, span, frame)

    def close(self) -> None:
        """Close what is open."""
        for cursor in self._cursors.values():
            cursor.close()
        self._cursors.clear()

    def _left(self, spans: list[Span], frame: int) -> list[Span]:
        """The clips that are not over yet; the files of the others are closed."""
        over = [span for span in spans[:2] if span.last <= frame]
        for span in over:
            if cursor := self._cursors.pop(span.clip.id, None):
                cursor.close()
        return [span for span in spans if span.last > frame] if over else spans

    def _painted(self, canvas: np.ndarray, span: Span | None, frame: int) -> np.ndarray:
        """The canvas with one clip over it."""
        if span is None:
            return canvas
        clip, at = span.clip, frame - span.at
        source = self._sources.video(clip)
        cursor = self._cursors.get(clip.id)
        if cursor is None:
            cursor = self._cursors[clip.id] = Cursor(source, self._sources.path(clip))
        size = _scaled(source.size, self._size, cover=clip.fit == "cover")
        with named(clip, self._track):
            second = clip.source_frame(at, self._rate) / Fraction(*clip.source.rate)
            image = cursor.image(float(second), size)
        image = _dimmed(image, _fade(clip, at))
        left, top = (self._size[0] - size[0]) // 2, (self._size[1] - size[1]) // 2
        if clip.fit == "cover":
            canvas[:] = image[-top : self._size[1] - top, -left : self._size[0] - left]
        else:
            canvas[top : top + size[1], left : left + size[0]] = image
        return canvas


def _scaled(source: tuple[int, int], target: tuple[int, int], *, cover: bool) -> tuple[int, int]:
    """The size of a source that covers the target, or fits into it, in its own shape."""
    width, height = Fraction(target[0], source[0]), Fraction(target[1], source[1])
    scale = max(width, height) if cover else min(width, height)
    limit = max if cover else min
    return (
        max(1, limit(target[0], round(source[0] * scale))),
        max(1, limit(target[1], round(source[1] * scale))),
    )


def _fade(clip: Clip, at: int) -> Fraction:
    """How much of the image is seen, 0 to 1."""
    share = Fraction(1)
    if clip.fade_in:
        share *= min(Fraction(1), Fraction(2 * at + 1, 2 * clip.fade_in))
    if clip.fade_out:
        share *= min(Fraction(1), Fraction(2 * (clip.duration - at) - 1, 2 * clip.fade_out))
    return max(Fraction(0), share)


def _dimmed(image: np.ndarray, share: Fraction) -> np.ndarray:
    if share == 1:
        return image
    return ((image * np.uint16(round(share * 256)) + np.uint16(128)) >> 8).astype(np.uint8)


def _mixed(before: np.ndarray, after: np.ndarray, share: Fraction) -> np.ndarray:
    """Of two images, (1 - share) of the first and `share` of the second."""
    weight = np.uint16(round(share * 256))
    mixed = before * (np.uint16(256) - weight) + after * weight  # at most 255 x 256
    return ((mixed + np.uint16(128)) >> 8).astype(np.uint8)
