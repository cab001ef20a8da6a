"""Exporting and importing files: formats by name, bundles with media, and files that want too much."""

import json
import zipfile
from pathlib import Path

import pytest

from wan22.errors import MediaError, OptionError, OutputError, TimelineError
from wan22.timeline.document import dump, read
from wan22.timeline.interchange import edl, fcp7, fcpxml, otio
from wan22.timeline.interchange.export import FORMATS, export_timeline, format_of, import_timeline
from wan22.timeline.interchange.features import FEATURES
from wan22.timeline.items import Source
from wan22.timeline.places import Folders, files_of, kept_beside

WHOLE = json.loads(Path("tests/data/timelines/valid_whole.json").read_text())["document"]


@pytest.fixture
def cut(tmp_path):
    """A timeline whose media are files beside it; two of one name."""
    document = json.loads(json.dumps(WHOLE))
    clips = [item for track in document["tracks"] for item in track["items"] if item["type"] == "clip"]
    for number, clip in enumerate(clips):
        path = tmp_path / "shots" / str(number) / "한 글.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"video %d" % number)
        clip["media"] = {"path": path.relative_to(tmp_path).as_posix()}
        clip["takes"] = []
    return read(document)


def taken(path, base, folders=(), keep=None):
    places = Folders([path.parent, *folders], base)
    return import_timeline(path, places, lambda media: None, keep)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written_and_never_over_a_file(form, cut, tmp_path):
    target = tmp_path / f"out{FORMATS[form]}"
    made = export_timeline(cut, target, form, files_of(tmp_path))
    assert made.files and all(path.stat().st_size > 20 for path in made.files) and made.notes
    before = [path.read_bytes() for path in made.files]
    with pytest.raises(OutputError, match="exists already"):
        export_timeline(cut, target, form, files_of(tmp_path))
    assert [path.read_bytes() for path in made.files] == before
    export_timeline(cut, target, form, files_of(tmp_path), replace=True)


def test_several_lists_and_languages_get_names_of_their_own(cut, tmp_path):
    lists = export_timeline(cut, tmp_path / "cut.edl", "edl", files_of(tmp_path))
    assert [path.name for path in lists.files] == ["cut-v1.edl", "cut-a1.edl"]
    captions = export_timeline(cut, tmp_path / "cut.srt", "srt", files_of(tmp_path))
    assert {path.name for path in captions.files} == {"cut-en.srt", "cut-ko.srt"}


@pytest.mark.parametrize("form", ["otio", "otioz"])
def test_what_is_exported_is_imported_as_it_was(form, cut, tmp_path):
    target = tmp_path / f"cut.{form}"
    export_timeline(cut, target, form, files_of(tmp_path))
    found = taken(target, tmp_path)
    assert dump(found.timeline) == dump(cut) and found.notes == ()


def test_a_bundle_brings_its_media_to_another_place(cut, tmp_path):
    export_timeline(cut, tmp_path / "cut.otioz", "otioz", files_of(tmp_path))
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "cut.otioz").rename(there / "cut.otioz")
    output = there / "new.json"
    found = taken(there / "cut.otioz", there, keep=lambda name, stream: kept_beside(output, name, stream))
    before = [clip for _, _, clip in cut.clips()]
    after = [clip for _, _, clip in found.timeline.clips()]
    assert [(c.start, c.end, c.duration) for c in after] == [(c.start, c.end, c.duration) for c in before]
    for one, other in zip(before, after, strict=True):
        assert other.media["path"].startswith("new-media/")
        assert (there / other.media["path"]).read_bytes() == (tmp_path / one.media["path"]).read_bytes()


def bundle(path, **members):
    with zipfile.ZipFile(path, "w") as told:
        for name, data in members.items():
            told.writestr(name.replace("__", "/"), data)


def foreign(url, **more):
    """A file of one clip as another program writes it."""
    time = {"OTIO_SCHEMA": "RationalTime.1", "rate": 24.0}
    place = {
        "OTIO_SCHEMA": "TimeRange.1",
        "start_time": {**time, "value": 0.0},
        "duration": {**time, "value": 48.0},
    }
    reference = {"OTIO_SCHEMA": "ExternalReference.1", "target_url": url, "available_range": place}
    clip = {
        "OTIO_SCHEMA": "Clip.1",
        "name": "shot",
        "source_range": place,
        "media_reference": reference,
    } | more
    track = {"OTIO_SCHEMA": "Track.1", "kind": "Video", "children": [clip]}
    stack = {"OTIO_SCHEMA": "Stack.1", "children": [track]}
    return json.loads(json.dumps({"OTIO_SCHEMA": "Timeline.1", "name": "theirs", "tracks": stack}))


