"""The board as HTML and PDF: any number of shots, any shape of image, any letters."""

import numpy as np
import pytest

from wan22.director.shot import ShotSpec
from wan22.storyboard.board import Board, Card, html
from wan22.storyboard.continuity import compare, portrait
from wan22.storyboard.sheet import _MARKS, _cut, _drawn, _faces, _wrapped, write_sheet

ROWS = tuple(
    {
        "axis": f"axis_{i}",
        "asked": "a $x$ & <b>",
        "measured": "other",
        "matches": (True, False, None)[i % 3],
        "why": "",
    }
    for i in range(12)
)


def board(shots=1, size=(32, 48), prompt="a ball rolls", rows=ROWS[:3], remark=""):
    frames = np.random.default_rng(0).integers(0, 255, (3, *size, 3), dtype=np.uint8)
    cards = tuple(
        Card(n, prompt, {}, 7, "k", f"shot-{n}.mp4", f"shot-{n}.png", 2.0, 1, 1, rows, frames, remark)
        for n in range(1, shots + 1)
    )
    portraits = [portrait(frames)] * shots
    return Board(
        "A title",
        "nano",
        "a ball",
        "",
        shots,
        cards,
        compare(portraits, [ShotSpec("a")] * shots, [True] * shots),
    )


@pytest.mark.parametrize(("shots", "pages"), [(1, 1), (3, 2), (4, 3), (7, 4)])
def test_there_are_three_shots_a_page_and_the_matrix_comes_last(shots, pages, tmp_path):
    path = tmp_path / "board.pdf"
    assert write_sheet(board(shots), path) == pages
    assert path.read_bytes().count(b"/Type /Page ") == pages


@pytest.mark.parametrize("size", [(16, 200), (200, 16), (40, 1200)])
def test_images_of_any_shape_have_a_place(size, tmp_path):
    write_sheet(board(size=size, rows=ROWS), tmp_path / "board.pdf")


def test_long_prompts_and_letters_without_a_font_are_drawn(tmp_path):
    write_sheet(board(prompt="球 $a_b^c$ \\frac " * 200, remark="too short"), tmp_path / "board.pdf")
    assert _drawn("a\U000f0000b", "normal") == "a□b"


@pytest.mark.parametrize("weight", ["normal", "bold"])
@pytest.mark.parametrize("reverse", [False, True])
def test_marks_are_of_the_face_that_draws_them_whatever_files_a_family_has(weight, reverse, monkeypatch):
    """DejaVu Sans has an ExtraLight file without the marks on many machines; here its place is taken by any font."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    thin = font_manager.FontEntry(
        fname=font_manager.findfont("cmr10"), name="DejaVu Sans", style="normal", variant="normal",
        weight=200, stretch="normal", size="scalable",
    )  # fmt: skip
    fonts = [thin, *manager.ttflist] if reverse else [*manager.ttflist, thin]
    monkeypatch.setattr(manager, "ttflist", fonts)
    _faces.cache_clear()
    try:
        assert _drawn("".join(_MARKS.values()), weight) == "✓✗?"
    finally:
        _faces.cache_clear()


def test_the_sheet_says_what_failed_and_what_was_not_checked(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("wan22.storyboard.sheet._write", lambda f, x, y, text, **style: drawn.append(text))
    write_sheet(board(rows=ROWS), tmp_path / "board.pdf")
    said = " ".join(drawn)
    assert "not checked: axis 2, axis 5, axis 8, axis 11" in said and "not as asked: axis 1" in said
    assert drawn.count("✗") == 4  # before those that passed, for which there is no room


def test_lines_break_between_words_and_chinese_letters():
    assert _wrapped("one two three four", 9, 9) == ["one two", "three", "four"]
    assert _wrapped("红球滚动红球滚动", 9, 9) == ["红球滚动", "红球滚动"]
    assert _wrapped("one two three four", 9, 2) == ["one two", "three …"]
    assert _cut("one two three", 8) == "one two …"


def test_html_escapes_what_people_wrote_and_says_what_is_not_known():
    page = html(board(2, prompt="<script>alert('x')</script>", rows=ROWS))
    assert "<script" not in page and "&lt;script&gt;" in page and "a $x$ &amp; &lt;b&gt;" in page
    assert page.count('class="no"') == page.count('class="unknown"') == 8
    assert "Mean over pairs 1.00" in page and "not shapes, faces or places" in page
    assert "Consistency" not in html(board(1))


def test_a_card_counts_what_obeyed():
    card = board(rows=ROWS).cards[0]
    assert card.verdict == (
        "4 of 8 as asked; not as asked: axis 1, axis 4, axis 7, axis 10; "
        "not checked: axis 2, axis 5, axis 8, axis 11"
    )
    assert card.unchecked == card.as_json()["unchecked"] == ["axis_2", "axis_5", "axis_8", "axis_11"]
    assert card.failed == ["axis_1", "axis_4", "axis_7", "axis_10"]
    assert board(rows=()).cards[0].verdict == "nothing that was asked was checked"
    assert board(2).summary == "2 of 2 shots · 2 of 4 as asked, 2 not checked · consistency 1.00"
