"""The board as a PDF to print: A4, three shots a page, each with three frames, its prompt, what was asked and measured.

Drawn by matplotlib. Letters that no font of this machine has become a hollow box, and
the page says so.
"""

from __future__ import annotations

import math
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wan22.media.fonts import add_new, faces
from wan22.storyboard.board import Board, Card, together

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PER_PAGE", "write_sheet"]

PER_PAGE = 3
_PAGE = (11.69, 8.27)  # inches: A4, lying
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.04, 0.96, 0.90, 0.05
_IMAGES = 0.60  # share of the page's width, at most
_GAP = 0.006
_LINE = 0.0195  # height of a line, of the page
_ROWS = 7  # verdicts that fit beside the images
_MAX_PIXELS = 480
_INK = {True: "#0a7d33", False: "#b3261e", None: "#666666"}
_MARKS = {True: "✓", False: "✗", None: "?"}
_FIRST = (False, None, True)  # where there is no room for all: what failed, and what was not checked


def write_sheet(board: Board, path: Path) -> int:
    """Draw the board to a PDF and return its number of pages; the last one holds the matrix of consistency."""
    from matplotlib.backends.backend_pdf import PdfPages

    cards = [board.cards[i : i + PER_PAGE] for i in range(0, len(board.cards), PER_PAGE)]
    pages = len(cards) + (len(board.cards) > 1)
    with PdfPages(path, metadata={"Title": board.title, "Creator": "wan22", "CreationDate": None}) as pdf:
        for number, some in enumerate(cards, 1):
            figure = _page(board, number, pages)
            for place, card in enumerate(some):
                _draw_card(figure, card, place)
            pdf.savefig(figure)
        if len(board.cards) > 1:
            figure = _page(board, pages, pages)
            _draw_matrix(figure, board)
            pdf.savefig(figure)
    return pages


def _page(board: Board, number: int, pages: int) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_PAGE)
    _write(figure, _LEFT, 0.955, _cut(board.title, 60), size=15, weight="bold")
    about = " · ".join(part for part in (board.model, board.subject, board.style, board.summary) if part)
    _write(figure, _LEFT, 0.925, _cut(about, 150), size=8.5, color="#555555")
    _write(figure, _RIGHT, 0.955, f"{number} of {pages}", size=8.5, color="#555555", ha="right")
    said = board.title + about + "".join(card.prompt for card in board.cards)
    if missing := sorted(set(said) - set(_drawn(said, "normal"))):
        note = f"This machine has no font for {len(missing)} of the letters (□); board.html has them all."
        _write(figure, _LEFT, 0.012, note, size=7, color="#555555")
    return figure


def _draw_card(figure: Figure, card: Card, place: int) -> None:
    """Frames on the left, words on the right."""
    band = (_TOP - _BOTTOM) / PER_PAGE
    top, height = _TOP - place * band, band - 0.025
    rows, columns = card.frames.shape[1:3]
    shape = columns / rows * _PAGE[1] / _PAGE[0]  # width over height, in shares of the page
    high = min(height, (_IMAGES / 3 - _GAP) / shape)
    for k, frame in enumerate(card.frames):
        axes = figure.add_axes((_LEFT + k * (high * shape + _GAP), top - high, high * shape, high))
        axes.imshow(_small(frame), interpolation="bicubic" if columns < _MAX_PIXELS else "antialiased")
        axes.set_axis_off()
    left = max(_LEFT + 3 * (high * shape + _GAP), 0.36) + 0.012
    width = round((_RIGHT - left) * _PAGE[0] * 72 / 4.3)  # letters of 7.5 points in a line, on the safe side
    y = top - _LINE * 0.7
    _write(figure, left, y, f"Shot {card.number}", size=10, weight="bold")
    detail = f"{card.seconds:.1f} s · seed {card.seed} · take {card.take} of {card.takes}"
    _write(figure, _RIGHT, y, detail, size=7, color="#666666", ha="right")
    lines = _wrapped(card.prompt, width, 5)
    for line in lines:
        y -= _LINE
        _write(figure, left, y, line, size=7.5)
    room = max(1, int((y - (top - height)) / _LINE) - 4)
    y -= _LINE * 0.35
    rows = sorted(card.verdicts, key=lambda row: _FIRST.index(row["matches"]))
    for row in rows[: min(room, _ROWS)]:
        y -= _LINE
        _draw_verdict(figure, left, y, row, width)
    hidden = len(rows) - min(room, _ROWS)
    more = f" · {hidden} more in board.html" if hidden > 0 else ""
    said = ". ".join(part for part in (card.remark, card.verdict) if part) + more
    for line in _wrapped(said, width, 3):
        y -= _LINE
        _write(figure, left, y, line, size=7, color="#666666")