def imported(document, tmp_path, folders=()):
    (tmp_path / "their.otio").write_text(json.dumps(document))
    return taken(tmp_path / "their.otio", tmp_path, folders)


@pytest.mark.parametrize(
    "url",
    [
        "{root}/in/a%20b.mp4",
        "file://{root}/in/a%20b.mp4",
        "file://localhost{root}/in/a%20b.mp4",
        "in/a b.mp4",
    ],
)
def test_media_within_the_folder_is_found_by_any_address(url, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b.mp4").write_bytes(b"x")
    address = (
        url.format(root=tmp_path) if "://" in url or not url.startswith("{") else f"{tmp_path}/in/a b.mp4"
    )
    found = imported(foreign(address), tmp_path)
    ((_, _, clip),) = found.timeline.clips()
    assert clip.media == {"path": "in/a b.mp4"} and (clip.start, clip.end, clip.source.audio) == (
        0,
        48,
        False,
    )


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "../secret.mp4",
        "link/secret.mp4",
        "http://x/secret.mp4",
        "C:\\secret.mp4",
        "a\0b",
    ],
)
def test_media_outside_is_not_reached(url, tmp_path):
    outside = tmp_path / "secret.mp4"
    outside.write_bytes(b"x")
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tmp_path)
    found = imported(foreign(url), home)
    ((_, _, clip),) = found.timeline.clips()
    assert "/" not in clip.media["path"].replace("C:", "") and any(
        "not there" in line for line in found.notes
    )
    given = imported(foreign(url), home, [tmp_path])
    ((_, _, clip),) = given.timeline.clips()
    assert clip.media["path"] == (
        "../secret.mp4" if "secret" in url and "http" not in url else clip.media["path"]
    )


