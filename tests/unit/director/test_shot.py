"""A shot as a value: what it renders to, what any prompt reads back as, and what it refuses."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22.director.shot import ShotSpec, add_terms, parse
from wan22.director.vocabulary import AXES, TERMS, check_together, find, term
from wan22.errors import OptionError

PIECES = (
    "a fox", "runs", "3.5 m wide", "Wow!", "he says \"stop.\"", "...", "at night", "close-up", "Close-up shot",
    "the camera slowly pans left", "The camera pans left.", "a frying pan left of it", "狐狸", "镜头推进", "夜晚",
    "여우", "밤에", "走る", ",", ".", "!", " ", "\n", "。", "a 50mm photo", "no zoom in", "Handheld camera", "“”",
    "The settings are", "场景是",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=4).map(" ".join) | st.text(max_size=12)


def shots(texts=TEXTS):
    """Every spec that can be: any texts, any answers that go together."""

    def build(subject, motion, scene, keys):
        try:
            chosen = [term for term in TERMS if term.key in keys]
            return ShotSpec(subject, motion, scene).with_terms(chosen)
        except OptionError:
            return None

    keys = st.sets(st.sampled_from([term.key for term in TERMS]), max_size=6)
    return st.builds(build, texts, texts, texts, keys).filter(lambda spec: spec is not None)


@given(shots(), st.sampled_from(["en", "zh", None]))
@settings(max_examples=120, deadline=None, derandomize=True)
def test_a_prompt_reads_back_as_the_spec_that_rendered_it(spec, language):
    assert parse(spec.render(language)) == spec


@pytest.mark.parametrize(
    "spec",
    [
        ShotSpec("场景是", scene="森林"),
        ShotSpec("一只狐狸！场景是", scene="森林", camera=("tilt-up",)),
        ShotSpec("a fox", "runs. 场景是", "a forest", time="night"),
        ShotSpec("场景是", "奔跑", "这个场景是"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_text_that_leaves_off_where_a_scene_would_begin_reads_back(spec, language):
    assert parse(spec.render(language)) == spec


@given(shots())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_recipe_reads_back_as_the_spec_that_it_keeps(spec):
    assert ShotSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.key)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_term_is_said_once_and_read_back(term, language):
    spec = ShotSpec("a fox", "runs", "a forest").with_terms([term])
    prompt = spec.render(language)
    assert prompt.count(term.phrase(language)) == 1
    assert parse(prompt) == spec
    assert spec.terms(term.axis) == (term,)


@given(st.permutations(TERMS))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_all_axes_at_once_read_back_in_one_order(rows):
    chosen = []
    for row in rows:
        try:
            check_together([(each, each.key) for each in (*chosen, row)])
        except OptionError:
            continue
        chosen.append(row)
    spec = ShotSpec("a fox").with_terms(chosen)
    assert {row.axis for row in spec.terms()} == {row.key for row in AXES}
    for language in ("en", "zh"):
        assert parse(spec.render(language)) == spec


@given(st.lists(st.sampled_from((*PIECES, ";", "；", "The setting is")), max_size=7).map(" ".join))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_prompt_is_read_without_losing_a_letter_of_its_own(prompt):
    try:
        spec = parse(prompt)
    except OptionError as error:
        assert "exclude one another" in str(error)  # the only thing that a prompt can do wrong
        return
    kept = "".join((spec.subject, spec.motion, spec.scene))
    rest = iter(prompt)
    assert all(letter in rest for letter in kept)  # in order, unchanged
    assert parse(spec.render()) == spec


def test_the_order_of_a_prompt_is_the_documented_one():
    spec = ShotSpec(
        "a red fox", "it jumps over a log", "a birch forest", style="anime", time="night", light_source="moonlight",
        light_quality="soft", light_direction=["rim light", "backlight"], tone="cool", saturation="low",
        contrast="high", shot_size="CLOSE UP", camera_angle="low", lens="tele", composition="centre",
        camera=("镜头推进", "Tilt-Up"),
    )  # fmt: skip
    assert spec.render() == (
        "Anime style, Night time, Moonlight, Soft lighting, Backlighting, Edge lighting, Cool colors, Low saturation, "
        "High contrast lighting, Close-up shot, Low angle shot, Long-focus lens, Center composition. a red fox; it "
        "jumps over a log. The setting is a birch forest. The camera tilts up. The camera pushes in."
    )
    assert spec.render("zh") == (
        "二次元风格，夜晚，月光，柔光，背光，边缘光，冷色调，低饱和度，高对比度，近景，低角度拍摄，长焦镜头，中心构图。"
        "a red fox；it jumps "
        "over a log。场景是a birch forest。镜头向上摇。镜头推进。"
    )
    assert ShotSpec("一只狐狸", time="night").render() == "夜晚。一只狐狸。"


def test_what_the_words_say_already_is_understood_and_not_said_twice():
    spec = ShotSpec("a close-up of a fox at night", lens="fisheye")
    assert (spec.shot_size, spec.time, spec.lens) == ("close-up", "night", "fisheye")
    assert spec.render() == "Ultra-wide fisheye lens. a close-up of a fox at night."


def test_free_text_is_read_in_four_languages():
    assert parse("밤에 달리는 여우, 클로즈업").to_json() == {
        "subject": "밤에 달리는 여우, 클로즈업", "time": "night", "shot_size": "close-up",
    }  # fmt: skip
    assert parse("夜晚，近景。一只狐狸；奔跑。场景是森林。镜头推进。") == ShotSpec(
        "一只狐狸", "奔跑", "森林", time="night", shot_size="close-up", camera=("dolly-in",)
    )
    assert parse("夕日に走る狐、ローアングル").camera_angle == ("low-angle",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShotSpec("a wide shot of a fox", shot_size="close-up"), "'wide shot' in the prompt and shot size"),
        (lambda: ShotSpec("a fox", camera=("static", "pan left")), "'static' and camera movement 'pan-left'"),
        (lambda: parse("a close-up, then a wide shot"), "'close-up' in the prompt and 'wide shot' in the prompt"),
        (lambda: ShotSpec("a fox at night", light_source="sunny"), "'at night' in the prompt and light source 'sunny'"),
        (lambda: ShotSpec("a fox", shot_size="huge"), "unknown shot size 'huge'"),
        (lambda: ShotSpec("a fox; runs"), "holds ';', where its motion begins"),
        (lambda: ShotSpec("a fox", "runs. The setting is here"), "give what follows as its scene"),
        (lambda: ShotSpec.from_json({"subjekt": "a fox"}), "unknown part of a shot 'subjekt'. Did you mean 'subject'"),
        (lambda: ShotSpec.from_json({"subject": ["a fox"]}), "subject of a shot must be text"),
        (lambda: ShotSpec.from_json({"camera": [1]}), "camera of a shot must be text"),
        (lambda: ShotSpec("a fox").render("ko"), "unknown language of prompts 'ko'"),
        (lambda: ShotSpec("a fox").terms("size"), "unknown axis of a shot 'size'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_error_that_names_it(make, message):
    with pytest.raises(OptionError) as error:
        make()
    assert message in str(error.value)


def test_a_motion_without_a_subject_stands_in_its_place():
    assert ShotSpec(motion="waves break") == ShotSpec("waves break")
    assert ShotSpec().render() == "" and parse("") == ShotSpec()


def test_terms_may_come_from_a_generator():
    keys = ("night", "wide", "dolly-in")
    spec = ShotSpec("a fox", time="night").with_terms(term(key) for key in keys)
    assert [found.key for found in spec.terms()] == list(keys)
    assert add_terms("a fox", (term(key) for key in keys)) == spec.render()


def test_terms_around_a_prompt_leave_it_letter_for_letter():
    more = [find("close up", "shot_size"), find("pan left", "camera"), find("night", "time")]
    prompt = "Night, a  fox;\nit runs!"
    assert add_terms(prompt, more) == f"Close-up shot. {prompt} The camera pans left."
    assert add_terms("狐狸", more) == "夜晚，近景。狐狸。镜头向左摇。"
    assert (
        add_terms("a close-up at night, the camera pans left", more)
        == "a close-up at night, the camera pans left"
    )
    with pytest.raises(OptionError, match="'wide' in the prompt and shot size 'close-up'"):
        add_terms("wide, a fox", more)
