"""The director's words: complete in every language, found by any name, and in prose only where they are meant."""

import pytest

from wan22.director.shot import ShotSpec, parse
from wan22.director.vocabulary import (
    AXES,
    LANGUAGES,
    PROMPT_LANGUAGES,
    TERMS,
    alone,
    axis,
    check_together,
    find,
    language_of,
    said_in,
    term,
)  # fmt: skip
from wan22.errors import OptionError

OFFICIAL = {
    "time": "白天 Day time|夜晚 Night time|黎明 Dawn time|日出 Sunrise time",
    "light_source": "日光 Daylight|人工光 Artificial lighting|月光 Moonlight|实用光 Practical lighting|火光 Firelight|"
    "荧光 Fluorescent lighting|阴天光 Overcast lighting|晴天光 Sunny lighting",
    "light_quality": "柔光 Soft lighting|硬光 Hard lighting",
    "light_direction": "顶光 Top lighting|侧光 Side lighting|底光 Underlighting|边缘光 Edge lighting",
    "tone": "暖色调 Warm colors|冷色调 Cool colors|混合色调 Mixed colors",
    "shot_size": "中景 Medium shot|中近景 Medium close-up shot|全景 Wide shot|中全景 Medium wide shot|"
    "近景 Close-up shot|"
    "特写 Extreme close-up shot|极端全景 Extreme wide shot",
    "camera_angle": "过肩镜头角度拍摄 Over-the-shoulder shot|低角度拍摄 Low angle shot|高角度拍摄 High angle shot|"
    "倾斜角度拍摄 Dutch angle shot|航拍 Aerial shot|俯视角度拍摄 Overhead shot",
    "composition": "中心构图 Center composition|平衡构图 Balanced composition|右侧重构图 Right-heavy composition|"
    "左侧重构图 Left-heavy composition|对称构图 Symmetrical composition|短边构图 Short-side composition",
}


def keys(text):
    return [said.term.key for said in said_in(text)]


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_official_term_is_there_as_the_model_reads_it(name):
    phrases = {(row.zh, row.en) for row in axis(name).terms}
    assert phrases >= {tuple(pair.split(" ", 1)) for pair in OFFICIAL[name].split("|")}


def test_keys_are_unique_and_every_term_has_a_name_in_every_language():
    assert len({row.key for row in TERMS}) == len(TERMS)
    for row in (*TERMS, *AXES):
        assert len(row.names) == len(LANGUAGES)
        assert all(row.name(language) for language in LANGUAGES)
    assert sum(len(row.terms) for row in AXES) == len(TERMS)


@pytest.mark.parametrize("row", TERMS, ids=lambda row: row.key)
def test_a_term_is_found_by_every_one_of_its_words_and_its_phrases_in_prose(row):
    for word in (row.key, *row.names, row.en, row.zh, *row.alone):
        for spelt in (word, word.upper(), word.replace("-", " "), word.replace(" ", "_")):
            assert find(spelt, row.axis) is row
    for phrase in (row.en, row.zh):
        assert alone(phrase) is row
        assert keys(f"A fox runs, {phrase.lower()}, towards us") == [row.key]
        assert keys(f"一只狐狸{phrase}奔跑") == [row.key]
    for words in row.said:
        with_all = words.replace("~", "ing").replace("(", "").replace(")", "")
        assert keys(f"a fox {with_all}") == [row.key]


def test_the_beginning_of_a_name_is_enough_if_no_other_term_has_it():
    light = ("light_source", "light_quality", "light_direction")
    assert [find(word, light).key for word in ("soft", "side", "fluorescent")] == [
        "soft-light", "side-light", "fluorescent",
    ]  # fmt: skip
    with pytest.raises(OptionError, match="unknown saturation or contrast 'high'"):
        find("high", ("saturation", "contrast"))


def test_an_unknown_word_names_the_nearest_and_the_known():
    with pytest.raises(OptionError, match=r"unknown camera movement 'pan lft'.*'pan-left'.*Known: static"):
        find("pan lft", "camera")
    with pytest.raises(OptionError, match="unknown axis of a shot 'shot-sise'"):
        axis("shot-sise")
    with pytest.raises(OptionError, match=r"unknown term 'close-upp'. Did you mean 'close-up'"):
        term("close-upp")
    with pytest.raises(OptionError, match="unknown language of prompts 'ko'"):
        term("close-up").phrase("ko")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A close up of a fox, the camera slowly pans to the left", "close-up pan-left"),
        ("in cool colours at night, the camera is panning right", "cool night pan-right"),
        ("拍摄一只狐狸，夜晚，中近景，镜头缓慢推近", "night medium-close-up dolly-in"),
        ("여우가 밤에 달린다, 클로즈업, 줌 인", "night close-up zoom-in"),
        ("夜に走る狐、クローズアップ、左パン", "night close-up pan-left"),
        ("Static, wide: a ball", "static wide"),
        ("an extreme close-up shot, then nothing", "extreme-close-up"),
        ("the camera does not move", "static"),
        ("a slow pan to the right over the city", "pan-right"),
    ],
)
def test_prose_in_four_languages_is_understood(text, found):
    assert keys(text) == found.split()


@pytest.mark.parametrize(
    "text",
    [
        "a frying pan left on the stove", "static electricity", "a wide river", "a warm coat and a cool drink",
        "a day in the life of a night watchman", "a black and white cat", "the soft side of a felt hat",
        "an oil painting on the wall", "a handheld fan", "望远镜旁的猫", "망원경을 든 남자", "a telescope", "",
    ],
)  # fmt: skip
def test_words_that_mean_something_else_are_left_alone(text):
    assert keys(text) == []


@pytest.mark.parametrize(
    "text", ["no zoom in", "without moonlight", "the camera doesn't zoom in", "没有月光", "not a close-up"]
)
def test_what_is_denied_is_not_said(text):
    assert keys(text) == []


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("close-up", "wide", "a shot has one shot size"),
        ("static", "pan-left", "no shot is both static and pan-left"),
        ("dolly-in", "dolly-out", "no shot is both"),
        ("night", "sunny", "no shot is both"),
        ("low-angle", "overhead", "no shot is both"),
    ],
)
def test_terms_that_exclude_one_another_are_one_error_that_names_both(one, other, why):
    with pytest.raises(OptionError, match=f"here and there exclude one another: {why}"):
        check_together([(term(one), "here"), (term("felt"), "x"), (term(other), "there")])
    with pytest.raises(OptionError, match="there and here exclude"):
        check_together([(term(other), "there"), (term(one), "here")])


@pytest.mark.parametrize(
    "pair",
    [
        "dolly-in tilt-up",
        "handheld follow",
        "handheld static",
        "night moonlight",
        "soft-light backlight",
        "low-angle dutch-angle",
    ],
)
@pytest.mark.parametrize("language", PROMPT_LANGUAGES)
def test_terms_that_go_together_are_said_together_and_understood(pair, language):
    together = {term(key) for key in pair.split()}
    shot = ShotSpec("a fox").with_terms(together)
    prompt = shot.render(language)
    assert {said.term for said in said_in(prompt)} == set(parse(prompt).terms()) == together


def test_a_term_that_is_given_twice_goes_with_itself():
    assert ShotSpec("a fox, static", camera=("static", "static")).camera == ("static",)


def test_additions_to_chinese_are_chinese_and_to_every_other_language_english():
    assert [language_of(text) for text in ("狐狸", "夜に走る狐", "여우", "fox", "a 狐狸", "")] == [
        "zh", "en", "en", "en", "zh", "en",
    ]  # fmt: skip
