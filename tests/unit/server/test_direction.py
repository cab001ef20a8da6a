"""The director over HTTP: the vocabulary with its names and pictures, and prompts extended by rules."""

import re
from pathlib import Path

import pytest
from PIL import Image
from unit.server.serving import serving

from tools.term_pictures import BY_LABEL, DRAWN, HEIGHT, MOST, ROOT, WIDTH, draw, packed
from wan22.director.terms import AXES, LANGUAGES, TERMS
from wan22.server.direction import image_of

SCRIPTS = {"zh": r"[\u3400-\u9fff]", "ko": r"[\uac00-\ud7af]", "ja": r"[\u3040-\u30ff\u3400-\u9fff]"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("data")) as client:
        yield client


def test_the_vocabulary_has_every_term_in_every_language(client):
    said = client.get("/v1/vocabulary").json()
    assert set(said["languages"]) == {"en", "ko", "ja", "zh"} == set(LANGUAGES)
    assert [axis["key"] for axis in said["axes"]] == [axis.key for axis in AXES]
    terms = [term for axis in said["axes"] for term in axis["terms"]]
    assert [term["key"] for term in terms] == [term.key for term in TERMS]
    for row in (*said["axes"], *terms):
        assert set(row["names"]) == set(LANGUAGES)
        for language, script in SCRIPTS.items():
            assert re.search(script, row["names"][language]), (row["key"], language)
        assert row["names"]["en"].isascii() and row["names"]["en"].strip() == row["names"]["en"] != ""
    for term in terms:
        assert set(term["prompt"]) == {"en", "zh"} and all(term["prompt"].values())
    known = {term.key for term in TERMS}
    assert all(len(pair) == 2 and set(pair) <= known for pair in said["excludes"])


def test_the_option_of_an_axis_is_a_field_of_a_request(client):
    fields = client.get("/v1/capabilities").json()["fields"]["video"]["properties"]
    assert {axis["option"] for axis in client.get("/v1/vocabulary").json()["axes"]} <= set(fields)


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.key)
def test_every_term_has_a_small_picture_of_its_own(axis):
    seen = {}
    for term in axis.terms:
        place = ROOT.parent / image_of(term)
        content = place.read_bytes()
        assert len(content) <= MOST and content not in seen, (term.key, seen.get(content))
        seen[content] = term.key
        with Image.open(place) as image:
            assert image.format == "WEBP" and image.size == (WIDTH, HEIGHT)
            assert getattr(image, "is_animated", False) == (axis.key == "camera" or len(draw_count(term)) > 1)


def draw_count(term):
    """What is drawn of a term, by the number of its frames."""
    return range(8 if term.key == "time-lapse" else DRAWN[term.key].frames)


def test_there_is_no_picture_of_what_is_no_term():
    there = {place.relative_to(ROOT).as_posix() for place in ROOT.rglob("*") if place.is_file()}
    assert there == {f"{Path(image_of(term)).parent.name}/{term.key}.webp" for term in TERMS}
    assert set(DRAWN) == {term.key for term in TERMS} and BY_LABEL < set(DRAWN)


def test_a_picture_is_drawn_by_the_film_set():
    (term,) = (term for term in TERMS if term.key == "low-saturation")
    frames = draw(term)
    assert frames.shape == (1, HEIGHT, WIDTH, 3) and frames.std() > 10
    assert len(packed(frames)) <= MOST


def extend(client, **said):
    return client.post("/v1/prompts/extend", json=said)


def test_a_prompt_is_extended_by_rules(client):
    said = extend(client, prompt="A fox runs through the snow, close-up").json()
    assert said["changed"] and said["prompt"] != said["before"] == "A fox runs through the snow, close-up"
    assert said["lost"] == [] and said["language"] == "en"
    by_key = {term["key"]: term for term in said["terms"]}
    assert not by_key["close-up"]["added"] and by_key["day"]["added"] and by_key["day"]["axis"] == "time"
    assert said == extend(client, prompt="A fox runs through the snow, close-up").json()


@pytest.mark.parametrize(
    ("more", "holds", "lacks"),
    [
        ({"prompt": "一只狐狸"}, "白天", "Day time"),
        ({"prompt": "a fox", "language": "zh"}, "白天", "Day time"),
        ({"prompt": "a fox", "terms": ["night", "dolly-in"]}, "Night time", "Day time"),
        ({"prompt": "a fox", "image": True}, "a fox", "Day time"),
        ({"prompt": "@0s a fox @2s it sleeps at night"}, "@2s", "@3s"),
    ],
)
def test_the_extension_does_what_is_asked(client, more, holds, lacks):
    said = extend(client, **more)
    assert said.status_code == 200, said.text
    assert holds in said.json()["prompt"] and lacks not in said.json()["prompt"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a fox", "terms": ["closer-up"]}, "prompt"),
        ({"prompt": "a fox by day", "terms": ["night"]}, "prompt"),
        ({"prompt": "a fox", "terms": ["pan-left", "pan-right"]}, "prompt"),
        ({"prompt": "a" * 8001}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": "@2s a fox @1s a dog"}, "prompt"),
        ({"prompt": "a fox", "language": "de"}, "language"),
        ({"prompt": "a fox", "engine": "http://evil.example"}, "engine"),
        ({}, "prompt"),
    ],
)
def test_what_cannot_be_extended_is_said(client, more, param):
    said = extend(client, **more)
    assert said.status_code == 422 and said.json()["param"] == param, said.text
