"""FCP7 XML: the cut comes back; files of other programs, written after their documentation, are understood."""

import json
from fractions import Fraction
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from unit.timeline.documents import timelines

from wan22.errors import MediaError, TimelineError
from wan22.timeline.document import check, dump, read
from wan22.timeline.interchange.common import Notes
from wan22.timeline.interchange.fcp7 import LOST, to_fcp7
from wan22.timeline.interchange.fcp7_read import from_fcp7
from wan22.timeline.interchange.features import FEATURES
from wan22.timeline.items import Clip, Gap, Transition

WHOLE = json.loads(Path("tests/data/timelines/valid_whole.json").read_text())["document"]
RATES = [(24, 1), (25, 1), (30, 1), (24000, 1001), (30000, 1001), (60000, 1001)]


def find(media):
    return None if "input" in media else Path("/media/한 글") / (media.get("path") or media["file"])


def by_name(url, said):
    return {"path": url.rpartition("/")[2]} if url else None


def written(timeline):
    notes = Notes()
    return to_fcp7(timeline, find, notes), notes.lines()


def taken(text, look=lambda media: None):
    notes = Notes()
    found = from_fcp7(text if isinstance(text, bytes) else text.encode(), by_name, look, notes)
    assert check(dump(found)) == []
    return found, notes.lines()


def clips(timeline):
    """The clips of every video track, with their places: tracks of video come first in the format."""
    return [
        [(at, item) for at, item in track.placed() if isinstance(item, Clip)]
        for track in timeline.tracks
        if track.kind == "video"
    ]


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(timelines(RATES))
def test_the_cut_comes_back(timeline):
    text, notes = written(timeline)
    found, _ = taken(text)
    assert (found.rate, found.size, found.start) == (timeline.rate, timeline.size, timeline.start)
    before, after = clips(timeline), clips(found)
    assert [len(each) for each in after] == [len(each) for each in before]
    for (at, clip), (place, other) in zip(chain(*before), chain(*after), strict=True):
        assert (place, other.duration, other.enabled) == (at, clip.duration, clip.enabled)
        rates = [Fraction(*each.source.rate) for each in (clip, other)]
        moved = abs(other.start / rates[1] - clip.start / rates[0])
        if Fraction(*clip.speed) == Fraction(*other.speed) and not clip.source.still:
            assert moved <= Fraction(*clip.speed) / timeline.fps + 1 / min(rates)
    assert [(m.at, m.duration) for m in found.markers] == [(m.at, m.duration) for m in timeline.markers]
    assert any(line.startswith("captions: ") for line in notes) == bool(timeline.captions)


def test_the_whole_example_comes_back():
    text, notes = written(read(WHOLE))
    found, _ = taken(text)
    video = found.tracks[0]
    assert [type(item) for item in video.items] == [Clip, Transition, Clip, Gap, Clip]
    assert [(item.start, item.end) for item in video.items if isinstance(item, Clip)] == [
        (0, 60),
        (10, 70),
        (0, 81),
    ]
    (audio,) = found.tracks[1:]
    (sound,) = audio.items
    assert (sound.fade_in, sound.fade_out, sound.gain_db) == (12, 24, -6.0)  # the track's level is the clip's
    assert not any(item.mute for item in video.items if isinstance(item, Clip)), (
        "the audio of videos is theirs again"
    )
    assert any(line.startswith("media that is not there") for line in notes)


def test_editors_find_what_they_look_for():
    document = json.loads(json.dumps(WHOLE))
    document["tracks"][0]["items"][0] |= {
        "recipe": {"prompt": "a ball & <more>"},
        "source": WHOLE["tracks"][0]["items"][0]["source"],
    }
    text, _ = written(read(document))
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n<xmeml version="4">')
    root = ElementTree.fromstring(text)
    names = {each.get("id") for each in root.iter("clipitem")}
    links = [each.text for each in root.iter("linkclipref")]
    assert len(names) == len(list(root.iter("clipitem"))) and links and set(links) <= names
    assert root.findtext(".//format/samplecharacteristics/width") == "1280"
    assert root.findtext(".//file/media/video/samplecharacteristics/width") == "832"
    assert root.findtext(".//lognote") == "a ball & <more>"
    assert root.find(".//pathurl").text.startswith("file:///media/%ED%95%9C%20%EA%B8%80/")
    assert all(len(each.findall("rate")) == 1 for each in root.iter("clipitem"))


