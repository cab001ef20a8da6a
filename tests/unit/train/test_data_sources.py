"""Where training clips come from: every layout people use, and what is said of what is wrong."""

import json
import os
import socket

import pytest

from wan22.errors import OptionError
from wan22.train.data.sources import collect


def names(found):
    return [item.path.name for item in found.items]


def reasons(found, used=False):
    return {
        problem.file.rsplit("/", 1)[-1]: problem.reason for problem in found.problems if problem.used is used
    }


def touch(path, text=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    if text is not None:
        path.with_suffix(".txt").write_text(text)


def test_a_folder_is_read_however_deep_in_order_and_hidden_files_are_not(tmp_path):
    for name in ("b/two.mp4", "a.png", "b/c/three.webm", ".cache/four.mp4", "b/._two.mp4"):
        touch(tmp_path / name, f"text of {name}")
    touch(tmp_path / "notes.md")
    found = collect((tmp_path,))
    assert names(found) == ["a.png", "two.mp4", "three.webm"]
    assert found.items[1].caption == "text of b/two.mp4"
    assert not found.problems


@pytest.mark.parametrize("name", ["clips.csv", "clips.toml", "clip.mp4"])
def test_a_pipe_as_a_source_is_refused_and_nothing_waits_for_it(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OptionError, match=f"{name} is no file and no folder"):
        collect((tmp_path / name,))


def test_texts_that_are_missing_empty_or_unreadable_are_refused_with_what_would_help(tmp_path):
    touch(tmp_path / "none.mp4")
    touch(tmp_path / "empty.mp4", "  \n ")
    touch(tmp_path / "binary.mp4", "")
    (tmp_path / "binary.txt").write_bytes(b"\xff\x00\xfe\x81")
    touch(tmp_path / "long.mp4", "word " * 20_000)
    touch(tmp_path / "good.mp4", "a  ball\nrolls ")
    found = collect((tmp_path,))
    assert [item.caption for item in found.items] == ["a ball rolls"]
    told = reasons(found)
    assert told["none.mp4"] == "has no text"
    assert "empty" in told["empty.txt"]
    assert "UTF-8" in told["binary.txt"]
    assert "too many" in told["long.txt"]
    assert all(problem.help.endswith(".") for problem in found.problems)


def test_what_makes_a_text_unreadable_is_said_as_it_is(tmp_path):
    for name, data in {
        "a": "ein Würfel".encode("latin-1"),
        "b": "a cube".encode("utf-16-le"),
        "c": b"a c\0ube",
        "d": b"\xff\xfea c",
    }.items():
        touch(tmp_path / f"{name}.mp4")
        (tmp_path / f"{name}.txt").write_bytes(data)
    told = reasons(collect((tmp_path,)))
    assert told["a.txt"] == "cannot be read: it is no UTF-8 text"
    assert told["b.txt"] == told["c.txt"]
    assert told["c.txt"] == "cannot be read: it holds zero bytes: UTF-16 without its mark, or no text"
    assert told["d.txt"] == "cannot be read: it is no UTF-16 text"


def test_a_text_in_utf_16_or_with_a_mark_is_read(tmp_path):
    touch(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text("ein Würfel", encoding="utf-16")
    touch(tmp_path / "b.mp4")
    (tmp_path / "b.mp4.txt").write_text("ein Würfel", encoding="utf-8-sig")
    assert [item.caption for item in collect((tmp_path,)).items] == ["ein Würfel"] * 2


def test_a_file_named_twice_counts_once_and_a_shared_text_is_told(tmp_path):
    touch(tmp_path / "a.mp4", "a ball")
    touch(tmp_path / "a.jpg")
    found = collect((tmp_path, tmp_path / "a.mp4"))
    assert sorted(names(found)) == ["a.jpg", "a.mp4"]
    assert "named twice" in reasons(found)["a.mp4"]
    assert "a.jpg" in reasons(found, used=True)["a.mp4"]


def test_a_link_to_a_sibling_names_the_file_that_it_is(tmp_path):
    touch(tmp_path / "a.mp4", "a ball")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "b.txt").write_text("a ball")
    found = collect((tmp_path,))
    assert names(found) == ["a.mp4"]
    assert reasons(found)["b.mp4"] == f"is the same file as {tmp_path / 'a.mp4'}"


def test_an_unquoted_comma_refuses_its_row_and_does_not_cut_the_text(tmp_path):
    for name in "abcd":
        touch(tmp_path / f"{name}.mp4")
    (tmp_path / "t.csv").write_text(
        'video,caption\na.mp4,a ball\nb.mp4,too,many\nc.mp4,"quoted, well"\nd.mp4,a cone, ,\n'
    )
    found = collect((tmp_path / "t.csv",))
    assert [item.caption for item in found.items] == ["a ball", "quoted, well", "a cone"]
    (problem,) = found.problems
    assert str(problem) == (
        f"{tmp_path}/t.csv, line 3: has 3 fields for 2 columns. Put quotation marks around a text that holds a comma."
    )


@pytest.mark.parametrize(("media", "text"), [("video", "prompt"), ("path", "caption"), ("file_name", "text")])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "tsv"])
def test_tables_with_the_usual_columns_are_read_relative_to_themselves(tmp_path, media, text, kind):
    touch(tmp_path / "clips/a.mp4")
    touch(tmp_path / "videos/b.mp4")
    rows = [{media: "clips/a.mp4", text: 'a ball, "red"'}, {media: "b.mp4", text: "a cube"}]
    table = tmp_path / f"table.{kind}"
    if kind == "json":
        table.write_text(json.dumps(rows))
    elif kind == "jsonl":
        table.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        comma = "," if kind == "csv" else "\t"
        quoted = '"a ball, ""red"""'
        table.write_text(f"{media}{comma}{text}\nclips/a.mp4{comma}{quoted}\nb.mp4{comma}a cube\n")
    found = collect((table,))
    assert [(item.path.name, item.caption) for item in found.items] == [
        ("a.mp4", 'a ball, "red"'), ("b.mp4", "a cube"),
    ]  # fmt: skip
    assert not found.problems


