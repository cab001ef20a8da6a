"""The document of a timeline: the cases shared with the studio, and what comes back from `dump`."""

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22.errors import TimelineError
from wan22.timeline.document import check, dump, load, read
from wan22.timeline.items import Clip, Source, whole_frames

CASES = {path.stem: json.loads(path.read_text()) for path in Path("tests/data/timelines").glob("*.json")}
CODES = "version shape rate size id media source range duration speed fade transition handles link marker title caption"
VALID = sorted(name for name, case in CASES.items() if not case["errors"])


def whole():
    return json.loads(json.dumps(CASES["valid_whole"]["document"]))


def test_the_cases_have_every_code():
    found = {code for case in CASES.values() for code in case["errors"]}
    assert found == {*CODES.split(), "in_out", "duck"} and len(VALID) >= 10


@pytest.mark.parametrize("name", sorted(CASES))
def test_check_finds_what_is_wrong(name):
    problems = check(CASES[name]["document"])
    assert sorted({problem.code for problem in problems}) == CASES[name]["errors"]
    assert all(
        problem.message and problem.as_json().keys() == {"code", "where", "message"} for problem in problems
    )


@pytest.mark.parametrize("name", VALID)
def test_what_was_read_comes_back(name):
    document = CASES[name]["document"]
    timeline = read(document)
    told = dump(timeline)
    assert read(json.loads(json.dumps(told))) == timeline
    assert contains(told, document)


def contains(whole, part):
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], each) for key, each in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part


def test_unknown_keys_are_kept():
    told = dump(read(CASES["valid_unknown_keys"]["document"]))
    assert told["studio"] == {"zoom": 3}
    assert told["tracks"][0]["items"][0]["source"]["codec"] == "h264"
    assert told["titles"][0]["style"]["font"] == "Serif"


def test_a_wrong_document_is_refused_with_all_that_is_wrong():
    with pytest.raises(TimelineError, match="and 3 more") as caught:
        read(CASES["several"]["document"])
    assert {problem["code"] for problem in caught.value.problems} == {"id", "speed", "fade", "marker"}


def test_a_file_that_is_no_timeline_is_named(tmp_path):
    with pytest.raises(TimelineError, match="absent"):
        load(tmp_path / "absent.json")
    (tmp_path / "cut.json").write_text("{")
    with pytest.raises(TimelineError, match=r"cut\.json"):
        load(tmp_path / "cut.json")


def test_places_are_sums_of_what_stands_before():
    track = read(whole()).tracks[0]
    assert [(at, item.id) for at, item in track.placed()] == [
        (0, "c1"), (60, "t1"), (60, "c2"), (120, "g1"), (144, "c3")
    ]  # fmt: skip
    assert track.length == 225


ratios = st.fractions(min_value=Fraction(1, 4), max_value=4, max_denominator=8)
rates = st.sampled_from([Fraction(16), Fraction(24), Fraction(30000, 1001), Fraction(25), Fraction(60)])


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 300), source=rates, rate=rates, speed=ratios, first=st.integers(0, 50))
def test_every_frame_of_a_clip_is_one_of_its_range(count, source, rate, speed, first):
    clip = Clip(
        id="c",
        media={"path": "a"},
        start=first,
        end=first + count,
        source=Source(frames=first + count, rate=source.as_integer_ratio()),
        duration=whole_frames(count, source, rate, speed),
        speed=speed.as_integer_ratio(),
    )
    shown = [clip.source_frame(at, rate) for at in range(clip.duration)]
    assert shown[0] == first and shown == sorted(shown) and shown[-1] < first + count
    assert abs(clip.duration - count / source * rate / speed) <= 0.5 or clip.duration == 1


KEYS = st.sampled_from(["id", "type", "in", "out", "items", "tracks", "kind", "rate"])
ATOMS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3)
ANYTHING = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)


@settings(deadline=None, max_examples=60)
@given(ANYTHING)
def test_nothing_makes_the_check_fail(value):
    for place in (
        ["tracks"],
        ["rate"],
        ["titles"],
        ["tracks", 0, "items"],
        ["tracks", 0, "items", 0, "source"],
    ):
        document = inner = whole()
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        assert isinstance(check(document), list)
    assert isinstance(check(value), list)


def test_the_documented_example_is_right():
    page = Path("docs/timeline.md").read_text()
    (example,) = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert read(json.loads(example)).length == 150