def _draw_verdict(figure: Figure, left: float, y: float, row: dict[str, Any], width: int) -> None:
    ink = _INK[row["matches"]]
    _write(figure, left, y, _MARKS[row["matches"]], size=7.5, color=ink, weight="bold")
    text = f"{row['axis'].replace('_', ' ')}: {row['asked']}"
    if row["matches"] is None:
        text += f" · {row['why'] or 'not known'}"
    elif row["measured"] != row["asked"]:
        text += f" · measured {row['measured']}"
    _write(figure, left + 0.014, y, _cut(text, width - 4), size=7.5, color=ink)


def _draw_matrix(figure: Figure, board: Board) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    count = len(board.cards)
    scores = np.array(
        [[math.nan if v is None else v for v in row] for row in board.continuity.matrix(count)], dtype=float
    )
    axes = figure.add_axes((0.28, 0.22, 0.44, 0.44 * _PAGE[0] / _PAGE[1]))
    shades = LinearSegmentedColormap.from_list("score", ["#f2b8b5", "#f7e7a6", "#a8dab5"])
    axes.imshow(scores, cmap=shades, vmin=0, vmax=1)
    numbers = [str(card.number) for card in board.cards]
    step = max(1, count // 25)
    axes.set_xticks(range(0, count, step), numbers[::step])
    axes.set_yticks(range(0, count, step), numbers[::step])
    axes.set_title("Consistency of shots by shots", fontsize=10)
    if count <= 16:
        for i, j in np.ndindex(count, count):
            text = "–" if math.isnan(scores[i, j]) else f"{scores[i, j]:.2f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=max(5, 11 - count // 2))
    for k, line in enumerate(textwrap.wrap(together(board), 140)):
        _write(figure, _LEFT + 0.06, 0.13 - k * _LINE * 1.1, line, size=8)


def _write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    size = style.pop("size")
    faces = _faces(style.get("weight", "normal"))
    plain = _boxed(text, faces).replace("$", r"\$")
    figure.text(x, y, plain, fontsize=size, family=[name for name, _ in faces], **style)


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """At most `most` lines; a Chinese letter is as wide as two."""
    lines, line, used = [], "", 0.0
    for word in _words(text):
        wide = sum(1.9 if ord(letter) > 0x2E7F else 1 for letter in word)
        if line.strip() and used + wide > width:
            lines.append(line.strip())
            line, used = "", 0.0
        line, used = line + word, used + wide
    lines.append(line.strip())
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]


def _words(text: str) -> list[str]:
    """Pieces between which a line may break: words with the space behind them, and Chinese letters."""
    pieces: list[str] = []
    for letter in text:
        joins = (
            pieces
            and not pieces[-1].endswith(" ")
            and ord(letter) <= 0x2E7F
            and ord(pieces[-1][-1]) <= 0x2E7F
        )
        if joins and len(pieces[-1]) < 40:
            pieces[-1] += letter
        else:
            pieces.append(letter)
    return pieces


def _cut(text: str, most: int) -> str:
    return _wrapped(text, most, 1)[0] if most > 0 else ""


def _small(frame: np.ndarray) -> np.ndarray:
    step = max(1, frame.shape[1] // _MAX_PIXELS)
    if step == 1:
        return frame
    from PIL import Image

    return np.asarray(Image.fromarray(frame).reduce(step))


def _drawn(text: str, weight: str) -> str:
    """The text with a hollow box for each letter that no font has in that weight."""
    return _boxed(text, _faces(weight))


_Faces = tuple[tuple[str, frozenset[int]], ...]


def _boxed(text: str, faces: _Faces) -> str:
    known = set().union(*(letters for _, letters in faces))
    return "".join(letter if ord(letter) in known else "□" for letter in text)


@cache
def _faces(weight: str) -> _Faces:
    """The families that are here, and the letters of the face that matplotlib draws with; the first comes with it."""
    add_new()
    return tuple((name, frozenset(letters)) for name, _, letters in faces(weight))
