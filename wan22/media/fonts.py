"""Fonts for text that is drawn into images: Pillow's own for ASCII, else the first of this machine with all letters."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

from wan22.errors import OptionError

__all__ = ["FAMILIES", "add_new", "faces", "font_for"]

FAMILIES = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "Malgun Gothic",
    "Arial Unicode MS",
)  # fmt: skip
"""Fonts that are looked for on this machine, in order; the first comes with matplotlib."""

_FACES = {"ja": 0, "ko": 1, "zh": 2, "zh-tw": 3, "zh-hk": 4}
"""Of the collections "Noto Sans CJK": one shape of a character for each language."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_for(text: str, points: int, what: str = "text", language: str = "", *, bold: bool = False) -> Font:
    """A font with every letter of `text`, `points` pixels high, `bold` where there is one; `what` is for the message.

    Characters that languages draw differently are drawn as `language` does, where the font has them so.
    Raises OptionError that names the letters which no font of this machine has.
    """
    if text.isascii() and not bold:
        return ImageFont.load_default(points)
    file = _font_file(frozenset(text), what, "bold" if bold else "normal")
    face = 0
    if Path(file).name.startswith("NotoSansCJK") and file.endswith(".ttc"):
        code = language.lower()
        face = _FACES.get(code, _FACES.get(code[:2], 0))
    return ImageFont.truetype(file, points, index=face)


@lru_cache(maxsize=64)
def _font_file(letters: frozenset[str], what: str, weight: str) -> str:
    wanted = {ord(letter) for letter in letters if not letter.isspace()}
    file, known = _search(wanted, weight)
    if not file and add_new():
        file, known = _search(wanted, weight)
    if file:
        return file
    missing = "".join(sorted(map(chr, wanted - known))) or "".join(sorted(letters))
    raise OptionError(
        f"no font of this machine has the letters {missing} of the {what}. Install one that has, such as Noto Sans CJK."
    )


def _search(wanted: set[int], weight: str) -> tuple[str, set[int]]:
    """The file of the first font with all letters, or "", and the letters that the others have."""
    known = set[int]()
    for _, path, there in faces(weight):
        if wanted <= there:
            return path, known
        known |= wanted & there
    return "", known


def faces(weight: str) -> Iterator[tuple[str, str, Set[int]]]:
    """The families that are here: name, file of that weight, and its letters.

    A family has several files, and the thin ones often lack signs that the others have.
    """
    from matplotlib import font_manager

    for name in FAMILIES:
        asked = font_manager.FontProperties(family=[name], weight=weight)
        try:
            path = font_manager.findfont(asked, fallback_to_default=False)
        except ValueError:  # the family is not here
            continue
        yield name, str(path), font_manager.get_font(path).get_charmap().keys()


@cache
def add_new() -> bool:
    """Add the fonts that were installed since matplotlib made its list, once; whether there were any."""
    from matplotlib import font_manager

    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    new = [path for path in font_manager.findSystemFonts() if path not in listed]
    for path in new:
        with suppress(OSError, RuntimeError):  # a font that cannot be read
            font_manager.fontManager.addfont(path)
    return bool(new)
