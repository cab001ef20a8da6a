"""Measure what fits into the time, write it after every item, and say what was left out."""

import argparse
import gc
import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.gpu import __doc__ as about
from bench.gpu.cases import official, tiny
from bench.gpu.items import ITEMS, Bench, Row
from bench.gpu.machine import describe, measure
from wan22.memory.device import pick_device

_H200 = 700e12
"""Products a second of the card for which items have their estimates, in bfloat16."""


class Report:
    """The results so far, in two files that are written anew after every item."""

    def __init__(self, folder: Path, machine: dict[str, Any], minutes: float) -> None:
        name = "gpu-" + re.sub(r"[^a-z0-9]+", "-", str(machine["device"]).lower()).strip("-")
        taken = [path for path in folder.glob(f"{name}*.json") if re.fullmatch(rf"{name}(-\d+)?", path.stem)]
        self.stem = folder / (name if not taken else f"{name}-{len(taken) + 1}")
        self.machine, self.minutes = machine, minutes
        self.rows: list[Row] = []
        self.left_out: list[str] = []
        self.took: dict[str, float] = {}  # seconds of each item, by which the estimates are mended

    def write(self) -> None:
        """Write both files."""
        data = {
            "machine": self.machine,
            "minutes": self.minutes,
            "rows": [asdict(row) for row in self.rows],
            "left_out": self.left_out,
            "took": self.took,
        }
        self.stem.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
        self.stem.with_suffix(".md").write_text(self.table())

    def table(self) -> str:
        """Markdown."""
        rates = self.machine["rates"]
        rated = ", ".join(f"{name} {amount / 1e12:.3g} TFLOP/s" for name, amount in rates["flops"].items())
        copied = ", ".join(
            f"{name} {rates[name] / 1e9:.3g} GB/s" for name in ("memory", "pageable", "pinned")
        )
        known = {
            key: value for key, value in self.machine.items() if key not in ("rates", "device") and value
        }
        lines = [
            f"# {self.machine['device']}",
            "",
            "; ".join(f"{key} {value}" for key, value in known.items()),
            "",
            f"Measured in this run: {rated}; {copied}. The roof is "
            + (
                "that of the maker: "
                + ", ".join(f"{n} {a / 1e12:.4g} TFLOP/s" for n, a in rates["paper"].items())
                if rates.get("paper")
                else "what was measured"
            )
            + ".",
            "",
            "| item | case | s | % of roof | peak GB | planned GB | error | |",
            "|---|---|--:|--:|--:|--:|--:|---|",
            *(_line(row) for row in self.rows),
        ]
        if self.left_out:
            lines += ["", f"Left out, for the time of {self.minutes:g} minutes: {', '.join(self.left_out)}."]
        return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    cells = (
        row.item,
        row.case,
        "" if row.seconds is None else f"{row.seconds:.4g}",
        "" if row.roof is None else f"{100 * row.roof:.0f}",
        "" if row.peak is None else f"{row.peak / 1e9:.2f}",
        "" if row.planned is None else f"{row.planned / 1e9:.2f}",
        "" if row.error is None else f"{row.error:.1e}",
        row.note.replace("|", "/"),
    )
    return f"| {' | '.join(cells)} |"


def run(report: Report, bench: Bench, only: list[str], end: float, slower: float) -> None:
    """Measure item after item; one that fails is a row that says why."""
    for item in ITEMS:
        if only and not any(text in item.name for text in only):
            continue
        if time.perf_counter() + item.seconds(slower) > end:
            report.left_out.append(f"{item.name} (about {item.seconds(slower):.0f} s)")
            report.write()
            continue
        print(f"{item.name} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            with torch.inference_mode():
                for row in item.measure(bench):
                    report.rows.append(row)
                    print(_line(row), flush=True)
        except Exception as error:  # the others are measured all the same
            said = str(error).strip().splitlines()[:1] or [""]
            report.rows.append(Row(item.name, "", note=f"failed: {type(error).__name__}: {said[0]}"))
            print(_line(report.rows[-1]), flush=True)
        report.took[item.name] = round(time.perf_counter() - began, 2)
        report.write()
        gc.collect()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


def main() -> int:
    start = time.perf_counter()
    assert about is not None
    parser = argparse.ArgumentParser(
        "python -m bench.gpu", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="how long it may take (8)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks: a test of the script")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="TEXT", help="items whose name contains one of these"
    )
    parser.add_argument("--output", type=Path, default=Path(), metavar="FOLDER", help="where the files go")
    options = parser.parse_args()
    known = ", ".join(item.name for item in ITEMS)
    if options.only and not any(text in item.name for text in options.only for item in ITEMS):
        parser.error(f"no item contains {' or '.join(options.only)}. Known: {known}")
    if not options.output.is_dir():
        parser.error(f"there is no folder {options.output}")
    device = pick_device(options.device)
    rates = measure(device, 128 if options.tiny else 8192 if device.type == "cuda" else 1024)
    report = Report(options.output, describe(device, rates), options.minutes)
    bench = Bench(device, rates, tiny() if options.tiny else official())
    slower = 0.0 if options.tiny else _H200 / rates.flops["bfloat16"]
    end = float("inf") if options.tiny else start + 60 * options.minutes
    run(report, bench, options.only, end, slower)
    print(f"\n{report.table()}")
    print(f"{report.stem}.json and .md; {time.perf_counter() - start:.0f} s")
    return 1 if any(row.note.startswith("failed") for row in report.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
