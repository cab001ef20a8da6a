"""CMX3600 lists: events, dissolves, fades, speeds, timecode."""

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.timeline.documents import timelines

from wan22.errors import OutputError
from wan22.timeline.interchange.common import Notes, counts_timecode, timecode
from wan22.timeline.interchange.edl import LOST, lists
from wan22.timeline.interchange.features import FEATURES
from wan22.timeline.items import Clip, Gap, Marker, Source, Timeline, Track, Transition

NTSC = Fraction(30000, 1001)
EVENT = re.compile(
    r"(\d{3,})  ([A-Z0-9]{1,8}) +(V|AA|AA/V) +(C|D    \d{3}) +((?:\d\d:\d\d:\d\d[:;]\d\d ?){4})$"
)


def clip(file, start, end, *, speed=(1, 1), rate=(24, 1), frames=200, **more):
    step = Fraction(24) / Fraction(*rate) / Fraction(*speed)
    return Clip(
        id=file, media={"path": f"{file}.mp4"}, start=start, end=end, speed=speed, duration=int((end - start) * step),
        source=Source(frames=frames, rate=rate, size=(1280, 720), audio=False), **more,
    )  # fmt: skip


def cut(*items, kind="video", **more):
    tracks = (Track(id="v1", kind=kind, items=items),)
    return Timeline(
        **{"name": "cut", "rate": (24, 1), "size": (1280, 720), "start": 86400, "tracks": tracks} | more
    )


def written(timeline):
    notes = Notes()
    found = lists(timeline, lambda media: Path("/media") / media["path"], notes)
    return found[0][1].splitlines(), notes.lines()


def test_cuts_gaps_dissolves_fades_and_speeds():
    lines, notes = written(
        cut(
            clip("ball", 10, 58, fade_in=12),
            Transition(id="t", in_offset=6, out_offset=6),
            clip("cube", 20, 68),
            Gap(id="g", duration=24),
            clip("cone", 0, 48, speed=(1, 2), fade_out=24, name="원뿔"),
        )
    )
    assert lines == [
        "TITLE: cut v1",
        "FCM: NON-DROP FRAME",
        "",
        "001  BL       V     C        00:00:00:00 00:00:00:00 01:00:00:00 01:00:00:00",
        "001  BALL     V     D    012 00:00:00:10 00:00:02:04 01:00:00:00 01:00:01:18",
        "* FROM CLIP NAME:  ball.mp4",
        "* SOURCE FILE: /media/ball.mp4",
        "002  BALL     V     C        00:00:02:04 00:00:02:04 01:00:01:18 01:00:01:18",
        "002  CUBE     V     D    012 00:00:00:14 00:00:02:20 01:00:01:18 01:00:04:00",
        "* FROM CLIP NAME:  ball.mp4",
        "* TO CLIP NAME:  cube.mp4",
        "* SOURCE FILE: /media/cube.mp4",
        "003  CONE     V     C        00:00:00:00 00:00:01:12 01:00:05:00 01:00:08:00",
        "M2   CONE           012.0                00:00:00:00",
        "* FROM CLIP NAME:  원뿔",
        "* SOURCE FILE: /media/cone.mp4",
        "004  CONE     V     C        00:00:01:12 00:00:01:12 01:00:08:00 01:00:08:00",
        "004  BL       V     D    024 00:00:00:00 00:00:01:00 01:00:08:00 01:00:09:00",
        "* FROM CLIP NAME:  원뿔",
    ]
    assert notes == ("size of the image: an EDL has none",)


def test_audio_of_a_video_is_heard_and_a_track_of_audio_has_a_list():
    loud = clip("ball", 0, 24)
    loud = Clip(**vars(loud) | {"source": Source(frames=200, rate=(24, 1), size=(1, 1), audio=True)})
    lines, _ = written(cut(loud))
    assert "  BALL     AA/V  C  " in lines[3]
    lines, _ = written(cut(loud, kind="audio"))
    assert "  BALL     AA    C  " in lines[3]


def test_markers_are_locators():
    marker = Marker(id="m", at=30, name="look\nhere", color="teal", duration=5)
    lines, notes = written(cut(clip("a", 0, 48), markers=(marker,)))
    assert lines[-1] == "* LOC: 01:00:01:06 RED     look here"
    assert any(line.startswith("colors of markers") for line in notes)
    assert any(line.startswith("lengths of markers") for line in notes)


def test_reels_are_eight_letters_and_one_for_each_media():
    names = ("a-very-long-name-1", "a-very-long-name-2", "BL", "한국어")
    lines, _ = written(cut(*(clip(name, 0, 24) for name in names)))
    reels = [match[2] for line in lines if (match := EVENT.match(line))]
    assert len(set(reels)) == 4 and "BL" not in reels and max(map(len, reels)) == 8


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(timelines())
def test_every_track_is_a_list_whose_events_follow_one_another(timeline):
    notes = Notes()
    if not counts_timecode(timeline.fps):
        with pytest.raises(OutputError, match="25/2"):
            lists(timeline, lambda media: None, notes)
        return
    for _, text in lists(timeline, lambda media: None, notes):
        assert text.startswith("TITLE: ")
        last, number = "", 0
        for line in text.splitlines()[3:]:
            if match := EVENT.match(line):
                codes = match[5].split()
                assert codes[2] >= last and int(match[1]) in (number, number + 1)
                last, number = codes[3], int(match[1])
            else:
                assert line.startswith(("* ", "M2   ")), line


def test_timecode_drops_numbers_as_the_standard_says():
    assert timecode(1799, NTSC, True) == "00:00:59;29" and timecode(1800, NTSC, True) == "00:01:00;02"
    assert timecode(17981, NTSC, True) == "00:09:59;29" and timecode(17982, NTSC, True) == "00:10:00;00"
    assert timecode(107892, NTSC, True) == "01:00:00;00" and timecode(108000, NTSC) == "01:00:00:00"
    assert timecode(3600, NTSC * 2, True) == "00:01:00;04"
    assert timecode(24 * 86400, Fraction(24)) == "00:00:00:00"


@settings(deadline=None)
@given(st.integers(0, 2_589_407))
def test_timecode_of_drop_frame_counts_every_frame_once(frame):
    now, then = timecode(frame, NTSC, True), timecode(frame + 1, NTSC, True)
    hours, minutes, seconds, frames = (int(part) for part in re.split("[:;]", now))
    total = hours * 60 + minutes
    assert 30 * (60 * total + seconds) + frames - 2 * (total - total // 10) == frame
    assert now < then or then == "00:00:00;00"


def test_ntsc_is_drop_frame_unless_the_timeline_says_otherwise():
    timeline = cut(rate=(30000, 1001), start=0)
    assert written(timeline)[0][1] == "FCM: DROP FRAME"
    assert written(cut(rate=(30000, 1001), meta={"drop_frame": False}))[0][1] == "FCM: NON-DROP FRAME"
    assert written(cut(rate=(24000, 1001)))[0][1] == "FCM: NON-DROP FRAME"


def test_what_is_lost_is_a_feature():
    assert set(LOST) <= set(FEATURES)
