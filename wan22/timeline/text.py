"""Titles and captions as patches that are laid over frames; drawn by Pillow.

A text that is wider than nine tenths of the frame is drawn smaller until it fits. Captions are white with a dark edge,
so that they can be read on any image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from wan22.errors import OptionError
from wan22.media.fonts import font_for
from wan22.timeline.items import Caption, Style, Timeline, Title

__all__ = ["Patch", "Texts", "lay"]

_WIDTH = 0.9  # of the frame that a text may take
_EDGE = 0.07  # of the frame's height between a text and the frame's edge
_CAPTION = 0.055  # height of a caption's letters, of the frame's shorter side
_LEAST = 7  # pixels of a letter that can be read
_SPACING = 0.3  # between lines, of a letter's height


@dataclass(frozen=True)
class Patch:
    """RGBA uint8 (h, w, 4), and where its upper left corner lies in the frame."""

    pixels: np.ndarray
    left: int
    top: int


@dataclass(frozen=True)
class Texts:
    """What is written over frames of `size` (width, height): titles, and captions of a `language`, None for none."""

    timeline: Timeline
    size: tuple[int, int]
    language: str | None

    def check(self) -> None:
        """Raise OptionError, before any frame is made, for a text that cannot be drawn."""
        for title in self.timeline.titles:
            _title(title, self.size)
        for caption in self._captions():
            _caption(caption, self.size)

    def at(self, frame: int) -> list[tuple[Patch, float]]:
        """The patches of a frame, the lowest first, each with its opacity."""
        found = []
        for title in self.timeline.titles:
            if title.start <= frame < title.end and title.text.strip():
                found.append((_title(title, self.size), _opacity(title, frame)))
        found += [
            (_caption(each, self.size), 1.0)
            for each in self._captions()
            if each.start <= frame < each.end and each.text.strip()
        ]
        return found

    def _captions(self) -> list[Caption]:
        return [each for each in self.timeline.captions if each.language == self.language]


def lay(frame: np.ndarray, patch: Patch, opacity: float) -> None:
    """Lay a patch over a frame, uint8 (H, W, 3), in place."""
    height, width = patch.pixels.shape[:2]
    under = frame[patch.top : patch.top + height, patch.left : patch.left + width]
    alpha = (patch.pixels[..., 3:].astype(np.uint32) * round(opacity * 255) + 127) // 255
    under[:] = (under * (255 - alpha) + patch.pixels[..., :3] * alpha + 127) // 255


def _opacity(title: Title, frame: int) -> float:
    if not title.fade:
        return 1.0
    inside = min(frame - title.start, title.end - 1 - frame)
    return min(1.0, (inside + 0.5) / title.fade)


@dataclass(frozen=True)
class _Look:
    """How a text is drawn: `points` high, `edge` of a dark line around letters as a part of that."""

    what: str
    points: int
    place: str
    color: str
    background: str | None = None
    bold: bool = False
    edge: float = 0.0
    language: str = ""


@lru_cache(maxsize=16)
def _drawn(text: str, size: tuple[int, int], style: _Look) -> Patch:
    """A text in its place. Raises OptionError if it cannot be read in a frame of this size."""
    width, height = size
    points = style.points
    while points >= _LEAST:
        font = font_for(text, points, style.what, style.language, bold=style.bold)
        edge = max(1, round(points * style.edge)) if style.edge else 0
        beside = max(2, points // 3) if style.background else edge + 1
        draw = ImageDraw.Draw(Image.new("RGBA", (1, 1)))
        layout = {"font": font, "spacing": points * _SPACING, "align": "center"}
        left, top, right, bottom = draw.multiline_textbbox((0, 0), text, stroke_width=edge, **layout)
        wide, high = round(right - left) + 2 * beside, round(bottom - top) + 2 * beside
        if wide <= width * _WIDTH and high <= height * (1 - 2 * _EDGE):
            break
        points -= 1
    else:
        raise OptionError(
            f"the {style.what} {text!r} cannot be read in frames of {width}x{height}. Shorten it, or break its lines."
        )
    at, ink = (beside - left, beside - top), ImageColor.getrgb(style.color)
    # Where nothing is drawn there is the colour of what is drawn beside it, unseen: it is mixed into soft edges.
    clear = (0, 0, 0, 0) if edge else (*ink[:3], 0)
    image = Image.new(
        "RGBA", (wide, high), ImageColor.getrgb(style.background) if style.background else clear
    )
    draw = ImageDraw.Draw(image)
    draw.multiline_text(at, text, fill=ink, stroke_width=edge, stroke_fill=(0, 0, 0, 255), **layout)
    y = {"upper": height * _EDGE, "lower": height * (1 - _EDGE) - high, "center": (height - high) / 2}
    return Patch(np.array(image), (width - wide) // 2, round(y[style.place]))


def _title(title: Title, size: tuple[int, int]) -> Patch:
    style: Style = title.style
    points = max(_LEAST, round(style.size * size[1]))
    return _drawn(
        title.text, size, _Look("title", points, style.place, style.color, style.background, style.bold)
    )


def _caption(caption: Caption, size: tuple[int, int]) -> Patch:
    points = max(_LEAST, round(min(size) * _CAPTION))
    look = _Look("caption", points, "lower", "#ffffff", edge=0.09, language=caption.language)
    return _drawn(caption.text, size, look)