def test_rows_that_are_wrong_are_refused_one_by_one(tmp_path):
    touch(tmp_path / "a.mp4")
    (tmp_path / "t.jsonl").write_text(
        '{"video": "a.mp4", "caption": "good"}\n{"video": "gone.mp4", "caption": "x"}\n{"video": "a.mp4"\n[1]\n'
        '{"caption": "x"}\n{"video": "a.mp4"}\n{"video": "https://example.org/a.mp4", "caption": "x"}\n'
    )
    found = collect((tmp_path / "t.jsonl",))
    assert names(found) == ["a.mp4"]
    told = [problem.reason for problem in found.problems]
    assert len(told) == 6
    for part in ("is not there", "is no JSON:", "is no JSON object", "names no clip", "has no text"):
        assert any(part in reason for reason in told), part
    assert any("download" in problem.help for problem in found.problems)


def test_a_table_without_a_known_column_or_without_rows_is_refused_as_a_whole(tmp_path):
    (tmp_path / "a.csv").write_text("clip_id,words\n1,x\n")
    (tmp_path / "b.csv").write_text("video,caption\n")
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "d.jsonl").write_bytes(b"\xff\xff\x00")
    found = collect(tuple(tmp_path / name for name in ("a.csv", "b.csv", "c.json", "d.jsonl")))
    assert not found.items
    assert "no column for clips" in reasons(found)["a.csv"]
    assert "without rows" in reasons(found)["b.csv"]
    assert "no JSON" in reasons(found)["c.json"]
    assert "UTF-8" in reasons(found)["d.jsonl"]


def test_diffsynths_folder_is_read_by_its_metadata_with_audio_and_what_is_not_read_is_told(tmp_path):
    for name in ("a.mp4", "a.wav", "face.png"):
        touch(tmp_path / name)
    (tmp_path / "metadata.csv").write_text(
        "video,prompt,input_image,input_audio,reference_image\na.mp4,a man speaks,a.png,a.wav,face.png\n"
    )
    found = collect((tmp_path,))
    (item,) = found.items
    assert (item.path.name, item.audio.name, item.reference.name) == ("a.mp4", "a.wav", "face.png")
    assert "input_image" in reasons(found, used=True)["metadata.csv"]


def test_fastvideos_list_of_captions_is_read(tmp_path):
    touch(tmp_path / "videos/a.mp4")
    (tmp_path / "videos2caption.json").write_text('[{"path": "a.mp4", "cap": ["a ball", "other"]}]')
    assert [item.caption for item in collect((tmp_path,)).items] == ["a ball"]


MUSUBI = """
[general]
resolution = [48, 32]
caption_extension = ".caption"
num_repeats = 2
enable_bucket = true

[[datasets]]
video_directory = "clips"
target_frames = [1, 25, 45]
frame_extraction = "chunk"
source_fps = 30.0
cache_directory = "cache"

[[datasets]]
image_directory = "images"
caption_extension = ".txt"
resolution = 64
num_repeats = 5

[[datasets]]
video_jsonl_file = "more.jsonl"
frame_extraction = "uniform"
"""