def test_files_of_resolve_and_others_say_what_was_not_taken(tmp_path):
    time = {"OTIO_SCHEMA": "RationalTime.1", "rate": 23.976}

    def span(start, lasts):
        return {
            "OTIO_SCHEMA": "TimeRange.1",
            "start_time": {**time, "value": start},
            "duration": {**time, "value": lasts},
        }

    media = {
        "OTIO_SCHEMA": "ExternalReference.1",
        "target_url": "/Volumes/X/A001.mov",
        "available_range": span(86400.0, 240.0),
    }
    effect = {
        "OTIO_SCHEMA": "Effect.1",
        "effect_name": "Resolve Effect",
        "metadata": {"Resolve_OTIO": {"Effect Name": "Transform"}},
    }
    warp = {"OTIO_SCHEMA": "LinearTimeWarp.1", "effect_name": "", "time_scalar": 2.0}
    marker = {"OTIO_SCHEMA": "Marker.2", "name": "fix", "color": "BLUE", "marked_range": span(86420.0, 1.0)}
    clip = {
        "OTIO_SCHEMA": "Clip.2",
        "name": "A001",
        "source_range": span(86410.0, 48.0),
        "effects": [effect, warp],
        "markers": [marker],
        "media_references": {"DEFAULT_MEDIA": media},
        "active_media_reference_key": "DEFAULT_MEDIA",
    }
    sound = {**clip, "effects": [], "markers": []}
    wipe = {
        "OTIO_SCHEMA": "Transition.1",
        "transition_type": "SMPTE_Wipe",
        "in_offset": {**time, "value": 6.0},
        "out_offset": {**time, "value": 6.0},
    }
    color = {
        "OTIO_SCHEMA": "Clip.1",
        "name": "bars",
        "source_range": span(0.0, 24.0),
        "media_reference": {
            "OTIO_SCHEMA": "GeneratorReference.1",
            "generator_kind": "SMPTEBars",
            "parameters": {},
        },
    }
    frozen = {
        **clip,
        "markers": [],
        "effects": [{"OTIO_SCHEMA": "FreezeFrame.1", "effect_name": "FreezeFrame", "time_scalar": 0.0}],
    }
    images = {
        "OTIO_SCHEMA": "ImageSequenceReference.1",
        "target_url_base": "file:///r/",
        "name_prefix": "f.",
        "name_suffix": ".png",
        "start_frame": 1,
        "frame_step": 1,
        "rate": 23.976,
        "frame_zero_padding": 4,
        "missing_frame_policy": "error",
        "available_range": span(0.0, 24.0),
    }
    numbered = {
        "OTIO_SCHEMA": "Clip.1",
        "name": "seq",
        "source_range": span(0.0, 24.0),
        "media_reference": images,
    }
    inner = {"OTIO_SCHEMA": "Track.1", "kind": "Video", "children": [{**numbered, "name": "inner"}]}
    nested = {"OTIO_SCHEMA": "Stack.1", "name": "comp", "children": [inner], "source_range": span(4.0, 12.0)}
    video = {
        "OTIO_SCHEMA": "Track.1",
        "kind": "Video",
        "name": "Video 1",
        "children": [clip, wipe, frozen, color, numbered, nested],
    }
    audio = {"OTIO_SCHEMA": "Track.1", "kind": "Audio", "name": "Audio 1", "children": [sound]}
    other = {"OTIO_SCHEMA": "Track.1", "kind": "Subtitle", "name": "ST 1", "children": []}
    stack = {"OTIO_SCHEMA": "Stack.1", "children": [video, audio, other]}
    found = imported(
        {
            "OTIO_SCHEMA": "Timeline.1",
            "name": "R",
            "tracks": stack,
            "global_start_time": {**time, "value": 86400.0},
        },
        tmp_path,
    )
    timeline, said = found.timeline, "\n".join(found.notes)
    assert (timeline.rate, timeline.start) == ((24000, 1001), 86400)
    first, dissolve, second, gap, seq, inside = timeline.tracks[0].items
    assert (first.start, first.end, first.speed, first.duration, first.source.frames) == (
        10,
        106,
        (2, 1),
        48,
        240,
    )
    assert (dissolve.in_offset, dissolve.out_offset, second.duration, gap.duration) == (6, 6, 48, 24)
    assert seq.media == {"path": "f.%04d.png"} and (inside.start, inside.duration, inside.name) == (
        4,
        12,
        "inner",
    )
    assert not first.source.audio and len(timeline.tracks) == 2, (
        "audio of another range is no audio of the video"
    )
    assert [(m.name, m.color, m.at) for m in timeline.markers] == [("fix", "blue", 10)]
    for what in (
        "Resolve Effect",
        "SMPTE_Wipe",
        "SMPTEBars",
        "FreezeFrame",
        "comp",
        "Subtitle",
        "A001.mov",
        "no size",
    ):
        assert what in said, what


def test_audio_that_goes_with_a_video_becomes_its_own(tmp_path):
    document = foreign("a.mp4")
    track = json.loads(json.dumps(document["tracks"]["children"][0])) | {"kind": "Audio"}
    document["tracks"]["children"].append(track)
    found = imported(document, tmp_path).timeline
    ((_, _, clip),) = found.clips()
    assert clip.source.audio and not clip.mute and len(found.tracks) == 1


def test_a_video_whose_audio_is_not_in_the_file_is_muted(tmp_path):
    held = Source(frames=100, rate=(24, 1), size=(64, 48), audio=True)
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "their.otio").write_text(json.dumps(foreign("a.mp4")))
    found = import_timeline(tmp_path / "their.otio", Folders([tmp_path], tmp_path), lambda media: held)
    ((_, _, clip),) = found.timeline.clips()
    assert clip.mute and clip.source == held


