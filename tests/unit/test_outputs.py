"""Where output goes: nothing that wan22 did not write is replaced, removed or changed, whatever lies there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wan22.cli.__main__ import main
from wan22.errors import OutputError
from wan22.media.image import write_image
from wan22.media.output_paths import free, names, place, tagged
from wan22.media.own_files import check_own, written_own
from wan22.media.sequence_files import save_frame
from wan22.media.writer import VideoWriter
from wan22.production.publish import Target
from wan22.production.work import slug

FRAMES = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)


def write(path, existing="next"):
    if Path(path).suffix in (".png", ".jpg") and "%" not in path:
        return write_image(path, FRAMES[0], None, existing)
    with VideoWriter(path, fps=8, size=(16, 16), existing=existing) as writer:
        writer.add(FRAMES)
        return writer.close()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_counter_goes_before_the_ending_or_the_number():
    for path, second in (("out/a.mp4", "out/a-2.mp4"), ("s/", "s-2/"), ("s-%04d.png", "s-2-%04d.png")):
        assert [name for name, _ in zip(names(path), range(2), strict=False)] == [path, second]


def test_a_default_name_is_the_next_that_nothing_has():
    assert place(None, "out/a.mp4") == ("out/a.mp4", "next")
    Path("out").mkdir()
    Path("out/a.mp4").symlink_to("nowhere")
    Path("out/a-2.mp4.latents.safetensors").touch()
    assert place(None, "out/a.mp4", overwrite=False) == ("out/a-3.mp4", "next")


def test_a_folder_gets_the_default_name_in_it_and_a_file_is_what_was_named():
    Path("pictures").mkdir()
    Path("pictures/a.mp4").touch()
    assert place("pictures", "out/a.mp4") == place("pictures/", "out/a.mp4") == ("pictures/a-2.mp4", "next")
    assert place("pictures", "b/shots-again/") == ("pictures/shots-again/", "next")
    assert place("x.mp4", "out/a.mp4") == ("x.mp4", "replace")
    assert place("x.mp4", "out/a.mp4", overwrite=False) == ("x.mp4", "refuse")
    assert place("new/", "out/a.mp4") == ("new/", "replace")
    assert place("new/", "out/a.png", still=True) == ("new/a.png", "next")


def test_a_folder_that_holds_a_sequence_of_ours_alone_is_that_sequence():
    assert write("shots/") == "shots/"
    assert place("shots/", "out/a.mp4") == ("shots/", "replace")
    assert place("shots/", "out/a.png", still=True) == ("shots/a.png", "next")
    Path("shots/notes.txt").touch()
    assert place("shots/", "out/a.mp4") == ("shots/a.mp4", "next")


@pytest.mark.parametrize("path", ["a.mp4", "a.gif", "a.png", "a.jpg", "s-%04d.png", "s/"])
def test_what_comes_to_be_during_the_work_stays(path):
    assert write(path, "refuse") == path
    first = {each: each.read_bytes() for each in Path().rglob("*") if each.is_file()}
    with pytest.raises(OutputError, match="is left"):
        write(path, "refuse")
    assert write(path) == tagged(path, "2")
    assert {each: each.read_bytes() for each in first} == first
    assert write(path, "replace") == path


def test_a_file_system_without_links_refuses_too(monkeypatch):
    def none(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    assert (write("a.mp4"), write("a.mp4")) == ("a.mp4", "a-2.mp4")
    assert Path("a.mp4").read_bytes() == Path("a-2.mp4").read_bytes() != b""
    assert [each.name for each in sorted(Path().iterdir())] == ["a-2.mp4", "a.mp4"]


def test_names_of_any_language_leave_room_for_their_endings():
    name = slug("夜の街を歩く" * 20)
    assert 60 < len(os.fsencode(name)) <= 120
    path = f"{'夜' * 70}.mp4"
    for tag in ("again", "take-4294967295", "2"):
        path = tagged(path, tag)
        assert len(os.fsencode(f"{path}.latents.safetensors")) <= 255 and path.endswith(f"-{tag}.mp4")


KINDS = ("a.mp4", "a.gif", "a.png", "s-%04d.png", "s/", "a.mp4#takes")
NAMES = (
    "a.mp4", "a-2.mp4", "A.mp4", "a.gif", "a.png", "a-2.png", "s-0000.png", "s-0002.png", "S-0001.png", "s-9.png",
    "s/frame-0000.png", "s/frame-0009.png", "s/notes.txt", "s-2/frame-0001.png", "s", "a-take-1.mp4",
    "a.mp4.latents.safetensors", "a-take-1.mp4.latents.safetensors", ".s-%04d.png.other",
)  # fmt: skip
FOREIGN = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from(("file", "png", "link", "folder")), max_size=6
)


def put(path, kind):
    if any(parent.exists() and not parent.is_dir() for parent in path.parents) or os.path.lexists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_bytes(b"mine")
    elif kind == "png":
        Image.fromarray(FRAMES[0]).save(path, "PNG")
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        path.mkdir()
        (path / "mine.txt").write_text("mine")


def state(folder):
    return {
        each.relative_to(folder): each.readlink() if each.is_symlink() else each.read_bytes()
        for each in folder.rglob("*")
        if each.is_symlink() or each.is_file()
    }


@settings(max_examples=120, derandomize=True, deadline=None, database=None)
@given(FOREIGN, st.sampled_from(KINDS), st.booleans(), st.booleans())
def test_nothing_of_another_is_changed_or_removed(tmp_path_factory, foreign, kind, asked, again):
    folder = tmp_path_factory.mktemp("out")
    for name, what in foreign.items():
        put(folder / name, what)
    before = state(folder)
    default, _, takes = f"{folder}/{kind}".partition("#")
    for _ in range(1 + again):
        try:
            if takes:
                path, existing = Target(default).tagged("take-1").free().path, "next"
            else:
                path, existing = place(
                    default if asked else None, default, overwrite=False, still=default.endswith("a.png")
                )
            write(path, existing)
        except OutputError:
            continue  # said, and nothing is done
    after = state(folder)
    assert {name: after.get(name) for name in before} == before
    new = after.keys() - before.keys()
    assert not [name for name in new if name.name.endswith((".part", ".old", ".unfinished"))]


def test_a_foreign_image_that_comes_into_a_sequences_folder_while_it_is_replaced_is_kept(monkeypatch):
    write("s/")
    monkeypatch.setattr("wan22.media.sequence_files._link", lambda *a, link=_link: (link(*a), add()))

    def add():
        Path("s/mine.txt").write_text("mine")

    write("s/", "replace")
    assert Path("s/mine.txt").read_text() == "mine"


def _link(frames, part, numbered):
    for name in numbered:
        save_frame(part / name, FRAMES[0])


def test_kept_latents_are_not_replaced(tmp_path):
    Path("a.mp4.latents.safetensors").write_bytes(b"mine")
    assert free("a.mp4") == "a-2.mp4"
    assert free("a.mp4", latents=False) == "a.mp4"


REPORTS = {
    "board.json": {"title": "t", "model": "m", "shots": [], "consistency": {}},
    "report.json": {"wan22": "0.1", "plan": {}, "buckets": {}, "captions": {}},
    "curate.json": {"folder": "f", "thresholds": {}, "kept": 0, "clips": []},
    "eval.json": {"model": "m", "recipe": {}, "notes": []},
    "recipe.json": {"model": "m", "weights": {}, "references": [], "extractors": {}},
}


@pytest.mark.parametrize("report", REPORTS)
def test_a_folder_of_an_earlier_version_is_taken_and_nothing_in_it_is_lost(report):
    folder = Path("former")
    folder.mkdir()
    (folder / report).write_text(json.dumps(REPORTS[report] | {"more": 1}))
    (folder / "page.html").write_text("theirs, or changed by a person")
    (folder / "page-former.html").write_text("mine")
    (folder / "link.html").symlink_to("page.html")
    before = state(folder)
    check_own(folder, (report, "page.html"))
    assert state(folder) == before
    with pytest.raises(OutputError, match=r"link\.html would be replaced"):
        check_own(folder, ("link.html",))
    for text in ("new", "newer"):
        for name in (report, "page.html"):
            with written_own(folder / name) as part:
                part.write_text(text)
    after = state(folder)
    assert after[Path("page.html")] == after[Path(report)] == b"newer"
    assert after[Path("page-former-2.html")] == before[Path("page.html")]
    assert after[Path("page-former.html")] == b"mine"
    assert after[Path(f"{Path(report).stem}-former.json")] == before[Path(report)]
    assert len(after) == len(before) + 3  # two that moved aside, and the list


def test_what_a_person_put_into_a_former_folder_later_is_refused():
    folder = Path("former")
    folder.mkdir()
    (folder / "board.json").write_text(json.dumps(REPORTS["board.json"]))
    with written_own(folder / "board.json") as part:
        part.write_text("new")
    (folder / "board.html").write_text("mine")
    with pytest.raises(OutputError, match=r"board\.html would be replaced"):
        check_own(folder, ("board.html",))


def test_a_folder_that_no_report_tells_is_a_persons():
    for report, text in (
        ("board.json", '{"title": "mine"}'),
        ("report.json", "[1]"),
        ("curate.json", "no json"),
    ):
        folder = Path(report).with_suffix("")
        folder.mkdir()
        (folder / report).write_text(text)
        with pytest.raises(OutputError, match="would be replaced"):
            check_own(folder, (report,))


def test_a_report_replaces_only_what_was_written_by_one_and_is_unchanged():
    folder = Path("report")
    for text in ("one", "two", "two"):
        with written_own(folder / "a.html") as part:
            part.write_text(text)
    check_own(folder, ("a.html", "b.html"))
    assert (folder / "a.html").read_text() == "two"
    (folder / "a.html").write_text("mine")
    (folder / "b.html").symlink_to("nowhere")
    for name in ("a.html", "b.html"):
        with pytest.raises(OutputError, match=f"{name} would be replaced"):
            check_own(folder, (name,))
        with (
            pytest.raises(OutputError, match=f"{name} would be replaced"),
            written_own(folder / name) as part,
        ):
            part.write_text("three")
    assert (folder / "a.html").read_text() == "mine" and (folder / "b.html").is_symlink()


@pytest.mark.parametrize(
    ("command", "name"),
    [(("data", "-o", "out"), each) for each in ("report.html", "report.json")]
    + [(("curate", "-o", "out"), each) for each in ("curate.json", "kept.jsonl", "curate.png")]
    + [
        (("storyboard", "-o", "out"), each)
        for each in ("board.html", "board.pdf", "shot-01.mp4", "shot-02.png")
    ],
)
def test_a_folder_with_a_file_of_another_is_refused_before_any_work(command, name, capsys):
    Path("out").mkdir()
    Path("clips").mkdir()
    Path("out", name).write_bytes(b"mine")
    write("clips/a.mp4")
    Path("script.txt").write_text("A red ball rolls.\n\nA dog runs.\n")
    source = "script.txt" if command[0] == "storyboard" else "clips"
    assert main([command[0], source, *command[1:]]) == 2
    assert f"{name} would be replaced" in capsys.readouterr().err
    assert [each.name for each in Path("out").iterdir()] == [name]
