"""Captions of the film set: what they say, in which words, and what is kept from training."""

import random
from collections import Counter

import pytest

from wan22.director.terms import PROMPT_LANGUAGES, TERMS
from wan22.errors import OptionError
from wan22.stage.caption import KINDS, LANGUAGES, VAGUE, Caption, caption, phrasings
from wan22.stage.labels import AXES, Shot, sample

SHOTS = sample(400, seed=1)


def make(language: str | None = None, *, held_out: bool = False, seed: int = 0) -> list[Caption]:
    rng = random.Random(seed)
    return [caption(shot, rng, language=language, held_out=held_out) for shot in SHOTS]


def test_the_same_rng_gives_the_same_captions_and_another_gives_others():
    assert make() == make()
    assert make() != make(seed=1)


def test_languages_come_by_their_shares():
    count = Counter(made.language for made in make())
    for language, share in LANGUAGES.items():
        assert abs(count[language] / len(SHOTS) - share) < 0.07


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_matters_is_nearly_always_said_and_the_ordinary_seldom(language: str):
    captions = make(language)
    said = Counter(axis for made in captions for axis in made.said)
    share = {axis: said[axis] / len(SHOTS) for axis in AXES}
    assert set(said) == set(AXES)
    assert min(share["subject"], share["colour"]) > 0.93
    assert all(0.75 < share[axis] < 0.95 for axis in ("action", "camera"))
    assert all(0.6 < share[axis] < 0.88 for axis in ("time", "shot_size"))
    for axis, ordinary in (("lens", "normal-lens"), ("focus", "deep"), ("grip", "steady")):
        plain, other = [], []
        for shot, made in zip(SHOTS, captions, strict=True):
            (plain if getattr(shot, axis) == ordinary else other).append(axis in made.said)
        assert sum(plain) / len(plain) < 0.25
        assert sum(other) / len(other) > 0.5


def test_labels_are_said_in_plain_english():
    shot = Shot("robot", "red", "glossy", "snow", "travel-left", "sunset", camera="pan-right")
    made = [caption(shot, random.Random(i), language="en") for i in range(300)]
    assert any("red robot" in m.text and "walks to the left" in m.text for m in made)
    assert any("pans right" in m.text for m in made)
    assert not any("roll" in m.text or "slid" in m.text for m in made)
    for m in made:
        assert ("camera" in m.said) == any(
            word in m.text.lower() for word in ("pan", "camera turn", "camera to the right")
        ), m
        assert not set("{}[]~|;?") & set(m.text.replace("; ", ""))


@pytest.mark.parametrize(
    ("time", "word"), [("day", "sunlight"), ("sunset", "golden sunlight"), ("night", "moonlight")]
)
def test_the_sky_shines_as_its_hour_has_it(time: str, word: str):
    shot = Shot(time=time)
    texts = [caption(shot, random.Random(i), language="en").text.lower() for i in range(600)]
    assert any(word in text for text in texts)
    assert time == "night" or not any("moon" in text for text in texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_label_has_words_of_its_own(language: str):
    for axis, values in AXES.items():
        for value in values:
            action = "travel-left" if value == "follow" else "still"
            shot = Shot(**{"action": action, axis: value})
            for i in range(40):
                made = caption(shot, random.Random(i), language=language)
                assert made.text.strip() and set(made.said) <= set(AXES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_training_and_held_out_phrasings_are_disjoint(language: str):
    train, held = phrasings(language, held_out=False), phrasings(language, held_out=True)
    assert not train & held
    assert len(held) >= 10
    assert sum("{thing}" in each for each in held) >= 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_captions_are_of_words_that_training_has(language: str):
    train = " ".join(text for each in range(6) for text in (m.text for m in make(language, seed=each)))
    known = (
        set(train.lower())
        if language != "en"
        else set(train.lower().replace(",", " ").replace(".", " ").split())
    )
    for m in make(language, held_out=True):
        text = m.text.lower()
        units = set(text) if language != "en" else set(text.replace(",", " ").replace(".", " ").split())
        assert len(units - known) <= 1, (units - known, m.text)  # what 2,400 captions did not come to say


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_directors_terms_are_among_the_words(language: str):
    said: dict[tuple[str, str], set[str]] = {}
    for each in phrasings(language, held_out=False) | phrasings(language, held_out=True):
        row, _, text = each.partition(": ")
        if row.count("/") == 2 and row.rsplit("/", 1)[1] in KINDS:
            axis, case, _ = row.split("/")
            said.setdefault((axis, case), set()).add(text.removesuffix(VAGUE).lower())
    checked = 0
    for term in TERMS:
        for axis, case in _rows_of(term.axis, term.key):
            names = [term.name(language)] + ([term.phrase(language)] if language in PROMPT_LANGUAGES else [])
            assert {name.lower() for name in names} <= said[axis, case], (term.key, names)
            checked += 1
    assert checked >= 60


def _rows_of(axis: str, key: str) -> list[tuple[str, str]]:
    """The rows of the film set's words that a director's term must stand in."""
    special = {
        "handheld": [("grip", "handheld")],
        "daylight": [("light_source", "sky@day")],
        "sunny": [("light_source", "sky@day"), ("light_source", "sky@golden")],
        "moonlight": [("light_source", "sky@night")],
        "side-light": [("light_direction", "left"), ("light_direction", "right")],
    }
    return special.get(key) or ([(axis, key)] if key in AXES.get(axis, ()) else [])


def test_side_light_without_a_side_does_not_count_as_a_direction():
    shot = Shot(light_direction="right")
    for i in range(800):
        made = caption(shot, random.Random(i), language="en")
        text = made.text.lower()
        if "side light" in text and "right" not in text:
            assert "light_direction" not in made.said
            return
    raise AssertionError("plain side light is never said")


def test_an_unknown_language_is_refused():
    with pytest.raises(OptionError, match="language"):
        caption(SHOTS[0], random.Random(0), language="fr")
