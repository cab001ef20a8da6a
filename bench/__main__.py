"""Run the comparisons and print them: seconds, ratio (above 1: we are faster), peak memory, difference of results."""

import argparse
import gc
import json
import os
import platform
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.cases import CASES, OURS, THEIRS, Case
from bench.measure import CLOCKS, interleaved, peak, peak_of, reset_peak

CONTENDERS = (OURS, THEIRS)


@dataclass(frozen=True)
class Row:
    """Seconds and bytes of both, and the largest difference of results as a share of their standard deviation."""

    case: str
    peer: str
    dtype: str
    shapes: str
    ours: float
    theirs: float
    ratio: float
    ours_peak: int
    theirs_peak: int
    difference: float
    seconds: float | None
    """Of audio, where one is heard."""

    @property
    def real_time(self) -> str:
        """Seconds of audio that a second of work is enough for: ours, theirs."""
        return (
            ""
            if self.seconds is None
            else f"{self.seconds / self.ours:.1f}, {self.seconds / self.theirs:.1f}"
        )


def run(case: Case, repeats: int, clock: str, threads: int) -> Row:
    """Compare one case."""
    calls = [case.make(contender) for contender in CONTENDERS]
    a, b = (call().double() for call in calls)
    difference = ((a - b).abs().max() / b.std()).item()
    del a, b
    ours, theirs = interleaved(calls, repeats, CLOCKS[clock])
    del calls
    gc.collect()
    peaks = [peak_of(case.name, contender, threads) for contender in CONTENDERS]
    return Row(
        case.name,
        case.peer,
        case.dtype,
        case.shapes,
        ours,
        theirs,
        theirs / ours,
        *peaks,
        difference,
        case.seconds,
    )


def machine(threads: int, clock: str) -> dict[str, str]:
    """What the numbers were measured on."""
    import diffusers
    import transformers

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((s.split(":")[1].strip() for s in info.read_text().splitlines() if "model name" in s), cpu)
    return {
        "cpu": f"{cpu}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores; {_products()}",
        "threads": str(threads),
        "clock": clock,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _products() -> str:
    """Which products of fewer bits this CPU has."""
    from wan22.memory.precision import has_bfloat16_products
    from wan22.ops.products import why_not

    int8 = why_not("int8", torch.device("cpu"))
    return (
        f"{'with' if has_bfloat16_products() else 'without'} bfloat16 products, "
        f"{'with int8 products' if int8 is None else f'without int8 products ({int8})'}"
    )


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| case | peer | dtype | shapes | ours s | peer s | ratio | ours MiB | peer MiB | max difference / std "
        "| times real time: ours, peer |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        lines.append(
            f"| {r.case} | {r.peer} | {r.dtype} | {r.shapes} | {r.ours:.3f} | {r.theirs:.3f} | {r.ratio:.2f} "
            f"| {r.ours_peak >> 20:,} | {r.theirs_peak >> 20:,} | {r.difference:.1e} | {r.real_time} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains this")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: for one thread on a busy machine"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "CONTENDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Diffusers' own
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        if options.peak:
            name, contender = options.peak
            call = CASES[name].make(contender)
            gc.collect()
            reset_peak()
            call()
            print(json.dumps({"peak": peak()}))
            return 0
        chosen = [case for name, case in CASES.items() if options.only in name]
        if not chosen:
            parser.error(f"no case contains {options.only!r}. Known: {', '.join(CASES)}")
        rows = []
        for case in chosen:
            print(f"{case.name} ...", file=sys.stderr, flush=True)
            rows.append(run(case, options.repeats, options.clock, options.threads))
    about = machine(options.threads, options.clock)
    print("\n".join(f"{key}: {value}" for key, value in about.items()), table(rows), sep="\n\n")
    if options.json:
        options.json.write_text(
            json.dumps({"machine": about, "rows": [asdict(r) for r in rows]}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