def test_musubis_dataset_file_says_size_length_and_repeats_of_its_clips(tmp_path):
    touch(tmp_path / "clips/a.mp4")
    (tmp_path / "clips/a.caption").write_text("a ball")
    touch(tmp_path / "clips/poster.png")
    touch(tmp_path / "images/b.png", "a cube")
    touch(tmp_path / "c.mp4")
    (tmp_path / "more.jsonl").write_text('{"video_path": "c.mp4", "caption": "a cone"}')
    (tmp_path / "set.toml").write_text(MUSUBI)
    found = collect((tmp_path / "set.toml",))
    a, b, c = found.items
    assert (a.path.name, a.caption, a.size, a.frames, a.repeats, a.head) == (
        "a.mp4", "a ball", (48, 32), (1, 25, 45), 2, False,
    )  # fmt: skip
    assert (b.path.name, b.size, b.repeats) == ("b.png", (64, 64), 5)
    assert (c.path.name, c.repeats, c.head) == ("c.mp4", 2, False)
    notes = [problem.reason for problem in found.problems if problem.used]
    assert notes == ["source_fps is not followed", "frame_extraction 'uniform' is not followed"]


def test_names_that_are_not_known_are_told_once_wherever_they_stand(tmp_path):
    touch(tmp_path / "clips/a.mp4", "a ball")
    (tmp_path / "set.toml").write_text(
        "top = 1\n[general]\nweird_key = 1\nbatch_size = 1\n[[datasets]]\nvideo_directory = 'clips'\nreslution = 64\n"
        "[[datasets]]\nvideo_directory = 'clips'\nnum_repeats = 2\n"
    )
    found = collect((tmp_path / "set.toml",))
    notes = [problem for problem in found.problems if problem.used]
    assert [note.reason.split()[0] for note in notes] == ["reslution", "top", "weird_key"]
    assert {note.file for note in notes} == {str(tmp_path / "set.toml")}


def test_diffusion_pipes_dataset_file_is_read(tmp_path):
    touch(tmp_path / "clips/a.mp4", "a ball")
    (tmp_path / "set.toml").write_text(
        "frame_buckets = [1, 33]\n[[directory]]\npath = 'clips'\nnum_repeats = 3\n"
    )
    (item,) = collect((tmp_path / "set.toml",)).items
    assert (item.repeats, item.frames, item.head) == (3, (1, 33), False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[datasets", "is no dataset file"),
        ("x = 1", "names no dataset"),
        ("[[datasets]]\nvideo_directory='.'\nnum_repeats=0", "num_repeats"),
        ("[[datasets]]\nvideo_directory='.'\nresolution=[1,2]", "resolution"),
        ("[[datasets]]\nvideo_directory='.'\ntarget_frames=['x']", "target_frames"),
    ],
)
def test_a_dataset_file_that_is_wrong_is_one_clear_error(tmp_path, text, told):
    (tmp_path / "set.toml").write_text(text)
    with pytest.raises(OptionError, match=told):
        collect((tmp_path / "set.toml",))


def test_a_dataset_file_whose_folder_is_missing_or_unnamed_is_refused_and_the_rest_used(tmp_path):
    touch(tmp_path / "clips/a.mp4", "a ball")
    (tmp_path / "set.toml").write_text(
        "[[datasets]]\nvideo_directory='gone'\n[[datasets]]\nbatch_size=1\n[[datasets]]\nvideo_directory='clips'\n"
    )
    found = collect((tmp_path / "set.toml",))
    assert names(found) == ["a.mp4"]
    assert [problem.reason for problem in found.problems] == [
        "video_directory gone is not there",
        "names no clips",
    ]


def test_a_source_that_is_not_there_or_of_no_known_kind_is_an_error(tmp_path):
    with pytest.raises(OptionError, match="there is no"):
        collect((tmp_path / "gone",))
    touch(tmp_path / "a.docx")
    with pytest.raises(OptionError, match=r"Known: a folder.*\.toml"):
        collect((tmp_path / "a.docx",))


def test_a_link_that_leads_back_does_not_turn_forever(tmp_path):
    touch(tmp_path / "in/a.mp4", "a ball")
    (tmp_path / "in/again").symlink_to(tmp_path)
    assert names(collect((tmp_path,))) == ["a.mp4"]


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/a.mp4", "concat:a.mp4|b.mp4", "file:a.mp4", "//127.0.0.1/a.mp4"]
)
def test_addresses_and_protocols_in_tables_and_dataset_files_are_no_paths(tmp_path, monkeypatch, name):
    touch(tmp_path / "a.mp4", "a ball")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"video": name, "caption": "a ball"}))
    (tmp_path / "set.toml").write_text(f'[[datasets]]\nvideo_directory = "{name}"\nresolution = [64, 64]')
    monkeypatch.setattr(socket, "socket", None)
    for file in ("rows.jsonl", "set.toml"):
        found = collect((tmp_path / file,))
        assert not found.items and len(found.problems) == 1
        assert "is not there" in found.problems[0].reason or "no such file" in found.problems[0].reason
