"""OpenTimelineIO: what is written comes back as it was; what another program changed counts."""

import json
from pathlib import Path

import opentimelineio as otio
from hypothesis import HealthCheck, given, settings
from unit.timeline.documents import timelines

from wan22.timeline.document import dump, read
from wan22.timeline.interchange.common import Notes
from wan22.timeline.interchange.otio import LOST, to_otio
from wan22.timeline.interchange.otio_read import from_otio
from wan22.timeline.items import Clip

WHOLE = json.loads(Path("tests/data/timelines/valid_whole.json").read_text())["document"]


def find(media):
    return None if "input" in media else Path("/media") / (media.get("path") or media["file"])


def back(told, relink=lambda url, said: said, look=lambda media: None):
    """What is read from a written file, and what is noted."""
    notes = Notes()
    text = otio.adapters.write_to_string(told, "otio_json")
    return from_otio(otio.adapters.read_from_string(text, "otio_json"), relink, look, notes), notes.lines()


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(timelines())
def test_a_timeline_comes_back_as_it_was(timeline):
    found, notes = back(to_otio(timeline, find, Notes()))
    assert dump(found) == dump(timeline) and notes == ()


def test_editors_find_what_they_know():
    notes = Notes()
    timeline = read(WHOLE)
    told = to_otio(timeline, find, notes)
    clips = [item for item in timeline.tracks[0].items if isinstance(item, Clip)]
    written = told.tracks[0].find_clips()
    assert [each.metadata["wan22"]["id"] for each in written] == [clip.id for clip in clips]
    for clip, each in zip(clips, written, strict=True):
        place = each.media_reference.available_range
        assert place.duration.value == clip.source.frames and each.source_range.start_time.value == clip.start
    assert {each.schema_name() for each in told.tracks[0]} >= {"Clip", "Transition", "Gap"}
    assert [each.marked_range.start_time.value for each in told.tracks.markers] == [
        m.at for m in timeline.markers
    ]
    assert any(line.startswith("captions: ") for line in notes.lines())


def test_a_recipe_is_where_it_is_said_to_be_and_takes_are_references():
    document = json.loads(json.dumps(WHOLE))
    clip = next(item for item in document["tracks"][0]["items"] if item["type"] == "clip")
    clip |= {"recipe": {"prompt": "a ball", "seed": 7}, "takes": [{"path": "a.mp4"}, clip["media"]]}
    told = to_otio(read(document), find, Notes())
    first = told.find_clips()[0]
    assert first.metadata["wan22"]["recipe"]["prompt"] == "a ball"
    assert (
        list(first.media_references()) == ["take-1", "take-2"]
        and first.active_media_reference_key == "take-2"
    )
    first.active_media_reference_key = "take-1"
    found, _ = back(told)
    changed = next(found.clips())[2]
    assert changed.media == {"path": "a.mp4"} and changed.takes == ({"path": "a.mp4"}, clip["media"])


def test_what_an_editor_changes_counts():
    told = to_otio(read(WHOLE), find, Notes())
    first = told.find_clips()[0]
    name = first.metadata["wan22"]["id"]
    rate = first.source_range.start_time.rate
    first.source_range = otio.opentime.TimeRange(
        otio.opentime.RationalTime(3, rate), otio.opentime.RationalTime(8, rate)
    )
    first.name, told.name = "renamed", "new cut"
    found, _ = back(told)
    clip = next(clip for _, _, clip in found.clips() if clip.id == name)
    assert (clip.start, clip.end - clip.start, clip.name, found.name) == (3, 8, "renamed", "new cut")


def test_a_video_whose_audio_an_editor_left_out_is_muted():
    told = to_otio(read(WHOLE), find, Notes())
    marked = [each for each in told.tracks if "audio_of" in each.metadata["wan22"]]
    assert marked
    for track in marked:
        told.tracks.remove(track)
    found, notes = back(told)
    heard = {
        clip.id
        for track, _, clip in read(WHOLE).clips()
        if track.kind == "video" and clip.source.audio and not clip.mute
    }
    assert heard and {clip.id for _, _, clip in found.clips() if clip.mute} >= heard
    assert any("muted" in line for line in notes)


def test_metadata_that_does_not_fit_is_left_aside():
    told = to_otio(read(WHOLE), find, Notes())
    told.metadata["wan22"]["loudness"] = 99.0
    told.find_clips()[0].metadata["wan22"]["fade_in"] = "long"
    found, notes = back(told, relink=lambda url, said: None)
    assert found.loudness is None and any("left aside" in line for line in notes)
    assert all(set(clip.media) == {"path"} and "/" not in clip.media["path"] for _, _, clip in found.clips())


def test_what_is_lost_is_a_feature():
    from wan22.timeline.interchange.features import FEATURES

    assert set(LOST) <= set(FEATURES)
