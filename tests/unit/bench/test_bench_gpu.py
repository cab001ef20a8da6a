"""The script that measures a GPU, on the CPU with small networks: each item gives its rows, and all is written."""

import json
import sys

import pytest
import torch

from bench.gpu import __main__ as script
from bench.gpu import items
from bench.gpu.cases import official, tiny
from bench.gpu.machine import Rates, precision

pytestmark = pytest.mark.slow


def run(monkeypatch, folder, *options):
    monkeypatch.setattr(
        sys, "argv", ["bench.gpu", "--device", "cpu", "--tiny", "--output", str(folder), *options]
    )
    return script.main()


def read(folder, at=0):
    return json.loads(sorted(folder.glob("gpu-*.json"))[at].read_text())


def test_every_kind_of_item_gives_rows_and_they_are_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")  # compiling takes long
    names = ("forward 5B", "attention", "decode A14B", "streaming 5B", "kernels", "video", "compile")
    assert run(monkeypatch, tmp_path, "--only", *names) == 0
    said = read(tmp_path)
    rows = {(row["item"], row["case"]): row for row in said["rows"]}
    assert {item for item, _ in rows} == {
        "forward",
        "attention",
        "decode",
        "streaming",
        "kernels",
        "video",
        "compile",
    }
    assert (
        rows["forward", "5B 1280x704x121"]["seconds"] > 0
        and rows["forward", "5B 1280x704x121"]["planned"] > 0
    )
    assert rows["attention", "sdpa, A14B 1280x720x81"]["error"] < 0.02
    assert "not installed" in rows["attention", "sage, 5B 1280x704x121"]["note"]
    decoded = [case for item, case in rows if item == "decode"]
    assert len(decoded) == 6 and any("tf32, channels last" in case for case in decoded)
    assert (
        rows["video", "5B 1280x704x121, 50 steps"]["seconds"]
        > rows["video", "5B 1280x704x121, a step"]["seconds"]
    )
    assert "no-such-compiler" in rows["compile", "5B 1280x704x121"]["note"]
    assert said["machine"]["rates"]["flops"].keys() == {"bfloat16", "tf32", "float32"}
    table = next(tmp_path.glob("gpu-*.md")).read_text()
    assert all(f"| {item} | {case} |" in table for item, case in rows)
    assert said["machine"]["device"] in table and table in capsys.readouterr().out


def small(name, measure, estimate=(0.0, 0.0)):
    return items.Item(name, measure, estimate)


def test_an_item_that_fails_is_a_row_and_the_others_go_on(monkeypatch, tmp_path):
    def fails(bench):
        yield items.Row("first", "half")
        raise RuntimeError("out of memory\nmore")

    def works(bench):
        yield items.Row("second", "x")

    monkeypatch.setattr(script, "ITEMS", (small("first", fails), small("second", works)))
    assert run(monkeypatch, tmp_path) == 1
    assert [(row["item"], row["note"]) for row in read(tmp_path)["rows"]] == [
        ("first", ""),
        ("first", "failed: RuntimeError: out of memory"),
        ("second", ""),
    ]


def test_what_does_not_fit_into_the_time_is_left_out_and_said(monkeypatch, tmp_path):
    def works(bench):
        yield items.Row("short", "x")

    monkeypatch.setattr(script, "ITEMS", (small("long", works, (1e9, 0.0)), small("short", works)))
    rates = {"flops": {}, "memory": 1, "pageable": 1, "pinned": 1, "paper": {}}
    report = script.Report(tmp_path, {"device": "A card", "rates": rates}, 8)
    bench = items.Bench(torch.device("cpu"), Rates({}, 1, 1, 1), {})
    script.run(report, bench, [], end=1e8, slower=1.0)
    assert [row.item for row in report.rows] == ["short"]
    assert "long (about" in (tmp_path / "gpu-a-card.md").read_text()
    assert small("x", None, (2.0, 3.0)).seconds(slower=10) == 32


def test_results_of_before_stay(monkeypatch, tmp_path):
    monkeypatch.setattr(script, "ITEMS", (small("one", lambda bench: iter([items.Row("one", "x")])),))
    for _ in range(3):
        assert run(monkeypatch, tmp_path) == 0
    assert len(list(tmp_path.glob("gpu-*.json"))) == len(list(tmp_path.glob("gpu-*.md"))) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--only", "fordward"), "Known: correctness, forward 5B"), (("--output", "/no/folder"), "no folder")],
)
def test_mistakes_are_said_before_anything_is_measured(monkeypatch, tmp_path, capsys, options, said):
    monkeypatch.setattr(script, "measure", None)
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, *options)
    assert said in capsys.readouterr().err


def test_the_cases_are_those_of_the_models():
    assert {name: case.tokens for name, case in official().items()} == {
        "5B 1280x704x121": 27_280,
        "A14B 832x480x81": 32_760,
        "A14B 1280x720x81": 75_600,
    }
    assert tiny().keys() == official().keys()


def test_the_roof_takes_products_at_the_rate_of_their_precision():
    rates = Rates({"bfloat16": 100.0, "tf32": 50.0, "float32": 10.0}, 1, 1, 1)
    work = {("matmul", torch.bfloat16): 200.0, ("conv", torch.float32): 100.0}
    assert rates.roof(work) == 2 + 2
    assert rates.roof(work, "float32") == 2 + 10

    known = Rates(rates.flops, 1, 1, 1, {"bfloat16": 200.0})
    assert known.roof(work) == 1 + 2


def test_the_precision_is_put_back():
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [kind.fp32_precision for kind in kinds]
    for name, said in (("float32", "ieee"), ("tf32", "tf32")):
        with precision(name):
            assert [kind.fp32_precision for kind in kinds] == [said, said]
    assert [kind.fp32_precision for kind in kinds] == before