PREMIERE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE xmeml>
<xmeml version="4">
 <sequence id="sequence-1" MZ.Sequence.PreviewFrameSizeHeight="1080">
  <uuid>5f7c</uuid><duration>200</duration>
  <rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><name>Cut &amp; more</name>
  <media>
   <video>
    <format><samplecharacteristics><rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate>
     <width>1920</width><height>1080</height></samplecharacteristics></format>
    <track MZ.TrackTargeted="1">
     <clipitem id="clipitem-1"><masterclipid>masterclip-1</masterclipid><name>a b.mov</name><enabled>TRUE</enabled>
      <duration>300</duration><rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate>
      <start>0</start><end>-1</end><in>10</in><out>115</out><pproTicksIn>84758</pproTicksIn>
      <file id="file-1"><name>a b.mov</name><pathurl>file://localhost/C%3a/Media/a%20b.mov</pathurl>
       <rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><duration>300</duration>
       <timecode><rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><string>01:00:00;00</string>
        <frame>107892</frame><displayformat>DF</displayformat></timecode>
       <media><video><samplecharacteristics><width>1920</width><height>1080</height></samplecharacteristics></video>
        <audio><channelcount>2</channelcount></audio></media></file>
      <filter><effect><name>Lumetri Color</name><effectid>AE.ADBE Lumetri</effectid><effectcategory>x</effectcategory>
       <effecttype>filter</effecttype><mediatype>video</mediatype></effect></filter>
      <filter><effect><name>Basic Motion</name><effectid>basic</effectid><effecttype>motion</effecttype>
       <mediatype>video</mediatype><parameter><parameterid>scale</parameterid><name>Scale</name><value>100</value>
       </parameter></effect></filter>
      <link><linkclipref>clipitem-1</linkclipref><mediatype>video</mediatype></link>
      <link><linkclipref>clipitem-3</linkclipref><mediatype>audio</mediatype></link></clipitem>
     <transitionitem><start>95</start><end>105</end><alignment>center</alignment>
      <rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate>
      <effect><name>Cross Dissolve</name><effectid>Cross Dissolve</effectid></effect></transitionitem>
     <clipitem id="clipitem-2"><name>slow.mov</name><enabled>FALSE</enabled><duration>400</duration>
      <rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><start>-1</start><end>160</end><in>35</in><out>100</out>
      <file id="file-2"><name>slow.mov</name><pathurl>file://localhost/Volumes/X/%ED%95%9C.mov</pathurl>
       <rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><duration>200</duration><media><video/></media></file>
      <filter><effect><name>Time Remap</name><effectid>timeremap</effectid><effectcategory>motion</effectcategory>
       <effecttype>motion</effecttype><mediatype>video</mediatype>
       <parameter><parameterid>variablespeed</parameterid><value>0</value></parameter>
       <parameter><parameterid>speed</parameterid><value>50</value></parameter>
       <parameter><parameterid>reverse</parameterid><value>FALSE</value></parameter></effect></filter></clipitem>
     <generatoritem id="clipitem-9"><name>Slug</name><duration>40</duration>
      <rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><start>160</start><end>180</end><in>0</in><out>20</out>
      <effect><name>Slug</name><effectid>Slug</effectid><effecttype>generator</effecttype></effect></generatoritem>
     <clipitem id="clipitem-7"><name>Nested</name><rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate>
      <start>180</start><end>200</end><in>0</in><out>20</out>
      <sequence id="sequence-2"><name>Nested</name><rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate>
       <media><video><track/></video></media></sequence></clipitem>
     <enabled>TRUE</enabled><locked>TRUE</locked>
    </track>
   </video>
   <audio>
    <track currentExplodedTrackIndex="0" totalExplodedTrackCount="2">
     <clipitem id="clipitem-3"><name>a b.mov</name><enabled>TRUE</enabled>
      <rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><start>0</start><end>100</end><in>10</in><out>110</out>
      <file id="file-1"/><sourcetrack><mediatype>audio</mediatype><trackindex>1</trackindex></sourcetrack>
      <filter><effect><name>Audio Levels</name><effectid>audiolevels</effectid><mediatype>audio</mediatype>
       <parameter><parameterid>level</parameterid><value>0.501187</value></parameter></effect></filter></clipitem>
     <clipitem id="clipitem-5"><name>music.wav</name><rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate>
      <start>120</start><end>180</end><in>0</in><out>60</out>
      <file id="file-3"><name>music.wav</name><pathurl>music.wav</pathurl><duration>900</duration>
       <rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><media><audio/></media></file></clipitem>
    </track>
    <track currentExplodedTrackIndex="1" totalExplodedTrackCount="2"/>
   </audio>
  </media>
  <marker><name>look</name><comment>c</comment><in>30</in><out>-1</out></marker>
  <marker><comment>only a comment</comment><in>60</in><out>66</out></marker>
  <timecode><rate><timebase>30</timebase><ntsc>TRUE</ntsc></rate><string>00:00:00;00</string><frame>0</frame>
   <displayformat>DF</displayformat></timecode>
 </sequence>
