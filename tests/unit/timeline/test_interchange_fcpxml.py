"""FCPXML: elements in the format's order, rational times, dissolves with handles, lanes, markers."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from unit.timeline.documents import timelines
from unit.timeline.fcpxml_dtd import check, seconds

from wan22.timeline.document import read
from wan22.timeline.interchange.common import Notes
from wan22.timeline.interchange.fcpxml import LOST, to_fcpxml
from wan22.timeline.interchange.features import FEATURES
from wan22.timeline.items import Clip, Gap, Marker, Source, Timeline, Track, Transition, whole_frames

WHOLE = json.loads(Path("tests/data/timelines/valid_whole.json").read_text())["document"]


def find(media):
    return None if "input" in media else Path("/media/한 글") / (media.get("path") or media["file"])


def clip(file, start, end, *, rate=(24, 1), speed=(1, 1), frames=200, audio=False, size=(832, 480), **more):
    lasts = whole_frames(end - start, Fraction(*rate), Fraction(24), Fraction(*speed))
    source = Source(frames=frames, rate=rate, size=size, audio=audio)
    return Clip(
        id=file, media={"path": file}, start=start, end=end, duration=lasts, speed=speed, source=source, **more
    )  # fmt: skip


def cut(*tracks, **more):
    told = tuple(
        Track(id=f"t{n}", kind=kind, items=items, name=name) for n, (kind, name, items) in enumerate(tracks)
    )
    return Timeline(**{"name": "cut", "rate": (24, 1), "size": (1280, 720), "tracks": told} | more)


def written(timeline):
    notes = Notes()
    return check(to_fcpxml(timeline, find, notes)), notes.lines()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(timelines())
def test_any_timeline_is_as_the_format_wants_it(timeline):
    root, _ = written(timeline)
    clips = sum(isinstance(item, Clip) for track in timeline.tracks for item in track.items)
    assert sum(each.tag in ("asset-clip", "video") for each in root.iter()) == clips
    assert len(list(root.iter("marker"))) == len(timeline.markers)
    assert len(list(root.iter("caption"))) == len(timeline.captions)


def test_the_whole_example():
    root, notes = written(read(WHOLE))
    assert root.get("version") == "1.10" and len(list(root.iter("transition"))) == 1
    assert root.find(".//media-rep").get("src").startswith("file:///media/%ED%95%9C%20%EA%B8%80/")
    assert any(line.startswith("media that is not there") for line in notes)


def test_what_hangs_on_a_clip_is_placed_in_its_own_time():
    root, _ = written(
        cut(
            ("video", "", (clip("a.mp4", 24, 72), clip("b.mp4", 48, 96, speed=(2, 1)))),
            ("video", "", (Gap(id="g", duration=12), clip("c.mp4", 0, 24))),
            ("audio", "Music", (Gap(id="h", duration=54), clip("d.wav", 0, 12, audio=True, size=None))),
            markers=(Marker(id="m", at=60, name="beat"),),
        )
    )
    first, second = root.find(".//sequence/spine")
    above, below = first.find("asset-clip"), second.find("asset-clip")
    assert (above.get("lane"), above.get("offset")) == ("1", "3/2s")  # 1 s is its start, 12 frames on
    assert second.get("start") == "1s" and second.find("timeMap")[1].get("value") == "25/3s"
    assert (below.get("lane"), below.get("offset"), below.get("audioRole")) == ("-1", "5/4s", "music")
    assert second.find("marker").get("start") == "3/2s"


def test_a_dissolve_without_media_beyond_the_cut_is_a_cut_and_a_note():
    tight = (
        clip("a.mp4", 0, 48, frames=48),
        Transition(id="t", in_offset=6, out_offset=0),
        clip("b.mp4", 6, 54, frames=54),
    )
    root, notes = written(cut(("video", "", tight)))
    assert root.find(".//transition") is None
    assert any(line.startswith("dissolves for which there is no media") for line in notes)


@pytest.mark.parametrize(
    ("before", "after", "lasts"), [(6, 6, "1/2s"), (8, 4, "1/2s"), (7, 4, "5/12s"), (12, 0, "1/2s")]
)
def test_a_dissolve_is_centred_if_there_is_media_for_it(before, after, lasts):
    items = (
        clip("a.mp4", 0, 48),
        Transition(id="t", in_offset=before, out_offset=after),
        clip("b.mp4", 20, 68),
    )
    root, notes = written(cut(("video", "", items)))
    found = root.find(".//transition")
    assert found.get("duration") == lasts and seconds(found.get("offset")) + seconds(lasts) / 2 == 2
    assert any("centred" in line for line in notes) == (before != after)


def test_a_chain_with_a_dissolve_on_a_lane_is_a_spine_of_its_own():
    chain = (
        clip("a.mp4", 0, 48),
        Transition(id="t", in_offset=6, out_offset=6),
        clip("b.mp4", 20, 68),
        clip("c.mp4", 0, 24),
    )
    root, _ = written(cut(("video", "", (clip("z.mp4", 0, 200),)), ("video", "", chain)))
    lane = root.find(".//asset-clip/spine")
    assert lane.get("lane") == "1" and [each.tag for each in lane] == [
        "asset-clip",
        "transition",
        "asset-clip",
    ]


def test_rates_are_conformed_and_audio_is_switched():
    root, _ = written(
        cut(
            (
                "video",
                "",
                (
                    clip("a.mp4", 0, 16, rate=(16, 1), audio=True, mute=True),
                    clip("b.mp4", 0, 30, rate=(30, 1)),
                ),
            )
        )
    )
    first, second = root.find(".//sequence/spine")
    assert first.find("conform-rate").attrib == {"scaleEnabled": "0"} and first.get("srcEnable") == "video"
    assert second.find("conform-rate").get("srcFrameRate") == "30"
    assert root.find(".//format[@frameDuration='1/16s']") is not None


def test_ntsc_has_exact_times_and_drop_frame():
    root, _ = written(cut(rate=(30000, 1001), start=1800))
    sequence = root.find(".//sequence")
    assert (sequence.get("tcFormat"), sequence.get("tcStart")) == ("DF", "3003/50s")
    assert root.find(".//format").get("frameDuration") == "1001/30000s"


def test_what_is_lost_is_a_feature():
    assert set(LOST) <= set(FEATURES)
