"""Titles and captions over frames."""

import numpy as np
import pytest
from unit.timeline.media import clip, images_of, rendered, timeline, track, video

from wan22.errors import OptionError
from wan22.media import fonts
from wan22.timeline.render import render
from wan22.timeline.sources import files_beside
from wan22.timeline.text import Texts, lay

SIZE = (320, 180)


def cut(**more):
    source = {"frames": 40, "rate": [24, 1], "size": list(SIZE)}
    return timeline(track("v", clip("c", "a.mp4", 0, 24, source=source)), size=SIZE, **more)


def title(text, first=0, last=24, **more):
    style = {
        "place": more.pop("place", "center"),
        "size": more.pop("size", 0.1),
        "color": more.pop("color", "#ffffff"),
    }
    return {
        "id": f"x{first}{text}",
        "from": first,
        "to": last,
        "text": text,
        "style": style | more.pop("style", {}),
    } | more


def caption(text, first=0, last=24, language="en"):
    return {"id": f"s{first}{language}", "from": first, "to": last, "text": text, "language": language}


def drawn(document, frame=0, language=None, grey=80):
    image = np.full((SIZE[1], SIZE[0], 3), grey, np.uint8)
    for patch, opacity in Texts(document, SIZE, language).at(frame):
        lay(image, patch, opacity)
    return image


def rows(image, grey=80):
    return np.flatnonzero((image != grey).any((1, 2)))


def test_titles_stand_where_they_should():
    for place, inside in (("upper", (0, 60)), ("center", (70, 110)), ("lower", (120, 180))):
        changed = rows(drawn(cut(titles=[title("Title", place=place)])))
        assert inside[0] <= changed.min() and changed.max() < inside[1]


def test_titles_come_and_go_in_their_time():
    document = cut(titles=[title("Title", 4, 16, fade=4)])
    brightest = [int(drawn(document, frame).max()) for frame in range(20)]
    assert brightest[:4] == [80] * 4 and brightest[16:] == [80] * 4
    shares = [(value - 80) / 175 for value in brightest[4:16]]
    expected = [0.125, 0.375, 0.625, 0.875, *[1] * 4, 0.875, 0.625, 0.375, 0.125]
    assert np.abs(np.subtract(shares, expected)).max() < 0.02


def test_a_titles_colour_background_and_weight():
    plain, bold = (cut(titles=[title("Title", style={"bold": bold})]) for bold in (False, True))
    assert (drawn(bold) != 80).sum() > 1.1 * (drawn(plain) != 80).sum()
    image = drawn(cut(titles=[title("Title", color="#ff0000", style={"background": "#0000ff80"})]))
    changed = image[(image != 80).any(2)].astype(int)
    assert changed[:, 0].max() > 240 and (changed[:, 2] > 150).any()
    # Soft edges of letters are mixed with what lies below, never with black.
    over_white = drawn(cut(titles=[title("Title")]), grey=250)
    assert over_white.min() >= 250


def test_a_long_text_is_drawn_smaller_and_one_that_cannot_be_read_is_refused(tmp_path):
    changed = np.flatnonzero((drawn(cut(titles=[title("W" * 40, size=0.3)])) != 80).any((0, 2)))
    assert changed.min() >= 10 and changed.max() < 310
    video(tmp_path / "a.mp4", size=SIZE)
    with pytest.raises(OptionError, match="cannot be read in frames of 320x180"):
        render(cut(titles=[title("W" * 400)]), tmp_path / "o.mp4", files_beside(tmp_path))


def test_the_dark_edge_of_a_caption_lies_around_each_line():
    image = drawn(cut(captions=[caption("H\nH")]), language="en")
    bright, dark = (np.flatnonzero(mask.any((1, 2))) for mask in (image > 200, image < 20))
    above, below = bright.min() - dark.min(), dark.max() - bright.max()
    assert above >= 1 and abs(above - below) <= 1


def test_captions_are_burnt_in_only_on_request_and_in_one_language(tmp_path):
    video(tmp_path / "a.mp4", size=SIZE, colour=(80, 80, 80))
    document = cut(captions=[caption("Hello\nthere", 0, 12), caption("Hallo", 0, 12, "de")])
    rendered(document, tmp_path / "plain.mp4")
    assert np.abs(images_of(tmp_path / "plain.mp4").astype(int) - 80).max() < 12
    rendered(document, tmp_path / "burnt.mp4", captions="burn")
    burnt = images_of(tmp_path / "burnt.mp4")
    assert (burnt[5, 110:] > 200).any() and not (burnt[5, :100] > 120).any() and not (burnt[15] > 120).any()
    assert (drawn(document, 5, "de") != drawn(document, 5, "en")).any()
    with pytest.raises(OptionError, match="there are: en, de"):
        render(document, tmp_path / "o.mp4", files_beside(tmp_path), settings(captions="burn:fr"))


def settings(**asked):
    from wan22.timeline.render import Settings

    return Settings(**asked)


def test_letters_that_no_font_has_are_said_before_anything_is_made(tmp_path, monkeypatch):
    video(tmp_path / "a.mp4", size=SIZE)
    monkeypatch.setattr(fonts, "FAMILIES", ("DejaVu Sans", "no such family"))
    fonts._font_file.cache_clear()
    document = cut(captions=[caption("자막", language="ko")])
    try:
        with pytest.raises(OptionError, match="no font of this machine has the letters 막자 of the caption"):
            render(document, tmp_path / "o.mp4", files_beside(tmp_path), settings(captions="burn"))
        assert not (tmp_path / "o.mp4").exists()
    finally:
        fonts._font_file.cache_clear()


def test_other_scripts_are_drawn_where_a_font_has_them():
    for text, language in (("자막입니다", "ko"), ("字幕です", "ja"), ("这是字幕", "zh"), ("Привет", "ru")):
        document = cut(captions=[caption(text, language=language)])
        try:
            image = drawn(document, language=language)
        except OptionError as error:
            pytest.skip(str(error))
        assert (image > 200).any()