</xmeml>"""


def test_a_file_of_premiere_is_understood():
    found, notes = taken(PREMIERE)
    assert (found.name, found.rate, found.size) == ("Cut & more", (30000, 1001), (1920, 1080))
    assert found.meta == {"drop_frame": True}
    video, audio = found.tracks
    assert video.locked and [type(item) for item in video.items] == [Clip, Transition, Clip]
    first, dissolve, slow = video.items
    assert (first.media, first.start, first.end) == ({"path": "a%20b.mov"}, 10, 110)
    assert first.source.frames == 300 and not first.mute and first.gain_db == pytest.approx(-6, abs=0.01)
    assert (dissolve.in_offset, dissolve.out_offset) == (5, 5)
    assert (slow.speed, slow.enabled, slow.start, slow.end, slow.duration) == ((1, 2), False, 20, 50, 60)
    assert not slow.source.audio and slow.link is None, "it has no audio in the file"
    gap, music = audio.items
    assert (gap.duration, music.duration, music.media) == (120, 60, {"path": "music.wav"})
    assert [(m.at, m.duration, m.name) for m in found.markers] == [(30, 0, "look"), (60, 6, "only a comment")]
    said = "\n".join(notes)
    assert "Lumetri Color" in said and "Slug" in said and "Nested" in said and "Basic Motion" not in said


FLAME = """<!DOCTYPE xmeml><xmeml version="5"><project><name>p</name><children><bin><children><sequence>
 <name>first</name><rate><timebase>24</timebase><ntsc>TRUE</ntsc></rate><duration>50</duration>
 <media><video><track>
  <clipitem><name>missing</name><start>0</start><end>20</end><rate><timebase>24</timebase><ntsc>TRUE</ntsc></rate></clipitem>
  <clipitem><name>nowhere</name><start>-1</start><end>40</end><file id="x"/></clipitem>
  <clipitem><name>endless</name><start>22</start><end>-1</end><file id="x"/></clipitem>
  <clipitem><name>odd</name><start>30</start><end>50</end><in>0</in><out>16</out>
   <rate><timebase>24</timebase><ntsc>TRUE</ntsc></rate>
   <file id="f"><name>odd.mp4</name><pathurl>file:///odd.mp4</pathurl><duration>81</duration>
    <rate><timebase>16</timebase><ntsc>FALSE</ntsc></rate></file><filter/><marker><name>bad</name></marker></clipitem>
 </track></video></media></sequence></children></bin>
 <sequence><name>second</name><rate><timebase>25</timebase></rate><media><video/></media></sequence></children></project></xmeml>"""


def test_a_file_with_holes_is_mended_and_says_so():
    found, notes = taken(FLAME)
    assert found.rate == (24000, 1001) and found.name == "first"
    said = "\n".join(notes)
    assert (
        "items without a place are not taken: nowhere, endless" in said
        and "only one timeline" in said
        and "missing" in said
    )
    missing, gap, odd = found.tracks[0].items
    assert (missing.media, missing.duration, gap.duration, odd.duration) == ({"path": "missing"}, 20, 10, 20)
    assert odd.source.rate == (16, 1) and odd.end - odd.start in (13, 14)


HOSTILE = {
    "laughs": '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xmeml><sequence>&b;</sequence></xmeml>',
    "file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xmeml><name>&a;</name></xmeml>',
    "outside": '<!DOCTYPE xmeml SYSTEM "http://127.0.0.1/x.dtd"><xmeml/>',
    "deep": f"<xmeml>{'<bin>' * 5000}{'</bin>' * 5000}</xmeml>",
    "cut off": "<xmeml><sequence>",
    "nothing": "",
    "no sequence": "<xmeml><bin/></xmeml>",
    "other XML": "<html/>",
    "FCPXML": '<fcpxml version="1.9"/>',
    "no rate": "<xmeml><sequence><name>x</name><media><video/></media></sequence></xmeml>",
    "no number": PREMIERE.replace("<start>0</start>", "<start>zero</start>"),
    "a rate of nothing": PREMIERE.replace("<timebase>30</timebase>", "<timebase>0</timebase>"),
    "endless": PREMIERE.replace("<end>180</end>", "<end>99999999999</end>"),
    "a huge image": PREMIERE.replace("<width>1920</width>", "<width>99999999</width>"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_clear_error(name):
    with pytest.raises((MediaError, TimelineError)) as caught:
        from_fcp7(HOSTILE[name].encode(), by_name, lambda media: None, Notes())
    assert len(str(caught.value)) < 500


def test_what_is_lost_is_a_feature():
    assert set(LOST) <= set(FEATURES)
