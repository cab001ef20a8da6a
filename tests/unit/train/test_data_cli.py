"""`wan22 data survey`: a table for people, numbers for programs, one line for mistakes."""

import json
import subprocess
import sys

from unit.train.media import write_clip

from wan22.cli.__main__ import main


def survey(*arguments):
    return main(["data", "survey", *map(str, arguments), "--size", "48x32", "--frames", "5,9", "--fps", "8"])


def test_the_table_and_the_report_are_made_without_a_model(tmp_path, capsys):
    write_clip(tmp_path / "clips/a.mp4", frames=9)
    write_clip(tmp_path / "clips/b.mp4", text=None)
    assert survey(tmp_path / "clips", "-o", tmp_path / "report") == 0
    out = capsys.readouterr().out
    assert "48x32x9" in out and "1 of 2 clips used" in out and "b.mp4: has no text" in out
    assert out.strip().endswith(str(tmp_path / "report/report.html"))
    assert (tmp_path / "report/report.html").is_file()


def test_json_is_one_object_on_stdout(tmp_path, capsys):
    write_clip(tmp_path / "clips/a.mp4", frames=9)
    assert survey(tmp_path / "clips", "-o", tmp_path / "report", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["buckets"]["48x32x9"]["pieces"] == 1


def test_mistakes_are_one_line_each_and_exit_2(tmp_path, capsys):
    assert survey(tmp_path / "gone", "-o", tmp_path / "report") == 2
    assert capsys.readouterr().err.startswith("error: there is no ")
    assert main(["data", "survey", str(tmp_path), "--frames", "x"]) == 2
    assert "such as 1,33,81" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_file_where_the_report_should_go_is_said_before_any_clip_is_opened(tmp_path, capsys, monkeypatch):
    write_clip(tmp_path / "clips/a.mp4", frames=9)
    (tmp_path / "afile").write_text("x")
    monkeypatch.setattr("wan22.train.data.survey", lambda *_: 1 / 0)
    assert survey(tmp_path / "clips", "-o", tmp_path / "afile") == 2
    said = capsys.readouterr()
    assert (
        said.err == f"error: {tmp_path}/afile cannot be written: {tmp_path}/afile is a file, not a folder.\n"
    )
    assert not said.out


def test_a_report_that_cannot_be_written_in_the_end_does_not_hide_what_was_seen(
    tmp_path, capsys, monkeypatch
):
    write_clip(tmp_path / "clips/a.mp4", frames=9)
    monkeypatch.setattr("wan22.media.own_files.check_own", lambda *_: None)  # it comes to be during the work
    (tmp_path / "report/report.json").mkdir(parents=True)
    assert survey(tmp_path / "clips", "-o", tmp_path / "report") == 2
    said = capsys.readouterr()
    assert "1 of 1 clips used" in said.out and "report.json would be replaced" in said.err


def test_a_survey_does_not_import_torch():
    code = "import sys, wan22.train.data.survey, wan22.train.data.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
