"""`wan22 render`: a document and its media to a file, and what is refused in one line."""

import json

import pytest
from unit.timeline.media import clip, dissolve, images_of, number_of, timeline, tone, track, video

from wan22.cli.__main__ import main
from wan22.media.video import probe
from wan22.timeline.document import dump


@pytest.fixture
def cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    video(tmp_path / "shots/a.mp4", audio=tone(40 / 24))
    video(tmp_path / "shots/b.mp4", first=100)
    audio = {"frames": 40, "rate": [24, 1], "size": [64, 48], "audio": True}
    made = timeline(
        track("v", clip("c1", "a.mp4", 0, 12, source=audio), dissolve("t", 2, 2), clip("c2", "b.mp4", 10, 20))
    )
    (tmp_path / "shots/cut.json").write_text(json.dumps(dump(made)))
    return "shots/cut.json"


def test_a_timeline_is_rendered_beside_its_media(cut, capsys):
    assert main(["render", cut, "-o", "out.mp4", "--loudness", "-16"]) == 0
    assert capsys.readouterr().out.strip() == "out.mp4"
    numbers = [number_of(image) for image in images_of("out.mp4")]
    assert len(numbers) == 22 and numbers[:10] == [*range(10)] and numbers[-8:] == [*range(112, 120)]
    assert probe("out.mp4").has_audio


def test_a_shape_and_a_format(cut, capsys):
    assert main(["render", cut, "-o", "out.mp4", "--format", "hevc", "--size", "9:16", "--json"]) == 0
    end = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert end["event"] == "finished" and end["recipe"]["timeline"]["name"] == "cut"
    info = probe(end["path"])
    assert (info.codec, info.width, info.height) == ("hevc", 48, 86)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("absent.json -o out.mp4", "absent.json"),
        ("{cut}", "--output"),
        ("{cut} -o out.avi", "avi"),
        ("{cut} -o out.mp4 --format h265", "unknown format"),
        ("{cut} -o out.mp4 --size big", "a size is"),
        ("{cut} -o out.mp4 --captions burn", "no captions"),
        ("{cut} -o out.mp4 --quality best", "quality"),
        ("{cut} -o {cut}", "json"),
        ("{cut} -o shots/a.mp4", "exists already"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(cut, capsys, words, said):
    assert main(["render", *words.format(cut=cut).split()]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1


def test_a_wrong_document_says_what_and_where(cut, tmp_path, capsys):
    document = json.loads((tmp_path / cut).read_text())
    document["tracks"][0]["items"][0]["out"] = 99
    (tmp_path / cut).write_text(json.dumps(document))
    assert main(["render", cut, "-o", "out.mp4"]) == 2
    assert "tracks[0].items[0]: frames 0 to 99 of 40" in capsys.readouterr().err


def test_a_missing_clip_is_named_before_anything_is_made(cut, tmp_path, capsys):
    (tmp_path / "shots/b.mp4").unlink()
    assert main(["render", cut, "-o", "out.mp4"]) == 2
    assert 'the clip "c2" on track "v" cannot be used' in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_a_certificate_that_cannot_sign_is_said_before_anything_is_made(cut, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WAN22_PROVENANCE")
    assert main(["render", cut, "-o", "out.mp4", "--certificate", "absent.pem"]) == 2
    assert "absent.pem" in capsys.readouterr().err and not (tmp_path / "out.mp4").exists()
