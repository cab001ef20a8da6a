"""The board of a video: each shot with what was asked and what was measured, and how the shots go together.

As JSON, and as one page of HTML that holds its images; sheet.py draws it as a PDF. Values in, text out.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from wan22.storyboard.continuity import FORMULA, Continuity

__all__ = ["Board", "Card", "html", "verdict_in_words"]

_THUMBNAIL = 480  # pixels across


@dataclass(frozen=True)
class Card:
    """One shot on the board.

    `verdicts` are rows of axis, asked, measured, why, and obeyed (None: cannot be judged); `frames` are uint8
    (3, H, W, 3): its first, middle and last. `video` and `still` are names of files beside the board; `take` of `takes`
    is the one shown, from 1. `remark` says what else there is to know.
    """

    number: int
    prompt: str
    asked: dict[str, Any]
    seed: int
    recipe: str
    video: str
    still: str
    seconds: float
    take: int
    takes: int
    verdicts: tuple[dict[str, Any], ...]
    frames: np.ndarray = field(repr=False)
    remark: str = ""

    @property
    def failed(self) -> list[str]:
        """Axes that did not obey."""
        return [row["axis"] for row in self.verdicts if row["matches"] is False]

    @property
    def unchecked(self) -> list[str]:
        """Axes that were asked and could not be judged."""
        return [row["axis"] for row in self.verdicts if row["matches"] is None]

    @property
    def verdict(self) -> str:
        """One line: how much of what was asked is there, what is not, and what could not be checked."""
        return verdict_in_words(self.verdicts)

    def as_json(self) -> dict[str, Any]:
        """All but the images."""
        return {
            "shot": self.number,
            "prompt": self.prompt,
            "asked": self.asked,
            "seed": self.seed,
            "take": self.take,
            "takes": self.takes,
            "recipe": self.recipe,
            "video": self.video,
            "still": self.still,
            "seconds": self.seconds,
            "verdicts": list(self.verdicts),
            "failed": self.failed,
            "unchecked": self.unchecked,
            **({"remark": self.remark} if self.remark else {}),
        }


@dataclass(frozen=True)
class Board:
    """All shots, in order. `shots` is how many the script has; there are fewer cards while it is being made.

    `not_made` says why a shot could not be made, by its number. `video` is the name of the file in
    which they are joined.
    """

    title: str
    model: str
    subject: str
    style: str
    shots: int
    cards: tuple[Card, ...]
    continuity: Continuity
    not_made: Mapping[int, str] = field(default_factory=dict)
    video: str = ""

    @property
    def failed(self) -> list[int]:
        """Numbers of the shots that are not as asked, or could not be made."""
        return sorted([*self.not_made, *(card.number for card in self.cards if card.failed)])

    @property
    def summary(self) -> str:
        """One line on the whole."""
        asked = [row["matches"] for card in self.cards for row in card.verdicts]
        judged = [matches for matches in asked if matches is not None]
        kept = f"{sum(judged)} of {len(judged)} as asked" if judged else "nothing that was asked was checked"
        unchecked = f", {len(asked) - len(judged)} not checked" if judged and len(asked) > len(judged) else ""
        score = self.continuity.score
        together = "" if score is None else f" · consistency {score:.2f}"
        lost = f" · not made: {', '.join(map(str, self.not_made))}" if self.not_made else ""
        return f"{len(self.cards)} of {self.shots} shots{lost} · {kept}{unchecked}{together}"

    def lines(self) -> list[str]:
        """What came of every shot, and the summary, for a person."""
        lines = [f"shot {card.number}: {card.verdict}" for card in self.cards]
        lines += [f"shot {number}: could not be made: {why}" for number, why in self.not_made.items()]
        return [*lines, self.summary]

    def as_json(self) -> dict[str, Any]:
        """The whole board as JSON values."""
        return {
            "title": self.title,
            "model": self.model,
            "subject": self.subject,
            "style": self.style,
            "shots": [card.as_json() for card in self.cards],
            "of": self.shots,
            "failed": self.failed,
            "not_made": [{"shot": number, "why": why} for number, why in self.not_made.items()],
            **({"video": self.video} if self.video else {}),
            "consistency": self.continuity.as_json([card.number for card in self.cards]),
        }


def verdict_in_words(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """One line on rows of verdicts: "2 of 3 as asked; not as asked: time; not checked: lens"."""
    judged = [row for row in verdicts if row["matches"] is not None]
    kept = sum(row["matches"] for row in judged)
    said = [f"{kept} of {len(judged)} as asked"] if judged else ["nothing that was asked was checked"]
    for matches, what in ((False, "not as asked"), (None, "not checked")):
        if axes := [row["axis"].replace("_", " ") for row in verdicts if row["matches"] is matches]:
            said.append(f"{what}: {', '.join(axes)}")
    return "; ".join(said)


def html(board: Board) -> str:
    """One page that holds all its images; videos are links to the files beside it."""
    shared = [("Model", board.model), ("Subject", board.subject), ("Style", board.style)]
    facts = " · ".join(f"{name}: {escape(value)}" for name, value in shared if value)
    cards = "\n".join(_card(card) for card in board.cards)
    cards += "".join(
        f"\n<section><h2>Shot {number}</h2><p>It could not be made: {escape(why)}</p></section>"
        for number, why in board.not_made.items()
    )
    video = escape(board.video, quote=True)
    joined = f'<p>All shots in one video: <a href="{video}">{video}</a></p>' if video else ""
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(board.title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>\n'
        f"<h1>{escape(board.title)}</h1><p>{facts}</p><p>{escape(board.summary)}</p>{joined}\n{cards}\n{_matrix(board)}</html>\n"
    )


def _card(card: Card) -> str:
    names = ("first", "middle", "last")
    images = "".join(
        f'<img src="{_inline(frame)}" alt="{name} frame of shot {card.number}">'
        for name, frame in zip(names, card.frames, strict=True)
    )
    rows = "".join(
        f'<tr class="{_class(row["matches"])}"><td>{escape(row["axis"])}<td>{escape(row["asked"])}'
        f"<td>{escape(row['measured'])}<td>{_mark(row['matches'])}<td>{escape(row['why'])}</tr>"
        for row in card.verdicts
    )
    table = f"<table><tr><th>axis<th>asked<th>measured<th><th></tr>{rows}</table>" if rows else ""
    remark = f"<p>{escape(card.remark)}</p>" if card.remark else ""
    video, still = escape(card.video, quote=True), escape(card.still, quote=True)
    return (
        f'<section id="shot-{card.number}"><h2>Shot {card.number}</h2><div class="frames">{images}</div>'
        f"<p>{escape(card.prompt)}</p>{table}{remark}"
        f'<p class="small">{escape(card.verdict)} · <a href="{video}">{video}</a>, {card.seconds:.2f} s · '
        f'<a href="{still}">{still}</a> · seed {card.seed} · take {card.take} of {card.takes}</p></section>'
    )


def _matrix(board: Board) -> str:
    count = len(board.cards)
    if count < 2:
        return ""
    head = "".join(f"<th>{card.number}" for card in board.cards)
    lines = "".join(
        f"<tr><th>{board.cards[i].number}"
        + "".join("<td>–" if value is None else f'<td style="{_shade(value)}">{value:.2f}' for value in row)
        + "</tr>"
        for i, row in enumerate(board.continuity.matrix(count))
    )
    return (
        f"<section><h2>Consistency</h2><table><tr><th>shot{head}</tr>{lines}</table>"
        f'<p class="small">{escape(together(board))}</p></section>'
    )


def together(board: Board) -> str:
    """How the shots go together, in words, and what that does not know."""
    weakest, score = board.continuity.weakest, board.continuity.score
    if weakest is None or score is None:
        said = "No pair of shots can be compared."
    else:
        pair = f"shots {board.cards[weakest.first].number} and {board.cards[weakest.second].number}"
        said = f"Mean over pairs {score:.2f}; the weakest are {pair}, {weakest.score:.2f}."
    return (
        f"{said} {FORMULA}: hues of the shared subject; palette and light between shots that ask for the same light. "
        "It knows colours, not shapes, faces or places."
    )


def _inline(frame: np.ndarray) -> str:
    from PIL import Image

    image = Image.fromarray(frame)
    if image.width > _THUMBNAIL:
        image = image.resize((_THUMBNAIL, max(1, round(image.height * _THUMBNAIL / image.width))))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _class(matches: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[matches]


def _mark(matches: bool | None) -> str:
    return {True: "✓", False: "✗", None: "?"}[matches]


def _shade(value: float) -> str:
    """Red at 0 to green at 1, pale, so that black letters are read on it."""
    return f"background:hsl({round(120 * value)},60%,80%)"


_STYLE = """
body{font:16px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
section{border-top:1px solid #ccc;padding:.5rem 0 1rem}h2{margin:.5rem 0}
.frames{display:grid;grid-template-columns:repeat(3,1fr);gap:.5rem}.frames img{width:100%}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .7rem;text-align:left;border-bottom:1px solid #eee}
.no td{background:#fde3e0}.yes td:nth-child(4){color:#0a7d33}.no td:nth-child(4){color:#b3261e}.unknown{color:#777}
.small{color:#555;font-size:.85rem}
"""
