"""Scripts of shots: what text and YAML mean, and one clear error for what cannot be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22.director.shot import parse
from wan22.errors import OptionError, Wan22Error
from wan22.storyboard.script import read_script

TEXT = """\
# a remark
Title: A day
Subject: a small red ball
Style: claymation, grainy video
Model: nano
Size: 96x64
Seed: 7

Shot 1: {subject} lies on the grass.
Time: night

It stays there. Wide shot.
Shot 2: It rolls left
Camera: pan left
Seconds: 2
Shot 3: The small red ball bounces.
Style: oil painting
Seed: 9
Shot 4: A desert.
Subject: none
Image: desert.png
"""
YAML = """\
title: A day
subject: a small red ball
style: [claymation, grainy video]
model: nano
size: 96x64
seed: 7
shots:
  - prompt: >
      {subject} lies on the grass. It stays there. Wide shot.
    time: night
  - {prompt: It rolls left, camera: [pan left], seconds: 2}
  - prompt: The small red ball bounces.
    style: oil painting
    seed: 9
  - {prompt: A desert., subject: none, image: desert.png}
"""


def test_text_and_yaml_say_the_same():
    text, yaml = read_script(TEXT, "a.txt"), read_script(YAML, "a.yaml")
    assert [(s.prompt, s.seconds, s.seed, s.image, s.subject) for s in text.scenes] == [
        (s.prompt, s.seconds, s.seed, s.image, s.subject) for s in yaml.scenes
    ]
    assert (text.title, text.subject, text.style, text.model, text.size, text.seed) == (
        "A day", "a small red ball", "claymation, grainy video", "nano", (96, 64), 7,
    )  # fmt: skip
    assert (yaml.title, yaml.style, yaml.size, yaml.seed) == (text.title, text.style, text.size, text.seed)


def test_each_shot_has_the_shared_subject_and_style_unless_it_says_its_own():
    first, second, third, fourth = read_script(TEXT, "a.txt").scenes
    assert first.prompt == (
        "Claymation style, Night time. a small red ball lies on the grass. It stays there. Wide shot, grainy video."
    )
    assert second.prompt == (
        "Claymation style. a small red ball; It rolls left, grainy video. The camera pans left."
    )
    assert third.prompt == "Oil painting style. The small red ball bounces."
    assert fourth.prompt == "Claymation style. A desert, grainy video." and fourth.subject == ""
    assert (second.seconds, third.seed, fourth.image) == (2.0, 9, "desert.png")
    for scene in (first, second, third, fourth):
        assert parse(scene.prompt).terms() == scene.spec.terms()


def test_paragraphs_are_shots_too():
    script = read_script("Subject: a fox\n\nIt runs\nover a field.\nCamera: static\n\nIt sleeps.\n", "a.txt")
    assert [scene.prompt for scene in script.scenes] == [
        "a fox; It runs over a field. The camera is static.",
        "a fox; It sleeps.",
    ]
    assert [scene.line for scene in script.scenes] == [3, 7]
    assert len(read_script("a fox runs", "a.txt").scenes) == 1


def test_a_default_fills_what_a_shot_leaves_open():
    text = "defaults: {time: night, shot_size: wide, seconds: 3}\nshots: [fox, {prompt: close-up of a fox, time: day}]"
    first, second = read_script(text, "a.yml").scenes
    assert (first.spec.time, first.spec.shot_size, first.seconds) == ("night", "wide", 3)
    assert (second.spec.time, second.spec.shot_size, second.seconds) == ("day", "close-up", 3)


def test_a_subject_alone_is_a_shot_and_the_language_is_the_scripts():
    script = read_script(
        "subject: 一只狐狸\nshots:\n- {time: night}\n- {prompt: a fox, subject: none}", "a.yaml"
    )
    assert [scene.prompt for scene in script.scenes] == ["夜晚。一只狐狸。", "a fox."]
    forced = read_script("language: zh\nshots:\n- {prompt: a fox, time: night}", "a.yaml")
    assert forced.scenes[0].prompt == "夜晚。a fox。"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "Speaker: http://127.0.0.1:9/v1\n\nA fox.", "line 1: unknown key 'speaker'"),
        ("a.txt", "A fox.\nExtend: http://127.0.0.1:9/v1", "line 2: unknown key 'extend'"),
        ("a.yaml", "say: hello\nspeaker: http://127.0.0.1:9\nshots: [a]", "unknown key 'say'"),
        ("a.yaml", "shots:\n- {prompt: a, voice_sample: ../me.wav}", "unknown key 'voice_sample'"),
        ("a.yaml", "shots:\n- {prompt: a, lora: /tmp/x.safetensors}", "unknown key 'lora'"),
        ("a.txt", "", "a.txt has no shots"),
        ("a.yaml", "", "a.yaml has no shots"),
        ("a.txt", "Subject: a fox\n", "has no shots"),
        ("a.txt", "Subjet: a fox\n\nIt runs.", "a.txt, line 1: unknown key 'subjet'. Did you mean 'subject'?"),
        ("a.txt", "A fox.\nCamra: static", "line 2: unknown key 'camra'. Did you mean 'camera'?"),
        ("a.yaml", "shots:\n- {promt: a fox}", "line 2: unknown key 'promt'. Did you mean 'prompt'?"),
        ("a.yaml", "shot: []", "unknown key 'shot'. Did you mean 'shots'?"),
        ("a.yaml", "seed: 1\nseed: 2\nshots: [a]", "line 2: seed is said already, on line 1"),
        ("a.txt", "Seed: 1\nSeed: 2\n\na", "line 2: seed is said already, on line 1"),
        ("a.txt", "hello\nShot 1: a fox", "line 1: 'hello' stands before the first shot"),
        ("a.txt", "Shot 1: a\nShot 3: b", "line 2: this is shot 3, and 2 is due"),
        ("a.txt", "Shot 1: a\n\nShot 2: a wide shot of a fox\nShot size: close-up", "shot 2, line 3: 'wide shot' in"),
        ("a.yaml", "shots:\n- {prompt: a fox, camera: zoom inn}", "shot 1, line 2: camera: unknown camera movement"),
        ("a.yaml", "shots:\n- {prompt: a fox, time: 12:30}", "shot 1, line 2: time: must be text, not 750"),
        ("a.yaml", "shots:\n- {prompt: a fox, seconds: -1}", "seconds: must be more than 0"),
        ("a.yaml", "shots:\n- {prompt: a fox, seed: 1.5}", "seed: must be a whole number"),
        ("a.yaml", "shots:\n- {prompt: a fox, seed: true}", "seed: must be a whole number"),
        ("a.yaml", "size: large\nshots: [a]", "line 1: size: must be WIDTHxHEIGHT"),
        ("a.yaml", "steps: 0\nshots: [a]", "steps: must be at least 1"),
        ("a.yaml", "language: ko\nshots: [a]", "unknown language of prompts 'ko'"),
        ("a.yaml", "shots:\n- {camera: static}", "shot 1, line 2: the shot has no prompt, and the script no subject"),
        ("a.yaml", "shots: [[a, b]]", "a shot must have keys"),
        ("a.yaml", "shots: ['{subject} runs']", "the prompt names {subject}"),
        ("a.txt", "{subjct} runs", "a.txt, shot 1, line 1: unknown placeholder '{subjct}'. Did you mean '{subject}'?"),
        ("a.txt", "A fox runs past {cats|dogs}", "unknown placeholder '{cats|dogs}'. Known: {subject}"),
        ("a.yaml", "shots: a fox", "shots must be a list"),
        ("a.yaml", "- a\n- b", "a script must have keys"),
        ("a.yaml", "shots: [a", "a.yaml, line 1: this is no YAML"),
        ("a.yaml", "title: !!python/name:os.system ''\nshots: [a]", "this is no YAML"),
        ("a.yaml", "title: 2024-99-99\nshots: [a]", "a value cannot be read"),
        ("a.yaml", "style: clayymation\nshots: [a]", "unknown visual style 'clayymation'. Did you mean 'claymation'"),
        ("a.yaml", "subject: a; b\nshots: [it runs]", "holds ';', where its motion begins"),
        ("a.txt", "a" * 1_000_001, "a script has at most"),
        ("a.txt", "a\n\n" * 501, "has 501 shots"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_error_that_says_where(name, text, message):
    with pytest.raises(Wan22Error) as error:
        read_script(text, name)
    assert message in str(error.value)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(max_size=200), st.sampled_from(["a.txt", "a.yaml"]))
def test_any_text_is_a_script_or_an_error_of_ours(text, name):
    try:
        script = read_script(text, name)
    except Wan22Error:
        return
    assert script.scenes and all(scene.prompt for scene in script.scenes)


def test_contradictions_of_defaults_and_words_are_named():
    with pytest.raises(OptionError, match="exclude one another"):
        read_script("defaults: {time: night}\nshots: [a fox under sunny lighting]", "a.yaml")