def test_frames_of_the_timeline_that_are_no_whole_source_frames_stay_in_their_place(tmp_path):
    document = foreign("a.mp4")
    clip = document["tracks"]["children"][0]["children"][0]
    for key, rate, value in (("source_range", 24.0, 5.0), ("available", 16.0, 81.0)):
        place = clip[key] if key in clip else clip["media_reference"]["available_range"]
        place["duration"] = {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": value}
        place["start_time"] = {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": 0.0}
    document["global_start_time"] = {"OTIO_SCHEMA": "RationalTime.1", "rate": 24.0, "value": 0.0}
    document["tracks"]["children"][0]["children"] = [clip, {**clip, "name": "two"}]
    found = imported(document, tmp_path)
    assert [(at, c.duration, c.source.rate) for _, at, c in found.timeline.clips()] == [
        (0, 5, (16, 1)),
        (5, 5, (16, 1)),
    ]


def test_audio_of_many_clips_is_joined_and_too_many_are_refused(tmp_path, monkeypatch):
    document = foreign("a.mp4")
    clip = document["tracks"]["children"][0]["children"][0]
    clips = [{**clip, "name": str(number)} for number in range(60)]
    document["tracks"]["children"] = [
        {"OTIO_SCHEMA": "Track.1", "kind": kind, "children": clips} for kind in ("Video", "Audio", "Audio")
    ]
    found = imported(document, tmp_path).timeline
    assert len(found.tracks) == 1 and all(not clip.mute for _, _, clip in found.clips())
    monkeypatch.setattr("wan22.timeline.interchange.otio_read.MOST_ITEMS", 150)
    with pytest.raises(TimelineError, match="at most 150 are read"):
        imported(document, tmp_path)


DEEP = '{"a":' * 3000 + "1" + "}" * 3000
WRONG = {
    "their.otio": ["", "{", "[]", '{"OTIO_SCHEMA": "Clip.1"}', "{}", DEEP, '{"OTIO_SCHEMA": "Nothing.9"}',
                   json.dumps(foreign("a")).replace("24.0", "0.0"),
                   json.dumps(foreign("a")).replace("48.0", "1e300"),
                   '{"OTIO_SCHEMA": "SerializableObjectRef.1", "id": "Timeline-1"}'],
    "their.otioz": ["no zip"],
    "their.xml": ["<xmeml>", "<!DOCTYPE x [<!ENTITY a 'b'>]><xmeml>&a;</xmeml>"],
    "their.mp4": ["x"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_wrong_file_is_one_clear_error(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises((MediaError, TimelineError)) as caught:
        taken(tmp_path / name, tmp_path)
    assert 0 < len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["media__..__..__x.mp4", "media__sub__x.mp4", "media__a\\b.mp4"])
def test_a_bundle_that_leads_elsewhere_is_refused(name, tmp_path):
    url = name.replace("__", "/")
    bundle(tmp_path / "b.otioz", **{"content.otio": json.dumps(foreign(url)), name: b"x"})
    with pytest.raises(MediaError, match="not a file of its folder"):
        taken(tmp_path / "b.otioz", tmp_path, keep=lambda name, stream: pytest.fail("taken"))


def test_a_bundle_without_a_timeline_is_refused(tmp_path):
    bundle(tmp_path / "b.otioz", **{"media__x.mp4": b"x"})
    with pytest.raises(MediaError, match=r"content\.otio"):
        taken(tmp_path / "b.otioz", tmp_path)


def test_a_format_is_told_by_the_name():
    assert [format_of(f"cut{suffix}") for suffix in FORMATS.values()] == list(FORMATS)
    assert format_of("cut.txt", "edl") == "edl"
    with pytest.raises(OptionError, match=r"\.fcpxml"):
        format_of("cut.aaf")
    with pytest.raises(OptionError, match="fcp7"):
        format_of("cut", "fcp")


def test_a_timeline_without_captions_has_no_srt(cut, tmp_path):
    document = dump(cut) | {"captions": []}
    with pytest.raises(OutputError, match="no captions"):
        export_timeline(read(document), tmp_path / "cut.srt", "srt", files_of(tmp_path))


KEPT = {"otio": otio.LOST, "fcp7": fcp7.LOST, "fcpxml": fcpxml.LOST, "edl": edl.LOST}
WHAT = Path("docs/timeline.md")


def test_the_table_of_the_guide_is_what_the_formats_lose():
    rows = [line.strip("| ").split(" | ") for line in WHAT.read_text().splitlines() if line.startswith("| ")]
    header = next(row for row in rows if row == ["OTIO", "FCP7 XML", "FCPXML", "EDL"])
    told = {row[0]: row[1:5] for row in rows[rows.index(header) + 1 :] if row[0] in FEATURES}
    assert set(told) == set(FEATURES)
    for feature, marks in told.items():
        for form, mark in zip(KEPT, marks, strict=True):
            assert mark.startswith("yes") == (feature not in KEPT[form]), (feature, form, mark)
