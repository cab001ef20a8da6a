"""The bench of the memory that inputs take: what it makes, reads and says."""

import pytest

from bench import inputs


@pytest.mark.parametrize("case", inputs.CASES, ids=lambda case: case.name)
def test_every_case_is_made_and_read_in_small(case, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "PHOTOGRAPH", (96, 64))
    write = case.write
    if case.how != "image":
        kind = inputs.video if case.file.endswith(".mp4") else inputs.animation
        write = kind((64, 64), 5)
    write(tmp_path / case.file)
    assert inputs.read(tmp_path / case.file, case.how) >= 0


@pytest.mark.parametrize(("limit", "code"), [(inputs.LIMIT, 0), (-1, 1)])
def test_it_says_which_case_took_how_much_and_fails_above_the_bar(limit, code, monkeypatch, capsys):
    case = inputs.Case("small", "small.gif", inputs.animation((64, 64), 3), "condition")
    monkeypatch.setattr(inputs, "CASES", (case,))
    monkeypatch.setattr(inputs, "LIMIT", limit)
    monkeypatch.setattr("sys.argv", ["bench.inputs"])
    assert inputs.main() == code
    assert "MB  small" in capsys.readouterr().out
