"""Captions as srt, vtt and ass, and back."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22.errors import MediaError
from wan22.timeline.interchange.captions import CAPTIONS, languages, read_captions, write_captions
from wan22.timeline.interchange.common import Notes
from wan22.timeline.items import Caption, Timeline, Title

TEXTS = [
    "안녕하세요\n빨간 공이 튑니다",
    "你好\n红球",
    "こんにちは",
    "1 < 2 & 3",
    "Room\n7",
    "42",
    r"C:\New\hello",
    "a\u2019b",
]


def timeline(texts, rate=(24, 1), language="ko"):
    captions = tuple(
        Caption(id=f"s{n}", start=30 * n - 29, end=30 * n, text=text, language=language)
        for n, text in enumerate(texts, 1)
    )
    return Timeline(rate=rate, size=(1280, 720), tracks=(), captions=captions)


@pytest.mark.parametrize("form", CAPTIONS)
@pytest.mark.parametrize("rate", [(24, 1), (30000, 1001), (60, 1)])
def test_captions_come_back(form, rate):
    told, notes = timeline(TEXTS, rate), Notes()
    text = write_captions(told, form, "ko", notes)
    assert read_captions(text, form, Fraction(*rate), "ko", notes) == told.captions
    assert notes.lines() == ()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.text("a가漢 \\N{}<>&-\n07.", min_size=1, max_size=12), min_size=1, max_size=3),
    st.sampled_from(CAPTIONS),
)
def test_any_text_comes_back_or_a_note_says_why(texts, form):
    told, notes = timeline(texts), Notes()
    text = write_captions(told, form, "ko", notes)
    if max(each.count("\n") for each in texts) > 1 or notes.lines():
        return  # no right captions, or said not to come back
    if any(line != line.strip() for each in texts for line in each.split("\n")):
        return
    assert [each.text for each in read_captions(text, form, Fraction(24))] == texts


def test_a_file_has_one_language_and_what_is_no_caption_is_noted():
    both = timeline(["하나"])
    title = Title(id="x", start=0, end=5, text="Wan")
    both = replace(
        both,
        captions=(*both.captions, replace(both.captions[0], id="e", text="one", language="en")),
        titles=(title,),
    )
    notes = Notes()
    assert languages(both) == ["ko", "en"]
    assert "one" in write_captions(both, "srt", "en", notes) and "하나" not in write_captions(
        both, "srt", "en", notes
    )
    assert any("titles" in line and "Wan" in line for line in notes.lines())


def test_vtt_and_ass_of_other_programs_are_read():
    vtt = (
        "WEBVTT - made by hand\n\nNOTE a note\n\nintro\n00:01.000 --> 00:02.000 align:start\n<v Ann>Hi <b>there</b>"
        "\n\nNOTE not this\n\n00:00:03.000 --> 00:00:04.500\nsecond &amp; last\n"
    )
    found = read_captions(vtt, "vtt", Fraction(24))
    assert [(each.start, each.end, each.text) for each in found] == [
        (24, 48, "Hi there"),
        (72, 108, "second & last"),
    ]
    ass = (
        "[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, "
        "MarginV, Effect, Text\nDialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\an8\\b1}위{\\b0}\\N아래\n"
    )
    assert read_captions(ass, "ass", Fraction(24))[0].text == "위\n아래"


def test_what_a_timeline_cannot_hold_is_mended_and_noted():
    srt = (
        "1\n00:00:01,000 --> 00:00:05,000\none\ntwo\nthree\n\n2\n00:00:02,000 --> 00:00:02,000\n<i>late</i>\n\n"
        "3\n00:00:02,000 --> 00:00:03,000\nlater\n"
    )
    notes = Notes()
    found = read_captions(srt, "srt", Fraction(24), "en", notes)
    assert [(each.start, each.end, each.text) for each in found] == [
        (24, 48, "one two\nthree"),
        (48, 72, "later"),
    ]
    assert len(notes.lines()) == 3


@pytest.mark.parametrize("form", CAPTIONS)
def test_a_file_without_captions_is_refused(form):
    with pytest.raises(MediaError, match=f"captions as {form} cannot be read"):
        read_captions("nothing here", form, Fraction(24))
